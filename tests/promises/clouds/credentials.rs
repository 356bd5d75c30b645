//! Credentials of the gateway's own, of every kind: callers bring no token, one login serves many calls, and a
//! restore is followed, and gone on with, by itself.

use std::os::unix::fs::PermissionsExt;

use http::Method;
use restore_tests::{Answer, TestConfig, World, WrongClock, requests};
use serde_json::{Value, json};

/// A CBR that is called with tokens of the gateway's own.
fn held() -> TestConfig {
    TestConfig::default()
        .robot()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "20")
        .routes(
            r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
send_timeout_seconds = 1
credential = "robot"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
send_timeout_seconds = 1
credential = "robot"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#,
        )
}

/// A gateway with that password beside it.
async fn world(config: TestConfig, password: &str, variables: &[(&str, &str)]) -> World {
    World::serve_beside(config, variables, &[("password", password)]).await
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
    world.behave(json!({"restore_seconds": 2, "extra_disks": 100})).await;
    let asked = (0..100).map(|number| {
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
    assert_eq!((logins(&world).await, world.applied().await.len()), (1, 100));
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
        (503, &json!("credential_failed")),
        "a 401 would have the caller's client log in anew and send again: {}",
        refused.text()
    );
    world
        .faults(json!([{"match": {"method": "GET", "path": "*"}, "times": 9,
            "answer": {"status": 401, "body": {"error_code": "APIGW.0301"}}}]))
        .await;
    let check = world.post("/api/v1/restore-checks", &requests::free_disk()).await;
    assert_eq!((check.status, &check.json()["code"]), (503, &json!("credential_failed")), "{}", check.text());
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
    let stale = until(&world, &id(&restore), |restore| restore["last_poll_failed_since"].is_string()).await;
    assert_eq!((&stale["status"], stale["awaiting_credential"].as_bool()), (&json!("running"), None));
    let done = until(&world, &id(&restore), |restore| restore["finished_at"].is_string()).await;
    assert_eq!((&done["status"], &done["last_poll_failed_since"]), (&json!("succeeded"), &Value::Null));
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
        (403, &json!("credential_out_of_scope")),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["effect"], "none");
    // Nor by an id that looks like the project: a path is of the project in its own place.
    elsewhere["source"]["backup_id"] = json!("0a1b2c3d4e5f60718293a4b5c6d7e8f9");
    let refused = submit(&world, &elsewhere).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (403, &json!("credential_out_of_scope")),
        "{}",
        refused.text()
    );
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
    let shown = world.admin("/config").await.text() + &world.admin("/metrics").await.text();
    let ledger = std::fs::read(world.process().folder().join("ledger.db")).expect("the ledger");
    let (_, log, _folder) = world.ended_by("TERM").await;
    assert!(!format!("{shown}{log}{}", String::from_utf8_lossy(&ledger)).contains("hunter2"));
    world.end().await;
}

/// A CBR and a VBS that are called with this credential.
fn with(credential: &str, endpoints: [&str; 2]) -> TestConfig {
    let [cbr, vbs] = endpoints;
    let routes = format!(
        r#"
[[credentials]]
name = "robot"
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
{credential}
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
credential = "robot"
{cbr}
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
credential = "robot"
{vbs}
[[routes]]
match = {{ target_types = ["volume"] }}
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#
    );
    TestConfig::default().routes(&routes)
}

const WRITTEN: [&str; 2] = ["endpoint = \"{clouds}\"", "endpoint = \"{clouds}/vbs\""];

const USER: &str = r#"
iam_endpoint = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "password" }
"#;

const KEYS: &str = r#"
type = "aksk"
access_key = { file = "access" }
secret_key = { file = "secret" }
"#;

const PERMANENT: [(&str, &str); 2] =
    [("access", "RGTESTACCESSKEY00001"), ("secret", "rgTestSecretKey/000000000000000000000001")];

