//! What the cloud's answer to a restore proves. The clouds' own truth says what was applied.

use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// The restore call of each generation, and a request that is sent by it.
fn calls() -> [(&'static str, Value); 3] {
    [
        ("/v3/*/backups/*/restore", requests::cbr_server()),
        ("/v1/*/restores", requests::csbs_server()),
        ("/v2/*/cloudbackups/*/restore", requests::free_disk()),
    ]
}

/// Short times, so that unknown outcomes settle within a test.
fn hasty() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "5")
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

fn answered(path: &str, applied: bool, answer: &Value) -> Value {
    json!([{"match": {"method": "POST", "path": path}, "applied": applied, "answer": answer}])
}

#[tokio::test]
async fn f49_an_intermediary_after_the_cloud_leaves_it_unknown() {
    let html = |status: u16| {
        json!({"status": status, "headers": {"content-type": "text/html"},
               "body_raw": format!("<html><h1>{status}</h1></html>")})
    };
    let broken =
        |status: u16| json!({"status": status, "body_raw": r#"{"error_code":"BackupService.2010","err"#});
    let of_a_proxy = |status: u16| json!({"status": status, "body": {"message": "no"}});
    let empty = |status: u16| json!({"status": status, "body_raw": ""});
    let coded = |status: u16| json!({"status": status, "body": {"error_code": "X.1", "error_msg": "m"}});
    let answers = [
        html(499),
        empty(499),
        coded(499),
        coded(424),
        html(444),
        coded(463),
        html(494),
        empty(460),
        coded(449),
        html(400),
        broken(400),
        of_a_proxy(400),
        json!({"status": 400, "body": ["volume is in use"]}),
        html(401),
        empty(403),
        html(404),
        of_a_proxy(429),
        html(429),
        empty(429),
        html(413),
        coded(408),
        html(307),
        coded(303),
        coded(500),
        html(503),
        coded(599),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let (path, request) = calls()[number % 3].clone();
        let world = World::with(hasty()).await;
        world.faults(answered(path, true, &answer)).await;
        let first = world.submit(&request).await;
        let restore = first.json();
        let told = (first.status, restore["status"].as_str(), restore["error"]["effect"].as_str());
        assert_eq!(told, (202, Some("unknown"), Some("possible")), "{answer}: {restore}");
        // The target stays locked, and a repetition restores nothing.
        let again = world.submit(&request).await;
        assert_eq!((again.status, again.json()["id"].as_str()), (202, restore["id"].as_str()), "{answer}");
        let other = [("idempotency-key", "another")];
        let other = world.post_with("/api/v1/restores", &request, &other).await;
        assert_eq!((other.status, other.json()["code"].as_str()), (409, Some("target_busy")), "{answer}");
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1), "{answer}");
        world.end().await;
    }
}

#[tokio::test]
async fn f49_a_refusal_in_the_clouds_own_words_is_one() {
    let answers = [
        (json!({"status": 400, "body": {"error_code": "X.4711", "error_msg": "m"}}), "upstream_bad_request"),
        (
            json!({"status": 404, "body": {"itemNotFound": {"code": 404, "message": "m"}}}),
            "upstream_not_found",
        ),
        (json!({"status": 403, "body": {"error_code": "IAM.0003", "error_msg": "m"}}), "upstream_forbidden"),
        (
            json!({"status": 494, "body": {"error_code": "APIGW.0201", "error_msg": "m"}}),
            "upstream_bad_request",
        ),
        (
            json!({"status": 500, "body": {"error_code": "CSBS.6019", "error_msg": "m"}}),
            "target_incompatible",
        ),
        (
            json!({"status": 413, "body": {"overLimit": {"code": 413, "message": "quota", "retryAfter": "0"}}}),
            "upstream_bad_request",
        ),
    ];
    for (answer, code) in answers {
        for (path, request) in calls() {
            let world = World::with(hasty()).await;
            world.faults(answered(path, false, &answer)).await;
            let problem = world.submit(&request).await.json();
            let told = (problem["code"].as_str(), problem["effect"].as_str());
            assert_eq!(told, (Some(code), Some("none")), "{path} {answer}: {problem}");
            assert_eq!(world.sent().await.len(), 1);
            world.end().await;
        }
    }
    // VBS puts errors under its 200.
    let world = World::with(hasty()).await;
    let body = json!({"error": {"code": "VBS.4711", "message": "not now"}});
    world.faults(answered(calls()[2].0, false, &json!({"status": 200, "body": body}))).await;
    let problem = world.submit(&requests::free_disk()).await.json();
    let told =
        (problem["code"].as_str(), problem["effect"].as_str(), problem["upstream"]["message"].as_str());
    assert_eq!(told, (Some("upstream_bad_request"), Some("none"), Some("not now")), "{problem}");
    world.end().await;
}

#[tokio::test]
async fn a_list_of_texts_keeps_its_words() {
    let world = World::with(hasty()).await;
    world.faults(answered(calls()[2].0, false, &json!({"status": 400, "body": ["volume is in use"]}))).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    assert_eq!(restore["error"]["upstream"]["message"], "volume is in use", "{restore}");
    world.end().await;
}

