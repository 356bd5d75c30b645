//! What is in files may be rotated while the gateway runs (S26), and no secret it holds is found anywhere (S18).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use http::Method;
use restore_tests::{Answer, TestConfig, World, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

const ACCESS: &str = "RGTESTACCESSKEY00001";
const SECRET: &str = "rgTestSecretKey/000000000000000000000001";

fn upstream(credential: &str) -> TestConfig {
    let routes = format!(
        r#"
[[credentials]]
name = "robot"
{credential}
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{{clouds}}"
credential = "robot"
[[routes]]
upstream = "cbr"
"#
    );
    TestConfig::default().routes(&routes)
}

const PASSWORD: &str = r#"
type = "iam-password"
iam_endpoint = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "password" }
project = "eu-test-1"
"#;

const KEYS: &str = r#"
type = "aksk"
access_key = { file = "access" }
secret_key = { file = "secret" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
"#;

async fn submit(world: &World) -> Answer {
    let headers = [("content-type", "application/json")];
    let body = requests::cbr_server().to_string();
    world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await
}

/// Writes a secret as a rotation does: anew, and put in the place of the old one.
fn rotate(world: &World, name: &str, secret: &str, mode: u32) {
    let path = world.process().folder().join(name);
    let next = path.with_extension("next");
    std::fs::write(&next, secret).expect("a secret is written");
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(mode)).expect("and kept");
    std::fs::rename(&next, &path).expect("and put in place");
}

/// Waits until the gateway has counted so many changes; the promise is a minute.
async fn until_rotated(world: &World, outcome: &str, count: u64) {
    let line = format!("restore_gateway_file_reloads_total{{outcome=\"{outcome}\"}} {count}");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let metrics = world.admin("/metrics").await.text();
        if metrics.lines().any(|written| written == line) {
            return;
        }
        assert!(Instant::now() < end, "no {line} in\n{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn arrived_at(world: &World, part: &str) -> Vec<Value> {
    let arrived = world.arrived().await;
    arrived.into_iter().filter(|seen| seen["path"].as_str().is_some_and(|path| path.contains(part))).collect()
}

fn until_done(world: &World, answer: &Answer) -> impl Future<Output = ()> {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    async move {
        world.until_status(&id, "succeeded").await;
    }
}

#[tokio::test]
async fn s26_a_rotated_password_is_used_without_a_restart() {
    let beside = [("password", "hunter2-not-yet-the-right-one")];
    let mut world = World::serve_beside(upstream(PASSWORD), &[], &beside).await;
    let refused = submit(&world).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("credential_failed")));
    // What cannot be a secret changes nothing, and is told of.
    rotate(&world, "password", "", 0o600);
    until_rotated(&world, "rejected", 1).await;
    rotate(&world, "password", "hunter2-which-all-may-read", 0o644);
    until_rotated(&world, "rejected", 2).await;
    std::fs::remove_file(world.process().folder().join("password")).expect("it was there");
    until_rotated(&world, "rejected", 3).await;
    assert!(
        world.admin("/metrics").await.text().contains("restore_gateway_files_last_reload_successful 0\n")
    );
    // The right one is used at once: the pause after a wrong password was of the wrong password.
    rotate(&world, "password", "example-only\n", 0o600);
    until_rotated(&world, "accepted", 1).await;
    assert!(
        world.admin("/metrics").await.text().contains("restore_gateway_files_last_reload_successful 1\n")
    );
    let answer = submit(&world).await;
    until_done(&world, &answer).await;
    assert_eq!(arrived_at(&world, "/auth/tokens").await.len(), 2);
    // A bad one later disturbs nobody.
    rotate(&world, "password", "", 0o600);
    until_rotated(&world, "rejected", 4).await;
    let answer = submit(&world).await;
    assert!(answer.status == 200 || answer.status == 202, "{}", answer.text());
    let (_, log, _folder) = world.ended_by("TERM").await;
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((told("the previous content stays in use"), told("file reloaded")), (4, 1), "{log}");
    assert!(!log.contains("hunter2") && !log.contains("example-only"));
    world.end().await;
}

