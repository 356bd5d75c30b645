//! The main job: one canonical restore in, the generation of its route out, one status back.

use restore_tests::{World, ids, requests};
use serde_json::{Value, json};

/// Follows a restore from its answer to its end and checks the shape on the way.
async fn restore_to_the_end(world: &World, request: &Value) -> Value {
    let answer = world.submit(request).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let mut first = answer.json();
    // Only the answer to a submitted request says if it was repeated.
    assert_eq!(first.as_object_mut().expect("an object").remove("replayed"), Some(json!(false)));
    assert_eq!(first["status"], "running", "{first}");
    let id = first["id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), format!("/api/v1/restores/{id}"));
    assert!(!answer.header("retry-after").is_empty());
    let last = world.until_status(id, "succeeded").await;
    assert_eq!(last["progress"], 100);
    let members =
        |restore: &Value| restore.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&first), members(&last));
    last
}

#[tokio::test]
async fn a_server_through_cbr_v3() {
    let world = World::new().await;
    let restore = restore_to_the_end(&world, &requests::cbr_server()).await;
    assert_eq!(restore["upstream"]["generation"], "cbr-v3");
    assert_eq!(restore["upstream"]["task"]["kind"], "operation_log");
    assert_eq!(restore["evidence"]["strength"], "strong");

    let sent = world.sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["path"], format!("/v3/{}/backups/{}/restore", ids::PROJECT, ids::CBR_BACKUP));
    assert_eq!(sent[0]["headers"]["x-auth-token"], ids::TOKEN);
    assert_eq!(sent[0]["headers"]["content-type"], "application/json");
    assert_eq!(
        sent[0]["body"],
        json!({"restore": {"server_id": ids::SERVER, "power_on": true, "mappings": [
            {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
            {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1}]}})
    );
    let applied = world.applied().await;
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["generation"], "cbr-v3");
    world.end().await;
}

#[tokio::test]
async fn a_server_through_csbs_v1_with_the_checkpoint_read_from_the_item() {
    let world = World::new().await;
    let restore = restore_to_the_end(&world, &requests::csbs_server()).await;
    assert_eq!(restore["upstream"]["generation"], "csbs-v1");

    let sent = world.sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["path"], format!("/v1/{}/restores", ids::PROJECT));
    assert_eq!(
        sent[0]["body"],
        json!({"restore": {"provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
            "checkpoint_id": ids::CSBS_CHECKPOINT,
            "parameters": {"checkpoint_item_id": ids::CSBS_ITEM, "power_on": true,
                "targets": {"server_id": ids::SERVER, "volumes": [
                    {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
                    {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1}]}}}})
    );
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_disk_through_vbs_v2() {
    let world = World::new().await;
    let restore = restore_to_the_end(&world, &requests::free_disk()).await;
    assert_eq!(restore["upstream"]["generation"], "vbs-v2");
    assert_eq!(restore["upstream"]["task"]["kind"], "job");

    let sent = world.sent().await;
    assert_eq!(sent.len(), 1);
    let path = format!("/vbs/v2/{}/cloudbackups/{}/restore", ids::PROJECT, ids::FREE.0);
    assert_eq!(sent[0]["path"], path);
    assert_eq!(sent[0]["body"], json!({"restore": {"volume_id": ids::FREE.1}}));
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn the_three_answers_have_one_shape() {
    let world = World::new().await;
    let mut shapes = Vec::new();
    for request in [requests::cbr_server(), requests::csbs_server(), requests::free_disk()] {
        let restore = restore_to_the_end(&world, &request).await;
        shapes.push(restore.as_object().expect("an object").keys().cloned().collect::<Vec<_>>());
    }
    assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "{shapes:?}");
    world.end().await;
}
