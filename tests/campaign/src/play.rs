//! Plays a schedule: gateways as processes of their own, clouds in this one. At the end everything
//! is healthy again, and every restore is followed until it is final or waits for a person.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use restore_ledger::LedgerUrl;
use restore_simulator::Simulator;
use restore_test_postgres::Postgres;
use restore_tests::{Http, Process, Settings, ids, requests};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Store;
use crate::schedule::{DISKS, Step, What};

/// Longest time for everything to come to rest at the end.
const REST: Duration = Duration::from_secs(90);
/// Longest that a client waits for an answer.
const CLIENT: Duration = Duration::from_secs(8);

/// What a client was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it asked for.
    pub what: What,
    /// Under which key.
    pub key: Option<u32>,
    /// HTTP status.
    pub status: u16,
    /// The id of the restore, where one was named.
    pub id: Option<String>,
}

/// What is left to be judged.
pub struct Played {
    /// The clouds, with the truth.
    pub clouds: Simulator,
    /// Where the ledger is.
    pub ledger: LedgerUrl,
    /// What clients were told.
    pub told: Vec<Told>,
    /// Restores that a person ended.
    pub resolved: usize,
    /// Processes that died before their time.
    pub killed: usize,
    /// Where a file ledger lives.
    pub folders: Vec<tempfile::TempDir>,
}

struct Stage<'a> {
    clouds: Simulator,
    toml: String,
    http: Http,
    replicas: Vec<Option<Process>>,
    folders: Vec<Option<tempfile::TempDir>>,
    submits: Vec<(What, Option<u32>)>,
    clients: Vec<JoinHandle<Option<Told>>>,
    latest: Arc<Mutex<Option<String>>>,
    postgres: Option<&'a Postgres>,
    /// What callers bring.
    token: Option<(&'static str, &'static str)>,
    killed: usize,
}

/// Plays the steps of a schedule.
///
/// # Errors
/// What did not come to an end.
pub async fn play(
    seed: u64,
    store: Store,
    postgres: Option<&Postgres>,
    steps: &[Step],
) -> Result<Played, String> {
    let options = restore_simulator::Options {
        restore_seconds: 1,
        kept_requests: 100_000,
        extra_disks: DISKS,
        ..restore_simulator::Options::default()
    };
    let clouds = Simulator::start(([127, 0, 0, 1], 0).into(), options).await.map_err(|e| e.to_string())?;
    let replicas = if store == Store::Postgres { 2 } else { 1 };
    let mut folders = Vec::new();
    for _ in 0..replicas {
        folders.push(Some(tempfile::tempdir().map_err(|error| error.to_string())?));
    }
    let url = match (store, postgres) {
        (Store::Postgres, Some(postgres)) => {
            let name = format!("campaign_{seed}");
            postgres.create_database(&name);
            postgres.url(&name)
        }
        _ => {
            let folder = folders[0].as_ref().map(|folder| folder.path().join("ledger.db"));
            format!("sqlite:{}", folder.unwrap_or_default().display())
        }
    };
    // Of every two schedules one has a credential of the gateway's own, so that recovery goes on by
    // itself, and one depends on its callers' tokens.
    let held = seed.is_multiple_of(2);
    for folder in folders.iter().flatten() {
        let path = folder.path().join("password");
        std::fs::write(&path, "example-only").map_err(|error| error.to_string())?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(|error| error.to_string())?;
    }
    let toml = settings(&url, held).toml(&clouds.url());
    let mut stage = Stage {
        clouds,
        toml,
        http: Http::default(),
        replicas: (0..replicas).map(|_| None).collect(),
        folders,
        submits: Vec::new(),
        clients: Vec::new(),
        latest: Arc::default(),
        postgres,
        token: (!held).then_some(("x-auth-token", ids::TOKEN)),
        killed: 0,
    };
    for step in steps {
        stage.step(step).await;
    }
    let told = stage.rest().await?;
    let resolved = stage.resolve().await?;
    for replica in stage.replicas.iter_mut().filter_map(Option::take) {
        replica.signal("TERM").await;
        let (status, log, folder) = replica.ended().await;
        if !status.success() {
            return Err(format!("a gateway ended with {status}:\n{log}"));
        }
        stage.folders.push(Some(folder));
    }
    let ledger = url.parse().map_err(|_| format!("{url} is no ledger"))?;
    let folders = stage.folders.into_iter().flatten().collect();
    Ok(Played { clouds: stage.clouds, ledger, told, resolved, killed: stage.killed, folders })
}

