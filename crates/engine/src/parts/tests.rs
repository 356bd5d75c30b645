//! What a whole is called follows from its parts: the table.

use restore_model::{Event, RestoreId, Timestamp};

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(crate) fn whole() -> Intent {
    let request = json!({
        "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "source": {"backup_id": "b"},
        "target": {"type": "server", "server_id": "s", "power_on": true, "volumes": [
            {"backup_id": "b1", "volume_id": "v1"}, {"backup_id": "b2", "volume_id": "v2"}]},
    });
    let request = restore_model::schema::parse_restore(request).unwrap();
    Intent {
        id: RestoreId::at(NOW),
        caller: "ann".to_owned(),
        fingerprint: format!("vbs-v2/{}", request.fingerprint()),
        request,
        key: None,
        origin: None,
        part_of: None,
        instead_of: None,
        route: RoutePin {
            upstream: "vbs".to_owned(),
            generation: "vbs-v2".to_owned(),
            reason: String::new(),
            baseline: true,
            overdue_seconds: 60,
            fan_out: true,
            at: None,
        },
        created_at: NOW,
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
    }
}

fn entry(intent: Intent, kinds: Vec<EventKind>) -> Entry {
    let event = |(seq, kind): (u32, EventKind)| Event {
        seq,
        at: NOW,
        cause: Cause::Upstream,
        evidence: Evidence::new(PARTS, Strength::Strong, NOW),
        trace_id: "0".repeat(32),
        kind,
    };
    let events: Vec<Event> = (1..).zip(kinds).map(event).collect();
    Entry { intent: intent.into(), state: State::fold(&events).unwrap() }
}

fn started() -> EventKind {
    EventKind::Started {
        handle: None,
        upstream_status: None,
        progress: None,
        request_id: None,
        clock_offset_ms: None,
    }
}

fn problem() -> Box<Problem> {
    Box::new(Problem::new(Code::TargetState, "the disk is attached"))
}

/// A part in a state; a dash is one that is not there.
fn a_part(index: usize, status: &str) -> Option<Entry> {
    use EventKind::{Accepted, Failed, NotApplied, Rejected, Submitting, Succeeded, Unsure};
    let sent = Submitting { attempt: 1 };
    let unsure = Unsure { reason: "r".to_owned(), problem: None };
    let kinds = match status {
        "-" => return None,
        "accepted" => vec![Accepted],
        "submitting" => vec![Accepted, sent],
        "running" => vec![Accepted, sent, started()],
        "unknown" => vec![Accepted, sent, unsure],
        "succeeded" => vec![Accepted, sent, started(), Succeeded],
        "failed" => vec![Accepted, sent, started(), Failed { problem: problem() }],
        "rejected" => vec![Accepted, sent, Rejected { problem: problem() }],
        "not_applied" => vec![Accepted, sent, unsure, NotApplied],
        other => panic!("{other}"),
    };
    Some(entry(part(&whole(), index, NOW), kinds))
}

/// What follows for a whole in a state, in words.
fn follows(state: &str, parts: [&str; 2], more_to_come: bool) -> Vec<&'static str> {
    let sent = EventKind::Submitting { attempt: 1 };
    let kinds = match state {
        "submitting" => vec![EventKind::Accepted, sent],
        "running" => vec![EventKind::Accepted, sent, started()],
        "unknown" => {
            let unsure = EventKind::Unsure { reason: "r".to_owned(), problem: None };
            vec![EventKind::Accepted, sent, started(), unsure]
        }
        other => panic!("{other}"),
    };
    let parts = [a_part(0, parts[0]), a_part(1, parts[1])];
    sum(&entry(whole(), kinds), &parts, more_to_come).iter().map(EventKind::as_str).collect()
}

#[test]
fn a_whole_is_what_its_parts_are() {
    let rows: &[(&str, [&str; 2], bool, &[&str])] = &[
        // Nothing is known yet.
        ("submitting", ["-", "-"], true, &[]),
        ("submitting", ["submitting", "-"], true, &[]),
        // It has begun.
        ("submitting", ["running", "-"], true, &["started", "observed"]),
        ("submitting", ["succeeded", "-"], true, &["started", "observed"]),
        ("running", ["succeeded", "running"], true, &["observed"]),
        // One that nobody knows of.
        ("submitting", ["unknown", "-"], true, &["started", "observed", "unsure"]),
        ("running", ["succeeded", "unknown"], true, &["observed", "unsure"]),
        ("unknown", ["succeeded", "unknown"], true, &["observed"]),
        ("unknown", ["succeeded", "running"], true, &["started", "observed"]),
        // The end.
        ("running", ["succeeded", "succeeded"], true, &["observed", "succeeded"]),
        ("unknown", ["succeeded", "succeeded"], true, &["started", "observed", "succeeded"]),
        ("running", ["succeeded", "failed"], true, &["observed", "failed"]),
        ("running", ["succeeded", "rejected"], true, &["observed", "failed"]),
        ("submitting", ["failed", "succeeded"], true, &["started", "observed", "failed"]),
        // Nothing was overwritten.
        ("submitting", ["rejected", "-"], false, &["rejected"]),
        ("unknown", ["not_applied", "not_applied"], true, &["observed", "not_applied"]),
        ("running", ["not_applied", "rejected"], true, &["observed", "unsure", "not_applied"]),
        ("unknown", ["not_applied", "unknown"], true, &["observed"]),
        // The rest is still to come, or is not.
        ("running", ["succeeded", "-"], true, &["observed"]),
        ("running", ["succeeded", "-"], false, &["observed", "failed"]),
        ("running", ["running", "-"], false, &["observed"]),
        ("running", ["succeeded", "accepted"], false, &["observed"]),
    ];
    for (state, parts, more_to_come, expected) in rows {
        assert_eq!(follows(state, *parts, *more_to_come), *expected, "{state} {parts:?} {more_to_come}");
    }
}

/// What became unknown because the ledger is an old copy is not for the parts in it to tell.
#[test]
fn an_old_copy_is_not_summed_up() {
    let mut old = entry(
        whole(),
        vec![
            EventKind::Accepted,
            EventKind::Submitting { attempt: 1 },
            EventKind::Unsure { reason: "an old copy".to_owned(), problem: None },
        ],
    );
    old.state.evidence.kind = "restart".to_owned();
    assert!(sum(&old, &[a_part(0, "succeeded"), a_part(1, "succeeded")], false).is_empty());
}

#[test]
fn parts_have_names_of_their_own_that_follow_from_the_whole() {
    let whole = whole();
    let [one, other] = [0, 1].map(|index| part(&whole, index, NOW));
    assert_eq!(one.id, part(&whole, 0, NOW).id);
    assert!(one.id != other.id && one.id != whole.id && other.id != whole.id);
    assert!(one.fingerprint != other.fingerprint && one.fingerprint != one.request.fingerprint());
    let locks = whole.locks();
    assert!(one.locks().iter().chain(&other.locks()).all(|lock| !locks.contains(lock)));
    assert_eq!(one.part_of, Some(whole.id));
    assert!(!one.route.fan_out);
}
