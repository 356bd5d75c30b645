//! CSBS v1.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::client::{Clouds, DATA, DATA_BACKUP, PROJECT, SERVER, SPARE, SYS, SYS_BACKUP, csbs_body};

fn item_path() -> String {
    format!("/v1/{PROJECT}/checkpoint_items/8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e")
}

fn check_path() -> String {
    format!("/v1/{PROJECT}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/action")
}

async fn item(clouds: &Clouds) -> Value {
    clouds.get(&item_path()).await.json()["checkpoint_item"].take()
}

#[tokio::test]
async fn the_documented_request_is_applied_and_echoed() {
    let clouds = Clouds::start().await;
    let reply = clouds.csbs_restore().await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("x-request-id").is_some() && reply.header("date").is_some());
    let restore = &reply.json()["restore"];
    let sent = csbs_body();
    assert_eq!(restore["status"], "in_progress");
    assert_eq!(restore["resources_status"], json!({}));
    assert_eq!(restore["parameters"], sent["restore"]["parameters"]);
    assert_eq!(restore["restore_target"], sent["restore"]["restore_target"]);
    let applied = clouds.applied().await;
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["generation"], "csbs-v1");
    assert_eq!(applied[0]["target"], json!({"type": "server", "id": SERVER}));
    assert_eq!(applied[0]["volumes"], crate::client::mappings());
    assert_eq!(applied[0]["power_on"], true);
    assert_eq!(applied[0]["request_id"], reply.header("x-request-id").unwrap());
}

#[tokio::test]
async fn the_item_waits_restores_and_is_available_again() {
    let clouds = Clouds::start().await;
    let before = item(&clouds).await;
    assert_eq!((&before["status"], &before["extend_info"]["fail_op"]), (&json!("available"), &json!("")));
    clouds.csbs_restore().await;
    assert_eq!(item(&clouds).await["status"], "waiting_restore");
    clouds.advance(50).await;
    let during = item(&clouds).await;
    assert_eq!(during["status"], "restoring");
    assert_eq!(during["extend_info"]["volume_backups"][0]["status"], "restoring");
    clouds.advance(50).await;
    let after = item(&clouds).await;
    assert_eq!((&after["status"], &after["extend_info"]["fail_op"]), (&json!("available"), &json!("")));
    assert_eq!(after["updated_at"], "2026-11-22T10:16:40.000000");
    assert_eq!(clouds.applied().await[0]["status"], "succeeded");
}

#[tokio::test]
async fn even_a_restore_of_no_time_is_answered_as_begun() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"next_restore": {"duration_seconds": 0}})).await;
    assert_eq!(clouds.csbs_restore().await.json()["restore"]["status"], "in_progress");
    assert_eq!(clouds.applied().await[0]["status"], "succeeded");
}

#[tokio::test]
async fn a_failed_restore_leaves_its_marker_unless_the_plan_says_otherwise() {
    let clouds = Clouds::start().await;
    let failed = json!({"status": "failed", "error_code": "CSBS.9999", "error_msg": "disk gone"});
    clouds.world(&json!({"next_restore": failed})).await;
    clouds.csbs_restore().await;
    clouds.advance(100).await;
    let after = item(&clouds).await;
    assert_eq!(
        (&after["status"], &after["extend_info"]["fail_op"]),
        (&json!("available"), &json!("restore"))
    );
    assert_eq!(after["extend_info"]["fail_code"], json!({"Code": 9999, "Description": "disk gone"}));
    clouds.world(&json!({"csbs_fail_marker": false})).await;
    assert_eq!(item(&clouds).await["extend_info"]["fail_op"], "");
    assert_eq!(clouds.applied().await[0]["status"], "failed");
}

