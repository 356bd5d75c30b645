//! Cinder: before the send, its answer, and the disk that alone tells the end (cloud APIs 1.9, 2.4, 3.4).

use restore_generations::{Answer, Found, Outcome, Reply, Unread};
use restore_model::{Code, Retry, Strength};
use serde_json::{Value, json};

use crate::support::{
    DATA_BACKUP, DATA_DISK, Followed, SYSTEM_BACKUP, SYSTEM_DISK, answer, check, disk, generation, ok,
    prepare, wire,
};

const CINDER: &str = "cinder-v3";
const REQUEST: &str = "req-32085d2a-baaa-4739-9405-7d4c0ab3e483";
const BEFORE: &str = "2026-11-22T10:14:00.000000";

/// A fault of Cinder.
fn fault(status: u16, name: &str, message: &str) -> Answer {
    answer(status, &json!({name: {"code": status, "message": message}}).to_string())
}

fn volume(status: &str, mark: Option<&str>) -> Answer {
    let mut body = wire("cinder.volume.response");
    body["volume"]["status"] = json!(status);
    if let Some(mark) = mark {
        body["volume"]["metadata"] = json!({"src_backup_id": mark, "of": "the source"});
    }
    ok(body)
}

fn backup(status: &str) -> Answer {
    let mut body = wire("cinder.backup.response");
    body["backup"]["status"] = json!(status);
    ok(body)
}

fn baseline(marked: bool, in_place: bool) -> Value {
    json!({"baseline": {"updated_at": BEFORE, "marked": marked, "in_place": in_place}})
}

fn taken(marked: bool, in_place: bool) -> Followed {
    let mut followed = Followed::new(disk()).notes(baseline(marked, in_place));
    followed.request_id = Some(REQUEST);
    followed
}

/// The disk, and messages that tell nothing.
fn of_disk(read: &Answer) -> impl Fn(&str) -> Answer {
    move |path| if path.starts_with("volumes/") { read.clone() } else { ok(json!({"messages": []})) }
}

#[test]
fn the_words_of_the_disk_decide_and_those_of_the_backup_do_not() {
    let (running, asked) = taken(false, false).round(CINDER, |_| volume("restoring-backup", None));
    assert_eq!((running.found, running.status.as_deref()), (Found::Running, Some("restoring_backup")));
    assert_eq!(asked, [format!("volumes/{DATA_DISK}")], "the backup is not even asked");
    let (done, asked) = taken(false, false).round(CINDER, |_| volume("available", Some(DATA_BACKUP)));
    assert_eq!((done.found, done.strength), (Found::Succeeded, Strength::Derived));
    assert_eq!(asked.len(), 1);
    // attached as soon as it was usable
    let (done, _) = taken(false, false).round(CINDER, |_| volume("in-use", Some(DATA_BACKUP)));
    assert_eq!(done.found, Found::Succeeded);
    for word in ["backing-up", "extending", "unheard-of"] {
        assert_eq!(
            taken(false, false).round(CINDER, |_| volume(word, None)).0.found,
            Found::Nothing,
            "{word}"
        );
    }
}

