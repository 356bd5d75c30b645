//! The state of a restore: the fold of its events. [`State::apply`] is a total function over (state, event): each pair
//! is either a move or an [`IllegalMove`], and the ledger rejects the latter. Three invariants hold by construction,
//! for every caller:
//!
//! * **I5** no event leaves a final state;
//! * **I6** no event caused by a restart makes a state final;
//! * **I2** a second send needs a stored proof that the previous one was not applied.
//!
//! A restore with several calls has one [`Step`] for each. The fields of a send in [`State`] belong to the current
//! step. A step that has ended leaves its record in [`State::steps`]. The next step can be sent only after the current
//! one has succeeded, and only while the restore is open. So nothing can be sent after the end of the restore.
//!
//! ```text
//!  accepted ──► checking ──► submitting ──► running ◄──► unknown
//!     │            │          │  ▲  │          │            │
//!     │            │          │  └──┘ proof    ▼            ▼
//!     └────────────┴──────────┴─────► rejected cancelled expired
//!                                     succeeded failed not_applied
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{Cause, Event, EventKind, Evidence, Proof, ResolvedAs, StepOutcome, TaskRef};
use crate::id::Id;
use crate::problem::{Code, Effect, Problem, Retry};
use crate::request::{Mapping, RestoreRequest, Source, Target};
use crate::restore::{Intent, RoutePin};

/// Maximum number of sends of a restore. Each send after the first needs a proof.
pub const MAX_SENDS: u32 = 3;
/// Number of reads of an authoritative list that must not find a restore before it counts as not applied.
pub const MIN_ABSENT_READS: u32 = 3;

/// Status of a restore. The names are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Durably stored, not sent.
    Accepted,
    /// Read-only checks before the send; not sent.
    Checking,
    /// The request may be on the wire.
    Submitting,
    /// The upstream accepted it.
    Running,
    /// It may or may not have reached the upstream; polls will decide.
    Unknown,
    /// The upstream reports success.
    Succeeded,
    /// The upstream reports a failure.
    Failed,
    /// Rejected before anything was changed.
    Rejected,
    /// Proven that nothing happened.
    NotApplied,
    /// Cancelled before it was sent.
    Cancelled,
    /// Not sent in time.
    Expired,
}

impl Status {
    /// Every status, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Checking,
        Self::Submitting,
        Self::Running,
        Self::Unknown,
        Self::Succeeded,
        Self::Failed,
        Self::Rejected,
        Self::NotApplied,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Returns true if the status can never change again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Accepted | Self::Checking | Self::Submitting | Self::Running | Self::Unknown => false,
            Self::Succeeded
            | Self::Failed
            | Self::Rejected
            | Self::NotApplied
            | Self::Cancelled
            | Self::Expired => true,
        }
    }

    /// Returns true if a restore has ended and may have changed its target.
    #[must_use]
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Returns true if a restore has ended without changing its target.
    #[must_use]
    pub const fn is_without_effect(self) -> bool {
        self.is_final() && !self.has_effect()
    }

    /// Returns the public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Checking => "checking",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::NotApplied => "not_applied",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Returns the status with this public name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Status of one step of a restore. The names are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not sent yet.
    Waiting,
    /// Its request may be on the wire.
    Submitting,
    /// The upstream accepted it.
    Running,
    /// It may or may not have reached the upstream; polls will decide.
    Unknown,
    /// The upstream, or an operator, reports success.
    Succeeded,
    /// The upstream, or an operator, reports a failure.
    Failed,
    /// Rejected before anything was changed.
    Rejected,
    /// Proven that nothing happened.
    NotApplied,
    /// Not sent, and it will not be sent: the restore has ended.
    NotSent,
}

impl StepStatus {
    /// Returns the public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::NotApplied => "not_applied",
            Self::NotSent => "not_sent",
        }
    }
}

/// One call of a restore with several calls: the restore of one disk of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The backup of the disk, with its ID in the request.
    pub backup_id: Id,
    /// The disk to overwrite.
    pub volume_id: Id,
    /// The current status.
    pub status: StepStatus,
    /// Number of attempts.
    pub attempts: u32,
    /// The upstream's reference to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<TaskRef>,
    /// The reason of a failure or of an unknown outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Problem>,
    /// Time at which its last attempt was recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub submitted_at: Option<Timestamp>,
    /// Time of its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
}

