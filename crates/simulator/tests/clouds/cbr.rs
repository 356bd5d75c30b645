//! CBR v3.

use serde_json::{Value, json};

use crate::client::{
    Clouds, DATA, DATA_BACKUP, PROJECT, SERVER, SERVER_BACKUP, SPARE, SPARE_BACKUP, SYS, SYS_BACKUP,
    cbr_body, cbr_path, disk_body,
};

fn logs_path(rest: &str) -> String {
    format!("/v3/{PROJECT}/operation-logs{rest}")
}

async fn logs(clouds: &Clouds, query: &str) -> Vec<Value> {
    let body = clouds.get(&logs_path(query)).await.json();
    body["operation_logs"].as_array().unwrap().clone()
}

async fn backup_status(clouds: &Clouds) -> Value {
    let body = clouds.get(&format!("/v3/{PROJECT}/backups/{SERVER_BACKUP}")).await.json();
    body["backup"]["status"].clone()
}

#[tokio::test]
async fn a_server_restore_has_an_empty_response_and_an_operation_log() {
    let clouds = Clouds::start().await;
    let reply = clouds.cbr_restore().await;
    assert_eq!((reply.status, reply.text.as_str()), (202, ""));
    assert_eq!(reply.header("content-length"), Some("0"));
    assert_eq!(reply.header("content-type"), None);
    clouds.advance(40).await;
    let listed = logs(&clouds, "?operation_type=restore&start_time=2026-11-22T10:00:00Z&limit=1000").await;
    let log = &listed[0];
    assert_eq!((&log["status"], &log["extra_info"]["common"]["progress"]), (&json!("running"), &json!(40)));
    assert_eq!(log["extra_info"]["common"]["request_id"], reply.header("x-request-id").unwrap());
    assert_eq!(log["extra_info"]["restore"]["backup_id"], SERVER_BACKUP);
    assert_eq!(log["extra_info"]["restore"]["target_resource_id"], SERVER);
    assert_eq!(log["created_at"], "2026-11-22T10:15:00.000+00:00");
    assert_eq!((log["ended_at"].is_null(), backup_status(&clouds).await), (true, json!("restoring")));
    clouds.advance(60).await;
    let id = log["id"].as_str().unwrap();
    let log = clouds.get(&logs_path(&format!("/{id}"))).await.json()["operation_log"].take();
    assert_eq!((&log["status"], &log["extra_info"]["common"]["progress"]), (&json!("success"), &json!(100)));
    assert_eq!(backup_status(&clouds).await, "available");
}

#[tokio::test]
async fn a_disk_and_another_resource_are_restored_too() {
    let clouds = Clouds::start().await;
    let reply = clouds.post(&cbr_path(SPARE_BACKUP), &disk_body(SPARE)).await;
    assert_eq!(reply.status, 202);
    let desktop = "3e6f8a90-1b2c-4d3e-8f40-5a6b7c8d9e0f";
    let body = json!({"restore": {"resource_id": desktop, "details": {"destination_path": "/srv/restore"}}});
    let reply = clouds.post(&cbr_path("0f9e8d7c-6b5a-4948-8372-615049382717"), &body).await;
    assert_eq!(reply.status, 202);
    let applied = clouds.applied().await;
    assert_eq!(applied[0]["target"], json!({"type": "volume", "id": SPARE}));
    assert_eq!(applied[0]["volumes"], json!([{"backup_id": SPARE_BACKUP, "volume_id": SPARE}]));
    assert_eq!(applied[1]["target"], json!({"type": "resource", "id": desktop}));
    assert_eq!(logs(&clouds, "").await.len(), 2);
}

