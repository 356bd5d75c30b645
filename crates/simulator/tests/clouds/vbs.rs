//! VBS v2 and native Cinder on the same host.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::client::{
    Clouds, DATA, DATA_BACKUP, PROJECT, SERVER_BACKUP, SPARE, SPARE_BACKUP, SYS, cbr_path, disk_body,
    vbs_path,
};

fn nested(text: &Value) -> &Value {
    &text["error"]["code"]
}

async fn job(clouds: &Clouds, version: &str, id: &str) -> Value {
    clouds.get(&format!("/{version}/{PROJECT}/jobs/{id}")).await.json()
}

#[tokio::test]
async fn a_disk_is_restored_and_its_job_moves() {
    let clouds = Clouds::start().await;
    let reply = clouds.vbs_restore().await;
    assert_eq!(reply.status, 200);
    let id = reply.json()["job_id"].as_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(job(&clouds, "v1", &id).await["status"], "INIT");
    clouds.advance(50).await;
    let running = job(&clouds, "v2", &id).await;
    assert_eq!((&running["status"], running["end_time"].is_null()), (&json!("RUNNING"), true));
    assert_eq!(running["sub_jobs"][0]["status"], "RUNNING");
    let volume = clouds.get(&format!("/v2/{PROJECT}/volumes/{SPARE}")).await.json();
    assert_eq!(volume["volume"]["status"], "restoring-backup");
    let backup = clouds.get(&format!("/v2/{PROJECT}/backups/{SPARE_BACKUP}")).await.json();
    assert_eq!(backup["backup"]["status"], "restoring");
    clouds.advance(50).await;
    let done = job(&clouds, "v1", &id).await;
    assert_eq!((&done["status"], &done["end_time"]), (&json!("SUCCESS"), &json!("2026-11-22T10:16:40.000Z")));
    let applied = clouds.applied().await;
    assert_eq!(applied[0]["generation"], "vbs-v2");
    assert_eq!(applied[0]["volumes"], json!([{"backup_id": SPARE_BACKUP, "volume_id": SPARE}]));
}

#[tokio::test]
async fn a_failed_job_says_why_and_leaves_the_disk_in_error() {
    let clouds = Clouds::start().await;
    let next = json!({"status": "failed", "error_code": "VolumeBackup.0200", "error_msg": "restore failed"});
    clouds.world(&json!({"next_restore": next, "vbs_job_id": "dashed"})).await;
    let id = clouds.vbs_restore().await.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    clouds.advance(100).await;
    let failed = job(&clouds, "v1", &id).await;
    assert_eq!((&failed["status"], &failed["error_code"]), (&json!("FAIL"), &json!("VolumeBackup.0200")));
    let volume = clouds.get(&format!("/v2/{PROJECT}/volumes/{SPARE}")).await.json();
    assert_eq!(volume["volume"]["status"], "error_restoring");
    assert_eq!(nested(&clouds.vbs_restore().await.json()), "VolumeBackup.0202");
    clouds.world(&json!({"tasks_vanish_after_seconds": 60})).await;
    let gone = clouds.get(&format!("/v1/{PROJECT}/jobs/{id}")).await;
    assert_eq!((gone.status, nested(&gone.json())), (404, &json!("common.0011")));
}

