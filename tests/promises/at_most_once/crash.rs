//! F1 to F5: the process is killed between two commits, at each point and for each generation, and
//! started again. What was asked is done at most once, and nothing is said that is not so.

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

const KEY: [(&str, &str); 1] = [("idempotency-key", "the-one")];

/// One way to restore.
struct Case {
    name: &'static str,
    request: fn() -> Value,
    /// Whether its absence can be proven by a list.
    lists: bool,
}

const CASES: [Case; 3] = [
    Case { name: "cbr", request: requests::cbr_server, lists: true },
    Case { name: "csbs", request: requests::csbs_server, lists: false },
    Case { name: "vbs", request: requests::free_disk, lists: false },
];

/// Windows that a test can wait for, in the order of those of service.
fn hasty() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "6")
        .each_upstream("send_timeout_seconds = 1")
}

/// A gateway that dies at a point, after a submit with a key; and the same ledger under a new one.
async fn died_at(point: &str, case: &Case) -> World {
    let mut world = World::serve_with(hasty(), &[("RESTORE_GATEWAY_CRASH_AT", point)]).await;
    world.behave(json!({"restore_seconds": 8})).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json"), KEY[0]];
    let answer = world.http.try_send(Method::POST, &url, &headers, (case.request)().to_string()).await;
    assert!(answer.is_err(), "{} at {point}: the caller sees a broken connection", case.name);
    let folder = world.crashed().await;
    world.again_in(folder).await;
    world
}

/// The only restore there is, as the ledger has it.
async fn the_one(world: &World) -> Value {
    let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await.json();
    let restores = list["restores"].as_array().expect("a list");
    assert_eq!(restores.len(), 1, "{list}");
    restores[0].clone()
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().expect("an id").to_owned()
}

/// How often it was written down as being sent.
async fn sends(world: &World, id: &str) -> usize {
    world.history(id).await.iter().filter(|word| *word == "submitting").count()
}

#[tokio::test]
async fn f1_killed_before_it_was_accepted_nothing_exists_and_the_key_is_free() {
    for case in &CASES {
        let world = died_at("before_accept", case).await;
        let list = world.get("/api/v1/restores").await.json();
        assert_eq!(list["restores"], json!([]), "{}", case.name);
        assert!(world.sent().await.is_empty());
        let again = world.post_with("/api/v1/restores", &(case.request)(), &KEY).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (202, ""), "{}", again.text());
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
        world.end().await;
    }
}

#[tokio::test]
async fn f2_killed_after_it_was_accepted_it_is_dispatched_once() {
    for case in &CASES {
        let world = died_at("accepted", case).await;
        let before = the_one(&world).await;
        assert_eq!(before["status"], "checking", "{}", case.name);
        assert!(world.sent().await.is_empty());
        // Its token died with the process; the next caller's sends it.
        let again = world.post_with("/api/v1/restores", &(case.request)(), &KEY).await;
        assert_eq!(again.json()["id"], before["id"], "{}", again.text());
        let done = world.until_status(&id(&before), "succeeded").await;
        assert_eq!(done["attempts"], 1);
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
        world.end().await;
    }
}

#[tokio::test]
async fn f3_killed_before_the_first_byte_it_is_never_sent_again() {
    for point in ["submitting", "first_byte"] {
        for case in &CASES {
            let mut world = died_at(point, case).await;
            let before = the_one(&world).await;
            let id = id(&before);
            assert_eq!((&before["status"], &before["finished_at"]), (&json!("unknown"), &Value::Null));
            // The same key is the same restore, and is not sent by being asked for.
            let again = world.post_with("/api/v1/restores", &(case.request)(), &KEY).await;
            assert_eq!((again.status, &again.json()["id"]), (202, &before["id"]), "{}", again.text());
            if case.lists {
                let done = world.until_status(&id, "not_applied").await;
                assert_eq!(done["error"]["effect"], "none", "{done}");
            } else {
                // A short restore can hide between two reads of a status: no proof, so a person.
                let waiting = world.until(&id, |restore| restore["needs_operator"] == true).await;
                assert_eq!(waiting["status"], "unknown");
                // It outlives a further start.
                let (_, _, folder) = world.ended_by("KILL").await;
                world.again_in(folder).await;
                let kept = the_one(&world).await;
                assert_eq!((&kept["status"], &kept["needs_operator"]), (&json!("unknown"), &json!(true)));
            }
            assert_eq!(sends(&world, &id).await, 1);
            assert!(world.sent().await.is_empty() && world.applied().await.is_empty(), "{}", case.name);
            world.end().await;
        }
    }
}