#[tokio::test]
async fn power_on_is_true_by_default() {
    let clouds = Clouds::start().await;
    let mut body = cbr_body();
    body["restore"].as_object_mut().unwrap().remove("power_on");
    clouds.post(&cbr_path(SERVER_BACKUP), &body).await;
    clouds.advance(100).await;
    body["restore"]["power_on"] = json!(false);
    clouds.post(&cbr_path(SERVER_BACKUP), &body).await;
    let applied = clouds.applied().await;
    assert_eq!((&applied[0]["power_on"], &applied[1]["power_on"]), (&json!(true), &json!(false)));
    clouds.advance(100).await;
    let present = clouds.sim("GET", "world", &Value::Null).await;
    assert_eq!(present["present"]["servers"][0]["status"], "SHUTOFF");
}

#[tokio::test]
async fn what_the_state_forbids_is_refused_with_its_code() {
    let clouds = Clouds::start().await;
    let missing = "99999999-9999-4999-8999-999999999999";
    let server =
        |server_id: &str, mappings: Value| json!({"restore": {"server_id": server_id, "mappings": mappings}});
    let all = crate::client::mappings;
    let half = json!([{"backup_id": SYS_BACKUP, "volume_id": SYS}]);
    let crossed =
        json!([{"backup_id": SYS_BACKUP, "volume_id": DATA}, {"backup_id": DATA_BACKUP, "volume_id": SYS}]);
    let cases = [
        (missing, server(SERVER, all()), 404, "BackupService.6200"),
        (SERVER_BACKUP, server(missing, all()), 404, "BackupService.7100"),
        (SERVER_BACKUP, server(SERVER, half), 400, "BackupService.2012"),
        (SERVER_BACKUP, server(SERVER, json!([])), 400, "BackupService.2012"),
        (SERVER_BACKUP, server(SERVER, crossed), 400, "BackupService.2013"),
        (SERVER_BACKUP, disk_body(SPARE), 400, "BackupService.7110"),
        (SPARE_BACKUP, disk_body(missing), 404, "BackupService.7000"),
        (DATA_BACKUP, disk_body(DATA), 400, "BackupService.2011"),
        (DATA_BACKUP, disk_body(SYS), 400, "BackupService.2001"),
    ];
    for (backup, body, status, code) in cases {
        let reply = clouds.post(&cbr_path(backup), &body).await;
        assert_eq!(reply.code(), (status, code.to_owned()), "{body}");
    }
    let worlds = [
        (json!({"vault_status": "frozen"}), "BackupService.6202"),
        (json!({"backup_status": "protecting"}), "BackupService.2002"),
        (json!({"backup_status": "error"}), "BackupService.2005"),
        (json!({"power_state": "terminated"}), "BackupService.2007"),
        (json!({"power_state": "error"}), "BackupService.2008"),
        (json!({"volumes": {DATA: {"size_gb": 99}}}), "BackupService.2001"),
    ];
    for (patch, code) in worlds {
        clouds.world(&patch).await;
        assert_eq!(clouds.cbr_restore().await.code(), (400, code.to_owned()), "{patch}");
        clouds.sim("DELETE", "world", &Value::Null).await;
    }
    assert!(clouds.applied().await.is_empty());
    assert_eq!(clouds.cbr_restore().await.status, 202);
    assert_eq!(clouds.cbr_restore().await.code(), (400, "BackupService.2010".to_owned()));
    let child = clouds.post(&cbr_path(DATA_BACKUP), &disk_body(SPARE)).await;
    assert_eq!(child.code(), (400, "BackupService.2010".to_owned()));
}

