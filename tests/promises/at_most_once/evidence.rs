//! Whose restore is it, and what proves it: somebody else at the console, clocks that differ, backups that
//! vanish. What the clouds say decides; what they do not say is not made up.

use std::time::Duration;

use http::Method;
use restore_tests::{Answer, TestConfig, World, WrongClock, ids, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(40);
const CBR_RESTORE: &str = "/v3/*/backups/*/restore";
const OPERATION_LOGS: &str = "/v3/*/operation-logs";

/// A gateway that looks often and concludes late.
fn patient() -> TestConfig {
    with_baseline(true)
}

/// The same, for CBR with or without the reads before a send.
fn with_baseline(baseline: bool) -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "30")
        .set("polling.operator_escalation_seconds", "60")
        .routes(&format!(
            r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{{clouds}}"
send_timeout_seconds = 1
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{{clouds}}"
send_timeout_seconds = 1
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{{clouds}}/vbs"
send_timeout_seconds = 1
[[routes]]
match = {{ backup_ids = ["{}"] }}
upstream = "csbs"
[[routes]]
match = {{ target_types = ["volume"] }}
upstream = "vbs"
[[routes]]
upstream = "cbr"
baseline_read = {baseline}
"#,
            ids::CSBS_ITEM
        ))
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// The restore call of CBR is taken and never answered.
fn stalled(applied: bool) -> Value {
    json!([{"match": {"method": "POST", "path": CBR_RESTORE}, "stall": true, "applied": applied}])
}

/// Somebody restores the server from the console: the same backup onto the same target.
async fn console(world: &World) -> Answer {
    let wanted = requests::cbr_server();
    let body = json!({"restore": {"server_id": ids::SERVER, "mappings": wanted["target"]["volumes"]}});
    let url = format!("{}/v3/{}/backups/{}/restore", world.clouds.url(), ids::PROJECT, ids::CBR_BACKUP);
    let headers =
        [("x-auth-token", ids::TOKEN), ("content-type", "application/json"), ("user-agent", "console")];
    world.http.send(Method::POST, &url, &headers, body.to_string()).await
}

/// The restore calls that the gateway made.
async fn ours(world: &World) -> usize {
    let sent = world.sent().await;
    sent.iter().filter(|request| request["headers"]["user-agent"] != "console").count()
}

/// The events of a restore's history with this word.
async fn told(world: &World, id: &str, word: &str) -> Vec<Value> {
    let events = world.get(&format!("/api/v1/restores/{id}/events")).await.json();
    let events = events["events"].as_array().cloned().unwrap_or_default();
    events.into_iter().filter(|event| event["event"] == word).collect()
}

/// Waits until the clouds have got so many reads of this path more.
async fn until_read_again(world: &World, path: &str, times: usize) {
    let reads = async || {
        let arrived = world.arrived().await;
        let of_it = |request: &&Value| {
            request["method"] == "GET" && request["path"].as_str().is_some_and(|read| read.contains(path))
        };
        arrived.iter().filter(of_it).count()
    };
    let (before, end) = (reads().await, Instant::now() + DEADLINE);
    while reads().await < before + times {
        assert!(Instant::now() < end, "{path} is not read any more");
        tokio::time::sleep(LOOK).await;
    }
}

/// That the log is the one of `task`, that nobody can be sure of it, and that the history says so.
async fn attached_and_unsure(world: &World, restore: &Value, task: &Value) {
    assert_eq!(&restore["upstream"]["task"]["id"], task, "{restore}");
    assert_eq!(restore["evidence"]["strength"], "ambiguous", "{restore}");
    let warned = told(world, &id(restore), "anomaly").await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0]["evidence"]["strength"], "ambiguous");
    assert_eq!(ours(world).await, 1, "nothing was sent again");
}