#[tokio::test]
async fn s26_a_secret_key_that_is_wrong_is_tried_once_and_a_rotated_one_works() {
    let beside = [("access", ACCESS), ("secret", "hunter2/of-another-key")];
    let world = World::serve_beside(upstream(KEYS), &[], &beside).await;
    let refused = submit(&world).await;
    let problem = refused.json();
    assert_eq!((refused.status, &problem["code"]), (503, &json!("credential_failed")), "{problem}");
    assert_eq!((&problem["effect"], &problem["retry"]), (&json!("none"), &json!("later")));
    assert!(
        problem["upstream"]["message"].as_str().is_some_and(|said| said.contains("signature")),
        "{problem}"
    );
    let restore = world.get(problem["restore"].as_str().expect("a link")).await.json();
    assert_eq!(restore["status"], "rejected");
    // Five of them would block the key for everybody who has it: nobody signs with it again.
    for _ in 0..6 {
        let rests = submit(&world).await;
        assert_eq!(
            (rests.status, &rests.json()["code"]),
            (503, &json!("credential_failed")),
            "{}",
            rests.text()
        );
    }
    assert_eq!((arrived_at(&world, "/v3/").await.len(), world.sent().await.len()), (1, 0));
    rotate(&world, "secret", SECRET, 0o600);
    until_rotated(&world, "accepted", 1).await;
    let answer = submit(&world).await;
    until_done(&world, &answer).await;
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    world.end().await;
}

/// Everything that a process has said and kept, in words to search.
fn all_of(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("ledger.db") {
            all.extend(std::fs::read(&path).expect("a file"));
        }
    }
    assert!(!all.is_empty(), "there is a ledger");
    all
}

#[tokio::test]
async fn s26_the_key_of_a_caller_is_taken_from_its_file_and_again_when_it_changes() {
    const CALLER: &str = r#"
[[callers]]
name = "job"
type = "api-key"
key = { file = "api-key" }
[[policies]]
callers = ["job"]
actions = ["restore", "read"]
"#;
    let (first, second) = ("1".repeat(48), "2".repeat(48));
    let config = TestConfig::default().and(CALLER);
    let mut world = World::serve_beside(config, &[], &[("api-key", &first)]).await;
    let url = world.url("/api/v1/restores");
    let asked = async |key: &str| {
        world.http.send(Method::GET, &url, &[("x-api-key", key)], String::new()).await.status
    };
    assert_eq!((asked(&first).await, asked(&second).await, asked("").await), (200, 401, 401));
    rotate(&world, "api-key", &second, 0o600);
    // Soon after the start a load of the configuration may take it before the watch does, which then counts nothing.
    let end = Instant::now() + Duration::from_secs(60);
    while (asked(&first).await, asked(&second).await) != (401, 200) {
        assert!(Instant::now() < end, "the new key is not taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.ended_by("TERM").await;
    world.end().await;
}

#[tokio::test]
async fn s18_no_secret_that_the_gateway_holds_is_found_anywhere() {
    let keys = KEYS.to_owned() + "security_token = { file = \"token\" }\n";
    for (credential, beside) in [
        (PASSWORD, vec![("password", "example-only")]),
        // Refused in words that repeat the access key.
        (KEYS, vec![("access", "RGCANARYACCESSKEY1"), ("secret", "canary6f3e9a1c5b2d8046-secret")]),
        (&keys, vec![("access", ACCESS), ("secret", SECRET), ("token", "canary7f3e9a1c5b2d8046-security==")]),
        (KEYS, vec![("access", ACCESS), ("secret", SECRET)]),
    ] {
        let config =
            upstream(credential).set("telemetry.log_level", "\"trace\"").set("telemetry.access_log", "true");
        let mut world = World::serve_beside(config, &[], &beside).await;
        let answer = submit(&world).await;
        let mut said = format!("{:?}{}", answer.headers, answer.text());
        if answer.status == 202 {
            until_done(&world, &answer).await;
        }
        // And what an upstream repeats of a signature.
        let seen = arrived_at(&world, "/backups").await;
        let header = |name: &str| {
            let of = |seen: &Value| seen["headers"][name].as_str().map(str::to_owned);
            seen.iter().filter_map(of).collect::<Vec<_>>()
        };
        let mut secrets: Vec<String> = beside.iter().map(|(_, secret)| (*secret).to_owned()).collect();
        secrets.extend(header("x-auth-token"));
        secrets.extend(
            header("authorization").iter().filter_map(|value| value.rsplit('=').next()).map(str::to_owned),
        );
        assert!(secrets.len() > beside.len() || answer.status != 202, "it was shown something");
        for page in ["/config", "/metrics", "/readyz"] {
            said += &world.admin(page).await.text();
        }
        let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await;
        for restore in list.json()["restores"].as_array().expect("restores") {
            let path = format!("/api/v1/restores/{}/events", restore["id"].as_str().expect("an id"));
            said += &world.http.send(Method::GET, &world.url(&path), &[], "").await.text();
        }
        let (_, log, folder) = world.ended_by("TERM").await;
        assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "it was told everything");
        let kept = String::from_utf8_lossy(&all_of(folder.path())).into_owned();
        for secret in &secrets {
            for (place, text) in [("answers", &said), ("the log", &log), ("the ledger", &kept)] {
                assert!(!text.contains(secret.as_str()), "{secret:?} in {place} of {credential}");
            }
        }
        world.end().await;
    }
}