#[test]
fn a_failure_has_the_message_of_its_request() {
    let upstream = |path: &str| match path.split(['/', '?']).next() {
        Some("volumes") => volume("error_restoring", None),
        _ => ok(wire("cinder.messages.response")),
    };
    let (reading, asked) = taken(false, false).round(CINDER, upstream);
    assert_eq!(asked, [format!("volumes/{DATA_DISK}"), format!("messages?request_id={REQUEST}")]);
    assert_eq!((reading.evidence, reading.strength), ("message", Strength::Strong));
    let Found::Failed(problem) = reading.found else { panic!("{:?}", reading.found) };
    assert_eq!(problem.code, Code::RestoreFailed);
    let said = problem.upstream.unwrap();
    assert_eq!(said.code.as_deref(), Some("VOLUME_VOLUME_BACKUP_015_026"));
    assert_eq!(said.request_id.as_deref(), Some(REQUEST));
    // another attempt's message is not this one's
    let mut other = taken(false, false);
    other.request_id = Some("req-00000000-0000-4000-8000-000000000000");
    let Found::Failed(problem) = other.round(CINDER, upstream).0.found else { panic!() };
    assert_eq!(problem.upstream.unwrap().message, None);
    // a service that died leaves none, a role may not read them, an old Cinder has none; stopped from outside is `error`
    for (word, messages) in [
        ("error_restoring", ok(json!({"messages": []}))),
        ("error_restoring", fault(403, "upstream_forbidden", "Policy doesn't allow it.")),
        ("error", fault(406, "computeFault", "Version 3.3 is not supported.")),
    ] {
        let upstream =
            |path: &str| if path.starts_with("volumes/") { volume(word, None) } else { messages.clone() };
        let (reading, _) = taken(false, false).round(CINDER, upstream);
        assert!(matches!(reading.found, Found::Failed(_)), "{word} {:?}", reading.found);
        assert_eq!((reading.evidence, reading.strength), ("volume_state", Strength::Derived));
    }
    // what may be asked for again is
    for messages in
        [answer(503, "<html>"), Err(Unread::NoAnswer("reset".to_owned())), Err(Unread::NoCredential)]
    {
        let upstream = |path: &str| {
            if path.starts_with("volumes/") { volume("error_restoring", None) } else { messages.clone() }
        };
        let (reading, _) = taken(false, false).round(CINDER, upstream);
        assert!(matches!(reading.found, Found::Unreadable { .. }), "{:?}", reading.found);
    }
}

#[test]
fn a_call_for_messages_asks_for_the_version_that_has_them() {
    let followed = taken(false, true);
    let watch = restore_generations::Watch {
        request: &followed.request,
        task: None,
        notes: &followed.notes,
        accepted: true,
        sent_at: crate::support::after(0),
        now: crate::support::after(10),
        clock_offset_ms: None,
        request_id: followed.request_id,
        taken: &[],
        visibility_grace_seconds: 120,
        no_restore_read: false,
        backup_shared: false,
        target_shared: false,
    };
    let restore_generations::Step::Ask(read) = generation(CINDER).follow(&watch, &[]) else { panic!() };
    assert!(read.headers.is_empty());
    let step = generation(CINDER).follow(&watch, &[volume("error_restoring", None)]);
    let restore_generations::Step::Ask(messages) = step else { panic!("nothing asked") };
    assert_eq!(messages.headers, [("openstack-api-version", "volume 3.3")]);
}

/// Somebody may have set the status of a disk whose restore failed.
#[test]
fn a_usable_disk_without_the_mark_it_should_bear_proves_nothing() {
    for mark in [None, Some(SYSTEM_BACKUP)] {
        let read = volume("available", mark);
        let (reading, _) = taken(false, false).round(CINDER, of_disk(&read));
        assert!(matches!(reading.found, Found::Lost(_)), "{mark:?} {:?}", reading.found);
    }
    // a mark that was there before proves no more than none does in place: the messages are asked
    for (marked, in_place, mark) in
        [(true, false, Some(DATA_BACKUP)), (false, true, None), (true, true, Some(DATA_BACKUP))]
    {
        let read = volume("available", mark);
        let (reading, asked) = taken(marked, in_place).round(CINDER, of_disk(&read));
        assert_eq!((reading.found, asked.len()), (Found::Succeeded, 2), "{mark:?}");
        let failed = |path: &str| {
            if path.starts_with("volumes/") { read.clone() } else { ok(wire("cinder.messages.response")) }
        };
        let (reading, _) = taken(marked, in_place).round(CINDER, failed);
        assert!(matches!(reading.found, Found::Failed(_)), "{:?}", reading.found);
    }
    // one that succeeded, and was restored again
    for word in ["error_restoring", "error"] {
        let read = volume(word, Some(DATA_BACKUP));
        let (reading, _) = taken(false, false).round(CINDER, of_disk(&read));
        assert!(matches!(reading.found, Found::Lost(_)), "{word} {:?}", reading.found);
    }
}

