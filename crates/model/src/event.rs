//! Events of a restore. Nothing else is ever written about one: its state is the fold of its events ([`crate::state`],
//! invariant I12). Each event records its cause, its evidence, and its trace.
//!
//! To add a kind: add the variant here, its arm in `State::apply`, and a line in the model test.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::problem::Problem;
use crate::request::RestoreRequest;
use crate::restore::RoutePin;

/// One event, in the order of `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number in the restore's history, counted from 1.
    pub seq: u32,
    /// Time at which the gateway recorded it.
    pub at: Timestamp,
    /// Its cause.
    pub cause: Cause,
    /// The evidence for it.
    pub evidence: Evidence,
    /// Trace of the event: 32 hexadecimal digits, zeros if there was none.
    pub trace_id: String,
    /// The kind of event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Cause of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A caller's request.
    Caller,
    /// The gateway's own work on a request.
    Gateway,
    /// An answer of the upstream, or its absence.
    Upstream,
    /// A deadline passed.
    Deadline,
    /// The gateway was started and found the restore unfinished. Never ends one (invariant I6).
    Restart,
    /// A decision of an operator.
    Operator,
}

/// Evidence for an event, with its strength.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A stable name such as `job`, `operation_log`, `item_state`, `answer`, `request`.
    pub kind: String,
    /// Its strength.
    pub strength: Strength,
    /// Time of the observation.
    pub observed_at: Timestamp,
    /// A short text for a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

impl Evidence {
    /// Creates evidence without a detail.
    pub fn new(kind: impl Into<String>, strength: Strength, observed_at: Timestamp) -> Self {
        Self { kind: kind.into(), strength, observed_at, detail: None }
    }

    /// Adds a short text for a person.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Strength of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The upstream's own report about this very restore.
    Strong,
    /// It fits this restore, but some certainty is missing.
    Weak,
    /// It fits more than one restore; the most likely one was taken.
    Ambiguous,
    /// A conclusion from the state of something else, such as the backup.
    Derived,
}

/// The upstream's reference to a restore that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// A stable name: `operation_log`, `job` or `restore`.
    pub kind: String,
    /// The upstream's ID of the task.
    pub id: String,
}

/// Reason why a send was certainly not applied. Only with a proof may the gateway send again (invariant I2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The name did not resolve or no connection was established.
    NotConnected,
    /// The TLS handshake failed, so no byte of the request was sent.
    TlsFailed,
    /// A reused connection was closed before the first byte was written.
    NeverWritten,
    /// The peer refused the stream (HTTP/2 `REFUSED_STREAM`).
    StreamRefused,
    /// The upstream answered 401.
    Unauthorized,
    /// The upstream answered 429.
    Throttled,
}

/// Result of one step of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The upstream reports success.
    Succeeded,
    /// The upstream reports a failure.
    Failed,
    /// The upstream rejected it before anything was changed.
    Rejected,
    /// Reads proved that nothing happened.
    NotApplied,
    /// It was not sent in time.
    Expired,
}

/// An operator's finding about the target of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedAs {
    /// The restore took place.
    Applied,
    /// Nothing happened.
    NotApplied,
    /// The restore began and failed: part of the target is overwritten.
    Failed,
}

