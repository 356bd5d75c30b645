//! Good callers beside a crowd of bad ones: slow, huge, malformed, unknown and greedy. Every good restore arrives, and
//! arrives once, by the clouds' own count, and the process stays below its memory ceiling.
//!
//! What the crowd does to the good ones' times is measured by `./dev bench hostile`, not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use restore_tests::h2::{Http2, flag, frame, head, kind};
use restore_tests::raw::Raw;
use restore_tests::{Authority, Http, TestConfig, World, ids, requests};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::auth::callers::hash;

const GOOD: &str = "rgk_good-0123456789abcdef0123456789abcdef012";
/// Known, and may read: what it does beyond that is up to the limits.
const GREEDY: &str = "rgk_greedy-0123456789abcdef0123456789abcdef0";
/// Good clients, each one restore after the other.
const CLIENTS: usize = 8;
const RESTORES: usize = 12;
/// Bad ones of each kind at once.
const CROWD: usize = 8;
const CEILING: u64 = 256 * 1024 * 1024;

fn config() -> TestConfig {
    TestConfig::default()
        .set("limits.max_memory_bytes", &CEILING.to_string())
        .set("limits.max_connections", "2048")
        .set("limits.header_timeout_seconds", "1")
        .set("limits.body_timeout_seconds", "1")
        .set("limits.write_timeout_seconds", "1")
        .set("limits.max_page_size", "1000")
        .and(&format!(
            r#"
[[callers]]
name = "good"
type = "api-key"
key_hash = "{}"
[[callers]]
name = "greedy"
type = "api-key"
key_hash = "{}"
rate_per_second = 50
rate_burst = 100
[[policies]]
callers = ["good"]
actions = ["restore", "read"]
[[policies]]
callers = ["greedy"]
actions = ["read", "read-any"]
"#,
            hash(GOOD),
            hash(GREEDY)
        ))
}

/// What the bad ones share.
#[derive(Clone)]
struct Crowd {
    api: std::net::SocketAddr,
    over: Arc<AtomicBool>,
    done: Arc<[AtomicUsize; KINDS.len()]>,
}

const KINDS: [&str; 10] = [
    "slow heads",
    "slow bodies",
    "slow readers",
    "huge bodies",
    "endless chunks",
    "framings",
    "bad JSON",
    "unknown keys",
    "silent connections",
    "streams reset",
];

fn start_of(lines: &str) -> String {
    format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: a\r\nX-Api-Key: {GREEDY}\r\nContent-Type: application/json\r\n{lines}\r\n"
    )
}

