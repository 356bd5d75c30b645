//! Moving off the generations that end: a share of the targets, or what a closed generation refuses, goes another way.

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, follow, native};

/// CSBS and VBS, closed to the project; CBR takes what they refuse.
const CLOSED: &str = r#"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
fallback_upstream = "cbr"
[[routes]]
upstream = "csbs"
fallback_upstream = "cbr"
"#;

async fn closed(code: &str, config: TestConfig) -> World {
    closed_by(code, config.ways(CLOSED)).await
}

/// The same, with routes of the configuration' own.
async fn closed_by(code: &str, config: TestConfig) -> World {
    let world = World::with(config.and(DOORS)).await;
    let refusal = |body: Value| json!({"status": 400, "body": body});
    let said = json!({"error_code": code, "error_msg": "new project not allowed to use old services"});
    world
        .faults(json!([
            {"match": {"method": "POST", "path": "/v1/*/restores"}, "answer": refusal(said.clone()), "times": 0},
            {"match": {"method": "POST", "path": "/vbs/v2/*/restore"},
             "answer": refusal(json!({"error": {"code": code, "message": "closed"}})), "times": 0},
        ]))
        .await;
    world
}

#[tokio::test]
async fn what_a_closed_generation_refuses_goes_to_the_one_that_is_left() {
    for code in ["BackupService.4008", "BackupService.4003"] {
        for (source_api, target) in [("csbs-v1", "server"), ("vbs-v2", "volume")] {
            let world = closed(code, TestConfig::default()).await;
            let (path, body) = native::request(source_api, target);
            let answer = world.post(&path, &body).await;
            follow(&world, source_api, &path, &answer).await;
            let applied = world.applied().await;
            assert_eq!(applied.len(), 1, "{source_api}");
            assert_eq!(applied[0]["generation"], "cbr-v3", "{source_api}");
            // One request is one restore, which says where it would have gone.
            let list = world.get("/api/v1/restores").await.json();
            let restores = list["restores"].as_array().cloned().unwrap_or_default();
            assert_eq!(restores.len(), 1, "{list}");
            let done = &restores[0];
            assert_eq!((&done["status"], &done["upstream"]["name"]), (&json!("succeeded"), &json!("cbr")));
            assert_eq!(done["rerouted"]["generation"], source_api);
            assert_eq!(done["rerouted"]["error"]["code"], "generation_retired");
            let id = done["id"].as_str().unwrap_or_default();
            assert_eq!(world.history(id).await.iter().filter(|event| *event == "rerouted").count(), 1);
            world.end().await;
        }
    }
}

