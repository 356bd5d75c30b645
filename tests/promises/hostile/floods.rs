//! Connections that cost more than they bring (S17): thousands that say nothing, and floods of frames that HTTP/2 makes
//! cheap to send. Each is bounded or ended, and whoever means well goes on as if nothing were.

use std::time::Duration;

use http::Method;
use restore_tests::h2::{Ended, Http2, flag, frame, head, kind, literal};
use restore_tests::raw::Raw;
use restore_tests::{TestConfig, World, ids, requests};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Writes of one flood, of some kilobytes each: far more than may be taken.
const WRITES: usize = 4_000;
/// What the process may grow by under one flood.
const GROWTH_KIB: u64 = 32 * 1024;

/// Open files that this process may have.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(3).and_then(|count| count.parse().ok()).unwrap_or(usize::MAX)
}

/// A restore of its own goes through while it lasts.
async fn good(world: &World, number: usize) {
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json"), ("prefer", "wait=60")];
    let body = requests::extra_disk(number).to_string();
    let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("succeeded")),
        "{}",
        answer.text()
    );
}

async fn world() -> World {
    let world = World::with(TestConfig::default().set("limits.body_timeout_seconds", "3")).await;
    world.behave(serde_json::json!({"restore_seconds": 1, "extra_disks": 16})).await;
    world
}

