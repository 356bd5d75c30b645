//! What is true of a restore: the fold of its events. [`State::apply`] is a total function over
//! (state, event): each pair is either a move or an [`IllegalMove`], and the ledger refuses to
//! write the latter. Three invariants hold by construction, whoever calls:
//!
//! * **I5** nothing leaves a final state;
//! * **I6** no event caused by a restart makes a state final;
//! * **I2** a second send needs a stored proof that the one before was not applied.
//!
//! A restore that is carried out as several calls has one [`Step`] for each. The fields of a send in
//! [`State`] are those of the present step; a step that has ended leaves its record in
//! [`State::steps`]. The next step can be sent only after the present one has succeeded, and only
//! while the restore is open, so that nothing can be sent once the restore has ended.
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

/// How often one restore may be sent, each time but the first on a proof.
pub const MAX_SENDS: u32 = 3;
/// How many reads of an authoritative list must miss a restore before it counts as not applied.
pub const MIN_ABSENT_READS: u32 = 3;

/// Where a restore stands. The words are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Durably noted, not sent.
    Accepted,
    /// Read-only preflight; not sent.
    Checking,
    /// The request may be on the wire.
    Submitting,
    /// The upstream accepted it.
    Running,
    /// It may or may not have reached the upstream; reads will tell.
    Unknown,
    /// The upstream says it is done.
    Succeeded,
    /// The upstream says it failed.
    Failed,
    /// Refused before anything was changed.
    Rejected,
    /// Proven that nothing happened.
    NotApplied,
    /// Called off before it was sent.
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

    /// Whether nothing can change it any more.
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

    /// Whether a restore has ended and may have changed its target.
    #[must_use]
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Whether a restore has ended and left its target as it was.
    #[must_use]
    pub const fn is_without_effect(self) -> bool {
        self.is_final() && !self.has_effect()
    }

    /// The public word.
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

    /// The status with this public word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Where one step of a restore stands. The words are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not sent yet.
    Waiting,
    /// Its request may be on the wire.
    Submitting,
    /// The upstream accepted it.
    Running,
    /// It may or may not have reached the upstream; reads will tell.
    Unknown,
    /// The upstream, or an operator, says it is done.
    Succeeded,
    /// The upstream, or an operator, says it failed.
    Failed,
    /// Refused before anything was changed.
    Rejected,
    /// Proven that nothing happened.
    NotApplied,
    /// Not sent, and it will not be: the restore has ended.
    NotSent,
}

impl StepStatus {
    /// The public word.
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

/// One call of a restore that is carried out as several: the restore of one disk of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The backup of the disk, as the request names it.
    pub backup_id: Id,
    /// The disk that is overwritten.
    pub volume_id: Id,
    /// Where it stands.
    pub status: StepStatus,
    /// How often it was sent.
    pub attempts: u32,
    /// The upstream's name for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<TaskRef>,
    /// Why it ended badly or is unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Problem>,
    /// When its last attempt was written down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub submitted_at: Option<Timestamp>,
    /// When it ended.
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

    /// What this step restores, as a request of its own.
    #[must_use]
    pub fn request(&self, whole: &RestoreRequest) -> RestoreRequest {
        RestoreRequest {
            project_id: whole.project_id.clone(),
            source: Source { backup_id: self.backup_id.clone(), checkpoint_id: None },
            target: Target::Volume { volume_id: self.volume_id.clone() },
        }
    }
}

/// The other route that a restore took after a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reroute {
    /// The route it takes now.
    pub to: RoutePin,
    /// The refusal by the generation that is closed to the project.
    pub problem: Problem,
    /// When it was rerouted.
    pub at: Timestamp,
}

/// An event that does not fit the state it met. Nothing is written when this happens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not a legal event for a restore that is {}: {why}", from.map_or("not there yet", Status::as_str))]
pub struct IllegalMove {
    /// The status the event met; `None` before the first event.
    pub from: Option<Status>,
    /// The event's word.
    pub event: &'static str,
    /// The rule it breaks.
    pub why: &'static str,
}

/// What is true of a restore after its events so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// Past the route's time for a restore, and still running.
    pub overdue: bool,
    /// Reads can no longer tell; locks are kept until an operator decides.
    pub needs_operator: bool,
    /// Since when what is shown could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll_failed_since: Option<Timestamp>,
    /// Whether the next authorised caller's token would let it be refreshed.
    pub awaiting_credential: bool,
    /// Percent, where the upstream gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// How often it was sent.
    pub attempts: u32,
    /// Proof that the last attempt was not applied; `None` while that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_proof: Option<Proof>,
    /// The upstream's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// The upstream's own word, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<String>,
    /// The upstream's request id of the submit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Upstream clock minus ours, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// The request in the upstream's own names, where it came in those of another generation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_as: Option<Box<RestoreRequest>>,
    /// What the generation remembers of its reads.
    pub notes: Value,
    /// Whether the target was ever seen in transition; then it is never called not applied.
    pub seen_moving: bool,
    /// Reads of an authoritative list that missed it.
    pub absent_reads: u32,
    /// What is shown rests on this: the last change of status, or a later reading.
    pub evidence: Evidence,
    /// Why it ended badly, or why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    /// When the last attempt was written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// When it became running or unknown first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// When the last event was written.
    pub updated_at: Timestamp,
    /// When it became final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The number of the last event.
    pub seq: u32,
    /// The other route that the restore took, where the first was closed to its project.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rerouted: Option<Box<Reroute>>,
    /// The present step, counted from 0.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub step: u16,
    /// Every step, where there is more than one call to make; else empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
    /// No further step is sent, for it may have been already ([`EventKind::Halted`]).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub halted: bool,
    /// An event after the send has an earlier date than the send: the clock that dated the send was ahead. What a list
    /// of the upstream does not have since then proves nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sent_ahead: bool,
}

