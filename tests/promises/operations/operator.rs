//! What only a person decides: the end of a restore that reads cannot settle, and whether a ledger
//! that may be an old copy of itself can be trusted. And what a person is shown for that.

use std::path::Path;

use http::Method;
use restore_tests::{TestConfig, World, binary, ids, requests};
use serde_json::{Value, json};
use tokio::process::Command;

/// CBR and VBS; windows that a test can wait for.
pub(crate) fn hasty() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "2")
        .each_upstream("send_timeout_seconds = 1")
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().expect("an id").to_owned()
}

/// A restore that reads cannot settle: its answer never came, and VBS has no list.
pub(crate) async fn waiting(world: &World) -> Value {
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "stall": true, "applied": false}]))
        .await;
    let submitted = world.submit(&requests::free_disk()).await.json();
    world.until(&id(&submitted), |restore| restore["needs_operator"] == true).await
}

/// The binary's own command line, in a folder.
async fn command(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let out = Command::new(binary()).args(words).current_dir(folder).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

/// A decision bears the state that it is about, so that one about an earlier state ends nothing.
#[tokio::test]
async fn resolution_of_an_older_state_is_refused() {
    let world = World::with(hasty()).await;
    let restore = waiting(&world).await;
    let path = format!("/restores/{}", id(&restore));
    let tag = world.admin(&path).await.header("etag").to_owned();
    let seen: u32 = tag.trim_matches('"').parse().expect("a number");
    let word = json!({"as": "not_applied", "by": "ada", "reason": "looked at the disk"}).to_string();
    let decide = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        let url = format!("http://{}{path}/resolution", world.gateway.admin());
        world.http.send(Method::POST, &url, &headers, word.clone()).await
    };
    let stale = decide(&format!("\"{}\"", seen - 1)).await;
    assert_eq!((stale.status, &stale.json()["code"]), (412, &json!("restore_changed")), "{}", stale.text());
    for odd in ["3", "\"x\"", "W/\"3\""] {
        assert_eq!(decide(odd).await.status, 400, "{odd}");
    }
    assert_eq!(world.admin(&path).await.json()["status"], "unknown");
    assert_eq!(decide(&tag).await.json()["status"], "not_applied");
}

#[tokio::test]
async fn what_reads_cannot_settle_a_person_ends_and_it_is_recorded_for_ever() {
    for (word, status) in [("applied", "succeeded"), ("not_applied", "not_applied")] {
        let world = World::with(hasty()).await;
        let restore = waiting(&world).await;
        assert_eq!((&restore["status"], &restore["finished_at"]), (&json!("unknown"), &Value::Null));
        // It holds its target until then.
        let key = [("idempotency-key", "another")];
        let other = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
        assert_eq!((other.status, &other.json()["code"]), (409, &json!("target_busy")));
        let attention = world.admin("/triage").await.json();
        assert_eq!(attention["needs_operator"][0]["id"], restore["id"], "{attention}");

        let path = format!("/restores/{}/resolution", id(&restore));
        let said = json!({"as": word, "by": "ada", "reason": "looked at the disk"});
        let ended = world.decide(&path, &said).await;
        assert_eq!((ended.status, ended.json()["status"].as_str()), (200, Some(status)), "{}", ended.text());
        assert_eq!(ended.json()["needs_operator"], false);
        assert_eq!(ended.json()["evidence"]["kind"], "operator");
        let events = world.get(&format!("/api/v1/restores/{}/events", id(&restore))).await.json();
        let last = events["events"].as_array().and_then(|events| events.last()).cloned().expect("an event");
        assert_eq!(
            (&last["event"], &last["cause"], &last["by"], &last["reason"]),
            (&json!("resolved"), &json!("operator"), &json!("ada"), &json!("looked at the disk"))
        );

        // Once and for all: a second word is refused, and the target is free.
        let again = world.decide(&path, &said).await;
        assert_eq!((again.status, &again.json()["code"]), (409, &json!("not_resolvable")));
        let next = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
        assert_eq!(next.status, 202, "{}", next.text());
        assert_eq!(world.admin("/triage").await.json()["needs_operator"], json!([]));
        world.end().await;
    }
}