#[tokio::test]
async fn what_is_not_as_documented_fails_the_parameter_check() {
    let clouds = Clouds::start().await;
    let mut extra = cbr_body();
    extra["restore"]["endpoint"] = json!("https://elsewhere.example");
    let mut two = cbr_body();
    two["restore"]["volume_id"] = json!(SPARE);
    let mut wrong = cbr_body();
    wrong["restore"]["power_on"] = json!("yes");
    let mut twice = cbr_body();
    let pair = twice["restore"]["mappings"][0].clone();
    twice["restore"]["mappings"].as_array_mut().unwrap().push(pair);
    let no_mappings = json!({"restore": {"server_id": SERVER}});
    let details = json!({"restore": {"volume_id": SPARE, "details": {"destination_path": "/x"}}});
    for body in [extra, two, wrong, twice, no_mappings, details, json!({"restore": {}}), json!({})] {
        let reply = clouds.post(&cbr_path(SERVER_BACKUP), &body).await;
        assert_eq!(reply.code(), (400, "BackupService.9900".to_owned()), "{body}");
    }
    let reply = clouds.post(&cbr_path("no-uuid"), &cbr_body()).await;
    assert_eq!(reply.code(), (400, "BackupService.9900".to_owned()));
    for query in ["?limit=0", "?limit=1001", "?start_time=yesterday"] {
        let reply = clouds.get(&logs_path(query)).await;
        assert_eq!(reply.code(), (400, "BackupService.9900".to_owned()), "{query}");
    }
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn each_form_of_the_202_is_spoken() {
    let clouds = Clouds::start().await;
    for mode in ["job_id", "no_content_type", "chunked_empty", "html", "ok_object"] {
        clouds.sim("POST", "reset", &Value::Null).await;
        clouds.world(&json!({"cbr_202": mode})).await;
        let reply = clouds.cbr_restore().await;
        let typed = reply.header("content-type").map(ToOwned::to_owned);
        let id = logs(&clouds, "").await[0]["id"].clone();
        match mode {
            "job_id" => {
                assert_eq!(reply.json()["job_id"], id);
                assert_eq!(typed.as_deref(), Some("application/json"));
            }
            "no_content_type" => assert_eq!((reply.json()["job_id"].clone(), typed), (id, None)),
            "chunked_empty" => {
                assert_eq!((reply.text.as_str(), reply.header("transfer-encoding")), ("", Some("chunked")));
            }
            "html" => assert!(reply.text.starts_with("<html>") && typed.as_deref() == Some("text/html")),
            _ => assert_eq!((reply.status, reply.text.as_str()), (200, "{}")),
        }
        assert_eq!(reply.status, if mode == "ok_object" { 200 } else { 202 });
    }
}

#[tokio::test]
async fn logs_come_late_lack_their_block_hide_and_vanish() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"cbr_oplog_lag_seconds": 90})).await;
    clouds.cbr_restore().await;
    clouds.advance(89).await;
    assert!(logs(&clouds, "").await.is_empty());
    clouds.advance(1).await;
    let log = logs(&clouds, "").await.remove(0);
    let one = logs_path(&format!("/{}", log["id"].as_str().unwrap()));
    assert!(log["extra_info"]["restore"].is_object());
    clouds.world(&json!({"cbr_oplog_restore_block": false, "time_format": "hwc"})).await;
    let log = logs(&clouds, "").await.remove(0);
    assert!(log["extra_info"]["restore"].is_null());
    assert_eq!(log["created_at"], "2026-11-22T10:15:00.000000");
    clouds.world(&json!({"cbr_oplogs_hidden": true})).await;
    assert_eq!(clouds.get(&one).await.code(), (403, "IAM.0003".to_owned()));
    clouds.world(&json!({"cbr_oplogs_hidden": false, "tasks_vanish_after_seconds": 3600})).await;
    assert_eq!(clouds.get(&one).await.status, 200);
    clouds.advance(3600).await;
    assert_eq!(clouds.get(&one).await.code(), (404, "BackupService.6500".to_owned()));
    assert_eq!(clouds.applied().await.len(), 1);
}

