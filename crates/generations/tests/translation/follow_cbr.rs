//! CBR: the operation log by its id, else by correlation, else the backup as a second signal
//! (cloud APIs 2.3 and 2.3.1).

use std::cell::Cell;

use restore_generations::{Answer, Found, Reading, Reply, Unread};
use restore_model::{Code, Effect, Strength};
use serde_json::{Value, json};

use crate::support::{
    CHECKPOINT, DATA_DISK, Followed, SERVER, SERVER_BACKUP, UPSTREAM_NOW, after, answer, error, nobody, ok,
    resource, server, wire,
};

const CBR: &str = "cbr-v3";
const LOG: &str = "9d8c7b6a-5f4e-4d3c-8b2a-190807060504";

fn followed() -> Followed {
    Followed::new(server(SERVER_BACKUP)).notes(json!({"known": []}))
}

fn bound() -> Followed {
    followed().task("operation_log", LOG)
}

/// A restore log that fits, begun so many seconds after the send.
fn log(id: &str, begun: i64, status: &str) -> Value {
    json!({"id": id, "operation_type": "restore", "status": status, "started_at": after(begun).to_string(),
        "error_info": {"code": "", "message": ""},
        "extra_info": {"resource": {"id": SERVER, "type": "OS::Nova::Server"},
            "restore": {"backup_id": SERVER_BACKUP, "target_resource_id": SERVER},
            "common": {"progress": 35, "request_id": format!("req-of-{id}")}}})
}

/// A list that the upstream made when it was asked.
fn list(logs: &[Value]) -> Answer {
    let made = ok(json!({"count": logs.len(), "limit": 1000, "offset": 0, "operation_logs": logs}));
    Ok(Reply { date: Some(after(UPSTREAM_NOW)), ..made.unwrap() })
}

fn backup(status: &str) -> Answer {
    let mut body = wire("cbr.backup.response");
    body["backup"]["status"] = json!(status);
    ok(body)
}

/// A cloud with these logs and this state of the backup.
fn cloud(logs: &[Value], status: &str) -> impl Fn(&str) -> Answer {
    let (logs, backup) = (list(logs), backup(status));
    move |path| match path {
        path if path.starts_with("operation-logs?") => logs.clone(),
        path if path.starts_with("backups/") => backup.clone(),
        _ => error(404, "BackupService.6500"),
    }
}

fn by_list(followed: &Followed, logs: &[Value]) -> Reading {
    followed.round(CBR, cloud(logs, "available")).0
}

fn id(reading: &Reading) -> Option<&str> {
    reading.task.as_ref().map(|task| task.id.as_str())
}

#[test]
fn one_log_that_fits_is_the_restore() {
    let (reading, asked) = followed().round(CBR, cloud(&[log("a", 1, "running")], "available"));
    assert_eq!(asked, ["operation-logs?operation_type=restore&start_time=2026-11-22T10:05:00Z&limit=1000"]);
    assert_eq!((id(&reading), reading.strength, reading.progress), (Some("a"), Strength::Strong, Some(35)));
    assert_eq!((reading.found, reading.evidence), (Found::Running, "operation_log_match"));
}

#[test]
fn the_example_of_the_reference_is_found_and_done_before_the_first_poll() {
    // F27; the times of Huawei Cloud have no zone
    let (reading, _) = followed().round(CBR, |_| ok(wire("cbr.oplogs.response")));
    assert_eq!((id(&reading), &reading.found), (Some(LOG), &Found::Succeeded));
}

#[test]
fn logs_of_other_restores_are_not_ours() {
    let mut other_backup = log("a", 1, "running");
    other_backup["extra_info"]["restore"]["backup_id"] = json!("other");
    let mut other_target = log("b", 1, "running");
    other_target["extra_info"]["restore"]["target_resource_id"] = json!("other");
    let mut a_backup = log("c", 1, "running");
    a_backup["operation_type"] = json!("backup");
    a_backup["extra_info"]["restore"] = Value::Null;
    let old = log("d", -601, "success");
    for log in [other_backup, other_target, a_backup, old] {
        assert_eq!(by_list(&followed(), &[log]).found, Found::Nothing);
    }
    // At the edge of the window, and in another spelling. The edge is wider where the upstream shows no time.
    for (begun, date) in [(-5, Some(after(UPSTREAM_NOW))), (-600, None)] {
        let mut edge = log("e", begun, "running");
        edge["extra_info"]["restore"]["target_resource_id"] = json!(SERVER.to_uppercase().replace('-', ""));
        let (reading, _) = followed().round(CBR, |_| Ok(Reply { date, ..list(&[edge.clone()]).unwrap() }));
        assert_eq!(id(&reading), Some("e"), "{begun}");
    }
}

