//! Secrets that come with a request are nowhere to be found afterwards (S18, invariant I10): marked
//! ones go through everything, at log level trace, and then everything is searched.

use std::path::Path;

use http::Method;
use restore_tests::raw::Raw;
use restore_tests::{Answer, Receiver, TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

/// A token of nobody.
const MARKED: &str = "canary0f3e9a1c5b2d8046/token+abcdefghijklmnopqrstuvwxyz==";
/// What else comes along in headers that are nobody's business.
const ALONG: [(&str, &str); 5] = [
    ("authorization", "Bearer canary1f3e9a1c5b2d8046-authorization"),
    ("cookie", "session=canary2f3e9a1c5b2d8046-cookie"),
    ("x-security-token", "canary3f3e9a1c5b2d8046-security"),
    ("x-subject-token", "canary4f3e9a1c5b2d8046-subject"),
    ("proxy-authorization", "Basic canary5f3e9a1c5b2d8046-proxy"),
];

/// Disks are restored without a look first, so that those that do not exist are asked for too.
const ROUTES: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{clouds}"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
[[routes]]
match = { backup_ids = ["8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e"] }
upstream = "csbs"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
baseline_read = false
[[routes]]
upstream = "cbr"
"#;

/// Everything that was said, in words to search.
#[derive(Default)]
pub(crate) struct Said(pub(crate) Vec<(String, Vec<u8>)>);

impl Said {
    pub(crate) fn answer(&mut self, what: &str, answer: &Answer) {
        self.0.push((what.to_owned(), format!("{:?}\n{}", answer.headers, answer.text()).into_bytes()));
    }

    pub(crate) fn folder(&mut self, folder: &Path) {
        let entries =
            std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
        let mut files = 0;
        for path in entries.filter(|path| path.extension().is_some_and(|end| end != "toml")) {
            self.0.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
            files += 1;
        }
        assert!(files > 0, "there is a ledger");
    }

    pub(crate) fn search(&self, secrets: &[&str]) {
        for (what, bytes) in &self.0 {
            for secret in secrets {
                // The beginning is enough to use a token's other half for.
                let secret = &secret[..secret.len().min(20)];
                let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
                if let Some(at) = found {
                    let around = &bytes[at.saturating_sub(300)..bytes.len().min(at + 100)];
                    panic!("{secret:?} in {what}: {}", String::from_utf8_lossy(around).escape_debug());
                }
            }
        }
    }
}

/// A token given out by the simulated IAM.
async fn issued(world: &World) -> String {
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "restore-bot", "password": "example-only", "domain": {"name": "OTC00000000001000012345"}}}},
        "scope": {"project": {"id": ids::PROJECT}},
    }});
    let url = format!("{}/v3/auth/tokens", world.clouds.url());
    let headers = [("content-type", "application/json")];
    let answer = world.http.send(Method::POST, &url, &headers, body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("x-subject-token").to_owned()
}

