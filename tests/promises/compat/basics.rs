//! Compatibility endpoints: programs that speak one source API keep it.

use std::time::{Duration, Instant};

use restore_tests::{Answer, TestConfig, World, ids};
use serde_json::{Value, json};

/// A compatibility endpoint of each source API, by prefix.
pub(crate) const DOORS: &str = r#"
[[compat_endpoints]]
api = "csbs-v1"
prefix = "/csbs"
[[compat_endpoints]]
api = "cbr-v3"
prefix = "/cbr"
[[compat_endpoints]]
api = "vbs-v2"
prefix = "/vbs"
[[compat_endpoints]]
api = "cinder-v3"
prefix = "/cinder"
"#;

/// Each source API is served by the generation that is its own.
const OWN_ROUTES: &str = r#"
[[routes]]
source_apis = ["csbs-v1"]
upstream = "csbs"
[[routes]]
source_apis = ["vbs-v2", "cinder-v3"]
upstream = "vbs"
[[routes]]
source_apis = ["cbr-v3"]
upstream = "cbr"
"#;

/// What a program of each source API asks for: path behind the compatibility endpoint, body.
pub(crate) mod native {
    use super::*;

    /// What a program asks for; what its source API has no word for is said in the nearest way that it has.
    pub(crate) fn request(source_api: &str, target: &str) -> (String, Value) {
        match (source_api, target) {
            ("csbs-v1", "server") => csbs_server(),
            ("csbs-v1", _) => {
                let (path, mut body) = csbs_server();
                body["restore"]["parameters"]["targets"] = json!({"volume_id": ids::FREE.1});
                (path, body)
            }
            ("cbr-v3", "server") => cbr_server(),
            ("cbr-v3", _) => disk("cbr", "v3/{project}/backups/{backup}"),
            (_, target) => {
                let (path, mut body) = match source_api {
                    "vbs-v2" => disk("vbs", "v2/{project}/cloudbackups/{backup}"),
                    _ => disk("cinder", "v3/{project}/backups/{backup}"),
                };
                if target == "server" {
                    body = json!({"restore": {"server_id": ids::SERVER}});
                }
                (path, body)
            }
        }
    }