/// Without a read before the send the backup tells whether a mark was to be expected.
#[test]
fn without_a_baseline_a_usable_disk_is_a_success_in_place_alone() {
    let mut blind = Followed::new(disk());
    blind.request_id = Some(REQUEST);
    let upstream = |of: &'static str, mark: Option<&'static str>| {
        move |path: &str| match path.split(['/', '?']).next() {
            Some("volumes") => volume("available", mark),
            Some("messages") => ok(json!({"messages": []})),
            _ => {
                let mut body = wire("cinder.backup.response");
                body["backup"]["volume_id"] = json!(of);
                ok(body)
            }
        }
    };
    let (reading, asked) = blind.round(CINDER, upstream(DATA_DISK, None));
    assert_eq!((reading.found, asked.len()), (Found::Succeeded, 3));
    assert!(matches!(blind.round(CINDER, upstream(SYSTEM_DISK, None)).0.found, Found::Lost(_)));
    assert_eq!(blind.round(CINDER, upstream(SYSTEM_DISK, Some(DATA_BACKUP))).0.found, Found::Succeeded);
    // a backup that is gone tells nothing
    let gone = |path: &str| match path.starts_with("volumes/") {
        true => volume("available", None),
        false => fault(404, "itemNotFound", "Backup x could not be found."),
    };
    assert!(matches!(blind.round(CINDER, gone).0.found, Found::Lost(_)));
    let silent = |path: &str| match path.starts_with("volumes/") {
        true => volume("available", None),
        false => Err(Unread::NoAnswer("reset".to_owned())),
    };
    assert!(matches!(blind.round(CINDER, silent).0.found, Found::Unreadable { .. }));
}

#[test]
fn a_disk_that_has_not_moved_was_read_before_the_send() {
    let mut body = wire("cinder.volume.response");
    body["volume"]["updated_at"] = json!(BEFORE);
    let (reading, _) = taken(false, true).round(CINDER, |_| ok(body.clone()));
    assert_eq!(reading.found, Found::Nothing);
}

#[test]
fn an_unreadable_disk_proves_nothing() {
    let gone = fault(404, "itemNotFound", "Volume x could not be found.");
    assert!(matches!(taken(false, false).round(CINDER, |_| gone.clone()).0.found, Found::Lost(_)));
    // neither a page nor a service that is away, nor another disk, is a disk that is gone
    let mut other = wire("cinder.volume.response");
    other["volume"]["id"] = json!(SYSTEM_DISK);
    for read in [
        answer(404, "404 Not Found The resource could not be found."),
        fault(404, "itemNotFound", "Service cinder-volume could not be found."),
        answer(503, "<html>The Keystone service is temporarily unavailable.</html>"),
        answer(200, "<html>"),
        ok(other),
        Err(Unread::NoAnswer("reset".to_owned())),
    ] {
        let (reading, _) = taken(false, false).round(CINDER, |_| read.clone());
        assert!(
            matches!(reading.found, Found::Unreadable { credential: false, .. }),
            "{read:?} {:?}",
            reading.found
        );
    }
    let refused =
        json!({"error": {"code": 401, "title": "Unauthorized", "message": "requires authentication"}});
    let (reading, _) = taken(false, false).round(CINDER, |_| answer(401, &refused.to_string()));
    assert!(matches!(reading.found, Found::Unreadable { credential: true, .. }), "{:?}", reading.found);
}