#[tokio::test]
async fn what_reads_can_still_settle_is_not_a_persons_to_end() {
    let world = World::new().await;
    let running = world.submit(&requests::free_disk()).await.json();
    let path = format!("/restores/{}/resolution", id(&running));
    let refused = world.decide(&path, &json!({"as": "applied", "by": "ada", "reason": "hurry"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("not_resolvable")));
    let none = "/restores/0199a7c4-0000-7000-8000-000000000000/resolution";
    assert_eq!(world.decide(none, &json!({"as": "applied", "by": "a", "reason": "b"})).await.status, 404);
    for (body, why) in [
        (json!({"as": "applied", "by": "ada"}), "a reason is missing"),
        (json!({"as": "applied", "by": " ", "reason": "x"}), "nobody decides"),
        (json!({"as": "applied", "by": "a\nb", "reason": "x"}), "two lines"),
        (json!({"as": "maybe", "by": "ada", "reason": "x"}), "no such word"),
        (json!({"as": "applied", "by": "ada", "reason": "x", "force": true}), "an unknown member"),
    ] {
        assert_eq!(world.decide(&path, &body).await.status, 422, "{why}");
    }
    world.until_status(&id(&running), "succeeded").await;
    world.end().await;
}

#[tokio::test]
async fn s21_what_changes_anything_is_a_post_of_json_from_this_machine() {
    let world = World::with(hasty()).await;
    let restore = waiting(&world).await;
    let path = format!("/restores/{}/resolution", id(&restore));
    let url = format!("http://{}{path}", world.gateway.admin());
    let body = json!({"as": "not_applied", "by": "page", "reason": "on the web"}).to_string();
    let json = ("content-type", "application/json");
    for (method, headers, status) in [
        (Method::GET, vec![json], 405),
        (Method::PUT, vec![json], 405),
        (Method::POST, vec![json, ("host", "rebound.example")], 403),
        (Method::POST, vec![json, ("origin", "http://evil.example")], 403),
        (Method::POST, vec![json, ("origin", "null")], 403),
        (Method::POST, vec![("content-type", "text/plain")], 415),
        (Method::POST, vec![], 415),
    ] {
        let answer = world.http.send(method.clone(), &url, &headers, body.clone()).await;
        assert_eq!(answer.status, status, "{method} {headers:?}: {}", answer.text());
    }
    let kept = world.get(&format!("/api/v1/restores/{}", id(&restore))).await.json();
    assert_eq!(kept["needs_operator"], true, "nothing was changed");
    world.end().await;
}

#[tokio::test]
async fn the_command_line_says_it_as_well() {
    let mut world = World::serve(hasty()).await;
    let restore = waiting(&world).await;
    let admin = format!("http://{}", world.gateway.admin());
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let (code, out, _) = command(here, &["restore", "triage", "--admin-url", &admin]).await;
    assert!(code == 1 && out.contains(&id(&restore)), "{out}");
    let resolve =
        ["restore", "resolve", &id(&restore), "--as", "not-applied", "--by", "ada", "--reason", "no job"];
    let (code, out, error) = command(here, &[&resolve[..], &["--admin-url", &admin]].concat()).await;
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("\"status\": \"not_applied\""), "{out}");
    let (code, _, error) = command(here, &[&resolve[..], &["--admin-url", &admin]].concat()).await;
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("cannot be resolved by an operator"), "{error}");
    let (code, out, _) = command(here, &["restore", "triage", "--admin-url", &admin]).await;
    assert_eq!(code, 0, "nothing waits any more: {out}");
    let (code, _, error) = command(here, &["restore", "triage", "--admin-url", "http://127.0.0.1:9"]).await;
    assert!(code == 5 && error.contains("--admin-url"), "{error}");
    world.ended_by("TERM").await;
    world.end().await;
}

/// A gateway with a restore that a copy of its ledger has and one that it has not; the first restore
/// and the copy.
async fn gone_on_after_a_copy() -> (World, Value, Vec<u8>) {
    let mut world = World::serve(hasty()).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let first = world.submit(&requests::free_disk()).await.json();
    world.until_status(&id(&first), "succeeded").await;
    let (_, _, folder) = world.ended_by("TERM").await;
    let copy = std::fs::read(folder.path().join("ledger.db")).expect("the ledger");
    world.again_in(folder).await;
    let second = world.submit(&requests::cbr_server()).await.json();
    world.until_status(&id(&second), "succeeded").await;
    (world, first, copy)
}

