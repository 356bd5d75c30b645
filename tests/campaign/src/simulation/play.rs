//! Plays a schedule: gateways, their ledger and the clouds in one thread, on one paused clock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use jiff::Timestamp as CloudTime;
use restore_config::{self as config, Config, Environment, Source};
use restore_engine::route::Match;
use restore_engine::{
    Action, Caller, Decision, Engine, Grant, Identity, Observer, Policy, Resolution, Submission,
};
use restore_gateway::Rules;
use restore_ledger::{Entry, Record};
use restore_model::{Clock, Event, RestoreId, TargetKind};
use restore_simulator::{Clock as SimClock, InMemory, Options};
use restore_tests::ids;
use restore_upstream::{Platform, Token};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::net::Net;
use super::process::{Crash, Machine, Process, ProcessClock};
use super::requests;
use super::schedule::{Ask, DISKS, Place, Schedule, Setup, Step, Way, What, Who, ended};
use super::store::{Handed, Kind, Row, Store, short};
use super::trace::Trace;

/// In seconds, as the configuration has it.
const LEASE: u64 = 3;
/// Between two looks while everything comes to rest.
const LOOK: Duration = Duration::from_secs(5);
/// How long ago the restores were that schedules with a history begin with.
const DAYS: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Seconds for which a process may still be stopped when everything else is well.
const STOPS: u32 = 40;
/// Longer than any client waits.
const CLIENTS: Duration = Duration::from_secs(12);
/// Looks after which whatever is still open cannot be ended.
const LOOKS: u32 = 240;
/// Twice the longest interval between polls.
const UNREAD: Duration = Duration::from_secs(35);
/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// After the last start: for what it would send unasked.
const AFTERMATH: Duration = Duration::from_secs(40);

/// What a client was answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// This restore.
    Taken(RestoreId),
    /// A refusal, by its code.
    Refused(&'static str),
    /// Nothing: it hung up, or the gateway ended.
    Nothing,
}

/// One call of a client.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What it asked for.
    pub ask: Ask,
    /// When it asked.
    pub asked: Duration,
    /// When it was answered.
    pub answered: Duration,
    /// What it was answered.
    pub outcome: Outcome,
}

/// A restore that a cloud carried out.
#[derive(Clone, Debug)]
pub struct Applied {
    /// When.
    pub at: Duration,
    /// `csbs-v1`, `cbr-v3` or `vbs-v2`.
    pub generation: String,
    /// The backup.
    pub backup: String,
    /// `server` or `volume`.
    pub kind: String,
    /// What was overwritten.
    pub target: String,
    /// The cloud's name for the task.
    pub task: String,
    /// `running`, `succeeded` or `failed`.
    pub status: String,
    /// Whether somebody did it at the console.
    pub by_console: bool,
}

/// What a schedule left behind.
pub struct Played {
    /// How it was set up.
    pub setup: Setup,
    /// What clients were answered.
    pub answers: Vec<Answered>,
    /// What the ledger has.
    pub rows: Vec<Row>,
    /// What it lost, put back to an older copy.
    pub lost: Vec<Row>,
    /// What is stored of it.
    pub records: Vec<Record>,
    /// What the ledger says is wrong with itself.
    pub faults: Vec<String>,
    /// What the clouds carried out.
    pub applied: Vec<Applied>,
    /// Restore calls that arrived at the clouds.
    pub calls: usize,
    /// By how much windows may seem shorter: wall clocks that were set, or differ.
    pub skew: Duration,
    /// Processes that were killed.
    pub kills: usize,
    /// Restores that an operator ended.
    pub resolved: usize,
    /// The longest that the end of a restore may stay unread beside a caller who only checks.
    pub unread: Duration,
}

/// Reads the clouds' list of restores. `since` turns a moment into the time since the beginning; `by_console` says of a
/// restore whether somebody made it at the cloud's console.
pub fn applied_of(
    truth: &Value,
    since: impl Fn(restore_model::Timestamp) -> Duration,
    by_console: impl Fn(&Value, Duration) -> bool,
) -> Vec<Applied> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |restore: &Value| {
        let at = restore["applied_at"].as_str().and_then(|at| at.parse().ok()).map_or(Duration::ZERO, &since);
        Applied {
            at,
            generation: text(&restore["generation"]),
            backup: text(&restore["backup_id"]),
            kind: text(&restore["target"]["type"]),
            target: text(&restore["target"]["id"]),
            task: text(&restore["task_id"]),
            status: text(&restore["status"]),
            by_console: by_console(restore, at),
        }
    };
    truth["restores"].as_array().into_iter().flatten().map(one).collect()
}

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

