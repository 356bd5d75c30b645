//! What goes wrong on the road to the cloud and back, each with its expected outcome. The clouds'
//! own truth decides whether a restore was applied, and how often.

use std::time::Duration;

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// A restore call of CBR, whatever the ids.
const CBR_RESTORE: &str = "/v3/*/backups/*/restore";

/// Short times, so that unknown outcomes settle within a test.
fn hasty() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "5")
        .each_upstream("send_timeout_seconds = 1\nconnect_timeout_seconds = 1")
}

/// No reads before a send.
const ONE_CALL: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
[[routes]]
upstream = "vbs"
baseline_read = false
"#;

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// Submits the server restore of CBR under one fault; the answer must be 202.
async fn under_fault(world: &World, fault: Value) -> Value {
    world.faults(json!([fault])).await;
    let answer = world.submit(&requests::cbr_server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn f14_an_upstream_that_never_answers_leaves_it_unknown_until_reads_tell() {
    // It was applied, and the list shows it.
    let world = World::with(hasty()).await;
    let stall = json!({"match": {"method": "POST", "path": CBR_RESTORE}, "stall": true, "applied": true});
    let restore = under_fault(&world, stall).await;
    assert_eq!(restore["status"], "unknown", "{restore}");
    assert_eq!(restore["error"]["effect"], "possible");
    let restore = world.until_status(&id(&restore), "succeeded").await;
    assert_eq!(restore["upstream"]["task"]["kind"], "operation_log");
    assert_eq!(world.sent().await.len(), 1, "sent once");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;

    // It was not, and the list never shows it.
    let world = World::with(hasty()).await;
    let stall = json!({"match": {"method": "POST", "path": CBR_RESTORE}, "stall": true, "applied": false});
    let restore = under_fault(&world, stall).await;
    assert_eq!(restore["status"], "unknown");
    let restore = world.until_status(&id(&restore), "not_applied").await;
    let absent = world.history(&id(&restore)).await.iter().filter(|word| *word == "not_found").count();
    assert!(absent >= 3, "{absent} absent reads");
    assert_eq!(world.sent().await.len(), 1);
    assert!(world.applied().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn f15_a_connection_that_breaks_after_the_request_leaves_it_unknown() {
    for reset in ["after_apply", "mid_head", "mid_body"] {
        let world = World::with(hasty()).await;
        world.behave(json!({"cbr_202": "job_id"})).await;
        let fault =
            json!({"match": {"method": "POST", "path": CBR_RESTORE}, "reset": reset, "applied": true});
        let restore = under_fault(&world, fault).await;
        assert_eq!(restore["status"], "unknown", "{reset}: {restore}");
        world.until_status(&id(&restore), "succeeded").await;
        assert_eq!(world.sent().await.len(), 1, "{reset}: sent once");
        assert_eq!(world.applied().await.len(), 1, "{reset}");
        world.end().await;
    }
}

#[tokio::test]
async fn f17_a_balancers_error_after_acceptance_is_found_running() {
    for status in [502, 504, 500] {
        let world = World::with(hasty()).await;
        let fault = json!({"match": {"method": "POST", "path": CBR_RESTORE}, "applied": true,
            "answer": {"status": status, "headers": {"content-type": "text/html"}, "body": "<html>Bad Gateway</html>"}});
        let restore = under_fault(&world, fault).await;
        assert_eq!(restore["status"], "unknown");
        world
            .until(&id(&restore), |restore| {
                restore["status"] == "running" || restore["status"] == "succeeded"
            })
            .await;
        assert_eq!(world.sent().await.len(), 1);
        assert_eq!(world.applied().await.len(), 1);
        world.end().await;
    }
}

/// Another restore of the same backup, onto another disk, is no evidence: neither that this one runs nor how it ends.
#[tokio::test]
async fn what_another_restore_of_the_backup_does_is_not_taken_for_this_ones_doing() {
    let world = World::with(hasty()).await;
    world.behave(json!({"restore_seconds": 600, "extra_disks": 2})).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "/v2/*/cloudbackups/*/restore"},
            "answer": {"status": 502, "body": "<html>Bad Gateway</html>"}}]))
        .await;
    let taken = requests::extra_disk(0);
    let mut lost = requests::extra_disk(1);
    lost["source"] = taken["source"].clone();
    let lost = world.submit(&lost).await.json();
    assert_eq!(lost["status"], "unknown");
    let taken = id(&world.submit(&taken).await.json());
    let reads = async || {
        let backup = |seen: &&Value| seen["path"].to_string().contains("/backups/bac0bac0");
        world.arrived().await.iter().filter(backup).count()
    };
    let before = reads().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while reads().await < before + 2 {
        assert!(tokio::time::Instant::now() < end, "nobody looks at the backup");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.advance(601).await;
    world.until_status(&taken, "succeeded").await;
    let lost = world.until(&id(&lost), |restore| restore["needs_operator"] == true).await;
    assert_eq!(lost["status"], "unknown", "{lost}");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f18_an_error_before_the_backend_ends_as_not_applied() {
    let world = World::with(hasty()).await;
    let fault =
        json!({"match": {"method": "POST", "path": CBR_RESTORE}, "answer": {"status": 503, "body_raw": ""}});
    let restore = under_fault(&world, fault).await;
    assert_eq!(restore["status"], "unknown");
    let restore = world.until_status(&id(&restore), "not_applied").await;
    assert!(restore["finished_at"].is_string());
    assert_eq!(restore["error"]["effect"], "none", "that nothing happened is proven: {restore}");
    assert!(world.applied().await.is_empty());
    // And then the target is free again.
    let again = world.submit(&requests::cbr_server()).await;
    assert_eq!((again.status, again.json()["status"].as_str()), (202, Some("running")));
    world.end().await;
}

#[tokio::test]
async fn f19_throttling_is_waited_out_within_bounds() {
    for retry_after in ["1", "1000000000", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let world = World::with(hasty().set("submit.max_retry_after_seconds", "1")).await;
        world
            .faults(json!([{"match": {"method": "POST", "path": CBR_RESTORE},
                "answer": {"status": 429, "headers": {"retry-after": retry_after},
                           "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}]))
            .await;
        let answer = world.submit(&requests::cbr_server()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let restore = answer.json();
        assert_eq!((restore["status"].as_str(), restore["attempts"].as_u64()), (Some("running"), Some(2)));
        assert_eq!(world.sent().await.len(), 2);
        assert_eq!(world.applied().await.len(), 1, "retry-after {retry_after}: one effective restore");
        let history = world.history(&id(&restore)).await;
        let written: Vec<_> =
            history.iter().filter(|w| matches!(w.as_str(), "submitting" | "not_sent")).collect();
        assert_eq!(
            written,
            ["submitting", "not_sent", "submitting"],
            "each repetition is written down first"
        );
        world.end().await;
    }
}

#[tokio::test]
async fn f19_throttling_that_does_not_end_is_a_refusal() {
    let world = World::with(hasty()).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": CBR_RESTORE}, "times": 0,
            "answer": {"status": 429, "headers": {"retry-after": "0"},
                       "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}]))
        .await;
    let answer = world.submit(&requests::cbr_server()).await;
    let problem = answer.json();
    assert_eq!(
        (answer.status, problem["code"].as_str(), problem["effect"].as_str()),
        (429, Some("upstream_throttled"), Some("none"))
    );
    assert_eq!(world.sent().await.len(), 3, "three sends at most");
    assert!(world.applied().await.is_empty());
    world.end().await;
}

/// In pass-through there is nothing to refresh a token with, which only credentials of the gateway's own
/// have: who is refused learns it at once, and the cloud is not asked a second time.
#[tokio::test]
async fn f20_a_token_that_is_refused_costs_one_call_however_many_bring_it() {
    const MANY: usize = 100;
    let world = World::with(hasty().routes(ONE_CALL)).await;
    world.behave(json!({"extra_disks": MANY})).await;
    let request = |number| requests::extra_disk(number).to_string();
    let headers = [("x-auth-token", "expired"), ("content-type", "application/json")];
    let url = world.url("/api/v1/restores");
    let refused = (0..MANY).map(|number| world.http.send(Method::POST, &url, &headers, request(number)));
    let refused = futures_util::future::join_all(refused).await;
    for answer in &refused {
        let problem = answer.json();
        assert_eq!(
            (answer.status, problem["code"].as_str()),
            (401, Some("upstream_unauthorized")),
            "{problem}"
        );
        assert_eq!((problem["effect"].as_str(), problem["retry"].as_str()), (Some("none"), Some("never")));
    }
    let restore = refused[0].json()["restore"].as_str().map(str::to_owned).expect("a link");
    let restore = world.get(&restore).await.json();
    assert_eq!((restore["status"].as_str(), restore["attempts"].as_u64()), (Some("rejected"), Some(1)));
    assert_eq!((world.sent().await.len(), world.arrived().await.len()), (MANY, MANY), "one call each");
    assert!(world.applied().await.is_empty());
    // With a good one, it is done.
    let good = [("x-auth-token", ids::TOKEN), headers[1]];
    assert_eq!(world.http.send(Method::POST, &url, &good, request(0)).await.status, 202);
    world.end().await;
}

#[tokio::test]
async fn f22_every_form_of_acceptance() {
    for (form, expected) in [
        ("empty", "running"),
        ("chunked_empty", "running"),
        ("no_content_type", "running"),
        ("job_id", "running"),
        ("ok_object", "running"),
        ("html", "unknown"),
    ] {
        let world = World::with(hasty()).await;
        world.behave(json!({"cbr_202": form})).await;
        let answer = world.submit(&requests::cbr_server()).await;
        let restore = answer.json();
        assert_eq!((answer.status, restore["status"].as_str()), (202, Some(expected)), "{form}: {restore}");
        if form == "html" {
            let kept = restore["error"]["upstream"]["message"].as_str().unwrap_or_default();
            assert!(!kept.is_empty(), "what was answered is kept: {restore}");
        }
        world.until_status(&id(&restore), "succeeded").await;
        assert_eq!(world.sent().await.len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn f23_a_csbs_200_that_says_fail_is_a_failure_with_its_reason() {
    let world = World::with(hasty()).await;
    world.behave(json!({"csbs_answer": "fail"})).await;
    let answer = world.submit(&requests::csbs_server()).await;
    let restore = answer.json();
    assert_eq!((answer.status, restore["status"].as_str()), (200, Some("failed")), "{restore}");
    assert_eq!(restore["error"]["code"], "restore_failed");
    assert!(!restore["error"]["upstream"]["message"].as_str().unwrap_or_default().is_empty(), "{restore}");
    world.end().await;
}

#[tokio::test]
async fn f24_the_published_sample_that_is_no_json_is_neither_failed_nor_resent() {
    let world = World::with(hasty()).await;
    world.behave(json!({"csbs_answer": "published_sample"})).await;
    let answer = world.submit(&requests::csbs_server()).await;
    let restore = answer.json();
    assert_eq!((answer.status, restore["status"].as_str()), (202, Some("unknown")), "{restore}");
    let restore = world.until_status(&id(&restore), "succeeded").await;
    assert_eq!(restore["evidence"]["kind"], "item_state");
    assert_eq!(world.sent().await.len(), 1);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f25_a_task_that_appears_late_is_not_given_up_early() {
    let world = World::with(
        hasty()
            .set("polling.absence_confirmation_seconds", "20")
            .set("polling.operator_escalation_seconds", "60"),
    )
    .await;
    // Over before the first read, and not in the list for 90 s of the clouds' time.
    world.behave(json!({"cbr_oplog_lag_seconds": 90, "restore_seconds": 0})).await;
    let stall = json!({"match": {"method": "POST", "path": CBR_RESTORE}, "stall": true, "applied": true});
    let restore = under_fault(&world, stall).await;
    let id = id(&restore);
    // Absent three times over, and still unknown.
    let path = format!("/api/v1/restores/{id}/events");
    let looked = async {
        loop {
            let events = world.get(&path).await.json();
            let words = restore_tests::world::words(&events["events"], "event");
            if words.iter().filter(|word| *word == "not_found").count() >= 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looked).await.expect("three absent reads");
    assert_eq!(world.get(&format!("/api/v1/restores/{id}")).await.json()["status"], "unknown");
    world.advance(100).await;
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 1);
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f27_what_ended_before_the_first_read_has_succeeded() {
    for request in [requests::cbr_server(), requests::free_disk()] {
        let world = World::with(hasty()).await;
        world.behave(json!({"restore_seconds": 0})).await;
        let answer = world.submit(&request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        world.until_status(&id(&answer.json()), "succeeded").await;
        world.end().await;
    }
}

#[tokio::test]
async fn f27_csbs_does_not_claim_success_it_has_not_seen() {
    // Back at `available` before the first read, without a marker: with the optional read of a
    // restore it is known, without it nobody can say.
    let world = World::with(hasty().set("polling.visibility_grace_seconds", "0")).await;
    world.behave(json!({"restore_seconds": 0, "csbs_restores_read": true})).await;
    let answer = world.submit(&requests::csbs_server()).await;
    let restore = world.until_status(&id(&answer.json()), "succeeded").await;
    assert_eq!(restore["evidence"]["strength"], "strong");
    world.end().await;

    let world = World::with(hasty().set("polling.visibility_grace_seconds", "0")).await;
    world.behave(json!({"restore_seconds": 0})).await;
    let answer = world.submit(&requests::csbs_server()).await;
    let restore = world.until(&id(&answer.json()), |restore| restore["needs_operator"] == true).await;
    assert_eq!(restore["status"], "unknown");
    // Its locks are kept.
    let again =
        world.post_with("/api/v1/restores", &requests::csbs_server(), &[("idempotency-key", "other")]).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("target_busy")));
    world.end().await;
}

#[tokio::test]
async fn a_short_restore_is_seen_by_the_generations_own_rhythm() {
    // No interval in the configuration: CSBS would be read every 10 s, and this restore lasts 2 s.
    let world = World::with(TestConfig::default().without("polling.interval_seconds")).await;
    let answer = world.submit(&requests::csbs_server()).await;
    world.until_status(&id(&answer.json()), "succeeded").await;
    world.end().await;
}

#[tokio::test]
async fn a_throttled_restore_that_waits_holds_nobody_up() {
    let routes = r#"
[[upstreams]]
name = "all"
generation = "cbr-v3"
endpoint = "{clouds}"
max_concurrency = 1
connect_timeout_seconds = 1
[[routes]]
upstream = "all"
baseline_read = false
"#;
    let config = TestConfig::default().set("submit.max_retry_after_seconds", "3").routes(routes);
    let world = World::with(config).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": CBR_RESTORE},
            "answer": {"status": 429, "headers": {"retry-after": "3"},
                       "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}]))
        .await;
    let (server, disk) = (requests::cbr_server(), requests::free_disk());
    let (throttled, other) = tokio::join!(world.submit(&server), async {
        world.until_sent(1).await;
        world.submit(&disk).await
    });
    assert_eq!(other.status, 202, "{}", other.text());
    assert_eq!((throttled.status, throttled.json()["attempts"].as_u64()), (202, Some(2)));
    world.end().await;
}

#[tokio::test]
async fn f28_every_word_of_the_operation_log() {
    for (word, expected) in
        [("failed", "failed"), ("skipped", "failed"), ("timeout", "failed"), ("success", "succeeded")]
    {
        let world = World::with(hasty()).await;
        world.behave(json!({"next_restore": {"status": word, "error_code": "BackupService.9910", "error_msg": "because"}})).await;
        let answer = world.submit(&requests::cbr_server()).await;
        let restore = world.until(&id(&answer.json()), |restore| restore["finished_at"].is_string()).await;
        assert_eq!(restore["status"], expected, "{word}");
        assert_eq!(restore["upstream"]["status"], word);
        if expected == "failed" {
            assert_eq!(restore["error"]["code"], "restore_failed");
            assert_eq!(restore["error"]["upstream"]["message"], "because", "{restore}");
            let effect = if word == "skipped" { "none" } else { "possible" };
            assert_eq!(restore["error"]["effect"], effect, "{word}");
        }
        world.end().await;
    }

    let world = World::with(hasty()).await;
    world.behave(json!({"next_restore": {"status": "SOMETHING_NEW"}})).await;
    let answer = world.submit(&requests::cbr_server()).await;
    let id = id(&answer.json());
    let restore = world.until(&id, |restore| restore["upstream"]["status"] == "SOMETHING_NEW").await;
    assert_eq!(restore["status"], "running");
    assert!(world.history(&id).await.contains(&"anomaly".to_owned()), "it warns");
    world.end().await;
}

#[tokio::test]
async fn f29_a_task_that_vanishes_is_unknown_and_not_failed() {
    for request in [requests::cbr_server(), requests::free_disk()] {
        let world = World::with(hasty()).await;
        world.behave(json!({"restore_seconds": 7200, "tasks_vanish_after_seconds": 3600})).await;
        let answer = world.submit(&request).await;
        let id = id(&answer.json());
        world.until(&id, |restore| restore["upstream"]["task"].is_object()).await;
        // Seen at least once, then gone.
        world
            .until(&id, |restore| {
                restore["evidence"]["kind"] != "answer" || restore["upstream"]["status"] != "INIT"
            })
            .await;
        world.advance(3601).await;
        let restore = world.until_status(&id, "unknown").await;
        assert!(restore["finished_at"].is_null());
        world.end().await;
    }
}

#[tokio::test]
async fn the_gateways_own_answer_is_never_a_504() {
    // Ambiguity is 202 whatever the generation; an SDK that sees 502 or 504 would restore again.
    for (request, path) in [
        (requests::cbr_server(), CBR_RESTORE),
        (requests::csbs_server(), "/v1/*/restores"),
        (requests::free_disk(), "/v2/*/cloudbackups/*/restore"),
    ] {
        for applied in [true, false] {
            let world = World::with(hasty()).await;
            world
                .faults(json!([{"match": {"method": "POST", "path": path}, "applied": applied,
                    "answer": {"status": 504, "body": "<html>504 Gateway Time-out</html>"}}]))
                .await;
            let answer = world.submit(&request).await;
            assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("unknown")), "{path}");
            assert_eq!(world.sent().await.len(), 1);
            world.end().await;
        }
    }
}

/// Whether the peer's end of the connection is noticed before the first byte is for the kernel to
/// say. If it is, another connection is taken; if not, nobody knows. Twice it is never sent.
#[tokio::test]
async fn f16_a_pooled_connection_that_the_peer_has_closed_doubles_no_restore() {
    const RESTORES: usize = 20;
    let world = World::with(hasty()).await;
    world.behave(json!({"restore_seconds": 60, "extra_disks": RESTORES})).await;
    // The read before each restore is the last that its connection is good for, without a word.
    world.faults(json!([{"match": {"method": "GET"}, "times": 0, "close_idle": true}])).await;
    let mut running = 0;
    for number in 0..RESTORES {
        let answer = world.submit(&requests::extra_disk(number)).await;
        let restore = answer.json();
        // The read before it met two dead connections in a row: nothing was sent.
        if answer.status == 503 && restore["effect"] == "none" {
            continue;
        }
        assert_eq!(answer.status, 202, "{restore}");
        assert!(restore["status"] == "running" || restore["error"]["code"] == "outcome_unknown", "{restore}");
        running += usize::from(restore["status"] == "running");
        let sends = world.history(&id(&restore)).await.iter().filter(|word| *word == "not_sent").count();
        let attempts = restore["attempts"].as_u64().unwrap_or_default();
        assert_eq!(attempts, sends as u64 + 1, "each further one on a proof: {restore}");
    }
    assert!(running > 0, "none came through");
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (running, running));
    world.end().await;
}
