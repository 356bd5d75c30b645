//! A restore as it is kept and as it is shown: the intent, which never changes, and the state,
//! which is the fold of the events. [`Restore`] is the last typed stage before the HTTP answer;
//! every call that answers with a restore answers with this one shape.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{Evidence, Handle};
use crate::id::{ProjectId, RestoreId};
use crate::problem::Problem;
use crate::request::{RestoreRequest, Source, Target};
use crate::state::{State, Status};

/// What was asked, by whom, and how it was routed. Written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The gateway's name for the restore.
    pub id: RestoreId,
    /// Who asked; the project of the path where no callers are configured.
    pub caller: String,
    /// What was asked.
    pub request: RestoreRequest,
    /// [`RestoreRequest::fingerprint`].
    pub fingerprint: String,
    /// The caller's `Idempotency-Key`, where one came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The route as it was when the restore was accepted; a reload does not change it.
    pub route: RoutePin,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The trace of the submit: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span of the submit: 16 hexadecimal digits.
    pub span_id: String,
}

/// The route a restore was accepted under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePin {
    /// Name of the upstream in the settings.
    pub upstream: String,
    /// Generation it speaks, such as `cbr-v3`.
    pub generation: String,
    /// Which rule matched, in a few words.
    pub reason: String,
    /// Whether reads come before the send.
    pub baseline: bool,
    /// Seconds after which a running restore is overdue.
    pub overdue_seconds: u64,
}

/// One restore, as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// The gateway's name for it.
    pub id: RestoreId,
    /// Where it stands.
    pub status: Status,
    /// Past the route's time, and still running.
    pub overdue: bool,
    /// A person must decide.
    pub needs_operator: bool,
    /// Percent, where the upstream gives it.
    pub progress: Option<u8>,
    /// The cloud project.
    pub project_id: ProjectId,
    /// What is restored.
    pub source: Source,
    /// What is overwritten.
    pub target: Target,
    /// Who does it, and under which name.
    pub upstream: UpstreamView,
    /// What the status rests on.
    pub evidence: Evidence,
    /// Why it ended badly or is unknown.
    pub error: Option<Problem>,
    /// How often it was sent.
    pub attempts: u32,
    /// Since when it could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stale_since: Option<Timestamp>,
    /// Whether the next authorised caller's token would let it be refreshed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub awaiting_credential: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was last sent.
    pub submitted_at: Option<Timestamp>,
    /// When anything last became known.
    pub updated_at: Timestamp,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
}

/// The upstream's side of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Name in the settings.
    pub name: String,
    /// Generation it speaks.
    pub generation: String,
    /// Its name for the restore.
    pub handle: Option<Handle>,
    /// Its own word for the status.
    pub status: Option<String>,
    /// Its request id of the submit.
    pub request_id: Option<String>,
}

impl Restore {
    /// The view of an intent in a state.
    #[must_use]
    pub fn view(intent: &Intent, state: &State) -> Self {
        Self {
            id: intent.id,
            status: state.status,
            overdue: state.overdue,
            needs_operator: state.needs_operator,
            progress: state.progress,
            project_id: intent.request.project_id.clone(),
            source: intent.request.source.clone(),
            target: intent.request.target.clone(),
            upstream: UpstreamView {
                name: intent.route.upstream.clone(),
                generation: intent.route.generation.clone(),
                handle: state.handle.clone(),
                status: state.upstream_status.clone(),
                request_id: state.request_id.clone(),
            },
            evidence: state.evidence.clone(),
            error: state.error.clone(),
            attempts: state.attempts,
            stale_since: state.stale_since,
            awaiting_credential: state.awaiting_credential,
            created_at: intent.created_at,
            submitted_at: state.submitted_at,
            updated_at: state.updated_at,
            finished_at: state.finished_at,
        }
    }
}