#[test]
fn what_was_there_before_or_belongs_to_another_is_passed_over() {
    let logs = [log("old", 1, "success"), log("theirs", 2, "running"), log("ours", 3, "running")];
    let mut followed = followed().notes(json!({"known": ["old"]}));
    followed.taken = vec!["theirs".to_owned()];
    let reading = by_list(&followed, &logs);
    assert_eq!((id(&reading), reading.strength), (Some("ours"), Strength::Strong));
}

/// F48: a restore of the same target has ended, nobody knows its task, and a clock was set in between.
#[test]
fn f48_a_log_that_an_unbound_restore_of_the_target_may_have_made_proves_nothing() {
    let logs = [log("a", 2, "success"), log("b", 60, "failed")];
    let alone = followed();
    let mut beside = alone.clone();
    beside.target_shared = true;
    assert_eq!(by_list(&alone, &logs).found, Found::Succeeded);
    let reading = by_list(&beside, &logs);
    assert_eq!((reading.found, reading.task), (Found::Nothing, None));
    // One that is told apart from all that were there before the send is its own.
    let known = beside.notes(json!({"known": ["b"]}));
    assert_eq!(by_list(&known, &logs).found, Found::Succeeded);
}

#[test]
fn of_several_the_nearest_to_the_send_is_taken_and_called_ambiguous() {
    let logs = [log("later", 60, "running"), log("nearest", 2, "running"), log("before", -300, "success")];
    let reading = by_list(&followed(), &logs);
    assert_eq!((id(&reading), reading.strength), (Some("nearest"), Strength::Ambiguous));
    // and stays so once it is read by its id (F26)
    let next = followed().then(&reading);
    let (reading, _) = next.round(CBR, |_| ok(json!({"operation_log": log("nearest", 2, "success")})));
    assert_eq!((&reading.found, reading.strength), (&Found::Succeeded, Strength::Ambiguous));
}

#[test]
fn the_request_id_decides_among_several() {
    let mut followed = followed();
    followed.request_id = Some("req-of-b");
    let mut logs = vec![log("a", 1, "running"), log("b", 90, "running")];
    let reading = by_list(&followed, &logs);
    assert_eq!((id(&reading), reading.strength), (Some("b"), Strength::Strong));
    // also where the log names the disk's own backup
    logs[1]["extra_info"]["restore"]["backup_id"] = json!("a-child-of-it");
    assert_eq!(id(&by_list(&followed, &logs)), Some("b"));
    // but not where it names another target
    logs[1]["extra_info"]["restore"]["target_resource_id"] = json!("another-server");
    assert_eq!(id(&by_list(&followed, &logs)), Some("a"));
    logs[1] = log("b", 90, "running");
    // an id that all logs share says nothing
    for log in &mut logs {
        log["extra_info"]["common"]["request_id"] = json!("req-of-b");
    }
    assert_eq!(id(&by_list(&followed, &logs)), Some("a"));
}

#[test]
fn without_a_whole_baseline_a_match_is_weak() {
    for notes in [Value::Null, json!({"known": [], "baseline": "incomplete"})] {
        let followed = followed().notes(notes);
        let at = |date| {
            let logs = list(&[log("a", 1, "running")]).map(|reply| Reply { date: Some(date), ..reply });
            followed
                .round(
                    CBR,
                    |path| if path.starts_with("backups/") { backup("available") } else { logs.clone() },
                )
                .0
        };
        let reading = at(after(2));
        assert_eq!((id(&reading), reading.strength), (Some("a"), Strength::Weak));
        // F50: on a clock that is three days ahead the log began three days before the send.
        let reading = at(after(3 * 24 * 3_600));
        assert_eq!((id(&reading), &reading.found), (None, &Found::Nothing));
    }
}

