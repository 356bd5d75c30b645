//! The meaning of a reading for a state: a pure function, so that every rule of reconciliation can be tested without a
//! cloud. It proposes events; [`State::apply`] decides whether they are legal when they are written.

use std::time::Duration;

use restore_generations::{Found, Reading};
use restore_model::state::MIN_ABSENT_READS;
use restore_model::{EventKind, Evidence, State, Status, Strength, Timestamp};

use crate::journal::Kinds;

/// Limits and times that reconciliation uses besides state and reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The present moment.
    pub(super) now: Timestamp,
    /// How long this process has known the outcome to be unknown, on the monotonic clock (I9).
    pub(super) unknown_for: Duration,
    /// How long absence must last, the send's own time included.
    pub(super) settle: Duration,
    /// Time for which an unknown outcome is polled before it needs an operator.
    pub(super) unknown: Duration,
    /// For how long the route's time for a restore has passed, if it has.
    pub(super) overdue: Option<Duration>,
}

/// The events to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reconciled {
    /// From the reading of the upstream.
    pub(super) told: Kinds,
    /// Because time has passed.
    pub(super) passed: Kinds,
}

/// The events that follow from one reading.
pub(super) fn reconcile(state: &State, reading: &Reading, terms: Terms) -> Reconciled {
    let mut settled = Reconciled::default();
    let evidence = reading.evidence_at(terms.now);

    if state.status.is_final() {
        // Too late to matter (I5); worth keeping when it contradicts.
        let contradicts = match reading.found {
            Found::Running => true,
            Found::Succeeded => state.status != Status::Succeeded,
            Found::Failed(_) => state.status != Status::Failed,
            _ => false,
        };
        if contradicts {
            let said = reading.status.as_deref().unwrap_or("something else");
            let what = format!("after {} the upstream says {said:?}", state.status.as_str());
            settled.told.push((EventKind::Anomaly { what }, evidence));
        }
        return settled;
    }
    if !matches!(state.status, Status::Running | Status::Unknown) {
        return settled;
    }

    match &reading.found {
        Found::Running if state.status == Status::Unknown => {
            // The notes first: `started` carries none.
            if reading.notes.is_some() {
                settled.told.push((observed(reading), evidence.clone()));
            }
            settled.told.push((
                EventKind::Started {
                    task: reading.task.clone(),
                    upstream_status: reading.status.clone(),
                    progress: reading.progress,
                    request_id: None,
                    clock_offset_ms: None,
                },
                evidence.clone(),
            ));
        }
        Found::Running => push_if_news(state, reading, &evidence, &mut settled.told),
        Found::Succeeded => {
            push_if_news(state, reading, &evidence, &mut settled.told);
            settled.told.push((EventKind::Succeeded, evidence.clone()));
        }
        Found::Failed(problem) => {
            push_if_news(state, reading, &evidence, &mut settled.told);
            settled.told.push((EventKind::Failed { problem: Box::new(problem.clone()) }, evidence.clone()));
        }
        Found::Absent => {
            if state.status == Status::Unknown && state.may_be_absent(terms.now) {
                let enough = terms.unknown_for >= terms.settle;
                // Counted up to what is needed; afterwards only time is waited for.
                if state.absent_reads < MIN_ABSENT_READS || state.last_poll_failed_since.is_some() {
                    settled.told.push((EventKind::NotFound, evidence.clone()));
                }
                let reads = state.absent_reads + u32::try_from(settled.told.len()).unwrap_or(0);
                if enough && reads >= MIN_ABSENT_READS {
                    settled.told.push((EventKind::NotApplied, evidence.clone()));
                    return settled;
                }
            } else {
                push_if_news(state, reading, &evidence, &mut settled.told);
            }
        }
        Found::Nothing => push_if_news(state, reading, &evidence, &mut settled.told),
        Found::Lost(reason) => {
            if state.status == Status::Running {
                let unsure = EventKind::OutcomeUnclear { reason: reason.clone(), problem: None };
                settled.told.push((unsure, evidence.clone()));
            } else {
                push_if_news(state, reading, &evidence, &mut settled.told);
            }
        }
        Found::Unreadable { reason, credential } => {
            if state.last_poll_failed_since.is_none() || state.awaiting_credential != *credential {
                let stale = EventKind::Stale { awaiting_credential: *credential };
                settled.told.push((stale, evidence.clone().detail(reason.clone())));
            }
        }
    }

    if let Some(what) = &reading.anomaly
        && state.upstream_status != reading.status
    {
        let at = settled.told.iter().position(|(kind, _)| is_final(kind)).unwrap_or(settled.told.len());
        settled.told.insert(at, (EventKind::Anomaly { what: what.clone() }, evidence));
    }
    let ends =
        settled.told.iter().any(|(kind, _)| is_final(kind) || matches!(kind, EventKind::Started { .. }));
    if !ends {
        let clock = |detail: &str| Evidence::new("deadline", Strength::Strong, terms.now).detail(detail);
        if state.status == Status::Running && terms.overdue.is_some() && !state.overdue {
            settled.passed.push((EventKind::Overdue, clock("longer than the route allows")));
        }
        // A word that this version knows is believed however long it stays the same; all else is for an operator.
        let runs = reading.found == Found::Running && reading.anomaly.is_none();
        let due = match state.status {
            Status::Unknown => terms.unknown_for >= terms.unknown,
            _ => !runs && terms.overdue.is_some_and(|overdue| overdue >= terms.unknown),
        };
        if due && !state.needs_operator {
            let (reason, detail) = why_undecided(reading);
            settled.passed.push((EventKind::NeedsOperator { reason }, clock(&detail)));
        }
        // A restore that has just become unknown must not be called overdue any more.
        if settled.told.iter().any(|(kind, _)| matches!(kind, EventKind::OutcomeUnclear { .. })) {
            settled.passed.clear();
        }
    }
    settled
}

