//! Every pair of state and event.

use restore_model::{
    Cause, Code, Event, EventKind, Evidence, Mapping, Problem, Proof, ResolvedAs, RoutePin, State, Status,
    StepOutcome, Strength, TaskRef, Timestamp,
};

/// The events, in the order of the table's columns.
pub(crate) const COLUMNS: [&str; 23] = [
    "accepted",
    "checking",
    "checked",
    "submitting",
    "not_sent",
    "started",
    "outcome_unclear",
    "progress",
    "not_found",
    "stale",
    "overdue",
    "needs_operator",
    "anomaly",
    "rerouted",
    "step_ended",
    "succeeded",
    "failed",
    "rejected",
    "not_applied",
    "resolved",
    "cancelled",
    "expired",
    "halted",
];

/// What each state becomes by each event: the state's letter, or a dot where the event is refused.
/// Events come from the upstream and have the right number; a send has the right attempt.
///
/// A accepted, C checking, S submitting, R running, U unknown; final: s succeeded, f failed,
/// r rejected, n not applied, c cancelled, e expired.
pub(crate) const TABLE: &[(&str, &str)] = &[
    //                       acc chk ckd sub nst sta uns obs abs stl ovd ndo ano rer ste suc fal rej nap rsv can exp hlt
    (
        "accepted            ",
        ".   C   .   S   .   .   .   .   .   A   .   .   A   C   .   .   .   r   .   .   c   e   .",
    ),
    (
        "checking            ",
        ".   .   C   S   .   .   .   .   .   C   .   .   C   C   .   .   .   r   .   .   c   e   .",
    ),
    // In flight: it may be on the wire, so nothing but its answer, or proof that it is not.
    (
        "submitting          ",
        ".   .   .   .   S   R   U   .   .   .   .   .   S   C   .   .   f   r   .   .   .   .   .",
    ),
    // Proven not to have been applied: again, or no more.
    (
        "submitting, proven  ",
        ".   .   .   S   .   .   .   .   .   S   .   .   S   C   .   .   .   r   .   .   .   e   .",
    ),
    (
        "submitting, 3rd sent",
        ".   .   .   .   S   R   U   .   .   .   .   .   S   C   .   .   f   r   .   .   .   .   .",
    ),
    (
        "submitting, 3 proven",
        ".   .   .   .   .   .   .   .   .   S   .   .   S   C   .   .   .   r   .   .   .   e   .",
    ),
    (
        "running             ",
        ".   .   .   .   .   .   U   R   .   R   R   R   R   .   .   s   f   .   .   .   .   .   .",
    ),
    (
        "running, overdue    ",
        ".   .   .   .   .   .   U   R   .   R   R   R   R   .   .   s   f   .   .   .   .   .   .",
    ),
    (
        "running, operator   ",
        ".   .   .   .   .   .   U   R   .   R   R   R   R   .   .   s   f   .   .   .   .   .   .",
    ),
    (
        "unknown             ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   .   s   f   r   .   .   .   .   .",
    ),
    (
        "unknown, 2 absent   ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   .   s   f   r   .   .   .   .   .",
    ),
    (
        "unknown, 3 absent   ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   .   s   f   r   n   .   .   .   .",
    ),
    // It ran before it was lost, so that it cannot be called not applied.
    (
        "unknown, once ran   ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   .   s   f   .   .   .   .   .   .",
    ),
    (
        "unknown, operator   ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   .   s   f   r   .   .   .   .   .",
    ),
    // Restores of two disks, one after the other: what is said of the last step is followed by the end of all.
    (
        "steps: submitting   ",
        ".   .   .   .   S   R   U   .   .   .   .   .   S   C   .   .   .   .   .   .   .   .   S",
    ),
    (
        "steps: running      ",
        ".   .   .   .   .   .   U   R   .   R   R   R   R   .   R   .   .   .   .   .   .   .   R",
    ),
    (
        "steps: unknown      ",
        ".   .   .   .   .   R   .   U   U   U   .   U   U   .   R   .   .   .   .   .   .   .   U",
    ),
    (
        "steps: between      ",
        ".   .   R   S   .   .   U   R   .   R   R   R   R   .   .   .   .   .   .   .   .   .   R",
    ),
    // After a ledger that may be an older copy was confirmed: the next disk may have been sent already.
    (
        "steps: halted       ",
        ".   .   R   .   .   .   U   R   .   R   R   R   R   .   .   .   .   .   .   .   .   .   R",
    ),
    (
        "steps: 2 submitting ",
        ".   .   .   .   S   R   U   .   .   .   .   .   S   .   .   .   .   .   .   .   .   .   S",
    ),
    (
        "steps: 2 running    ",
        ".   .   .   .   .   .   U   R   .   R   R   R   R   .   R   .   .   .   .   .   .   .   R",
    ),
    (
        "steps: 2 ended      ",
        ".   .   .   .   .   .   .   .   .   .   .   .   R   .   .   s   .   .   .   .   .   .   .",
    ),
    (
        "steps: 2 failed     ",
        ".   .   .   .   .   .   .   .   .   .   .   .   R   .   .   .   f   .   .   .   .   .   .",
    ),
    (
        "steps: 1 failed     ",
        ".   .   .   .   .   .   .   .   .   .   .   .   R   .   .   .   f   .   .   .   .   .   .",
    ),
    (
        "succeeded           ",
        ".   .   .   .   .   .   .   .   .   .   .   .   s   .   .   .   .   .   .   .   .   .   .",
    ),
    (
        "failed              ",
        ".   .   .   .   .   .   .   .   .   .   .   .   f   .   .   .   .   .   .   .   .   .   .",
    ),
    (
        "rejected            ",
        ".   .   .   .   .   .   .   .   .   .   .   .   r   .   .   .   .   .   .   .   .   .   .",
    ),
    (
        "not applied         ",
        ".   .   .   .   .   .   .   .   .   .   .   .   n   .   .   .   .   .   .   .   .   .   .",
    ),
    (
        "cancelled           ",
        ".   .   .   .   .   .   .   .   .   .   .   .   c   .   .   .   .   .   .   .   .   .   .",
    ),
    (
        "expired             ",
        ".   .   .   .   .   .   .   .   .   .   .   .   e   .   .   .   .   .   .   .   .   .   .",
    ),
];