/// A log that does not say what it restores.
fn bare(checkpoint: &Value, resource: &str) -> Value {
    let mut log = log("a", 1, "running");
    log["extra_info"]["restore"] = Value::Null;
    log["checkpoint_id"] = checkpoint.clone();
    log["extra_info"]["resource"]["id"] = json!(resource);
    log
}

#[test]
fn a_log_that_may_be_this_ones_keeps_it_from_being_absent() {
    let run = wire("cbr.backup.response")["backup"]["checkpoint_id"].clone();
    let unknown = |log: Value| followed().unproven().round(CBR, cloud(&[log], "available")).0.found;
    let mut nothing = bare(&Value::Null, SERVER);
    nothing["extra_info"]["resource"] = Value::Null;
    assert_eq!(unknown(nothing), Found::Nothing);
    assert_eq!(unknown(bare(&json!(CHECKPOINT), SERVER)), Found::Absent, "another run");
    assert_eq!(unknown(bare(&run, "another-server")), Found::Absent, "another resource");
}

#[test]
fn without_a_restore_block_run_and_resource_decide_weakly() {
    let run = wire("cbr.backup.response")["backup"]["checkpoint_id"].clone();
    let reading = by_list(&followed(), &[bare(&run, SERVER)]);
    assert_eq!((id(&reading), reading.strength), (Some("a"), Strength::Weak));
    assert_eq!(id(&by_list(&followed(), &[bare(&json!(CHECKPOINT), SERVER)])), None, "another run");
    assert_eq!(id(&by_list(&followed(), &[bare(&run, "another-server")])), None, "another resource");

    // onto another server: the log may name the source alone
    let mut elsewhere = followed();
    elsewhere.request = resource();
    let restore_model::Target::Resource { resource_id, .. } = &mut elsewhere.request.target else {
        unreachable!()
    };
    *resource_id = "another-server".parse().unwrap();
    assert_eq!(id(&by_list(&elsewhere, &[bare(&run, SERVER)])), Some("a"));
    assert_eq!(id(&by_list(&elsewhere, &[bare(&Value::Null, SERVER)])), None, "the run is not told");

    let twice = [bare(&run, SERVER), {
        let mut second = bare(&run, SERVER);
        second["id"] = json!("b");
        second["started_at"] = json!(after(100).to_string());
        second
    }];
    let reading = by_list(&followed(), &twice);
    assert_eq!((id(&reading), reading.strength), (Some("a"), Strength::Ambiguous));
}

#[test]
fn clocks_that_differ_by_the_offset_are_no_trouble() {
    for minutes in [-10, 10] {
        let mut followed = followed();
        followed.clock_offset_ms = Some(minutes * 60_000);
        let (reading, asked) =
            followed.round(CBR, cloud(&[log("a", minutes * 60 + 1, "running")], "available"));
        assert_eq!(id(&reading), Some("a"));
        // By whichever clock is the earlier: what is asked for in vain must prove that there is nothing.
        let start = if minutes < 0 { "09:55:00" } else { "10:05:00" };
        assert!(asked[0].contains(start), "{asked:?}");
    }
}

/// F50: a wrong `Date` widens the search for a task, and finds none that began before the known ones do.
#[test]
fn f50_a_wrong_date_binds_no_old_task() {
    const DAY: i64 = 24 * 3_600;
    for (offset_seconds, begun) in [
        (-3 * DAY, -3 * DAY),
        (-1_763_806_500, -30 * DAY),
        (-DAY, -DAY - 60),
        (-11 * 3_600, -DAY - 60),
        (DAY, -DAY - 60),
    ] {
        let mut followed = followed();
        followed.notes = json!({"known": [], "known_from": after(-DAY).to_string()});
        followed.clock_offset_ms = Some(offset_seconds * 1_000);
        let (reading, _) = followed.round(CBR, cloud(&[log("old", begun, "success")], "available"));
        assert_eq!((id(&reading), &reading.found), (None, &Found::Nothing), "{offset_seconds}");
        // Without a baseline nothing tells old tasks from new ones but the clocks, and a wrong one is not believed.
        followed.notes = Value::Null;
        let (reading, _) = followed.round(CBR, cloud(&[log("old", begun, "success")], "available"));
        assert_eq!(id(&reading), None, "{offset_seconds}");
        // Its own is found all the same.
        followed.notes = json!({"known": [], "known_from": after(-DAY).to_string()});
        let (reading, _) = followed.round(CBR, cloud(&[log("ours", 2, "running")], "available"));
        assert_eq!(id(&reading), Some("ours"), "{offset_seconds}");
    }
}