#[tokio::test]
async fn what_the_state_forbids_is_refused_with_its_code() {
    let clouds = Clouds::start().await;
    let missing = "99999999-9999-4999-8999-999999999999";
    let cases = [
        ("provider_id", json!(missing), 400, "CSBS.9001"),
        ("parameters/checkpoint_item_id", json!(missing), 404, "CSBS.3001"),
        ("parameters/targets/server_id", json!(missing), 400, "CSBS.6000"),
        (
            "parameters/targets/volumes",
            json!([{"backup_id": SYS_BACKUP, "volume_id": SYS}]),
            400,
            "CSBS.6018",
        ),
        ("parameters/targets/volumes/1/volume_id", json!(SPARE), 400, "CSBS.6014"),
        ("parameters/targets/volumes/1/backup_id", json!(missing), 400, "CSBS.6017"),
        (
            "parameters/targets/volumes",
            json!([{"backup_id": SYS_BACKUP, "volume_id": DATA}, {"backup_id": DATA_BACKUP, "volume_id": SYS}]),
            500,
            "CSBS.6023",
        ),
    ];
    for (pointer, value, status, code) in cases {
        let mut body = csbs_body();
        *body.pointer_mut(&format!("/restore/{pointer}")).unwrap() = value;
        let reply = clouds.post(&format!("/v1/{PROJECT}/restores"), &body).await;
        assert_eq!(reply.code(), (status, code.to_owned()), "{pointer}");
    }
    let worlds = [
        (json!({"power_state": "terminated"}), "CSBS.6001"),
        (json!({"backup_status": "error"}), "CSBS.4000"),
        (json!({"backup_status": "protecting"}), "CSBS.2003"),
        (json!({"volumes": {DATA: {"multiattach": true}}}), "CSBS.6021"),
        (json!({"volumes": {DATA: {"size_gb": 50}}}), "CSBS.6024"),
    ];
    for (patch, code) in worlds {
        clouds.world(&patch).await;
        assert_eq!(clouds.csbs_restore().await.code(), (400, code.to_owned()), "{patch}");
        clouds.sim("DELETE", "world", &Value::Null).await;
    }
    assert!(clouds.applied().await.is_empty());
    assert_eq!(clouds.csbs_restore().await.status, 200);
    assert_eq!(clouds.csbs_restore().await.code(), (400, "CSBS.6015".to_owned()));
    assert_eq!(clouds.applied().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_as_documented_is_a_fault_of_karbor() {
    let clouds = Clouds::start().await;
    let mut extra = csbs_body();
    extra["restore"]["endpoint"] = json!("https://elsewhere.example");
    let mut wrong_type = csbs_body();
    wrong_type["restore"]["parameters"]["power_on"] = json!("true");
    let mut missing = csbs_body();
    missing["restore"]["parameters"].as_object_mut().unwrap().remove("power_on");
    let mut no_uuid = csbs_body();
    no_uuid["restore"]["parameters"]["targets"]["server_id"] = json!("../../x");
    for body in [extra, wrong_type, missing, no_uuid, json!({}), json!([])] {
        let reply = clouds.post(&format!("/v1/{PROJECT}/restores"), &body).await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json()["badRequest"]["code"], 400, "{body}");
    }
    let mut other = csbs_body();
    other["restore"]["checkpoint_id"] = json!("99999999-9999-4999-8999-999999999999");
    let reply = clouds.post(&format!("/v1/{PROJECT}/restores"), &other).await;
    assert_eq!((reply.status, &reply.json()["itemNotFound"]["code"]), (404, &json!(404)));
    let mut plain = Clouds::request("POST", &format!("/v1/{PROJECT}/restores"), &csbs_body().to_string());
    plain.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    let reply = clouds.send(plain).await.unwrap();
    assert_eq!((reply.status, &reply.json()["badMediaType"]["code"]), (415, &json!(415)));
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn credentials_for_another_cloud_may_be_named_and_not_given() {
    let clouds = Clouds::start().await;
    let with = |auth: Value| {
        let mut body = csbs_body();
        body["restore"]["restore_auth"] = auth;
        body
    };
    let path = format!("/v1/{PROJECT}/restores");
    let given = json!({"type": "password", "username": "ada", "password": "hers"});
    let refused = clouds.post(&path, &with(given)).await;
    assert_eq!((refused.status, &refused.json()["badRequest"]["code"]), (400, &json!(400)));
    for nothing in [json!({}), Value::Null] {
        let reply = clouds.post(&path, &with(nothing)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.json()["restore"].get("restore_auth").is_none(), "{}", reply.text);
        clouds.advance(100).await;
    }
    assert_eq!(clouds.applied().await.len(), 2);
}

#[tokio::test]
async fn a_200_can_be_a_failure_or_not_even_json() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"csbs_answer": "fail", "csbs_restores_read": true})).await;
    let reply = clouds.csbs_restore().await;
    assert_eq!((reply.status, &reply.json()["restore"]["status"]), (200, &json!("fail")));
    assert!(clouds.applied().await.is_empty());
    let id = reply.json()["restore"]["id"].as_str().unwrap().to_owned();
    let read = clouds.get(&format!("/v1/{PROJECT}/restores/{id}")).await;
    assert_eq!(read.json()["restore"]["status"], "fail");
    clouds.world(&json!({"csbs_answer": "published_sample"})).await;
    let reply = clouds.csbs_restore().await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("\"resources_status\":in_progress"));
    assert!(serde_json::from_str::<Value>(&reply.text).is_err());
    assert_eq!(clouds.applied().await.len(), 1);
}

