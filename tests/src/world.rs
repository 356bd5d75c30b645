//! A gateway and its clouds, for one test.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use restore_config::{self as config, Environment, Source};
use restore_gateway::{Gateway, Start};
use restore_simulator::Simulator;
use serde_json::{Value, json};

use crate::config::{SERVED, TestConfig};
use crate::http_client::{Answer, Http};
use crate::ids;
use crate::process::Process;
use crate::wrong_clock::WrongClock;

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(40);

/// A gateway, within this process or as one of its own.
pub enum Running {
    /// Within this process.
    Here(Box<Gateway>),
    /// `restore-gateway serve`.
    Process(Box<Process>),
    /// Ended.
    Gone,
}

impl Running {
    /// Where the canonical API listens.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        match self {
            Self::Here(gateway) => gateway.api(),
            Self::Process(process) => process.api,
            Self::Gone => panic!("the gateway has ended"),
        }
    }

    /// Where the admin pages listen.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        match self {
            Self::Here(gateway) => gateway.admin(),
            Self::Process(process) => process.admin,
            Self::Gone => panic!("the gateway has ended"),
        }
    }
}

/// A gateway and its clouds.
pub struct World {
    /// The clouds.
    pub clouds: Simulator,
    /// The gateway.
    pub gateway: Running,
    /// A client.
    pub http: Http,
    /// What it was started with.
    pub toml: String,
}

impl World {
    /// Both, with the configuration of a test.
    pub async fn new() -> Self {
        Self::with(TestConfig::default()).await
    }

    /// Both, with other configuration; the gateway as a process of its own, its ledger in memory unless
    /// told otherwise.
    ///
    /// # Panics
    /// When either does not start.
    pub async fn with(config: TestConfig) -> Self {
        Self::start(config, &SERVED[1..], &[], &[]).await
    }

    /// Both, the gateway within this process: for what can only be given to it there.
    ///
    /// # Panics
    /// When either does not start.
    async fn within(config: TestConfig, start: Start) -> Self {
        let clouds = clouds().await;
        let toml = config.toml(&clouds.url());
        let gateway = Running::Here(Box::new(gateway(&toml, start).await));
        Self { clouds, gateway, http: Http::default(), toml }
    }

    /// The same, by a clock of its own.
    pub async fn by_clock(config: TestConfig, clock: &WrongClock) -> Self {
        Self::within(config, Start::new().clock(Arc::new(clock.clone()))).await
    }

    /// The gateway as a process of its own, with a ledger on disk, logging JSON.
    ///
    /// # Panics
    /// When either does not start.
    pub async fn serve(config: TestConfig) -> Self {
        Self::serve_with(config, &[]).await
    }

    /// The same, with these variables: the first process alone has them.
    ///
    /// # Panics
    /// When either does not start.
    pub async fn serve_with(config: TestConfig, variables: &[(&str, &str)]) -> Self {
        Self::start(config, &SERVED, variables, &[]).await
    }