/// Everything that takes long in service is short here, in the same order of lengths.
fn settings(ledger: &str, held: bool) -> Settings {
    let credential = if held { "robot" } else { "passthrough" };
    let upstream = format!(
        "connect_seconds = 1\nsend_seconds = 1\nread_seconds = 2\nbreaker_failures = 0\ncredential = {credential:?}"
    );
    let odd: Vec<String> = (0..DISKS)
        .filter(|disk| disk % 2 == 1)
        .map(|disk| requests::extra_disk(disk as usize)["source"]["backup_id"].to_string())
        .collect();
    Settings::default()
        .set("ledger.url", &format!("{ledger:?}"))
        .set("ledger.lease_seconds", "3")
        .set("submit.answer_seconds", "2")
        .set("submit.deadline_seconds", "4")
        .set("submit.retry_after_cap_seconds", "1")
        .set("submit.duplicate_window_seconds", "1")
        .set("follow.settle_seconds", "1")
        .set("follow.grace_seconds", "1")
        .set("follow.unknown_seconds", "4")
        .set("telemetry.log_level", "\"info\"")
        .set("telemetry.log_format", "\"json\"")
        .routes(&format!(
            r#"
[[credentials]]
name = "robot"
kind = "iam-password"
iam = "{{clouds}}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = {{ file = "password" }}
project = "eu-test-1"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{{clouds}}"
{upstream}
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{{clouds}}"
{upstream}
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{{clouds}}/vbs"
{upstream}
[[routes]]
match = {{ backup_id = ["{csbs}"] }}
upstream = "csbs"
[[routes]]
match = {{ backup_id = [{odd}] }}
upstream = "cbr"
[[routes]]
match = {{ target = ["volume"] }}
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#,
            csbs = ids::CSBS_ITEM,
            odd = odd.join(", "),
        ))
}

fn request(what: What) -> Value {
    match what {
        What::CbrServer => requests::cbr_server(),
        What::CsbsServer => requests::csbs_server(),
        What::VbsDisk => requests::free_disk(),
        What::Disk(number) => requests::extra_disk(number as usize),
    }
}

