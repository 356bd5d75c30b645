//! Cinder v3 restores: the disk alone tells the end, its backup never a failure, and Cinder itself keeps no two restores
//! apart (cloud APIs 1.9, 2.4).

use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// OpenStack's own block storage, beside the others.
pub(crate) const UPSTREAM: &str = r#"
[[upstreams]]
name = "cinder"
generation = "cinder-v3"
endpoint = "{clouds}/cinder"
"#;

fn config() -> TestConfig {
    TestConfig::default().routes(&format!("{UPSTREAM}[[routes]]\nupstream = \"cinder\"\n"))
}

async fn world() -> World {
    World::with(config()).await
}

/// The free disk's backup onto a disk that it is not of, in which a success leaves a mark.
fn elsewhere() -> Value {
    let mut request = requests::extra_disk(0);
    request["source"]["backup_id"] = json!(ids::FREE.0);
    request
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

async fn begun(world: &World, request: &Value) -> String {
    let answer = world.submit(request).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    id(&answer.json())
}

#[tokio::test]
async fn a_disk_is_restored_in_place_and_elsewhere() {
    for request in [requests::free_disk(), elsewhere()] {
        let world = world().await;
        world.behave(json!({"extra_disks": 1})).await;
        let id = begun(&world, &request).await;
        let done = world.until_status(&id, "succeeded").await;
        assert_eq!(done["upstream"]["generation"], "cinder-v3", "{done}");
        let sent = world.sent().await;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["path"], format!("/cinder/v3/{}/backups/{}/restore", ids::PROJECT, ids::FREE.0));
        assert_eq!(sent[0]["body"], json!({"restore": {"volume_id": request["target"]["volume_id"]}}));
        assert_eq!(world.applied().await[0]["status"], "succeeded");
        world.end().await;
    }
}

#[tokio::test]
async fn a_failed_restore_is_failed_although_its_backup_is_available_again() {
    for (missing, ending) in [(false, "failed"), (true, "failed"), (true, "error")] {
        let world = world().await;
        let next = json!({"status": ending, "error_msg": "Failed to attach volume."});
        world.behave(json!({"next_restore": next, "cinder_messages_missing": missing})).await;
        let id = begun(&world, &requests::free_disk()).await;
        let failed = world.until_status(&id, "failed").await;
        let error = &failed["error"];
        assert_eq!(
            (&error["code"], &error["effect"]),
            (&json!("restore_failed"), &json!("possible")),
            "{failed}"
        );
        let said = if missing { Value::Null } else { json!("restore backup:Failed to attach volume.") };
        assert_eq!(error["upstream"]["message"], said, "{failed}");
        // The one handle on the attempt, for whoever looks for the reason by hand.
        assert_eq!(failed["upstream"]["request_id"], world.applied().await[0]["request_id"], "{failed}");
        let backup = format!("{}/cinder/v3/{}/backups/{}", world.clouds.url(), ids::PROJECT, ids::FREE.0);
        let token = [("x-auth-token", ids::TOKEN)];
        let shown = world.http.send(http::Method::GET, &backup, &token, String::new()).await;
        assert_eq!(shown.json()["backup"]["status"], "available", "{}", shown.text());
        world.end().await;
    }
}

/// Whoever resets the status of a disk makes it usable, and no restore of it a success.
#[tokio::test]
async fn a_disk_whose_status_was_reset_is_no_success() {
    let world = world().await;
    let next = json!({"status": "failed", "duration_seconds": 600});
    world.behave(json!({"extra_disks": 1, "next_restore": next, "cinder_messages_missing": true})).await;
    let request = elsewhere();
    let id = begun(&world, &request).await;
    let disk = request["target"]["volume_id"].as_str().expect("a disk").to_owned();
    // It failed unseen, and an administrator was there first.
    world.behave(json!({"volumes": {disk: {"status": "available"}}})).await;
    world.advance(601).await;
    let lost = world.until_status(&id, "unknown").await;
    assert_eq!(world.applied().await[0]["status"], "failed", "{lost}");
    world.end().await;
}

