//! One caller takes all that it may, and the others get theirs all the same.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use restore_tests::raw::Raw;
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::auth::callers::hash;

const GREEDY: &str = "rgk_greedy-0123456789abcdef0123456789abcdef0";
const OTHER: &str = "rgk_other-0123456789abcdef0123456789abcdef01";

/// One who may only ask, and one who restores; both may read.
fn config() -> TestConfig {
    let [greedy, other] = [GREEDY, OTHER].map(hash);
    TestConfig::default().set("polling.interval_seconds", "1").and(&format!(
        r#"
[[callers]]
name = "greedy"
type = "api-key"
key_hash = "{greedy}"
[[callers]]
name = "other"
type = "api-key"
key_hash = "{other}"
[[policies]]
callers = ["greedy"]
actions = ["check", "preview", "read"]
[[policies]]
callers = ["other"]
actions = ["restore", "read", "check"]
"#
    ))
}

async fn ask(world: &World, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let headers = [("x-api-key", key), ("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.http.send(method, &world.url(path), &headers, body).await
}

/// So many clients of the greedy one, each with so many checks per second.
fn greedy(world: &Arc<World>, clients: usize, pause: Duration) -> Vec<tokio::task::JoinHandle<()>> {
    let one = |number: usize| {
        let world = Arc::clone(world);
        tokio::spawn(async move {
            let request =
                if number.is_multiple_of(2) { requests::cbr_server() } else { requests::free_disk() };
            loop {
                ask(&world, GREEDY, Method::POST, "/api/v1/restore-checks", &request).await;
                tokio::time::sleep(pause).await;
            }
        })
    };
    (0..clients).map(one).collect()
}

async fn until_succeeded(world: &World, restore: &Value) {
    let path = format!("/api/v1/restores/{}", restore["id"].as_str().expect("an id"));
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let now = ask(world, OTHER, Method::GET, &path, &Value::Null).await.json();
        if now["status"] == "succeeded" {
            return;
        }
        assert!(Instant::now() < end, "{now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn f52_checks_of_one_caller_hold_up_no_restore_of_another() {
    let world = Arc::new(World::with(config()).await);
    world.behave(json!({"restore_seconds": 2, "extra_disks": 40})).await;
    let tasks = greedy(&world, 24, Duration::from_millis(200));
    tokio::time::sleep(Duration::from_secs(5)).await;
    for number in 0..5 {
        let begun = Instant::now();
        let answer =
            ask(&world, OTHER, Method::POST, "/api/v1/restores", &requests::extra_disk(number)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(2), "sent after {:?}", begun.elapsed());
        until_succeeded(&world, &answer.json()).await;
        // Two seconds in the cloud, and twice the interval of a second.
        assert!(begun.elapsed() < Duration::from_secs(6), "seen after {:?}", begun.elapsed());
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn f52_questions_to_a_slow_cloud_leave_room_for_restores() {
    let world = Arc::new(World::with(config().each_upstream("polls_per_minute = 6000")).await);
    world.behave(json!({"restore_seconds": 2, "extra_disks": 40})).await;
    world.faults(json!([{"match": {"method": "GET"}, "times": 0, "delay_ms": 1000}])).await;
    let tasks = greedy(&world, 150, Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for number in 0..5 {
        let begun = Instant::now();
        let answer =
            ask(&world, OTHER, Method::POST, "/api/v1/restores", &requests::extra_disk(number)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        // One read before it, of a second.
        assert!(begun.elapsed() < Duration::from_secs(4), "sent after {:?}", begun.elapsed());
        until_succeeded(&world, &answer.json()).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "seen after {:?}", begun.elapsed());
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn f53_one_caller_with_all_streams_leaves_others_theirs() {
    const STREAMS: usize = 8;
    let world = World::with(config().set("limits.max_streams", &STREAMS.to_string())).await;
    let open = async |key: &str| {
        let head = format!(
            "GET /api/v1/restores HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nX-Api-Key: {key}\r\n\r\n"
        );
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(head).await;
        let status = raw.answer().await.map(|answer| answer.status);
        (status, raw)
    };
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        let (status, raw) = open(GREEDY).await;
        assert_eq!(status, Some(200));
        held.push(raw);
    }
    assert_eq!(open(GREEDY).await.0, Some(503), "there are no more");
    for _ in 0..STREAMS / 2 {
        let (status, raw) = open(OTHER).await;
        assert_eq!(status, Some(200), "another one gets its share");
        held.push(raw);
    }
    for key in [GREEDY, OTHER] {
        assert_eq!(open(key).await.0, Some(503), "both have as many");
    }
    world.end().await;
}

/// The token of a caller whose restore is refused is shown for nothing that it may not see, and not kept.
#[tokio::test]
async fn s47_a_strangers_token_reads_and_polls_no_holder() {
    let stranger = "rgk_stranger-0123456789abcdef0123456789abcde";
    let policies = format!(
        "[[callers]]\nname = \"stranger\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"stranger\"]\nactions = [\"restore\", \"read\"]\n",
        hash(stranger)
    );
    let mut world = World::serve(config().and(&policies)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let request = requests::free_disk();
    let holder = ask(&world, OTHER, Method::POST, "/api/v1/restores", &request).await;
    assert_eq!(holder.status, 202, "{}", holder.text());
    // After a restart nobody has a token for it.
    let (_, _, folder) = world.ended_by("TERM").await;
    world.again_in(folder).await;
    let before = world.arrived().await.len();
    for _ in 0..3 {
        let answer = ask(&world, stranger, Method::POST, "/api/v1/restores", &request).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (409, &json!("target_busy")),
            "{}",
            answer.text()
        );
        assert!(answer.json()["restore"].is_null(), "{}", answer.text());
    }
    // Longer than the first look at a restore that is polled takes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.arrived().await.len(), before, "the stranger's token was used");
    // Its own caller's token is.
    let path = format!("/api/v1/restores/{}", holder.json()["id"].as_str().expect("an id"));
    ask(&world, OTHER, Method::GET, &path, &Value::Null).await;
    assert!(world.arrived().await.len() > before);
    world.end().await;
}
