//! A restore as it is kept and as it is shown: the intent, which never changes, and the state,
//! which is the fold of the events. [`Restore`] is the last typed stage before the HTTP answer;
//! every call that answers with a restore answers with this one shape.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{Evidence, TaskRef};
use crate::id::{ProjectId, RestoreId};
use crate::problem::Problem;
use crate::request::{Mapping, RestoreRequest, Source, Target};
use crate::state::{State, Status, Step};

/// What was asked, by whom, and how it was routed. Written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The gateway's name for the restore.
    pub id: RestoreId,
    /// Who asked; the project of the path where no callers are configured.
    pub caller: String,
    /// What was asked.
    pub request: RestoreRequest,
    /// [`Intent::own_fingerprint`], by which repetitions are found.
    pub fingerprint: String,
    /// The caller's `Idempotency-Key`, where one came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The compatibility endpoint it came through; none for the canonical API.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Origin>,
    /// The route as it was when the restore was accepted; a reload does not change it.
    pub route: RoutePin,
    /// The route that is left where the upstream turns out to be closed to the project, as it was then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<Box<RoutePin>>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The trace of the submit: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span of the submit: 16 hexadecimal digits.
    pub span_id: String,
}

impl Intent {
    /// What this restore must hold alone, from its acceptance to its end.
    #[must_use]
    pub fn locks(&self) -> Vec<String> {
        self.request.locks()
    }

    /// The generation whose names the request has for backups: that of the compatibility endpoint it came through, else that of the route.
    #[must_use]
    pub fn names(&self) -> &str {
        self.origin.as_ref().map_or(&self.route.generation, |origin| &origin.generation)
    }

    /// What its `fingerprint` must be: equal for requests of the same words. Whether they also mean the same is what
    /// [`Intent::repeats`] says.
    #[must_use]
    pub fn own_fingerprint(&self) -> String {
        self.request.fingerprint()
    }

    /// Whether this asks for the same as another. One id is two backups in the names of two generations, and one in the
    /// same names, whatever compatibility endpoint it came through. What the canonical API has accepted is the same by its words,
    /// whatever generation the routes sent it to at the time.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let canonical = [self, other].iter().all(|one| one.is_canonical());
        (canonical || self.names() == other.names())
            && (self.fingerprint == other.fingerprint || self.own_fingerprint() == other.own_fingerprint())
    }

    fn is_canonical(&self) -> bool {
        self.origin.as_ref().is_none_or(|origin| origin.source_api == CANONICAL)
    }
}

/// The word for what came through no compatibility endpoint.
pub const CANONICAL: &str = "canonical";

/// The compatibility endpoint that a restore came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source API of the compatibility endpoint, such as `csbs-v1`.
    pub source_api: String,
    /// The generation whose names the request has for backups.
    pub generation: String,
    /// The upstream of that generation that the compatibility endpoint passes reads on to, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<String>,
    /// Whether whoever asked may not know what that upstream has: it is not asked for them then.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub closed: bool,
    /// What the canonical request has no place for and the compatibility endpoint's answers repeat.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub echo: Value,
}

/// The route a restore was accepted under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePin {
    /// Name of the upstream in the configuration.
    pub upstream: String,
    /// Generation it speaks, such as `cbr-v3`.
    pub generation: String,
    /// Which rule matched, in a few words.
    pub reason: String,
    /// Whether reads come before the send.
    pub baseline: bool,
    /// Seconds after which a running restore is overdue.
    pub overdue_seconds: u64,
    /// The disks of a server that are restored one after the other, each by a call of its own; empty where the restore
    /// is a single call.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Mapping>,
    /// Where that upstream was, in the words of the configuration: another place under the same name knows nothing of the
    /// restore. None of restores from before this was written down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
}

/// One restore, as callers see it. Borrows: it lives as long as it takes to write an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restore<'a> {
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
    pub project_id: &'a ProjectId,
    /// What is restored.
    pub source: &'a Source,
    /// What is overwritten.
    pub target: &'a Target,
    /// The source API of the compatibility endpoint it came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_api: Option<&'a str>,
    /// The upstream that it was accepted for, which refused it because its generation is closed to the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerouted: Option<ReroutedView<'a>>,
    /// Each disk, of a server that is restored disk by disk.
    #[serde(skip_serializing_if = "<[Step]>::is_empty")]
    pub steps: &'a [Step],
    /// Who does it, and under which name.
    pub upstream: UpstreamView<'a>,
    /// What the status rests on.
    pub evidence: &'a Evidence,
    /// Why it ended badly or is unknown.
    pub error: Option<&'a Problem>,
    /// How often it was sent.
    pub attempts: u32,
    /// Since when it could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll_failed_since: Option<Timestamp>,
    /// Whether the next authorised caller's token would let it be refreshed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaiting_credential: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was last sent.
    pub submitted_at: Option<Timestamp>,
    /// When anything last became known.
    pub updated_at: Timestamp,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// In the response to a submitted request: whether an earlier request created the restore. Absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
}

/// Where a restore would have gone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReroutedView<'a> {
    /// Name in the configuration of the upstream that refused it.
    pub from: &'a str,
    /// Generation that it speaks.
    pub generation: &'a str,
    /// The refusal.
    pub error: &'a Problem,
    /// When it was rerouted.
    pub at: Timestamp,
}

/// The upstream's side of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamView<'a> {
    /// Name in the configuration.
    pub name: &'a str,
    /// Generation it speaks.
    pub generation: &'a str,
    /// Its name for the restore.
    pub task: Option<&'a TaskRef>,
    /// Its own word for the status.
    pub status: Option<&'a str>,
    /// Its request id of the submit.
    pub request_id: Option<&'a str>,
}

impl<'a> Restore<'a> {
    /// The view of an intent in a state.
    #[must_use]
    pub fn view(intent: &'a Intent, state: &'a State) -> Self {
        let route = state.route(intent);
        Self {
            id: intent.id,
            status: state.status,
            overdue: state.overdue,
            needs_operator: state.needs_operator,
            progress: state.progress,
            project_id: &intent.request.project_id,
            source: &intent.request.source,
            target: &intent.request.target,
            source_api: intent.origin.as_ref().map(|origin| &*origin.source_api),
            rerouted: state.rerouted.as_ref().map(|rerouted| ReroutedView {
                from: &intent.route.upstream,
                generation: &intent.route.generation,
                error: &rerouted.problem,
                at: rerouted.at,
            }),
            steps: &state.steps,
            upstream: UpstreamView {
                name: &route.upstream,
                generation: &route.generation,
                task: state.task.as_ref(),
                status: state.upstream_status.as_deref(),
                request_id: state.request_id.as_deref(),
            },
            evidence: &state.evidence,
            error: state.error.as_ref(),
            attempts: state.attempts,
            last_poll_failed_since: state.last_poll_failed_since,
            awaiting_credential: state.awaiting_credential,
            created_at: intent.created_at,
            submitted_at: state.submitted_at,
            updated_at: state.updated_at,
            finished_at: state.finished_at,
            replayed: None,
        }
    }
}
