//! What changes under a running restore: the configuration (F34), and the program (F36).

use std::path::Path;

use http::Method;
use restore_test_postgres::Postgres;
use restore_tests::{TestConfig, World, requests};
use serde_json::{Value, json};
use sqlx::Connection;

const VBS: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
"#;
const CBR: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
"#;

/// Configuration with these upstreams, all restores going to one of them.
fn routed(upstreams: &[&str], to: &str) -> TestConfig {
    let routes = format!("{}\n[[routes]]\nupstream = \"{to}\"\n", upstreams.concat());
    TestConfig::default().routes(&routes)
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// Looks at a restore without a token, which reads nothing from a cloud.
async fn stored(world: &World, id: &str) -> Value {
    let url = world.url(&format!("/api/v1/restores/{id}"));
    world.http.send(Method::GET, &url, &[], "").await.json()
}

/// A restore on its way over `vbs`, and the gateway stopped.
async fn begun() -> (World, String, tempfile::TempDir) {
    let mut world = World::serve(routed(&[VBS], "vbs")).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    assert_eq!(restore["status"], "running", "{restore}");
    let (_, _, folder) = world.ended_by("TERM").await;
    (world, id(&restore), folder)
}

#[tokio::test]
async fn f34_a_restore_keeps_the_way_it_was_accepted_on_when_no_route_leads_there_any_more() {
    let (mut world, restore, folder) = begun().await;
    world.again_as(folder, routed(&[VBS, CBR], "cbr")).await;
    let read = world.until(&restore, |restore| restore["last_poll_failed_since"].is_null()).await;
    assert_eq!((&read["status"], &read["upstream"]["name"]), (&json!("running"), &json!("vbs")), "{read}");
    world.advance(601).await;
    let ended = world.until_status(&restore, "succeeded").await;
    assert_eq!(ended["evidence"]["kind"], "job", "{ended}");
    // What comes now takes the new way.
    let key = [("idempotency-key", "next")];
    let next = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await.json();
    assert_eq!(next["upstream"]["name"], "cbr", "{next}");
    assert_eq!(world.sent().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn f34_without_its_upstream_a_restore_reports_it_and_continues_when_it_is_back() {
    let (mut world, restore, folder) = begun().await;
    let reads = world.arrived().await.len();
    // Gone from the configuration; and then there by its name, but as another generation.
    let other = VBS.replace("vbs-v2", "cbr-v3").replace("/vbs", "");
    let mut folder = folder;
    for config in [routed(&[CBR], "cbr"), routed(&[&other], "vbs")] {
        world.again_as(folder, config).await;
        let stale = world.until(&restore, |restore| restore["awaiting_credential"] != true).await;
        assert_eq!((&stale["status"], &stale["finished_at"]), (&json!("running"), &Value::Null), "{stale}");
        assert!(stale["last_poll_failed_since"].is_string(), "{stale}");
        let events = world.get(&format!("/api/v1/restores/{restore}/events")).await.json();
        let last = events["events"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let why = last["evidence"]["detail"].as_str().unwrap_or_default();
        assert!(
            last["event"] == "stale" && why.contains("no longer has upstream \"vbs\" of generation vbs-v2"),
            "{last}"
        );
        // Its target is held all the same.
        let key = [("idempotency-key", "next")];
        let next = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
        assert_eq!(
            (next.status, next.json()["code"].as_str()),
            (409, Some("target_busy")),
            "{}",
            next.text()
        );
        assert_eq!(world.arrived().await.len(), reads, "nobody else was asked");
        (_, _, folder) = world.ended_by("TERM").await;
    }
    world.advance(601).await;
    world.again_as(folder, routed(&[VBS], "vbs")).await;
    assert_eq!(stored(&world, &restore).await["status"], "running");
    let ended = world.until_status(&restore, "succeeded").await;
    assert!(ended["last_poll_failed_since"].is_null(), "{ended}");
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    world.end().await;
}

/// Sets the versions in a ledger's table of them: a schema `newer` by so much than this program's, and the
/// oldest program that may work with it, older by `room` than that.
async fn age(ledger: &str, newer: i64, room: i64) {
    let set = "update meta set value = (select value from meta where name = 'schema_version') + ";
    let steps = [
        format!("{set} {} where name = 'oldest_reader'", newer - room),
        format!("{set} {newer} where name = 'schema_version'"),
    ];
    for step in steps {
        let step = sqlx::raw_sql(sqlx::AssertSqlSafe(step));
        let changed = if ledger.starts_with("postgres") {
            let mut database = sqlx::PgConnection::connect(ledger).await.expect("a connection");
            step.execute(&mut database).await.expect("a change").rows_affected()
        } else {
            let mut file = sqlx::SqliteConnection::connect(ledger).await.expect("a file");
            step.execute(&mut file).await.expect("a change").rows_affected()
        };
        assert_eq!(changed, 1);
    }
}

/// A ledger with a restore that has ended, under a schema of a program newer by one version: which one may
/// not touch, and then one may.
async fn under_a_newer_schema(config: TestConfig, ledger: impl Fn(&Path) -> String) {
    let mut world = World::serve(config).await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    world.until_status(&restore, "succeeded").await;
    let (_, _, folder) = world.ended_by("TERM").await;
    let ledger = ledger(folder.path());

    age(&ledger, 1, 0).await;
    let (code, log) = refused(&folder).await;
    assert_eq!(code, Some(1), "{log}");
    for word in ["cannot use the ledger", "newer program", "this one knows up to version"] {
        assert!(log.contains(word), "{word:?} is not in {log}");
    }
    // The schema is one version further now; the oldest program for it is this one again.
    age(&ledger, 0, 1).await;
    world.again_in(folder).await;
    assert_eq!(stored(&world, &restore).await["status"], "succeeded");
    let key = [("idempotency-key", "next")];
    let next = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
    assert_eq!(next.status, 202, "{}", next.text());
    world.until_status(&id(&next.json()), "succeeded").await;
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

/// Starts the gateway, which must end by itself; how, and what it said.
async fn refused(folder: &tempfile::TempDir) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(restore_tests::binary());
    let config = folder.path().join("gateway.toml");
    command.arg("serve").arg("--config").arg(config).current_dir(folder.path()).kill_on_drop(true);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), command.output());
    let output = ended.await.expect("it ends by itself").expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn f36_a_sqlite_ledger_of_a_newer_program_is_refused_unless_that_left_room_for_this_one() {
    let file = |folder: &Path| format!("sqlite:{}", folder.join("ledger.db").display());
    under_a_newer_schema(TestConfig::default(), file).await;
}

#[tokio::test]
async fn f36_a_postgresql_ledger_of_a_newer_program_is_refused_unless_that_left_room_for_this_one() {
    let postgres = Postgres::start();
    postgres.create_database("ledger");
    let url = postgres.url("ledger");
    under_a_newer_schema(TestConfig::default().set("ledger.url", &format!("{url:?}")), |_| url.clone()).await;
}
