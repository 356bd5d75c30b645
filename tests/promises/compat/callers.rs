//! Who may do what at a compatibility endpoint: the callers and policies of the API hold there, and refusals are in the source API's own form.

use http::Method;
use restore_tests::{Answer, TestConfig, World, ids};
use serde_json::{Value, json};

use crate::auth::callers::hash;
use crate::auth::tokens::OTHER;
use crate::compat::basics::{DOORS, native};

const OLD_PROGRAM: &str = "rgk_program-0123456789abcdef0123456789abcdef";
const NARROW: &str = "rgk_narrow-0123456789abcdef0123456789abcdef0";
const FOREIGN: &str = "rgk_foreign-0123456789abcdef0123456789abcdef";

/// An old program, one that may restore one disk alone, and one of another project; with a credential of the
/// gateway's own, so that nothing but the policies stands between them and the cloud.
async fn world() -> World {
    let [program, narrow, foreign] = [OLD_PROGRAM, NARROW, FOREIGN].map(hash);
    let (ours, theirs, disk) = (ids::PROJECT, OTHER, ids::FREE.1);
    let callers = format!(
        r#"
[[callers]]
name = "program"
type = "api-key"
key_hash = "{program}"
[[callers]]
name = "narrow"
type = "api-key"
key_hash = "{narrow}"
[[callers]]
name = "foreign"
type = "api-key"
key_hash = "{foreign}"
[[policies]]
callers = ["program"]
actions = ["restore", "read", "check"]
match = {{ project_ids = ["{ours}"] }}
[[policies]]
callers = ["narrow"]
actions = ["restore", "read"]
match = {{ project_ids = ["{ours}"], target_types = ["volume"], volume_ids = ["{disk}"] }}
[[policies]]
callers = ["foreign"]
actions = ["restore", "read", "check"]
match = {{ project_ids = ["{theirs}"] }}
"#
    );
    let config =
        TestConfig::default().each_upstream("credential = \"robot\"").and(DOORS).and(&callers).robot();
    World::serve_beside(config, &[], &[("password", "example-only")]).await
}

async fn ask(world: &World, key: Option<&str>, method: Method, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("x-api-key", key)));
    world.http.send(method, &world.url(path), &headers, body).await
}

/// What the clouds were asked, their own login apart.
async fn asked(world: &World) -> usize {
    let of_backups =
        |request: &&Value| request["path"].as_str().is_some_and(|path| path.contains(ids::PROJECT));
    world.arrived().await.iter().filter(of_backups).count()
}

