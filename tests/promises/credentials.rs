//! A credential of the gateway's own: callers bring no token, one login serves many calls, and a
//! restore is followed, and gone on with, by itself.

use http::Method;
use restore_tests::{Answer, Settings, World, requests};
use serde_json::{Value, json};

/// A CBR that is called with tokens of the gateway's own.
fn held() -> Settings {
    Settings::default().set("follow.settle_seconds", "1").set("follow.unknown_seconds", "20").routes(
        r#"
[[credentials]]
name = "robot"
kind = "iam-password"
iam = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "password" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
send_seconds = 1
credential = "robot"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
send_seconds = 1
credential = "robot"
[[routes]]
match = { target = ["volume"] }
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#,
    )
}

/// A gateway with that password beside it.
async fn world(settings: Settings, password: &str, variables: &[(&str, &str)]) -> World {
    World::serve_beside(settings, variables, &[("password", password)]).await
}

/// A submit without any token.
async fn submit(world: &World, request: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, request.to_string()).await
}

async fn logins(world: &World) -> usize {
    let arrived = world.arrived().await;
    let is_login = |request: &&Value| request["path"].as_str().is_some_and(|p| p.contains("/auth/tokens"));
    arrived.iter().filter(is_login).count()
}

/// Waits without ever asking with a token.
async fn until(world: &World, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let url = world.url(&format!("/api/v1/restores/{id}"));
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(40);
    loop {
        let restore = world.http.send(Method::GET, &url, &[], "").await.json();
        if wanted(&restore) {
            return restore;
        }
        assert!(tokio::time::Instant::now() < end, "never: {restore}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_restore_needs_nobodys_token_and_one_login_serves_all() {
    let world = world(held(), "example-only", &[]).await;
    world.behave(json!({"restore_seconds": 2, "extra_disks": 20})).await;
    let asked = (0..20).map(|number| {
        let request = requests::extra_disk(number);
        let world = &world;
        async move { submit(world, &request).await }
    });
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (202, Some("running")),
            "{}",
            answer.text()
        );
        let done = until(&world, &id(&answer.json()), |restore| restore["finished_at"].is_string()).await;
        assert_eq!(done["status"], "succeeded");
    }
    assert_eq!((logins(&world).await, world.applied().await.len()), (1, 20));
    world.end().await;
}

#[tokio::test]
async fn f20_a_401_is_one_new_login_and_one_resend() {
    let world = world(held(), "example-only", &[]).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"},
            "answer": {"status": 401, "body": {"error_code": "APIGW.0301"}}}]))
        .await;
    let answer = submit(&world, &requests::cbr_server()).await;
    assert_eq!((answer.status, &answer.json()["attempts"]), (202, &json!(2)), "{}", answer.text());
    let history = world.history(&id(&answer.json())).await;
    assert!(history.contains(&"not_sent".to_owned()), "the proof is written down: {history:?}");
    assert_eq!((logins(&world).await, world.sent().await.len(), world.applied().await.len()), (2, 2, 1));

    // One that is refused again and again is refused once.
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "times": 9,
            "answer": {"status": 401, "body": {"error_code": "APIGW.0301"}}}]))
        .await;
    let refused = submit(&world, &requests::free_disk()).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (401, &json!("unauthorized")),
        "{}",
        refused.text()
    );
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (4, 1));
    world.end().await;
}

#[tokio::test]
async fn f21_a_401_on_reads_ends_nothing_and_passes_by_itself() {
    let world = world(held(), "example-only", &[]).await;
    world.behave(json!({"restore_seconds": 3})).await;
    let restore = submit(&world, &requests::cbr_server()).await.json();
    world
        .faults(json!([{"match": {"method": "GET"}, "times": 8,
            "answer": {"status": 401, "body": {"error_code": "APIGW.0301"}}}]))
        .await;
    let stale = until(&world, &id(&restore), |restore| restore["stale_since"].is_string()).await;
    assert_eq!((&stale["status"], stale["awaiting_credential"].as_bool()), (&json!("running"), None));
    let done = until(&world, &id(&restore), |restore| restore["finished_at"].is_string()).await;
    assert_eq!((&done["status"], &done["stale_since"]), (&json!("succeeded"), &Value::Null));
    world.end().await;
}

#[tokio::test]
async fn f2_what_was_accepted_and_not_sent_is_sent_once_by_the_next_process() {
    let mut world = world(held(), "example-only", &[("RESTORE_GATEWAY_CRASH_AT", "accepted")]).await;
    let url = world.url("/api/v1/restores");
    let headers = [("content-type", "application/json")];
    let body = requests::cbr_server().to_string();
    assert!(world.http.try_send(Method::POST, &url, &headers, body).await.is_err());
    let folder = world.crashed().await;
    assert!(world.sent().await.is_empty());
    world.again_in(folder).await;
    let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await.json();
    let done = until(&world, &id(&list["restores"][0]), |restore| restore["finished_at"].is_string()).await;
    assert_eq!((&done["status"], &done["attempts"]), (&json!("succeeded"), &json!(1)));
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn f4_what_may_have_been_sent_is_found_by_the_next_process_by_itself() {
    let mut world = world(held(), "example-only", &[("RESTORE_GATEWAY_CRASH_AT", "answered")]).await;
    let url = world.url("/api/v1/restores");
    let headers = [("content-type", "application/json")];
    let body = requests::cbr_server().to_string();
    assert!(world.http.try_send(Method::POST, &url, &headers, body).await.is_err());
    let folder = world.crashed().await;
    world.again_in(folder).await;
    let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await.json();
    let done = until(&world, &id(&list["restores"][0]), |restore| restore["finished_at"].is_string()).await;
    assert_eq!(done["status"], "succeeded");
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn s3_a_credential_opens_its_own_project_alone() {
    let world = world(held(), "example-only", &[]).await;
    let mut elsewhere = requests::cbr_server();
    elsewhere["project_id"] = json!("1b2c3d4e5f60718293a4b5c6d7e8f90a");
    let refused = submit(&world, &elsewhere).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (403, &json!("out_of_scope")),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["effect"], "none");
    let reached = world.arrived().await;
    let of_elsewhere = |request: &&Value| request["path"].as_str().is_some_and(|p| p.contains("1b2c3d4e5f"));
    assert_eq!(reached.iter().filter(of_elsewhere).count(), 0);
    world.end().await;
}

#[tokio::test]
async fn a_wrong_password_sends_nothing_and_is_not_tried_again_and_again() {
    let mut world = world(held(), "hunter2-the-wrong-one", &[]).await;
    for _ in 0..5 {
        let refused = submit(&world, &requests::free_disk()).await;
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("credential_failed")));
        assert_eq!(refused.json()["effect"], "none");
    }
    assert_eq!((logins(&world).await, world.sent().await.len()), (1, 0), "five in a row lock a user out");
    let shown = world.admin("/settings").await.text() + &world.admin("/metrics").await.text();
    let ledger = std::fs::read(world.process().folder().join("ledger.db")).expect("the ledger");
    let (_, log, _folder) = world.ended_by("TERM").await;
    assert!(!format!("{shown}{log}{}", String::from_utf8_lossy(&ledger)).contains("hunter2"));
    world.end().await;
}