#[tokio::test]
async fn f26_a_restore_from_the_console_while_ours_is_unknown_makes_it_ambiguous_and_nothing_is_resent() {
    // Ours was applied and is over; the console's follows before the list shows either.
    let world = World::with(patient()).await;
    world.behave(json!({"restore_seconds": 0, "cbr_oplog_lag_seconds": 90})).await;
    world.faults(stalled(true)).await;
    let unknown = world.submit(&requests::cbr_server()).await.json();
    assert_eq!(unknown["status"], "unknown", "{unknown}");
    assert_eq!(console(&world).await.status, 202);
    world.advance(100).await;
    let ended = world.until_status(&id(&unknown), "succeeded").await;
    let applied = world.applied().await;
    assert_eq!(applied.len(), 2);
    attached_and_unsure(&world, &ended, &applied[0]["task_id"]).await;
    world.end().await;

    // Ours was never applied; all there is to see is a restore that began long after our send.
    let world = World::with(patient()).await;
    world.faults(stalled(false)).await;
    let unknown = world.submit(&requests::cbr_server()).await.json();
    assert_eq!(unknown["status"], "unknown", "{unknown}");
    world.advance(120).await;
    assert_eq!(console(&world).await.status, 202);
    let ended = world.until_status(&id(&unknown), "succeeded").await;
    let applied = world.applied().await;
    assert_eq!(applied.len(), 1);
    attached_and_unsure(&world, &ended, &applied[0]["task_id"]).await;
    world.end().await;
}

#[tokio::test]
async fn f26_a_restore_from_the_console_while_ours_runs_is_ambiguous_without_the_request_id() {
    for own_id in [true, false] {
        let world = World::with(patient()).await;
        // Over in the cloud, and running as far as the gateway can see.
        world
            .behave(json!({"restore_seconds": 0, "cbr_oplog_lag_seconds": 90, "cbr_oplog_own_request_id": own_id}))
            .await;
        let running = world.submit(&requests::cbr_server()).await.json();
        assert_eq!(running["status"], "running", "{running}");
        assert_eq!(console(&world).await.status, 202);
        world.advance(100).await;
        let ended = world.until_status(&id(&running), "succeeded").await;
        let applied = world.applied().await;
        assert_eq!(applied.len(), 2);
        if own_id {
            attached_and_unsure(&world, &ended, &applied[0]["task_id"]).await;
        } else {
            assert_eq!(ended["upstream"]["task"]["id"], applied[0]["task_id"], "{ended}");
            assert_eq!(ended["evidence"]["strength"], "strong", "{ended}");
        }
        assert_eq!(ours(&world).await, 1);
        world.end().await;
    }
}