#[tokio::test]
async fn f41_an_older_copy_of_the_ledger_is_noticed_and_nothing_is_sent_until_a_person_confirms() {
    let (mut world, first, copy) = gone_on_after_a_copy().await;
    let (_, _, folder) = world.ended_by("TERM").await;
    std::fs::write(folder.path().join("ledger.db"), copy).expect("the copy is put back");
    for rest in ["ledger.db-wal", "ledger.db-shm"] {
        let _gone_already = std::fs::remove_file(folder.path().join(rest));
    }
    world.again_in(folder).await;

    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("recovery"), "{}", ready.text());
    let recovery = world.admin("/recovery").await.json();
    assert_eq!(recovery["recovery"], true, "{recovery}");
    // The very request that the lost part of the ledger would have answered.
    let refused = world.submit(&requests::cbr_server()).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("recovery_mode")));
    assert_eq!(refused.json()["effect"], "none");
    assert_eq!(world.applied().await.len(), 2, "nothing was sent");
    // What is known can be looked at.
    let known = world.get(&format!("/api/v1/restores/{}", id(&first))).await;
    assert_eq!((known.status, &known.json()["status"]), (200, &json!("succeeded")));

    // What the copy lacks, the cloud's own list has.
    let admin = format!("http://{}", world.gateway.admin());
    let here = world.process().folder().to_owned();
    let audit = ["recovery", "audit", "--upstream", "cbr", "--project", ids::PROJECT];
    let rest = ["--since", "2020-01-01T00:00:00Z", "--token", ids::TOKEN, "--admin-url", &admin];
    let (code, out, error) = command(&here, &[&audit[..], &rest[..]].concat()).await;
    assert_eq!(code, 0, "{error}");
    let listed: Value = serde_json::from_str(&out).expect("JSON");
    let listed = listed["unknown_to_ledger"].as_array().expect("a list");
    assert_eq!((listed.len(), &listed[0]["target_id"]), (1, &json!(ids::SERVER)), "{out}");
    assert_eq!(listed[0]["status"], "success");
    let vbs = ["recovery", "audit", "--upstream", "vbs", "--project", ids::PROJECT];
    let (code, _, error) = command(&here, &[&vbs[..], &rest[..]].concat()).await;
    assert!(code == 3 && error.contains("has no list of restores"), "{error}");

    // A restart does not end it, and a person's word does.
    let (_, _, folder) = world.ended_by("TERM").await;
    world.again_in(folder).await;
    assert_eq!(world.admin("/recovery").await.json()["recovery"], true);
    let said = json!({"by": "ada", "reason": "compared with the task list"});
    let confirmed = world.decide("/recovery/confirmation", &said).await;
    assert_eq!((confirmed.status, &confirmed.json()["recovery"]), (200, &json!(false)));
    assert_eq!(world.decide("/recovery/confirmation", &said).await.status, 409);
    assert_eq!(world.admin("/readyz").await.status, 200);
    let again = world.submit(&requests::cbr_server()).await;
    assert_eq!(again.status, 202, "{}", again.text());
    // What the ledger knows is not listed.
    world.until(&id(&again.json()), |restore| restore["upstream"]["task"].is_object()).await;
    let admin = format!("http://{}", world.gateway.admin());
    let rest = ["--since", "2020-01-01T00:00:00Z", "--token", ids::TOKEN, "--admin-url", &admin];
    let here = world.process().folder().to_owned();
    let (_, out, _) = command(&here, &[&audit[..], &rest[..]].concat()).await;
    assert_eq!(out.matches("\"task\"").count(), 1, "{out}");
    let (_, _, folder) = world.ended_by("TERM").await;
    world.again_in(folder).await;
    assert_eq!(world.admin("/recovery").await.json()["recovery"], false);
    world.end().await;
}