impl Step {
    fn waiting(mapping: &Mapping) -> Self {
        Self {
            backup_id: mapping.backup_id.clone(),
            volume_id: mapping.volume_id.clone(),
            status: StepStatus::Waiting,
            attempts: 0,
            task: None,
            error: None,
            submitted_at: None,
            finished_at: None,
        }
    }

    /// Returns a separate request for the restore of this step.
    #[must_use]
    pub fn request(&self, whole: &RestoreRequest) -> RestoreRequest {
        RestoreRequest {
            project_id: whole.project_id.clone(),
            source: Source { backup_id: self.backup_id.clone(), checkpoint_id: None },
            target: Target::Volume { volume_id: self.volume_id.clone() },
        }
    }
}

/// The new route of a restore after a rejection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reroute {
    /// The new route.
    pub to: RoutePin,
    /// The rejection by the generation that is closed to the project.
    pub problem: Problem,
    /// Time of the rerouting.
    pub at: Timestamp,
}

/// An event that is not allowed in a state. Nothing is written in this case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not a legal event for a restore that is {}: {why}", from.map_or("not there yet", Status::as_str))]
pub struct IllegalMove {
    /// The status before the event; `None` before the first event.
    pub from: Option<Status>,
    /// The name of the event.
    pub event: &'static str,
    /// The violated rule.
    pub why: &'static str,
}

/// The state of a restore after its events so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The current status.
    pub status: Status,
    /// It runs longer than the `overdue_seconds` of its route.
    pub overdue: bool,
    /// Polls can no longer decide; locks are kept until an operator does.
    pub needs_operator: bool,
    /// Start of the period without a successful poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll_failed_since: Option<Timestamp>,
    /// True if the token of an authorised caller would permit a refresh.
    pub awaiting_credential: bool,
    /// Progress in percent, if the upstream reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Number of attempts.
    pub attempts: u32,
    /// Proof that the last attempt was not applied; `None` while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_proof: Option<Proof>,
    /// The upstream's reference to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// The upstream's own status, unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<String>,
    /// The upstream's request ID of the send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Upstream clock minus ours, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// The request with the upstream's own backup IDs, if it came with those of another generation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_as: Option<Box<RestoreRequest>>,
    /// The generation's notes about its reads.
    pub notes: Value,
    /// True if the target was ever seen in transition; then the restore can never end as not applied.
    pub seen_moving: bool,
    /// Number of reads of an authoritative list that did not find it.
    pub absent_reads: u32,
    /// The evidence for the current data: the last change of status, or a later reading.
    pub evidence: Evidence,
    /// The reason of a failure or of an unknown outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    /// Time at which the last attempt was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// Time at which it first became running or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// Time at which the last event was written.
    pub updated_at: Timestamp,
    /// Time at which it became final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The number of the last event.
    pub seq: u32,
    /// The new route, if the first upstream was closed to the project.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rerouted: Option<Box<Reroute>>,
    /// The current step, counted from 0.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub step: u16,
    /// Every step, if there are several calls; otherwise empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
    /// No further step is sent, because it may have been sent already ([`EventKind::Halted`]).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub halted: bool,
    /// True if an event after the send has an earlier date than the send: the clock that dated the send was ahead. Then
    /// absence from an upstream's list since the send proves nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sent_ahead: bool,
}

/// Tolerated difference between the clocks of two processes, in seconds. Beyond it the date of a send counts as wrong.
const CLOCKS_DIFFER: i64 = 60;

impl State {
    /// Returns the request that the upstream gets now: the whole request or its current step, with the caller's or the
    /// upstream's own backup IDs.
    #[must_use]
    pub fn request<'a>(&'a self, intent: &'a Intent) -> Cow<'a, RestoreRequest> {
        match (&self.sent_as, self.present()) {
            (Some(sent_as), _) => Cow::Borrowed(sent_as),
            (None, Some(step)) => Cow::Owned(step.request(&intent.request)),
            (None, None) => Cow::Borrowed(&intent.request),
        }
    }

