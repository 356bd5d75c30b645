//! What is true of a restore: the fold of its events. [`State::apply`] is a total function over
//! (state, event): each pair is either a move or an [`IllegalMove`], and the ledger refuses to
//! write the latter. Three invariants hold by construction, whoever calls:
//!
//! * **I5** nothing leaves a final state;
//! * **I6** no event caused by a restart makes a state final;
//! * **I2** a second send needs a stored proof that the one before was not applied.
//!
//! ```text
//!  accepted ──► checking ──► submitting ──► running ◄──► unknown
//!     │            │          │  ▲  │          │            │
//!     │            │          │  └──┘ proof    ▼            ▼
//!     └────────────┴──────────┴─────► rejected cancelled expired
//!                                     succeeded failed not_applied
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{Cause, Event, EventKind, Evidence, Handle, Proof};
use crate::problem::{Code, Effect, Problem, Retry};
use crate::request::RestoreRequest;
use crate::restore::Intent;

/// How often one restore may be sent, each time but the first on a proof.
pub const MAX_SENDS: u32 = 3;
/// The evidence of a restore that is carried out as several: what each of those has come to.
pub const PARTS: &str = "parts";
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
    /// Reads can no longer tell; locks are kept until a person decides.
    pub needs_operator: bool,
    /// Since when what is shown could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
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
    pub handle: Option<Handle>,
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
}

impl State {
    /// What the upstream is asked for: the request as it came, or in the upstream's own names.
    #[must_use]
    pub fn request<'a>(&'a self, intent: &'a Intent) -> &'a RestoreRequest {
        self.sent_as.as_deref().unwrap_or(&intent.request)
    }

    /// The state after all `events`, in their order.
    ///
    /// # Errors
    /// At the first event that does not fit, or when there is none.
    pub fn fold(events: &[Event]) -> Result<Self, IllegalMove> {
        let (first, rest) = events.split_first().ok_or(IllegalMove {
            from: None,
            event: "nothing",
            why: "a restore has at least one event",
        })?;
        rest.iter().try_fold(Self::begin(first)?, Self::apply)
    }

    /// The state after the first event.
    ///
    /// # Errors
    /// When it is not [`EventKind::Accepted`] with number 1.
    pub fn begin(event: &Event) -> Result<Self, IllegalMove> {
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
            stale_since: None,
            awaiting_credential: false,
            progress: None,
            attempts: 0,
            last_proof: None,
            handle: None,
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
            (S::Checking, E::Checked { notes, clock_offset_ms, sent_as }) => {
                self.notes = notes.clone();
                self.sent_as = sent_as.clone();
                self.clock_offset_ms = clock_offset_ms.or(self.clock_offset_ms);
            }

            (S::Accepted | S::Checking, E::Submitting { attempt: 1 }) => self.send(1, event),
            (S::Submitting, E::Submitting { attempt }) => {
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

            (S::Submitting, E::Started { .. } | E::Unsure { .. } | E::Failed { .. })
                if self.last_proof.is_some()
                    && !(matches!(event.kind, E::Unsure { .. }) && doubts(event)) =>
            {
                return Err(illegal("the last attempt is proven not to have been applied"));
            }
            (
                S::Submitting | S::Unknown,
                E::Started { handle, upstream_status, progress, request_id, clock_offset_ms },
            ) => {
                self.move_to(S::Running, event);
                self.answered_at = self.answered_at.or(Some(event.at));
                self.error = None;
                self.needs_operator = false;
                self.absent_reads = 0;
                self.seen_moving = true;
                self.refreshed();
                self.handle = handle.clone().or(self.handle);
                self.upstream_status = upstream_status.clone().or(self.upstream_status);
                self.progress = progress.or(self.progress);
                self.request_id = request_id.clone().or(self.request_id);
                self.clock_offset_ms = clock_offset_ms.or(self.clock_offset_ms);
            }
            (S::Accepted | S::Checking, E::Unsure { .. }) if !doubts(event) => {
                return Err(illegal("what was not sent is not unknown"));
            }
            (S::Accepted | S::Checking | S::Submitting | S::Running, E::Unsure { reason, problem }) => {
                self.move_to(S::Unknown, event);
                self.answered_at = self.answered_at.or(Some(event.at));
                self.overdue = false;
                self.error = Some(match problem {
                    Some(problem) => (**problem).clone(),
                    None => Problem::new(Code::OutcomeUnknown, reason.clone()).effect(Effect::Possible),
                });
            }

            (S::Running | S::Unknown, E::Observed { handle, upstream_status, progress, notes }) => {
                self.refreshed();
                self.evidence = event.evidence.clone();
                self.handle = handle.clone().or(self.handle);
                self.upstream_status = upstream_status.clone().or(self.upstream_status);
                self.progress = progress.or(self.progress);
                if let Some(notes) = notes {
                    self.notes = notes.clone();
                }
            }
            (S::Unknown, E::Absent) => {
                self.refreshed();
                self.absent_reads += 1;
            }
            (_, E::Stale { awaiting_credential }) if self.status != S::Submitting || self.is_unsent() => {
                self.stale_since = self.stale_since.or(Some(event.at));
                self.awaiting_credential = *awaiting_credential;
            }
            (S::Running, E::Overdue) => self.overdue = true,
            (S::Unknown, E::NeedsOperator { .. }) => self.needs_operator = true,

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
                let by_reads = self.absent_reads >= MIN_ABSENT_READS && !self.seen_moving;
                if !by_reads && event.evidence.kind != PARTS {
                    return Err(illegal(
                        "not applied needs three absent reads and a target never seen moving, or the end of all parts",
                    ));
                }
                self.end_without_effect(event);
            }
            (S::Unknown, E::Resolved { applied, .. })
                if self.needs_operator && event.cause == Cause::Operator =>
            {
                if *applied {
                    self.move_to(S::Succeeded, event);
                    self.error = None;
                } else {
                    self.end_without_effect(event);
                }
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
                | E::Unsure { .. }
                | E::Observed { .. }
                | E::Absent
                | E::Stale { .. }
                | E::Overdue
                | E::NeedsOperator { .. }
                | E::Succeeded
                | E::Failed { .. }
                | E::Rejected { .. }
                | E::NotApplied
                | E::Resolved { .. }
                | E::Cancelled
                | E::Expired,
            ) => return Err(illegal("the states do not allow it")),
        }
        self.seq = event.seq;
        self.updated_at = event.at;
        Ok(self)
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
        self.refreshed();
    }

    const fn refreshed(&mut self) {
        self.stale_since = None;
        self.awaiting_credential = false;
    }

    /// Whether the restore was never sent, or every send is proven not to have been applied.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        matches!(self.status, Status::Accepted | Status::Checking)
            || (matches!(self.status, Status::Submitting) && self.last_proof.is_some())
    }
}

/// Whether an event may call in question that something was never sent: the ledger it says so in
/// may be an older copy of itself.
fn doubts(event: &Event) -> bool {
    matches!(event.cause, Cause::Restart | Cause::Operator)
}