#[test]
fn a_send_without_an_answer_is_found_and_never_ruled_out() {
    let lost = || Followed::new(disk()).notes(baseline(false, false)).unproven();
    let both = |of_backup: &'static str| {
        move |path: &str| {
            if path.starts_with("volumes/") { volume("restoring-backup", None) } else { backup(of_backup) }
        }
    };
    assert_eq!(lost().round(CINDER, both("restoring")).0.found, Found::Running);
    // another backup is written onto the disk
    assert_eq!(lost().round(CINDER, both("available")).0.found, Found::Nothing);
    assert!(matches!(lost().beside_others().round(CINDER, both("restoring")).0.found, Found::Lost(_)));
    // came and went
    assert_eq!(lost().round(CINDER, |_| volume("available", Some(DATA_BACKUP))).0.found, Found::Succeeded);
    // at rest, however long it is: it may have come and gone
    for age in [10, 100_000] {
        let (reading, _) = lost().age(age).round(CINDER, |_| volume("available", None));
        assert_eq!(reading.found, Found::Nothing);
        let marked = Followed::new(disk()).notes(baseline(true, false)).unproven().age(age);
        assert_eq!(marked.round(CINDER, |_| volume("available", Some(DATA_BACKUP))).0.found, Found::Nothing);
    }
    let (reading, _) = lost().round(CINDER, |_| volume("error_restoring", None));
    assert!(matches!(reading.found, Found::Lost(_)), "whose it was is not told");
    // without a baseline nothing is ours
    let blind = Followed::new(disk()).unproven();
    for word in ["restoring-backup", "available", "error_restoring"] {
        assert_eq!(
            blind.round(CINDER, |_| volume(word, Some(DATA_BACKUP))).0.found,
            Found::Nothing,
            "{word}"
        );
    }
    assert!(!generation(CINDER).lists_restores());
}

#[test]
fn other_restores_of_the_backup_do_not_touch_what_the_disk_says() {
    let beside = || taken(false, false).beside_others();
    assert_eq!(beside().round(CINDER, |_| volume("available", Some(DATA_BACKUP))).0.found, Found::Succeeded);
    assert_eq!(beside().round(CINDER, |_| volume("restoring-backup", None)).0.found, Found::Running);
}

fn before(of_backup: &Answer, of_disk: &Answer) -> Result<Value, (Code, Retry)> {
    let upstream =
        |path: &str| if path.starts_with("volumes/") { of_disk.clone() } else { of_backup.clone() };
    let (prepared, _) = prepare(CINDER, &disk(), upstream);
    prepared.map(|prepared| prepared.notes).map_err(|problem| (problem.code, problem.retry))
}

#[test]
fn before_the_send_backup_and_disk_are_available() {
    let usable = volume("available", None);
    let notes = before(&backup("available"), &usable).unwrap();
    assert_eq!(notes["baseline"]["in_place"], true);
    assert_eq!(notes["baseline"]["marked"], false);
    assert_eq!(notes["baseline"]["updated_at"], "2026-11-21T01:31:12.335832");
    let mut elsewhere = wire("cinder.backup.response");
    elsewhere["backup"]["volume_id"] = json!(SYSTEM_DISK);
    let notes = before(&ok(elsewhere), &volume("available", Some(DATA_BACKUP))).unwrap();
    assert_eq!((&notes["baseline"]["in_place"], &notes["baseline"]["marked"]), (&json!(false), &json!(true)));

    let code = |of_backup: &Answer, of_disk: &Answer| before(of_backup, of_disk).unwrap_err().0;
    for word in ["restoring", "error", "creating"] {
        assert_eq!(code(&backup(word), &usable), Code::BackupNotReady, "{word}");
    }
    for word in ["in-use", "restoring-backup", "error_restoring"] {
        assert_eq!(code(&backup("available"), &volume(word, None)), Code::TargetNotReady, "{word}");
    }
    let mut small = wire("cinder.volume.response");
    small["volume"]["size"] = json!(99);
    assert_eq!(code(&backup("available"), &ok(small)), Code::TargetTooSmall);
    let missing = |what: &str| fault(404, "itemNotFound", &format!("{what} could not be found."));
    assert_eq!(code(&missing("Backup x"), &usable), Code::BackupNotFound);
    assert_eq!(code(&backup("available"), &missing("Volume x")), Code::TargetNotFound);
    // a service that is away says nothing of the backup
    assert_eq!(
        before(&missing("Service cinder-backup"), &usable),
        Err((Code::UpstreamUnavailable, Retry::Later))
    );
    // nothing would ever tell the end of what cannot be read
    for unread in [answer(200, "<html>"), answer(503, "<html>"), Err(Unread::NoAnswer("reset".to_owned()))] {
        assert_eq!(code(&unread, &usable), Code::UpstreamUnavailable);
        assert_eq!(code(&backup("available"), &unread), Code::UpstreamUnavailable);
    }
    assert_eq!(code(&backup("available"), &fault(403, "upstream_forbidden", "no")), Code::UpstreamForbidden);
}