    /// Returns the current route of the restore.
    #[must_use]
    pub fn route<'a>(&'a self, intent: &'a Intent) -> &'a RoutePin {
        self.rerouted.as_ref().map_or(&intent.route, |rerouted| &rerouted.to)
    }

    /// Returns the current step of a restore with several steps; after the last one, the last.
    fn present(&self) -> Option<&Step> {
        self.steps.get(usize::from(self.step)).or_else(|| self.steps.last())
    }

    /// Returns the number of succeeded steps.
    #[must_use]
    pub fn steps_done(&self) -> usize {
        self.steps.iter().filter(|step| step.status == StepStatus::Succeeded).count()
    }

    /// Returns true if a step has succeeded and the next one is not sent yet.
    #[must_use]
    pub fn is_between_steps(&self) -> bool {
        matches!(self.status, Status::Running)
            && self.steps.get(usize::from(self.step)).is_some_and(|step| step.status == StepStatus::Waiting)
    }

    /// Returns the state after all `events` of a restore with these steps, in their order.
    ///
    /// # Errors
    /// If an event is not allowed, or if there are no events.
    pub fn fold(steps: &[Mapping], events: &[Event]) -> Result<Self, IllegalMove> {
        let (first, rest) = events.split_first().ok_or(IllegalMove {
            from: None,
            event: "nothing",
            why: "a restore has at least one event",
        })?;
        rest.iter().try_fold(Self::begin(steps, first)?, Self::apply)
    }

    /// Returns the state after the first event of a restore with these steps; `steps` is empty for a single call.
    ///
    /// # Errors
    /// If the event is not [`EventKind::Accepted`] with number 1.
    pub fn begin(steps: &[Mapping], event: &Event) -> Result<Self, IllegalMove> {
        let illegal = |why| IllegalMove { from: None, event: event.kind.as_str(), why };
        if event.kind != EventKind::Accepted {
            return Err(illegal("a restore begins by being accepted"));
        }
        if event.seq != 1 {
            return Err(illegal("events are numbered from 1 without gaps"));
        }
        Ok(Self {
            status: Status::Accepted,
            overdue: false,
            needs_operator: false,
            last_poll_failed_since: None,
            awaiting_credential: false,
            progress: None,
            attempts: 0,
            last_proof: None,
            task: None,
            upstream_status: None,
            request_id: None,
            clock_offset_ms: None,
            sent_as: None,
            notes: Value::Null,
            seen_moving: false,
            absent_reads: 0,
            evidence: event.evidence.clone(),
            error: None,
            submitted_at: None,
            answered_at: None,
            updated_at: event.at,
            finished_at: None,
            seq: 1,
            rerouted: None,
            step: 0,
            steps: steps.iter().map(Step::waiting).collect(),
            halted: false,
            sent_ahead: false,
        })
    }

