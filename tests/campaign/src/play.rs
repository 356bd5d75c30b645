//! Plays a schedule: gateways as processes, clouds in this one. At the end everything is healthy again, and every restore
//! is polled until it has ended, with an operator for those that need one.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use jiff::Timestamp as CloudTime;
use restore_ledger::{LedgerUrl, OpenOptions, Record};
use restore_model::{Clock, Code, EventKind, RestoreId, SystemClock, Timestamp};
use restore_simulator::{Clock as SimClock, Simulator};
use restore_test_postgres::Postgres;
use restore_tests::world::is_restore_call;
use restore_tests::{Http, Process, TestConfig, ids};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Store;
use crate::schedule::{Schedule, Step};
use crate::simulation::judge::found;
use crate::simulation::play::{Answered, Applied, Outcome, Played, applied_of, key_of};
use crate::simulation::requests;
use crate::simulation::routing::routing;
use crate::simulation::schedule::{Ask, DISKS, Setup, Way, What, Who, closed, ended};
use crate::simulation::store::Row;

/// Longest time for everything to come to rest at the end, beside the length of a restore.
const REST: Duration = Duration::from_secs(60);
/// Longest that a client waits for an answer.
const CLIENT: Duration = Duration::from_secs(8);
/// Longest time for a healthy ledger to answer, on a machine that does other work.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks while everything comes to rest.
const LOOK: Duration = Duration::from_millis(200);
/// For the sends of a replica that continues late, and of one that starts when everything has ended.
const AFTERMATH: Duration = Duration::from_millis(600);
/// How long before the beginning the restores were that schedules with a history begin with, in milliseconds.
const DAYS: i64 = 3 * 24 * 3_600_000;
/// The longest that the end of a restore may stay unread beside a caller who only checks: a third of the time that the
/// caller goes on.
const UNREAD: Duration = Duration::from_secs(8);
/// Who asks, each by a key of the same name.
const CALLERS: [Who; 3] = [Who::Alice, Who::Bob, Who::Servers];

/// What is left to be judged, and the logs of the gateways for those who must find out.
pub struct Stood {
    /// What a schedule left behind.
    pub played: Played,
    /// The clouds, until they are stopped.
    pub clouds: Simulator,
}

/// The clouds' clock, which is set to the present once there is a history.
#[derive(Debug)]
struct CloudsClock(Arc<AtomicI64>);

impl SimClock for CloudsClock {
    fn now(&self) -> CloudTime {
        let now = SystemClock.now().plus_micros(self.0.load(Ordering::SeqCst) * 1_000);
        now.to_jiff()
    }
}

struct Stage<'a> {
    setup: &'a Setup,
    clouds: Simulator,
    url: String,
    ledger: LedgerUrl,
    version: u8,
    http: Http,
    replicas: Vec<Option<Process>>,
    folders: Vec<Option<tempfile::TempDir>>,
    asks: Vec<Ask>,
    clients: Vec<JoinHandle<()>>,
    /// What goes on beside the steps and ends by itself.
    plights: Vec<JoinHandle<()>>,
    answers: Arc<Mutex<Vec<Answered>>>,
    postgres: Option<&'a Postgres>,
    began: Timestamp,
    lost: Vec<Row>,
    killed: usize,
    resolved: AtomicUsize,
    logs: &'a Mutex<String>,
}