#[tokio::test]
async fn f26_a_restore_that_the_cloud_refuses_to_the_console_changes_nothing_of_ours() {
    let world = World::with(patient()).await;
    world.behave(json!({"restore_seconds": 60})).await;
    let running = world.submit(&requests::cbr_server()).await.json();
    world.until(&id(&running), |restore| restore["upstream"]["task"].is_object()).await;
    let refused = console(&world).await;
    assert_eq!((refused.status, &refused.json()["error_code"]), (400, &json!("BackupService.2010")));
    world.advance(61).await;
    let ended = world.until_status(&id(&running), "succeeded").await;
    assert_eq!(ended["evidence"]["strength"], "strong", "{ended}");
    assert_eq!((ours(&world).await, world.applied().await.len()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn f26_an_operation_log_of_one_restore_is_never_bound_to_another_one() {
    // Without the reads before a send only the ledger knows whose the first log is.
    let world = World::with(with_baseline(false).set("polling.absence_confirmation_seconds", "1")).await;
    let first = world.submit(&requests::cbr_server()).await.json();
    let first = world.until_status(&id(&first), "succeeded").await;
    assert!(first["upstream"]["task"]["id"].is_string());

    world.faults(stalled(false)).await;
    let second =
        world.post_with("/api/v1/restores", &requests::cbr_server(), &[("idempotency-key", "k")]).await;
    assert_eq!(second.json()["status"], "unknown", "{}", second.text());
    let second = world.until_status(&id(&second.json()), "not_applied").await;
    assert!(second["upstream"]["task"].is_null(), "{second}");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f30_a_gateway_whose_clock_is_ten_minutes_wrong_finds_its_restores() {
    for (seconds, baseline) in [(600, true), (-600, true), (590, false), (-600, false)] {
        let case = format!("{seconds} s, baseline {baseline}");
        let clock = WrongClock::by_seconds(seconds);
        let world = World::by_clock(with_baseline(baseline), &clock).await;
        world.behave(json!({"cbr_oplog_own_request_id": true})).await;
        world.faults(stalled(true)).await;
        let unknown = world.submit(&requests::cbr_server()).await.json();
        assert_eq!(unknown["status"], "unknown", "{case}: {unknown}");
        let ended = world.until_status(&id(&unknown), "succeeded").await;
        let applied = world.applied().await;
        assert_eq!(ended["upstream"]["task"]["id"], applied[0]["task_id"], "{case}: {ended}");
        // What the answers before the send told of the clouds' clock makes it sure.
        if baseline {
            assert_eq!(ended["evidence"]["strength"], "strong", "{case}: {ended}");
        }
        assert_eq!((ours(&world).await, applied.len()), (1, 1), "{case}");
        world.end().await;
    }
}

#[tokio::test]
async fn f30_a_clock_that_is_set_ends_nothing_early() {
    for seconds in [600, -600] {
        let clock = WrongClock::default();
        let config =
            patient().set("polling.overdue_seconds", "300").set("polling.operator_escalation_seconds", "300");
        let world = World::by_clock(config.set("polling.absence_confirmation_seconds", "200"), &clock).await;
        world.behave(json!({"restore_seconds": 7200, "extra_disks": 1})).await;
        let running = id(&world.submit(&requests::free_disk()).await.json());
        world.faults(stalled(false)).await;
        let unknown = id(&world.submit(&requests::cbr_server()).await.json());
        let end = Instant::now() + DEADLINE;
        while told(&world, &unknown, "not_found").await.len() < 3 {
            assert!(Instant::now() < end, "its absence is not noted");
            tokio::time::sleep(LOOK).await;
        }
        // One more is still being looked into before its send when the clock is set.
        world
            .faults(json!([{"match": {"method": "GET", "path": "/v2/*/backups/*"}, "delay_ms": 1000}]))
            .await;
        let disk = json!({
            "project_id": ids::PROJECT,
            "source": {"backup_id": "bac0bac0-0000-4000-8000-000000000000"},
            "target": {"type": "volume", "volume_id": "d15c0000-0000-4000-8000-000000000000"},
        });
        let (checked, ()) = tokio::join!(world.submit(&disk), async {
            until_read_again(&world, "/v2/", 1).await;
            clock.set_on_by(seconds);
        });
        assert_eq!(checked.json()["status"], "running", "{}", checked.text());
        until_read_again(&world, "/operation-logs", 3).await;
        until_read_again(&world, "/jobs/", 3).await;
        let unknown = world.get(&format!("/api/v1/restores/{unknown}")).await.json();
        assert_eq!((&unknown["status"], &unknown["needs_operator"]), (&json!("unknown"), &json!(false)));
        let running = world.get(&format!("/api/v1/restores/{running}")).await.json();
        assert_eq!((&running["status"], &running["overdue"]), (&json!("running"), &json!(false)));
        world.end().await;
    }
}

#[tokio::test]
async fn f30_a_signature_that_is_refused_while_the_clocks_differ_is_put_down_to_the_clock() {
    // In the clouds' own words; a caller whose token is a signature of his own gets them, too.
    let refused = |method: &str, path: &str| {
        json!([{"match": {"method": method, "path": path}, "answer": {"status": 401, "body":
            {"error_code": "APIGW.0301", "error_msg":
             "Incorrect IAM authentication information: verify aksk signature fail"}}}])
    };
    for (seconds, status, code) in
        [(600, 502, "clock_skew"), (-600, 502, "clock_skew"), (0, 401, "upstream_unauthorized")]
    {
        for (baseline, fault) in
            [(true, refused("GET", OPERATION_LOGS)), (false, refused("POST", CBR_RESTORE))]
        {
            let world = World::by_clock(with_baseline(baseline), &WrongClock::by_seconds(seconds)).await;
            world.faults(fault).await;
            let answer = world.submit(&requests::cbr_server()).await;
            let problem = answer.json();
            assert_eq!((answer.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
            assert_eq!((&problem["effect"], &problem["retry"]), (&json!("none"), &json!("never")));
            assert_eq!(problem["upstream"]["code"], "APIGW.0301", "{problem}");
            let restore = world.get(problem["restore"].as_str().unwrap_or_default()).await.json();
            assert_eq!(restore["status"], "rejected");
            assert!(world.applied().await.is_empty());
            world.end().await;
        }
    }
}

#[tokio::test]
async fn f37_after_its_backup_was_deleted_the_clouds_word_still_decides() {
    for (request, backup) in [(requests::cbr_server(), ids::CBR_BACKUP), (requests::free_disk(), ids::FREE.0)]
    {
        for (word, expected) in [("success", "succeeded"), ("failed", "failed")] {
            let world = World::with(patient()).await;
            world.behave(json!({"next_restore": {"status": word, "duration_seconds": 600}})).await;
            let running = id(&world.submit(&request).await.json());
            world.until(&running, |restore| restore["upstream"]["task"].is_object()).await;
            world.behave(json!({"deleted_backups": [backup]})).await;
            world.advance(601).await;
            let ended = world.until_status(&running, expected).await;
            assert_eq!(ended["evidence"]["strength"], "strong", "{ended}");
            world.end().await;
        }
    }
}

#[tokio::test]
async fn f37_a_restore_known_by_its_lost_backup_only_is_unknown_and_needs_an_operator() {
    let world = World::with(patient().set("polling.operator_escalation_seconds", "2")).await;
    world.behave(json!({"restore_seconds": 7200})).await;
    let running = id(&world.submit(&requests::csbs_server()).await.json());
    world.until(&running, |restore| restore["upstream"]["status"] == "waiting_restore").await;
    world.behave(json!({"deleted_backups": [ids::CSBS_ITEM]})).await;
    let lost = world.until(&running, |restore| restore["needs_operator"] == true).await;
    assert_eq!((&lost["status"], &lost["finished_at"]), (&json!("unknown"), &Value::Null), "{lost}");
    // Its disks are still held: nobody knows whether they are being written.
    let key = [("idempotency-key", "next")];
    let next = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await;
    assert_eq!((next.status, next.json()["code"].as_str()), (409, Some("target_busy")));
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f37_a_word_that_never_comes_is_an_alarm_and_no_end() {
    let late = |world: World, request: Value, backup: &'static str| async move {
        let running = id(&world.submit(&request).await.json());
        world.behave(json!({"deleted_backups": [backup]})).await;
        let overdue = world.until(&running, |restore| restore["overdue"] == true).await;
        assert_eq!((&overdue["status"], &overdue["finished_at"]), (&json!("running"), &Value::Null));
        let read = if backup == ids::FREE.0 { "/jobs/" } else { "/operation-logs" };
        until_read_again(&world, read, 3).await;
        let still = world.get(&format!("/api/v1/restores/{running}")).await.json();
        assert_eq!((&still["status"], &still["overdue"]), (&json!("running"), &json!(true)));
        assert_eq!(told(&world, &running, "overdue").await.len(), 1, "it is told once");
        world.end().await;
    };
    // Its task goes on for ever; and one whose task never shows up at all.
    for (request, backup, behaviour) in [
        (requests::free_disk(), ids::FREE.0, json!({"restore_seconds": 864_000})),
        (requests::cbr_server(), ids::CBR_BACKUP, json!({"restore_seconds": 864_000})),
        (requests::cbr_server(), ids::CBR_BACKUP, json!({"cbr_oplog_lag_seconds": 864_000})),
    ] {
        let world = World::with(patient().set("polling.overdue_seconds", "2")).await;
        world.behave(behaviour).await;
        late(world, request, backup).await;
    }
}

/// F48: one cloud under two names. A restore by the one name is no evidence of a restore by the other, although no list of
/// known tasks was made before the send.
#[tokio::test]
async fn f48_a_task_of_a_restore_by_another_name_of_the_cloud_is_not_taken() {
    let named = |name: &str| {
        let upstream = |name: &str| {
            format!(
                "[[upstreams]]\nname = \"{name}\"\ngeneration = \"cbr-v3\"\nendpoint = \"{{clouds}}\"\nsend_timeout_seconds = 1\n"
            )
        };
        let routes = format!(
            "{}{}[[routes]]\nupstream = \"{name}\"\nbaseline_read = false\n",
            upstream("a"),
            upstream("b")
        );
        patient()
            .set("polling.absence_confirmation_seconds", "1")
            .set("polling.visibility_grace_seconds", "1")
            .routes(&routes)
    };
    let world = World::with(named("a")).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let first = id(&world.submit(&requests::cbr_server()).await.json());
    world.until_status(&first, "succeeded").await;
    world.rewrite(named("b"));
    assert_eq!(world.reload().await.status, 200);
    world.faults(stalled(false)).await;
    let key = [("idempotency-key", "once-more")];
    let second = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await;
    assert_eq!(second.status, 202, "{}", second.text());
    let second = id(&second.json());
    let restore = world.until(&second, |restore| restore["finished_at"].is_string()).await;
    assert_eq!(restore["status"], "not_applied", "{restore}");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// F48: the restore of a server moves the backups of its disks, whatever generation carries it out: their state is no
/// evidence of a lost restore of such a backup onto another disk.
#[tokio::test]
async fn f48_a_servers_restore_is_no_evidence_for_one_of_its_disks_backups() {
    // Without block storage, which would tell the disks apart.
    let routes = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
send_timeout_seconds = 1
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#;
    let config = patient()
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "4");
    let world = World::with(config.routes(routes)).await;
    world.behave(json!({"restore_seconds": 3})).await;
    let disk = json!({
        "project_id": ids::PROJECT,
        "source": {"backup_id": ids::DATA.0},
        "target": {"type": "volume", "volume_id": ids::FREE.1},
    });
    let post = json!({"method": "POST", "path": "*/cloudbackups/*"});
    world.faults(json!([{"match": post, "stall": true, "applied": false}])).await;
    let lost = async { id(&world.submit(&disk).await.json()) };
    let server = async {
        world.until_sent(1).await;
        id(&world.submit(&requests::cbr_server()).await.json())
    };
    let (lost, server) = tokio::join!(lost, server);
    world.until_status(&server, "succeeded").await;
    let restore = world
        .until(&lost, |restore| restore["needs_operator"] == true || restore["finished_at"].is_string())
        .await;
    assert_eq!(
        (&restore["status"], &restore["needs_operator"]),
        (&json!("unknown"), &json!(true)),
        "{restore}"
    );
    let history = world.history(&lost).await;
    assert!(!history.contains(&"started".to_owned()), "{history:?}");
    world.end().await;
}

/// F50: an answer with a wrong `Date` widens no search for evidence: a task of the day before yesterday stays nobody's.
#[tokio::test]
async fn f50_a_wrong_date_makes_no_old_task_ours() {
    for date in
        ["Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"]
    {
        for baseline in [true, false] {
            let config = with_baseline(baseline)
                .set("polling.absence_confirmation_seconds", "1")
                .set("polling.visibility_grace_seconds", "1");
            let world = World::with(config).await;
            world.behave(json!({"restore_seconds": 1})).await;
            // Somebody's restore at the console, three days ago.
            let before = console(&world).await;
            assert_eq!(before.status, 202, "{}", before.text());
            world.advance(3 * 24 * 3_600).await;
            let clock = json!({"match": {"method": "POST", "path": CBR_RESTORE},
                "answer": {"status": 202, "body_raw": "", "headers": {"date": date}}, "applied": false});
            world.faults(json!([clock])).await;
            let submitted = world.submit(&requests::cbr_server()).await;
            assert_eq!(submitted.status, 202, "{}", submitted.text());
            let id = id(&submitted.json());
            until_read_again(&world, "/operation-logs", 3).await;
            let restore = world.get(&format!("/api/v1/restores/{id}")).await.json();
            assert_ne!(restore["status"], "succeeded", "{date}: {restore}");
            assert!(restore["upstream"]["task"].is_null(), "{date}: {restore}");
            world.end().await;
        }
    }
}
