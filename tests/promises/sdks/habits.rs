//! What released clients do with the answers to a restore, at every compatibility endpoint and with another generation behind it: they
//! send it again on 401, 429, 502 and 504, leave out what is not true, add what nobody asked for, and take one success
//! code for the only one.

use std::time::Duration;

use http::Method;
use restore_tests::{Answer, TestConfig, World, ids};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, follow, native};

/// Compatibility endpoint, target, and who carries it out: another generation than the compatibility endpoint's.
pub(crate) const ELSEWHERE: [(&str, &str, &str); 5] = [
    ("csbs-v1", "server", "cbr"),
    ("cbr-v3", "server", "csbs"),
    ("cbr-v3", "volume", "vbs"),
    ("vbs-v2", "volume", "cbr"),
    ("cinder-v3", "volume", "cbr"),
];

/// All compatibility endpoints and all clouds; everything goes to one upstream, which is not waited for longer than a second.
pub(crate) fn config(upstream: &str) -> TestConfig {
    let routes = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
send_timeout_seconds = 1
endpoint = "{clouds}"
evs_endpoint = "{clouds}/evs"
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
send_timeout_seconds = 1
endpoint = "{clouds}"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
send_timeout_seconds = 1
endpoint = "{clouds}/vbs"
evs_endpoint = "{clouds}/evs"
[[routes]]
upstream = "UPSTREAM"
"#;
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "2")
        .routes(&routes.replace("UPSTREAM", upstream))
        .and(DOORS)
}

/// The handle that an answer gives; what has none is told by its words.
pub(crate) fn handle(answer: &Answer) -> String {
    let body = answer.json();
    let found = [&body["job_id"], &body["restore"]["id"], &body["restore"]["volume_id"]];
    let found = found.into_iter().find_map(Value::as_str);
    found.unwrap_or_else(|| panic!("{} {}", answer.status, answer.text())).to_owned()
}

/// The read that tells how a restore of this source API stands, and where in it.
pub(crate) fn poll(source_api: &str, handle: &str) -> (String, &'static str) {
    let project = ids::PROJECT;
    match source_api {
        "csbs-v1" => (format!("/csbs/v1/{project}/restores/{handle}"), "/restore/status"),
        "cbr-v3" => (format!("/cbr/v3/{project}/operation-logs/{handle}"), "/operation_log/status"),
        "vbs-v2" => (format!("/vbs/v1/{project}/jobs/{handle}"), "/status"),
        _ => (format!("/cinder/v3/{project}/volumes/{}", ids::FREE.1), "/volume/status"),
    }
}

/// The words of a source API for a restore that runs, and for one that failed.
pub(crate) fn words(source_api: &str) -> (&'static str, &'static str) {
    match source_api {
        "csbs-v1" => ("in_progress", "fail"),
        "cbr-v3" => ("running", "failed"),
        "vbs-v2" => ("RUNNING", "FAIL"),
        _ => ("restoring-backup", "error_restoring"),
    }
}

/// How it stands.
pub(crate) async fn status(world: &World, source_api: &str, handle: &str) -> String {
    let (path, at) = poll(source_api, handle);
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_taken(source_api: &str) -> u16 {
    if matches!(source_api, "csbs-v1" | "vbs-v2") { 200 } else { 202 }
}

#[tokio::test]
async fn a_504_of_the_cloud_is_no_error_at_any_endpoint_and_a_repetition_is_the_same_restore() {
    for (source_api, target, upstream) in ELSEWHERE {
        let name = format!("{source_api} {target} by {upstream}");
        let world = World::with(config(upstream)).await;
        world
            .faults(json!([{"match": {"method": "POST", "path": "*/restore*"}, "applied": true,
                "answer": {"status": 504, "body_raw": "<html>504 Gateway Time-out</html>"}}]))
            .await;
        let (path, body) = native::request(source_api, target);
        let first = world.post(&path, &body).await;
        assert_eq!(first.status, is_taken(source_api), "{name}: {}", first.text());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let again = world.post(&path, &body).await;
        assert_eq!(again.status, first.status, "{name}: {}", again.text());
        assert_eq!(handle(&again), handle(&first), "{name}");
        assert_eq!(world.sent().await.len(), 1, "{name}");
        // Until it is known how it ended it runs.
        let now = status(&world, source_api, &handle(&first)).await;
        assert!(
            now == words(source_api).0 || matches!(&*now, "success" | "SUCCESS" | "available"),
            "{name}: {now}"
        );
        // CBR's own list tells the end; what CSBS and VBS show without a handle is not proof enough.
        if upstream == "cbr" {
            follow(&world, source_api, &path, &first).await;
        }
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1), "{name}");
        world.end().await;
    }
}