#[tokio::test]
async fn f4_killed_with_the_answer_in_hand_reads_find_what_was_begun() {
    for case in &CASES {
        let world = died_at("answered", case).await;
        let before = the_one(&world).await;
        let id = id(&before);
        assert_eq!((&before["status"], &before["finished_at"]), (&json!("unknown"), &Value::Null));
        let found = world.until_status(&id, "running").await;
        assert!(found["evidence"]["kind"] != "answer", "{found}");
        // VBS has no job to ask: its backup is back from restoring whether it succeeded or not.
        let end = world
            .until(&id, |restore| restore["finished_at"].is_string() || restore["needs_operator"] == true)
            .await;
        if case.name == "cbr" {
            assert_eq!(
                (&end["status"], &end["evidence"]["strength"]),
                (&json!("succeeded"), &json!("strong"))
            );
        }
        assert!(!matches!(end["status"].as_str(), Some("not_applied" | "failed" | "rejected")), "{end}");
        assert_eq!(sends(&world, &id).await, 1);
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1), "{}", case.name);
        world.end().await;
    }
}

#[tokio::test]
async fn f5_killed_after_the_response_was_written_it_continues() {
    for case in &CASES {
        let world = died_at("recorded", case).await;
        let before = the_one(&world).await;
        assert_eq!(
            (&before["status"], &before["awaiting_credential"]),
            (&json!("running"), &json!(true)),
            "{before}"
        );
        let done = world.until_status(&id(&before), "succeeded").await;
        assert!(done["last_poll_failed_since"].is_null(), "{done}");
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1), "{}", case.name);
        world.end().await;
    }
}

#[tokio::test]
async fn killed_while_a_reading_is_written_the_next_reading_is_the_same() {
    for case in &CASES {
        let mut world = World::serve_with(hasty(), &[("RESTORE_GATEWAY_CRASH_AT", "progress:2")]).await;
        let submitted = world.submit(&(case.request)()).await;
        assert_eq!(submitted.status, 202, "{}", submitted.text());
        let folder = world.crashed().await;
        world.again_in(folder).await;
        let done = world.until_status(&id(&submitted.json()), "succeeded").await;
        assert_eq!(done["attempts"], 1);
        assert_eq!(world.applied().await.len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn a_crash_point_that_does_not_exist_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused =
        restore_tests::Process::try_serve_in(folder, "", &[("RESTORE_GATEWAY_CRASH_AT", "somewhere")]);
    let Err((_, log)) = refused.await else { panic!("it came up") };
    assert!(log.contains("RESTORE_GATEWAY_CRASH_AT is one of before_accept, "), "{log}");
}

#[tokio::test]
async fn what_was_not_sent_and_has_lost_its_route_expires_all_the_same() {
    let config = hasty().set("submit.dedup_window_seconds", "2");
    let mut world = World::serve_with(config, &[("RESTORE_GATEWAY_CRASH_AT", "accepted")]).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json"), KEY[0]];
    let body = requests::cbr_server().to_string();
    assert!(world.http.try_send(Method::POST, &url, &headers, body).await.is_err());
    let folder = world.crashed().await;
    let toml = std::fs::read_to_string(folder.path().join("gateway.toml")).expect("the settings");
    // Another name and another place: the same place under another name would still be its upstream.
    let renamed = toml.replace("\"cbr\"", "\"renamed\"").replace("http://127.0.0.1", "http://localhost");
    let Ok(process) = restore_tests::Process::try_serve_in(folder, &renamed, &[]).await else {
        panic!("it does not come up")
    };
    world.gateway = restore_tests::world::Running::Process(Box::new(process));
    let before = the_one(&world).await;
    // Asked for again, it is the same one and cannot be sent.
    let again = world.post_with("/api/v1/restores", &requests::cbr_server(), &KEY).await;
    assert_eq!(again.json()["id"], before["id"], "{}", again.text());
    world.until_status(&id(&before), "expired").await;
    assert!(world.sent().await.is_empty());
    world.end().await;
}