/// F50: a list without a date, of a time before the send or of one that nobody believes, proves nothing.
#[test]
fn f50_a_list_of_an_unknown_time_does_not_prove_absence() {
    for date in [None, Some(after(-61)), Some(after(-30 * 24 * 3_600)), Some(after(30 * 24 * 3_600))] {
        let (reading, _) = followed().unproven().age(200).round(CBR, |path| {
            if path.starts_with("backups/") {
                return backup("available");
            }
            Ok(Reply { date, ..list(&[]).unwrap() })
        });
        assert!(matches!(reading.found, Found::Unreadable { .. }), "{date:?}: {reading:?}");
    }
}

/// F50: the cloud's answer to the send showed a clock two hours behind, so a log of the restore may be older than the list.
#[test]
fn f50_list_begun_after_send_by_upstream_clock_proves_nothing() {
    let mut followed = followed().unproven().age(200);
    followed.clock_offset_ms = Some(-2 * 3_600 * 1_000);
    followed.notes = Value::Null;
    let (reading, _) = followed.round(CBR, cloud(&[], "available"));
    assert!(matches!(reading.found, Found::Unreadable { .. }), "{reading:?}");
}

/// F48: logs that do not say what they restore are nobody's evidence where another restore moves the same backup.
#[test]
fn f48_a_log_without_details_is_not_taken_from_another_restore() {
    let run = json!("3c4d5e6f-7081-4293-8a4b-5c6d7e8f9001");
    for age in [400, 500] {
        let followed = || followed().age(age);
        let (alone, _) = followed().round(CBR, cloud(&[bare(&run, SERVER)], "available"));
        assert_eq!(id(&alone), Some("a"));
        let (reading, _) = followed().beside_others().round(CBR, cloud(&[bare(&run, SERVER)], "available"));
        assert!(matches!(reading.found, Found::Lost(_)) && id(&reading).is_none(), "{reading:?}");
    }
}

#[test]
fn an_upstream_whose_clock_is_behind_the_window_does_not_prove_absence() {
    let behind = |minutes: i64| {
        let (reading, _) = followed().unproven().age(200).round(CBR, |path| {
            if path.starts_with("backups/") {
                return backup("available");
            }
            let date = Some(after(200 - minutes * 60));
            Ok(Reply { date, ..list(&[]).unwrap() })
        });
        reading.found
    };
    assert_eq!(behind(0), Found::Absent);
    assert_eq!(behind(-60), Found::Absent, "ahead is within the window");
    assert!(matches!(behind(11), Found::Unreadable { credential: false, .. }));
}

#[test]
fn full_pages_are_followed_by_the_next() {
    let pages = Cell::new(0);
    let (reading, asked) = followed().round(CBR, |path| {
        pages.set(pages.get() + 1);
        if path.contains("&offset=1000") {
            return list(&[log("ours", 1, "running")]);
        }
        let mut logs: Vec<Value> = (0..1000).map(|n| log(&format!("l{n}"), -700, "success")).collect();
        // one without an id does not make the page short
        logs[0]["id"] = Value::Null;
        list(&logs)
    });
    assert_eq!((id(&reading), asked.len(), pages.get()), (Some("ours"), 2, 2));

    // a count that promises more than there is does not keep the reader busy
    let (_, asked) = followed().round(CBR, |path| {
        let logs = if path.contains("offset") { vec![] } else { vec![log("l", -700, "success")] };
        ok(json!({"count": 5_000, "operation_logs": logs}))
    });
    assert_eq!(asked.len(), 2);

    let (reading, asked) = followed()
        .unproven()
        .round(CBR, |_| list(&(0..1000).map(|n| log(&format!("l{n}"), -700, "success")).collect::<Vec<_>>()));
    assert_eq!(asked.len(), 5);
    assert!(matches!(reading.found, Found::Unreadable { .. }), "{reading:?}");
}

