//! CSBS: the backup item against its baseline, and the restore's own word where the upstream gives
//! it (cloud APIs 2.1).

use restore_generations::{Answer, Found, Reading, Unread};
use restore_model::Strength;
use serde_json::{Value, json};

use crate::support::{Followed, ITEM, answer, error, nobody, ok, prepare, server, wire};

const CSBS: &str = "csbs-v1";
const RESTORE: &str = "e5d4c3b2-a190-4f8e-8d7c-6b5a49382716";

/// An item in a state, changed at a minute, with a failure marker or none.
fn item(status: &str, minute: u32, reason: Option<&str>) -> Answer {
    let mut body = wire("csbs.item.response");
    let item = &mut body["checkpoint_item"];
    item["status"] = json!(status);
    item["updated_at"] = json!(format!("2026-11-22T10:{minute:02}:00.000000"));
    if let Some(reason) = reason {
        item["extend_info"]["fail_op"] = json!("restore");
        item["extend_info"]["fail_code"] = json!({"Code": 6015, "Description": reason});
        item["extend_info"]["fail_reason"] = json!(reason);
    }
    ok(body)
}

/// A restore whose baseline is an item read before it.
fn after_baseline(baseline: &Answer) -> Followed {
    let (prepared, _) = prepare(CSBS, &server(ITEM), |_| baseline.clone());
    let mut followed = Followed::new(server(ITEM)).notes(prepared.unwrap().notes).task("restore", RESTORE);
    followed.no_restore_read = true;
    followed
}

fn fresh() -> Followed {
    after_baseline(&item("available", 0, None))
}

fn round(followed: &Followed, item: &Answer) -> Reading {
    followed
        .round(CSBS, |path| if path.starts_with("checkpoint_items/") { item.clone() } else { nobody(path) })
        .0
}

#[test]
fn available_after_restoring_is_success_without_a_marker_and_failure_with_one() {
    for word in ["waiting_restore", "restoring", "RESTORING"] {
        let running = round(&fresh(), &item(word, 16, None));
        assert_eq!((&running.found, running.strength), (&Found::Running, Strength::Derived));
        let next = fresh().then(&running);
        let done = round(&next, &item("available", 20, None));
        assert_eq!((&done.found, done.evidence), (&Found::Succeeded, "item_state"));
        let Found::Failed(problem) = round(&next, &item("available", 20, Some("locked"))).found else {
            panic!()
        };
        let said = problem.upstream.unwrap();
        assert_eq!((said.code.as_deref(), said.message.as_deref()), (Some("6015"), Some("locked")));
    }
    let Found::Failed(_) = round(&fresh(), &item("error", 20, None)).found else { panic!() };
}

#[test]
fn an_item_that_others_restore_says_nothing_of_a_restore_that_may_not_have_come() {
    let beside = || fresh().unproven().beside_others();
    let moved = [item("restoring", 16, None), item("available", 20, Some("locked")), item("error", 20, None)];
    for item in &moved {
        let reading = round(&beside(), item);
        assert!(matches!(reading.found, Found::Lost(_)), "{:?}", reading.found);
        assert_eq!(reading.notes, None, "it was not seen running");
    }
    assert_eq!(round(&fresh().beside_others(), &moved[0]).found, Found::Running, "known to be taken");
}

#[test]
fn a_marker_of_an_earlier_failure_is_not_this_ones() {
    let marked = after_baseline(&item("available", 0, Some("locked")));
    let same = item("available", 20, Some("locked"));
    // Cleared while it runs and back with the same words: this restore's own.
    let cleared = marked.clone().then(&round(&marked, &item("restoring", 16, None)));
    assert!(matches!(round(&cleared, &same).found, Found::Failed(_)));
    // Never cleared, same words: of the earlier one or of this one, nobody can say.
    let kept = marked.clone().then(&round(&marked, &item("restoring", 16, Some("locked"))));
    assert!(matches!(round(&kept, &same).found, Found::Lost(_)));
    // Other words are news, and no marker at all is success.
    assert!(matches!(round(&kept, &item("available", 20, Some("disk gone"))).found, Found::Failed(_)));
    assert_eq!(round(&kept, &item("available", 20, None)).found, Found::Succeeded);
    // Not seen restoring: never success, never a failure out of an old marker.
    assert!(matches!(round(&marked.clone().age(121), &same).found, Found::Lost(_)));
}

#[test]
fn without_a_baseline_the_first_sight_of_restoring_takes_its_place() {
    let blind = Followed { notes: Value::Null, ..fresh() };
    let marked = item("available", 20, Some("locked"));
    assert_eq!(round(&blind, &marked).found, Found::Nothing);
    assert!(matches!(round(&blind.clone().age(121), &marked).found, Found::Lost(_)));
    let seen = blind.clone().then(&round(&blind, &item("restoring", 16, None)));
    assert!(matches!(round(&seen, &marked).found, Found::Failed(_)));
    assert_eq!(round(&seen, &item("available", 20, None)).found, Found::Succeeded);
    let seen = blind.clone().then(&round(&blind, &item("restoring", 16, Some("locked"))));
    assert!(matches!(round(&seen, &marked).found, Found::Lost(_)));
}

#[test]
fn always_available_is_polled_for_the_grace_window_and_then_unknown() {
    // F27: over before the first poll; the item alone is never success
    for minute in [0, 16] {
        let still = item("available", minute, None);
        assert_eq!(round(&fresh().age(119), &still).found, Found::Nothing);
        assert!(matches!(round(&fresh().age(120), &still).found, Found::Lost(_)));
    }
    // a new failure marker is a word, however early
    assert!(matches!(round(&fresh().age(1), &item("available", 16, Some("locked"))).found, Found::Failed(_)));
}