    /// Returns the state after one more event.
    ///
    /// # Errors
    /// If the event is not allowed in this state.
    pub fn apply(mut self, event: &Event) -> Result<Self, IllegalMove> {
        use EventKind as E;
        use Status as S;

        let from = self.status;
        let illegal = |why| IllegalMove { from: Some(from), event: event.kind.as_str(), why };
        if event.seq != self.seq + 1 {
            return Err(illegal("events are numbered without gaps"));
        }
        match (from, &event.kind) {
            (_, E::Accepted) => return Err(illegal("a restore is accepted once")),
            (_, E::Anomaly { .. }) => {}
            _ if from.is_final() => return Err(illegal("a final state is final")),

            (S::Accepted, E::Checking) => self.move_to(S::Checking, event),
            (S::Running, E::Checked { .. }) if !self.is_between_steps() => {
                return Err(illegal("what was sent is not checked again"));
            }
            (S::Checking | S::Running, E::Checked { notes, clock_offset_ms, sent_as }) => {
                self.notes = notes.clone();
                self.sent_as = sent_as.clone();
                self.clock_offset_ms = clock_offset_ms.or(self.clock_offset_ms);
            }

            (_, E::Submitting { step, .. }) if *step != self.step => {
                return Err(illegal(
                    "steps are sent one after the other, each after the one before has succeeded",
                ));
            }
            (S::Accepted | S::Checking, E::Submitting { attempt: 1, .. }) => self.send(1, event),
            (S::Running, E::Submitting { .. }) if self.is_between_steps() && self.halted => {
                return Err(illegal(
                    "the ledger may have been an older copy, in which this disk is not known to be sent",
                ));
            }
            (S::Running, E::Submitting { attempt: 1, .. }) if self.is_between_steps() => self.send(1, event),
            (S::Submitting, E::Submitting { attempt, .. }) => {
                if self.last_proof.is_none() {
                    return Err(illegal("a second send needs proof that the first was not applied"));
                }
                if *attempt != self.attempts + 1 || *attempt > MAX_SENDS {
                    return Err(illegal("sends are counted one by one, three at most"));
                }
                self.send(*attempt, event);
            }
            (S::Submitting, E::NotSent { proof }) => {
                if self.last_proof.is_some() {
                    return Err(illegal("this attempt is already proven not to have been applied"));
                }
                self.last_proof = Some(*proof);
            }

            (S::Accepted | S::Checking | S::Submitting, E::Rerouted { to, problem }) => {
                if self.rerouted.is_some() || self.step > 0 {
                    return Err(illegal("a restore is rerouted once, before anything of it was done"));
                }
                if problem.code != Code::GenerationRetired || problem.effect != Effect::None {
                    return Err(illegal(
                        "only a generation that is closed to the project proves that nothing was applied",
                    ));
                }
                self.reroute(to, problem, event);
            }

            (_, E::StepEnded { step, outcome, problem }) => {
                if usize::from(*step) >= self.steps.len() || *step != self.step {
                    return Err(illegal("only the present step ends"));
                }
                if !self.may_end_step(*outcome) {
                    return Err(illegal("the step does not stand so that it could end like this"));
                }
                if event.cause == Cause::Restart {
                    return Err(illegal("a restart alone ends no step"));
                }
                self.end_step(*outcome, problem.as_deref(), event);
            }
            _ if self.has_ended_step() && !event.kind.ends_a_restore() => {
                return Err(illegal("after its last step a restore ends"));
            }

            (S::Submitting, E::Started { .. } | E::OutcomeUnclear { .. } | E::Failed { .. })
                if self.last_proof.is_some()
                    && !(matches!(event.kind, E::OutcomeUnclear { .. }) && doubts(event)) =>
            {
                return Err(illegal("the last attempt is proven not to have been applied"));
            }
            (
                S::Submitting | S::Unknown,
                E::Started { task, upstream_status, progress, request_id, clock_offset_ms },
            ) => {
                self.move_to(S::Running, event);
                self.answered_at = self.answered_at.or(Some(event.at));
                self.error = None;
                self.needs_operator = false;
                self.absent_reads = 0;
                self.seen_moving = true;
                self.refreshed();
                self.task = task.clone().or(self.task);
                self.upstream_status = upstream_status.clone().or(self.upstream_status);
                self.progress = progress.or(self.progress);
                self.request_id = request_id.clone().or(self.request_id);
                self.clock_offset_ms = clock_offset_ms.or(self.clock_offset_ms);
            }
            (S::Accepted | S::Checking, E::OutcomeUnclear { .. }) if !doubts(event) => {
                return Err(illegal("what was not sent is not unknown"));
            }
            (
                S::Accepted | S::Checking | S::Submitting | S::Running,
                E::OutcomeUnclear { reason, problem },
            ) => {
                self.move_to(S::Unknown, event);
                self.answered_at = self.answered_at.or(Some(event.at));
                self.overdue = false;
                self.error = Some(match problem {
                    Some(problem) => (**problem).clone(),
                    None => Problem::new(Code::OutcomeUnknown, reason.clone()).effect(Effect::Possible),
                });
            }

            (S::Running | S::Unknown, E::Progress { task, upstream_status, progress, notes }) => {
                self.refreshed();
                if self.status == S::Running {
                    // Polls can decide again.
                    self.needs_operator = false;
                }
                self.evidence = event.evidence.clone();
                self.task = task.clone().or(self.task);
                self.upstream_status = upstream_status.clone().or(self.upstream_status);
                self.progress = progress.or(self.progress);
                if let Some(notes) = notes {
                    self.notes = notes.clone();
                }
            }
            (S::Unknown, E::NotFound) => {
                self.refreshed();
                self.absent_reads += 1;
            }
            (_, E::Stale { awaiting_credential }) if self.status != S::Submitting || self.is_unsent() => {
                self.last_poll_failed_since = self.last_poll_failed_since.or(Some(event.at));
                self.awaiting_credential = *awaiting_credential;
            }
            (S::Running, E::Overdue) => self.overdue = true,
            (_, E::Halted) if !self.steps.is_empty() => self.halted = true,
            (S::Running | S::Unknown, E::NeedsOperator { .. }) => self.needs_operator = true,

            (
                _,
                E::Succeeded
                | E::Failed { .. }
                | E::Rejected { .. }
                | E::NotApplied
                | E::Resolved { .. }
                | E::Cancelled
                | E::Expired,
            ) if event.cause == Cause::Restart => {
                return Err(illegal("a restart alone never makes a state final"));
            }
            (_, E::Succeeded | E::Failed { .. } | E::Rejected { .. } | E::NotApplied | E::Expired)
                if !self.steps.is_empty() && self.is_begun() =>
            {
                self.end_of_steps(event).map_err(illegal)?;
            }
            (S::Running | S::Unknown, E::Succeeded) => {
                self.move_to(S::Succeeded, event);
                self.error = None;
            }
            (S::Submitting | S::Running | S::Unknown, E::Failed { problem }) => {
                self.move_to(S::Failed, event);
                self.error = Some((**problem).clone());
            }
            (S::Accepted | S::Checking | S::Submitting, E::Rejected { problem }) => {
                self.move_to(S::Rejected, event);
                self.error = Some((**problem).clone());
            }
            // The answer arrived late: another process had already taken the restore over.
            (S::Unknown, E::Rejected { problem }) if !self.seen_moving => {
                self.move_to(S::Rejected, event);
                self.error = Some((**problem).clone());
            }
            (S::Unknown, E::NotApplied) => {
                if !self.is_absent() {
                    return Err(illegal(
                        "not applied needs three absent reads and a target never seen moving",
                    ));
                }
                self.end_without_effect(event);
            }
            (S::Running | S::Unknown, E::Resolved { outcome: ResolvedAs::Applied, .. })
                if self.is_between_steps() =>
            {
                return Err(illegal("the present disk was never sent, so this restore did not overwrite it"));
            }
            (S::Running | S::Unknown, E::Resolved { outcome, early, .. })
                if (self.needs_operator || *early) && event.cause == Cause::Operator =>
            {
                self.resolve(*outcome, event);
            }
            (S::Accepted | S::Checking, E::Cancelled) => self.move_to(S::Cancelled, event),
            (S::Accepted | S::Checking, E::Expired) => self.move_to(S::Expired, event),
            // Every attempt is proven not to have been applied, and the time for further attempts is over.
            (S::Submitting, E::Expired) if self.last_proof.is_some() => self.move_to(S::Expired, event),

            (
                _,
                E::Checking
                | E::Checked { .. }
                | E::Submitting { .. }
                | E::NotSent { .. }
                | E::Started { .. }
                | E::OutcomeUnclear { .. }
                | E::Progress { .. }
                | E::NotFound
                | E::Stale { .. }
                | E::Overdue
                | E::Halted
                | E::NeedsOperator { .. }
                | E::Rerouted { .. }
                | E::Succeeded
                | E::Failed { .. }
                | E::Rejected { .. }
                | E::NotApplied
                | E::Resolved { .. }
                | E::Cancelled
                | E::Expired,
            ) => return Err(illegal("the states do not allow it")),
        }
        self.sent_ahead |= self.is_sent_after(event.at);
        self.seq = event.seq;
        self.updated_at = event.at;
        self.record_step();
        Ok(self)
    }