#[tokio::test]
async fn f41_an_older_copy_beside_the_log_of_the_file_before_it_is_refused() {
    let (mut world, _, copy) = gone_on_after_a_copy().await;
    // Killed, it leaves its log behind; and it starts with that as it should.
    let (_, _, folder) = world.ended_by("KILL").await;
    world.again_in(folder).await;
    assert_eq!(world.admin("/recovery").await.json()["recovery"], false);
    let (_, _, folder) = world.ended_by("KILL").await;
    assert!(folder.path().join("ledger.db-wal").exists());
    std::fs::write(folder.path().join("ledger.db"), copy).expect("the copy is put back");

    let toml = std::fs::read_to_string(folder.path().join("gateway.toml")).expect("the settings");
    let started = restore_tests::Process::try_serve_in(folder, &toml, &[]).await;
    let Err((folder, log)) = started else { panic!("two files were made into one") };
    assert!(log.contains("ledger.db-wal") && log.contains("was left beside it"), "{log}");
    for rest in ["ledger.db-wal", "ledger.db-shm"] {
        std::fs::remove_file(folder.path().join(rest)).expect("taken away as it says");
    }
    world.again_in(folder).await;
    assert_eq!(world.admin("/recovery").await.json()["recovery"], true);
    world.end().await;
}