fn outcome(status: u16, body: &str) -> Outcome {
    let reply = Reply { status, body: body.to_owned().into(), ..Reply::default() };
    generation(CINDER).decode(&disk(), &reply)
}

#[test]
fn only_the_pair_that_was_asked_for_is_an_acceptance() {
    let pair = wire("cinder.restore.response");
    assert!(matches!(outcome(202, &pair.to_string()), Outcome::Started { task: None, .. }));
    let mut elsewhere = pair.clone();
    elsewhere["restore"]["volume_id"] = json!(SYSTEM_DISK);
    for (status, body) in [
        (202, elsewhere.to_string()),
        (202, String::new()),
        (202, "{}".to_owned()),
        (202, "<html>".to_owned()),
        (200, pair.to_string()),
        (204, String::new()),
    ] {
        assert!(matches!(outcome(status, &body), Outcome::Unsure { .. }), "{status} {body}");
    }
}

#[test]
fn a_refusal_is_cinders_own_word() {
    let refused = |status: u16, name: &str, message: &str| {
        let body = json!({name: {"code": status, "message": message}}).to_string();
        let Outcome::Refused(problem) = outcome(status, &body) else { panic!("{status} {message}") };
        (problem.code, problem.retry)
    };
    let away = refused(404, "itemNotFound", "Service cinder-backup could not be found.");
    assert_eq!(away, (Code::UpstreamUnavailable, Retry::Later), "not a backup that is unknown");
    assert_eq!(refused(404, "itemNotFound", "Backup x could not be found.").1, Retry::Never);
    assert_eq!(
        refused(400, "badRequest", "Invalid backup: Backup status must be available").0,
        Code::UpstreamBadRequest
    );
    assert_eq!(
        refused(403, "upstream_forbidden", "Policy doesn't allow backup:restore to be performed.").0,
        Code::UpstreamForbidden
    );
    let quota = r#"{"overLimit": {"code": 413, "message": "Maximum number of volumes", "retryAfter": "0"}}"#;
    assert!(matches!(outcome(413, quota), Outcome::Refused(problem) if problem.retry == Retry::Never));
    let fault = r#"{"computeFault": {"code": 500, "message": "The server has either erred"}}"#;
    for (status, body) in
        [(500, fault), (503, "<html>Keystone</html>"), (404, "404 Not Found"), (413, "too large")]
    {
        assert!(matches!(outcome(status, body), Outcome::Unsure { .. }), "{status} {body}");
    }
}

#[test]
fn a_check_reads_backup_and_disk() {
    let rows = |of_backup: &Answer, of_disk: &Answer| {
        let all = check(CINDER, &disk(), |path| {
            if path.starts_with("volumes/") { of_disk.clone() } else { of_backup.clone() }
        });
        all.into_iter().map(|(name, result, _)| (name, result)).collect::<Vec<_>>()
    };
    let well = rows(&backup("available"), &volume("available", None));
    assert_eq!(well.len(), 5);
    assert!(well.iter().all(|(_, result)| *result == "passed"), "{well:?}");
    assert!(rows(&backup("restoring"), &volume("available", None)).contains(&("backup_available", "failed")));
    assert!(rows(&backup("available"), &volume("in-use", None)).contains(&("disk_available", "failed")));
    let gone = fault(404, "itemNotFound", "Volume x could not be found.");
    assert!(rows(&backup("available"), &gone).contains(&("disks_exist", "failed")));
    let away = fault(404, "itemNotFound", "Service cinder-backup could not be found.");
    assert_eq!(rows(&away, &gone), [("backup_exists", "not_run")]);
    let silent = Err(Unread::NoAnswer("reset".to_owned()));
    assert!(rows(&backup("available"), &silent).contains(&("disks_exist", "not_run")));
}