#[test]
fn an_item_that_goes_away_takes_the_outcome_with_it() {
    for read in
        [item("deleting", 20, None), item("deleted", 20, None), error(404, "CSBS.3001"), answer(404, "")]
    {
        assert!(matches!(round(&fresh(), &read).found, Found::Lost(_)));
    }
}

#[test]
fn a_read_that_is_refused_is_never_the_end_of_a_restore() {
    assert!(matches!(round(&fresh(), &error(403, "CSBS.9009")).found, Found::Lost(_)));
    for read in [error(401, "APIGW.0301"), Err(Unread::NoCredential)] {
        assert!(matches!(round(&fresh(), &read).found, Found::Unreadable { credential: true, .. }));
    }
    for read in [
        answer(500, ""),
        error(404, "APIGW.0101"),
        error(429, "APIGW.0308"),
        answer(200, "<html>"),
        ok(json!({})),
        ok(json!({"checkpoint_item": {"id": ITEM}})),
    ] {
        let found = round(&fresh(), &read).found;
        assert!(matches!(found, Found::Unreadable { credential: false, .. }), "{read:?}: {found:?}");
    }
}

#[test]
fn a_word_nobody_knows_is_kept_and_decides_nothing() {
    let odd = round(&fresh(), &item("something_new", 20, None));
    assert_eq!(odd.found, Found::Nothing);
    assert!(odd.anomaly.is_some());
    assert_eq!(round(&fresh(), &item("protecting", 20, None)).anomaly, None);
}

#[test]
fn progress_is_never_the_backups_own_hundred() {
    assert_eq!(round(&fresh(), &ok(wire("csbs.item.response"))).progress, None);
}

fn probe(followed: &Followed, item: &Answer, restore: &Answer) -> (Reading, Vec<String>) {
    let followed = Followed { no_restore_read: false, ..followed.clone() };
    followed.round(CSBS, |path| if path.starts_with("restores/") { restore.clone() } else { item.clone() })
}

#[test]
fn the_restores_own_word_decides_where_there_is_one() {
    let still = item("available", 16, None);
    let said = |status: &str| {
        let reason = json!({"OS::Nova::Server#x": "locked"});
        let restore = ok(json!({"restore": {"id": RESTORE, "status": status, "resources_reason": reason}}));
        probe(&fresh().age(500), &still, &restore).0
    };
    let done = said("success");
    assert_eq!((&done.found, done.strength, done.evidence), (&Found::Succeeded, Strength::Strong, "restore"));
    for word in ["in_progress", "in-progress", "Started", "running", "waiting"] {
        assert_eq!((said(word).found, said(word).anomaly), (Found::Running, None), "{word}");
    }
    for word in ["success", "SUCCEEDED", "available"] {
        assert_eq!(said(word).found, Found::Succeeded, "{word}");
    }
    for word in ["fail", "failed", "failure", "Error"] {
        assert!(matches!(said(word).found, Found::Failed(_)), "{word}");
    }
    let Found::Failed(problem) = said("FAIL").found else { panic!() };
    assert!(problem.detail.contains("locked"), "{problem}");
    let odd = said("something_new");
    assert_eq!(odd.found, Found::Running);
    assert!(odd.anomaly.is_some());
}

#[test]
fn the_probe_is_made_where_the_item_does_not_say_and_only_then() {
    let (_, asked) = probe(&fresh(), &item("restoring", 16, None), &ok(json!({})));
    assert_eq!(asked, [format!("checkpoint_items/{ITEM}")]);
    // a handle of another kind is no restore's id
    let other = fresh().task("job", RESTORE);
    let (_, asked) = probe(&other, &item("available", 16, None), &ok(json!({})));
    assert_eq!(asked.len(), 1);
    let (_, asked) = probe(&fresh(), &item("available", 16, None), &ok(json!({})));
    assert_eq!(asked, [format!("checkpoint_items/{ITEM}"), format!("restores/{RESTORE}")]);
}

#[test]
fn an_upstream_without_that_read_is_remembered() {
    let still = item("available", 16, None);
    for absent in [error(404, "APIGW.0101"), error(404, "APIG.0101"), answer(405, "")] {
        let (reading, _) = probe(&fresh(), &still, &absent);
        assert_eq!((&reading.found, reading.no_restore_read), (&Found::Nothing, true), "{absent:?}");
        let (_, asked) = fresh().then(&reading).round(CSBS, |_| still.clone());
        assert_eq!(asked.len(), 1, "asked again");
    }
    // the read is there and does not know the restore, or fails for the moment
    for there in [
        answer(404, r#"{"itemNotFound":{"code":404,"message":"?"}}"#),
        error(404, "CSBS.6040"),
        answer(503, ""),
        error(403, "CSBS.9009"),
        answer(200, "<html>"),
        Err(Unread::NoAnswer("timed out".to_owned())),
    ] {
        let (reading, _) = probe(&fresh(), &still, &there);
        assert_eq!((&reading.found, reading.no_restore_read), (&Found::Nothing, false), "{there:?}");
    }
}

#[test]
fn what_was_seen_running_is_remembered_beside_the_baseline() {
    let reading = round(&fresh(), &item("restoring", 16, None));
    let notes = reading.notes.clone().unwrap();
    assert_eq!((&notes["seen_running"], notes["baseline"].is_object()), (&json!(true), true));
    assert_eq!(round(&fresh().then(&reading), &item("restoring", 17, None)).notes, None, "said once");
}