#[tokio::test]
async fn a_lost_answer_is_found_again_by_disk_and_backup_and_nothing_is_sent_twice() {
    for request in [requests::free_disk(), elsewhere()] {
        let world = world().await;
        world.behave(json!({"extra_disks": 1, "restore_seconds": 6})).await;
        world
            .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "reset": "after_apply"}]))
            .await;
        let id = begun(&world, &request).await;
        world.until_status(&id, "running").await;
        world.until_status(&id, "succeeded").await;
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
        world.end().await;
    }
}

/// A disk at rest is no proof that nothing was applied: that is for a person.
#[tokio::test]
async fn absence_is_no_proof() {
    let config =
        config().set("polling.operator_escalation_seconds", "2").set("polling.interval_seconds", "1");
    let world = World::with(config).await;
    let page = json!({"status": 502, "body": "<html>bad gateway</html>"});
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "answer": page}])).await;
    let id = begun(&world, &requests::free_disk()).await;
    let asked = world.until(&id, |restore| restore["needs_operator"] == true).await;
    assert_eq!(asked["status"], "unknown", "{asked}");
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 0));
    world.end().await;
}

#[tokio::test]
async fn a_service_that_is_away_is_no_backup_that_is_unknown() {
    let world = world().await;
    world.behave(json!({"cinder_backup_service_away": true})).await;
    let answer = world.submit(&requests::free_disk()).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("upstream_unavailable")),
        "{}",
        answer.text()
    );
    assert!(world.applied().await.is_empty());
    // It is back, and the same request is a restore.
    world.behave(json!({"cinder_backup_service_away": false})).await;
    let id = begun(&world, &requests::free_disk()).await;
    world.until_status(&id, "succeeded").await;
    world.end().await;
}

/// Cinder applies both of two calls that come together: one disk has one restore at a time here, whoever asks.
#[tokio::test]
async fn of_many_requests_at_once_one_is_sent() {
    let world = world().await;
    world.behave(json!({"extra_disks": 2, "restore_seconds": 60})).await;
    let (one, mut other) = (elsewhere(), elsewhere());
    other["source"]["backup_id"] = json!("bac0bac0-0000-4000-8000-000000000001");
    let all = futures_util::future::join_all(
        [&one, &one, &other, &one, &other].map(|request| world.submit(request)),
    )
    .await;
    let taken: std::collections::BTreeSet<String> =
        all.iter().filter(|answer| answer.status == 202).map(|answer| id(&answer.json())).collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert!(all.iter().all(|answer| matches!(answer.status, 202 | 409)));
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn what_would_be_refused_is_not_sent() {
    let world = world().await;
    let server = world.submit(&requests::cbr_server()).await;
    assert_eq!(
        (server.status, &server.json()["code"]),
        (422, &json!("unsupported_by_generation")),
        "{}",
        server.text()
    );
    assert!(server.text().contains("one disk per call"), "{}", server.text());
    for (change, code) in [
        (json!({"volumes": {ids::FREE.1: {"size_gb": 1}}}), "target_too_small"),
        (json!({"volumes": {ids::FREE.1: {"status": "error_restoring"}}}), "target_not_ready"),
        (json!({"volumes": {}, "backup_status": "error"}), "backup_not_ready"),
        (json!({"backup_status": "available", "deleted_backups": [ids::FREE.0]}), "backup_not_found"),
    ] {
        world.behave(change).await;
        let answer = world.submit(&requests::free_disk()).await;
        assert_eq!(answer.json()["code"], code, "{}", answer.text());
    }
    assert!(world.sent().await.is_empty());
    world.end().await;
}

/// A server is not restored disk by disk where nothing confirms that the disks are the server's.
#[tokio::test]
async fn a_server_is_refused_disk_by_disk_as_well() {
    let routes = format!("{UPSTREAM}[[routes]]\nupstream = \"cinder\"\nper_disk_restore = true\n");
    let world = World::with(TestConfig::default().routes(&routes)).await;
    let server = world.submit(&requests::cbr_server()).await;
    assert_eq!(
        (server.status, &server.json()["code"]),
        (422, &json!("unsupported_by_generation")),
        "{}",
        server.text()
    );
    assert!(world.sent().await.is_empty());
    world.end().await;
}