/// A server and a disk, restored to their end without anybody's token; what the restore calls carried.
async fn both_restored(world: &World) -> Vec<Value> {
    for request in [requests::cbr_server(), requests::free_disk()] {
        let answer = submit(world, &request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let done = until(world, &id(&answer.json()), |restore| restore["finished_at"].is_string()).await;
        assert_eq!((&done["status"], &done["attempts"]), (&json!("succeeded"), &json!(1)), "{done}");
    }
    let sent = world.sent().await;
    assert_eq!((sent.len(), world.applied().await.len()), (2, 2));
    sent.into_iter().map(|mut sent| sent["headers"].take()).collect()
}

#[tokio::test]
async fn an_agency_is_assumed_whatever_its_name_is_called() {
    let agency = format!(
        "type = \"iam-agency\"{USER}agency_name = \"restore-agency\"\nagency_domain = \"customer-domain\""
    );
    for (lines, member) in
        [(agency.clone(), "agency_name"), (agency + "\nagency_member = \"xrole_name\"", "xrole_name")]
    {
        let world = world(with(&lines, WRITTEN), "example-only", &[]).await;
        both_restored(&world).await;
        let arrived = world.arrived().await;
        let asked: Vec<&Value> = arrived
            .iter()
            .filter(|seen| seen["path"].as_str().is_some_and(|path| path.contains("/auth/tokens")))
            .map(|seen| &seen["body"]["auth"])
            .collect();
        assert_eq!(asked.len(), 2, "the user's own, and the agency's");
        let role = json!({"domain_name": "customer-domain", member: "restore-agency"});
        assert_eq!(asked[1]["identity"]["assume_role"], role);
        world.end().await;
    }
    // Of an agency that there is not, IAM's refusal is told.
    let other =
        format!("type = \"iam-agency\"{USER}agency_name = \"other\"\nagency_domain = \"customer-domain\"");
    let world = world(with(&other, WRITTEN), "example-only", &[]).await;
    let refused = submit(&world, &requests::free_disk()).await.json();
    assert_eq!(refused["code"], "credential_failed");
    assert!(
        refused["detail"].as_str().is_some_and(|why| why.contains("the agency: IAM answered 403")),
        "{refused}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_token_is_rescoped() {
    let token = "type = \"iam-token\"\niam_endpoint = \"{clouds}\"\ntoken = { file = \"token\" }";
    let world = World::serve_beside(with(token, WRITTEN), &[], &[("token", "demo-token")]).await;
    for headers in both_restored(&world).await {
        let sent = headers["x-auth-token"].as_str().expect("a token");
        assert!(sent.starts_with("MIISIM"), "its own, and not the one it was given: {sent}");
    }
    assert_eq!(logins(&world).await, 1);
    world.end().await;
}

#[tokio::test]
async fn calls_are_signed_with_an_access_key() {
    let world = World::serve_beside(with(KEYS, WRITTEN), &[], &PERMANENT).await;
    for headers in both_restored(&world).await {
        let signed = headers["authorization"].as_str().expect("a signature");
        let names = "SignedHeaders=content-type;host;x-project-id;x-sdk-date, ";
        assert!(signed.starts_with("SDK-HMAC-SHA256 Access=RGTEST") && signed.contains(names), "{signed}");
        assert_eq!((&headers["x-auth-token"], &headers["x-security-token"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(logins(&world).await, 0);
    let preview = world
        .http
        .send(
            Method::POST,
            &world.url("/api/v1/restore-previews"),
            &[("content-type", "application/json")],
            requests::free_disk().to_string(),
        )
        .await;
    let preview = preview.text();
    assert!(preview.contains("authorization") && !preview.contains("RGTEST"), "{preview}");
    let mut elsewhere = requests::cbr_server();
    elsewhere["project_id"] = json!("1b2c3d4e5f60718293a4b5c6d7e8f90a");
    assert_eq!(submit(&world, &elsewhere).await.json()["code"], "credential_out_of_scope");
    world.end().await;
}

#[tokio::test]
async fn a_key_that_is_refused_is_shown_once_however_many_ask() {
    let wrong = [PERMANENT[0], ("secret", "rgTestSecretKey/000000000000000000000009")];
    let world = World::serve_beside(with(KEYS, WRITTEN), &[], &wrong).await;
    world.behave(json!({"extra_disks": 20})).await;
    let asked = (0..20).map(|number| {
        let world = &world;
        async move { submit(world, &requests::extra_disk(number)).await.json() }
    });
    for refused in futures_util::future::join_all(asked).await {
        assert_eq!((&refused["code"], &refused["effect"]), (&json!("credential_failed"), &json!("none")));
    }
    assert_eq!(world.arrived().await.len(), 1, "five would block the key for everybody");
    world.end().await;
}

#[tokio::test]
async fn a_temporary_key_brings_its_token() {
    // As these clouds issue their first one, a moment later.
    let temporary = [
        ("access", "RGTESTTEMPACCESS0001"),
        ("secret", "rgTestTempSecret/0000000000000000000000002"),
        ("token", "gQpldS10ZXN0LTGIREDACTEDTOKEN=="),
    ];
    let keys = KEYS.to_owned() + "security_token = { file = \"token\" }";
    let world = World::serve_beside(with(&keys, WRITTEN), &[], &temporary).await;
    let ask = json!({"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": 900}}}});
    let url = format!("{}/v3.0/OS-CREDENTIAL/securitytokens", world.clouds.url());
    let headers = [("content-type", "application/json"), ("x-auth-token", "demo-token")];
    let issued = world.http.send(Method::POST, &url, &headers, ask.to_string()).await.json();
    assert_eq!(issued["credential"]["access"], temporary[0].1);
    for headers in both_restored(&world).await {
        assert_eq!(headers["x-security-token"], temporary[2].1);
        assert!(headers["authorization"].as_str().is_some_and(|signed| signed.contains("x-security-token")));
    }
    world.end().await;
}

#[tokio::test]
async fn f30_a_wrong_clock_is_named_and_signed_around() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut keys = KEYS.to_owned();
    for (name, secret) in PERMANENT {
        let path = folder.path().join(name);
        std::fs::write(&path, secret).expect("a secret is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("and kept");
        keys = keys.replace(&format!("\"{name}\""), &format!("{path:?}"));
    }
    for seconds in [3_600, -3_600] {
        let clock = WrongClock::by_seconds(seconds);
        let world = World::by_clock(with(&keys, WRITTEN), &clock).await;
        let refused = submit(&world, &requests::cbr_server()).await;
        let problem = refused.json();
        assert_eq!((refused.status, &problem["code"]), (502, &json!("clock_skew")), "{problem}");
        let near = ["3600 s", "3599 s", "3601 s"].map(str::to_owned);
        let told = problem["detail"].as_str().unwrap_or_default();
        assert!(near.iter().any(|near| told.contains(near)), "how far is told: {problem}");
        assert_eq!((world.sent().await.len(), world.arrived().await.len()), (0, 1), "one bad signature");
        // From then on the clouds' own clock is gone by.
        both_restored(&world).await;
        world.end().await;
    }
}

#[tokio::test]
async fn tokens_of_ten_seconds_are_no_login_per_call() {
    let world = world(held(), "example-only", &[]).await;
    world.behave(json!({"token_lifetime_seconds": 10, "restore_seconds": 11, "extra_disks": 8})).await;
    let begun = tokio::time::Instant::now();
    let mut all = Vec::new();
    for number in 0..8 {
        all.push(id(&submit(&world, &requests::extra_disk(number)).await.json()));
    }
    for id in &all {
        let done = until(&world, id, |restore| restore["finished_at"].is_string()).await;
        assert_eq!((&done["status"], &done["attempts"]), (&json!("succeeded"), &json!(1)));
    }
    // One is used for seven of its ten seconds at the least.
    let (logins, most) =
        (logins(&world).await, 2 + usize::try_from(begun.elapsed().as_secs() / 7).expect("few"));
    assert!((2..=most).contains(&logins), "{logins} of at most {most}");
    let refused = world.arrived().await.iter().filter(|seen| seen["status"] == 401).count();
    assert_eq!(refused, 0, "each was renewed before its end");
    world.end().await;
}

#[tokio::test]
async fn an_endpoint_is_found_in_the_catalog() {
    let user = format!("type = \"iam-password\"{USER}");
    let world = world(with(&user, ["region = \"eu-test-1\"", ""]), "example-only", &[]).await;
    let preview = world
        .http
        .send(
            Method::POST,
            &world.url("/api/v1/restore-previews"),
            &[("content-type", "application/json")],
            requests::free_disk().to_string(),
        )
        .await;
    assert!(preview.text().contains("https://{discovered}/v2/"), "nothing is asked: {}", preview.text());
    assert!(world.arrived().await.is_empty());
    both_restored(&world).await;
    let sent: Vec<String> =
        world.sent().await.iter().map(|sent| sent["path"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(sent[0].starts_with("/cbr/v3/0a1b") && sent[1].starts_with("/vbs/v2/0a1b"), "{sent:?}");
    assert_eq!(logins(&world).await, 1, "the catalog came with the token");
    world.end().await;
}

#[tokio::test]
async fn a_region_that_is_missing_in_the_catalog_is_an_error() {
    let user = format!("type = \"iam-password\"{USER}");
    let world = world(with(&user, ["region = \"eu-test-2\"", ""]), "example-only", &[]).await;
    let refused = submit(&world, &requests::cbr_server()).await.json();
    assert_eq!(
        (&refused["code"], &refused["effect"]),
        (&json!("upstream_misconfigured"), &json!("none")),
        "{refused}"
    );
    let why = "no public endpoint of cbr in region eu-test-2";
    assert!(refused["detail"].as_str().is_some_and(|told| told.contains(why)), "{refused}");
    assert!(world.sent().await.is_empty());
    world.end().await;
}
