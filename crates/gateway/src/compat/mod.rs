//! The compatibility endpoints: a native request becomes a call of the engine, and its result an answer in the source API.
//! `reads` has the reads of restores and backups, `cloud` the reads that are proxied to the cloud.

pub(crate) mod cloud;
pub(crate) mod links;
mod reads;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::request::Parts;
use http::{HeaderValue, Method};
use restore_engine::{Caller, Submission};
use restore_generations::source_api::{Act, Question, RestoreView, Verdict};
use restore_generations::{Check, CheckResult};
use restore_ledger::Entry;
use restore_model::{Code, Origin, Problem, RestoreRequest, Retry, json as strict};
use restore_upstream::TraceContext;
use serde_json::Value;

use crate::api::{App, preferences, restores};
use crate::auth::Signature;
use crate::dispatch::endpoints::{AtEndpoint, Stand};
use crate::web::answer::{self, Answer, Failure};
use crate::web::destination::Destination;

/// Questions of one request that a cloud is asked at the same time.
const ASKED_AT_ONCE: usize = 4;

/// A request at a compatibility endpoint, as the inbound stack hands it over.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) body: Bytes,
    pub(crate) caller: Caller,
    pub(crate) signature: Option<Signature>,
    pub(crate) trace: Option<TraceContext>,
    /// The `Idempotency-Key`, of the few programs that send one.
    pub(crate) key: Result<Option<String>, Problem>,
    /// The authority that the client called.
    pub(crate) authority: String,
}

impl Call {
    /// Takes of a request what the endpoints need.
    pub(crate) fn new(
        head: Parts,
        destination: &Destination,
        caller: Caller,
        signature: Option<Signature>,
        trace: TraceContext,
        body: Bytes,
    ) -> Self {
        Self {
            authority: destination.authority().map(ToString::to_string).unwrap_or_default(),
            method: head.method,
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
            signature,
            key: preferences::idempotency_key(&head.headers),
            caller,
            trace: Some(trace),
        }
    }

    /// Who asks.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    fn json(&self, app: &App) -> Result<Value, Failure> {
        strict::read_within(&self.body, app.max_json_depth).map_err(|fault| {
            let failure =
                Failure::from(Problem::new(Code::InvalidJson, format!("{fault}; nothing was sent")));
            if fault.too_deep { failure.at_limit("max_json_depth") } else { failure }
        })
    }
}

/// Answers a request at a compatibility endpoint.
pub(crate) async fn answer(app: &Arc<App>, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    if at.is_wrong_method() {
        return Err(Problem::new(Code::MethodNotAllowed, "this path does not take that method").into());
    }
    match at.act() {
        Some(Act::Versions) => Ok(answer::native(at.endpoint.endpoint.versions(&base(at, &call)))),
        Some(Act::Restore) => restore(app, at, call).await,
        Some(Act::Ask) => Box::pin(ask(app, at, call)).await,
        Some(Act::Restored) => reads::restored(app, at, call).await,
        Some(Act::RestoredList) => reads::restored_list(app, at, call).await,
        Some(Act::Backup) => reads::backup(app, at, call).await,
        Some(Act::BackupList) => reads::backup_list(app, at, call).await,
        Some(Act::Disk) => reads::disk(app, at, call).await,
        Some(Act::DiskList) => reads::disk_list(app, at, call).await,
        Some(Act::PassOn) | None => cloud::pass_on(app, at, &call).await,
    }
}

/// Where the compatibility endpoint is, as its client calls it.
pub(crate) fn base(at: &AtEndpoint, call: &Call) -> String {
    let prefix = match &at.endpoint.stand {
        Stand::Prefix(prefix) => prefix,
        Stand::Host(_) | Stand::Listener => "",
    };
    format!("{}://{}{prefix}", at.endpoint.scheme, call.authority)
}

pub(crate) fn restore_view(entry: &Entry) -> RestoreView<'_> {
    RestoreView { intent: &entry.intent, state: &entry.state }
}

pub(crate) fn origin(at: &AtEndpoint, echo: Value) -> Origin {
    let endpoint = at.endpoint.endpoint;
    Origin {
        source_api: endpoint.source_api().to_owned(),
        generation: endpoint.generation().to_owned(),
        upstream: at.endpoint.upstream.clone(),
        closed: false,
        echo,
    }
}