    /// Returns the events that record `kind`, an event about the current step, for the restore. For a restore with a
    /// single call both are the same.
    #[must_use]
    pub fn ending(&self, kind: EventKind) -> Vec<EventKind> {
        use EventKind as E;

        let begun = self.is_begun();
        if self.steps.is_empty() || !begun || self.status.is_final() || self.has_ended_step() {
            return vec![kind];
        }
        let (outcome, problem) = match kind {
            E::Succeeded => (StepOutcome::Succeeded, None),
            E::Failed { problem } => (StepOutcome::Failed, Some(problem)),
            E::Rejected { problem } => (StepOutcome::Rejected, Some(problem)),
            E::NotApplied => (StepOutcome::NotApplied, self.error.clone().map(Box::new)),
            E::Expired => (StepOutcome::Expired, None),
            other => return vec![other],
        };
        let ended = E::StepEnded { step: self.step, outcome, problem: problem.clone() };
        let last = usize::from(self.step) + 1 == self.steps.len();
        let whole = match outcome {
            StepOutcome::Succeeded if last => Some(E::Succeeded),
            StepOutcome::Succeeded => None,
            StepOutcome::NotApplied if self.steps_done() == 0 => Some(E::NotApplied),
            StepOutcome::Expired if self.steps_done() == 0 => Some(E::Expired),
            StepOutcome::Rejected if self.steps_done() == 0 => {
                let problem =
                    problem.unwrap_or_else(|| Box::new(Problem::new(Code::Expired, "not sent in time")));
                let detail = format!("no disk was restored: {}", problem.detail);
                Some(E::Rejected { problem: Box::new(Problem { detail, ..*problem }) })
            }
            _ => Some(E::Failed { problem: Box::new(self.in_part(outcome.into(), problem.as_deref())) }),
        };
        std::iter::once(ended).chain(whole).collect()
    }