impl Stage<'_> {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Submit { what, key, replica } => {
                self.submits.push((*what, *key));
                self.submit(*what, *key, *replica);
            }
            Step::Again { of, replica } => {
                let (what, key) = self.submits[*of];
                self.submit(what, key, *replica);
            }
            Step::Look { replica } => {
                if let Some(api) = self.api(*replica) {
                    let (http, token) = (self.http.clone(), self.token);
                    let look = async move {
                        let url = format!("http://{api}/api/v1/restores?limit=5");
                        let _gone = http.try_send(Method::GET, &url, token.as_slice(), "").await;
                        None
                    };
                    self.clients.push(tokio::spawn(look));
                }
            }
            Step::Cancel { replica } => {
                let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let (Some(api), Some(id)) = (self.api(*replica), latest) {
                    let url = format!("http://{api}/api/v1/restores/{id}");
                    let _either = self.http.try_send(Method::DELETE, &url, &[], "").await;
                }
            }
            Step::Kill { replica } => self.kill(*replica).await,
            Step::Start { replica, crash } => self.start(*replica, crash.as_deref()).await,
            Step::Freeze { replica, millis } => {
                if let Some(process) = &mut self.replicas[*replica]
                    && process.is_running()
                {
                    process.signal("STOP").await;
                    tokio::time::sleep(Duration::from_millis(*millis)).await;
                    process.signal("CONT").await;
                }
            }
            Step::Thaw { replica } => self.thaw(*replica).await,
            Step::DatabaseAway { millis } => {
                if let Some(postgres) = self.postgres {
                    postgres.kill();
                    tokio::time::sleep(Duration::from_millis(*millis)).await;
                    postgres.start_again();
                }
            }
            Step::Faults(faults) => {
                self.control(Method::POST, "/_sim/faults", &json!({ "faults": faults })).await;
            }
            Step::Wait { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
        }
    }

    fn api(&self, replica: usize) -> Option<std::net::SocketAddr> {
        self.replicas[replica].as_ref().map(|process| process.api)
    }

    /// A client that asks once and goes away when no answer comes.
    fn submit(&mut self, what: What, key: Option<u32>, replica: usize) {
        let Some(api) = self.api(replica) else { return };
        let (http, token) = (self.http.clone(), self.token);
        let latest = Arc::clone(&self.latest);
        self.clients.push(tokio::spawn(async move {
            // A key belongs to one content: that of another kind has another name.
            let key = key.map(|key| format!("{what:?}-{key}"));
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(token);
            headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
            let url = format!("http://{api}/api/v1/restores");
            let exchange = http.try_send(Method::POST, &url, &headers, request(what).to_string());
            let answer = tokio::time::timeout(CLIENT, exchange).await.ok()?.ok()?;
            let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            let named = body["id"].as_str().or_else(|| body["restore"].as_str()?.rsplit('/').next());
            let id = named.map(str::to_owned);
            if let Some(id) = &id {
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
            }
            let key = key.and_then(|key| key.rsplit('-').next()?.parse().ok());
            Some(Told { what, key, status: answer.status, id })
        }));
    }

    async fn kill(&mut self, replica: usize) {
        let Some(mut process) = self.replicas[replica].take() else { return };
        if process.is_running() {
            process.signal("KILL").await;
        }
        let (_, _, folder) = process.ended().await;
        self.folders[replica] = Some(folder);
        self.killed += 1;
    }

    async fn thaw(&mut self, replica: usize) {
        if let Some(process) = &mut self.replicas[replica]
            && process.is_running()
        {
            process.signal("CONT").await;
        }
    }

    /// Starts a gateway that is not there, or is dead; one that lives is left alone.
    async fn start(&mut self, replica: usize, crash: Option<&str>) {
        if self.replicas[replica].as_mut().is_some_and(Process::is_running) {
            return;
        }
        if self.replicas[replica].is_some() {
            self.kill(replica).await;
        }
        let Some(folder) = self.folders[replica].take() else { return };
        let variables: Vec<(&str, &str)> =
            crash.map(|crash| (restore_engine::crash::VARIABLE, crash)).into_iter().collect();
        match Process::try_serve_in(folder, &self.toml, &variables).await {
            Ok(process) => self.replicas[replica] = Some(process),
            // It took something up at once, and died at its point.
            Err((folder, _)) => {
                self.folders[replica] = Some(folder);
                self.killed += 1;
            }
        }
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.clouds.url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.http.send(method, &url, &[("content-type", "application/json")], body).await.json()
    }

    /// Everything healthy: no faults, no crash points, every replica up; then every restore is asked
    /// for until it is final or waits for a person.
    async fn rest(&mut self) -> Result<Vec<Told>, String> {
        self.control(Method::POST, "/_sim/faults", &json!({ "faults": [] })).await;
        for replica in 0..self.replicas.len() {
            self.thaw(replica).await;
        }
        let mut told = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            told.extend(client.await.map_err(|error| error.to_string())?);
        }
        for replica in 0..self.replicas.len() {
            self.kill(replica).await;
            self.start(replica, None).await;
            if self.replicas[replica].is_none() {
                return Err("a gateway does not come up again".to_owned());
            }
        }
        let end = Instant::now() + REST;
        let mut open = HashMap::new();
        loop {
            for (turn, restore) in self.all().await?.iter().enumerate() {
                let id = restore["id"].as_str().unwrap_or_default().to_owned();
                if restore["finished_at"].is_string() || restore["needs_operator"] == true {
                    open.remove(&id);
                } else {
                    let api = self.api(turn % self.replicas.len()).ok_or("a replica is gone")?;
                    let url = format!("http://{api}/api/v1/restores/{id}");
                    self.http.send(Method::GET, &url, self.token.as_slice(), "").await;
                    open.insert(id, restore.to_string());
                }
            }
            if open.is_empty() {
                return Ok(told);
            }
            if Instant::now() > end {
                return Err(format!("never at rest: {:?}", open.values().collect::<Vec<_>>()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn all(&self) -> Result<Vec<Value>, String> {
        let api = self.api(0).ok_or("a replica is gone")?;
        let mut all = Vec::new();
        let mut url = format!("http://{api}/api/v1/restores?limit=100");
        loop {
            let page = self.http.send(Method::GET, &url, &[], "").await;
            if page.status != 200 {
                return Err(format!("the list: {}", page.text()));
            }
            let page = page.json();
            all.extend(page["restores"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next"].as_str() else { return Ok(all) };
            url = format!("http://{api}/api/v1/restores?limit=100&cursor={next}");
        }
    }

    /// The operator: looks at the disks, and says of each restore that waits for it what is true.
    async fn resolve(&self) -> Result<usize, String> {
        let restores = self.all().await?;
        let truth = self.control(Method::GET, "/_sim/restores", &Value::Null).await;
        let admin = self.replicas[0].as_ref().ok_or("a replica is gone")?.admin;
        let mut resolved = 0;
        for waiting in restores.iter().filter(|restore| restore["needs_operator"] == true) {
            let target = target_of(&waiting["target"]);
            let of_target = restores.iter().filter(|restore| target_of(&restore["target"]) == target);
            let certain = of_target.filter(|restore| took_place(restore)).count();
            let applied = truth["restores"].as_array().into_iter().flatten();
            let applied = applied.filter(|restore| truth_target_of(restore) == target).count();
            let outcome = if applied > certain { "applied" } else { "not_applied" };
            let id = waiting["id"].as_str().unwrap_or_default();
            let answer = self
                .http
                .send(
                    Method::POST,
                    &format!("http://{admin}/restores/{id}/resolution"),
                    &[("content-type", "application/json")],
                    json!({"as": outcome, "by": "campaign", "reason": "looked into the clouds"}).to_string(),
                )
                .await;
            if answer.status != 200 {
                return Err(format!("resolution: {}", answer.text()));
            }
            resolved += 1;
        }
        Ok(resolved)
    }
}

/// Whether a restore, as the gateway shows it, took place for certain.
fn took_place(restore: &Value) -> bool {
    matches!(restore["status"].as_str(), Some("succeeded" | "failed"))
}

/// The server or disk that a canonical target names.
#[must_use]
pub fn target_of(target: &Value) -> String {
    let id = target["server_id"].as_str().or_else(|| target["volume_id"].as_str());
    id.unwrap_or_default().to_owned()
}

/// The server or disk that the clouds say was overwritten.
#[must_use]
pub fn truth_target_of(restore: &Value) -> String {
    restore["target"]["id"].as_str().or_else(|| restore["target_id"].as_str()).unwrap_or_default().to_owned()
}