#[tokio::test]
async fn reading_restores_is_off_until_switched_on() {
    let clouds = Clouds::start().await;
    let id = clouds.csbs_restore().await.json()["restore"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/{PROJECT}/restores/{id}");
    assert_eq!(clouds.get(&path).await.code(), (404, "APIGW.0101".to_owned()));
    clouds.world(&json!({"csbs_restores_read": true})).await;
    clouds.advance(1).await;
    assert_eq!(clouds.get(&path).await.json()["restore"]["status"], "in_progress");
    clouds.advance(100).await;
    assert_eq!(clouds.get(&path).await.json()["restore"]["status"], "success");
    let list = clouds.get(&format!("/v1/{PROJECT}/restores?status=success")).await.json();
    assert_eq!(list["restores"].as_array().unwrap().len(), 1);
    let unknown = clouds.get(&format!("/v1/{PROJECT}/restores/99999999-9999-4999-8999-999999999999")).await;
    assert_eq!((unknown.status, &unknown.json()["itemNotFound"]["code"]), (404, &json!(404)));
}

#[tokio::test]
async fn the_check_says_what_the_restore_would_say() {
    let clouds = Clouds::start().await;
    let ask = |volumes: Value| {
        json!({"check_restorable": [{
            "checkpoint_item_id": "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e",
            "target": {"resource_id": SERVER, "resource_type": "OS::Nova::Server", "volumes": volumes},
        }]})
    };
    let yes = clouds.post(&check_path(), &ask(crate::client::mappings())).await.json();
    assert_eq!(
        (&yes["restorable"][0]["result"], &yes["restorable"][0]["error_code"]),
        (&json!(true), &json!(""))
    );
    let no = clouds.post(&check_path(), &ask(json!([]))).await.json();
    assert_eq!(no["restorable"][0]["error_code"], "CSBS.6018");
    clouds.csbs_restore().await;
    let busy = clouds.post(&check_path(), &ask(crate::client::mappings())).await.json();
    assert_eq!(busy["restorable"][0]["error_code"], "CSBS.6015");
    let protect =
        json!({"check_protectable": [{"resource_id": SERVER, "resource_type": "OS::Nova::Server"}]});
    let protect = clouds.post(&check_path(), &protect).await.json();
    assert_eq!(protect["protectable"][0]["result"], true);
    assert_eq!(clouds.post(&check_path(), &json!({"check_both": []})).await.status, 400);
}

#[tokio::test]
async fn items_are_listed_and_counted_by_filter() {
    let clouds = Clouds::start().await;
    let count = async |query: &str| {
        let reply = clouds.get(&format!("/v1/{PROJECT}/checkpoint_items/count?{query}")).await;
        reply.json()["count"].as_u64().unwrap()
    };
    assert_eq!(count("status=available&name=nightly").await, 1);
    assert_eq!(count("status=restoring").await, 0);
    assert_eq!(count("resource_id=nobody").await, 0);
    let list = clouds.get(&format!("/v1/{PROJECT}/checkpoint_items")).await.json();
    assert_eq!(list["checkpoint_items"][0]["extend_info"]["volume_backups"][1]["id"], DATA_BACKUP);
}