#[tokio::test]
async fn s18_no_secret_of_a_request_is_found_anywhere() {
    let receiver = Receiver::start().await;
    let config = TestConfig::default()
        .set("telemetry.log_level", "\"trace\"")
        .set("telemetry.access_log", "true")
        .set("telemetry.sample_ratio", "1.0")
        .set("telemetry.otlp_endpoint", &format!("\"http://{}\"", receiver.addr))
        .set("polling.absence_confirmation_seconds", "1")
        .set("limits.body_timeout_seconds", "0.5")
        .routes(ROUTES);
    let mut world = World::serve(config).await;
    let good = issued(&world).await;
    let mut said = Said::default();
    let send = async |method: Method, path: &str, token: &str, more: &[(&str, &str)], body: String| {
        let mut headers = vec![("x-auth-token", token), ("content-type", "application/json")];
        headers.extend(ALONG);
        headers.extend_from_slice(more);
        world.http.send(method, &world.url(path), &headers, body).await
    };
    let submit = async |token: &str, key: &str, request: &Value| {
        send(Method::POST, "/api/v1/restores", token, &[("idempotency-key", key)], request.to_string()).await
    };

    // Good ones, through every generation, to the end, and looked at in every way.
    for (n, request) in
        [requests::cbr_server(), requests::csbs_server(), requests::free_disk()].iter().enumerate()
    {
        for path in ["/api/v1/restore-previews", "/api/v1/restore-checks"] {
            said.answer(path, &send(Method::POST, path, &good, &[], request.to_string()).await);
        }
        let wait = [("prefer", "wait=30"), ("idempotency-key", ["a", "b", "c"][n])];
        let answer = send(Method::POST, "/api/v1/restores", &good, &wait, request.to_string()).await;
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (200, Some("succeeded")),
            "{}",
            answer.text()
        );
        said.answer("good", &answer);
        let path = format!("/api/v1/restores/{}", answer.json()["id"].as_str().expect("an id"));
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::GET, format!("{path}/events")),
            (Method::DELETE, path.clone()),
            (Method::GET, format!("/api/v1/restores?x-auth-token={MARKED}")),
            (Method::PATCH, path),
        ] {
            said.answer(&path, &send(method.clone(), &path, &good, &[], String::new()).await);
        }
    }

    // Refused: by the clouds, and by an upstream that repeats what it got, in words and in headers.
    said.answer("refused", &submit(MARKED, "d", &requests::csbs_server()).await);
    for (n, token) in [MARKED, good.as_str()].into_iter().enumerate() {
        for (m, status) in [400_u16, 401, 403, 404, 409, 500, 503].into_iter().enumerate() {
            let echo = format!("token {token} (\\\"{}\\\") is not valid", token.replace('/', "\\/"));
            let body = format!("{{\"error_code\":\"BackupService.0001\",\"error_msg\":\"{echo}\"}}");
            let fault = json!({"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": status,
                "headers": {"x-request-id": token, "retry-after": token, "location": token}, "body_raw": body}});
            let url = format!("{}/_sim/faults", world.clouds.url());
            let headers = [("content-type", "application/json")];
            world.http.send(Method::POST, &url, &headers, json!({"faults": [fault]}).to_string()).await;
            // Disks of their own, so that an unknown outcome holds nobody else up.
            let disk = json!({"project_id": ids::PROJECT, "source": {"backup_id": format!("b{n}{m}")},
                "target": {"type": "volume", "volume_id": format!("v{n}{m}")}});
            said.answer("echoed", &submit(token, &format!("e{n}{m}"), &disk).await);
        }
    }

    // Malformed: each names the token, none is understood.
    for body in ["{", "[]", &json!({"project_id": MARKED, "target": good}).to_string(), MARKED] {
        said.answer("malformed", &send(Method::POST, "/api/v1/restores", MARKED, &[], body.to_owned()).await);
    }
    for lines in [
        format!("X-Auth-Token: {MARKED}\r\nX-Auth-Token: {good}\r\n"),
        format!("X-Auth-Token: {MARKED}\r\nX_Auth_Token: {good}\r\n"),
        format!("X-Auth-Token: {MARKED}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        format!("X-Auth-Token: {MARKED}\u{1}\r\n"),
        format!("X-Auth-Token: {}\r\n", MARKED.repeat(2_000)),
        format!("X-Auth-Token: {MARKED}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"),
    ] {
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(format!("POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n{MARKED}")).await;
        let answer = raw.answer().await;
        said.0.push((format!("{answer:?}"), format!("{answer:?}").into_bytes()));
    }

    let list = send(Method::GET, "/api/v1/restores", &good, &[], String::new()).await;
    for restore in list.json()["restores"].as_array().expect("restores") {
        let events = format!("/api/v1/restores/{}/events", restore["id"].as_str().expect("an id"));
        said.answer(&events, &send(Method::GET, &events, &good, &[], String::new()).await);
    }
    said.answer("list", &list);
    for page in ["/", "/livez", "/readyz", "/metrics", "/config"] {
        said.answer(page, &world.admin(page).await);
    }
    let end = Instant::now() + Duration::from_secs(30);
    while !receiver.spans().iter().any(|span| span.name == "GET /api/v1/restores") {
        assert!(Instant::now() < end, "no spans");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    said.folder(world.process().folder());
    let (status, log, folder) = world.ended_by("TERM").await;
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "it was told everything");
    said.0.push(("the log".to_owned(), log.into_bytes()));
    said.0.push(("the spans".to_owned(), format!("{:?}", receiver.spans()).into_bytes()));
    said.folder(folder.path());

    let mut secrets = vec![MARKED, good.as_str()];
    let along = ALONG.map(|(_, value)| value.rsplit([' ', '=']).next().expect("a value"));
    secrets.extend(along);
    said.search(&secrets);
    // The search finds what is there.
    let finds = |place: &str, text: &str| {
        said.0.iter().any(|(what, bytes)| {
            what.contains(place) && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    };
    assert!(
        finds("echoed", "[redacted]") && finds("ledger.db", "[redacted]") && finds("ledger.db", ids::FREE.1)
    );
    world.end().await;
}