#[test]
fn every_status_of_a_log_has_its_meaning() {
    let read = |status: &str| {
        let mut body = wire("cbr.oplog.response");
        body["operation_log"]["status"] = json!(status);
        body["operation_log"]["error_info"] =
            json!({"code": "BackupService.2008", "message": "server locked"});
        bound().round(CBR, |_| ok(body.clone())).0
    };
    for status in ["running", "waiting", "Running"] {
        let reading = read(status);
        assert_eq!((reading.found, reading.anomaly, reading.progress), (Found::Running, None, Some(35)));
        assert_eq!(reading.status.as_deref(), Some(status));
    }
    assert_eq!(read("success").found, Found::Succeeded);
    assert_eq!(read("SUCCESS").found, Found::Succeeded);
    for (status, effect) in
        [("failed", Effect::Possible), ("timeout", Effect::Possible), ("skipped", Effect::None)]
    {
        let Found::Failed(problem) = read(status).found else { panic!("{status}") };
        assert_eq!((problem.code, problem.effect), (Code::RestoreFailed, effect));
        let said = problem.upstream.unwrap();
        assert_eq!(
            (said.code.as_deref(), said.message.as_deref()),
            (Some("BackupService.2008"), Some("server locked"))
        );
    }
    let odd = read("SOMETHING_NEW");
    assert_eq!(odd.found, Found::Running);
    assert!(odd.anomaly.is_some());
}

