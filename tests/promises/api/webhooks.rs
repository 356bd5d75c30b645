//! Webhooks: what receivers may rely on (signed, named, told again until it is taken), and what they must not be
//! able to do to restores or through the gateway (F38, S8).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use restore_tests::{TestConfig, World, binary, requests};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(40);
/// 32 bytes that nothing else has.
const KEY: &[u8; 32] = b"canary-7d1c9e5b-webhook-key-0123";

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn name(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// The message, once its signature is found to be good.
    fn verified(&self) -> Value {
        let signed = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key");
        mac.update(signed.as_bytes());
        mac.update(&self.body);
        let given = self.header("webhook-signature").strip_prefix("v1,").expect("version 1");
        mac.verify_slice(&STANDARD.decode(given).expect("base64")).expect("a good signature");
        let sent: u64 = self.header("webhook-timestamp").parse().expect("seconds");
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
        assert!(now.abs_diff(sent) < 300, "{sent} is not of now, {now}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn word(&self) -> String {
        self.verified()["type"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned()
    }
}

/// How a receiver answers.
#[derive(Clone, Debug)]
enum Manner {
    Status(u16),
    Redirect(String),
    Never,
}

/// A receiver that answers as it is told to: first what is queued, then well.
pub(crate) struct Receiver {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    manners: Arc<Mutex<VecDeque<Manner>>>,
    otherwise: Arc<Mutex<Manner>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let manners: Arc<Mutex<VecDeque<Manner>>> = Arc::default();
        let always = Arc::new(Mutex::new(Manner::Status(204)));
        let shared = (Arc::clone(&seen), Arc::clone(&manners), Arc::clone(&always));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, manners, always) = shared.clone();
                let handler = service_fn(move |request: Request<Incoming>| {
                    let (seen, manners, always) =
                        (Arc::clone(&seen), Arc::clone(&manners), Arc::clone(&always));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body
                            .collect()
                            .await
                            .map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
                        let path = head.uri.path().to_owned();
                        seen.lock().expect("a lock").push(Seen { path, headers: head.headers, body });
                        let manner = manners.lock().expect("a lock").pop_front();
                        let manner = manner.unwrap_or_else(|| always.lock().expect("a lock").clone());
                        let answer = Response::builder();
                        let answer = match manner {
                            Manner::Status(status) => answer.status(status),
                            Manner::Redirect(to) => answer.status(307).header("location", to),
                            Manner::Never => std::future::pending().await,
                        };
                        Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).expect("an answer"))
                    }
                });
                open.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(socket), handler).await;
                });
            }
        });
        Self { addr, seen, manners, otherwise: always, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.addr)
    }

    fn next(&self, manner: Manner) {
        self.manners.lock().expect("a lock").push_back(manner);
    }

    fn always(&self, manner: Manner) {
        *self.otherwise.lock().expect("a lock") = manner;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// Waits for so many messages.
    pub(crate) async fn until(&self, count: usize) -> Vec<Seen> {
        let end = Instant::now() + DEADLINE;
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            let words: Vec<_> = seen.iter().map(Seen::word).collect();
            assert!(Instant::now() < end, "{count} messages do not come: {words:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends it: nobody listens there any more.
    async fn end(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.addr
    }
}

/// A file with the secret, for its owner alone.
fn secret_in(folder: &Path) -> String {
    let path = folder.join("hook.secret");
    std::fs::write(&path, secret() + "\n").expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    path.display().to_string()
}

/// Configuration with one webhook.
pub(crate) fn hooked(url: &str, folder: &Path, more: &str) -> TestConfig {
    let hook = format!(
        "[{{ name = \"ops\", url = {url:?}, secret = {{ file = {:?} }}, allow_private_addresses = true{more} }}]",
        secret_in(folder)
    );
    TestConfig::default().set("webhooks", &hook)
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// A figure of the page of metrics about the webhook; 0 where there is none.
async fn figure(world: &World, name: &str, labels: &str) -> u64 {
    let page = world.admin("/metrics").await.text();
    let of_it =
        |line: &&str| line.starts_with(name) && line.contains("webhook=\"ops\"") && line.contains(labels);
    let value = page.lines().find(of_it).and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().expect("a number"))
}

async fn until_figure(world: &World, name: &str, labels: &str, least: u64) {
    let end = Instant::now() + DEADLINE;
    while figure(world, name, labels).await < least {
        assert!(Instant::now() < end, "{name}{{{labels}}} stays below {least}");
        tokio::time::sleep(LOOK).await;
    }
}

const DELIVERIES: &str = "restore_gateway_webhook_deliveries";

#[tokio::test]
async fn messages_are_signed_identified_in_order_and_contain_no_secret() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = hooked(&receiver.url(), folder.path(), "").set("telemetry.log_level", "\"trace\"");
    let mut world = World::serve(config).await;
    receiver.next(Manner::Status(503));
    let restore = world.submit(&requests::free_disk()).await.json();
    world.until_status(&id(&restore), "succeeded").await;

    let seen = receiver.until(4).await;
    // Refused once, told again under the same name.
    assert_eq!(seen[0].name(), seen[1].name());
    let words: Vec<_> = seen[1..].iter().map(Seen::word).collect();
    assert_eq!(words, ["accepted", "running", "succeeded"]);
    let events = world.get(&format!("/api/v1/restores/{}/events", id(&restore))).await.json();
    for message in &seen {
        let event = message.verified();
        let seq = event["data"]["event"]["seq"].as_u64().expect("a number");
        assert_eq!(message.name(), format!("{}.{seq}", id(&restore)));
        assert_eq!(
            (message.path.as_str(), message.header("content-type")),
            ("/hooks", "application/cloudevents+json")
        );
        assert!(message.header("user-agent").starts_with("restore-gateway/"));
        assert_eq!(event["specversion"], "1.0");
        assert_eq!((&event["id"], &event["subject"]), (&json!(message.name()), &restore["id"]));
        assert_eq!(event["source"], format!("/api/v1/restores/{}", id(&restore)));
        assert_eq!(event["data"]["event"], events["events"][usize::try_from(seq).expect("small") - 1]);
        assert_eq!(event["data"]["restore"]["id"], restore["id"]);
    }
    until_figure(&world, DELIVERIES, "outcome=\"delivered\"", 3).await;
    assert_eq!(figure(&world, DELIVERIES, "outcome=\"failed\"").await, 1);
    until_figure(&world, "restore_gateway_webhook_disabled", "", 0).await;

    // The secret is in its file and nowhere else: not as written, and not as the key it stands for.
    let mut said = Vec::new();
    for page in ["/", "/readyz", "/metrics", "/config"] {
        said.push((page.to_owned(), world.admin(page).await.body.to_vec()));
    }
    assert!(world.admin("/config").await.text().contains("<redacted>"));
    let (_, log, ran_in) = world.ended_by("TERM").await;
    assert!(log.contains("webhook delivery failed"), "{log}");
    said.push(("the log".to_owned(), log.into_bytes()));
    for entry in std::fs::read_dir(ran_in.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        said.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
    }
    assert!(said.iter().any(|(what, _)| what.contains("ledger.db")));
    let encoded = STANDARD.encode(KEY);
    for (what, bytes) in &said {
        for secret in [&encoded.as_bytes()[..20], &KEY[..20]] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "the secret is in {what}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn f38_a_hanging_receiver_harms_no_restore_and_gets_its_messages_from_the_next_process() {
    let receiver = Receiver::start().await;
    receiver.always(Manner::Never);
    let folder = tempfile::tempdir().expect("a folder");
    let config = hooked(&receiver.url(), folder.path(), "");
    let mut world = World::serve(config).await;
    let mut restores = Vec::new();
    for request in [requests::free_disk(), requests::cbr_server()] {
        let restore = id(&world.submit(&request).await.json());
        world.until_status(&restore, "succeeded").await;
        restores.push(restore);
    }
    // One message of each is under way, and waits for an answer that does not come.
    let begun = receiver.until(2).await;
    assert_eq!(begun.iter().map(Seen::word).collect::<Vec<_>>(), ["accepted", "accepted"]);
    let (_, _, ran_in) = world.ended_by("KILL").await;
    receiver.always(Manner::Status(200));
    world.again_in(ran_in).await;
    // The events of a restart are no occasions, so each has three.
    let seen = receiver.until(2 + 6).await;
    for restore in &restores {
        let of_it: Vec<_> = seen[2..].iter().filter(|seen| seen.name().starts_with(restore)).collect();
        let words: Vec<_> = of_it.iter().map(|seen| seen.word()).collect();
        assert_eq!(words, ["accepted", "running", "succeeded"]);
        assert_eq!(begun.iter().filter(|seen| seen.name() == of_it[0].name()).count(), 1, "the same name");
    }
    until_figure(&world, DELIVERIES, "outcome=\"delivered\"", 6).await;
    assert_eq!(receiver.seen().len(), 8, "each once");
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn f38_an_absent_receiver_gets_its_messages_when_it_is_back() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::with(hooked(&receiver.url(), folder.path(), "")).await;
    let addr = receiver.end().await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    until_figure(&world, DELIVERIES, "outcome=\"failed\"", 1).await;
    let receiver = Receiver::at(addr).await;
    world.until_status(&restore, "succeeded").await;
    let words: Vec<_> = receiver.until(3).await.iter().map(Seen::word).collect();
    assert_eq!(words, ["accepted", "running", "succeeded"]);
    world.end().await;
}

#[tokio::test]
async fn f38_a_receiver_that_wants_no_more_gets_no_more() {
    let receiver = Receiver::start().await;
    receiver.always(Manner::Status(410));
    let folder = tempfile::tempdir().expect("a folder");
    let more = ", events = [\"accepted\", \"succeeded\"]";
    let mut world = World::serve(hooked(&receiver.url(), folder.path(), more)).await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    until_figure(&world, "restore_gateway_webhook_disabled", "", 1).await;
    world.until_status(&restore, "succeeded").await;
    let heard = receiver.seen().len();
    let (_, log, ran_in) = world.ended_by("TERM").await;
    assert!(log.contains("webhook disabled: the receiver answered 410"), "{log}");
    // Nor from the next process, which knows before its first restore.
    world.again_in(ran_in).await;
    until_figure(&world, "restore_gateway_webhook_disabled", "", 1).await;
    let restore = id(&world.submit(&requests::cbr_server()).await.json());
    world.until_status(&restore, "succeeded").await;
    assert_eq!(receiver.seen().len(), heard);

    // Until an operator says so; then it hears what it has missed.
    receiver.always(Manner::Status(204));
    let page = world.admin("/webhooks").await.json();
    let hook = &page["webhooks"][0];
    assert!(hook["disabled"].as_str().is_some_and(|why| why.contains("410")), "{page}");
    let path = format!("/webhooks/{}/enablement", hook["name"].as_str().expect("a name"));
    let said = json!({"by": "ada", "reason": "the receiver was mended"});
    assert_eq!(world.decide("/webhooks/nobody/enablement", &said).await.status, 404);
    let enabled = world.decide(&path, &said).await;
    assert_eq!((enabled.status, &enabled.json()["webhooks"][0]["disabled"]), (200, &Value::Null));
    // A message that met the 410 comes again, so it is not known how many there are before the second of these.
    let end = Instant::now() + DEADLINE;
    while receiver.seen().iter().filter(|seen| seen.word() == "succeeded").count() < 2 {
        assert!(Instant::now() < end, "{:?}", receiver.seen().iter().map(Seen::word).collect::<Vec<_>>());
        tokio::time::sleep(LOOK).await;
    }
    world.end().await;
}

#[tokio::test]
async fn s8_redirects_are_not_followed() {
    let (receiver, inner) = (Receiver::start().await, Receiver::start().await);
    receiver.next(Manner::Redirect(inner.url()));
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::with(hooked(&receiver.url(), folder.path(), ", events = [\"accepted\"]")).await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    until_figure(&world, DELIVERIES, "outcome=\"delivered\"", 1).await;
    assert_eq!(figure(&world, DELIVERIES, "outcome=\"failed\"").await, 1, "a redirect is no delivery");
    let names: Vec<_> = receiver.seen().iter().map(Seen::name).collect();
    assert_eq!(names, [format!("{restore}.1"), format!("{restore}.1")]);
    assert!(inner.seen().is_empty());
    world.end().await;
}

#[tokio::test]
async fn s8_s25_a_private_receiver_or_an_open_secret_keeps_the_gateway_from_starting() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = secret_in(folder.path());
    let config = folder.path().join("gateway.toml");
    let served = async |hook: &str| {
        let hook = format!("[{{ name = \"ops\", {hook} }}]");
        let toml = TestConfig::default().set("webhooks", &hook).toml("http://127.0.0.1:9");
        std::fs::write(&config, toml).expect("settings");
        let run =
            Command::new(binary()).arg("serve").arg("--config").arg(&config).kill_on_drop(true).output();
        let output = tokio::time::timeout(DEADLINE, run).await.expect("it does not start").expect("it runs");
        assert_eq!(output.status.code(), Some(78), "{hook}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.8/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::8]/",
        "https://2130706433/",
        "https://localhost/",
    ] {
        let told = served(&format!("url = {url:?}, secret = {{ file = {file:?} }}")).await;
        assert!(told.contains("error[private-receiver]: webhooks[0].url"), "{url}: {told}");
    }
    let told = served(&format!("url = \"http://hooks.example.com/\", secret = {{ file = {file:?} }}")).await;
    assert!(told.contains("error[cleartext]: webhooks[0].url"), "{told}");
    let told = served(&format!("url = \"https://hooks.example.com/\", secret = {:?}", secret())).await;
    assert!(told.contains("error[secret-inline]") && !told.contains(&secret()[..20]), "{told}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let told = served(&format!("url = \"https://hooks.example.com/\", secret = {{ file = {file:?} }}")).await;
    assert!(told.contains("error[secret-exposed]") && told.contains("0644"), "{told}");
}

/// Many restores and many who look, over a ledger with few readers: an attempt that waits for its turn there keeps nobody
/// behind it waiting.
#[tokio::test]
async fn messages_never_keep_who_asks_from_the_ledger() {
    const CLIENTS: usize = 8;
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = hooked(&receiver.url(), folder.path(), "").set("ledger.url", "\"sqlite:ledger.db\"");
    let world = Arc::new(World::serve(config).await);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let world = Arc::clone(&world);
        clients.spawn(async move {
            for round in 0..40 {
                let look = async {
                    world.submit(&requests::extra_disk(round * CLIENTS + client)).await;
                    for _ in 0..3 {
                        let list = world.get("/api/v1/restores?limit=5").await;
                        assert_eq!(list.status, 200, "{}", list.text());
                    }
                };
                tokio::time::timeout(DEADLINE / 4, look).await.expect("an answer in time");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("everybody is answered");
    }
    receiver.until(2 * 40 * CLIENTS).await;
    Arc::into_inner(world).expect("nobody else").end().await;
}