/// Why reads have not settled a restore, and the same for the evidence.
fn why_undecided(reading: &Reading) -> (String, String) {
    match &reading.found {
        Found::Unreadable { reason, credential: true } => (
            format!("{reason}; bring a token first, and a read with it may settle the restore"),
            "no read was made for want of a credential".to_owned(),
        ),
        Found::Unreadable { reason, .. } => (reason.clone(), "it could not be read".to_owned()),
        Found::Lost(reason) => (reason.clone(), "reads have not settled it".to_owned()),
        _ => match &reading.anomaly {
            Some(what) => (what.clone(), "reads have not settled it".to_owned()),
            None => ("reads give no proof either way".to_owned(), "reads have not settled it".to_owned()),
        },
    }
}

const fn is_final(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Succeeded | EventKind::Failed { .. } | EventKind::NotApplied)
}

fn observed(reading: &Reading) -> EventKind {
    EventKind::Progress {
        task: reading.task.clone(),
        upstream_status: reading.status.clone(),
        progress: reading.progress,
        notes: reading.notes.clone(),
    }
}

/// True if a reading is new. Others are not written, because a history is for people.
fn push_if_news(state: &State, reading: &Reading, evidence: &Evidence, told: &mut Kinds) {
    let news = (reading.task.is_some() && reading.task != state.task)
        || (reading.status.is_some() && reading.status != state.upstream_status)
        || (reading.progress.is_some() && reading.progress != state.progress)
        || reading.notes.is_some()
        || state.last_poll_failed_since.is_some();
    if news {
        told.push((observed(reading), evidence.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use restore_model::{Cause, Code, Event, Problem};

    fn state(kinds: &[EventKind]) -> State {
        let events: Vec<_> = std::iter::once(&EventKind::Accepted)
            .chain(kinds)
            .zip(1..)
            .map(|(kind, seq)| Event {
                seq,
                at: Timestamp::from_micros(0),
                cause: Cause::Upstream,
                evidence: Evidence::new("test", Strength::Strong, Timestamp::from_micros(0)),
                trace_id: "0".repeat(32),
                kind: kind.clone(),
            })
            .collect();
        State::fold(&[], &events).unwrap()
    }

    fn unknown(absent: usize) -> State {
        let mut kinds = vec![
            EventKind::Submitting { attempt: 1, step: 0 },
            EventKind::OutcomeUnclear { reason: "no answer".to_owned(), problem: None },
        ];
        kinds.extend(vec![EventKind::NotFound; absent]);
        state(&kinds)
    }

    fn running() -> State {
        state(&[EventKind::Submitting { attempt: 1, step: 0 }, started()])
    }

    fn started() -> EventKind {
        EventKind::Started {
            task: None,
            upstream_status: Some("running".to_owned()),
            progress: None,
            request_id: None,
            clock_offset_ms: None,
        }
    }

    fn reading(found: Found, status: &str) -> Reading {
        let mut reading = Reading::new(found, "operation_log", Strength::Strong);
        reading.status = Some(status.to_owned());
        reading
    }

    fn terms(unknown_for: u64) -> Terms {
        Terms {
            now: Timestamp::from_micros(1),
            unknown_for: Duration::from_secs(unknown_for),
            settle: Duration::from_secs(210),
            unknown: Duration::from_secs(3_600),
            overdue: None,
        }
    }

    fn words(kinds: &Kinds) -> Vec<&'static str> {
        kinds.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    #[test]
    fn absence_counts_only_after_the_window_and_three_reads() {
        let absent = reading(Found::Absent, "available");
        // F25: a list that lags for 90 s must not end the restore, however often it is read.
        assert_eq!(words(&reconcile(&unknown(2), &absent, terms(90)).told), ["not_found"]);
        assert!(reconcile(&unknown(3), &absent, terms(90)).told.is_empty());
        // Late, but read only twice so far.
        assert_eq!(words(&reconcile(&unknown(1), &absent, terms(300)).told), ["not_found"]);
        assert_eq!(words(&reconcile(&unknown(2), &absent, terms(300)).told), ["not_found", "not_applied"]);
        assert_eq!(words(&reconcile(&unknown(3), &absent, terms(300)).told), ["not_applied"]);
    }

    /// An event that its state refuses is never written, and the restore would never end.
    #[test]
    fn every_reading_leads_to_events_that_the_state_takes() {
        let problem = Problem::new(Code::RestoreFailed, "for a test");
        let found = [
            Found::Running,
            Found::Succeeded,
            Found::Failed(problem.clone()),
            Found::Absent,
            Found::Nothing,
            Found::Lost("gone".to_owned()),
            Found::Unreadable { reason: "503".to_owned(), credential: false },
            Found::Unreadable { reason: "401".to_owned(), credential: true },
        ];
        let lost = EventKind::OutcomeUnclear { reason: "gone".to_owned(), problem: None };
        let moving = state(&[EventKind::Submitting { attempt: 1, step: 0 }, started(), lost]);
        let mut states: Vec<State> = (0..=4).map(unknown).collect();
        states.extend([running(), moving]);
        let day = 24 * 60 * 60;
        for state in states {
            // A clock that was set back, one that stands, one that was set on.
            for now in [-day, 0, day].map(|seconds| Timestamp::from_micros(seconds * 1_000_000)) {
                for unknown_for in [0, 300, 100_000] {
                    for found in &found {
                        let terms =
                            Terms { now, overdue: Some(Duration::from_secs(7_200)), ..terms(unknown_for) };
                        let settled = reconcile(&state, &reading(found.clone(), "word"), terms);
                        let mut after = state.clone();
                        for (kind, evidence) in settled.told.into_iter().chain(settled.passed) {
                            let event = Event {
                                seq: after.seq + 1,
                                at: now,
                                cause: Cause::Upstream,
                                evidence,
                                trace_id: "0".repeat(32),
                                kind,
                            };
                            let word = event.kind.as_str();
                            after = after.apply(&event).unwrap_or_else(|why| {
                                panic!("{word} after {found:?} at {now} in {state:?}: {why}")
                            });
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_accepted_once_is_never_called_not_applied() {
        let lost = state(&[
            EventKind::Submitting { attempt: 1, step: 0 },
            started(),
            EventKind::OutcomeUnclear { reason: "gone".to_owned(), problem: None },
        ]);
        let settled = reconcile(&lost, &reading(Found::Absent, "available"), terms(100_000));
        assert!(!words(&settled.told).contains(&"not_applied"));
        assert_eq!(words(&settled.passed), ["needs_operator"]);
    }

    #[test]
    fn a_vanished_task_is_unknown_and_not_failed() {
        let settled = reconcile(&running(), &reading(Found::Lost("gone".to_owned()), "running"), terms(0));
        assert_eq!(words(&settled.told), ["outcome_unclear"]);
    }

    #[test]
    fn overdue_is_an_alarm_and_no_end() {
        let late = Terms { overdue: Some(Duration::ZERO), ..terms(0) };
        let settled = reconcile(&running(), &reading(Found::Running, "running"), late);
        assert_eq!((words(&settled.told), words(&settled.passed)), (vec![], vec!["overdue"]));
    }

    #[test]
    fn a_final_state_stays_and_the_contradiction_is_kept() {
        let done = state(&[EventKind::Submitting { attempt: 1, step: 0 }, started(), EventKind::Succeeded]);
        let settled = reconcile(&done, &reading(Found::Running, "running"), terms(0));
        assert_eq!(words(&settled.told), ["anomaly"]);
        assert!(reconcile(&done, &reading(Found::Succeeded, "success"), terms(0)).told.is_empty());
    }

    #[test]
    fn an_unknown_word_keeps_it_running_and_warns_once() {
        let mut odd = reading(Found::Running, "SOMETHING_NEW");
        odd.anomaly = Some("a new word".to_owned());
        let first = reconcile(&running(), &odd, terms(0));
        assert_eq!(words(&first.told), ["progress", "anomaly"]);
        let mut after = running();
        after.upstream_status = Some("SOMETHING_NEW".to_owned());
        assert!(reconcile(&after, &odd, terms(0)).told.is_empty());
    }

    #[test]
    fn a_refused_token_is_noted_once_and_changes_nothing_else() {
        let refused = Reading::unreadable("401", true, "operation_log");
        let first = reconcile(&running(), &refused, terms(0));
        assert_eq!(words(&first.told), ["stale"]);
        let mut stale = running();
        stale.last_poll_failed_since = Some(Timestamp::from_micros(1));
        stale.awaiting_credential = true;
        assert_eq!(reconcile(&stale, &refused, terms(0)), Reconciled::default());
        // And a good read clears it.
        assert_eq!(
            words(&reconcile(&stale, &reading(Found::Running, "running"), terms(0)).told),
            ["progress"]
        );
    }

    #[test]
    fn found_after_all_it_runs_or_ends() {
        let found = reconcile(&unknown(2), &reading(Found::Running, "running"), terms(100_000));
        assert_eq!((words(&found.told), found.passed.len()), (vec!["started"], 0));
        let done = reconcile(&unknown(0), &reading(Found::Succeeded, "success"), terms(0));
        assert_eq!(words(&done.told), ["progress", "succeeded"]);
        let problem = Problem::new(Code::RestoreFailed, "failed");
        let failed = reconcile(&unknown(0), &reading(Found::Failed(problem), "failed"), terms(0));
        assert_eq!(words(&failed.told), ["progress", "failed"]);
    }
}
