//! Random histories, each step of which is judged by what came before it and nothing else.

use proptest::prelude::*;
use restore_model::{Cause, Event, EventKind, Mapping, State, Status, StepOutcome, StepStatus};

use crate::table::{COLUMNS, event, kind_after};

/// What is tried: a kind of event, by whom, how far its number and its attempt are off.
type Try = (&'static str, Cause, u32, u32);

fn attempt_of(state: &State, off: u32) -> u32 {
    (state.attempts + 1).saturating_sub(off)
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    // What ends a history is tried less often, so that most live long.
    let ends = prop::sample::select(COLUMNS[15..].to_vec());
    let others = prop::sample::select(COLUMNS[..15].to_vec());
    let causes =
        [Cause::Caller, Cause::Gateway, Cause::Upstream, Cause::Deadline, Cause::Restart, Cause::Operator];
    let column = prop_oneof![12 => others, 1 => ends];
    let off = || prop_oneof![12 => Just(0_u32), 1 => 1..3_u32];
    prop::collection::vec((column, prop::sample::select(causes.to_vec()), off(), off()), 0..120)
}

/// Whether what came before says nothing of the present call of a restore with so many steps.
fn starts_a_call(event: &Event, steps: usize) -> bool {
    match event.kind {
        EventKind::Rerouted { .. } => true,
        EventKind::StepEnded { outcome, step, .. } => {
            outcome == StepOutcome::Succeeded && usize::from(step) + 1 < steps
        }
        _ => false,
    }
}

/// What the invariants say of one event that was taken.
fn judge(told: &[Event], before: &State, event: &Event, after: &State) -> Result<(), TestCaseError> {
    let all = |word: &str| told.iter().filter(|event| event.kind.as_str() == word).count();
    // Of the present call alone.
    let starts = |event: &Event| starts_a_call(event, before.steps.len());
    let since = told.iter().rposition(starts).map_or(0, |last| last + 1);
    let count = |word: &str| told[since..].iter().filter(|event| event.kind.as_str() == word).count();

    // I5: a final state is final; an anomaly is noted and changes nothing that is shown.
    if before.status.is_final() || matches!(event.kind, EventKind::Anomaly { .. }) {
        prop_assert_eq!(event.kind.as_str(), "anomaly");
        let noted = State { seq: event.seq, updated_at: event.at, ..before.clone() };
        prop_assert_eq!(after, &noted);
    }
    // I6: a restart alone never makes a state final.
    if after.status.is_final() && !before.status.is_final() {
        prop_assert_ne!(event.cause, Cause::Restart);
    }
    // I2: as many sends as were written down, three at most, each but the first on a proof.
    prop_assert_eq!(after.attempts as usize, count("submitting"));
    prop_assert!(after.attempts <= 3);
    if let EventKind::Submitting { attempt, step } = event.kind {
        // Each step is sent after the one before has succeeded, and never after the end.
        prop_assert_eq!(step, before.step);
        prop_assert_eq!(usize::from(step), before.steps_done());
        prop_assert_eq!(count("not_sent"), count("submitting") - 1);
        prop_assert_eq!(attempt, before.attempts + 1);
        prop_assert!(attempt == 1 || before.last_proof.is_some());
    }
    // What may have reached the cloud is never called cancelled, expired or rejected afterwards.
    let unproven = count("submitting") > count("not_sent");
    if matches!(after.status, Status::Cancelled | Status::Expired) {
        prop_assert!(!unproven);
    }
    if after.status == Status::Cancelled {
        prop_assert_eq!(count("submitting"), 0);
    }
    if after.status == Status::Rejected {
        prop_assert_eq!(all("started"), 0);
    }
    // A restore of several steps is what they are.
    if !after.steps.is_empty() {
        let done = after.steps_done();
        let resolved = all("resolved") > 0;
        prop_assert!(
            resolved
                || (after.status == Status::Succeeded)
                    == (done == after.steps.len() && after.status.is_final())
        );
        prop_assert!(
            done == 0
                || !matches!(
                    after.status,
                    Status::Rejected | Status::NotApplied | Status::Expired | Status::Cancelled
                )
        );
        let moving = [StepStatus::Submitting, StepStatus::Running, StepStatus::Unknown];
        let open = after.steps.iter().filter(|step| moving.contains(&step.status)).count();
        prop_assert!(open <= usize::from(!after.status.is_final()));
    }
    // Only a send has an outcome, or what a restart or a person says may have been one.
    let doubted = told.iter().any(|event| {
        event.kind.as_str() == "outcome_unclear" && matches!(event.cause, Cause::Restart | Cause::Operator)
    });
    if matches!(after.status, Status::Running | Status::Unknown | Status::Succeeded | Status::Failed) {
        prop_assert!(unproven || doubted || after.steps_done() > 0);
    }
    // Rule 8: not applied needs a person, or three absent reads and a target never seen moving.
    if after.status == Status::NotApplied && before.status != Status::NotApplied {
        let proven = count("not_found") >= 3 && count("started") == 0 && before.status == Status::Unknown;
        let resolved = event.kind.as_str() == "resolved" && before.needs_operator;
        prop_assert!(resolved || proven);
    }
    // Marks stand only where they mean something.
    prop_assert!(!after.overdue || after.status == Status::Running);
    prop_assert!(!after.needs_operator || matches!(after.status, Status::Running | Status::Unknown));
    prop_assert!(!after.awaiting_credential || after.last_poll_failed_since.is_some());
    prop_assert_eq!(after.finished_at.is_some(), after.status.is_final());
    prop_assert_eq!(after.submitted_at.is_some(), after.attempts > 0 || after.step > 0);
    // I12: numbered without gaps.
    prop_assert_eq!(after.seq as usize, told.len());
    Ok(())
}

fn live(steps: usize, tries: Vec<Try>) -> Result<(), TestCaseError> {
    let disk = |nth: usize| Mapping {
        backup_id: format!("b{nth}").parse().unwrap(),
        volume_id: format!("v{nth}").parse().unwrap(),
    };
    let steps: Vec<Mapping> = (0..steps).map(disk).collect();
    let mut told = vec![event(1, Cause::Caller, EventKind::Accepted)];
    let mut state = State::begin(&steps, &told[0]).unwrap();
    for (column, cause, seq_off, attempt_off) in tries {
        let kind = kind_after(&state, column, attempt_of(&state, attempt_off));
        let event = event(state.seq + 1 + seq_off, cause, kind);
        let before = state.clone();
        match state.clone().apply(&event) {
            Ok(after) => {
                told.push(event.clone());
                judge(&told, &before, &event, &after)?;
                state = after;
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.from, Some(before.status));
                prop_assert_eq!(refusal.event, column);
            }
        }
        prop_assert!(state.seq == before.seq || state.seq == before.seq + 1);
        if state.seq == before.seq {
            prop_assert_eq!(&state, &before, "a refused event leaves no trace");
        }
    }
    // I12: the fold of the events, also of those that were stored and read back in between.
    prop_assert_eq!(&State::fold(&steps, &told).unwrap(), &state);
    let stored = serde_json::to_string(&told).unwrap();
    let read: Vec<Event> = serde_json::from_str(&stored).unwrap();
    prop_assert_eq!(&read, &told);
    let snapshot: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    prop_assert_eq!(snapshot, state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_invariants(steps in prop::sample::select(vec![0_usize, 0, 2, 3]), tries in tries()) {
        live(steps, tries)?;
    }
}

#[test]
fn an_observation_that_forgets_survives_being_stored() {
    let forget = EventKind::Progress {
        task: None,
        upstream_status: None,
        progress: None,
        notes: Some(serde_json::Value::Null),
    };
    let event = event(4, Cause::Upstream, forget);
    let read: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
    assert_eq!(read, event);
}
