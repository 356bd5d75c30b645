//! Memory stays below the ceiling, whatever is asked and never read (S49). Every limit is held until what it bounds is
//! over: a place until the answer was written, headers until a wait begins. And a gateway that is quiet again takes
//! requests again.

use std::time::Duration;

use restore_tests::authority::Authority;
use restore_tests::h2::{Http2, flag, frame, head, kind, literal};
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::json;
use tokio::time::Instant;

use crate::hostile::connections;

/// The default of `limits.max_memory_bytes`, in KiB.
const CEILING_KIB: u64 = 1024 * 1024;
/// Streams that one connection may have open.
const STREAMS: u32 = 128;
/// The window of a stream at its beginning.
const INITIAL_WINDOW: u16 = 4;

/// A connection that asks this on every stream that it may open, and lets no byte of an answer's body come.
async fn withheld(address: std::net::SocketAddr, head: &[u8]) -> Http2 {
    let mut connection = Http2::open(address, &[(INITIAL_WINDOW, 0)]).await;
    let mut asked = Vec::new();
    for nth in 0..STREAMS {
        asked.extend(frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 2 * nth + 1, head));
    }
    // Whoever asks too much may be closed meanwhile.
    let _taken = connection.send(&asked).await;
    connection
}

/// The same, once each of its requests has the head of an answer, so that nothing of them is worked on any more.
async fn unread(address: std::net::SocketAddr, head: &[u8]) -> Http2 {
    let mut connection = withheld(address, head).await;
    let mut answered = 0;
    while answered < STREAMS {
        let Some(frame) = connection.frame().await else { break };
        answered += u32::from(frame.kind == kind::HEADERS || frame.kind == kind::RST_STREAM);
    }
    connection
}

/// How often the limits of these names were reached.
async fn reached(world: &World, limits: &[&str]) -> f64 {
    // Whoever held the places of the admin listener may just have gone.
    let end = Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = world.admin("/metrics").await;
        if page.status == 200 {
            break page.text();
        }
        assert!(Instant::now() < end, "an operator does not get in");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let counted = limits.iter().map(|limit| {
        let line = format!("restore_gateway_requests_rejected_total{{reason=\"{limit}\"}} ");
        page.lines().find_map(|told| told.strip_prefix(&line)?.parse::<f64>().ok()).unwrap_or(0.0)
    });
    counted.sum()
}

