//! The same for those who call and for what the gateway holds for itself (S18): keys, tokens of issuers, signatures, TLS
//! keys, passwords, webhook secrets, good ones and bad ones, at log level trace; then everything is searched.

use http::Method;
use restore_tests::issuer::now;
use restore_tests::raw::Raw;
use restore_tests::{Authority, Http, Issuer, Receiver, TestConfig, World, binary, requests};
use rustls::version::TLS13;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Duration, Instant};

use crate::auth::callers::hash;
use crate::auth::tokens::{AK, Request, SK};
use crate::hostile::canary::Said;

const KEY: &str = "rgk_canary-a1c5b2d8046e0f3e9a1c5b2d8046e0f3e9";
const WRONG: &str = "rgk_canary-wrong-5b2d8046e0f3e9a1c5b2d8046e0f";
const PASSWORD: &str = "example-only";
/// base64 of 32 bytes that nothing else has.
const HOOK: &str = "whsec_Y2FuYXJ5LTdkMWM5ZTViLXdlYmhvb2sta2V5LTAxMjM=";

fn config(issuer: &Issuer, collector: &Receiver) -> TestConfig {
    let tables = format!(
        r#"
[tls]
certificate_file = "tls.crt"
key = {{ file = "tls.key" }}
listeners = ["admin"]
[[webhooks]]
name = "ops"
url = "http://{}/hook"
secret = {{ file = "hook" }}
allow_private_addresses = true
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{{clouds}}/vbs"
credential = "robot"
[[routes]]
upstream = "vbs"
[[callers]]
name = "keyed"
type = "api-key"
key_hash = "{}"
[[callers]]
name = "them"
type = "jwt"
issuer = "https://login.example"
audience = "restore-gateway"
jwks_url = "http://{}/keys"
[[callers]]
name = "sdk"
type = "aksk"
access_key = {{ file = "ak" }}
secret_key = {{ file = "sk" }}
project_ids = ["0a1b2c3d4e5f60718293a4b5c6d7e8f9"]
[[policies]]
callers = ["keyed", "them", "sdk"]
actions = ["restore", "read", "preview", "check"]
[[policies]]
callers = ["keyed"]
actions = ["read-any"]
"#,
        collector.addr,
        hash(KEY),
        issuer.addr
    );
    TestConfig::default()
        .robot()
        .set("telemetry.log_level", "\"trace\"")
        .set("telemetry.access_log", "true")
        .set("telemetry.sample_ratio", "1.0")
        .set("telemetry.otlp_endpoint", &format!("\"http://{}\"", collector.addr))
        .set("polling.absence_confirmation_seconds", "1")
        .routes(&tables)
}