#[tokio::test]
async fn f41_in_recovery_what_a_copy_calls_unsent_is_unknown_until_reads_tell() {
    // Two that were accepted and not sent when the copy was made; one of them was sent after that.
    let mut world = World::serve_with(hasty(), &[("RESTORE_GATEWAY_CRASH_AT", "accepted")]).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let body = requests::cbr_server().to_string();
    assert!(world.http.try_send(Method::POST, &url, &headers, body).await.is_err());
    let folder = world.crashed().await;
    let toml = std::fs::read_to_string(folder.path().join("gateway.toml")).expect("the settings");
    let started =
        restore_tests::Process::try_serve_in(folder, &toml, &[("RESTORE_GATEWAY_RECOVERY", "true")]);
    let Ok(process) = started.await else { panic!("it does not come up") };
    world.gateway = restore_tests::world::Running::Process(Box::new(process));

    let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await.json();
    let restore = list["restores"][0].clone();
    assert_eq!((&restore["status"], &restore["attempts"]), (&json!("unknown"), &json!(0)), "{restore}");
    // The same request is the same restore, and is not sent; reads prove that it never was.
    assert_eq!(world.submit(&requests::cbr_server()).await.status, 503);
    world.until_status(&id(&restore), "not_applied").await;
    assert!(world.sent().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_ledger_is_exported_checked_and_vacuumed_from_the_command_line() {
    let mut world = World::serve(hasty()).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    world.until_status(&id(&restore), "succeeded").await;
    let folder = world.process().folder().to_owned();

    // Beside the gateway that has it open.
    let (code, out, error) = command(&folder, &["ledger", "export", "--config", "gateway.toml"]).await;
    assert_eq!(code, 0, "{error}");
    let lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert!(lines.iter().all(|line| line["restore_id"] == restore["id"]));
    assert_eq!(lines[0]["intent"]["request"]["target"], restore["target"]);
    let words: Vec<_> =
        lines.iter().map(|line| line["event"]["event"].as_str().unwrap_or_default()).collect();
    assert_eq!((words[0], *words.last().expect("events")), ("accepted", "succeeded"), "{words:?}");
    assert!(!out.contains(ids::TOKEN));
    let (code, out, error) = command(&folder, &["ledger", "check", "--config", "gateway.toml"]).await;
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("1 restores") && out.contains(" 0 errors"), "{out}");
    // What writes waits until the gateway is gone.
    let (code, _, error) = command(&folder, &["ledger", "vacuum", "--config", "gateway.toml"]).await;
    assert!(code == 1 && error.contains("another gateway"), "{error}");

    let (_, _, folder) = world.ended_by("TERM").await;
    let here = folder.path();
    let (code, _, error) = command(here, &["ledger", "vacuum", "--config", "gateway.toml"]).await;
    assert_eq!(code, 0, "{error}");
    world.end().await;
}

/// What touches the gateway as a whole is for those whose policy has no limits; what is of one project is for its own.
#[tokio::test]
async fn an_operator_of_one_project_is_none_for_the_whole_gateway() {
    let caller = |name: &str, limits: &str| {
        let hash = crate::auth::callers::hash(&format!("rgk_{name}"));
        format!(
            "[[callers]]\nname = \"{name}\"\ntype = \"api-key\"\nlisteners = [\"admin\"]\nkey_hash = \"{hash}\"\n\
             [[policies]]\ncallers = [\"{name}\"]\nactions = [\"resolve\", \"read-any\"]\n{limits}\n"
        )
    };
    let of_project = format!("match = {{ project_ids = [\"{}\"] }}", ids::PROJECT);
    let config = hasty()
        .and(&caller("all", ""))
        .and(&caller("ours", &of_project))
        .and(&caller("some", "upstreams = [\"cbr\"]"));
    let world = World::with(config).await;
    let ask = async |key: &str, method: Method, path: &str, body: &str| {
        let headers =
            [("x-api-key", key), ("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        let url = format!("http://{}{path}", world.gateway.admin());
        world.http.send(method, &url, &headers, body.to_owned()).await
    };
    let word = r#"{"by": "ada", "reason": "the copy is whole"}"#;
    for (path, body, good) in [
        ("/config/reload", "{}", 200),
        ("/log-level", r#"{"level": "debug", "minutes": 1}"#, 200),
        // There is no recovery to confirm, which an operator of it all is told.
        ("/recovery/confirmation", word, 409),
    ] {
        for limited in ["rgk_ours", "rgk_some"] {
            let answer = ask(limited, Method::POST, path, body).await;
            assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")), "{path}");
        }
        assert_eq!(ask("rgk_all", Method::POST, path, body).await.status, good, "{path}");
    }
    for path in ["/config", "/config/rejected"] {
        for (key, status) in [("rgk_ours", 403), ("rgk_some", 403), ("rgk_all", 200)] {
            assert_eq!(ask(key, Method::GET, path, "").await.status, status, "{key} {path}");
        }
    }
    let audit = |upstream: &str, project: &str| {
        format!("/recovery/audit?upstream={upstream}&project_id={project}&since=2026-11-22T10:00:00Z")
    };
    let other = "0".repeat(32);
    for (key, upstream, project, status) in [
        ("rgk_ours", "cbr", ids::PROJECT, 200),
        ("rgk_ours", "cbr", &other, 403),
        ("rgk_some", "cbr", ids::PROJECT, 200),
        ("rgk_some", "vbs", ids::PROJECT, 403),
    ] {
        let answer = ask(key, Method::GET, &audit(upstream, project), "").await;
        assert_eq!(answer.status, status, "{key} {upstream} {project}: {}", answer.text());
    }
    let since =
        async |key: &str| ask(key, Method::GET, "/compat-usage", "").await.json()["requests_since"].clone();
    assert!(since("rgk_ours").await.is_null() && since("rgk_all").await.is_string());
    world.end().await;
}

/// A disk that was taken by VBS, after which every path of the cloud answers as if it had never been there.
async fn cut_off(answer: Value) -> (World, String) {
    let routes = hasty().ways("[[routes]]\nupstream = \"vbs\"\noverdue_seconds = 1\n");
    let world = World::with(routes).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let id = id(&world.submit(&requests::free_disk()).await.json());
    world.until_status(&id, "running").await;
    world.faults(json!([{"match": {"method": "GET", "path": "*"}, "answer": answer, "times": 0}])).await;
    (world, id)
}

/// F47: it runs, and what would show its end is there no more, or says nothing: in the end it is an operator's, however it
/// cannot be read, and its target is free afterwards.
#[tokio::test]
async fn f47_a_running_restore_that_cannot_be_read_is_an_operators_in_the_end() {
    let error = |code: &str| json!({"error_code": code, "error_msg": "no"});
    for answer in [
        json!({"status": 404, "body": error("APIGW.0101")}),
        json!({"status": 403, "body": error("APIGW.0302")}),
        json!({"status": 401, "body": error("APIGW.0301")}),
        json!({"status": 503, "body_raw": "<html>"}),
        json!({"status": 200, "body_raw": "<html>"}),
        json!({"status": 200, "body": {"status": "SOMETHING_NEW", "job_id": "x"}}),
    ] {
        let (world, id) = cut_off(answer.clone()).await;
        let restore = world.until(&id, |restore| restore["needs_operator"] == true).await;
        assert!(
            ["running", "unknown"].contains(&restore["status"].as_str().unwrap_or_default()),
            "{restore}"
        );
        let said = json!({"as": "failed", "by": "ada", "reason": "the disk is half overwritten"});
        let ended = world.decide(&format!("/restores/{id}/resolution"), &said).await;
        assert_eq!(
            (ended.status, &ended.json()["status"]),
            (200, &json!("failed")),
            "{answer}: {}",
            ended.text()
        );
        assert_eq!(ended.json()["error"]["effect"], "done");
        let key = [("idempotency-key", "another")];
        let other = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
        assert_ne!(other.json()["code"], "target_busy", "{}", other.text());
        world.end().await;
    }
}

/// F47: an operator who has looked need not wait until the gateway asks, and the history says so.
#[tokio::test]
async fn f47_an_operator_may_decide_early_and_that_is_recorded() {
    let world = World::with(TestConfig::default().ways("[[routes]]\nupstream = \"vbs\"\n")).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let id = id(&world.submit(&requests::free_disk()).await.json());
    world.until_status(&id, "running").await;
    let path = format!("/restores/{id}/resolution");
    let mut said = json!({"as": "applied", "by": "ada", "reason": "the disk is as the backup has it"});
    let refused = world.decide(&path, &said).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("not_resolvable")),
        "{}",
        refused.text()
    );
    said["override"] = json!(true);
    let ended = world.decide(&path, &said).await;
    assert_eq!((ended.status, &ended.json()["status"]), (200, &json!("succeeded")), "{}", ended.text());
    let events = world.get(&format!("/api/v1/restores/{id}/events")).await.json();
    let last = events["events"].as_array().and_then(|events| events.last()).cloned().expect("an event");
    assert_eq!(
        (&last["event"], &last["outcome"], &last["early"]),
        (&json!("resolved"), &json!("applied"), &json!(true))
    );
    // What was not sent is called off, and not decided.
    let again = world.decide(&path, &said).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("not_resolvable")));
    world.end().await;
}