/// Polls the handle of an answer until the good end.
async fn until_done(world: &World, source_api: &str, answer: &Answer) {
    let id = handle(answer);
    for _ in 0..200 {
        let now = status(world, source_api, &id).await;
        if matches!(&*now, "success" | "SUCCESS" | "available") {
            return;
        }
        assert_ne!(now, words(source_api).1, "{source_api}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{source_api}: no end in time");
}

#[tokio::test]
async fn who_sends_again_after_a_429_or_a_401_restores_once() {
    for (source_api, target, upstream) in ELSEWHERE {
        for (refused, seen) in [(429, &[200, 202, 503][..]), (401, &[200, 202, 403][..])] {
            let name = format!("{source_api} {target} by {upstream} after {refused}");
            let world = World::with(config(upstream)).await;
            let code = if refused == 429 { "APIGW.0308" } else { "APIGW.0301" };
            let answer = json!({"status": refused, "headers": {"retry-after": "1"},
                "body": {"error_code": code, "error_msg": "no"}});
            world
                .faults(json!([{"match": {"method": "POST", "path": "*/restore*"}, "answer": answer}]))
                .await;
            let (path, body) = native::request(source_api, target);
            let first = world.post(&path, &body).await;
            assert!(seen.contains(&first.status), "{name}: {} {}", first.status, first.text());
            tokio::time::sleep(Duration::from_millis(500)).await;
            let mut again = world.post(&path, &body).await;
            for _ in 0..40 {
                if again.status == is_taken(source_api) {
                    break;
                }
                assert_eq!(again.status, 503, "{name}: {}", again.text());
                tokio::time::sleep(Duration::from_millis(500)).await;
                again = world.post(&path, &body).await;
            }
            until_done(&world, source_api, &again).await;
            assert_eq!(world.applied().await.len(), 1, "{name}");
            world.end().await;
        }
    }
}

#[tokio::test]
async fn a_401_before_the_send_is_returned() {
    for (source_api, target, upstream) in ELSEWHERE {
        let world = World::with(config(upstream)).await;
        let refused = json!({"status": 401, "body": {"error_code": "APIGW.0301", "error_msg": "expired"}});
        world.faults(json!([{"match": {"method": "GET"}, "times": 0, "answer": refused}])).await;
        let (path, body) = native::request(source_api, target);
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, 401, "{source_api} by {upstream}: {}", answer.text());
        assert!(world.sent().await.is_empty(), "{source_api} by {upstream}");
        // With a token that is good again, as clients do at once.
        world.faults(json!([])).await;
        let answer = world.post(&path, &body).await;
        until_done(&world, source_api, &answer).await;
        assert_eq!(world.applied().await.len(), 1, "{source_api} by {upstream}");
        world.end().await;
    }
}

#[tokio::test]
async fn no_answer_to_a_restore_makes_a_client_send_it_again() {
    let answers = [400, 403, 404, 405, 406, 409, 413, 429, 500, 501, 502, 503, 504, 599];
    for (source_api, target, upstream) in ELSEWHERE {
        let mut faults: Vec<Value> = answers
            .iter()
            .map(|status| json!({"status": status, "body": {"error_code": "X.1", "error_msg": "no"}}))
            .map(|answer| json!({"answer": answer}))
            .collect();
        faults.push(json!({"answer": {"status": 200, "body_raw": "?"}}));
        faults.push(json!({"answer": {"status": 302, "headers": {"location": "http://elsewhere.example/"}}}));
        faults.push(json!({"reset": "before"}));
        faults.push(json!({"reset": "mid_head"}));
        faults.push(json!({"delay_ms": 2500}));
        let play = async |fault: &Value| {
            let name = format!("{source_api} {target} by {upstream}: {fault}");
            let world = World::with(config(upstream)).await;
            let mut fault = fault.clone();
            fault["match"] = json!({"method": "POST", "path": "*/restore*"});
            fault["times"] = json!(0);
            world.faults(json!([fault])).await;
            let (path, body) = native::request(source_api, target);
            let answer = world.post(&path, &body).await;
            assert!(!matches!(answer.status, 401 | 422 | 429 | 500 | 502 | 504), "{name}: {}", answer.status);
            assert!(answer.status < 504, "{name}: {}", answer.status);
            assert!(answer.json().is_object(), "{name}: {}", answer.text());
            assert_eq!(answer.header("content-type"), "application/json", "{name}");
            let clouds = world.clouds.url().replace("http://", "");
            let text = answer.text();
            assert!(!text.contains(&clouds) && !text.contains(ids::TOKEN), "{name}: {text}");
            world.end().await;
        };
        for faults in faults.chunks(6) {
            futures_util::future::join_all(faults.iter().map(play)).await;
        }
    }
}