#[tokio::test]
async fn s17_ten_thousand_that_say_nothing_cost_little_and_hold_nobody_up() {
    let config = TestConfig::default()
        .set("limits.header_timeout_seconds", "600")
        .set("limits.max_share_per_address", "1");
    let world = World::with(config).await;
    world.behave(serde_json::json!({"restore_seconds": 1, "extra_disks": 16})).await;
    good(&world, 0).await;
    let before = world.process().resident_kib();
    // The gateway has as many as this process may have, which holds the other ends of them.
    let count = 10_000.min(open_files().saturating_sub(500));
    let mut idle = Vec::with_capacity(count);
    while idle.len() < count {
        let more = (idle.len()..count).take(100).map(|_| TcpStream::connect(world.gateway.api()));
        idle.extend(
            futures_util::future::join_all(more).await.into_iter().map(|socket| socket.expect("a place")),
        );
    }
    let end = Instant::now() + Duration::from_secs(60);
    let open = |page: &str| {
        let line =
            page.lines().find(|line| line.starts_with("restore_gateway_connections{listener=\"api\"} "));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or(0)
    };
    while open(&world.admin("/metrics").await.text()) < count {
        assert!(Instant::now() < end, "they are never all taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grown = world.process().resident_kib().saturating_sub(before);
    assert!(grown <= 12 * count as u64, "{grown} KiB for {count} connections that say nothing");
    for number in 1..4 {
        good(&world, number).await;
    }
    assert_eq!(world.applied().await.len(), 4);
    drop(idle);
    world.end().await;
}

/// Floods, while good ones go on; how it ended, and that little was grown by.
async fn flooded(what: &str, bytes: impl FnMut(usize) -> Vec<u8> + Send) -> Ended {
    let world = world().await;
    good(&world, 0).await;
    let before = world.process().peak_kib();
    let attack = Http2::open(world.gateway.api(), &[]).await.flood(WRITES, bytes);
    let (ended, ()) = tokio::join!(attack, async {
        for number in 1..4 {
            good(&world, number).await;
        }
    });
    let grown = world.process().peak_kib() - before;
    assert!(grown <= GROWTH_KIB, "{what}: {grown} KiB");
    assert!(ended.taken < WRITES, "{what}: all was taken");
    assert_eq!(world.applied().await.len(), 4, "{what}");
    world.end().await;
    ended
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn s17_streams_that_are_opened_and_reset_end_the_connection() {
    let get = head("GET", "/api/v1/restores", &[("x-auth-token", ids::TOKEN)]);
    let ended = flooded("rapid reset", |number| {
        let mut bytes = Vec::new();
        for nth in 0..100 {
            let stream = u32::try_from(2 * (100 * number + nth) + 1).expect("a stream");
            bytes.extend(frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, &get));
            bytes.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        bytes
    });
    let ended = ended.await;
    assert!(ended.reset || ended.reason == Some(ENHANCE_YOUR_CALM), "{ended:?}");
}

#[tokio::test]
async fn s17_a_head_without_an_end_ends_the_connection() {
    let get = head("GET", "/api/v1/restores", &[]);
    for more in [Vec::new(), literal("x-more", &"x".repeat(100)).repeat(80)] {
        let mut first = Some(frame(kind::HEADERS, flag::END_STREAM, 1, &get));
        let ended = flooded("continuation", |_| {
            let mut bytes = first.take().unwrap_or_default();
            for _ in 0..20 {
                bytes.extend(frame(kind::CONTINUATION, 0, 1, &more));
            }
            bytes
        });
        let ended = ended.await;
        assert!(ended.reset || ended.reason.is_some(), "{ended:?}");
    }
}

#[tokio::test]
async fn s17_empty_frames_end_the_connection() {
    let post = head(
        "POST",
        "/api/v1/restores",
        &[("content-type", "application/json"), ("x-auth-token", ids::TOKEN)],
    );
    let mut first = Some(frame(kind::HEADERS, flag::END_HEADERS, 1, &post));
    let empty = frame(kind::DATA, 0, 1, &[]);
    let ended =
        flooded("empty data", |_| [first.take().unwrap_or_default(), empty.repeat(1_000)].concat()).await;
    assert!(ended.reset || ended.reason.is_some(), "{ended:?}");
}

/// Questions whose answers nobody reads are kept nowhere.
#[tokio::test]
async fn s17_who_asks_and_does_not_read_is_closed() {
    for (what, question) in [
        ("pings", frame(kind::PING, 0, 0, &[7; 8])),
        ("settings", frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
    ] {
        let world = World::with(TestConfig::default().set("limits.write_timeout_seconds", "1")).await;
        world.behave(serde_json::json!({"restore_seconds": 1, "extra_disks": 16})).await;
        good(&world, 0).await;
        let before = world.process().peak_kib();
        let mut deaf = Http2::open(world.gateway.api(), &[]).await;
        let many = question.repeat(1_000);
        let mut taken = 0;
        while deaf.send(&many).await {
            taken += many.len();
            assert!(taken < 1 << 30, "{what}: it takes all");
        }
        let grown = world.process().peak_kib() - before;
        assert!(grown <= GROWTH_KIB, "{what}: {grown} KiB");
        good(&world, 1).await;
        world.end().await;
    }
}

/// Whoever answers pings and no more holds a connection no longer than one who is silent.
#[tokio::test]
async fn s16_s17_times_of_http_2_are_those_of_http_1() {
    let config = TestConfig::default()
        .set("limits.header_timeout_seconds", "1")
        .set("limits.write_timeout_seconds", "1");
    let world = World::with(config).await;
    let get = head("GET", "/openapi.json", &[("x-auth-token", ids::TOKEN)]);
    let whole = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &get);
    let cut = whole.len() - 3;
    // Nothing; a head without an end; half a frame; an answer for which there is no window.
    for (what, window, bytes) in [
        ("asks nothing", 65_535, Vec::new()),
        ("a head that goes on", 65_535, frame(kind::HEADERS, flag::END_STREAM, 1, &get)),
        ("half a frame", 65_535, whole[..cut].to_vec()),
        ("takes no answer", 0, whole.clone()),
    ] {
        let mut slow = Http2::open(world.gateway.api(), &[(4, window)]).await;
        assert!(slow.send(&bytes).await);
        let begun = Instant::now();
        while let Some(got) = slow.frame().await {
            if got.kind == kind::PING && got.flags & flag::ACK == 0 {
                slow.send(&frame(kind::PING, flag::ACK, 0, &got.payload)).await;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
    }
    // One that asks twice, with more time between than a head has, is not disturbed.
    let mut good = Http2::open(world.gateway.api(), &[]).await;
    for stream in [1, 3] {
        let ask = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, &get);
        assert!(good.send(&ask).await);
        loop {
            let got = good.frame().await.expect("the connection lives");
            if got.stream == stream && got.flags & flag::END_STREAM != 0 && got.kind != kind::SETTINGS {
                break;
            }
            if got.kind == kind::DATA {
                let more = u32::try_from(got.payload.len()).expect("a short frame").max(1).to_be_bytes();
                let more = [frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, stream, &more)];
                assert!(good.send(&more.concat()).await);
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.end().await;
}

const WINDOW_UPDATE: u8 = 8;

/// And over HTTP/1.1, where all that is left is to fill the places: those who wait for one get it.
#[tokio::test]
async fn s17_who_fills_all_places_gives_them_back() {
    let config =
        TestConfig::default().set("limits.max_connections", "64").set("limits.header_timeout_seconds", "1");
    let world = World::with(config).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(Raw::open(world.gateway.api()).await);
    }
    world.behave(serde_json::json!({"restore_seconds": 1, "extra_disks": 16})).await;
    good(&world, 0).await;
    for raw in &mut silent {
        assert!(raw.closed().await);
    }
    world.end().await;
}