/// An operator is asked, and reads go on: absence that becomes proof later ends the restore by itself.
#[tokio::test]
async fn reads_go_on_after_an_operator_was_asked() {
    let config = TestConfig::default()
        .set("polling.absence_confirmation_seconds", "4")
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "1")
        .each_upstream("send_timeout_seconds = 1");
    let world = World::with(config).await;
    let post = json!({"method": "POST", "path": "*/restore"});
    world.faults(json!([{"match": post, "stall": true, "applied": false}])).await;
    let id = id(&world.submit(&requests::cbr_server()).await.json());
    world.until(&id, |restore| restore["needs_operator"] == true).await;
    world.until_status(&id, "not_applied").await;
    world.end().await;
}

/// After a restart nobody has a token: what is missing is said before anybody is asked to decide, and a read with a token
/// settles the restore at once.
#[tokio::test]
async fn a_restore_without_a_token_asks_for_one_before_it_asks_for_a_decision() {
    let mut world = World::serve(hasty()).await;
    let post = json!({"method": "POST", "path": "*/restore"});
    world.faults(json!([{"match": post, "answer": {"status": 504, "body_raw": ""}, "applied": true}])).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let id = id(&world.submit(&requests::cbr_server()).await.json());
    let (_, _, folder) = world.ended_by("KILL").await;
    world.again_in(folder).await;
    let glance = async || {
        let url = world.url(&format!("/api/v1/restores/{id}"));
        world.http.send(Method::GET, &url, &[], "").await.json()
    };
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let restore = loop {
        let restore = glance().await;
        if restore["needs_operator"] == true || restore["status"] == "succeeded" {
            break restore;
        }
        assert!(tokio::time::Instant::now() < end, "{restore}");
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    };
    assert_eq!(restore["awaiting_credential"], true, "{restore}");
    let list = world.admin(&format!("/restores/{id}/events")).await.json();
    let asks =
        list["events"].as_array().into_iter().flatten().find(|event| event["event"] == "needs_operator");
    let asks = asks.expect("an operator was asked");
    assert!(asks["reason"].as_str().is_some_and(|reason| reason.contains("token")), "{asks}");
    assert_ne!(asks["evidence"]["detail"], "reads have not settled it", "none was made");
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}
