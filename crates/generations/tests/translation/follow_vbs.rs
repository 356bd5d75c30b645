//! VBS: the job; without a job id the backup and the disk (cloud APIs 2.2).

use restore_generations::{Answer, Found, Reading, Unread};
use restore_model::{Code, Strength};
use serde_json::{Value, json};

use crate::support::{DATA_BACKUP, DATA_DISK, Followed, answer, disk, error, ok, wire};

const VBS: &str = "vbs-v2";
const JOB: &str = "4010a7c9528b1f3e01528cc0d9e24f7b";

fn with_job() -> Followed {
    Followed::new(disk()).notes(json!({"baseline": "available"})).task("job", JOB)
}

fn by_job(read: &Answer) -> Reading {
    let (reading, asked) = with_job().age(200).round(VBS, |_| read.clone());
    assert_eq!(asked, [format!("jobs/{JOB}")]);
    reading
}

fn job(change: impl FnOnce(&mut Value)) -> Answer {
    let mut job = wire("vbs.job.response");
    change(&mut job);
    ok(job)
}

fn status(word: &str) -> Reading {
    by_job(&job(|job| job["status"] = json!(word)))
}

#[test]
fn every_status_of_a_job_has_its_meaning() {
    for word in ["INIT", "RUNNING", "PENDING_PAYMENT", "running"] {
        let reading = status(word);
        assert_eq!(
            (reading.found, reading.anomaly, reading.strength),
            (Found::Running, None, Strength::Strong)
        );
    }
    // F27: done before the first poll
    assert_eq!(status("SUCCESS").found, Found::Succeeded);
    assert_eq!(status("success").found, Found::Succeeded);
    let Found::Failed(problem) = by_job(&ok(wire("vbs.job.failed"))).found else { panic!() };
    assert_eq!(problem.code, Code::RestoreFailed);
    let said = problem.upstream.unwrap();
    assert_eq!(said.code.as_deref(), Some("VolumeBackup.0205"));
    assert_eq!(said.message.as_deref(), Some("the disk is not available"));
    // the reason may stand in a part alone
    let in_part = by_job(&job(|job| {
        job["status"] = json!("FAIL");
        job["sub_jobs"] = json!([{"status": "SUCCESS"},
            {"status": "FAIL", "error_code": "VolumeBackup.0200", "fail_reason": "restore failed"}]);
    }));
    let Found::Failed(problem) = in_part.found else { panic!() };
    assert_eq!(problem.upstream.unwrap().code.as_deref(), Some("VolumeBackup.0200"));
    let odd = status("SOMETHING_NEW");
    assert_eq!(odd.found, Found::Running);
    assert!(odd.anomaly.is_some());
}

#[test]
fn parts_of_a_job_come_in_every_form() {
    for parts in [json!(null), json!([]), json!(""), json!([{"status": "RUNNING"}])] {
        let reading = by_job(&job(|job| job["sub_jobs"] = parts.clone()));
        assert_eq!((reading.found, reading.progress), (Found::Running, None), "{parts}");
    }
    let absent = job(|job| {
        job.as_object_mut().unwrap().remove("sub_jobs");
    });
    assert_eq!(by_job(&absent).found, Found::Running);
    let two = job(|job| job["sub_jobs"] = json!([{"status": "SUCCESS"}, {"status": "RUNNING"}]));
    assert_eq!(by_job(&two).progress, Some(50));
}