    /// Returns true if any step may have been sent.
    fn is_begun(&self) -> bool {
        !matches!(self.status, Status::Accepted | Status::Checking)
    }

    /// Returns true if the current step has ended so that only the end of the restore can follow.
    fn has_ended_step(&self) -> bool {
        self.present().is_some_and(|step| step.finished_at.is_some())
    }

    /// Returns true if enough reads of an authoritative list did not find it, and no other read has seen it.
    const fn is_absent(&self) -> bool {
        self.absent_reads >= MIN_ABSENT_READS && !self.seen_moving && !self.sent_ahead
    }

    /// Returns true if absence from an authoritative list that is read now can prove that it was not applied.
    #[must_use]
    pub fn may_be_absent(&self, at: Timestamp) -> bool {
        !self.seen_moving && !self.sent_ahead && !self.is_sent_after(at)
    }

    /// Returns true if the send has a later date than something that came after it.
    fn is_sent_after(&self, at: Timestamp) -> bool {
        self.submitted_at.is_some_and(|sent| at.plus_seconds(CLOCKS_DIFFER) < sent)
    }

    fn may_end_step(&self, outcome: StepOutcome) -> bool {
        use Status as S;

        let between = self.is_between_steps();
        let open = matches!(self.status, S::Running | S::Unknown) && !between;
        if self.has_ended_step() {
            return false;
        }
        match outcome {
            StepOutcome::Succeeded => open,
            StepOutcome::Failed => open || (self.status == S::Submitting && self.last_proof.is_none()),
            StepOutcome::Rejected => {
                between || self.status == S::Submitting || (self.status == S::Unknown && !self.seen_moving)
            }
            StepOutcome::NotApplied => self.status == S::Unknown && self.is_absent(),
            StepOutcome::Expired => between || (self.status == S::Submitting && self.last_proof.is_some()),
        }
    }

    fn end_step(&mut self, outcome: StepOutcome, problem: Option<&Problem>, event: &Event) {
        let last = usize::from(self.step) + 1 == self.steps.len();
        if let Some(step) = self.steps.get_mut(usize::from(self.step)) {
            step.status = outcome.into();
            step.error = problem.cloned();
            step.finished_at = Some(event.at);
        }
        if outcome != StepOutcome::Succeeded || last {
            return;
        }
        // From here on, the fields of a send belong to the next step.
        self.step += 1;
        self.status = Status::Running;
        self.evidence = event.evidence.clone();
        self.overdue = false;
        self.needs_operator = false;
        self.refreshed();
        self.error = None;
        self.submitted_at = Some(event.at);
        self.forget_send();
        let done = u32::from(self.step) * 100 / u32::try_from(self.steps.len()).unwrap_or(1).max(1);
        self.progress = u8::try_from(done).ok();
    }