    /// The same, with these secrets as files in the folder it runs in.
    ///
    /// # Panics
    /// When either does not start.
    pub async fn serve_beside(
        config: TestConfig,
        variables: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Self {
        Self::start(config, &SERVED, variables, secrets).await
    }

    async fn start(
        config: TestConfig,
        served: &[(&str, &str)],
        variables: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Self {
        let clouds = clouds().await;
        let toml = config.served(served).toml(&clouds.url());
        let folder = tempfile::tempdir().expect("a folder");
        for (name, secret) in secrets {
            let path = folder.path().join(name);
            std::fs::write(&path, secret).expect("a secret is written");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("and kept");
        }
        let gateway = match Process::try_serve_in(folder, &toml, variables).await {
            Ok(process) => Running::Process(Box::new(process)),
            Err((_, log)) => panic!("the gateway did not come up:\n{log}"),
        };
        Self { clouds, gateway, http: Http::default(), toml }
    }

    /// One more gateway of the same configuration, for the same clouds.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn another(&self) -> Process {
        Process::serve(&self.toml).await
    }

    /// Speaks to another gateway of the same configuration from now on; returns the one it spoke to.
    ///
    /// # Panics
    /// When this one is no process.
    pub fn turn_to(&mut self, other: Process) -> Process {
        match std::mem::replace(&mut self.gateway, Running::Process(Box::new(other))) {
            Running::Process(process) => *process,
            Running::Here(_) | Running::Gone => panic!("this gateway is no process"),
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// When it is no process or does not end.
    pub async fn crashed(&mut self) -> tempfile::TempDir {
        match std::mem::replace(&mut self.gateway, Running::Gone) {
            Running::Process(process) => {
                let (status, log, folder) = process.ended().await;
                assert_eq!(status.code(), None, "it was killed:\n{log}");
                folder
            }
            Running::Here(_) | Running::Gone => panic!("this gateway is no process"),
        }
    }

    /// The process of the gateway.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn process(&self) -> &Process {
        match &self.gateway {
            Running::Process(process) => process,
            Running::Here(_) | Running::Gone => panic!("this gateway is no process"),
        }
    }

    /// Ends the process by a signal; returns its exit, its log and its folder.
    ///
    /// # Panics
    /// When it is no process or does not end.
    pub async fn ended_by(&mut self, signal: &str) -> (ExitStatus, String, tempfile::TempDir) {
        self.process().signal(signal).await;
        match std::mem::replace(&mut self.gateway, Running::Gone) {
            Running::Process(process) => process.ended().await,
            Running::Here(_) | Running::Gone => unreachable!("it is a process"),
        }
    }

    /// Starts the gateway again, with the same configuration, where it ran before.
    pub async fn again_in(&mut self, folder: tempfile::TempDir) {
        self.gateway = Running::Process(Box::new(Process::serve_in(folder, &self.toml).await));
    }

    /// Starts the gateway again where it ran before, with other configuration.
    pub async fn again_as(&mut self, folder: tempfile::TempDir, config: TestConfig) {
        self.toml = config.served(&SERVED).toml(&self.clouds.url());
        self.again_in(folder).await;
    }

    /// Writes other configuration where the running process has its own, as an editor does: anew, and put in their place.
    ///
    /// # Panics
    /// When it is no process, or they cannot be written.
    pub fn rewrite(&self, config: TestConfig) {
        self.rewrite_text(&config.served(&SERVED[1..]).toml(&self.clouds.url()));
    }

    /// The same, with any text.
    ///
    /// # Panics
    /// As [`World::rewrite`].
    pub fn rewrite_text(&self, text: &str) {
        let path = self.process().config();
        let next = path.with_extension("next");
        std::fs::write(&next, text).expect("settings are written");
        std::fs::rename(&next, &path).expect("and put in place");
    }

    /// Has the running gateway load its configuration now.
    pub async fn reload(&self) -> Answer {
        self.decide("/config/reload", &json!({})).await
    }

    /// A URL of the canonical API.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.api())
    }

    /// GET with the token.
    pub async fn get(&self, path: &str) -> Answer {
        self.http.send(Method::GET, &self.url(path), &[("x-auth-token", ids::TOKEN)], "").await
    }

    /// POST of JSON with the token.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    /// POST of JSON with the token and more headers.
    pub async fn post_with(&self, path: &str, body: &Value, more: &[(&str, &str)]) -> Answer {
        let mut headers = vec![("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        headers.extend_from_slice(more);
        self.http.send(Method::POST, &self.url(path), &headers, body.to_string()).await
    }

    /// Submits a restore.
    pub async fn submit(&self, request: &Value) -> Answer {
        self.post("/api/v1/restores", request).await
    }

    /// POST of JSON to the admin listener.
    pub async fn decide(&self, path: &str, body: &Value) -> Answer {
        let url = format!("http://{}{path}", self.gateway.admin());
        self.http.send(Method::POST, &url, &[("content-type", "application/json")], body.to_string()).await
    }

    /// GET of an admin page.
    pub async fn admin(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.gateway.admin());
        self.http.send(Method::GET, &url, &[], "").await
    }

    /// Asks for a restore until `wanted` holds.
    ///
    /// # Panics
    /// When it does not within half a minute; shows the restore and its history.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/restores/{id}");
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let restore = self.get(&path).await.json();
            if wanted(&restore) {
                return restore;
            }
            if tokio::time::Instant::now() > end {
                let events = self.get(&format!("{path}/events")).await.text();
                panic!("not within {DEADLINE:?}: {restore}\n{events}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for a restore until it has this status.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        self.until(id, |restore| restore["status"] == status).await
    }

    /// The words of a restore's history.
    pub async fn history(&self, id: &str) -> Vec<String> {
        let events = self.get(&format!("/api/v1/restores/{id}/events")).await.json();
        words(&events["events"], "event")
    }

    /// Sets a fault plan.
    pub async fn faults(&self, faults: Value) {
        self.control(Method::POST, "/_sim/faults", &json!({"faults": faults})).await;
    }

    /// Changes how the clouds behave.
    pub async fn behave(&self, world: Value) {
        self.control(Method::POST, "/_sim/world", &world).await;
    }

    /// Moves the clouds' time.
    pub async fn advance(&self, seconds: u64) {
        self.control(Method::POST, "/_sim/clock", &json!({"advance_seconds": seconds})).await;
    }

    /// What was really applied: the truth that at most once is judged by.
    pub async fn applied(&self) -> Vec<Value> {
        let all = self.control(Method::GET, "/_sim/restores", &Value::Null).await;
        all["restores"].as_array().cloned().unwrap_or_default()
    }

    /// Every request that reached the clouds.
    pub async fn arrived(&self) -> Vec<Value> {
        let all = self.control(Method::GET, "/_sim/requests", &Value::Null).await;
        all["requests"].as_array().cloned().unwrap_or_default()
    }

    /// The restore calls that reached the clouds, applied or not.
    pub async fn sent(&self) -> Vec<Value> {
        self.arrived().await.into_iter().filter(is_restore_call).collect()
    }

    /// Waits until so many restore calls have reached the clouds.
    ///
    /// # Panics
    /// When they do not within half a minute.
    pub async fn until_sent(&self, count: usize) {
        let end = tokio::time::Instant::now() + DEADLINE;
        while self.sent().await.len() < count {
            assert!(tokio::time::Instant::now() < end, "{count} restore calls do not come");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("{}{path}", self.clouds.url());
        let answer = self.http.send(method, &url, &[("content-type", "application/json")], body).await;
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// Stops both.
    pub async fn end(mut self) {
        if let Running::Process(_) = self.gateway {
            self.ended_by("TERM").await;
        }
        if let Running::Here(gateway) = self.gateway {
            gateway.stop().await;
        }
        self.clouds.stop().await;
    }
}

/// Whether a request is one that overwrites disks.
#[must_use]
pub fn is_restore_call(request: &Value) -> bool {
    let path = request["path"].as_str().unwrap_or_default();
    request["method"] == "POST" && (path.ends_with("/restore") || path.ends_with("/restores"))
}

/// One member of each item.
#[must_use]
pub fn words(items: &Value, member: &str) -> Vec<String> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item[member].as_str().unwrap_or_default().to_owned()).collect()
}

/// Simulated clouds on a free port.
///
/// # Panics
/// When they do not start.
pub async fn clouds() -> Simulator {
    let options = restore_simulator::Options { restore_seconds: 2, ..restore_simulator::Options::default() };
    Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).await.expect("the clouds start")
}

/// A gateway of this configuration.
///
/// # Panics
/// When they have a fault or the gateway does not start.
pub async fn gateway(toml: &str, start: Start) -> Gateway {
    let source = Source::new("test", toml);
    let generations = ["csbs-v1", "cbr-v3", "vbs-v2", "cinder-v3"];
    let (config, _) = config::load(&source, &Environment::default(), &generations)
        .unwrap_or_else(|faults| panic!("{}", faults.render_human(false)));
    Gateway::start_with(&config, start).await.unwrap_or_else(|error| panic!("{error}"))
}