/// Asked again, with its key and without: the same restore, done once.
#[tokio::test]
async fn what_went_around_is_asked_for_again_and_done_once() {
    let world = closed("BackupService.4008", TestConfig::default()).await;
    let key = [("idempotency-key", "the-one")];
    let request = requests::csbs_server();
    let first = world.post_with("/api/v1/restores", &request, &key).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let id = first.json()["id"].clone();
    let again = world.post_with("/api/v1/restores", &request, &key).await;
    assert_eq!(again.json()["id"], id, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(world.submit(&request).await.json()["id"], id);
    world.until_status(id.as_str().unwrap_or_default(), "succeeded").await;
    assert_eq!(world.post_with("/api/v1/restores", &request, &key).await.json()["id"], id);
    assert_eq!(world.submit(&request).await.json()["id"], id);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// F46: one key and one body are one restore and one answer: past the window of what would have been the first restore,
/// once the closure is known beforehand, and after the route leads to the fallback upstream directly.
#[tokio::test]
async fn f46_one_key_is_one_restore_whatever_way_it_went() {
    let windows = CLOSED.replace(
        "fallback_upstream",
        "idempotency_key_ttl_seconds = 60\ndedup_window_seconds = 60\nfallback_upstream",
    );
    let world = closed_by("BackupService.4008", TestConfig::default().ways(&windows)).await;
    // Known beforehand: another restore has met the closure.
    world.behave(json!({"extra_disks": 2, "restore_seconds": 2})).await;
    let first =
        world.post_with("/api/v1/restores", &requests::extra_disk(0), &[("idempotency-key", "a")]).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let key = [("idempotency-key", "the-one")];
    let request = requests::extra_disk(1);
    let asked = async || world.post_with("/api/v1/restores", &request, &key).await;
    let answer = asked().await;
    assert_eq!(
        (answer.status, &answer.json()["upstream"]["name"]),
        (202, &json!("cbr")),
        "{}",
        answer.text()
    );
    let id = answer.json()["id"].clone();
    assert_eq!(asked().await.json()["id"], id);
    world.until_status(id.as_str().unwrap_or_default(), "succeeded").await;
    let again = asked().await;
    assert_eq!((&again.json()["id"], again.header("idempotency-replayed")), (&id, "true"));
    // The first one's key is its own, too.
    let same =
        world.post_with("/api/v1/restores", &requests::extra_disk(0), &[("idempotency-key", "a")]).await;
    assert_eq!(same.json()["id"], first.json()["id"], "{}", same.text());
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

/// F46: the operator leads the route to the fallback upstream: keys and equal requests of before stand.
#[tokio::test]
async fn f46_a_route_that_is_changed_makes_no_second_restore() {
    let world = World::with(TestConfig::default().ways(CLOSED).and(DOORS)).await;
    let said = json!({"error_code": "BackupService.4008", "error_msg": "closed"});
    let post = json!({"method": "POST", "path": "/v1/*/restores"});
    world.faults(json!([{"match": post, "answer": {"status": 400, "body": said}, "times": 0}])).await;
    let request = requests::csbs_server();
    let key = [("idempotency-key", "the-one")];
    let first = world.post_with("/api/v1/restores", &request, &key).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let id = first.json()["id"].as_str().unwrap_or_default().to_owned();
    world.until_status(&id, "succeeded").await;
    world.rewrite(TestConfig::default().ways("[[routes]]\nupstream = \"cbr\"\n").and(DOORS));
    assert_eq!(world.reload().await.status, 200);
    let again = world.post_with("/api/v1/restores", &request, &key).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(id)), "{}", again.text());
    assert_eq!(world.submit(&request).await.json()["id"], json!(id), "nor without its key");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// A check and a preview are about the restore that would be made: by the way that is left, once it is known that the
/// generation is closed.
#[tokio::test]
async fn questions_are_answered_for_the_way_that_a_restore_would_take() {
    let said = json!({"error_code": "BackupService.4008", "error_msg": "closed"});
    let no = json!({"restorable": [{"resource_id": ids::SERVER, "result": false,
        "error_code": "BackupService.4008", "error_msg": "closed"}]});
    // In the negative, or not at all; and through the API, or as old programs ask.
    for answer in [json!({"status": 200, "body": no}), json!({"status": 400, "body": said})] {
        let world = closed("BackupService.4008", TestConfig::default()).await;
        let action = json!({"method": "POST", "path": "/v1/*/providers/*/resources/action"});
        world.faults(json!([{"match": action, "answer": answer, "times": 0}])).await;
        let request = requests::csbs_server();
        let preview = async || world.post("/api/v1/restore-previews", &request).await.json();
        let before = preview().await;
        assert_eq!(before["route"]["upstream"], "csbs", "nobody knows yet: {before}");
        let check = world.post("/api/v1/restore-checks", &request).await;
        assert_eq!(check.status, 200, "{}", check.text());
        let check = check.json();
        assert_eq!((&check["restorable"], &check["upstream"]), (&json!(true), &json!("cbr")), "{check}");
        let after = preview().await;
        assert_eq!(after["route"]["upstream"], "cbr", "{after}");
        let (path, body) = native::request("csbs-v1", "server");
        let native = json!({"source_api": "csbs-v1", "method": "POST", "path": path.trim_start_matches("/csbs"), "body": body});
        let shown = world.post("/api/v1/compat-previews", &native).await.json();
        assert_eq!(shown["route"]["upstream"], "cbr", "{shown}");
        let done = world.submit(&request).await;
        assert_eq!(done.status, 202, "{}", done.text());
        assert_eq!(done.json()["upstream"]["name"], "cbr");
        world.end().await;
    }
}

/// Told once, the closed generation is not asked for every restore.
#[tokio::test]
async fn a_closed_generation_is_asked_once() {
    let world = closed("BackupService.4008", TestConfig::default()).await;
    world.behave(json!({"extra_disks": 5, "restore_seconds": 1})).await;
    for number in 0..5 {
        let answer = world.submit(&requests::extra_disk(number)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    let arrived = world.arrived().await;
    let asked = arrived.iter().filter(|request| {
        request["method"] == Method::POST.as_str()
            && request["path"].as_str().is_some_and(|path| path.starts_with("/vbs/v2/"))
    });
    assert_eq!(asked.count(), 1);
    world.end().await;
}

/// The code of a closed generation under a status that is no refusal proves nothing: the restore may have been started, so it
/// goes no other way.
#[tokio::test]
async fn what_may_have_been_started_does_not_go_another_way() {
    let world = World::with(TestConfig::default().ways(CLOSED).and(DOORS)).await;
    let said = json!({"error_code": "BackupService.4008", "error_msg": "closed"});
    let answer = json!({"status": 504, "body": said});
    let post = json!({"method": "POST", "path": "/v1/*/restores"});
    world.faults(json!([{"match": post, "answer": answer, "applied": true, "times": 0}])).await;
    let answer = world.submit(&requests::csbs_server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let list = world.get("/api/v1/restores").await.json();
    assert_eq!(list["restores"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn without_another_way_it_is_refused() {
    let routes = CLOSED.replace("fallback_upstream = \"cbr\"", "");
    let world = World::with(TestConfig::default().ways(&routes).and(DOORS)).await;
    let said = json!({"error_code": "BackupService.4008", "error_msg": "closed"});
    let answer = json!({"status": 400, "body": said});
    world.faults(json!([{"match": {"method": "POST", "path": "/v1/*/restores"}, "answer": answer}])).await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error_code"], "BackupService.4008");
    assert!(world.applied().await.is_empty());
    world.end().await;
}

/// Both ways together take no longer than one may: what takes longer is answered as taken, and not by the deadline of the
/// request, after which nobody would know its handle.
#[tokio::test]
async fn two_slow_clouds_are_waited_for_once() {
    let config = TestConfig::default().ways(CLOSED).and(DOORS);
    let config = config.set("submit.sync_wait_seconds", "4").set("limits.request_timeout_seconds", "6");
    let world = World::with(config.set("limits.max_wait_seconds", "1")).await;
    let said = json!({"error_code": "BackupService.4008", "error_msg": "closed"});
    world
        .faults(json!([
            {"match": {"method": "POST", "path": "/v1/*/restores"}, "delay_ms": 2500,
             "answer": {"status": 400, "body": said}},
            {"match": {"method": "POST", "path": "/v3/*/restore"}, "delay_ms": 5000},
        ]))
        .await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    follow(&world, "csbs-v1", &path, &answer).await;
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// A share of the targets: the same ones each time, and about as many as the share says.
#[tokio::test]
async fn a_percentage_of_the_targets_takes_one_route() {
    let routes = r#"
[[routes]]
upstream = "cbr"
traffic_percent = 30
[[routes]]
upstream = "vbs"
"#;
    let world = World::with(TestConfig::default().ways(routes)).await;
    let mut to_cbr = 0;
    for number in 0..200 {
        let request = requests::extra_disk(number);
        let way = |answer: restore_tests::Answer| answer.json()["route"]["upstream"].clone();
        let first = way(world.post("/api/v1/restore-previews", &request).await);
        assert_eq!(first, way(world.post("/api/v1/restore-previews", &request).await), "{}", ids::PROJECT);
        to_cbr += usize::from(first == "cbr");
    }
    assert!((40..80).contains(&to_cbr), "{to_cbr} of 200");
    world.end().await;
}