#[tokio::test]
async fn a_rate_limit_without_a_wait_is_waited_out() {
    let limits = [
        json!({"status": 429, "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}),
        json!({"status": 413, "body": {"overLimit": {"code": 413, "message": "rate limit"}}}),
    ];
    for limit in limits {
        let world = World::with(
            hasty().set("submit.sync_wait_seconds", "1").set("submit.retry_deadline_seconds", "40"),
        )
        .await;
        world
            .faults(json!([{"match": {"method": "POST", "path": calls()[2].0}, "times": 2, "answer": limit}]))
            .await;
        let answer = world.submit(&requests::free_disk()).await;
        // Who waits is answered in time; the restore goes on.
        assert_eq!(answer.status, 202, "{}", answer.text());
        let restore = answer.json();
        assert_eq!(restore["status"], "submitting", "{restore}");
        let restore = world.until_status(&id(&restore), "succeeded").await;
        assert_eq!(restore["attempts"], 3, "{restore}");
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (3, 1));
        world.end().await;
    }
}

#[tokio::test]
async fn f51_compressed_answers_are_read_as_if_they_were_not() {
    for coding in ["gzip", "deflate", "raw_deflate", "br"] {
        for (path, request) in calls() {
            let world = World::with(hasty()).await;
            world.behave(json!({"cbr_202": "job_id"})).await;
            // Every answer: reads before it, the send, reads after it.
            world.faults(json!([{"times": 0, "coding": coding}])).await;
            let answer = world.submit(&request).await;
            let restore = answer.json();
            assert_eq!((answer.status, &restore["status"]), (202, &json!("running")), "{coding}: {restore}");
            assert!(restore["upstream"]["task"].is_object(), "{coding} {path}: {restore}");
            let restore = world.until_status(&id(&restore), "succeeded").await;
            assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1), "{restore}");
            let asked = world.arrived().await;
            assert!(asked.iter().all(|request| request["headers"]["accept-encoding"] == "identity"));

            world
                .faults(json!([{"match": {"method": "POST", "path": path}, "coding": coding, "answer":
                    {"status": 400, "body": {"error_code": "X.4711", "error_msg": "these words"}}}]))
                .await;
            let headers = [("idempotency-key", "another")];
            let problem = world.post_with("/api/v1/restores", &request, &headers).await.json();
            assert_eq!(problem["upstream"]["message"], "these words", "{coding} {path}: {problem}");
            world.end().await;
        }
    }
}

#[tokio::test]
async fn f51_an_answer_that_grows_beyond_its_bound_is_no_refusal() {
    let config = hasty().each_upstream("max_body_bytes = 65536");
    let world = World::with(config).await;
    let body = json!({"error_code": "BackupService.2010", "error_msg": " ".repeat(1024 * 1024)});
    world
        .faults(json!([{"match": {"method": "POST", "path": calls()[0].0}, "applied": true, "coding": "gzip",
                        "answer": {"status": 400, "body": body}}]))
        .await;
    let restore = world.submit(&requests::cbr_server()).await.json();
    assert_eq!((&restore["status"], &restore["error"]["effect"]), (&json!("unknown"), &json!("possible")));
    let detail = restore["error"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("larger than 65536 bytes"), "{restore}");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// The `Date` of the answer is right, a front end's say; the clock that refused the signature is not.
#[tokio::test]
async fn f30_the_time_in_the_words_of_a_refused_signature_is_heeded() {
    let refused = |now: &str| {
        let message =
            format!("verify aksk signature fail, signature expired, x-sdk-date:20261122T101501Z, now:{now}");
        json!({"status": 401, "body": {"error_code": "APIGW.0301", "error_msg": message}})
    };
    for (now, code) in [("20200101T000000Z", "clock_skew"), ("2020-01-01 00:00:00", "clock_skew")] {
        for (method, path) in [("GET", "/v3/*/operation-logs*"), ("POST", calls()[0].0)] {
            let world = World::with(hasty()).await;
            world.faults(json!([{"match": {"method": method, "path": path}, "answer": refused(now)}])).await;
            let problem = world.submit(&requests::cbr_server()).await.json();
            let told = (problem["code"].as_str(), problem["effect"].as_str());
            assert_eq!(told, (Some(code), Some("none")), "{problem}");
            assert!(world.applied().await.is_empty());
            world.end().await;
        }
    }
}

/// What a failed log says of the failure may be a text instead of an object.
#[tokio::test]
async fn the_words_of_a_failed_log_are_kept_in_either_form() {
    for error_info in
        [json!("the disk is broken"), json!({"error_code": "X.1", "error_msg": "the disk is broken"})]
    {
        let world = World::with(hasty()).await;
        world.behave(json!({"cbr_202": "job_id"})).await;
        let restore = world.submit(&requests::cbr_server()).await.json();
        let log = json!({"operation_log": {"id": restore["upstream"]["task"]["id"], "operation_type": "restore",
            "status": "failed", "error_info": error_info, "project_id": ids::PROJECT}});
        world
            .faults(json!([{"match": {"method": "GET", "path": "/v3/*/operation-logs/*"}, "times": 0,
                            "answer": {"status": 200, "body": log}}]))
            .await;
        let restore = world.until_status(&id(&restore), "failed").await;
        assert_eq!(restore["error"]["upstream"]["message"], "the disk is broken", "{restore}");
        world.end().await;
    }
}