#[tokio::test]
async fn what_the_state_forbids_is_refused_with_its_code() {
    let clouds = Clouds::start().await;
    let missing = "99999999-9999-4999-8999-999999999999";
    let cases = [
        (missing, disk_body(SPARE), "VolumeBackup.0111"),
        (SPARE_BACKUP, disk_body(missing), "VolumeBackup.0111"),
        (SPARE_BACKUP, disk_body("c0ffee"), "VolumeBackup.0208"),
        ("c0ffee", disk_body(SPARE), "VolumeBackup.0204"),
        (DATA_BACKUP, disk_body(DATA), "VolumeBackup.0205"),
        (DATA_BACKUP, disk_body(SYS), "VolumeBackup.0209"),
        (SPARE_BACKUP, json!({"restore": {}, "volume_id": SPARE}), "VolumeBackup.0210"),
        (SPARE_BACKUP, json!({"restore": {"volume_id": SPARE, "power_on": true}}), "VolumeBackup.0210"),
        (SPARE_BACKUP, json!({"restore": {"volume_id": 7}}), "VolumeBackup.0210"),
    ];
    for (backup, body, code) in cases {
        let reply = clouds.post(&vbs_path(backup), &body).await;
        assert!(matches!(reply.status, 400 | 404), "{body}");
        assert_eq!(nested(&reply.json()), code, "{body}");
    }
    clouds.world(&json!({"volumes": {SPARE: {"status": "backing-up"}}})).await;
    assert_eq!(nested(&clouds.vbs_restore().await.json()), "VolumeBackup.0206");
    clouds.sim("POST", "reset", &Value::Null).await;
    assert_eq!(clouds.vbs_restore().await.status, 200);
    assert_eq!(nested(&clouds.vbs_restore().await.json()), "VolumeBackup.0089");
    let other = clouds.post(&vbs_path(DATA_BACKUP), &disk_body(SPARE)).await;
    assert_eq!(nested(&other.json()), "VolumeBackup.0205");
    assert_eq!(clouds.applied().await.len(), 1);
}

#[tokio::test]
async fn an_error_can_come_under_200() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"vbs_answer": "error_in_200"})).await;
    let reply = clouds.vbs_restore().await;
    assert_eq!((reply.status, nested(&reply.json())), (200, &json!("VolumeBackup.0014")));
    let refused = clouds.post(&vbs_path(DATA_BACKUP), &disk_body(DATA)).await;
    assert_eq!((refused.status, nested(&refused.json())), (200, &json!("VolumeBackup.0205")));
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn native_paths_answer_with_the_pair() {
    let clouds = Clouds::start().await;
    let wanted =
        json!({"restore": {"backup_id": SPARE_BACKUP, "volume_id": SPARE, "volume_name": "spare-01"}});
    let v2 = format!("/v2/{PROJECT}/backups/{SPARE_BACKUP}/restore");
    let prefixed = format!("/vbs/v3/{PROJECT}/backups/{SPARE_BACKUP}/restore");
    for path in [v2, prefixed] {
        let reply = clouds.post(&path, &json!({"restore": {"volume_id": SPARE, "name": null}})).await;
        assert_eq!((reply.status, reply.json()), (202, wanted.clone()), "{path}");
        clouds.advance(100).await;
    }
    let mut by_host = Clouds::request("POST", &cbr_path(SPARE_BACKUP), &disk_body(SPARE).to_string());
    by_host.headers_mut().insert("host", HeaderValue::from_static("vbs.eu-test-1.cloud.example"));
    assert_eq!(clouds.send(by_host).await.unwrap().json(), wanted);
    let generations: Vec<_> = clouds.applied().await.iter().map(|r| r["generation"].clone()).collect();
    assert_eq!(generations, ["vbs-v2", "vbs-v2", "vbs-v2"]);
    clouds.advance(100).await;
    let refused = clouds.post(&format!("/v2/{PROJECT}/backups/{DATA_BACKUP}/restore"), &disk_body(SYS)).await;
    assert_eq!((refused.status, &refused.json()["badRequest"]["code"]), (400, &json!("VolumeBackup.0209")));
}

#[tokio::test]
async fn backups_are_listed_in_both_lengths() {
    let clouds = Clouds::start().await;
    let summary = clouds.get(&format!("/v2/{PROJECT}/backups")).await.json();
    assert_eq!(summary["backups"].as_array().unwrap().len(), 3);
    assert!(summary["backups"][0]["status"].is_null());
    let detail = clouds.get(&format!("/vbs/v3/{PROJECT}/backups/detail?volume_id={DATA}")).await.json();
    assert_eq!(detail["backups"][0]["id"], DATA_BACKUP);
    assert_eq!(detail["backups"][0]["os-backup-project-attr:project_id"], PROJECT);
    let unknown = clouds.get(&format!("/v2/{PROJECT}/backups/{SERVER_BACKUP}")).await;
    assert_eq!((unknown.status, &unknown.json()["itemNotFound"]["code"]), (404, &json!(404)));
}
