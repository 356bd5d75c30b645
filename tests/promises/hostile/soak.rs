//! Many requests while something is away for long: every answer is clear, memory does not grow with them, nothing
//! is sent that must not be, and it all comes back by itself (F7, F14).
//!
//! `RESTORE_SOAK_SECONDS` makes each run as long as one likes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use restore_test_postgres::Postgres;
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::json;
use tokio::time::Instant;

/// How long each run lasts in the suite, after its warm-up of a third of that.
const SECONDS: u64 = 9;
const CONNECTIONS: usize = 64;
/// What a process may grow by, whatever the number of requests: caches that fill and what the allocator keeps.
/// Both runs are over PostgreSQL; a SQLite file has a cache of 64 MiB besides, which takes long to fill.
const GROWTH_KIB: u64 = 24 * 1024;
/// Disks, and so restores that can be under way at once.
const DISKS: usize = 4_096;
const DEADLINE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "whoever wants a longer run says so to the test command")]
fn seconds() -> Duration {
    let told = std::env::var("RESTORE_SOAK_SECONDS").ok();
    Duration::from_secs(told.map_or(SECONDS, |told| told.parse().expect("RESTORE_SOAK_SECONDS is a number")))
}

const ROUTES: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
send_timeout_seconds = 1
read_timeout_seconds = 1
[[routes]]
upstream = "vbs"
baseline_read = false
"#;

/// A gateway over a database of its own.
async fn over(postgres: &Postgres) -> World {
    postgres.create_database("ledger");
    let url = format!("{:?}", postgres.url("ledger"));
    let config = TestConfig::default().set("submit.sync_wait_seconds", "0.5").set("ledger.url", &url);
    let world = World::serve(config.routes(ROUTES)).await;
    world.behave(json!({"extra_disks": DISKS + 1})).await;
    comes_back(&world).await;
    world
}

fn new_key() -> String {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    KEYS.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Sends restores over many connections, each request of a new intent, for so long; what was answered, and how often.
async fn hammer(world: &World, lasts: Duration) -> BTreeMap<String, usize> {
    let end = Instant::now() + lasts;
    let workers = (0..CONNECTIONS).map(|worker| async move {
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        let mut number = worker;
        while Instant::now() < end {
            let key = new_key();
            let headers = [
                ("x-auth-token", ids::TOKEN),
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            let body = requests::extra_disk(number % DISKS).to_string();
            let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await;
            *answers.entry(kind(&answer)).or_default() += 1;
            number += CONNECTIONS;
        }
        answers
    });
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for answers in futures_util::future::join_all(workers).await {
        for (kind, count) in answers {
            *all.entry(kind).or_default() += count;
        }
    }
    all
}

/// Status, code or state, and whether it is said when to come again.
fn kind(answer: &Answer) -> String {
    let told = answer.json();
    let word = told["code"].as_str().or(told["status"].as_str()).unwrap_or_default();
    let again = if answer.header("retry-after").is_empty() { "" } else { " later" };
    format!("{} {word}{again}", answer.status)
}

/// Hammers through a warm-up and then for as long as was told, and holds memory to its bound.
async fn soak(world: &World, what: &str) -> BTreeMap<String, usize> {
    let mut answers = hammer(world, seconds() / 3).await;
    let before = world.process().resident_kib();
    for (kind, count) in hammer(world, seconds()).await {
        *answers.entry(kind).or_default() += count;
    }
    let after = world.process().resident_kib();
    println!("{what}: {before} KiB before, {after} KiB after: {answers:?}");
    let (requests, growth) = (answers.values().sum::<usize>(), after.saturating_sub(before));
    assert!(requests > 1_000, "only {requests} requests");
    assert!(growth < GROWTH_KIB, "{growth} KiB more after {requests} requests");
    answers
}

/// Submits until it is sent and waits for its end.
async fn comes_back(world: &World) {
    let end = Instant::now() + DEADLINE;
    let taken = loop {
        let key = new_key();
        let wanted = requests::extra_disk(DISKS);
        let answer = world.post_with("/api/v1/restores", &wanted, &[("idempotency-key", &key)]).await;
        if answer.status == 202 && answer.json()["status"] == "running" {
            break answer.json();
        }
        assert!(Instant::now() < end, "it does not come back: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    world.until_status(taken["id"].as_str().unwrap_or_default(), "succeeded").await;
    assert_eq!(world.admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn f7_while_the_ledger_is_away_every_request_is_refused_clearly_and_memory_stays_flat() {
    let postgres = Postgres::start();
    let world = over(&postgres).await;
    let sent = world.sent().await.len();

    postgres.kill();
    let answers = soak(&world, "without a ledger").await;
    let kinds: Vec<_> = answers.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["503 ledger_unavailable later"], "{answers:?}");
    assert_eq!(world.sent().await.len(), sent, "nothing was sent");

    postgres.start_again();
    comes_back(&world).await;
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (sent + 1, sent + 1));
    world.end().await;
}

#[tokio::test]
async fn f14_while_the_cloud_answers_nothing_every_request_is_answered_clearly_and_memory_stays_flat() {
    let postgres = Postgres::start();
    let world = over(&postgres).await;
    let sent = world.sent().await.len();

    world.faults(json!([{"match": {}, "times": 0, "stall": true, "applied": false}])).await;
    let answers = soak(&world, "without a cloud").await;
    for kind in answers.keys() {
        let clear = kind.starts_with("202 ") || (kind.starts_with("503 ") && kind.ends_with(" later"));
        // A disk of which nobody knows whether it is being restored is held.
        assert!(clear || kind == "409 target_busy later", "{kind:?} in {answers:?}");
    }
    let stalled = world.sent().await.len() - sent;
    assert!(stalled > 0 && world.applied().await.len() == sent, "nothing was applied");

    world.faults(json!([])).await;
    comes_back(&world).await;
    assert_eq!(world.applied().await.len(), sent + 1);
    world.end().await;
}