impl Crowd {
    fn new(api: std::net::SocketAddr) -> Self {
        Self { api, over: Arc::default(), done: Arc::default() }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One bad client of this kind, again and again until it is over.
    async fn bad(self, kind: usize) {
        while self.goes_on() {
            match KINDS[kind] {
                "slow heads" => self.drip("GET /api/v1/restores HTTP/1.1\r\nX: ").await,
                "slow bodies" => self.drip(&start_of("Content-Length: 1000000\r\n")).await,
                "slow readers" => self.deaf().await,
                "huge bodies" => self.pour(&start_of("Content-Length: 900000\r\n"), &[b'['; 64 * 1024]).await,
                "endless chunks" => {
                    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
                    self.pour(&start_of("Transfer-Encoding: chunked\r\n"), &chunk).await;
                }
                "framings" => self.framings().await,
                "bad JSON" => self.json().await,
                "unknown keys" => self.unknown().await,
                "silent connections" => self.silent().await,
                _ => self.resets().await,
            }
            self.done[kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A beginning, and then a byte now and then.
    async fn drip(&self, first: &str) {
        let Ok(mut socket) = TcpStream::connect(self.api).await else { return };
        let mut told = socket.write_all(first.as_bytes()).await;
        let mut answer = [0; 512];
        while told.is_ok() && self.goes_on() {
            let pause = Duration::from_millis(100);
            if let Ok(Ok(_)) = tokio::time::timeout(pause, socket.read(&mut answer)).await {
                return;
            }
            told = socket.write_all(b"x").await;
        }
    }

    /// Asks for much, and takes little.
    async fn deaf(&self) {
        let Ok(socket) = TcpSocket::new_v4() else { return };
        let _ = socket.set_recv_buffer_size(2 * 1024);
        let Ok(mut socket) = socket.connect(self.api).await else { return };
        let get = format!("GET /api/v1/restores HTTP/1.1\r\nHost: a\r\nX-Api-Key: {GREEDY}\r\n\r\n");
        let mut answer = [0; 1];
        while self.goes_on() && socket.write_all(get.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if !matches!(socket.read(&mut answer).await, Ok(1)) {
                return;
            }
        }
    }

    /// As much as is taken.
    async fn pour(&self, first: &str, more: &[u8]) {
        let Ok(mut socket) = TcpStream::connect(self.api).await else { return };
        let mut told = socket.write_all(first.as_bytes()).await;
        while told.is_ok() && self.goes_on() {
            let write = tokio::time::timeout(Duration::from_secs(5), socket.write_all(more)).await;
            told = write.unwrap_or(Ok(()));
        }
    }

    async fn framings(&self) {
        for lines in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 4\r\nContent-Length: 5\r\n",
            "Content-Length: +4\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "X_Auth_Token: a\r\n",
            "X: a\r\n b\r\n",
            "X: \u{0}\r\n",
        ] {
            let mut raw = Raw::open(self.api).await;
            let inner = "POST /api/v1/restores HTTP/1.1\r\nHost: a\r\n\r\n";
            raw.send(format!("{}0\r\n\r\n{inner}", start_of(lines))).await;
            let _refused = raw.answer().await;
        }
    }

    async fn json(&self) {
        let long = format!("{{\"{}\":1}}", "x".repeat(500_000));
        for body in ["{", "NaN", "{\"a\":1,\"a\":2}", &"[".repeat(500_000), &"{\"a\":".repeat(100_000), &long]
        {
            let mut raw = Raw::open(self.api).await;
            raw.send(format!("{}{body}", start_of(&format!("Content-Length: {}\r\n", body.len())))).await;
            let _refused = raw.answer().await;
        }
    }

    async fn unknown(&self) {
        let mut raw = Raw::open(self.api).await;
        for (number, name) in
            ["X-Api-Key: rgk_", "Authorization: Bearer ", "X-Auth-Token: "].iter().enumerate()
        {
            let get = format!(
                "GET /api/v1/restores HTTP/1.1\r\nHost: a\r\n{name}{number}{}\r\n\r\n",
                "k".repeat(900)
            );
            if !raw.send(get).await || raw.answer().await.is_none() {
                return;
            }
        }
    }

    async fn silent(&self) {
        let sockets = join_all((0..50).map(|_| TcpStream::connect(self.api))).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(sockets);
    }

    async fn resets(&self) {
        let get = head("GET", "/api/v1/restores", &[("x-api-key", GREEDY)]);
        let flood = Http2::open(self.api, &[]).await.flood(200, |number| {
            let stream = |nth| u32::try_from(2 * (50 * number + nth) + 1).expect("a stream");
            let one = |nth| {
                let open = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream(nth), &get);
                [open, frame(kind::RST_STREAM, 0, stream(nth), &8_u32.to_be_bytes())].concat()
            };
            (0..50).flat_map(one).collect()
        });
        flood.await;
    }
}

/// Good clients: each asks for its restores until each is taken in, as often as it is told to come again, under one key.
async fn good(world: &World, http: &Http, url: &str) -> Vec<Value> {
    let clients = (0..CLIENTS).map(|client| async move {
        let mut taken = Vec::new();
        for nth in 0..RESTORES {
            let number = client * RESTORES + nth;
            let (key, body) = (format!("good-{number}"), requests::extra_disk(number).to_string());
            let headers = [
                ("x-api-key", GOOD),
                ("x-auth-token", ids::TOKEN),
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            let end = Instant::now() + Duration::from_secs(60);
            loop {
                let answer = http.try_send(Method::POST, url, &headers, body.clone()).await;
                match answer {
                    Ok(answer) if matches!(answer.status, 200 | 202) => break taken.push(answer.json()),
                    Ok(answer) if answer.status != 503 => panic!("{}: {}", answer.status, answer.text()),
                    other => assert!(Instant::now() < end, "never taken in: {other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        taken
    });
    let taken: Vec<Value> = join_all(clients).await.into_iter().flatten().collect();
    assert!(world.process().peak_kib() * 1024 < CEILING, "{} KiB", world.process().peak_kib());
    taken
}

/// Each of them was applied, once, and is found again.
async fn arrived_once(world: &World, taken: &[Value]) {
    let wanted = CLIENTS * RESTORES;
    let mut ids: Vec<&str> = taken.iter().map(|restore| restore["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), wanted, "each is a restore of its own");
    let applied = world.applied().await;
    let mut disks: Vec<String> = applied.iter().map(|restore| restore["target"]["id"].to_string()).collect();
    disks.sort_unstable();
    disks.dedup();
    assert_eq!((applied.len(), disks.len()), (wanted, wanted), "{:?}", applied.first());
    assert_eq!(world.sent().await.len(), wanted, "none was sent twice");
}

async fn filled(world: &World) {
    world.behave(json!({"restore_seconds": 1, "extra_disks": CLIENTS * RESTORES})).await;
}

#[tokio::test]
async fn s13_s16_s17_good_restores_arrive_once_beside_a_hostile_crowd() {
    let world = World::serve(config()).await;
    filled(&world).await;
    let crowd = Crowd::new(world.gateway.api());
    let bad = (0..KINDS.len()).flat_map(|kind| vec![kind; CROWD]);
    let bad: Vec<_> = bad.map(|kind| tokio::spawn(crowd.clone().bad(kind))).collect();
    // Before the first good one, each kind is at it.
    let end = Instant::now() + Duration::from_secs(60);
    while crowd.done.iter().any(|done| done.load(Ordering::Relaxed) == 0) {
        assert!(Instant::now() < end, "{:?}", crowd.done);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let taken = good(&world, &world.http, &world.url("/api/v1/restores")).await;
    crowd.over.store(true, Ordering::Relaxed);
    for bad in join_all(bad).await {
        bad.expect("a bad one that is no worse than it means to be");
    }
    arrived_once(&world, &taken).await;
    assert!(world.process().peak_kib() * 1024 < CEILING, "{} KiB", world.process().peak_kib());
    world.end().await;
}

#[tokio::test]
async fn s16_s28_good_restores_arrive_once_beside_strangers_to_tls() {
    let servers = Authority::new();
    let server = servers.server(1);
    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nkey = { file = \"tls.key\" }\n";
    let files = [("tls.crt", server.certificate.as_str()), ("tls.key", server.key.as_str())];
    let world = World::serve_beside(config().and(tls), &[], &files).await;
    filled(&world).await;
    let api = world.gateway.api();
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    // The beginning of a handshake that is never gone on with, one that is none, and one that promises much.
    let hello: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let kinds: [&[u8]; 5] =
        [b"", b"GET / HTTP/1.1\r\n\r\n", hello, &[0xff; 512], &[0x16, 0x03, 0x03, 0x3f, 0xff]];
    let bad = kinds.iter().flat_map(|bytes| (0..CROWD).map(move |_| bytes.to_vec())).map(|bytes| {
        let (over, done) = (Arc::clone(&over), Arc::clone(&done));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let Ok(mut socket) = TcpStream::connect(api).await else { continue };
                let _ = socket.write_all(&bytes).await;
                let mut said = Vec::new();
                let _ = socket.read_to_end(&mut said).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let bad: Vec<_> = bad.collect();
    let end = Instant::now() + Duration::from_secs(60);
    while done.load(Ordering::Relaxed) < 2 * bad.len() {
        assert!(Instant::now() < end, "nobody is closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let http = Http::over(servers.trusted_by(None, &[&TLS12, &TLS13]), true);
    let url = format!("https://localhost:{}/api/v1/restores", api.port());
    let taken = good(&world, &http, &url).await;
    over.store(true, Ordering::Relaxed);
    join_all(bad).await;
    arrived_once(&world, &taken).await;
    world.end().await;
}
