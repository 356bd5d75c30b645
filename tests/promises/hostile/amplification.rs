//! No request costs more than a hundred times its bytes: not in the answer, not in memory. Whoever sends little gets
//! little work done, and a list of faults has an end that it tells.

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// What an answer may weigh, per byte of the request with its head.
const FACTOR: usize = 100;
/// Faults that are listed for one request.
const LISTED: usize = 100;
/// The largest body there may be: more than the default of `limits.max_body_bytes`, for it may be set higher.
const LARGEST: usize = 1_048_576;

fn generous() -> TestConfig {
    TestConfig::default().set("limits.max_body_bytes", &LARGEST.to_string())
}

/// Bodies that ask for as much answer per byte as can be had, from very small to as large as is taken.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let members = |count: usize, name: &dyn Fn(usize) -> String| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{}\":0", name(n))).collect();
        format!("{{{}}}", members.join(","))
    };
    let volumes = |volumes: &str| {
        requests::cbr_server().to_string().replacen("\"volumes\":[", &format!("\"volumes\":[{volumes},"), 1)
    };
    let long = "x".repeat(LARGEST / 2);
    let mut bodies = vec![
        ("nothing", String::new()),
        ("a digit", "7".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("half an object", "{".to_owned()),
        ("a small target", "{\"target\":{\"type\":\"server\"}}".to_owned()),
        ("small members", members(26, &|n| char::from(b'a' + u8::try_from(n).unwrap_or(0)).to_string())),
        ("a hundred members", members(100, &|n| format!("{n:x}"))),
        ("many members", members(90_000, &|n| format!("{n:x}"))),
        ("members that are escaped", members(100, &|n| format!("~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/{n}"))),
        ("members of signs", members(100, &|n| format!("\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001{n}"))),
        ("members of many bytes", members(100, &|n| "\u{1f980}".repeat(64) + &n.to_string())),
        ("empty mappings", volumes(&vec!["{}"; 128].join(","))),
        ("mappings of one digit", volumes(&vec!["1"; 128].join(","))),
        ("as many mappings as fit", volumes(&vec!["{}"; 300_000].join(","))),
        (
            "mappings that are alike",
            volumes(&vec!["{\"backup_id\":\"a\",\"volume_id\":\"a\"}"; 126].join(",")),
        ),
        ("mappings with a member too many", volumes(&vec!["{\"a\":1,\"b\":1,\"c\":1}"; 128].join(","))),
        ("depth", "[".repeat(500_000)),
        ("depth of objects", "{\"a\":".repeat(100_000)),
        ("nested lists as far as they are read", format!("{}{}", "[".repeat(32), "]".repeat(32))),
        ("a long name", format!("{{\"{long}\":1}}")),
        ("a long name twice", format!("{{\"{}\":1,\"{}\":1}}", "y".repeat(400_000), "y".repeat(400_000))),
        ("a long value", format!("{{\"project_id\":\"{long}\"}}")),
        ("a long number", format!("{{\"project_id\":{}}}", "9".repeat(LARGEST / 2))),
        ("zeros", format!("[{}0]", "0,".repeat(500_000))),
        ("empty lists", format!("[{}[]]", "[],".repeat(300_000))),
        ("white space", " ".repeat(LARGEST - 1)),
    ];
    bodies.retain(|(_, body)| body.len() <= LARGEST);
    bodies.into_iter().map(|(what, body)| (what, body.into_bytes())).collect()
}

#[tokio::test]
async fn s14_no_answer_is_a_hundred_times_its_request() {
    let world = World::with(generous()).await;
    for path in ["/api/v1/restores", "/api/v1/restore-checks", "/api/v1/restore-previews"] {
        for (what, body) in hostile() {
            let sent = request_bytes("POST", path) + body.len();
            let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
            let answer = world.http.send(Method::POST, &world.url(path), &headers, body).await;
            assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
            let told: usize =
                answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            let told = told + answer.body.len();
            assert!(told <= FACTOR * sent, "{what}: {told} bytes for {sent}");
            // And a bound that does not grow with the request at all.
            assert!(told <= 64 * 1024, "{what}: {told} bytes");

            let problem = answer.json();
            let listed = problem["errors"].as_array().map_or(0, Vec::len);
            assert!(listed <= LISTED, "{what}: {listed} faults");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(listed < LISTED || detail.starts_with("at least 100 fault(s)"), "{what}: {detail}");
            assert!(detail.len() < 1_024, "{what}: {detail}");
        }
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new(), "the cloud was asked");
    world.end().await;
}

/// Least that a client has to say besides the body.
fn request_bytes(method: &str, path: &str) -> usize {
    let head =
        "Host: a\r\nX-Auth-Token: demo-token\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    format!("{method} {path} HTTP/1.1\r\n").len() + head.len()
}

/// Heads and paths: what is repeated in an answer is cut.
#[tokio::test]
async fn s14_no_head_is_answered_with_more_than_a_hundred_times_its_bytes() {
    let world = World::with(generous()).await;
    let long = "%C3%A9".repeat(1_000);
    for path in [
        "/x".to_owned(),
        format!("/{long}"),
        format!("/api/v1/restores/{long}"),
        format!("/api/v1/restores?status={}", "running,".repeat(1_000)),
        format!("/api/v1/restores?{}", "limit=1&".repeat(1_000)),
        format!("/api/v1/restores?target={long}"),
        format!("/schemas/{long}"),
        format!("/problems/{long}"),
    ] {
        let answer = world.get(&path).await;
        assert!((200..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(answer.body.len() <= FACTOR * request_bytes("GET", &path), "{path}: {}", answer.body.len());
        assert!(answer.status == 200 || answer.body.len() < 8 * 1024, "{path}: {}", answer.body.len());
    }
    world.end().await;
}

/// Memory, of all hostile bodies one after another and the largest of them side by side.
#[tokio::test]
async fn s14_no_request_takes_a_hundred_times_its_bytes_of_memory() {
    const TOGETHER: usize = 8;
    let world = World::with(generous()).await;
    let peak = || world.process().peak_kib() * 1024;
    let send = async |body: Vec<u8>| {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await.status
    };
    assert_eq!(send(json!({}).to_string().into_bytes()).await, 422);
    for (what, body) in hostile().into_iter().filter(|(_, body)| body.len() > LARGEST / 4) {
        let (before, sent) = (peak(), u64::try_from(TOGETHER * body.len()).unwrap_or(u64::MAX));
        let all = futures_util::future::join_all((0..TOGETHER).map(|_| send(body.clone()))).await;
        assert!(all.iter().all(|status| (400..500).contains(status)), "{what}: {all:?}");
        // The kernel counts by threads and may seem to go back a little.
        let taken = peak().saturating_sub(before);
        // Half of what is promised: so much is what the allocator may keep.
        assert!(taken <= 50 * sent, "{what}: {taken} bytes of memory for {sent}");
    }
    world.end().await;
}