#[tokio::test]
async fn power_on_left_out_at_cbr_is_true_and_false_is_kept() {
    for (written, wanted) in [(None, true), (Some(true), true), (Some(false), false)] {
        let world = World::with(config("csbs")).await;
        let (path, mut body) = native::request("cbr-v3", "server");
        let restore = body["restore"].as_object_mut().expect("an object");
        restore.remove("power_on");
        restore.extend(written.map(|on| ("power_on".to_owned(), json!(on))));
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let sent = world.sent().await;
        assert_eq!(sent[0]["body"]["restore"]["parameters"]["power_on"], wanted);
        world.end().await;
    }
}

#[tokio::test]
async fn what_karbors_client_adds_is_taken_and_credentials_are_not() {
    const SECRET: &str = "canary-4f1c-of-another-cloud";
    let config = config("cbr").set("telemetry.log_level", "\"trace\"").set("telemetry.access_log", "true");
    let mut world = World::with(config).await;
    let (path, body) = native::request("csbs-v1", "server");
    let with = |auth: Value, target: Value| {
        let mut body = body.clone();
        body["restore"]["restore_auth"] = auth;
        body["restore"]["restore_target"] = target;
        body
    };
    let full = json!({"type": "password", "username": SECRET, "password": SECRET});
    for bad in [full, json!({"password": SECRET}), json!(SECRET), json!([SECRET])] {
        let answer = world.post(&path, &with(bad, Value::Null)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(
            answer.text().contains("restore_auth") && !answer.text().contains(SECRET),
            "{}",
            answer.text()
        );
    }
    assert!(world.arrived().await.is_empty(), "nobody was asked");
    let answer = world.post(&path, &with(json!({}), Value::Null)).await;
    assert_eq!(answer.json()["restore"]["restore_target"], Value::Null);
    // As its command line has it, and a repetition of the one before.
    let again = world.post(&path, &with(Value::Null, Value::Null)).await;
    assert_eq!(handle(&again), handle(&answer));
    follow(&world, "csbs-v1", &path, &answer).await;
    assert_eq!(world.applied().await.len(), 1);
    let (_, log, _) = world.ended_by("TERM").await;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "everything was told");
    assert!(!log.contains(SECRET), "the log repeats a credential");
    world.end().await;
}

#[tokio::test]
async fn the_forms_in_which_clients_write_a_restore_are_one() {
    let types = ["application/json", "application/json;charset=utf-8", "Application/JSON; Charset=UTF-8"];
    let disk = json!({"restore": {"volume_id": ids::FREE.1}});
    let flat = json!({"restore": {}, "volume_id": ids::FREE.1});
    let named = json!({"restore": {"volume_id": ids::FREE.1, "name": null}});
    let forms = [
        ("vbs", "v2/{project}/cloudbackups/{backup}", &disk, 200),
        ("vbs", "v2/{project}/cloudbackups/{backup}", &flat, 200),
        ("vbs", "v2/{project}/backups/{backup}", &named, 202),
        ("vbs", "v3/{project}/backups/{backup}", &disk, 202),
        ("cinder", "v3/{project}/backups/{backup}", &named, 202),
    ];
    for (index, (endpoint, call, body, success)) in forms.into_iter().enumerate() {
        let world = World::with(config("cbr")).await;
        let (path, _) = native::disk(endpoint, call);
        let kind = types[index % types.len()];
        let headers =
            [("x-auth-token", ids::TOKEN), ("content-type", kind), ("openstack-api-version", "volume 3.60")];
        let answer = world.http.send(Method::POST, &world.url(&path), &headers, body.to_string()).await;
        assert_eq!(answer.status, success, "{endpoint} {call}: {}", answer.text());
        // A read with a type of nothing, as the SDKs of one vendor send it.
        let backup = format!("/{endpoint}/v3/{}/backups/{}", ids::PROJECT, ids::FREE.0);
        let read = world.http.send(Method::GET, &world.url(&backup), &headers, "").await;
        assert_eq!(read.json()["backup"]["status"], "restoring", "{}", read.text());
        let sent = world.sent().await;
        assert_eq!((sent.len(), &sent[0]["body"]), (1, &disk), "{endpoint} {call}");
        world.end().await;
    }
}