#[tokio::test]
async fn every_word_of_a_log_can_be_played() {
    let clouds = Clouds::start().await;
    for (word, truth) in
        [("failed", "failed"), ("skipped", "failed"), ("timeout", "failed"), ("SOMETHING_NEW", "running")]
    {
        clouds.sim("POST", "reset", &Value::Null).await;
        let next = json!({"status": word, "error_code": "BackupService.9910", "error_msg": "no"});
        clouds.world(&json!({"next_restore": next})).await;
        clouds.cbr_restore().await;
        clouds.advance(100).await;
        assert_eq!(logs(&clouds, "").await[0]["status"], word);
        assert_eq!(clouds.applied().await[0]["status"], truth);
    }
    clouds.sim("POST", "reset", &Value::Null).await;
    let next = json!({"status": "SOMETHING_NEW", "then": "success", "then_after_seconds": 10});
    clouds.world(&json!({"next_restore": next})).await;
    clouds.cbr_restore().await;
    clouds.advance(109).await;
    assert_eq!(clouds.applied().await[0]["status"], "running");
    clouds.advance(1).await;
    assert_eq!(clouds.applied().await[0]["status"], "succeeded");
    clouds.sim("POST", "reset", &Value::Null).await;
    let next = json!({"duration_seconds": 0, "then": "running", "then_after_seconds": 10});
    clouds.world(&json!({"next_restore": next})).await;
    clouds.cbr_restore().await;
    assert_eq!(logs(&clouds, "").await[0]["status"], "success");
    clouds.advance(10).await;
    assert_eq!(logs(&clouds, "").await[0]["status"], "running");
    assert_eq!(clouds.applied().await[0]["status"], "succeeded");
}

#[tokio::test]
async fn logs_are_filtered() {
    let clouds = Clouds::start().await;
    clouds.cbr_restore().await;
    clouds.post(&cbr_path(SPARE_BACKUP), &disk_body(SPARE)).await;
    assert_eq!(logs(&clouds, &format!("?resource_id={SERVER}")).await.len(), 1);
    assert_eq!(logs(&clouds, "?operation_type=backup").await.len(), 0);
    assert_eq!(logs(&clouds, "?status=waiting&status=running").await.len(), 2);
    assert_eq!(logs(&clouds, "?start_time=2026-11-22T10:15:01Z").await.len(), 0);
    assert_eq!(logs(&clouds, "?end_time=2026-11-22T10:14:59Z").await.len(), 0);
    assert_eq!(logs(&clouds, "?end_time=2026-11-22T10:15:00Z").await.len(), 2);
    assert_eq!(logs(&clouds, "?limit=1&offset=1").await.len(), 1);
}

#[tokio::test]
async fn backups_vaults_and_restore_points_are_read() {
    let clouds = Clouds::start().await;
    let one = clouds.get(&format!("/v3/{PROJECT}/backups/{SERVER_BACKUP}")).await.json();
    let children = one["backup"]["children"].as_array().unwrap();
    assert_eq!((&children[0]["id"], &children[0]["resource_id"]), (&json!(SYS_BACKUP), &json!(SYS)));
    assert_eq!((&children[1]["id"], &children[1]["resource_id"]), (&json!(DATA_BACKUP), &json!(DATA)));
    let list = clouds.get(&format!("/v3/{PROJECT}/backups?resource_id={SERVER}")).await.json();
    assert_eq!((&list["count"], &list["backups"][0]["children"]), (&json!(1), &json!([])));
    let vault = one["backup"]["vault_id"].as_str().unwrap();
    let vault = clouds.get(&format!("/v3/{PROJECT}/vaults/{vault}")).await.json();
    assert_eq!(vault["vault"]["billing"]["status"], "available");
    let point = one["backup"]["checkpoint_id"].as_str().unwrap();
    let point = clouds.get(&format!("/v3/{PROJECT}/checkpoints/{point}")).await.json();
    assert_eq!(point["checkpoint"]["status"], "available");
    let unknown = clouds.get(&format!("/v3/{PROJECT}/checkpoints/{SERVER}")).await;
    assert_eq!(unknown.code(), (404, "BackupService.6217".to_owned()));
    let root = clouds.get("/").await;
    assert_eq!((root.status, &root.json()["versions"][0]["id"]), (300, &json!("v3")));
}