/// Waits until the gateway has worked through what it was asked: it is asked nothing more, and its processor rests.
async fn settled(world: &World) {
    let end = Instant::now() + Duration::from_secs(60);
    let used = || {
        let stat = std::fs::read_to_string(world.process().proc("stat")).expect("procfs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
    };
    loop {
        let before = used();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if used() - before <= 3 || Instant::now() > end {
            return;
        }
    }
}

#[tokio::test]
async fn s49_a_page_that_is_never_read_stays_below_the_ceiling_at_the_default_limits() {
    let world = World::new().await;
    let docs = head("GET", "/docs", &[]);
    let mut deaf = Vec::new();
    for _ in 0..225 {
        deaf.push(unread(world.gateway.api(), &docs).await);
    }
    settled(&world).await;
    let peak = world.process().peak_kib();
    assert!(peak < CEILING_KIB / 2, "{peak} KiB were held for pages that nobody reads");
    assert!(reached(&world, &["max_in_flight", "max_share_per_address"]).await > 0.0, "no limit is counted");
    // An operator gets in all the same, and so does everybody once the peer is gone.
    assert_eq!(world.admin("/livez").await.status, 200);
    drop(deaf);
    let end = Instant::now() + Duration::from_secs(30);
    while world.submit(&requests::free_disk()).await.status != 202 {
        assert!(Instant::now() < end, "the places do not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.end().await;
}

/// Every page that needs no credential, and every answer that one credential gets, on both listeners.
#[tokio::test]
async fn s49_no_answer_that_is_never_read_costs_more_than_its_place() {
    const CONNECTIONS: usize = 48;
    /// What six thousand streams themselves may cost.
    const GROWTH_KIB: u64 = 48 * 1024;
    for (listener, path) in [
        ("api", "/docs"),
        ("api", "/openapi.json"),
        ("api", "/schemas/restore-request"),
        ("api", "/problems/overloaded"),
        ("api", "/api/v1/capabilities"),
        ("api", "/api/v1/restores"),
        ("api", "/api/v1/restores/01a22a24-1df3-7cc5-9a1c-000000000000"),
        ("api", "/nothing"),
        ("admin", "/metrics"),
        ("admin", "/console"),
        ("admin", "/console.js"),
        ("admin", "/config"),
        ("admin", "/readyz"),
    ] {
        let world = World::new().await;
        for number in 0..8 {
            world.submit(&requests::extra_disk(number)).await;
        }
        let address = if listener == "api" { world.gateway.api() } else { world.gateway.admin() };
        let before = world.process().resident_kib();
        let head = head("GET", path, &[("x-auth-token", ids::TOKEN)]);
        let mut deaf = Vec::new();
        for _ in 0..CONNECTIONS {
            deaf.push(unread(address, &head).await);
        }
        settled(&world).await;
        let grown = world.process().peak_kib().saturating_sub(before);
        println!("{listener} {path}: {grown} KiB");
        assert!(grown < GROWTH_KIB, "{listener} {path}: {grown} KiB for {CONNECTIONS} connections");
        drop(deaf);
        assert!(
            reached(&world, &["max_in_flight", "max_share_per_address"]).await > 0.0,
            "{listener} {path}: no limit is counted"
        );
        world.end().await;
    }
}

/// What a stranger sends of a head whose end never comes, where nobody knows yet who asks.
fn half_heads() -> [(&'static str, Vec<u8>); 3] {
    let mut http1 = b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec();
    http1.extend(format!("X: {}\r\n", "x".repeat(1_000)).repeat(62).into_bytes());
    let mut http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    http2.extend(frame(kind::SETTINGS, 0, 0, &[]));
    let headers: Vec<u8> = (0..1_350).flat_map(|nth| literal(&format!("h{nth}"), "")).collect();
    http2.extend(frame(kind::HEADERS, flag::END_STREAM, 1, &[head("GET", "/", &[]), headers].concat()));
    // A ClientHello of 60 000 bytes, but for its last ones.
    let mut tls = Vec::new();
    for (nth, size) in [16_000, 16_000, 16_000, 11_000].into_iter().enumerate() {
        let mut part = vec![0; size];
        if nth == 0 {
            part[..4].copy_from_slice(&[1, 0, 0xea, 0x60]);
        }
        let length = u16::try_from(size).expect("a record").to_be_bytes();
        tls.extend([&[0x16, 3, 1], &length[..], &part].concat());
    }
    [("a head of HTTP/1.1", http1), ("a head of HTTP/2", http2), ("a handshake", tls)]
}

/// Heads that are not whole have no place among the requests, and hold memory all the same.
#[tokio::test]
async fn s49_heads_that_never_end_hold_no_more_than_their_part() {
    const CEILING_KIB: u64 = 192 * 1024;
    const CONNECTIONS: usize = 1_200;
    let certificate = Authority::new().server(1);
    let files = [("tls.crt", certificate.certificate.as_str()), ("tls.key", certificate.key.as_str())];
    for (what, bytes) in half_heads() {
        let mut config = TestConfig::default()
            .set("limits.max_memory_bytes", &(CEILING_KIB * 1024).to_string())
            .set("limits.header_timeout_seconds", "60");
        if what == "a handshake" {
            config = config.and(
                "[tls]\ncertificate_file = \"tls.crt\"\nkey = { file = \"tls.key\" }\nlisteners = [\"api\"]",
            );
        }
        let world = World::serve_beside(config, &[], &files).await;
        let mut held = Vec::new();
        for nth in 0..CONNECTIONS {
            // Two addresses, so that nobody's share alone is the bound.
            let address = if nth % 2 == 0 { "127.0.0.2" } else { "127.0.0.3" };
            let mut raw = connections::from(address, world.gateway.api()).await;
            let _taken = raw.send(&bytes).await;
            held.push(raw);
        }
        settled(&world).await;
        let peak = world.process().peak_kib();
        println!("{what}: {peak} KiB");
        assert!(peak < CEILING_KIB, "{what}: {peak} KiB");
        assert!(
            reached(&world, &["max_share_per_address", "max_memory_bytes"]).await > 0.0,
            "{what}: no limit is counted"
        );
        if what != "a handshake" {
            let taken = world.submit(&requests::free_disk()).await;
            assert_eq!(taken.status, 202, "{what}: {}", taken.text());
        }
        drop(held);
        world.end().await;
    }
}

/// Forty connections of waiting callers, each with as many headers as fit.
#[tokio::test]
async fn s49_headers_are_not_held_while_a_caller_waits() {
    /// What the waits themselves may cost.
    const GROWTH_KIB: u64 = 112 * 1024;
    for (what, headers) in [
        (
            "many that are empty",
            (0..1_350).flat_map(|nth| literal(&format!("h{nth}"), "")).collect::<Vec<u8>>(),
        ),
        (
            "some that are long",
            (0..110).flat_map(|nth| literal(&format!("h{nth}"), &"x".repeat(126))).collect(),
        ),
    ] {
        let world = World::new().await;
        world.behave(json!({"restore_seconds": 600, "extra_disks": 16})).await;
        let taken = world.submit(&requests::extra_disk(0)).await.json();
        let path = format!("/api/v1/restores/{}", taken["id"].as_str().expect("an id"));
        let before = world.process().resident_kib();
        let mut ask = head("GET", &path, &[("x-auth-token", ids::TOKEN), ("prefer", "wait=60")]);
        ask.extend(&headers);
        assert!(ask.len() < 16 * 1024, "{what}: one frame");
        let mut waiting = Vec::new();
        for _ in 0..40 {
            waiting.push(withheld(world.gateway.api(), &ask).await);
        }
        settled(&world).await;
        let grown = world.process().peak_kib().saturating_sub(before);
        println!("{what}: {grown} KiB");
        assert!(grown < GROWTH_KIB, "{what}: {grown} KiB");
        drop(waiting);
        world.end().await;
    }
}

/// What was freed counts no more: a quiet gateway takes requests in again.
#[tokio::test]
async fn s49_a_gateway_that_is_quiet_again_is_below_its_ceiling() {
    // What a load may leave behind, in KiB. Small pieces on every thread left twice as much.
    const LEFT: u64 = 18 * 1024;
    let quiet = {
        let world = World::new().await;
        world.admin("/readyz").await;
        let resident = world.process().resident_kib();
        world.end().await;
        resident
    };
    let ceiling = quiet + LEFT;
    let config = TestConfig::default().set("limits.max_memory_bytes", &(ceiling * 1024).to_string());
    let world = World::with(config).await;
    assert_eq!(world.admin("/readyz").await.status, 200);
    let nothing = head("GET", "/nothing", &[("x-auth-token", ids::TOKEN)]);
    // Before the first of them is answered; above the ceiling connections are accepted slowly.
    let mut deaf = futures_util::future::join_all(
        (0..200).map(|_| Http2::open(world.gateway.api(), &[(INITIAL_WINDOW, 0)])),
    )
    .await;
    let mut asked = Vec::new();
    for nth in 0..STREAMS {
        asked.extend(frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 2 * nth + 1, &nothing));
    }
    for connection in &mut deaf {
        connection.send(&asked).await;
    }
    let end = Instant::now() + Duration::from_secs(60);
    while world.admin("/readyz").await.status == 200 {
        assert!(
            Instant::now() < end,
            "{} KiB of {ceiling} KiB: this was no load",
            world.process().peak_kib()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(deaf);
    let since = Instant::now();
    let end = since + Duration::from_secs(30);
    loop {
        let ready = world.admin("/readyz").await;
        let (peak, now) = (world.process().peak_kib(), world.process().resident_kib());
        println!("{peak} KiB at most, {now} KiB of {ceiling} KiB after {:?}", since.elapsed());
        if ready.status == 200 {
            break;
        }
        assert!(Instant::now() < end, "{now} KiB of {peak} KiB are held on: {}", ready.text());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(world.submit(&requests::free_disk()).await.status, 202);
    world.end().await;
}