/// The restore call. Whatever may have reached a cloud is answered as taken: an error would be sent again.
async fn restore(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let endpoint = at.endpoint.endpoint;
    let wanted = endpoint.restore(at.form(), &at.named()?, call.json(app)?)?;
    let mut submission = Submission::new(wanted.request, call.caller);
    submission.origin = Some(origin(at, wanted.echo));
    submission.trace = call.trace;
    submission.key = call.key?;
    let submitted = restores::take_in(app, submission, call.signature).await?;
    if let Some(problem) = restores::rejection(&submitted) {
        let mut failure = Failure::from(problem);
        failure.sent = submitted.entry.state.attempts > 0;
        return Err(failure);
    }
    let entry = submitted.entry;
    let mut answer = answer::native(endpoint.taken(at.form(), restore_view(&entry)));
    if submitted.replayed {
        answer.headers_mut().insert(answer::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// A question that changes nothing, sent as a POST.
async fn ask(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let body = call.json(app)?;
    let requests = match at.endpoint.endpoint.ask(&at.named()?, &body)? {
        Question::PassOn => {
            let reply = cloud::ask_cloud(app, at, &call, None, Some(&body)).await?;
            return Ok(cloud::passed_on(at, &call, &reply));
        }
        Question::Restorable(requests) => requests,
    };
    // Equal questions are one; a cloud is asked a few at a time.
    let mut different: Vec<&RestoreRequest> = Vec::new();
    let place_of: Vec<usize> = requests
        .iter()
        .map(|request| {
            different.iter().position(|other| *other == request).unwrap_or_else(|| {
                different.push(request);
                different.len() - 1
            })
        })
        .collect();
    let asks: Vec<BoxFuture<'_, Result<Obstacle, Failure>>> =
        different.into_iter().map(|request| obstacle(app, at, &call, request).boxed()).collect();
    let obstacles: Vec<Obstacle> = stream::iter(asks).buffered(ASKED_AT_ONCE).try_collect().await?;
    let verdict = |(request, place): (_, usize)| Verdict { request, obstacle: obstacles[place].clone() };
    let verdicts: Vec<Verdict<'_>> = requests.iter().zip(place_of).map(verdict).collect();
    Ok(answer::native(at.endpoint.endpoint.answer(&verdicts)))
}

/// The obstacle to a restore: a code and text. `None` without one.
type Obstacle = Option<(String, String)>;

/// Asks what stands against a restore. A question that could not be asked is an error, for no is an answer.
async fn obstacle(
    app: &App,
    at: &AtEndpoint,
    call: &Call,
    request: &RestoreRequest,
) -> Result<Obstacle, Failure> {
    let origin = origin(at, Value::Null);
    let asked = app.engine.check(request, Some(&origin), &call.caller, call.trace.clone());
    let report = match Box::pin(asked).await {
        Ok(report) => report,
        // One that cannot be restored leaves the others as they are; trouble and refused callers concern all.
        Err(problem) if problem.code.is_obstacle() => {
            let code = format!("Gateway.{}", problem.code.as_str());
            return Ok(Some((code, problem.detail)));
        }
        Err(problem) => return Err(problem.into()),
    };
    let found = |wanted| report.checks.iter().find(|check| check.result == wanted);
    let against = match (report.restorable, report.unasked) {
        (Some(true), _) => return Ok(None),
        (Some(false), _) => found(CheckResult::Failed),
        (None, Some(problem)) => return Err(problem.into()),
        (None, None) => return Err(unanswered(&report.upstream, found(CheckResult::NotRun)).into()),
    };
    Ok(against.map(|check| {
        let code = check.upstream_code.clone().unwrap_or_else(|| format!("Gateway.{}", check.name));
        (code, check.detail.clone().unwrap_or_default())
    }))
}

/// The refusal of a question that the cloud has no answer to, and that no other attempt answers.
fn unanswered(upstream: &str, check: Option<&Check>) -> Problem {
    let name = check.map_or("restorable", |check| check.name);
    let why = check.and_then(|check| check.detail.as_deref()).unwrap_or("it does not say");
    let detail =
        format!("the question {name} could not be asked of upstream {upstream}: {why}; nothing was changed");
    Problem::new(Code::UpstreamUnavailable, detail).retry(Retry::Never)
}