/// Plays the steps of a schedule.
///
/// # Errors
/// What did not come to an end.
pub async fn play(
    seed: u64,
    store: Store,
    postgres: Option<&Postgres>,
    schedule: &Schedule,
    logs: &Mutex<String>,
) -> Result<Stood, String> {
    let setup = &schedule.setup;
    let behind = Arc::new(AtomicI64::new(if setup.history { -DAYS } else { 0 }));
    let options = restore_simulator::Options {
        kept_requests: 100_000,
        extra_disks: DISKS,
        clock: Arc::new(CloudsClock(Arc::clone(&behind))),
        ..restore_simulator::Options::default()
    };
    // On all addresses of this machine: two of them are two names of one cloud.
    let clouds = Simulator::start(([0, 0, 0, 0], 0).into(), options).await.map_err(|e| e.to_string())?;
    let replicas = setup.replicas();
    let mut folders = Vec::new();
    for _ in 0..replicas {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("password");
        std::fs::write(&path, "example-only").map_err(|error| error.to_string())?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(|error| error.to_string())?;
        folders.push(Some(folder));
    }
    let url = match (store, postgres) {
        (Store::Postgres, Some(postgres)) => {
            let name =
                format!("campaign_{seed}_{}", SystemClock.now().micros_since(Timestamp::from_micros(0)));
            postgres.create_database(&name);
            postgres.url(&name)
        }
        _ => {
            let folder = folders[0].as_ref().map(|folder| folder.path().join("ledger.db"));
            format!("sqlite:{}", folder.unwrap_or_default().display())
        }
    };
    let ledger = url.parse().map_err(|_| format!("{url} is no ledger"))?;
    let mut stage = Stage {
        setup,
        clouds,
        url,
        ledger,
        version: 0,
        http: Http::default(),
        replicas: (0..replicas).map(|_| None).collect(),
        folders,
        asks: Vec::new(),
        clients: Vec::new(),
        plights: Vec::new(),
        answers: Arc::default(),
        postgres,
        began: SystemClock.now().plus_micros(-2 * DAYS * 1_000),
        lost: Vec::new(),
        killed: 0,
        resolved: AtomicUsize::new(0),
        logs,
    };
    stage.control(Method::POST, "/_sim/world", &setup.world).await;
    if setup.history {
        for what in (0..DISKS).map(What::Disk).chain([What::FreeDisk]) {
            stage.restore_at_console(what).await;
        }
        behind.store(0, Ordering::SeqCst);
    }
    let mut played = Ok(());
    for step in &schedule.steps {
        played = stage.step(step).await;
        if played.is_err() {
            break;
        }
    }
    let left = match played {
        Ok(()) => match stage.rest().await {
            Ok(()) => stage.leave_behind().await,
            Err(why) => Err(why),
        },
        Err(why) => Err(why),
    };
    let unclean = stage.stop().await;
    let played = left?;
    unclean?;
    Ok(Stood { played, clouds: stage.clouds })
}

const fn key(who: Who) -> &'static str {
    match who {
        Who::Alice => "rgk_alice-0123456789abcdef0123456789abcdefg",
        Who::Bob => "rgk_bob-0123456789abcdef0123456789abcdefghi",
        Who::Servers => "rgk_servers-0123456789abcdef0123456789abcde",
    }
}

/// Configuration of a schedule, in a version of [`routing`]. Everything that takes long in service is short here, in the same
/// order of lengths.
fn config(setup: &Setup, ledger: &str, version: u8, clouds: &str) -> String {
    let credential = if setup.held { "robot" } else { "passthrough" };
    let mut callers = String::new();
    for who in CALLERS {
        let (name, hash) = (who.name(), hash(key(who)));
        let policy = match who {
            Who::Servers => {
                "actions = [\"restore\", \"check\"]\nmatch = { target_types = [\"server\"] }\n\
                 [[policies]]\ncallers = [\"servers\"]\nactions = [\"read\"]\n"
            }
            Who::Alice | Who::Bob => "actions = [\"restore\", \"read\", \"check\", \"preview\"]\n",
        };
        callers.push_str(&format!(
            "[[callers]]\nname = \"{name}\"\ntype = \"api-key\"\nkey_hash = \"{hash}\"\n\
             [[policies]]\ncallers = [\"{name}\"]\n{policy}"
        ));
    }
    let other = clouds.replace("127.0.0.1", "127.0.0.2");
    let place = if version == 3 { &other } else { clouds };
    let robot = r#"
[[credentials]]
name = "robot"
type = "iam-password"
iam_endpoint = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "password" }
project = "eu-test-1"
"#;
    TestConfig::default()
        .set("ledger.url", &format!("{ledger:?}"))
        .set("ledger.lease_seconds", "3")
        .set("limits.rate_per_second", "1000")
        .set("limits.rate_burst", "1000")
        .set("submit.sync_wait_seconds", "2")
        .set("submit.retry_deadline_seconds", "4")
        .set("submit.max_retry_after_seconds", "1")
        .set("submit.dedup_window_seconds", &setup.duplicate_window.to_string())
        .set("submit.idempotency_key_ttl_seconds", &setup.key_window.to_string())
        .set("polling.absence_confirmation_seconds", &setup.settle.to_string())
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", &setup.unknown.to_string())
        .set("polling.overdue_seconds", &setup.overdue.to_string())
        .set("telemetry.log_level", "\"info\"")
        .set("telemetry.log_format", "\"json\"")
        .routes(&format!("{robot}{}", routing(setup, version, credential, [place, &other])))
        .and(&callers)
        .toml(clouds)
}

