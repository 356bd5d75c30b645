//! What happened to a restore. Events are the only thing that is ever written about one: its
//! state is their fold ([`crate::state`], invariant I12), and each says who caused it, on what
//! evidence, and under which trace.
//!
//! To add a kind: add the variant here, its arm in `State::apply`, and a line in the model test.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::problem::Problem;
use crate::request::RestoreRequest;
use crate::restore::RoutePin;

/// One thing that happened, in the order of `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the restore's history, counted from 1.
    pub seq: u32,
    /// When the gateway wrote it down.
    pub at: Timestamp,
    /// Who or what brought it about.
    pub cause: Cause,
    /// What it rests on.
    pub evidence: Evidence,
    /// The trace under which it happened: 32 hexadecimal digits, zeros where there was none.
    pub trace_id: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Who or what brought an event about.
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
    /// A person decided.
    Operator,
}

/// What an event rests on, and how firmly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A stable word such as `job`, `operation_log`, `item_state`, `answer`, `request`.
    pub kind: String,
    /// How much it proves.
    pub strength: Strength,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// A few words for a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

impl Evidence {
    /// Evidence without further words.
    pub fn new(kind: impl Into<String>, strength: Strength, observed_at: Timestamp) -> Self {
        Self { kind: kind.into(), strength, observed_at, detail: None }
    }

    /// The same evidence with a few words for a person.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// How much a piece of evidence proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The upstream's own word on this very restore.
    Strong,
    /// Fits this restore, but some of what would make it certain is missing.
    Weak,
    /// Fits more than one restore; the likeliest was taken.
    Ambiguous,
    /// Concluded from the state of something else, such as the backup.
    Derived,
}

/// What the upstream calls the restore once it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// A stable word: `operation_log`, `job` or `restore`.
    pub kind: String,
    /// The upstream's id of it.
    pub id: String,
}

/// Why a send is known not to have been applied: the only ground on which it may be sent again
/// (invariant I2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The name did not resolve or no connection came about.
    NotConnected,
    /// TLS was not agreed upon, so no byte of the request was sent.
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

/// How one step of a restore ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The upstream says it is done.
    Succeeded,
    /// The upstream says it failed.
    Failed,
    /// The upstream refused it before anything was changed.
    Rejected,
    /// Reads proved that nothing happened.
    NotApplied,
    /// It was not sent in time.
    Expired,
}

/// What an operator found on the target of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedAs {
    /// The restore took place.
    Applied,
    /// Nothing happened.
    NotApplied,
    /// It began and failed: the target is overwritten in part.
    Failed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// Row, target locks and idempotency row were committed.
    Accepted,
    /// Read-only preflight began.
    Checking,
    /// Preflight ended well; what it saw is kept for later comparison.
    Checked {
        /// What the generation wants remembered.
        notes: Value,
        /// Upstream clock minus ours in milliseconds, where the upstream told its time.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        clock_offset_ms: Option<i64>,
        /// The request in the upstream's own names, where it came in those of another generation.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        sent_as: Option<Box<RestoreRequest>>,
    },
    /// Written before the first byte of a send (invariant I1).
    Submitting {
        /// Counted from 1, anew for each step.
        attempt: u32,
        /// The step that is sent, counted from 0; always 0 for a restore that is one call.
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
        /// The upstream's name for the restore, when it gave one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<TaskRef>,
        /// The upstream's own word.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        upstream_status: Option<String>,
        /// Percent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        progress: Option<u8>,
        /// The upstream's request id.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        request_id: Option<String>,
        /// Upstream clock minus ours in milliseconds, where the upstream told its time.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        clock_offset_ms: Option<i64>,
    },
    /// Bytes may have reached the upstream, and there is no proof either way.
    OutcomeUnclear {
        /// Why, in a sentence.
        reason: String,
        /// What the upstream said, where it said anything.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        problem: Option<Box<Problem>>,
    },
    /// A read told something new without ending the restore.
    Progress {
        /// The upstream's name for the restore, when it became known now.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<TaskRef>,
        /// The upstream's own word.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        upstream_status: Option<String>,
        /// Percent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        progress: Option<u8>,
        /// What the generation wants remembered from now on; a null says to forget.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "even_null")]
        notes: Option<Value>,
    },
    /// A read of an authoritative list did not find the restore.
    NotFound,
    /// The restore could not be read with the credentials at hand.
    Stale {
        /// Whether the next authorised caller's token would help.
        awaiting_credential: bool,
    },
    /// The route's time for a restore has passed.
    Overdue,
    /// No further disk is sent: an operator has confirmed a ledger that may be an older copy of itself, and such a copy
    /// does not know which disks were sent after it was made.
    Halted,
    /// Reads can no longer tell; a person must.
    NeedsOperator {
        /// Why, in a sentence.
        reason: String,
    },
    /// Something that does not fit, recorded and otherwise without effect.
    Anomaly {
        /// What, in a sentence.
        what: String,
    },
    /// The upstream refused because its generation is closed to the project, which proves that nothing was applied. The
    /// restore takes another route from here on; its id, key, locks and windows stay.
    Rerouted {
        /// The route it takes now.
        to: Box<RoutePin>,
        /// The refusal.
        problem: Box<Problem>,
    },
    /// One step of a restore that has several has ended. The next one may be sent only after a success; anything else
    /// is followed by the end of the restore, in the same write.
    StepEnded {
        /// The step, counted from 0.
        step: u16,
        /// How it ended.
        outcome: StepOutcome,
        /// Why, where it did not succeed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        problem: Option<Box<Problem>>,
    },
    /// The upstream's last word: done.
    Succeeded,
    /// The upstream's last word: failed.
    Failed {
        /// Its error.
        problem: Box<Problem>,
    },
    /// Refused before anything was changed.
    Rejected {
        /// The refusal.
        problem: Box<Problem>,
    },
    /// Reconciled: proven that nothing happened.
    NotApplied,
    /// An operator has looked at the target and ended the restore.
    Resolved {
        /// What the operator found.
        #[serde(alias = "applied", deserialize_with = "resolved_as")]
        outcome: ResolvedAs,
        /// Who decided.
        by: String,
        /// On what grounds.
        reason: String,
        /// Whether the operator decided before the gateway asked for a decision.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        early: bool,
    },
    /// The caller called it off before it was sent.
    Cancelled,
    /// Its time ran out before it was sent.
    Expired,
}

impl EventKind {
    /// The error that it records.
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

    /// Whether a restore ends with it.
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

    /// The word under which the event is stored and shown.
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

/// Keeps a member that is there and null apart from one that is not there: read back, the event
/// must say what it said when it was written.
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