#[derive(Debug)]
struct CloudsClock(Arc<Trace>);

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}

impl SimClock for CloudsClock {
    fn now(&self) -> CloudTime {
        self.0.time().to_jiff()
    }
}

/// A gateway that was started.
struct Gateway {
    process: Arc<Process>,
    engine: Engine,
    handed: Arc<Handed>,
    rules: Rules,
}

/// Everything that is on the stage.
struct Stage<'a> {
    setup: &'a Setup,
    trace: Arc<Trace>,
    net: Arc<Net>,
    clouds: Arc<InMemory>,
    store: Arc<Store>,
    gateways: Vec<Option<Gateway>>,
    /// The version of the configuration that a start reads.
    version: u8,
    known_settings: BTreeMap<u8, Config>,
    offsets: Vec<i64>,
    asks: Vec<Ask>,
    answers: Arc<Mutex<Vec<Answered>>>,
    skew: Duration,
    starts: usize,
    kills: usize,
    resolved: usize,
    consoles: usize,
}

/// Plays it.
///
/// # Errors
/// What did not come to an end, or could not be played.
pub async fn play(
    seed: u64,
    schedule: &Schedule,
    trace: &Arc<Trace>,
    helper: &Handle,
) -> Result<Played, String> {
    let setup = &schedule.setup;
    let options = Options {
        extra_disks: DISKS,
        kept_requests: 20_000,
        clock: Arc::new(CloudsClock(Arc::clone(trace))),
        ..Options::default()
    };
    let clouds = Arc::new(InMemory::new(options, seed).map_err(|error| error.to_string())?);
    let net = Net::new(Arc::clone(&clouds), !seed);
    let folder = tempfile::Builder::new().prefix("restore-campaign").tempdir_in(memory_folder());
    let folder = folder.map_err(|error| error.to_string())?;
    let kind = match setup.place {
        Place::Alone(capacity) => Kind::Memory(capacity),
        Place::Shared => Kind::Memory(100_000),
        Place::File => Kind::Sqlite(folder.path().join("ledger.db")),
    };
    let lease = Duration::from_secs(LEASE);
    let joined = (Arc::clone(trace), Arc::clone(&net));
    let store = Store::new(kind, setup.place == Place::Shared, lease, joined, helper.clone());
    let offsets: Vec<i64> = setup.offsets.iter().map(|millis| millis * 1_000).collect();
    let apart = (setup.offsets[0] - setup.offsets[1]).unsigned_abs();
    let mut stage = Stage {
        setup,
        trace: Arc::clone(trace),
        net,
        clouds,
        store,
        gateways: (0..setup.replicas()).map(|_| None).collect(),
        version: 0,
        known_settings: BTreeMap::new(),
        offsets,
        asks: Vec::new(),
        answers: Arc::default(),
        skew: Duration::from_millis(if setup.replicas() > 1 { apart } else { 0 }),
        starts: 0,
        kills: 0,
        resolved: 0,
        consoles: 0,
    };
    stage.control(&Method::POST, "/_sim/world", &setup.world)?;
    if setup.history {
        for what in (0..DISKS).map(What::Disk).chain([What::FreeDisk]) {
            stage.console(what, "cbr")?;
        }
        tokio::time::sleep(DAYS).await;
    }
    for step in &schedule.steps {
        stage.step(step).await?;
    }
    stage.rest().await?;
    stage.leave_behind().await
}

