//! Connections are shared (S51): one address does not hold them all, idle ones make room, and file descriptors that run
//! out are no reason for a restore to fail.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http::Method;

use restore_tests::raw::Raw;
use restore_tests::{Process, TestConfig, World, binary, ids, requests};
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::time::Instant;

const ASK: &str = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection from another address of this machine.
pub(crate) async fn from(address: &str, to: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{address}:0").parse().expect("an address")).expect("an address of this machine");
    Raw::over(socket.connect(to).await.expect("a connection"))
}

/// Asks for something small; the status of the answer, if there is one.
async fn asked(raw: &mut Raw) -> Option<u16> {
    raw.send(ASK).await;
    raw.answer().await.map(|answer| answer.status)
}

async fn limit(world: &World, limit: &str) -> f64 {
    let page = world.admin("/metrics").await.text();
    let line = format!("restore_gateway_requests_rejected_total{{reason=\"{limit}\"}} ");
    page.lines().find_map(|told| told.strip_prefix(&line)?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn s51_one_address_that_holds_all_it_can_get_leaves_room_for_others() {
    let world = World::with(TestConfig::default().set("limits.max_connections", "64")).await;
    // Every one of them asks something, and then holds its connection.
    let mut held = Vec::new();
    for _ in 0..80 {
        let mut raw = from("127.0.0.2", world.gateway.api()).await;
        assert_eq!(asked(&mut raw).await, Some(200), "a new one takes the place of the oldest");
        held.push(raw);
    }
    assert!(limit(&world, "max_share_per_address").await >= 48.0, "what made room is counted");
    for raw in &mut held[..48] {
        assert!(raw.closed().await, "it was idle longest");
    }
    // Half is left to others.
    let mut others = Vec::new();
    for _ in 0..31 {
        let mut raw = from("127.0.0.3", world.gateway.api()).await;
        assert_eq!(asked(&mut raw).await, Some(200));
        others.push(raw);
    }
    let taken = world.submit(&requests::free_disk()).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    // All are taken now, and whoever comes next gets one of whoever has most.
    let mut next = from("127.0.0.4", world.gateway.api()).await;
    assert_eq!(asked(&mut next).await, Some(200));
    assert!(limit(&world, "max_connections").await >= 1.0);
    assert!(held[48].closed().await);
    for raw in &mut others {
        assert_eq!(asked(raw).await, Some(200), "those who have fewer keep theirs");
    }
    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 200, "there is room to be made: {}", ready.text());
    assert_eq!(ready.json()["connections"]["max"], 64);
    world.end().await;
}

#[tokio::test]
async fn s51_a_request_that_is_under_way_is_not_cut_off_for_another() {
    let config = TestConfig::default().set("limits.max_connections", "4");
    let world = World::with(config).await;
    world.behave(serde_json::json!({"restore_seconds": 3, "extra_disks": 16})).await;
    let taken = world.submit(&requests::extra_disk(0)).await.json();
    let wait = format!(
        "GET /api/v1/restores/{} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {}\r\nPrefer: wait=30\r\n\r\n",
        taken["id"].as_str().expect("an id"),
        ids::TOKEN
    );
    let mut waiting = from("127.0.0.2", world.gateway.api()).await;
    waiting.send(&wait).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut raw = from("127.0.0.2", world.gateway.api()).await;
        assert_eq!(asked(&mut raw).await, Some(200));
        idle.push(raw);
    }
    let answer = waiting.answer().await.expect("an answer");
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("succeeded")),
        "{}",
        answer.body
    );
    world.end().await;
}

/// A process that may open so few files that the connections of the configuration do not fit.
#[tokio::test]
async fn s51_file_descriptors_that_run_out_fail_no_restore_and_fill_no_log() {
    const FILES: usize = 700;
    let mut world = World::serve(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), &world.toml).expect("settings are written");
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")).arg(binary()).args(arguments);
        command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    let checked = limited(&["check-config", "--config", "gateway.toml"]).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(told.contains("FAILED  limits.max_connections") && told.contains("ulimit -n"), "{told}");
    assert_eq!(checked.status.code(), Some(1), "{told}");

    let serve = ["serve", "--config", "gateway.toml"];
    let child = limited(&serve).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let process = match Process::of(child, folder).await {
        Ok(process) => process,
        Err((_, log)) => panic!("the gateway did not come up:\n{log}"),
    };
    drop(world.turn_to(process));
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(Raw::open(world.gateway.api()).await);
    }
    for number in 0..4 {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        let body = requests::free_disk().to_string();
        let key = format!("key-{number}");
        let headers = [&headers[..], &[("idempotency-key", key.as_str())]].concat();
        let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await;
        // The first runs, the others meet it.
        assert!(matches!(answer.status, 202 | 409), "{}", answer.text());
    }
    let end = Instant::now() + Duration::from_secs(30);
    while world.applied().await.len() != 1 {
        assert!(Instant::now() < end, "the restore does not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(held);
    let (_, log, _) = world.ended_by("TERM").await;
    assert!(log.contains("connections fit"), "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    let failures = log.lines().filter(|line| line.contains("cannot be accepted")).count();
    assert!(failures <= 1, "{failures} lines tell of it:\n{log}");
}