/// The kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// Row, target locks and idempotency row were committed.
    Accepted,
    /// Read-only checks before the send began.
    Checking,
    /// The checks before the send passed; their observations are stored for later comparison.
    Checked {
        /// The generation's notes.
        notes: Value,
        /// Upstream clock minus ours in milliseconds, if the upstream reported its time.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        clock_offset_ms: Option<i64>,
        /// The request with the upstream's own backup IDs, if it came with those of another generation.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        sent_as: Option<Box<RestoreRequest>>,
    },
    /// Written before the first byte of a send (invariant I1).
    Submitting {
        /// Counted from 1 within each step.
        attempt: u32,
        /// The step that is sent, counted from 0; always 0 for a restore with a single call.
        #[serde(skip_serializing_if = "is_zero", default)]
        step: u16,
    },
    /// The last attempt is proven not to have been applied.
    NotSent {
        /// The proof.
        proof: Proof,
    },
    /// The upstream's acceptance is proven.
    Started {
        /// The upstream's reference to the restore, if it returned one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<TaskRef>,
        /// The upstream's own status.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        upstream_status: Option<String>,
        /// Progress in percent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        progress: Option<u8>,
        /// The upstream's request ID.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        request_id: Option<String>,
        /// Upstream clock minus ours in milliseconds, if the upstream reported its time.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        clock_offset_ms: Option<i64>,
    },
    /// Bytes may have reached the upstream, and there is no proof of either outcome.
    OutcomeUnclear {
        /// The reason, in a sentence.
        reason: String,
        /// The upstream's error, if it returned one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        problem: Option<Box<Problem>>,
    },
    /// A poll showed something new without ending the restore.
    Progress {
        /// The upstream's reference to the restore, if this poll found it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<TaskRef>,
        /// The upstream's own status.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        upstream_status: Option<String>,
        /// Progress in percent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        progress: Option<u8>,
        /// The generation's new notes; null deletes the stored ones.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "even_null")]
        notes: Option<Value>,
    },
    /// A read of an authoritative list did not find the restore.
    NotFound,
    /// The restore could not be polled with the available credentials.
    Stale {
        /// True if the token of an authorised caller would help.
        awaiting_credential: bool,
    },
    /// The restore runs longer than the `overdue_seconds` of its route.
    Overdue,
    /// No further disk is sent: an operator has confirmed a ledger that may come from an older backup, and such a
    /// ledger does not contain the disks that were sent after the backup.
    Halted,
    /// Polls can no longer decide; a person must.
    NeedsOperator {
        /// The reason, in a sentence.
        reason: String,
    },
    /// An inconsistency, recorded without any other effect.
    Anomaly {
        /// Description of the inconsistency, in a sentence.
        what: String,
    },
    /// The upstream rejected the restore because its generation is closed to the project, which proves that nothing was
    /// applied. The restore takes another route from here on; its ID, key, locks and windows stay.
    Rerouted {
        /// The new route.
        to: Box<RoutePin>,
        /// The rejection.
        problem: Box<Problem>,
    },
    /// One step of a restore with several steps has ended. The next one may be sent only after a success. After any
    /// other outcome, the same write also ends the restore.
    StepEnded {
        /// The step, counted from 0.
        step: u16,
        /// Its result.
        outcome: StepOutcome,
        /// The reason, if it did not succeed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        problem: Option<Box<Problem>>,
    },
    /// The upstream's final status: success.
    Succeeded,
    /// The upstream's final status: failure.
    Failed {
        /// The upstream's error.
        problem: Box<Problem>,
    },
    /// Rejected before anything was changed.
    Rejected {
        /// The rejection.
        problem: Box<Problem>,
    },
    /// Reconciled: proven that nothing happened.
    NotApplied,
    /// An operator has checked the target and ended the restore.
    Resolved {
        /// The operator's finding.
        #[serde(alias = "applied", deserialize_with = "resolved_as")]
        outcome: ResolvedAs,
        /// Name of the operator.
        by: String,
        /// The operator's reason.
        reason: String,
        /// True if the operator decided before the gateway requested a decision.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        early: bool,
    },
    /// The caller cancelled it before it was sent.
    Cancelled,
    /// Its deadline passed before it was sent.
    Expired,
}

impl EventKind {
    /// Returns the error that the event records.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::OutcomeUnclear { problem, .. } | Self::StepEnded { problem, .. } => problem.as_deref(),
            Self::Rerouted { problem, .. } | Self::Failed { problem } | Self::Rejected { problem } => {
                Some(problem)
            }
            _ => None,
        }
    }

    /// Returns true if the event ends a restore.
    #[must_use]
    pub const fn ends_a_restore(&self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::Failed { .. }
                | Self::Rejected { .. }
                | Self::NotApplied
                | Self::Resolved { .. }
                | Self::Cancelled
                | Self::Expired
        )
    }

    /// Returns the name under which the event is stored and shown.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Checking => "checking",
            Self::Checked { .. } => "checked",
            Self::Submitting { .. } => "submitting",
            Self::NotSent { .. } => "not_sent",
            Self::Started { .. } => "started",
            Self::OutcomeUnclear { .. } => "outcome_unclear",
            Self::Progress { .. } => "progress",
            Self::NotFound => "not_found",
            Self::Stale { .. } => "stale",
            Self::Overdue => "overdue",
            Self::Halted => "halted",
            Self::NeedsOperator { .. } => "needs_operator",
            Self::Anomaly { .. } => "anomaly",
            Self::Rerouted { .. } => "rerouted",
            Self::StepEnded { .. } => "step_ended",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Rejected { .. } => "rejected",
            Self::NotApplied => "not_applied",
            Self::Resolved { .. } => "resolved",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// Distinguishes a null member from a missing one: an event that is read back must equal the written one.
fn even_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The outcome of a resolution. Earlier versions wrote a boolean: applied or not.
fn resolved_as<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ResolvedAs, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Word(ResolvedAs),
        Applied(bool),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Word(outcome) => outcome,
        Written::Applied(true) => ResolvedAs::Applied,
        Written::Applied(false) => ResolvedAs::NotApplied,
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
const fn is_zero(step: &u16) -> bool {
    *step == 0
}
