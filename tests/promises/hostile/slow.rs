//! Clients that take their time: whoever holds a connection without using it is closed.

use std::time::Duration;

use restore_tests::raw::{Raw, post};
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::hostile::framing::{body, length};

#[tokio::test]
async fn s16_slow_senders_are_closed() {
    let config = TestConfig::default()
        .set("limits.header_timeout_seconds", "0.5")
        .set("limits.body_timeout_seconds", "0.5");
    let world = World::with(config).await;
    let api = world.gateway.api();

    // Nothing at all, in HTTP/1.1 and after the beginnings of the HTTP/2 preface.
    for start in ["", "P", "PRI * HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM", "GET /", "\r\n", "\r\n\r\n\r\n"] {
        let mut raw = Raw::open(api).await;
        raw.send(start).await;
        assert!(raw.closed().await, "{start:?} and then nothing");
    }
    // One byte at a time, for ever: each byte is progress, and no reason to go on.
    let mut raw = Raw::open(api).await;
    raw.send("GET /api/v1/restores HTTP/1.1\r\nX: ").await;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while raw.send("x").await {
        assert!(tokio::time::Instant::now() < end, "the head is still read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The same as the second request of a connection.
    let mut raw = Raw::open(api).await;
    raw.send("GET /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    raw.send("GET /api/v1/capab").await;
    assert!(raw.closed().await);

    // A body that does not come.
    let mut raw = Raw::open(api).await;
    raw.send(post(&length(&body()), "{")).await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.closes()), (408, true), "{answer:?}");
    assert!(raw.closed().await);
    let problem = answer.json();
    assert_eq!(
        (problem["code"].as_str(), problem["effect"].as_str()),
        (Some("request_timeout"), Some("none"))
    );

    // A patient client between two requests is none of these.
    let mut raw = Raw::open(api).await;
    for _ in 0..2 {
        raw.send("GET /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    assert!(world.arrived().await.is_empty());
    world.end().await;
}

/// What is open at the API, as the metrics tell it.
const API_CONNECTIONS: &str = "restore_gateway_connections{listener=\"api\"} ";

#[tokio::test]
async fn s16_a_reader_that_does_not_read_is_closed() {
    let config =
        TestConfig::default().set("limits.write_timeout_seconds", "0.5").set("limits.max_page_size", "1000");
    let world = World::with(config).await;
    // A list that no socket buffer holds: many refused restores of 128 disks each.
    let refusal = json!({"match": {"method": "POST"}, "times": 0, "answer": {"status": 400,
        "body": {"error_code": "BackupService.2010", "error_msg": "busy"}}});
    world.faults(json!([refusal])).await;
    let volumes: Vec<Value> =
        (0..128).map(|n| json!({"backup_id": format!("{n:064}"), "volume_id": format!("{n:064}")})).collect();
    let mut request = requests::cbr_server();
    request["target"]["volumes"] = json!(volumes);
    for _ in 0..300 {
        assert_eq!(world.submit(&request).await.status, 409);
    }
    let get =
        format!("GET /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: {}\r\n\r\n", ids::TOKEN);
    let whole = world.get("/api/v1/restores").await.body.len();
    assert!(whole > 4 * 1024 * 1024, "{whole}");

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a small buffer");
    let mut raw = Raw::over(socket.connect(world.gateway.api()).await.expect("a connection"));
    raw.send(get).await;
    // It is the gateway that ends it, while nobody reads: the count of open connections rises and
    // falls. What is left are the connections of the test's own client.
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    for wanted in ["2", "1"] {
        loop {
            let page = world.admin("/metrics").await.text();
            let open = page.lines().find_map(|line| line.strip_prefix(API_CONNECTIONS));
            if open == Some(wanted) {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "open: {open:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(raw.answer().await.is_none(), "the rest of the answer is not there");
    world.end().await;
}