    /// Clears the fields of a send: data of an earlier call means nothing for the next one.
    fn forget_send(&mut self) {
        self.attempts = 0;
        self.last_proof = None;
        self.task = None;
        self.upstream_status = None;
        self.request_id = None;
        self.sent_as = None;
        self.notes = Value::Null;
        self.seen_moving = false;
        self.absent_reads = 0;
    }

    fn reroute(&mut self, to: &RoutePin, problem: &Problem, event: &Event) {
        self.move_to(Status::Checking, event);
        self.forget_send();
        self.refreshed();
        self.clock_offset_ms = None;
        self.submitted_at = None;
        self.steps = to.steps.iter().map(Step::waiting).collect();
        self.rerouted = Some(Box::new(Reroute { to: to.clone(), problem: problem.clone(), at: event.at }));
    }

    /// Ends a restore with several steps; its end follows from theirs.
    fn end_of_steps(&mut self, event: &Event) -> Result<(), &'static str> {
        use EventKind as E;

        let done = self.steps_done();
        let present = self.present().map(|step| step.status);
        let fits = match &event.kind {
            E::Succeeded => done == self.steps.len(),
            E::Failed { .. } => done > 0 || present == Some(StepStatus::Failed),
            E::Rejected { .. } => done == 0 && present == Some(StepStatus::Rejected),
            E::NotApplied => done == 0 && present == Some(StepStatus::NotApplied),
            E::Expired => done == 0 && present == Some(StepStatus::NotSent),
            _ => false,
        };
        if !fits || !self.has_ended_step() || (done == self.steps.len()) != (event.kind == E::Succeeded) {
            return Err("a restore of several steps ends as its steps did");
        }
        match &event.kind {
            E::Succeeded => {
                self.move_to(Status::Succeeded, event);
                self.error = None;
            }
            E::NotApplied => self.end_without_effect(event),
            E::Expired => self.move_to(Status::Expired, event),
            E::Rejected { problem } => {
                self.move_to(Status::Rejected, event);
                self.error = Some((**problem).clone());
            }
            E::Failed { problem } => {
                self.move_to(Status::Failed, event);
                self.error = Some((**problem).clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the restore by an operator's decision, which concerns the current step. Nothing more is sent.
    fn resolve(&mut self, outcome: ResolvedAs, event: &Event) {
        let by_steps = !self.steps.is_empty();
        let last = usize::from(self.step) + 1 >= self.steps.len();
        let was_sent = !self.is_between_steps();
        let status = match outcome {
            ResolvedAs::Applied => StepStatus::Succeeded,
            ResolvedAs::NotApplied if was_sent => StepStatus::NotApplied,
            ResolvedAs::NotApplied => StepStatus::NotSent,
            ResolvedAs::Failed => StepStatus::Failed,
        };
        let whole = self.in_part(status, None);
        if let Some(step) = self.steps.get_mut(usize::from(self.step)) {
            step.status = status;
            step.finished_at = Some(event.at);
        }
        let done = self.steps_done();
        match outcome {
            ResolvedAs::Applied if !by_steps || last => {
                self.move_to(Status::Succeeded, event);
                self.error = None;
            }
            ResolvedAs::NotApplied if done == 0 => self.end_without_effect(event),
            _ => {
                self.move_to(Status::Failed, event);
                self.error = Some(if by_steps {
                    whole
                } else {
                    let detail = "an operator found that the restore began and failed; the target may be overwritten in part";
                    Problem::new(Code::RestoreFailed, detail).effect(Effect::Done)
                });
            }
        }
    }

    /// Returns the reason why a restore with several steps has failed, with the result of each step. `present` is the
    /// result of the current one.
    fn in_part(&self, present: StepStatus, problem: Option<&Problem>) -> Problem {
        let at = usize::from(self.step);
        let status = |index: usize, step: &Step| if index == at { present } else { step.status };
        let count = |wanted: StepStatus| {
            self.steps.iter().enumerate().filter(|(index, step)| status(*index, step) == wanted).count()
        };
        let done = count(StepStatus::Succeeded);
        let mut detail =
            format!("{done} of {} disks restored; the server is not as the backup has it", self.steps.len());
        if let Some(step) = self.steps.get(at).filter(|_| present != StepStatus::Succeeded) {
            let why = problem.map_or("", |problem| &*problem.detail);
            // Writing into a string never fails.
            let _ = write!(detail, "; disk {}: {} {why}", step.volume_id, present.as_str());
        }
        let unsent = count(StepStatus::Waiting);
        if unsent > 0 {
            let _ = write!(detail, "; {unsent} not sent");
        }
        let effect = match (done, present) {
            (0, StepStatus::Failed) => problem.map_or(Effect::Possible, |problem| problem.effect),
            (0, _) => Effect::None,
            _ => Effect::Done,
        };
        let whole = Problem::new(Code::RestoreFailed, detail).effect(effect);
        Problem { upstream: problem.and_then(|problem| problem.upstream.clone()), ..whole }
    }

    /// Updates the record of the current step from the state.
    fn record_step(&mut self) {
        use StepStatus as S;

        let status = match self.status {
            Status::Submitting => S::Submitting,
            Status::Unknown => S::Unknown,
            Status::Running if self.attempts > 0 || self.seen_moving => S::Running,
            _ => S::Waiting,
        };
        let ends = self.status.is_final();
        let (attempts, task, submitted_at) = (self.attempts, &self.task, self.submitted_at);
        let error = self.error.as_ref().filter(|_| status == S::Unknown);
        if let Some(step) =
            self.steps.get_mut(usize::from(self.step)).filter(|step| step.finished_at.is_none())
        {
            step.status = status;
            step.attempts = attempts;
            step.task.clone_from(task);
            step.error = error.cloned();
            step.submitted_at = submitted_at.filter(|_| attempts > 0);
        }
        if ends {
            for step in self.steps.iter_mut().filter(|step| step.finished_at.is_none()) {
                step.status = S::NotSent;
            }
        }
    }

    fn move_to(&mut self, status: Status, event: &Event) {
        self.status = status;
        self.evidence = event.evidence.clone();
        if status.is_final() {
            self.finished_at = Some(event.at);
            self.needs_operator = false;
            self.overdue = false;
            self.refreshed();
        }
        if status == Status::Succeeded {
            self.progress = Some(100);
        }
    }

    /// Keeps the reason of the unknown outcome; its effect in the cloud is known now.
    fn end_without_effect(&mut self, event: &Event) {
        self.move_to(Status::NotApplied, event);
        self.error = self.error.take().map(|error| error.effect(Effect::None).retry(Retry::Later));
    }

    fn send(&mut self, attempt: u32, event: &Event) {
        self.move_to(Status::Submitting, event);
        self.attempts = attempt;
        self.last_proof = None;
        self.submitted_at = Some(event.at);
        self.overdue = false;
        self.needs_operator = false;
        self.refreshed();
    }

    const fn refreshed(&mut self) {
        self.last_poll_failed_since = None;
        self.awaiting_credential = false;
    }

    /// Returns true if the restore was never sent, or every send is proven not to have been applied.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        matches!(self.status, Status::Accepted | Status::Checking)
            || (matches!(self.status, Status::Submitting) && self.last_proof.is_some())
    }
}

impl From<StepOutcome> for StepStatus {
    fn from(outcome: StepOutcome) -> Self {
        match outcome {
            StepOutcome::Succeeded => Self::Succeeded,
            StepOutcome::Failed => Self::Failed,
            StepOutcome::Rejected => Self::Rejected,
            StepOutcome::NotApplied => Self::NotApplied,
            StepOutcome::Expired => Self::NotSent,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
const fn is_zero(step: &u16) -> bool {
    *step == 0
}

/// Returns true if an event can raise doubt that the restore was never sent, because the ledger may come from an older
/// backup.
fn doubts(event: &Event) -> bool {
    matches!(event.cause, Cause::Restart | Cause::Operator)
}