/// A folder that is in memory, where there is one: what is played need not survive the machine.
fn memory_folder() -> std::path::PathBuf {
    let shared = std::path::PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

impl Stage<'_> {
    fn control(&self, method: &Method, path: &str, body: &Value) -> Result<Value, String> {
        let (status, answer) = self.clouds.control(method, path, body);
        if status.is_success() { Ok(answer) } else { Err(format!("{path} {body}: {answer}")) }
    }

    fn alive(&self, replica: usize) -> Option<&Gateway> {
        self.gateways.get(replica)?.as_ref().filter(|gateway| gateway.process.is_alive())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Submit { ask, replica, patience } => {
                self.asks.push(*ask);
                let replica = self.balanced(*replica).await?;
                self.submit(*ask, replica, *patience);
            }
            Step::Again { of, replica, patience } => {
                if let Some(ask) = self.asks.get(*of).copied() {
                    let replica = self.balanced(*replica).await?;
                    self.submit(ask, replica, *patience);
                }
            }
            Step::Poll { nth, replica, wait } => self.poll(*nth, *replica, *wait),
            Step::Check { ask, replica } => self.check(*ask, *replica),
            Step::Crowd { replica, seconds } => self.crowd(*replica, *seconds),
            Step::Cancel { nth, replica } => self.cancel(*nth, *replica),
            Step::Operate { replica } => self.operate(*replica).await,
            Step::Kill { replica } => self.kill(*replica),
            Step::Start { replica, crash, recovery } => {
                self.start(*replica, crash.clone(), *recovery).await?;
            }
            Step::Freeze { replica, millis } => {
                if let Some(gateway) = self.alive(*replica) {
                    gateway.process.stop_for(*millis);
                }
            }
            Step::Ledger { plight, millis } => self.store.befall(*plight, Duration::from_millis(*millis)),
            Step::Copy if self.setup.place != Place::File => {
                self.store.copy().await.map_err(|error| error.to_string())?;
            }
            Step::PutBack if self.setup.place != Place::File => {
                for replica in 0..self.gateways.len() {
                    self.kill(replica);
                }
                if self.store.put_back().await.map_err(|error| error.to_string())? {
                    for replica in 0..self.gateways.len() {
                        self.start(replica, None, true).await?;
                    }
                }
            }
            Step::Copy | Step::PutBack => {}
            Step::Delete => self.delete().await?,
            Step::Recovery { replica } => self.begin_recovery(*replica),
            Step::Confirm { replica } => self.confirm(*replica).await,
            Step::Clock { replica, millis } => {
                self.offsets[*replica] += millis * 1_000;
                self.skew += Duration::from_millis(millis.unsigned_abs());
                self.trace.line(|| format!("the clock of {replica} is set by {millis} ms"));
                if let Some(gateway) = self.alive(*replica) {
                    gateway.process.step_clock(millis * 1_000);
                }
            }
            Step::Faults(faults) => {
                self.trace.line(|| format!("faults: {faults}"));
                self.control(&Method::POST, "/_sim/faults", &json!({ "faults": faults }))?;
            }
            Step::World(world) => {
                self.trace.line(|| format!("world: {world}"));
                self.control(&Method::POST, "/_sim/world", world)?;
            }
            Step::Net { weather, millis } => {
                self.trace.line(|| format!("network: {weather:?} for {millis} ms"));
                self.net.set(*weather, Duration::from_millis(*millis));
            }
            Step::Console { what, through } => self.console(*what, through)?,
            Step::Reload { replica, version } => self.reload(*replica, *version)?,
            Step::Wait { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
        }
        Ok(())
    }

    /// A replica that lives, as a balancer finds one; where none does, this one is started by whoever watches it.
    async fn balanced(&mut self, replica: usize) -> Result<usize, String> {
        if self.alive(replica).is_some() {
            return Ok(replica);
        }
        if let Some(other) = (0..self.gateways.len()).find(|other| self.alive(*other).is_some()) {
            return Ok(other);
        }
        self.start(replica, None, false).await?;
        Ok(replica)
    }

    fn caller(&self, who: Who) -> Caller {
        let everything =
            Grant { allow: Vec::new(), upstreams: Vec::new(), matches: Match::default(), disks: Vec::new() };
        let grants = match who {
            Who::Servers => vec![
                Grant {
                    allow: vec![Action::Restore, Action::Check],
                    matches: Match { target: vec![TargetKind::Server], ..Match::default() },
                    ..everything.clone()
                },
                Grant { allow: vec![Action::Read], ..everything },
            ],
            Who::Alice | Who::Bob => {
                vec![Grant {
                    allow: vec![Action::Restore, Action::Read, Action::Check, Action::Preview],
                    ..everything
                }]
            }
        };
        let identity = Identity {
            name: who.name().into(),
            grants: grants.into(),
            repeatable: Duration::ZERO,
            scope: None,
        };
        let token = Token::from_header(&HeaderValue::from_static(ids::TOKEN));
        Caller::known(identity, token.filter(|_| !self.setup.held))
    }

    /// A client that asks once, and hangs up where no answer comes.
    fn submit(&self, ask: Ask, replica: usize, patience: u64) {
        let Some(gateway) = self.alive(replica) else { return };
        let mut submission = Submission::new(requests::request(ask.what), self.caller(ask.who));
        submission.key = ask.key.map(|key| key_of(ask.what, key));
        let engine = gateway.engine.clone();
        let asked = self.trace.elapsed();
        self.trace.line(|| format!("{} is asked: {ask:?}", gateway.process.name));
        let call = gateway.process.spawn(async move {
            tokio::time::timeout(Duration::from_millis(patience), engine.submit(submission)).await
        });
        let (trace, answers) = (Arc::clone(&self.trace), Arc::clone(&self.answers));
        tokio::spawn(async move {
            let outcome = match call.await {
                Ok(Ok(Ok(submitted))) => Outcome::Taken(submitted.entry.intent.id),
                Ok(Ok(Err(refusal))) => Outcome::Refused(refusal.problem.code.as_str()),
                Ok(Err(_)) | Err(_) => Outcome::Nothing,
            };
            trace.line(|| match &outcome {
                Outcome::Taken(id) => format!("{ask:?} is answered {}", short(*id)),
                other => format!("{ask:?} is answered {other:?}"),
            });
            let answered = Answered { ask, asked, answered: trace.elapsed(), outcome };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        });
    }

    /// Restores that clients know of.
    fn known(&self, nth: usize) -> Option<Row> {
        let (rows, _) = self.store.rows();
        let asked: Vec<&Row> = rows.iter().collect();
        if asked.is_empty() { None } else { Some(asked[asked.len() - 1 - nth % asked.len()].clone()) }
    }

    fn owner(&self, row: &Row) -> Caller {
        let owner =
            [Who::Alice, Who::Bob, Who::Servers].into_iter().find(|who| who.name() == row.intent.caller);
        self.caller(owner.unwrap_or(Who::Alice))
    }

    fn poll(&self, nth: usize, replica: usize, wait: u64) {
        let (Some(gateway), Some(row)) = (self.alive(replica), self.known(nth)) else { return };
        let (engine, caller, id) = (gateway.engine.clone(), self.owner(&row), row.intent.id);
        gateway.process.spawn(async move {
            let until = (wait > 0).then(|| tokio::time::Instant::now() + Duration::from_millis(wait));
            let _looked = engine.refresh_and_wait(id, &caller, None, until).await;
        });
    }

    fn check(&self, ask: Ask, replica: usize) {
        let Some(gateway) = self.alive(replica) else { return };
        let (engine, caller) = (gateway.engine.clone(), self.caller(ask.who));
        let request = requests::request(ask.what);
        gateway.process.spawn(async move {
            let _checked = engine.check(&request, None, &caller, None).await;
        });
    }

    fn crowd(&self, replica: usize, seconds: u64) {
        let Some(gateway) = self.alive(replica) else { return };
        self.trace.line(|| format!("{} is asked to check, over and over", gateway.process.name));
        for number in 0..seconds * 5 {
            let (engine, caller) = (gateway.engine.clone(), self.caller(Who::Bob));
            let request = requests::request(What::Disk(u32::try_from(number % 4).unwrap_or(0)));
            gateway.process.spawn(async move {
                tokio::time::sleep(Duration::from_millis(number * 200)).await;
                let _checked = engine.check(&request, None, &caller, None).await;
            });
        }
    }

    fn cancel(&self, nth: usize, replica: usize) {
        let (Some(gateway), Some(row)) = (self.alive(replica), self.known(nth)) else { return };
        let (engine, caller, id) = (gateway.engine.clone(), self.owner(&row), row.intent.id);
        gateway.process.spawn(async move {
            let _either = engine.cancel(id, &caller).await;
        });
    }

    fn kill(&mut self, replica: usize) {
        let Some(gateway) = self.gateways[replica].take() else { return };
        self.trace.line(|| format!("{} is killed", gateway.process.name));
        gateway.process.kill();
        gateway.handed.release();
        self.kills += 1;
    }

    async fn start(&mut self, replica: usize, crash: Option<Crash>, recovery: bool) -> Result<(), String> {
        if self.alive(replica).is_some() {
            return Ok(());
        }
        self.kill(replica);
        self.starts += 1;
        let name = format!("gateway {replica}.{}", self.starts);
        self.trace.line(|| format!("{name} starts, {crash:?}, recovery: {recovery}"));
        let (net, trace) = (Arc::clone(&self.net), Arc::clone(&self.trace));
        let process = Process::new(name, net, trace, self.offsets[replica], crash);
        let Ok(handed) = self.store.open(&process).await else {
            process.kill();
            return Ok(());
        };
        let clock: Arc<dyn Clock> = Arc::new(ProcessClock(Arc::clone(&process)));
        let platform: Arc<dyn Platform> = Arc::new(Machine(Arc::clone(&process)));
        let config = self.config(self.version)?;
        let rules = Rules::of(&config, None, &clock, Some(&platform))?;
        let policy = self.policy(&rules);
        let ledger = Arc::clone(&handed) as Arc<dyn restore_ledger::Ledger>;
        let observer = Arc::new(Nobody);
        let engine = Engine::on(Some(platform), ledger, rules.routes(), policy, Arc::clone(&clock), observer);
        let starting = engine.clone();
        let started = process.spawn(async move {
            if recovery {
                let reason = "the ledger was put back to a copy";
                starting.begin_recovery(reason, clock.now()).await.map_err(|error| error.to_string())?;
            }
            starting.recover().await.map_err(|error| error.to_string())
        });
        let begun = match tokio::time::timeout(START, started).await {
            Ok(Ok(Ok(_))) => true,
            // Its start failed, or it died in it.
            Ok(_) | Err(_) => false,
        };
        if !begun {
            self.trace.line(|| format!("{} does not start", process.name));
            process.kill();
            handed.release();
            return Ok(());
        }
        self.gateways[replica] = Some(Gateway { process, engine, handed, rules });
        Ok(())
    }

    /// Deletes the file between two runs. A gateway may refuse to start without it, and then it is put back; or start in
    /// recovery mode, with an operator. What it must not is begin anew as if nothing had been.
    async fn delete(&mut self) -> Result<(), String> {
        for replica in 0..self.gateways.len() {
            self.kill(replica);
        }
        if !self.store.delete() {
            return Ok(());
        }
        self.start(0, None, false).await?;
        match self.alive(0).map(|gateway| gateway.engine.recovery().is_some()) {
            Some(true) => self.store.forget_all(),
            Some(false) => {
                return Err("F42: the ledger was deleted, and the gateway starts as if new".to_owned());
            }
            None => {
                self.store.put_file_back();
                self.start(0, None, false).await?;
            }
        }
        Ok(())
    }

    fn policy(&self, rules: &Rules) -> Policy {
        Policy { retention: self.setup.retention.map(Duration::from_secs), ..rules.policy() }
    }

    fn reload(&mut self, replica: usize, version: u8) -> Result<(), String> {
        self.version = version;
        let config = self.config(version)?;
        let retention = self.setup.retention;
        let Some(gateway) = self.gateways[replica].as_mut().filter(|gateway| gateway.process.is_alive())
        else {
            return Ok(());
        };
        self.trace.line(|| format!("{} loads version {version} of the settings", gateway.process.name));
        let clock: Arc<dyn Clock> = Arc::new(ProcessClock(Arc::clone(&gateway.process)));
        let platform: Arc<dyn Platform> = Arc::new(Machine(Arc::clone(&gateway.process)));
        let rules = Rules::of(&config, Some(&gateway.rules), &clock, Some(&platform))?;
        let policy = Policy { retention: retention.map(Duration::from_secs), ..rules.policy() };
        gateway.engine.replace(rules.routes(), policy);
        gateway.rules = rules;
        Ok(())
    }

    /// The configuration in a version: 0 as at first, 1 with upstreams renamed, 2 with requests rerouted, 3 at another address of
    /// the same clouds.
    fn config(&mut self, version: u8) -> Result<Config, String> {
        if let Some(known) = self.known_settings.get(&version) {
            return Ok(known.clone());
        }
        let read = self.read_config(version)?;
        self.known_settings.insert(version, read.clone());
        Ok(read)
    }

    fn read_config(&self, version: u8) -> Result<Config, String> {
        let setup = self.setup;
        let credential = if setup.held { "signer" } else { "passthrough" };
        let mut text = format!(
            "[ledger]\nurl = \"memory:\"\nlease_seconds = {LEASE}\n\
             [submit]\nsync_wait_seconds = 2\nretry_deadline_seconds = 4\nmax_retry_after_seconds = 1\n\
             dedup_window_seconds = {}\nidempotency_key_ttl_seconds = {}\n\
             [polling]\nabsence_confirmation_seconds = {}\nvisibility_grace_seconds = 1\noperator_escalation_seconds = {}\noverdue_seconds = {}\n\
             status_cache_ttl_seconds = 1\n",
            setup.duplicate_window, setup.key_window, setup.settle, setup.unknown, setup.overdue,
        );
        if setup.held {
            let _ = write!(
                text,
                "[[credentials]]\nname = \"signer\"\ntype = \"aksk\"\naccess_key = {{ env = \"AK\" }}\n\
                 secret_key = {{ env = \"SK\" }}\nproject_id = \"{}\"\n",
                ids::PROJECT
            );
        }
        let other = "http://127.0.0.1:9002";
        let place = if version == 3 { other } else { "http://127.0.0.1:9001" };
        text.push_str(&super::routing::routing(setup, version, credential, [place, other]));
        let environment = Environment::new([
            ("AK", "RGTESTACCESSKEY00001"),
            ("SK", "rgTestSecretKey/000000000000000000000001"),
        ]);
        let loaded =
            config::load(&Source::new("settings", text.clone()), &environment, &restore_generations::names());
        loaded.map(|(config, _)| config).map_err(|faults| format!("{faults}\n{text}"))
    }

    fn begin_recovery(&self, replica: usize) {
        let Some(gateway) = self.alive(replica) else { return };
        self.trace.line(|| format!("{} is put into recovery mode", gateway.process.name));
        let engine = gateway.engine.clone();
        gateway.process.spawn(async move {
            let since = engine.clock().now();
            let _either = engine.begin_recovery("an operator is careful", since).await;
        });
    }

    async fn confirm(&self, replica: usize) {
        let Some(gateway) = self.alive(replica) else { return };
        let engine = gateway.engine.clone();
        let confirmed = gateway
            .process
            .spawn(async move { engine.end_recovery("campaign", "looked into the clouds").await });
        if let Ok(Ok(Ok(()))) = tokio::time::timeout(LOOK, confirmed).await {
            self.trace.line(|| format!("an operator confirms the ledger at {replica}"));
        }
    }

    /// An operator who looks at the disks, and says of each restore that waits for one what is true.
    async fn operate(&mut self, replica: usize) {
        let (rows, _) = self.store.rows();
        for row in rows.iter().filter(|row| row.entry.state.needs_operator && row.finished.is_none()) {
            let Some(gateway) = self.alive(replica) else { return };
            let outcome = super::judge::found(row, &self.applied(), self.trace.elapsed());
            let (engine, id) = (gateway.engine.clone(), row.intent.id);
            let operator = Caller::anyone(None);
            let word = Resolution {
                outcome,
                by: "campaign".to_owned(),
                reason: "looked into the clouds".to_owned(),
                early: false,
                seen: Some(row.entry.state.seq),
            };
            let ended = gateway.process.spawn(async move { engine.resolve(id, word, &operator).await });
            if let Ok(Ok(Ok(_))) = tokio::time::timeout(LOOK, ended).await {
                self.resolved += 1;
            }
        }
    }

    fn console(&mut self, what: What, through: &str) -> Result<(), String> {
        let body = requests::body(what);
        let (backup, volume) = (&body["source"]["backup_id"], &body["target"]["volume_id"]);
        let (Some(backup), Some(_)) = (backup.as_str(), volume.as_str()) else { return Ok(()) };
        let (path, body) = match through {
            "cbr" => (
                format!("/v3/{}/backups/{backup}/restore", ids::PROJECT),
                json!({"restore": {"volume_id": volume}}),
            ),
            _ => (
                format!("/vbs/v2/{}/cloudbackups/{backup}/restore", ids::PROJECT),
                json!({"restore": {"volume_id": volume}}),
            ),
        };
        let request = Request::post(path)
            .header("host", "console")
            .header("content-type", "application/json")
            .header("x-auth-token", ids::TOKEN)
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        self.consoles += 1;
        let (status, answer) = self.clouds.ask(request, &format!("req-console-{}", self.consoles));
        self.trace
            .line(|| format!("somebody restores {what:?} at the console of {through}: {status} {answer}"));
        Ok(())
    }

    fn applied(&self) -> Vec<Applied> {
        let (_, truth) = self.clouds.control(&Method::GET, "/_sim/restores", &Value::Null);
        applied_of(&truth, Trace::since_began, |restore, _| {
            restore["request_id"].as_str().is_some_and(|id| id.starts_with("req-console"))
        })
    }

    fn open_rows(&self) -> Vec<Row> {
        let (rows, _) = self.store.rows();
        rows.into_iter().filter(|row| row.finished.is_none()).collect()
    }

    /// Everything healthy: no faults, every replica up; then every restore is asked for until it has ended, and operators
    /// decide what waits for them. Whatever is still open then cannot be ended by anybody.
    async fn rest(&mut self) -> Result<(), String> {
        self.trace.line(|| "everything is well again".to_owned());
        let faults = match (self.setup.ends, self.setup.way) {
            (true, _) => ended(),
            (false, Way::Around) => super::schedule::closed(),
            (false, _) => json!([]),
        };
        self.control(&Method::POST, "/_sim/faults", &json!({ "faults": faults }))?;
        self.net.heal();
        self.store.heal();
        // Whoever is stopped goes on by itself, late as it is.
        for _ in 0..STOPS {
            let stopped = |gateway: &Gateway| gateway.process.is_alive() && !gateway.process.is_running();
            if !self.gateways.iter().flatten().any(stopped) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for replica in 0..self.gateways.len() {
            self.start(replica, None, false).await?;
        }
        tokio::time::sleep(CLIENTS).await;
        self.end_all().await?;
        self.trace.line(|| "everything has ended, and every gateway is started again".to_owned());
        for replica in 0..self.gateways.len() {
            self.kill(replica);
            self.start(replica, None, false).await?;
        }
        tokio::time::sleep(AFTERMATH).await;
        self.end_all().await
    }

    /// Looks at every restore until it has ended.
    async fn end_all(&mut self) -> Result<(), String> {
        let replicas = self.gateways.len();
        for look in 0.. {
            // A point that was armed may still be passed.
            for replica in 0..replicas {
                self.start(replica, None, false).await?;
                if self.alive(replica).is_some_and(|gateway| gateway.engine.recovery().is_some()) {
                    self.confirm(replica).await;
                }
            }
            let open = self.open_rows();
            if open.is_empty() {
                return Ok(());
            }
            if look == LOOKS {
                let stuck: Vec<String> = open
                    .iter()
                    .map(|row| {
                        let state = &row.entry.state;
                        let status = state.status.as_str();
                        format!(
                            "{} is {status}, overdue {}, needs_operator {}, stale {}",
                            short(row.intent.id),
                            state.overdue,
                            state.needs_operator,
                            state.last_poll_failed_since.is_some()
                        )
                    })
                    .collect();
                return Err(format!("stuck: nothing and nobody can end it: {}", stuck.join("; ")));
            }
            let mut polls = Vec::new();
            for (turn, row) in open.iter().enumerate() {
                let Some(gateway) = self.alive((turn + look as usize) % replicas) else { continue };
                let (engine, caller, id) = (gateway.engine.clone(), self.owner(row), row.intent.id);
                polls.push(
                    gateway
                        .process
                        .spawn(async move { engine.refresh_and_wait(id, &caller, None, None).await }),
                );
            }
            for poll in polls {
                let _looked = tokio::time::timeout(LOOK, poll).await;
            }
            if look > 0 {
                self.operate(look as usize % replicas).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn leave_behind(self) -> Result<Played, String> {
        let applied = self.applied();
        let (rows, lost) = self.store.rows();
        let gateway = self.gateways.iter().flatten().next().ok_or("no gateway is left")?;
        let (records, faults) = gateway.handed.audit_at_once().map_err(|error| error.to_string())?;
        let (_, arrived) = self.clouds.control(&Method::GET, "/_sim/requests", &Value::Null);
        let calls = arrived["requests"].as_array().into_iter().flatten();
        let calls = calls.filter(|call| restore_tests::world::is_restore_call(call)).count();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for gateway in self.gateways.iter().flatten() {
            gateway.process.kill();
            gateway.handed.release();
        }
        Ok(Played {
            setup: self.setup.clone(),
            answers,
            rows,
            lost,
            records,
            faults,
            applied,
            calls,
            skew: self.skew,
            kills: self.kills,
            resolved: self.resolved,
            unread: UNREAD,
        })
    }
}

/// A key belongs to one content: that of another has another name.
pub fn key_of(what: What, key: u32) -> String {
    format!("{what:?}-{key}")
}

/// How often each word was said.
pub fn count<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}
