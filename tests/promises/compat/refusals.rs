//! Native reads while the cloud refuses, or answers nothing that can be read: the program gets that refusal in its
//! source API, and never an empty list, an item that nobody told, or a "no" to a question that was not asked.

use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, native};

const MOVED: &str = "[[routes]]\nupstream = \"cbr\"\n";
/// An id of nothing.
const NOTHING: &str = "99999999-0000-4000-8000-000000000000";

/// Native reads of all source APIs: path behind the gateway.
fn reads() -> Vec<String> {
    [
        "/csbs/v1/{project}/checkpoint_items".to_owned(),
        format!("/csbs/v1/{{project}}/checkpoint_items/{}", ids::CSBS_ITEM),
        format!("/csbs/v1/{{project}}/restores/{NOTHING}"),
        "/csbs/v1/{project}/checkpoint_items/count".to_owned(),
        "/cbr/v3/{project}/operation-logs".to_owned(),
        "/cbr/v3/{project}/operation-logs?status=running&limit=5".to_owned(),
        format!("/cbr/v3/{{project}}/operation-logs/{NOTHING}"),
        "/cbr/v3/{project}/backups".to_owned(),
        format!("/cbr/v3/{{project}}/backups/{}", ids::CBR_BACKUP),
        "/cbr/v3/{project}/vaults".to_owned(),
        "/vbs/v2/{project}/backups/detail".to_owned(),
        format!("/vbs/v2/{{project}}/backups/{}", ids::FREE.0),
        format!("/vbs/v1/{{project}}/jobs/{NOTHING}"),
        format!("/cinder/v3/{{project}}/backups/{}", ids::FREE.0),
        format!("/cinder/v3/{{project}}/volumes/{}", ids::FREE.1),
        "/cinder/v3/{project}/volumes/detail".to_owned(),
    ]
    .into_iter()
    .map(|path| path.replace("{project}", ids::PROJECT))
    .collect()
}

/// What a cloud says, and the status that a program gets.
fn refusals() -> Vec<(Value, u16)> {
    let html = |status: u16| {
        json!({"status": status, "headers": {"content-type": "text/html"},
               "body_raw": format!("<html><h1>{status}</h1></html>")})
    };
    let flat =
        |status: u16, code: &str| json!({"status": status, "body": {"error_code": code, "error_msg": "no"}});
    let limited = json!({"status": 429, "headers": {"retry-after": "7"},
                         "body": {"error_code": "APIGW.0308", "error_msg": "slow down"}});
    vec![
        (flat(401, "APIGW.0301"), 401),
        (html(401), 401),
        (flat(403, "IAM.0003"), 403),
        (html(403), 403),
        (flat(404, "APIGW.0101"), 404),
        (html(404), 404),
        (flat(409, "X.4711"), 409),
        (limited, 429),
        (html(429), 429),
        (flat(500, "CSBS.9999"), 503),
        (html(502), 502),
        (flat(503, "CSBS.9998"), 503),
        (html(504), 504),
        // A success that nobody can read is none.
        (html(200), 503),
    ]
}

#[tokio::test]
async fn f54_a_read_that_the_cloud_refuses_is_refused_in_the_source_api() {
    for moved in [false, true] {
        for (answer, status) in refusals() {
            // A world for each: an answer is given again for a second.
            let config = TestConfig::default();
            let config = if moved { config.ways(MOVED) } else { config };
            let world = World::with(config.and(DOORS)).await;
            world.behave(json!({"restore_seconds": 3_600})).await;
            if moved {
                // Restores by another cloud show in what is read.
                for (source_api, target) in [("csbs-v1", "server"), ("cinder-v3", "volume")] {
                    let (path, body) = native::request(source_api, target);
                    let answer = world.post(&path, &body).await;
                    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
                }
            }
            world.faults(json!([{"match": {"method": "GET"}, "times": 0, "answer": answer}])).await;
            for path in reads() {
                let got = world.get(&path).await;
                let told = format!("{path} while {answer}: {} {}", got.status, got.text());
                // A cloud that fails again and again is left alone for a while.
                let wanted = if got.text().contains("left alone") { 503 } else { status };
                assert_eq!(got.status, wanted, "{told}");
                let body = got.json();
                let faults = body.as_object().map(|said| said.values()).into_iter().flatten();
                assert!(faults.clone().any(|fault| !fault["code"].is_null()), "{told}");
                // Clients look for the ID of their request under the name that their API has.
                let (ours, theirs) = (got.header("x-request-id"), got.header("x-openstack-request-id"));
                let openstack = path.starts_with("/csbs/") || path.starts_with("/cinder/");
                assert_eq!(theirs, if openstack { ours } else { "" }, "{told}");
                // python-karborclient fails on any other answer with this header.
                if path.starts_with("/csbs/") && status != 413 {
                    assert_eq!(got.header("retry-after"), "", "{told}");
                } else if answer["headers"]["retry-after"] == "7" {
                    // What is left of the pause, once the gateway keeps it itself.
                    let pause: u64 = got.header("retry-after").parse().expect("seconds");
                    assert!((1..=7).contains(&pause), "{told}");
                }
            }
            let asked = world.arrived().await;
            let zero = asked.iter().filter(|seen| seen.to_string().contains("offset=0")).count();
            assert_eq!(zero, 0, "no offset of 0 is added");
            world.end().await;
        }
    }
}