/// How each row of the table is reached.
fn path(row: &str) -> Vec<&'static str> {
    let sent = ["accepted", "submitting"];
    let and = |begin: &[&'static str], rest: &[&'static str]| [begin, rest].concat();
    let second = ["started", "step_ended", "submitting", "started"];
    let thrice = ["not_sent", "submitting", "not_sent", "submitting"];
    match row.trim_end() {
        "accepted" => vec!["accepted"],
        "checking" => vec!["accepted", "checking"],
        "submitting" => sent.to_vec(),
        "submitting, proven" => and(&sent, &["not_sent"]),
        "submitting, 3rd sent" => and(&sent, &thrice),
        "submitting, 3 proven" => and(&and(&sent, &thrice), &["not_sent"]),
        "running" => and(&sent, &["started"]),
        "running, overdue" => and(&sent, &["started", "overdue"]),
        "running, operator" => and(&sent, &["started", "stale", "needs_operator"]),
        "unknown" => and(&sent, &["outcome_unclear"]),
        "unknown, 2 absent" => and(&sent, &["outcome_unclear", "not_found", "not_found"]),
        "unknown, 3 absent" => and(&sent, &["outcome_unclear", "not_found", "not_found", "not_found"]),
        "unknown, once ran" => {
            and(&sent, &["started", "outcome_unclear", "not_found", "not_found", "not_found"])
        }
        "unknown, operator" => and(&sent, &["outcome_unclear", "needs_operator"]),
        "steps: submitting" => sent.to_vec(),
        "steps: running" => and(&sent, &["started"]),
        "steps: unknown" => and(&sent, &["outcome_unclear"]),
        "steps: between" => and(&sent, &["started", "step_ended"]),
        "steps: halted" => and(&sent, &["started", "halted", "step_ended"]),
        "steps: 2 submitting" => and(&sent, &second[..3]),
        "steps: 2 running" => and(&sent, &second),
        "steps: 2 ended" => and(&and(&sent, &second), &["step_ended"]),
        "steps: 2 failed" => and(&and(&sent, &second), &["step_failed"]),
        "steps: 1 failed" => and(&sent, &["started", "step_failed"]),
        "succeeded" => and(&sent, &["started", "succeeded"]),
        "failed" => and(&sent, &["failed"]),
        "rejected" => vec!["accepted", "rejected"],
        "not applied" => {
            and(&sent, &["outcome_unclear", "not_found", "not_found", "not_found", "not_applied"])
        }
        "cancelled" => vec!["accepted", "cancelled"],
        "expired" => vec!["accepted", "expired"],
        other => panic!("no way leads to {other:?}"),
    }
}

pub(crate) fn letter(status: Status) -> char {
    match status {
        Status::Accepted => 'A',
        Status::Checking => 'C',
        Status::Submitting => 'S',
        Status::Running => 'R',
        Status::Unknown => 'U',
        Status::Succeeded => 's',
        Status::Failed => 'f',
        Status::Rejected => 'r',
        Status::NotApplied => 'n',
        Status::Cancelled => 'c',
        Status::Expired => 'e',
    }
}