#[tokio::test]
async fn who_is_not_known_is_refused_in_every_source_api_before_a_cloud_is_asked() {
    let world = world().await;
    for (source_api, target) in
        [("csbs-v1", "server"), ("cbr-v3", "server"), ("vbs-v2", "volume"), ("cinder-v3", "volume")]
    {
        let (path, body) = native::request(source_api, target);
        let answer = ask(&world, None, Method::POST, &path, &body).await;
        assert_eq!(answer.status, 401, "{source_api}: {}", answer.text());
        let said = answer.json();
        let nested = if source_api == "cinder-v3" { &said["upstream_unauthorized"] } else { &said["error"] };
        assert!(nested["message"].is_string(), "{source_api}: {said}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    // Versions are nobody's secret.
    assert_eq!(ask(&world, None, Method::GET, "/cbr/", &Value::Null).await.status, 300);
    assert_eq!(asked(&world).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_program_may_do_what_its_policies_say_and_nothing_else() {
    let world = world().await;
    let (server, body) = native::request("cbr-v3", "server");
    for key in [NARROW, FOREIGN] {
        let answer = ask(&world, Some(key), Method::POST, &server, &body).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert_eq!(answer.json()["error_code"], "Gateway.forbidden");
    }
    // Reads are passed on with the gateway's credential only for who may read all that is there.
    let backup = format!("/cbr/v3/{}/backups/{}", ids::PROJECT, ids::CBR_BACKUP);
    let list = format!("/cbr/v3/{}/backups?limit=10", ids::PROJECT);
    for path in [&backup, &list] {
        for key in [NARROW, FOREIGN] {
            let answer = ask(&world, Some(key), Method::GET, path, &Value::Null).await;
            assert_eq!(answer.status, 403, "{path}: {}", answer.text());
            assert!(answer.text().contains("for the whole project"), "{}", answer.text());
        }
    }
    assert_eq!(asked(&world).await, 0, "nothing was asked for them");
    for path in [&backup, &list] {
        let answer = ask(&world, Some(OLD_PROGRAM), Method::GET, path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let answer = ask(&world, Some(OLD_PROGRAM), Method::POST, &server, &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let (disk, body) = native::request("vbs-v2", "volume");
    assert_eq!(ask(&world, Some(NARROW), Method::POST, &disk, &body).await.status, 200);

    // Whose restore it is not, for that one it is not there.
    let id = answer.json()["job_id"].as_str().unwrap_or_default().to_owned();
    let log = format!("/cbr/v3/{}/operation-logs/{id}", ids::PROJECT);
    assert_eq!(ask(&world, Some(OLD_PROGRAM), Method::GET, &log, &Value::Null).await.status, 200);
    for key in [NARROW, FOREIGN] {
        let answer = ask(&world, Some(key), Method::GET, &log, &Value::Null).await;
        assert!([403, 404].contains(&answer.status), "{}", answer.text());
        assert!(!answer.text().contains("restore\":"), "{}", answer.text());
    }
    world.end().await;
}

/// A project in the path that the gateway's credential is not for is never asked with it.
#[tokio::test]
async fn no_endpoint_leads_into_another_project() {
    let world = world().await;
    let path = format!("/cbr/v3/{OTHER}/backups/{}", ids::CBR_BACKUP);
    let answer = ask(&world, Some(FOREIGN), Method::GET, &path, &Value::Null).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let body = json!({"restore": {"volume_id": ids::FREE.1}});
    let path = format!("/cbr/v3/{OTHER}/backups/{}/restore", ids::FREE.0);
    let answer = ask(&world, Some(FOREIGN), Method::POST, &path, &body).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    // Neither does a path that only looks as if it named one.
    for path in
        ["/cbr/v3/../backups", "/cbr/v3/%2e%2e/backups/x", "/cbr/v3//backups/x", "/cbr/v3/x/backups/x"]
    {
        let answer = ask(&world, Some(OLD_PROGRAM), Method::GET, path, &Value::Null).await;
        assert!((400..404).contains(&answer.status) || answer.status == 404, "{path}: {}", answer.text());
    }
    assert!(world.arrived().await.iter().all(|request| !request["path"].to_string().contains(OTHER)));
    assert!(world.applied().await.is_empty());
    world.end().await;
}

/// The project that policies are asked about is the third segment; what follows must not climb out of it.
#[tokio::test]
async fn no_segment_leads_out_of_the_project_that_policies_are_asked_about() {
    let world = world().await;
    let mut escaped = Vec::new();
    for way in ["..", "%2e%2e", ".%2E", "x/../..", "..%2f", "..;", "%2e%2e%2f"] {
        let path = format!("/cbr/v3/{}/{way}/{OTHER}/backups", ids::PROJECT);
        // The client of the tests must not tidy paths up.
        let mut raw = restore_tests::raw::Raw::open(world.gateway.api()).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {OLD_PROGRAM}\r\nconnection: close\r\n\r\n",
            world.gateway.api()
        );
        raw.send(head).await;
        let answer = raw.answer().await.expect("an answer");
        // No path of the source API, or no path at all.
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
    for request in world.arrived().await {
        if request["path"].to_string().contains(OTHER) {
            escaped.push(request["path"].clone());
        }
    }
    assert!(escaped.is_empty(), "{escaped:?}");
    world.end().await;
}
