//! Every limit of the configuration: what is over it is ended or turned away, says so where it can, and is
//! counted under the limit's own name.

use std::time::Duration;

use http::Method;
use restore_tests::raw::Raw;
use restore_tests::{TestConfig, World, requests};
use tokio::time::Instant;

/// Waits until the limit has been counted.
async fn counted(world: &World, limit: &str) {
    let line = format!("restore_gateway_requests_rejected_total{{reason=\"{limit}\"}}");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let page = world.admin("/metrics").await.text();
        let others = page.lines().filter(|line| line.starts_with("restore_gateway_requests_rejected_total"));
        let others: Vec<&str> = others.filter(|other| !other.starts_with(&line)).collect();
        assert!(others.is_empty(), "{limit} is counted as {others:?}");
        if page.contains(&line) {
            return;
        }
        assert!(Instant::now() < end, "{limit} is not counted: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn world(key: &str, value: &str) -> World {
    World::with(TestConfig::default().set(&format!("limits.{key}"), value)).await
}

/// The head of a submit that promises a body and does not send it.
fn head(length: usize) -> String {
    format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_head_that_is_too_long_or_too_slow() {
    let large = world("max_header_bytes", "8192").await;
    let mut raw = Raw::open(large.gateway.api()).await;
    raw.send(format!("GET /api/v1/restores HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000))).await;
    let status = raw.answer().await.map(|answer| answer.status);
    assert!(matches!(status, Some(431) | None), "{status:?}");
    counted(&large, "max_header_bytes").await;
    large.end().await;

    let slow = world("header_timeout_seconds", "0.3").await;
    let mut raw = Raw::open(slow.gateway.api()).await;
    raw.send("GET /api/v1/restores HT").await;
    assert!(raw.closed().await);
    counted(&slow, "header_timeout_seconds").await;
    slow.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_too_slow_or_too_deep() {
    let large = world("max_body_bytes", "1024").await;
    let answer = large.post("/api/v1/restores", &"x".repeat(2000).into()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")));
    counted(&large, "max_body_bytes").await;
    large.end().await;

    let slow = world("body_timeout_seconds", "0.3").await;
    let mut raw = Raw::open(slow.gateway.api()).await;
    raw.send(head(100)).await;
    assert_eq!(raw.answer().await.map(|answer| answer.status), Some(408));
    counted(&slow, "body_timeout_seconds").await;
    slow.end().await;

    let deep = world("max_json_depth", "8").await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let send = |body: String| {
        let (http, url) = (deep.http.clone(), deep.url("/api/v1/restore-previews"));
        async move { http.send(Method::POST, &url, &[("content-type", "application/json")], body).await }
    };
    assert_eq!(send(nested(8)).await.json()["code"], "invalid_request", "JSON it is");
    let answer = send(nested(9)).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid_json")));
    assert!(answer.text().contains("nested deeper than 8"), "{}", answer.text());
    counted(&deep, "max_json_depth").await;
    deep.end().await;
}

#[tokio::test]
async fn more_at_once_than_there_is_room_for() {
    let busy = world("max_in_flight", "1").await;
    let end = Instant::now() + Duration::from_secs(20);
    // The one place goes to whichever request comes first: the slow one asks anew until it has it.
    let (raw, refused) = loop {
        let mut raw = Raw::open(busy.gateway.api()).await;
        raw.send(head(100)).await;
        let answer = busy.get("/api/v1/restores").await;
        if answer.status == 503 {
            break (raw, answer);
        }
        assert!(Instant::now() < end, "the slow request never takes its place");
    };
    assert_eq!((refused.json()["code"].as_str(), refused.header("retry-after")), (Some("overloaded"), "1"));
    counted(&busy, "max_in_flight").await;
    drop(raw);
    busy.end().await;

    let config =
        TestConfig::default().set("limits.max_connections", "2").set("limits.max_share_per_address", "1");
    let full = World::with(config).await;
    let (mut one, mut two) = (Raw::open(full.gateway.api()).await, Raw::open(full.gateway.api()).await);
    let end = Instant::now() + Duration::from_secs(20);
    // Both are at work, and nobody can be let in.
    one.send(head(100)).await;
    two.send(head(100)).await;
    loop {
        let ready = full.admin("/readyz").await;
        if ready.status == 503 {
            assert!(ready.text().contains("limits.max_connections allows no more"), "{}", ready.text());
            break;
        }
        assert!(Instant::now() < end, "it is never full: {}", ready.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut waiting = Raw::open(full.gateway.api()).await;
    waiting.send("GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    counted(&full, "max_connections").await;
    drop((one, two));
    assert_eq!(waiting.answer().await.map(|answer| answer.status), Some(200), "it waited for a place");
    full.end().await;

    let streams = world("max_streams", "1").await;
    let stream = b"GET /api/v1/restores HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    let mut first = Raw::open(streams.gateway.api()).await;
    first.send(stream).await;
    // Its head is there: it is open, and has the only place.
    assert_eq!(first.answer().await.map(|answer| answer.status), Some(200));
    let url = streams.url("/api/v1/restores");
    let second = streams.http.send(Method::GET, &url, &[("accept", "text/event-stream")], "").await;
    assert_eq!(second.status, 503, "{}", second.text());
    counted(&streams, "max_streams").await;
    streams.end().await;
}

/// What the ration is for is measured by the bench: good callers beside a crowd.
#[tokio::test]
async fn refusals_beyond_the_ration_wait_their_turn() {
    let world = world("rejections_per_second", "1").await;
    for _ in 0..4 {
        let refused = world.post("/api/v1/restores", &"x".into()).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (422, Some("invalid_request")));
    }
    counted(&world, "rejections_per_second").await;
    let taken = world.submit(&requests::free_disk()).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    world.end().await;
}

#[tokio::test]
async fn more_memory_than_the_process_may_hold() {
    let world = world("max_memory_bytes", "1").await;
    let refused = world.submit(&requests::free_disk()).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("overloaded")),
        "{}",
        refused.text()
    );
    assert!(!refused.header("retry-after").is_empty());
    // Nothing at all is taken in, a page without a body neither; whoever operates sees what is there, and why.
    for path in ["/api/v1/restores", "/docs"] {
        assert_eq!(world.get(path).await.status, 503, "{path}");
    }
    assert_eq!(world.admin("/restores").await.status, 200);
    let ready = world.admin("/readyz").await;
    assert!(ready.status == 503 && ready.text().contains("limits.max_memory_bytes is 1"), "{}", ready.text());
    assert!(world.sent().await.is_empty());
    let resident = world.admin("/metrics").await.text();
    let resident = resident.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    let bytes: f64 = resident.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("it is shown");
    assert!(bytes > 1e6, "{bytes}");
    counted(&world, "max_memory_bytes").await;
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_is_too_fast_and_a_request_that_takes_too_long() {
    let fast =
        World::with(TestConfig::default().set("limits.rate_per_second", "1").set("limits.rate_burst", "2"))
            .await;
    let end = Instant::now() + Duration::from_secs(20);
    while fast.get("/api/v1/restores").await.status != 429 {
        assert!(Instant::now() < end, "it is never too fast");
    }
    counted(&fast, "rate_per_second").await;
    fast.end().await;

    let long = World::with(
        TestConfig::default()
            .set("limits.request_timeout_seconds", "0.4")
            .set("limits.max_wait_seconds", "0.3")
            .set("submit.sync_wait_seconds", "0.3"),
    )
    .await;
    let mut raw = Raw::open(long.gateway.api()).await;
    raw.send(head(100)).await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("deadline_exceeded")));
    counted(&long, "request_timeout_seconds").await;
    long.end().await;
}