/// The event of a column that comes after a state; a send has this attempt.
pub(crate) fn kind_after(state: &State, column: &str, attempt: u32) -> EventKind {
    let step = state.step;
    match kind(column, attempt) {
        EventKind::Submitting { attempt, .. } => EventKind::Submitting { attempt, step },
        EventKind::StepEnded { outcome, problem, .. } => EventKind::StepEnded { step, outcome, problem },
        other => other,
    }
}

/// The event of a column; a send has this attempt.
pub(crate) fn kind(column: &str, attempt: u32) -> EventKind {
    let problem = || Box::new(Problem::new(Code::OutcomeUnknown, "for a test"));
    match column {
        "accepted" => EventKind::Accepted,
        "checking" => EventKind::Checking,
        "checked" => EventKind::Checked { notes: 1.into(), clock_offset_ms: Some(2), sent_as: None },
        "submitting" => EventKind::Submitting { attempt, step: 0 },
        "not_sent" => EventKind::NotSent { proof: Proof::NotConnected },
        "started" => EventKind::Started {
            task: Some(TaskRef { kind: "job".into(), id: "h".into() }),
            upstream_status: Some("RUNNING".into()),
            progress: Some(3),
            request_id: Some("q".into()),
            clock_offset_ms: None,
        },
        "outcome_unclear" => EventKind::OutcomeUnclear { reason: "reset".into(), problem: None },
        "progress" => {
            EventKind::Progress { task: None, upstream_status: None, progress: Some(9), notes: None }
        }
        "not_found" => EventKind::NotFound,
        "stale" => EventKind::Stale { awaiting_credential: true },
        "overdue" => EventKind::Overdue,
        "halted" => EventKind::Halted,
        "needs_operator" => EventKind::NeedsOperator { reason: "lost".into() },
        "anomaly" => EventKind::Anomaly { what: "two logs".into() },
        "rerouted" => EventKind::Rerouted {
            to: Box::new(RoutePin {
                upstream: "other".into(),
                generation: "cbr-v3".into(),
                reason: "fallback".into(),
                baseline: true,
                overdue_seconds: 60,
                steps: Vec::new(),
                at: None,
            }),
            problem: Box::new(Problem::new(Code::GenerationRetired, "closed")),
        },
        "step_ended" => EventKind::StepEnded { step: 0, outcome: StepOutcome::Succeeded, problem: None },
        "step_failed" => {
            EventKind::StepEnded { step: 0, outcome: StepOutcome::Failed, problem: Some(problem()) }
        }
        "succeeded" => EventKind::Succeeded,
        "failed" => EventKind::Failed { problem: problem() },
        "rejected" => EventKind::Rejected { problem: problem() },
        "not_applied" => EventKind::NotApplied,
        "resolved" => EventKind::Resolved {
            outcome: ResolvedAs::Applied,
            by: "ops".into(),
            reason: "seen".into(),
            early: false,
        },
        "cancelled" => EventKind::Cancelled,
        "expired" => EventKind::Expired,
        other => panic!("no event is called {other:?}"),
    }
}

pub(crate) fn event(seq: u32, cause: Cause, kind: EventKind) -> Event {
    let at = Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(i64::from(seq));
    let evidence = Evidence::new("answer", Strength::Strong, at);
    Event { seq, at, cause, evidence, trace_id: "0".repeat(32), kind }
}

/// The state at the end of a row's path.
pub(crate) fn reach(row: &str) -> State {
    let mut path = path(row).into_iter();
    let first = event(1, Cause::Upstream, kind(path.next().unwrap(), 1));
    let state = State::begin(&steps(row), &first).unwrap();
    path.fold(state, |state, column| {
        let kind = kind_after(&state, column, state.attempts + 1);
        let event = event(state.seq + 1, Cause::Upstream, kind);
        state.apply(&event).unwrap()
    })
}

/// The steps of the restore of a row.
fn steps(row: &str) -> Vec<Mapping> {
    let disk = |nth: u32| Mapping {
        backup_id: format!("b{nth}").parse().unwrap(),
        volume_id: format!("v{nth}").parse().unwrap(),
    };
    if row.starts_with("steps") { vec![disk(1), disk(2)] } else { Vec::new() }
}

fn cells() -> impl Iterator<Item = (&'static str, &'static str, char)> {
    TABLE.iter().flat_map(|(row, cells)| {
        let letters: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(letters.len(), COLUMNS.len(), "{row}");
        COLUMNS.into_iter().zip(letters).map(|(column, cell)| (*row, column, cell.chars().next().unwrap()))
    })
}

