//! A restore as the ledger stores it and as callers see it: the intent, which never changes, and the state, which is
//! the fold of the events. [`Restore`] is the last typed stage before the HTTP response. Every call that returns a
//! restore uses this format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{Evidence, TaskRef};
use crate::id::{ProjectId, RestoreId};
use crate::problem::Problem;
use crate::request::{Mapping, RestoreRequest, Source, Target};
use crate::state::{State, Status, Step};

/// The request, its caller and its route. Written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The gateway's ID of the restore.
    pub id: RestoreId,
    /// The caller; the project of the path if no callers are configured.
    pub caller: String,
    /// The canonical request.
    pub request: RestoreRequest,
    /// [`Intent::own_fingerprint`], which identifies repetitions.
    pub fingerprint: String,
    /// The caller's `Idempotency-Key`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The compatibility endpoint that received it; `None` for the canonical API.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Origin>,
    /// The route at the time of acceptance; a reload does not change it.
    pub route: RoutePin,
    /// The fallback route for an upstream that is closed to the project, at the time of acceptance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<Box<RoutePin>>,
    /// Time of acceptance.
    pub created_at: Timestamp,
    /// The trace of the submit: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span of the submit: 16 hexadecimal digits.
    pub span_id: String,
}

impl Intent {
    /// Returns the exclusive locks of this restore, from its acceptance to its end.
    #[must_use]
    pub fn locks(&self) -> Vec<String> {
        self.request.locks()
    }

    /// Returns the generation whose backup IDs the request uses: that of its compatibility endpoint, otherwise that of
    /// the route.
    #[must_use]
    pub fn names(&self) -> &str {
        self.origin.as_ref().map_or(&self.route.generation, |origin| &origin.generation)
    }

    /// Computes the value for `fingerprint`: equal for requests with the same values. [`Intent::repeats`] decides if
    /// they also mean the same.
    #[must_use]
    pub fn own_fingerprint(&self) -> String {
        self.request.fingerprint()
    }

    /// Returns true if this is the same request as `other`. With the IDs of two generations, one ID means two backups.
    /// With the IDs of one generation it means one backup, whatever compatibility endpoint received the request. Two
    /// requests of the canonical API are the same if their values are equal, whatever generation their routes selected
    /// at the time.
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

/// The name of the canonical API, for requests without a compatibility endpoint.
pub const CANONICAL: &str = "canonical";

/// The compatibility endpoint that received a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source API of the compatibility endpoint, such as `csbs-v1`.
    pub source_api: String,
    /// The generation whose backup IDs the request uses.
    pub generation: String,
    /// The upstream of that generation to which the compatibility endpoint forwards reads, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<String>,
    /// True if the caller may not see that upstream's data. Then the gateway does not read it for the caller.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub closed: bool,
    /// Members that the canonical request does not have and the compatibility endpoint's responses repeat.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub echo: Value,
}

/// The route of an accepted restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePin {
    /// Name of the upstream in the configuration.
    pub upstream: String,
    /// Its generation, such as `cbr-v3`.
    pub generation: String,
    /// The matching rule, in a short text.
    pub reason: String,
    /// True if a baseline read precedes the send.
    pub baseline: bool,
    /// Seconds after which a running restore is overdue.
    pub overdue_seconds: u64,
    /// The disks of a per-disk restore, which are restored one after the other, each by its own call; empty if the
    /// restore is a single call.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Mapping>,
    /// Address of that upstream in the configuration at the time: another address under the same name does not know the
    /// restore. `None` for restores that were stored before this member existed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
}

/// One restore, as callers see it. It borrows its data and lives only while a response is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restore<'a> {
    /// The gateway's ID.
    pub id: RestoreId,
    /// The current status.
    pub status: Status,
    /// It runs longer than the `overdue_seconds` of its route.
    pub overdue: bool,
    /// An operator must decide.
    pub needs_operator: bool,
    /// Progress in percent, if the upstream reports it.
    pub progress: Option<u8>,
    /// The cloud project.
    pub project_id: &'a ProjectId,
    /// The backup.
    pub source: &'a Source,
    /// The target.
    pub target: &'a Target,
    /// The source API of the compatibility endpoint that received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_api: Option<&'a str>,
    /// The upstream at acceptance, which rejected the restore because its generation is closed to the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerouted: Option<ReroutedView<'a>>,
    /// The steps of a per-disk restore, one for each disk.
    #[serde(skip_serializing_if = "<[Step]>::is_empty")]
    pub steps: &'a [Step],
    /// The upstream that carries it out, with its own reference.
    pub upstream: UpstreamView<'a>,
    /// The evidence for the status.
    pub evidence: &'a Evidence,
    /// The reason of a failure or of an unknown outcome.
    pub error: Option<&'a Problem>,
    /// Number of attempts.
    pub attempts: u32,
    /// Start of the period without a successful poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll_failed_since: Option<Timestamp>,
    /// True if the token of an authorised caller would permit a refresh.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaiting_credential: bool,
    /// Time of acceptance.
    pub created_at: Timestamp,
    /// Time of the last attempt.
    pub submitted_at: Option<Timestamp>,
    /// Time of the last new information.
    pub updated_at: Timestamp,
    /// Time at which it became final.
    pub finished_at: Option<Timestamp>,
    /// In the response to a submitted request: true if an earlier request created the restore. Absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
}

/// The first route of a rerouted restore.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReroutedView<'a> {
    /// Name in the configuration of the upstream that rejected it.
    pub from: &'a str,
    /// Its generation.
    pub generation: &'a str,
    /// The rejection.
    pub error: &'a Problem,
    /// Time of the rerouting.
    pub at: Timestamp,
}

/// The upstream's side of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamView<'a> {
    /// Name in the configuration.
    pub name: &'a str,
    /// Its generation.
    pub generation: &'a str,
    /// Its reference to the restore.
    pub task: Option<&'a TaskRef>,
    /// Its own status.
    pub status: Option<&'a str>,
    /// Its request ID of the send.
    pub request_id: Option<&'a str>,
}

impl<'a> Restore<'a> {
    /// Creates the view of an intent in a state.
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