#[tokio::test]
async fn f54_a_question_that_was_not_answered_is_refused_in_the_source_api() {
    let action =
        format!("/v1/{}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/action", ids::PROJECT);
    let asked = json!({"checkpoint_item_id": ids::CSBS_ITEM,
    "target": {"resource_id": ids::SERVER, "resource_type": "OS::Nova::Server", "volumes": [
        {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
        {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
    ]}});
    let body = json!({ "check_restorable": [asked] });
    for (answer, status) in refusals() {
        // A cloud that has said 429 is left alone for a while.
        let world = World::with(TestConfig::default().and(DOORS)).await;
        world
            .faults(json!([{"match": {"method": "POST", "path": action}, "times": 0, "answer": answer}]))
            .await;
        let got = world.post(&format!("/csbs{action}"), &body).await;
        let told = format!("{answer}: {} {}", got.status, got.text());
        let wanted = if matches!(status, 502 | 504) { 503 } else { status };
        assert_eq!(got.status, wanted, "{told}");
        assert!(got.json()["error"]["code"].is_string(), "{told}");
        // CSBS clients read this header with 413 only.
        assert_eq!(got.header("retry-after"), "", "{told}");
        world.end().await;
    }
    let world = World::with(TestConfig::default().and(DOORS)).await;
    // What the cloud refuses by a name of the table is an answer.
    let busy = json!({"status": 400, "body": {"error_code": "CSBS.6015", "error_msg": "restoring"}});
    world.faults(json!([{"match": {"method": "POST", "path": action}, "answer": busy}])).await;
    let got = world.post(&format!("/csbs{action}"), &body).await;
    let verdict = &got.json()["restorable"][0];
    assert_eq!(
        (&verdict["result"], &verdict["error_code"]),
        (&json!(false), &json!("CSBS.6015")),
        "{verdict}"
    );
    world.end().await;

    // The generation that restores has no such call, and the configuration does not say who knows the disks.
    let routes = "[[upstreams]]\nname = \"cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\n\
                  [[upstreams]]\nname = \"csbs\"\ngeneration = \"csbs-v1\"\nendpoint = \"{clouds}\"\n\
                  [[routes]]\nupstream = \"cbr\"\n";
    let world = World::with(TestConfig::default().routes(routes).and(DOORS)).await;
    let got = world.post(&format!("/csbs{action}"), &body).await;
    assert_eq!(got.status, 503, "{}", got.text());
    assert!(got.text().contains("could not be asked"), "{}", got.text());
    world.end().await;
}

#[tokio::test]
async fn f54_a_credential_of_the_gateways_own_that_is_refused_invents_no_disk() {
    let routes = "[[upstreams]]\nname = \"vbs\"\ngeneration = \"vbs-v2\"\nendpoint = \"{clouds}/vbs\"\n\
                  evs_endpoint = \"{clouds}/evs\"\ncredential = \"robot\"\n[[routes]]\nupstream = \"vbs\"\n";
    let config = TestConfig::default().routes(routes).robot().and(DOORS);
    let world = World::serve_beside(config, &[], &[("password", "example-only")]).await;
    world.behave(json!({"restore_seconds": 3_600})).await;
    let (path, body) = native::request("cinder-v3", "volume");
    assert_eq!(world.post(&path, &body).await.status, 202);
    let refused = json!({"status": 401, "body": {"error_code": "APIGW.0301", "error_msg": "no"}});
    world.faults(json!([{"match": {"method": "GET"}, "times": 0, "answer": refused}])).await;
    for path in [format!("volumes/{}", ids::FREE.1), format!("backups/{}", ids::FREE.0)] {
        let got = world.get(&format!("/cinder/v3/{}/{path}", ids::PROJECT)).await;
        assert_eq!(got.status, 503, "{}", got.text());
    }
    world.end().await;
}

/// A preview shows what is lost on the way, and no id that will not be sent.
#[tokio::test]
async fn f54_a_native_preview_shows_what_the_canonical_one_does() {
    let world = World::with(TestConfig::default().ways(MOVED).and(DOORS)).await;
    let (path, body) = native::request("csbs-v1", "server");
    let native = json!({"source_api": "csbs-v1", "method": "POST",
        "path": path.strip_prefix("/csbs").expect("a prefix"), "body": body});
    let shown = world.post("/api/v1/compat-previews", &native).await.json();
    let canonical =
        world.post("/api/v1/restore-previews", &shown["compat"]["canonical_request"]).await.json();
    assert!(!canonical["dropped_fields"].as_array().expect("a list").is_empty(), "{canonical}");
    assert_eq!(shown["dropped_fields"], canonical["dropped_fields"]);
    assert_eq!(shown["compat"]["backup_ids"], "lookup_required");
    for id in [ids::CSBS_ITEM, ids::SYSTEM.0, ids::DATA.0] {
        assert!(!shown["request"].to_string().contains(id), "{id} will not be sent: {shown}");
    }
    assert!(world.sent().await.is_empty());
    world.end().await;
}