#[test]
fn the_columns_are_all_there_is() {
    for column in COLUMNS {
        assert_eq!(kind(column, 1).as_str(), column);
    }
    let rows: String = TABLE.iter().map(|(row, _)| letter(reach(row).status)).collect();
    for status in Status::ALL {
        assert!(rows.contains(letter(status)), "{status:?} has no row");
    }
}

/// A disk that was never sent was not overwritten by this restore, whatever an operator meant by that word.
#[test]
fn resolved_applied_between_steps_is_illegal() {
    let state = reach("steps: between");
    let decide = |outcome| {
        let kind = EventKind::Resolved { outcome, by: "ops".into(), reason: "seen".into(), early: true };
        state.clone().apply(&event(state.seq + 1, Cause::Operator, kind)).map(|state| state.status)
    };
    assert!(decide(ResolvedAs::Applied).is_err());
    assert_eq!(decide(ResolvedAs::NotApplied), Ok(Status::Failed));
    assert_eq!(decide(ResolvedAs::Failed), Ok(Status::Failed));
}

#[test]
fn every_pair_is_as_in_the_table() {
    let mut wrong = Vec::new();
    for (row, column, expected) in cells() {
        let before = reach(row);
        let after = before.clone().apply(&event(
            before.seq + 1,
            Cause::Upstream,
            kind_after(&before, column, before.attempts + 1),
        ));
        let found = after.as_ref().map_or('.', |state| letter(state.status));
        if found != expected {
            wrong.push(format!("{row} + {column}: expected {expected}, found {found}: {:?}", after.err()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_cause_changes_three_things_only() {
    for cause in
        [Cause::Caller, Cause::Gateway, Cause::Upstream, Cause::Deadline, Cause::Restart, Cause::Operator]
    {
        for (row, column, from_upstream) in cells() {
            let before = reach(row);
            let ends = "sfrnce".contains(from_upstream) && !before.status.is_final();
            let expected = match cause {
                // I6: a restart alone never makes a state final.
                Cause::Restart if ends || column == "step_ended" => '.',
                // Rule 8: without proof only a person may end it, once reads have been given up.
                Cause::Operator if column == "resolved" && before.needs_operator => 's',
                // What a ledger calls unsent may have been sent after that copy of it was made.
                Cause::Restart | Cause::Operator if column == "outcome_unclear" && before.is_unsent() => 'U',
                _ => from_upstream,
            };
            let after = before.clone().apply(&event(
                before.seq + 1,
                cause,
                kind_after(&before, column, before.attempts + 1),
            ));
            let found = after.map_or('.', |state| letter(state.status));
            assert_eq!(found, expected, "{row} + {column} by {cause:?}");
        }
    }
}

#[test]
fn a_person_who_says_it_did_not_take_place_ends_it_without_effect() {
    let before = reach("unknown, operator");
    let kind = EventKind::Resolved {
        outcome: ResolvedAs::NotApplied,
        by: "ops".into(),
        reason: "looked".into(),
        early: false,
    };
    let after = before.clone().apply(&event(before.seq + 1, Cause::Operator, kind)).unwrap();
    assert_eq!((after.status, after.needs_operator), (Status::NotApplied, false));
    assert_eq!(after.error.map(|error| error.effect), Some(restore_model::Effect::None));
}

#[test]
fn an_attempt_has_its_number() {
    for (row, _) in TABLE {
        let before = reach(row);
        for attempt in (0..6).filter(|attempt| *attempt != before.attempts + 1) {
            let wrong =
                event(before.seq + 1, Cause::Gateway, EventKind::Submitting { attempt, step: before.step });
            assert!(before.clone().apply(&wrong).is_err(), "{row}, attempt {attempt}");
        }
    }
}

#[test]
fn an_event_has_its_number() {
    for (row, column, _) in cells() {
        let before = reach(row);
        for seq in [0, 1, before.seq, before.seq + 2] {
            let wrong = event(seq, Cause::Upstream, kind_after(&before, column, before.attempts + 1));
            assert!(before.clone().apply(&wrong).is_err(), "{row} + {column} with number {seq}");
        }
    }
}

#[test]
fn a_history_begins_with_its_acceptance() {
    assert!(State::fold(&[], &[]).is_err());
    for column in COLUMNS {
        let first = event(1, Cause::Caller, kind(column, 1));
        assert_eq!(State::fold(&[], &[first]).is_ok(), column == "accepted", "{column}");
    }
    assert!(State::fold(&[], &[event(2, Cause::Caller, EventKind::Accepted)]).is_err());
}