#[test]
fn a_log_by_its_id_is_strong_and_remembered_as_seen() {
    let (reading, asked) = bound().round(CBR, |_| ok(wire("cbr.oplog.response")));
    assert_eq!(asked, [format!("operation-logs/{LOG}")]);
    assert_eq!(
        (reading.strength, &reading.notes),
        (Strength::Strong, &Some(json!({"known": [], "confirmed": true})))
    );
    // an hour later it is gone: nobody can say (F29)
    let gone = bound().then(&reading).age(3_600);
    for read in [
        error(404, "BackupService.6500"),
        answer(404, ""),
        answer(404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#),
    ] {
        let (reading, _) = gone.round(CBR, |_| read.clone());
        assert!(matches!(reading.found, Found::Lost(_)), "{reading:?}");
    }
    // a wrong path is no log that is gone
    let (reading, _) = gone.round(CBR, |_| error(404, "APIGW.0101"));
    assert!(matches!(reading.found, Found::Unreadable { credential: false, .. }), "{reading:?}");
}

#[test]
fn a_log_found_in_the_list_counts_as_seen() {
    let found = by_list(&followed(), &[log("a", 1, "running")]);
    let gone = followed().then(&found).age(3_600);
    let (reading, asked) = gone.round(CBR, |_| error(404, "BackupService.6500"));
    assert!(matches!(reading.found, Found::Lost(_)), "{reading:?}");
    assert_eq!(asked, ["operation-logs/a"]);
}

#[test]
fn an_id_that_never_was_a_log_is_dropped_for_correlation() {
    for unknown in
        [error(404, "BackupService.6501"), answer(404, r#"{"itemNotFound":{"code":404,"message":"?"}}"#)]
    {
        let (reading, _) = bound().round(CBR, |path| {
            if path.starts_with("operation-logs/") {
                unknown.clone()
            } else {
                list(&[log("ours", 1, "running")])
            }
        });
        assert_eq!((id(&reading), &reading.found), (Some("ours"), &Found::Running));
    }
}

#[test]
fn an_id_that_is_a_log_of_something_else_is_dropped_too() {
    let (reading, _) = bound().round(CBR, |path| {
        if path.starts_with("operation-logs/") {
            let mut body = wire("cbr.oplog.response");
            body["operation_log"]["operation_type"] = json!("backup");
            body["operation_log"]["status"] = json!("success");
            ok(body)
        } else {
            list(&[log("ours", 1, "running")])
        }
    });
    assert_eq!((id(&reading), &reading.found), (Some("ours"), &Found::Running));
}

#[test]
fn a_read_that_is_refused_is_never_the_end_of_a_restore() {
    let found = |followed: &Followed, read: &Answer| followed.round(CBR, |_| read.clone()).0.found;
    for followed in [followed(), bound(), followed().unproven()] {
        // not permitted to read tasks: that will not pass
        assert!(matches!(found(&followed, &error(403, "APIGW.0302")), Found::Lost(_)));
        let token = Found::Unreadable { reason: String::new(), credential: true };
        for read in [error(401, "APIGW.0301"), error(500, "BackupService.9998"), Err(Unread::NoCredential)] {
            assert_eq!(std::mem::discriminant(&found(&followed, &read)), std::mem::discriminant(&token));
            assert!(
                matches!(found(&followed, &read), Found::Unreadable { credential: true, .. }),
                "{read:?}"
            );
        }
        for read in [
            answer(500, ""),
            answer(502, "<html>"),
            error(429, "APIGW.0308"),
            answer(200, "<html>"),
            ok(json!({"operation_log": []})),
            Err(Unread::NoAnswer("timed out".to_owned())),
        ] {
            assert!(
                matches!(found(&followed, &read), Found::Unreadable { credential: false, .. }),
                "{read:?}"
            );
        }
    }
}

#[test]
fn a_log_may_be_late() {
    // F25: five minutes are waited before the backup is asked
    let (reading, asked) = followed()
        .age(299)
        .round(CBR, |path| if path.starts_with("backups") { nobody(path) } else { list(&[]) });
    assert_eq!((reading.found, asked.len()), (Found::Nothing, 1));
    let late = |status: &str| followed().age(301).round(CBR, cloud(&[], status)).0;
    assert_eq!(late("restoring").found, Found::Running);
    assert_eq!(late("waiting_restore").found, Found::Running);
    assert_eq!(late("waiting-restore").strength, Strength::Derived);
    assert!(matches!(late("available").found, Found::Lost(_)), "never success");
    assert_eq!(late("error").found, Found::Nothing);
}

#[test]
fn a_restore_of_unknown_outcome_is_absent_only_where_nothing_moves() {
    let found = |status: &str| followed().unproven().round(CBR, cloud(&[], status)).0.found;
    assert_eq!(found("available"), Found::Absent);
    assert_eq!(found("restoring"), Found::Running);
    // Another restore of the backup explains why it moves, and the list does not have this one.
    let beside = |status| followed().unproven().beside_others().round(CBR, cloud(&[], status)).0.found;
    assert_eq!((beside("restoring"), beside("available")), (Found::Nothing, Found::Absent));
    for status in ["error", "deleting", "protecting", "something_new"] {
        assert_eq!(found(status), Found::Nothing, "{status}");
    }
    // a list that cannot be read proves nothing
    let (reading, _) = followed().unproven().round(CBR, |_| answer(503, ""));
    assert!(matches!(reading.found, Found::Unreadable { .. }));
    // nor one that names the restore
    let (reading, _) = followed().unproven().round(CBR, cloud(&[log("a", 1, "failed")], "available"));
    assert!(matches!(reading.found, Found::Failed(_)));
}

#[test]
fn a_backup_deleted_meanwhile_leaves_nothing_to_judge_by() {
    for followed in [followed().age(400), followed().unproven()] {
        let (reading, _) = followed.round(CBR, |path| {
            if path.starts_with("backups/") { error(404, "BackupService.6200") } else { list(&[]) }
        });
        assert!(matches!(reading.found, Found::Lost(_)), "{reading:?}");
    }
}

#[test]
fn a_log_of_a_disk_restore_names_the_disk() {
    let mut of_the_disk = log("a", 1, "running");
    of_the_disk["extra_info"]["restore"] =
        json!({"backup_id": crate::support::DATA_BACKUP, "target_resource_id": DATA_DISK});
    let followed = Followed::new(crate::support::disk()).notes(json!({"known": []}));
    assert_eq!(id(&by_list(&followed, &[log("b", 1, "running"), of_the_disk])), Some("a"));
}