    pub(super) fn csbs_server() -> (String, Value) {
        let body = json!({"restore": {
            "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
            "checkpoint_id": ids::CSBS_CHECKPOINT,
            "parameters": {"checkpoint_item_id": ids::CSBS_ITEM, "power_on": true, "targets": {
                "server_id": ids::SERVER,
                "volumes": [
                    {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
                    {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
                ],
            }},
        }});
        (format!("/csbs/v1/{}/restores", ids::PROJECT), body)
    }

    pub(super) fn cbr_server() -> (String, Value) {
        let body = json!({"restore": {"server_id": ids::SERVER, "power_on": true, "mappings": [
            {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
            {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
        ]}});
        (format!("/cbr/v3/{}/backups/{}/restore", ids::PROJECT, ids::CBR_BACKUP), body)
    }

    pub(crate) fn disk(endpoint: &str, call: &str) -> (String, Value) {
        let path = format!("/{endpoint}/{}/restore", call.replace("{backup}", ids::FREE.0));
        (path.replace("{project}", ids::PROJECT), json!({"restore": {"volume_id": ids::FREE.1}}))
    }
}

async fn world(routes: &str) -> World {
    World::with(TestConfig::default().ways(routes).and(DOORS)).await
}

/// Polls a native read until what it says is what is wanted.
async fn until(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = world.get(path).await;
        if answer.status == 200 && wanted(&answer.json()) {
            return answer.json();
        }
        assert!(Instant::now() < end, "{path}: {} {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks the answer to a restore that was taken, and follows it to its good end with the reads that programs of its
/// source API make.
pub(crate) async fn follow(world: &World, source_api: &str, path: &str, answer: &Answer) {
    let project = ids::PROJECT;
    let said = || format!("{source_api}: {} {}", answer.status, answer.text());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match source_api {
        "csbs-v1" => {
            assert_eq!(answer.status, 200, "{}", said());
            let restore = &answer.json()["restore"];
            assert_eq!(restore["status"], "in_progress", "{}", said());
            let one = format!("{path}/{}", text(&restore["id"]));
            until(world, &one, |body| body["restore"]["status"] == "success").await;
            let item = format!("/csbs/v1/{project}/checkpoint_items/{}", ids::CSBS_ITEM);
            let available = |body: &Value| {
                let item = &body["checkpoint_item"];
                item["status"] == "available" && item["extend_info"]["fail_op"] != "restore"
            };
            until(world, &item, available).await;
        }
        "cbr-v3" => {
            assert_eq!(answer.status, 202, "{}", said());
            let id = text(&answer.json()["job_id"]);
            let log = format!("/cbr/v3/{project}/operation-logs/{id}");
            until(world, &log, |body| body["operation_log"]["status"] == "success").await;
            let list = format!("/cbr/v3/{project}/operation-logs");
            let listed = |body: &Value| {
                let logs = body["operation_logs"].as_array().cloned().unwrap_or_default();
                logs.len() == 1 && logs[0]["id"] == *id && logs[0]["status"] == "success"
            };
            until(world, &list, listed).await;
        }
        "vbs-v2" => {
            assert_eq!(answer.status, 200, "{}", said());
            let id = text(&answer.json()["job_id"]);
            for version in ["v1", "v2"] {
                let job = format!("/vbs/{version}/{project}/jobs/{id}");
                until(world, &job, |job| job["status"] == "SUCCESS").await;
            }
        }
        _ => {
            assert_eq!(answer.status, 202, "{}", said());
            let disk = format!("/cinder/v3/{project}/volumes/{}", ids::FREE.1);
            until(world, &disk, |body| body["volume"]["status"] == "available").await;
            let backup = path.strip_suffix("/restore").unwrap_or_default();
            until(world, backup, |body| body["backup"]["status"] == "available").await;
        }
    }
}

#[tokio::test]
async fn csbs_is_spoken_to_programs_that_speak_csbs() {
    let world = world(OWN_ROUTES).await;
    let (path, body) = native::csbs_server();
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let restore = answer.json()["restore"].clone();
    assert_eq!(restore["status"], "in_progress");
    assert_eq!(restore["parameters"], body["restore"]["parameters"]);
    assert_eq!(restore["resources_status"], json!({}));
    let id = restore["id"].as_str().unwrap_or_default().to_owned();

    let end = until(&world, &format!("{path}/{id}"), |body| body["restore"]["status"] == "success").await;
    assert_eq!(end["restore"]["id"], *id);
    let item = format!("/csbs/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
    let item = until(&world, &item, |body| body["checkpoint_item"]["status"] == "available").await;
    assert_eq!(item["checkpoint_item"]["id"], ids::CSBS_ITEM);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn cbr_is_spoken_to_programs_that_speak_cbr() {
    let world = world(OWN_ROUTES).await;
    let (path, body) = native::cbr_server();
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["job_id"].as_str().unwrap_or_default().to_owned();

    let log = format!("/cbr/v3/{}/operation-logs/{id}", ids::PROJECT);
    let end = until(&world, &log, |body| body["operation_log"]["status"] == "success").await;
    assert_eq!(end["operation_log"]["extra_info"]["restore"]["backup_id"], ids::CBR_BACKUP);
    assert_eq!(end["operation_log"]["extra_info"]["common"]["progress"], 100);

    // Once in the list, although the cloud has a log of its own for it.
    let list = world.get(&format!("/cbr/v3/{}/operation-logs?operation_type=restore", ids::PROJECT)).await;
    let logs = list.json()["operation_logs"].as_array().cloned().unwrap_or_default();
    assert_eq!(logs.len(), 1, "{}", list.text());
    assert_eq!(logs[0]["id"], *id);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn vbs_is_spoken_to_programs_that_speak_vbs() {
    let world = world(OWN_ROUTES).await;
    let (path, body) = native::disk("vbs", "v2/{project}/cloudbackups/{backup}");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["job_id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.json(), json!({"job_id": id}));
    for version in ["v1", "v2"] {
        let job = format!("/vbs/{version}/{}/jobs/{id}", ids::PROJECT);
        let end = until(&world, &job, |job| job["status"] == "SUCCESS").await;
        assert_eq!(end["entities"], json!({"backup_id": ids::FREE.0, "volume_id": ids::FREE.1}));
    }
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn block_storage_is_spoken_at_two_endpoints() {
    for (endpoint, call) in [
        ("vbs", "v2/{project}/backups/{backup}"),
        ("vbs", "v3/{project}/backups/{backup}"),
        ("cinder", "v3/{project}/backups/{backup}"),
    ] {
        let world = world(OWN_ROUTES).await;
        let (path, mut body) = native::disk(endpoint, call);
        body["restore"]["name"] = Value::Null;
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(
            answer.json(),
            json!({"restore": {"backup_id": ids::FREE.0, "volume_id": ids::FREE.1, "volume_name": ""}})
        );
        let backup = path.strip_suffix("/restore").unwrap_or_default();
        until(&world, backup, |body| body["backup"]["status"] == "available").await;
        if endpoint == "cinder" {
            let disk = format!("/cinder/v3/{}/volumes/{}", ids::PROJECT, ids::FREE.1);
            until(&world, &disk, |body| body["volume"]["status"] == "available").await;
        }
        assert_eq!(world.applied().await.len(), 1, "{endpoint} {call}");
        world.end().await;
    }
}

/// A compatibility endpoint with a name of its own is told apart by that, whatever prefixes other compatibility endpoints have and in which order they stand.
#[tokio::test]
async fn a_endpoints_own_name_counts_before_the_prefix_of_another() {
    let by_prefix = "[[compat_endpoints]]\napi = \"csbs-v1\"\nprefix = \"/v2\"\n";
    let by_name = "[[compat_endpoints]]\napi = \"vbs-v2\"\nhost = \"vbs.internal\"\n";
    for endpoints in [[by_prefix, by_name], [by_name, by_prefix]] {
        let world = World::with(TestConfig::default().and(&endpoints.concat())).await;
        for (host, version) in [("vbs.internal", "v2"), ("127.0.0.1", "v1")] {
            let mut raw = restore_tests::raw::Raw::open(world.gateway.api()).await;
            raw.send(format!("GET /v2 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
            let answer = raw.answer().await.expect("an answer");
            assert!(matches!(answer.status, 200 | 300), "{host}: {} {}", answer.status, answer.body);
            assert!(answer.body.contains(&format!("\"id\":\"{version}")), "{host}: {}", answer.body);
        }
        world.end().await;
    }
}
