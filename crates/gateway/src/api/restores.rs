//! Restores over HTTP: submit, show, list, history, cancel.

use http::header::{ETAG, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use restore_engine::{Submission, Submitted};
use restore_ledger::Entry;
use restore_model::{Problem, Restore, RestoreId, Retry, Status};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::{App, Asked, preferences};
use crate::auth::Signature;
use crate::telemetry::links::link_to_submit;
use crate::web::answer::{self, Answer, Failure, REPLAYED, restore_path};

/// `POST /api/v1/restores`.
pub(super) async fn submit(app: &App, asked: Asked) -> Result<Answer, Failure> {
    let key = preferences::idempotency_key(&asked.headers)?;
    let wait = preferences::wait(&asked.headers, app.wait_cap);
    let request = asked.restore_request(app)?;
    let until = wait.map(|wait| Instant::now() + wait);
    let asked = asked.read();
    let mut submission = Submission::new(request, asked.caller);
    submission.key = key;
    submission.trace = asked.trace;
    let submitted = take_in(app, submission, asked.signature).await?;
    let mut entry = submitted.entry;
    // A waiting request gives its place back. If too many wait, it does not wait.
    if let Some(until) = until.filter(|_| !entry.state.status.is_final() && asked.place.waits()) {
        // It is accepted; after a failed wait the response shows its earlier state.
        if let Ok(waited) = Box::pin(app.engine.wait(entry.intent.id, until)).await {
            entry = waited;
        }
    }
    let submitted = Submitted { entry, replayed: submitted.replayed };
    if let Some(problem) = rejection(&submitted) {
        let mut failure = Failure::from(problem).about(Some(submitted.entry.intent.id));
        failure.replayed = submitted.replayed;
        return Err(failure);
    }
    let entry = submitted.entry;
    let status = if entry.state.status.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut answer = restore(status, &entry, Some(submitted.replayed));
    if let Ok(location) = HeaderValue::try_from(restore_path(entry.intent.id)) {
        answer.headers_mut().insert(LOCATION, location);
    }
    if submitted.replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// The rejection of an accepted restore, if the cloud rejected it.
pub(crate) fn rejection(submitted: &Submitted) -> Option<Problem> {
    let Submitted { entry, replayed } = submitted;
    let mut problem = entry.state.error.clone().filter(|_| entry.state.status == Status::Rejected)?;
    if entry.intent.key.is_some() && problem.retry != Retry::Never {
        // The key stands for this restore, which is over.
        problem.detail.push_str("; ask again with a new Idempotency-Key");
        if *replayed {
            problem.retry = Retry::Never;
            problem.retry_after = None;
        }
    }
    Some(problem)
}

/// Submits, once for one signature.
pub(crate) async fn take_in(
    app: &App,
    submission: Submission,
    signature: Option<Signature>,
) -> Result<Submitted, Failure> {
    let request_id = submission.caller.request_context.request_id.clone();
    // The very same request: whatever came of it then, it is that restore.
    let submitted = match signature.as_ref().and_then(Signature::restore) {
        Some(id) => Submitted { entry: app.engine.get(id).await?, replayed: true },
        None => app
            .engine
            .submit(submission)
            .await
            .map_err(|refusal| Failure::from(refusal.problem).about(refusal.holder))?,
    };
    if let Some(signature) = signature {
        signature.became(submitted.entry.intent.id);
    }
    let Submitted { entry, replayed } = &submitted;
    link_to_submit(&entry.intent);
    tracing::info!(
        restore.id = %entry.intent.id,
        restore.status = entry.state.status.as_str(),
        restore.caller = entry.intent.caller,
        restore.created_at = %entry.intent.created_at,
        replayed,
        request_id,
        trace_id = entry.intent.trace_id,
        "{}",
        if *replayed { "repeated request: no new restore" } else { "request accepted" },
    );
    Ok(submitted)
}

/// `GET /api/v1/restores/{id}`.
pub(super) async fn show(app: &App, asked: Asked) -> Result<Answer, Failure> {
    let id = asked.restore_id()?;
    let until = preferences::wait(&asked.headers, app.wait_cap).map(|wait| Instant::now() + wait);
    let known = Known::of(&asked.headers);
    let asked = asked.read();
    let until = until.filter(|_| asked.waits());
    let entry = app.engine.refresh_and_wait(id, &asked.caller, asked.trace, until).await?;
    link_to_submit(&entry.intent);
    let tag = etag(&entry);
    if known.has(&tag) {
        let mut answer =
            answer::typed(StatusCode::NOT_MODIFIED, HeaderValue::from_static("application/json"), "");
        answer.headers_mut().remove(http::header::CONTENT_TYPE);
        insert_etag(&mut answer, &tag);
        return Ok(answer);
    }
    Ok(restore(StatusCode::OK, &entry, None))
}

/// The versions that a caller knows, by `If-None-Match`.
struct Known(Vec<String>);

impl Known {
    /// More than any caller has a use for. What is left out is shown again.
    const MOST: usize = 8;

    fn of(headers: &HeaderMap) -> Self {
        let told = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags = told.flat_map(|tags| tags.split(',')).map(|known| known.trim().trim_start_matches("W/"));
        // Ours are short.
        Self(tags.filter(|tag| tag.len() <= 12).take(Self::MOST).map(str::to_owned).collect())
    }

    fn has(&self, tag: &str) -> bool {
        self.0.iter().any(|known| known == tag || known == "*")
    }
}

/// `GET /api/v1/restores`.
pub(super) async fn list(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let query = preferences::list(asked.query.as_deref(), app.max_page_size)?;
    let restore_engine::Page { entries, next } = app.engine.list(query, &asked.caller).await?;
    let restores: Vec<Restore<'_>> = entries.iter().map(|e| Restore::view(&e.intent, &e.state)).collect();
    Ok(answer::json(StatusCode::OK, &Page { restores, next_cursor: next }))
}

/// A page of a list.
#[derive(Serialize)]
struct Page<'a> {
    restores: Vec<Restore<'a>>,
    next_cursor: Option<RestoreId>,
}

/// `GET /api/v1/restores/{id}/events`.
pub(super) async fn events(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let id = asked.restore_id()?;
    app.engine.look(id, &asked.caller).await?;
    let events = app.engine.events(id).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "events": events })))
}

/// `DELETE /api/v1/restores/{id}`.
pub(super) async fn cancel(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let id = asked.restore_id()?;
    let entry = app.engine.cancel(id, &asked.caller).await.map_err(|problem: Problem| {
        let named = problem.code != restore_model::Code::RestoreNotFound;
        Failure::from(problem).about(named.then_some(id))
    })?;
    Ok(restore(StatusCode::OK, &entry, None))
}

/// The answer that is one restore. The answer to a submitted request also says if an earlier one created the restore.
fn restore(status: StatusCode, entry: &Entry, replayed: Option<bool>) -> Answer {
    let view = Restore { replayed, ..Restore::view(&entry.intent, &entry.state) };
    let mut answer = answer::json(status, &view);
    insert_etag(&mut answer, &etag(entry));
    if !entry.state.status.is_final() {
        let generation = restore_generations::by_name(&entry.state.route(&entry.intent).generation);
        let seconds = generation.map_or(15, |generation| generation.poll_interval(0));
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Changes with every event.
fn etag(entry: &Entry) -> String {
    format!("\"{}\"", entry.state.seq)
}

fn insert_etag(answer: &mut Answer, tag: &str) {
    if let Ok(value) = HeaderValue::from_str(tag) {
        answer.headers_mut().insert(ETAG, value);
    }
}
