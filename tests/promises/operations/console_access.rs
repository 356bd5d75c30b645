//! Who may look at restores on the admin listener, and that it shows what the API shows.

use http::Method;
use restore_tests::{Answer, Browser, TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::auth::callers::hash;

const OPERATOR: &str = "rgk_operator-0123456789abcdef0123456789abcde";
const RESOLVER: &str = "rgk_resolver-0123456789abcdef0123456789abcde";
const FILES: [&str; 7] = [
    "/console",
    "/console.css",
    "/console.js",
    "/console-ask.js",
    "/console-parts.js",
    "/console-words.js",
    "/console.svg",
];

/// One who may look at one project and decide, and one who may decide alone.
fn config() -> TestConfig {
    TestConfig::default().and(&format!(
        r#"
[[callers]]
name = "operator"
type = "api-key"
listeners = ["admin"]
key_hash = "{}"
[[callers]]
name = "resolver"
type = "api-key"
listeners = ["admin"]
key_hash = "{}"
[[policies]]
callers = ["operator"]
actions = ["read-any", "resolve"]
match = {{ project_ids = ["{}"] }}
[[policies]]
callers = ["resolver"]
actions = ["resolve"]
"#,
        hash(OPERATOR),
        hash(RESOLVER),
        ids::PROJECT,
    ))
}

async fn admin(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    let url = format!("http://{}{path}", world.gateway.admin());
    world.http.send(Method::GET, &url, headers, "").await
}

#[tokio::test]
async fn the_admin_listener_shows_restores_as_the_api_does() {
    let world = World::new().await;
    let restore = world.submit(&requests::free_disk()).await.json();
    let id = restore["id"].as_str().expect("an id");
    world.until_status(id, "succeeded").await;
    for path in ["/restores", "/restores?status=succeeded&limit=1", "/restores?status=failed"] {
        let (there, here) = (world.get(&format!("/api/v1{path}")).await, admin(&world, path, &[]).await);
        assert_eq!((here.status, &here.body), (200, &there.body), "{path}");
    }
    for path in [format!("/restores/{id}"), format!("/restores/{id}/events")] {
        let (there, here) = (world.get(&format!("/api/v1{path}")).await, admin(&world, &path, &[]).await);
        assert_eq!((here.status, &here.body), (200, &there.body), "{path}");
        assert_eq!(here.header("cache-control"), "no-store");
    }
    let story = admin(&world, &format!("/restores/{id}/events"), &[("accept", "text/event-stream")]).await;
    assert_eq!((story.status, story.header("content-type")), (200, "text/event-stream"));
    assert!(story.text().contains("event: succeeded"), "{}", story.text());
    for (path, status) in [
        ("/restores/x", 404),
        ("/restores/", 404),
        ("/restores/x/y", 404),
        ("/restores/x/events/z", 404),
        ("/restores?nothing=1", 400),
        ("/restores/x/resolution", 405),
    ] {
        assert_eq!(admin(&world, path, &[]).await.status, status, "{path}");
    }
    // To look is all that can be done there.
    for (method, path) in [
        (Method::POST, "/restores".to_owned()),
        (Method::DELETE, format!("/restores/{id}")),
        (Method::POST, "/console".to_owned()),
    ] {
        let url = format!("http://{}{path}", world.gateway.admin());
        let json = [("content-type", "application/json")];
        let answer = world.http.send(method.clone(), &url, &json, requests::free_disk().to_string()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method} {path}");
    }
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s21_the_console_is_public_and_restores_are_for_operators_only() {
    let world = World::with(config()).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    let id = restore["id"].as_str().expect("an id");
    let other = json!({"project_id": "ffffffffffffffffffffffffffffffff", "source": {"backup_id": "b"},
        "target": {"type": "volume", "volume_id": "d"}});
    world.submit(&other).await;
    for path in FILES {
        let file = admin(&world, path, &[]).await;
        assert_eq!(file.status, 200, "{path}");
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        for part in
            ["frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'", "trusted-types 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        for word in [id, ids::PROJECT, ids::FREE.1] {
            assert!(!file.text().contains(word), "{path} says {word}");
        }
    }
    // Another site may not even have the page.
    assert_eq!(admin(&world, "/console", &[("host", "rebound.example")]).await.status, 403);

    let stream = ("accept", "text/event-stream");
    for path in ["/restores".to_owned(), format!("/restores/{id}"), format!("/restores/{id}/events")] {
        for headers in [vec![], vec![("authorization", "Bearer rgk_wrong")], vec![stream]] {
            assert_eq!(admin(&world, &path, &headers).await.status, 401, "{path} {headers:?}");
        }
        let headers = [("authorization", &*format!("Bearer {OPERATOR}"))];
        assert_eq!(admin(&world, &path, &headers).await.status, 200, "{path}");
        // Who may decide alone is shown no list, and of a restore not even that it is there.
        let headers = [("x-api-key", RESOLVER)];
        let status = if path == "/restores" { 403 } else { 404 };
        assert_eq!(admin(&world, &path, &headers).await.status, status, "{path}");
    }
    let key = [("x-api-key", OPERATOR)];
    let list = admin(&world, "/restores", &key).await.json();
    let projects: Vec<&Value> =
        list["restores"].as_array().into_iter().flatten().map(|restore| &restore["project_id"]).collect();
    assert_eq!(projects, [ids::PROJECT], "of projects that are not the operator's nothing is seen");
    assert_eq!(admin(&world, "/restores?api_key=rgk_x", &key).await.status, 400, "no credential in a query");
    world.end().await;
}

#[tokio::test]
async fn the_console_asks_for_a_key_and_keeps_it_nowhere() {
    let world = World::with(config()).await;
    let browser = Browser::open(1200, 800).await;
    browser.go(&format!("http://{}/console", world.gateway.admin())).await;
    let asks = "!document.getElementById('login').hidden && document.getElementById('shown').hidden";
    browser.until(asks).await;
    browser.write("#key", "rgk_wrong\u{e007}").await;
    browser.until("document.getElementById('login-fault').textContent.includes('does not know')").await;
    browser.write("#key", &format!("{RESOLVER}\u{e007}")).await;
    browser.until("document.getElementById('login-fault').textContent.includes('not allowed')").await;
    browser.write("#key", &format!("{OPERATOR}\u{e007}")).await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    let restore = world.submit(&requests::free_disk()).await.json();
    let row = format!("document.querySelector('tr[data-id=\"{}\"]')", restore["id"].as_str().expect("an id"));
    browser.until(&row).await;
    let kept = "return JSON.stringify([localStorage.length, sessionStorage.length, document.cookie, \
        document.getElementById('key').value, document.documentElement.outerHTML.includes('rgk_')])";
    assert_eq!(browser.run(kept).await, "[0,0,\"\",\"\",false]");
    browser.click("#leave").await;
    browser.until(asks).await;
    browser.until(&format!("!{row}")).await;
    browser.close().await;
    world.end().await;
}