/// How far the clocks of two processes may differ before the date of a send counts as wrong, in seconds.
const CLOCKS_DIFFER: i64 = 60;

impl State {
    /// What the upstream is asked for now: the request or the present step of it, in the words of the caller or in the
    /// upstream's own.
    #[must_use]
    pub fn request<'a>(&'a self, intent: &'a Intent) -> Cow<'a, RestoreRequest> {
        match (&self.sent_as, self.present()) {
            (Some(sent_as), _) => Cow::Borrowed(sent_as),
            (None, Some(step)) => Cow::Owned(step.request(&intent.request)),
            (None, None) => Cow::Borrowed(&intent.request),
        }
    }

    /// The route that the restore takes now.
    #[must_use]
    pub fn route<'a>(&'a self, intent: &'a Intent) -> &'a RoutePin {
        self.rerouted.as_ref().map_or(&intent.route, |rerouted| &rerouted.to)
    }

    /// The present step of a restore that has several; after the last one the last.
    fn present(&self) -> Option<&Step> {
        self.steps.get(usize::from(self.step)).or_else(|| self.steps.last())
    }

    /// How many steps have succeeded.
    #[must_use]
    pub fn steps_done(&self) -> usize {
        self.steps.iter().filter(|step| step.status == StepStatus::Succeeded).count()
    }

    /// Whether a step has succeeded and the next one waits to be sent.
    #[must_use]
    pub fn is_between_steps(&self) -> bool {
        matches!(self.status, Status::Running)
            && self.steps.get(usize::from(self.step)).is_some_and(|step| step.status == StepStatus::Waiting)
    }

    /// The state after all `events` of a restore with these steps, in their order.
    ///
    /// # Errors
    /// At the first event that does not fit, or when there is none.
    pub fn fold(steps: &[Mapping], events: &[Event]) -> Result<Self, IllegalMove> {
        let (first, rest) = events.split_first().ok_or(IllegalMove {
            from: None,
            event: "nothing",
            why: "a restore has at least one event",
        })?;
        rest.iter().try_fold(Self::begin(steps, first)?, Self::apply)
    }

    /// The state after the first event of a restore with these steps; none are given for one that is a single call.
    ///
    /// # Errors
    /// When it is not [`EventKind::Accepted`] with number 1.
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

    /// The state after one more event.
    ///
    /// # Errors
    /// When the event is not legal here.
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
                    // Reads can tell again.
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
            // The answer came late: after another process had already taken the restore over.
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
            // Every attempt is proven not to have been applied, and the time for more is over.
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

    /// The events that say of a restore what `kind` says of its present step. Of a restore that is a single call both are
    /// the same.
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

    /// Whether a step of it may have been sent.
    fn is_begun(&self) -> bool {
        !matches!(self.status, Status::Accepted | Status::Checking)
    }

    /// Whether the present step has ended, so that nothing but the end of the restore can follow.
    fn has_ended_step(&self) -> bool {
        self.present().is_some_and(|step| step.finished_at.is_some())
    }

    /// Whether an authoritative list has missed it often enough, and nothing was ever seen of it.
    const fn is_absent(&self) -> bool {
        self.absent_reads >= MIN_ABSENT_READS && !self.seen_moving && !self.sent_ahead
    }

    /// True while absence from an authoritative list, read at this moment, can prove that it was not applied.
    #[must_use]
    pub fn may_be_absent(&self, at: Timestamp) -> bool {
        !self.seen_moving && !self.sent_ahead && !self.is_sent_after(at)
    }

    /// Whether the send has a later date than something that came after it.
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
        // What is kept of a send is the next step's from here on.
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

    /// Nothing of an earlier call says anything about the next one.
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

    /// The end of a restore that has several steps, which follows from theirs.
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

    /// An operator's word ends the restore: it is about the present step, and nothing more is sent.
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

    /// Why a restore of several steps has failed, step by step, once the present one has ended like this.
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
            // Writing into a string does not fail.
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

    /// Keeps the record of the present step as the state has it.
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

    /// Why it was unknown stays told; what that meant for the cloud is known now.
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

    /// Whether the restore was never sent, or every send is proven not to have been applied.
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

/// Whether an event may call in question that something was never sent: the ledger it says so in
/// may be an older copy of itself.
fn doubts(event: &Event) -> bool {
    matches!(event.cause, Cause::Restart | Cause::Operator)
}