fn hash(key: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(key.as_bytes());
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl Stage<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Submit { ask, replica } => {
                self.asks.push(*ask);
                let replica = self.balanced(*replica).await;
                self.submit(*ask, replica);
            }
            Step::Again { of, replica } => {
                if let Some(ask) = self.asks.get(*of).copied() {
                    let replica = self.balanced(*replica).await;
                    self.submit(ask, replica);
                }
            }
            Step::Poll { nth, replica } => {
                let known = self.known();
                if let Some((who, id)) = known.len().checked_sub(1 + nth).and_then(|at| known.get(at)) {
                    self.call(Method::GET, *replica, *who, &format!("/api/v1/restores/{id}?wait=2"), None);
                }
            }
            Step::Look { replica } => {
                self.call(Method::GET, *replica, Who::Alice, "/api/v1/restores?limit=5", None);
            }
            Step::Check { ask, replica } => {
                let body = requests::body(ask.what);
                self.call(Method::POST, *replica, ask.who, "/api/v1/restore-checks", Some(body));
            }
            Step::Crowd { replica, a_second, seconds } => self.crowd(*replica, *a_second, *seconds),
            Step::Cancel { replica } => {
                if let Some((who, id)) = self.known().pop() {
                    self.call(Method::DELETE, *replica, who, &format!("/api/v1/restores/{id}"), None);
                }
            }
            Step::Operate { replica } => {
                if let Ok((rows, _, _)) = self.rows().await {
                    self.operate(*replica, &rows).await;
                }
            }
            Step::Confirm { replica } => self.confirm(*replica).await,
            Step::Kill { replica } => self.end(*replica, "KILL").await,
            Step::Start { replica, crash, recovery } => {
                self.start(*replica, crash.as_deref(), *recovery).await;
            }
            Step::Freeze { replica, millis } => self.freeze(*replica, Duration::from_millis(*millis)).await,
            Step::Thaw { replica } => self.thaw(*replica).await,
            Step::DatabaseAway { millis } => {
                if let Some(postgres) = self.postgres {
                    postgres.kill();
                    tokio::time::sleep(Duration::from_millis(*millis)).await;
                    postgres.start_again();
                }
            }
            Step::Locked { millis } => self.lock(Duration::from_millis(*millis)),
            Step::Delete { killed } => self.delete(*killed).await?,
            Step::Reload { replica, version } => self.reload(*replica, *version).await,
            Step::Faults(faults) => {
                self.control(Method::POST, "/_sim/faults", &json!({ "faults": faults })).await;
            }
            Step::World(world) => {
                self.control(Method::POST, "/_sim/world", world).await;
            }
            Step::Wait { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
        }
        Ok(())
    }

    /// A replica that lives, as a balancer finds one; where none does, this one is started by its supervisor.
    async fn balanced(&mut self, replica: usize) -> usize {
        let lives = |process: &mut Option<Process>| process.as_mut().is_some_and(Process::is_running);
        if lives(&mut self.replicas[replica]) {
            return replica;
        }
        if let Some(other) = self.replicas.iter_mut().position(lives) {
            return other;
        }
        self.start(replica, None, false).await;
        replica
    }

    fn api(&self, replica: usize) -> Option<std::net::SocketAddr> {
        self.replicas[replica].as_ref().map(|process| process.api)
    }

    fn since(&self, moment: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(moment.micros_since(self.began)).unwrap_or(0))
    }

    /// Restores that clients were shown, in the order of their answers.
    fn known(&self) -> Vec<(Who, RestoreId)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = answers.iter().filter_map(|answer| match answer.outcome {
            Outcome::Taken(id) => Some((answer.ask.who, id)),
            _ => None,
        });
        shown.collect()
    }

    fn headers(&self, who: Who) -> Vec<(&'static str, &'static str)> {
        let mut headers = vec![("x-api-key", key(who)), ("content-type", "application/json")];
        headers.extend((!self.setup.held).then_some(("x-auth-token", ids::TOKEN)));
        headers
    }

    /// A call whose answer nobody needs.
    fn call(&mut self, method: Method, replica: usize, who: Who, path: &str, body: Option<Value>) {
        let Some(api) = self.api(replica) else { return };
        let (http, headers, url) = (self.http.clone(), self.headers(who), format!("http://{api}{path}"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.clients.push(tokio::spawn(async move {
            let exchange = http.try_send(method, &url, &headers, body);
            let _either = tokio::time::timeout(CLIENT, exchange).await;
        }));
    }

    fn crowd(&mut self, replica: usize, a_second: u32, seconds: u32) {
        for number in 0..a_second * seconds {
            let Some(api) = self.api(replica) else { return };
            let (http, headers) = (self.http.clone(), self.headers(Who::Bob));
            let body = requests::body(What::Disk(number % DISKS)).to_string();
            self.clients.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1) * number / a_second).await;
                let url = format!("http://{api}/api/v1/restore-checks");
                let exchange = http.try_send(Method::POST, &url, &headers, body);
                let _either = tokio::time::timeout(CLIENT, exchange).await;
            }));
        }
    }

    /// A client that asks once and hangs up when no answer comes.
    fn submit(&mut self, ask: Ask, replica: usize) {
        let Some(api) = self.api(replica) else { return };
        let (http, mut headers) = (self.http.clone(), self.headers(ask.who));
        let answers = Arc::clone(&self.answers);
        let began = self.began;
        self.clients.push(tokio::spawn(async move {
            let since =
                |now: Timestamp| Duration::from_micros(u64::try_from(now.micros_since(began)).unwrap_or(0));
            let key = ask.key.map(|key| key_of(ask.what, key));
            let key: Option<&'static str> = key.map(|key| &*key.leak());
            headers.extend(key.map(|key| ("idempotency-key", key)));
            let url = format!("http://{api}/api/v1/restores");
            let asked = since(SystemClock.now());
            let body = requests::body(ask.what).to_string();
            let exchange = http.try_send(Method::POST, &url, &headers, body);
            let outcome = match tokio::time::timeout(CLIENT, exchange).await {
                Ok(Ok(answer)) => outcome(&serde_json::from_slice(&answer.body).unwrap_or_default()),
                _ => Outcome::Nothing,
            };
            let answered = Answered { ask, asked, answered: since(SystemClock.now()), outcome };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        }));
    }

    async fn end(&mut self, replica: usize, signal: &str) {
        let Some(mut process) = self.replicas[replica].take() else { return };
        if process.is_running() {
            process.signal("CONT").await;
            process.signal(signal).await;
        }
        let (_, log, folder) = process.ended().await;
        self.note(replica, &log);
        self.folders[replica] = Some(folder);
        self.killed += 1;
    }

    fn note(&self, replica: usize, log: &str) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.push_str(&format!("replica {replica}:\n{log}\n"));
    }

    /// Stops a replica, and has it continue by itself.
    async fn freeze(&mut self, replica: usize, lasts: Duration) {
        let Some(process) = &mut self.replicas[replica] else { return };
        if !process.is_running() {
            return;
        }
        process.signal("STOP").await;
        let Some(id) =
            process.proc("").parent().and_then(process_of).or_else(|| process_of(&process.proc("")))
        else {
            return;
        };
        self.plights.push(tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            let _either = tokio::process::Command::new("kill").args(["-s", "CONT", &id]).output().await;
        }));
    }

    async fn thaw(&mut self, replica: usize) {
        if let Some(process) = &mut self.replicas[replica]
            && process.is_running()
        {
            process.signal("CONT").await;
        }
    }

    /// Holds the write lock of the file, as a program for backups does.
    fn lock(&mut self, lasts: Duration) {
        let LedgerUrl::Sqlite(path) = &self.ledger else { return };
        let path = path.clone();
        self.plights.push(tokio::spawn(async move {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(false);
            let Ok(mut connection) = SqliteConnection::connect_with(&options).await else { return };
            if connection.execute("BEGIN IMMEDIATE").await.is_ok() {
                tokio::time::sleep(lasts).await;
                let _either = connection.execute("ROLLBACK").await;
            }
            let _either = connection.close().await;
        }));
    }

    async fn settled(&mut self) {
        for plight in std::mem::take(&mut self.plights) {
            let _either = plight.await;
        }
    }

    /// Deletes the file between two runs. The gateway may refuse to start without it, and then it is put back; or it
    /// starts in recovery mode. It must not begin as if nothing had been.
    async fn delete(&mut self, killed: bool) -> Result<(), String> {
        let LedgerUrl::Sqlite(path) = self.ledger.clone() else { return Ok(()) };
        self.settled().await;
        self.end(0, if killed { "KILL" } else { "TERM" }).await;
        let Ok((rows, _, _)) = self.rows().await else { return Ok(()) };
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let away = beside(".away");
        std::fs::rename(&path, &away).map_err(|error| error.to_string())?;
        let left: Vec<PathBuf> =
            ["-wal", "-shm"].map(beside).into_iter().filter(|path| path.exists()).collect();
        for file in &left {
            std::fs::rename(file, file.with_extension("away")).map_err(|error| error.to_string())?;
        }
        self.start(0, None, false).await;
        let Some(process) = &self.replicas[0] else {
            return Err("the gateway does not start without its ledger".to_owned());
        };
        let url = format!("http://{}/recovery", process.admin);
        let shown = self.http.send(Method::GET, &url, &[], "").await.json();
        if shown["recovery"] != true {
            return Err("F42: the ledger was deleted, and the gateway starts as if new".to_owned());
        }
        let now = self.since(SystemClock.now());
        self.lost.extend(rows.into_iter().map(|row| Row { lost: Some(now), ..row }));
        Ok(())
    }

    async fn reload(&mut self, replica: usize, version: u8) {
        self.version = version;
        let text = self.toml();
        let Some(process) = &self.replicas[replica] else { return };
        let path = process.config();
        let next = path.with_extension("next");
        if std::fs::write(&next, text).is_ok() && std::fs::rename(&next, &path).is_ok() {
            let url = format!("http://{}/config/reload", process.admin);
            let headers = [("content-type", "application/json")];
            let load = self.http.try_send(Method::POST, &url, &headers, "{}");
            // One that is stopped loads them when it continues.
            let _either = tokio::time::timeout(Duration::from_secs(1), load).await;
        }
    }

    fn toml(&self) -> String {
        config(self.setup, &self.url, self.version, &self.clouds.url())
    }

    /// Starts a gateway that is not there, or is dead; one that lives is left alone.
    async fn start(&mut self, replica: usize, crash: Option<&str>, recovery: bool) {
        if self.replicas[replica].as_mut().is_some_and(Process::is_running) {
            return;
        }
        if self.replicas[replica].is_some() {
            self.end(replica, "KILL").await;
        }
        let Some(folder) = self.folders[replica].take() else { return };
        let mut variables: Vec<(&str, &str)> =
            crash.map(|crash| (restore_engine::crash::VARIABLE, crash)).into_iter().collect();
        variables.extend(recovery.then_some(("RESTORE_GATEWAY_RECOVERY", "true")));
        match Process::try_serve_in(folder, &self.toml(), &variables).await {
            Ok(process) => self.replicas[replica] = Some(process),
            // It took something over at once and died at its point, or its ledger is away or locked.
            Err((folder, log)) => {
                self.note(replica, &log);
                self.folders[replica] = Some(folder);
                self.killed += 1;
            }
        }
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.clouds.url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.http.send(method, &url, &[("content-type", "application/json")], body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    }

    /// A restore that the gateway knows nothing of.
    async fn restore_at_console(&self, what: What) {
        let body = requests::body(what);
        let backup = body["source"]["backup_id"].as_str().unwrap_or_default();
        let url = format!("{}/v3/{}/backups/{backup}/restore", self.clouds.url(), ids::PROJECT);
        let body = json!({"restore": {"volume_id": body["target"]["volume_id"]}}).to_string();
        let headers = [("content-type", "application/json"), ("x-auth-token", ids::TOKEN)];
        let answer = self.http.send(Method::POST, &url, &headers, body).await;
        assert!(answer.status < 300, "{what:?} at the console: {}", answer.text());
    }

    async fn applied(&self) -> Vec<Applied> {
        let truth = self.control(Method::GET, "/_sim/restores", &Value::Null).await;
        let begin = Duration::from_millis(DAYS.unsigned_abs()) * 3 / 2;
        // The gateway knows of none before its beginning.
        applied_of(&truth, |moment| self.since(moment), |_, at| at < begin)
    }

    /// Every restore of the ledger; what is stored of it, and what the ledger finds wrong with itself.
    async fn rows(&self) -> Result<(Vec<Row>, Vec<Record>, Vec<String>), String> {
        let said = |error: restore_ledger::LedgerError| error.to_string();
        let ledger =
            restore_ledger::open_to_read(&self.ledger, OpenOptions::default()).await.map_err(said)?;
        let audited = crate::simulation::store::audit(&*ledger).await.map_err(said);
        ledger.close().await;
        let (records, faults) = audited?;
        let rows = records.iter().map(|record| self.row(record)).collect();
        Ok((rows, records, faults))
    }

    /// The same of a ledger that must answer, though perhaps late: everything is healthy.
    async fn rows_at_rest(&self) -> Result<(Vec<Row>, Vec<Record>, Vec<String>), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.rows().await {
                Err(_) if Instant::now() < end => tokio::time::sleep(LOOK).await,
                rows => return rows,
            }
        }
    }

    fn row(&self, record: &Record) -> Row {
        let events = &record.events;
        let created = events.first().map_or(Duration::ZERO, |event| self.since(event.at));
        Row {
            intent: Arc::clone(&record.entry.intent),
            created,
            finished: record.entry.state.finished_at.map(|at| self.since(at)),
            entry: record.entry.clone(),
            by_operator: events.iter().any(|event| matches!(event.kind, EventKind::Resolved { .. })),
            lost: None,
            rewound: false,
        }
    }

    async fn confirm(&self, replica: usize) {
        let Some(process) = &self.replicas[replica] else { return };
        let url = format!("http://{}/recovery/confirmation", process.admin);
        let word = json!({"by": "campaign", "reason": "the clouds were inspected"}).to_string();
        let headers = [("content-type", "application/json")];
        let sent = self.http.try_send(Method::POST, &url, &headers, word);
        let _either = tokio::time::timeout(CLIENT, sent).await;
    }

    /// An operator who inspects the disks, and says of each restore that needs one what is true.
    async fn operate(&self, replica: usize, rows: &[Row]) {
        let Some(admin) = self.replicas[replica].as_ref().map(|process| process.admin) else { return };
        for row in rows.iter().filter(|row| row.entry.state.needs_operator && row.finished.is_none()) {
            let outcome = found(row, &self.applied().await, self.since(SystemClock.now()));
            let url = format!("http://{admin}/restores/{}/resolution", row.intent.id);
            let word = json!({"as": outcome, "by": "campaign", "reason": "the clouds were inspected"});
            let seen = format!("\"{}\"", row.entry.state.seq);
            let headers = [("content-type", "application/json"), ("if-match", seen.as_str())];
            let sent = self.http.try_send(Method::POST, &url, &headers, word.to_string());
            if let Ok(Ok(answer)) = tokio::time::timeout(CLIENT, sent).await
                && answer.status == 200
            {
                self.resolved.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Everything healthy: no faults, no crash points, every replica up. Every restore is polled until it has ended; then
    /// every gateway is started again, for what it would send unasked.
    async fn rest(&mut self) -> Result<(), String> {
        let faults = match (self.setup.ends, self.setup.way) {
            (true, _) => ended(),
            (false, Way::Around) => closed(),
            (false, _) => json!([]),
        };
        self.control(Method::POST, "/_sim/faults", &json!({ "faults": faults })).await;
        self.settled().await;
        for replica in 0..self.replicas.len() {
            self.thaw(replica).await;
        }
        for client in std::mem::take(&mut self.clients) {
            client.await.map_err(|error| error.to_string())?;
        }
        tokio::time::sleep(AFTERMATH).await;
        for _ in 0..2 {
            for replica in 0..self.replicas.len() {
                self.end(replica, "KILL").await;
                self.start(replica, None, false).await;
                if self.replicas[replica].is_none() {
                    return Err("a gateway does not come up again".to_owned());
                }
                self.confirm(replica).await;
            }
            self.end_all().await?;
            tokio::time::sleep(AFTERMATH).await;
        }
        self.end_all().await
    }

    async fn end_all(&mut self) -> Result<(), String> {
        // A restore that came in late lasts as long as any other.
        let lasts = self.setup.world["restore_seconds"].as_u64().unwrap_or(0);
        let end = Instant::now() + REST + Duration::from_secs(lasts);
        for turn in 0.. {
            let (rows, _, _) = self.rows_at_rest().await?;
            let open: Vec<&Row> = rows.iter().filter(|row| row.finished.is_none()).collect();
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                let stuck: Vec<Value> = open.iter().map(|row| json!(row.entry.state)).collect();
                return Err(format!("stuck: nobody can end it: {stuck:?}"));
            }
            for (nth, row) in open.iter().enumerate() {
                let who = CALLERS.into_iter().find(|who| who.name() == row.intent.caller);
                let path = format!("/api/v1/restores/{}", row.intent.id);
                self.call(
                    Method::GET,
                    (nth + turn) % self.replicas.len(),
                    who.unwrap_or(Who::Alice),
                    &path,
                    None,
                );
            }
            for poll in std::mem::take(&mut self.clients) {
                poll.await.map_err(|error| error.to_string())?;
            }
            self.operate(turn % self.replicas.len(), &rows).await;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn leave_behind(&self) -> Result<Played, String> {
        let (rows, records, faults) = self.rows_at_rest().await?;
        let arrived = self.control(Method::GET, "/_sim/requests", &Value::Null).await;
        let calls = arrived["requests"].as_array().into_iter().flatten().filter(|call| is_restore_call(call));
        let histories = if self.setup.history { DISKS as usize + 1 } else { 0 };
        let applied = self.applied().await;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Played {
            setup: self.setup.clone(),
            answers,
            rows,
            lost: self.lost.clone(),
            records,
            faults,
            applied,
            calls: calls.count() - histories,
            skew: Duration::ZERO,
            kills: self.killed,
            resolved: self.resolved.load(Ordering::Relaxed),
            unread: UNREAD,
        })
    }

    /// Ends every process, in good order.
    async fn stop(&mut self) -> Result<(), String> {
        let mut unclean = Ok(());
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            let Some(mut process) = replica.take() else { continue };
            if !process.is_running() {
                continue;
            }
            process.signal("CONT").await;
            process.signal("TERM").await;
            let (status, log, folder) = process.ended().await;
            self.folders.push(Some(folder));
            let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            logs.push_str(&format!("replica {number}:\n{log}\n"));
            if !status.success() {
                unclean = Err(format!("a gateway ended with {status}"));
            }
        }
        unclean
    }
}

fn process_of(path: &std::path::Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.to_owned())
}

/// What an answer to a submit says: a restore, or a refusal that accepted none.
fn outcome(body: &Value) -> Outcome {
    let id = |value: &Value| value.as_str()?.rsplit('/').next()?.parse().ok();
    if let Some(id) = id(&body["id"]) {
        return Outcome::Taken(id);
    }
    let code: Option<Code> = serde_json::from_value(body["code"].clone()).ok();
    // A busy target and a used key name the restore of another request.
    let of_another = matches!(code, Some(Code::TargetBusy | Code::IdempotencyKeyConflict));
    match (id(&body["restore"]).filter(|_| !of_another), code) {
        (Some(id), _) => Outcome::Taken(id),
        (None, Some(code)) => Outcome::Refused(code.as_str()),
        (None, None) => Outcome::Nothing,
    }
}