/// A token's own part: its head and claims are no secret.
fn signature(token: &str) -> String {
    token.rsplit('.').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn s18_no_secret_of_those_who_call_is_found_anywhere() {
    let (issuer, collector, authority) = (Issuer::start().await, Receiver::start().await, Authority::new());
    let server = authority.server(1);
    let files = [
        ("tls.crt", server.certificate.as_str()),
        ("tls.key", server.key.as_str()),
        ("hook", HOOK),
        ("password", PASSWORD),
        ("ak", AK),
        ("sk", SK),
    ];
    let mut world = World::serve_beside(config(&issuer, &collector), &[], &files).await;
    world.behave(json!({"restore_seconds": 1, "extra_disks": 40})).await;
    let mut said = Said::default();

    let mut expired = issuer.claims();
    expired["exp"] = json!(now() - 600);
    let tokens = [issuer.token("one", &issuer.claims()), issuer.token("one", &expired)];
    let shown: Vec<(&str, String)> = vec![
        ("x-api-key", KEY.to_owned()),
        ("x-api-key", WRONG.to_owned()),
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("Bearer {WRONG}")),
        ("authorization", format!("Basic {WRONG}")),
        ("authorization", WRONG.to_owned()),
        ("authorization", format!("Bearer {}", tokens[0])),
        ("authorization", format!("Bearer {}", tokens[1])),
        ("authorization", format!("SDK-HMAC-SHA256 Access={AK}, SignedHeaders=host, Signature={WRONG}")),
        ("x-auth-token", WRONG.to_owned()),
    ];
    // Upstream refuses some of them, and one answer is none.
    let refusal = json!({"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": 400,
        "body": {"error_code": "BackupService.2010", "error_msg": "busy"}}});
    let garbage =
        json!({"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": 200, "body_raw": "?"}});
    world.faults(json!([refusal, garbage])).await;
    let mut good = 0;
    for (number, (name, value)) in shown.iter().enumerate() {
        let body = requests::extra_disk(number).to_string();
        let headers = [(*name, value.as_str()), ("content-type", "application/json")];
        for (method, path, body) in [
            (Method::POST, "/api/v1/restore-previews".to_owned(), body.as_str()),
            (Method::POST, "/api/v1/restores".to_owned(), body.as_str()),
            (Method::POST, "/api/v1/restores".to_owned(), "{"),
            (Method::GET, "/api/v1/restores".to_owned(), ""),
            (Method::GET, format!("/api/v1/restores?api_key={WRONG}"), ""),
            (Method::DELETE, "/api/v1/restores".to_owned(), ""),
        ] {
            let answer = world.http.send(method.clone(), &world.url(&path), &headers, body.to_owned()).await;
            good += usize::from(answer.status == 202);
            said.answer(&format!("{method} with {name}"), &answer);
        }
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n{name}: {value}\r\n\r\n")).await;
        said.0.push(("twice".to_owned(), format!("{:?}", raw.answer().await).into_bytes()));
    }
    let signed = Request::submit(&requests::extra_disk(30));
    let answer = signed.send(&world, None).await;
    good += usize::from(answer.status == 202);
    said.answer("signed", &answer);
    let forged = Request { secret: WRONG, ..Request::submit(&requests::extra_disk(31)) };
    said.answer("forged", &forged.send(&world, None).await);
    assert!(good >= 3, "{good}");

    // To the end, so that webhooks are sent; then all that can be read.
    let list = |path: String| {
        let world = &world;
        async move { world.http.send(Method::GET, &world.url(&path), &[("x-api-key", KEY)], "").await }
    };
    let end = Instant::now() + Duration::from_secs(30);
    while !list("/api/v1/restores".to_owned()).await.text().contains("succeeded") {
        assert!(Instant::now() < end, "none ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all = list("/api/v1/restores".to_owned()).await;
    for restore in all.json()["restores"].as_array().expect("restores") {
        let path = format!("/api/v1/restores/{}/events", restore["id"].as_str().expect("an id"));
        said.answer(&path, &list(path.clone()).await);
    }
    said.answer("list", &all);
    let admin = Http::over(authority.trusted_by(None, &[&TLS13]), true);
    for page in ["/", "/livez", "/readyz", "/metrics", "/config", "/triage", "/recovery", "/webhooks"] {
        let url = format!("https://localhost:{}{page}", world.gateway.admin().port());
        said.answer(page, &admin.send(Method::GET, &url, &[], "").await);
    }
    let arrived = world.arrived().await;
    let header = |request: &Value| request["headers"]["x-auth-token"].as_str().map(str::to_owned);
    let mut issued: Vec<String> = arrived.iter().filter_map(header).collect();
    issued.dedup();
    assert!(!issued.is_empty(), "the gateway showed a token of its own");

    let export = Command::new(binary())
        .args(["ledger", "export", "--config", "gateway.toml"])
        .current_dir(world.process().folder())
        .output()
        .await
        .expect("the command line");
    assert!(export.status.success() && !export.stdout.is_empty(), "{export:?}");
    said.0.push(("the export".to_owned(), [export.stdout, export.stderr].concat()));
    let (_, log, folder) = world.ended_by("TERM").await;
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "it was told everything");
    said.0.push(("the log".to_owned(), log.into_bytes()));
    said.0.push(("the spans".to_owned(), format!("{:?}", collector.spans()).into_bytes()));
    // The ledger alone: the secrets' own files lie beside it.
    for entry in std::fs::read_dir(folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ledger.db")) {
            said.0.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }

    let key_lines = server.key.lines().nth(1).expect("a key").to_owned();
    let hook = HOOK.trim_start_matches("whsec_").to_owned();
    let mut secrets = vec![SK.to_owned(), PASSWORD.to_owned(), key_lines, hook, "Signature=".to_owned()];
    secrets.extend([&KEY[11..], &WRONG[11..]].map(str::to_owned));
    secrets.extend(tokens.iter().map(|token| signature(token)));
    secrets.extend(issued);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    said.search(&secrets);
    world.end().await;
}
