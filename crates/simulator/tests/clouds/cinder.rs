//! Cinder v3: no handle, and an end that the disk alone tells.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::client::{Clouds, DATA, DATA_BACKUP, PROJECT, SPARE, SPARE_BACKUP, disk_body};

const EXTRA: &str = "d15c0000-0000-4000-8000-000000000000";

fn path(rest: &str) -> String {
    format!("/cinder/v3/{PROJECT}/{rest}")
}

async fn restore(clouds: &Clouds, volume: &str) -> crate::client::Reply {
    clouds.post(&path(&format!("backups/{SPARE_BACKUP}/restore")), &disk_body(volume)).await
}

async fn volume(clouds: &Clouds, id: &str) -> Value {
    clouds.get(&path(&format!("volumes/{id}"))).await.json()["volume"].clone()
}

async fn backup(clouds: &Clouds) -> Value {
    clouds.get(&path(&format!("backups/{SPARE_BACKUP}"))).await.json()["backup"]["status"].clone()
}

/// With the version of the API that has them.
async fn messages(clouds: &Clouds, request: &str) -> (u16, Value) {
    let mut read = Clouds::request("GET", &path(&format!("messages?request_id={request}")), "");
    read.headers_mut().insert("openstack-api-version", HeaderValue::from_static("volume 3.3"));
    let reply = clouds.send(read).await.expect("an answer");
    (reply.status, reply.json())
}

#[tokio::test]
async fn both_states_are_set_with_the_answer_and_a_success_leaves_its_mark_elsewhere() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"extra_disks": 1})).await;
    for (target, mark) in [(SPARE, Value::Null), (EXTRA, json!(SPARE_BACKUP))] {
        let before = volume(&clouds, target).await;
        let reply = restore(&clouds, target).await;
        assert_eq!(reply.status, 202);
        assert_eq!(reply.json()["restore"]["volume_id"], target);
        assert_eq!(reply.header("x-openstack-request-id"), reply.header("x-compute-request-id"));
        let running = volume(&clouds, target).await;
        assert_eq!(
            (&running["status"], backup(&clouds).await),
            (&json!("restoring-backup"), json!("restoring"))
        );
        assert_ne!(running["updated_at"], before["updated_at"]);
        clouds.advance(100).await;
        let done = volume(&clouds, target).await;
        assert_eq!((&done["status"], backup(&clouds).await), (&json!("available"), json!("available")));
        assert_eq!(done["metadata"]["src_backup_id"], mark);
        assert_ne!(done["updated_at"], running["updated_at"]);
    }
    assert_eq!(clouds.applied().await[0]["generation"], "cinder-v3");
}

#[tokio::test]
async fn a_failure_leaves_the_backup_available_and_a_message() {
    let clouds = Clouds::start().await;
    for (status, word) in [("failed", "error_restoring"), ("error", "error")] {
        clouds.sim("POST", "reset", &Value::Null).await;
        clouds
            .world(&json!({"next_restore": {"status": status, "error_msg": "Failed to attach volume."}}))
            .await;
        let reply = restore(&clouds, SPARE).await;
        let request = reply.header("x-compute-request-id").unwrap().to_owned();
        assert_eq!(messages(&clouds, &request).await.1["messages"], json!([]));
        clouds.advance(100).await;
        assert_eq!(
            (volume(&clouds, SPARE).await["status"].clone(), backup(&clouds).await),
            (json!(word), json!("available"))
        );
        let (code, told) = messages(&clouds, &request).await;
        assert_eq!((code, &told["messages"][0]["request_id"]), (200, &json!(request)));
        assert_eq!(told["messages"][0]["user_message"], "restore backup:Failed to attach volume.");
        assert_eq!(messages(&clouds, "req-of-another").await.1["messages"], json!([]));
        // Without the version there are none, and a disk in error is no target.
        assert_eq!(clouds.get(&path("messages")).await.status, 404);
        assert_eq!(restore(&clouds, SPARE).await.json()["badRequest"]["code"], 400);
        clouds.world(&json!({"cinder_messages_missing": true})).await;
        assert_eq!(messages(&clouds, &request).await.1["messages"], json!([]));
    }
}

/// Cinder checks, then sets: it is no guard against a second restore.
#[tokio::test]
async fn two_calls_at_once_are_both_applied_and_later_ones_are_not() {
    let clouds = Clouds::start().await;
    assert_eq!(restore(&clouds, SPARE).await.status, 202);
    assert_eq!(restore(&clouds, SPARE).await.status, 202, "the clock has not moved");
    assert_eq!(clouds.applied().await.len(), 2);
    clouds.advance(1).await;
    assert_eq!(restore(&clouds, SPARE).await.status, 400);
    assert_eq!(clouds.applied().await.len(), 2);
}

#[tokio::test]
async fn refusals_are_faults_and_change_nothing() {
    let clouds = Clouds::start().await;
    let missing = "99999999-9999-4999-8999-999999999999";
    for (id, body, status, name) in [
        (missing, disk_body(SPARE), 404, "itemNotFound"),
        (SPARE_BACKUP, disk_body(missing), 404, "itemNotFound"),
        (SPARE_BACKUP, disk_body("nope"), 400, "badRequest"),
        (DATA_BACKUP, disk_body(DATA), 400, "badRequest"),
        (SPARE_BACKUP, json!({"restore": {"volume_id": SPARE, "power_on": true}}), 400, "badRequest"),
        (SPARE_BACKUP, json!({}), 400, "badRequest"),
        (SPARE_BACKUP, json!({"restore": {}}), 413, "overLimit"),
    ] {
        let reply = clouds.post(&path(&format!("backups/{id}/restore")), &body).await;
        assert_eq!(
            (reply.status, reply.json()[name]["code"].as_u64()),
            (status, Some(u64::from(status))),
            "{body}"
        );
    }
    clouds.world(&json!({"volumes": {SPARE: {"size_gb": 1}}})).await;
    let small = restore(&clouds, SPARE).await;
    assert!(small.text.contains("too small"), "{}", small.text);
    clouds.world(&json!({"volumes": {}, "cinder_backup_service_away": true})).await;
    let away = restore(&clouds, SPARE).await;
    let said = json!({"code": 404, "message": "Service cinder-backup could not be found."});
    assert_eq!((away.status, &away.json()["itemNotFound"]), (404, &said));
    // Keystone stands in front of it, and another project is a wrong address.
    let mut unknown = Clouds::request("GET", &path("backups/detail"), "");
    unknown.headers_mut().insert("x-auth-token", HeaderValue::from_static("nonsense"));
    let unknown = clouds.send(unknown).await.unwrap();
    assert_eq!((unknown.status, &unknown.json()["error"]["title"]), (401, &json!("Unauthorized")));
    let other = clouds.get("/cinder/v3/1b2c3d4e5f60718293a4b5c6d7e8f90a/backups/detail").await;
    assert_eq!(
        (other.status, &other.json()["badRequest"]["message"]),
        (400, &json!("Malformed request url"))
    );
    assert!(clouds.applied().await.is_empty());
}