#[test]
fn an_error_about_the_read_says_nothing_about_the_restore() {
    for read in [
        ok(json!({"error": {"code": "common.0011", "message": "job query failed"}})),
        ok(json!({"code": "VolumeBackup.0205", "message": "m"})),
        answer(400, r#"{"error":{"code":"common.0011","message":"job query failed"}}"#),
        answer(500, r#"{"error":{"code":"VolumeBackup.0200","message":"m"}}"#),
        answer(200, "<html>"),
        answer(503, ""),
        // a wrong path, a bug that a released client had
        error(404, "APIGW.0101"),
        Err(Unread::NoAnswer("timed out".to_owned())),
    ] {
        let found = by_job(&read).found;
        assert!(matches!(found, Found::Unreadable { credential: false, .. }), "{read:?}: {found:?}");
    }
    for read in [error(401, "APIGW.0301"), Err(Unread::NoCredential)] {
        assert!(matches!(by_job(&read).found, Found::Unreadable { credential: true, .. }));
    }
    assert!(matches!(by_job(&error(403, "VolumeBackup.0042")).found, Found::Lost(_)));
}

#[test]
fn a_job_that_is_gone_leaves_the_outcome_unknown() {
    let gone = [error(404, "common.0011"), answer(404, r#"{"error":{"code":"common.0011","message":"m"}}"#)];
    for read in gone {
        assert!(matches!(by_job(&read).found, Found::Lost(_)), "{read:?}");
        // just after the send it may not be there yet, unless it was
        let (reading, _) = with_job().age(5).round(VBS, |_| read.clone());
        assert_eq!(reading.found, Found::Nothing);
        let seen = with_job().age(5).then(&status("RUNNING"));
        assert!(matches!(seen.round(VBS, |_| read.clone()).0.found, Found::Lost(_)));
    }
}

fn backup(word: &str) -> Answer {
    let mut backup = wire("vbs.backup.response");
    backup["backup"]["status"] = json!(word);
    ok(backup)
}

fn without_job() -> Followed {
    Followed::new(disk()).notes(json!({"baseline": "available"})).unproven()
}

fn volume(word: &str) -> Answer {
    ok(json!({"volume": {"id": DATA_DISK, "status": word, "size": 100}}))
}

fn by_state(followed: &Followed, of_backup: &str, of_disk: &Answer) -> Reading {
    followed
        .round(VBS, |path| if path.starts_with("volumes/") { of_disk.clone() } else { backup(of_backup) })
        .0
}

#[test]
fn without_a_job_backup_and_disk_are_all_there_is() {
    let running = by_state(&without_job(), "restoring", &answer(500, ""));
    assert_eq!((&running.found, running.strength), (&Found::Running, Strength::Derived));
    let seen = without_job().then(&running);
    assert_eq!(by_state(&seen, "available", &volume("available")).found, Found::Succeeded);
    assert_eq!(by_state(&seen, "available", &volume("restoring-backup")).found, Found::Running);
    assert!(matches!(by_state(&seen, "available", &volume("error_restoring")).found, Found::Failed(_)));
    assert!(matches!(by_state(&seen, "error_restoring", &volume("available")).found, Found::Failed(_)));
    // without the disk's word an available backup is never success
    for silent in [Err(Unread::NoEndpoint), error(403, "APIGW.0302")] {
        assert!(matches!(by_state(&seen, "available", &silent).found, Found::Lost(_)));
    }
}

/// One backup onto two disks: what it says while it is restored may be the other one's doing. The disk knows.
#[test]
fn a_backup_that_others_restore_says_nothing_of_a_restore_that_may_not_have_come() {
    for followed in [without_job(), without_job().beside_others()] {
        let reading = by_state(&followed, "restoring", &volume("available"));
        assert_eq!((reading.found, reading.notes), (Found::Nothing, None));
        assert_eq!(by_state(&followed, "restoring", &volume("restoring-backup")).found, Found::Running);
    }
    let beside = without_job().beside_others();
    for said in ["restoring", "error_restoring"] {
        let reading = by_state(&beside, said, &answer(500, ""));
        assert!(matches!(reading.found, Found::Lost(_)), "{said}: {:?}", reading.found);
        assert_eq!(reading.notes, None);
    }
    // Of one that was taken it is the state of that one as well.
    let taken = Followed::new(disk()).notes(json!({"baseline": "available"})).beside_others();
    assert_eq!(by_state(&taken, "restoring", &answer(500, "")).found, Found::Running);
}

#[test]
fn an_available_backup_that_was_never_seen_restoring_proves_nothing() {
    for age in [10, 1_000] {
        let (reading, asked) = without_job().age(age).round(VBS, |_| backup("available"));
        assert_eq!((reading.found, asked), (Found::Nothing, vec![format!("backups/{DATA_BACKUP}")]));
    }
}

#[test]
fn without_a_baseline_it_may_be_somebody_elses_restore() {
    let blind = without_job().notes(Value::Null);
    let running = by_state(&blind, "restoring", &volume("restoring-backup"));
    assert_eq!(running.found, Found::Running);
    let seen = blind.clone().then(&running);
    assert!(matches!(by_state(&seen, "available", &volume("available")).found, Found::Lost(_)));
    assert_eq!(by_state(&blind, "error_restoring", &volume("available")).found, Found::Nothing);
}

#[test]
fn a_backup_that_is_gone_or_hidden_leaves_the_outcome_unknown() {
    for read in
        [answer(404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#), error(403, "VolumeBackup.0042")]
    {
        assert!(matches!(without_job().round(VBS, |_| read.clone()).0.found, Found::Lost(_)), "{read:?}");
    }
    let (reading, _) = without_job().round(VBS, |_| error(401, "APIGW.0301"));
    assert!(matches!(reading.found, Found::Unreadable { credential: true, .. }));
}
