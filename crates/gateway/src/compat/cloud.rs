//! Proxied reads of compatibility endpoints: reads that the gateway cannot answer itself, and the responses of the
//! cloud.

use http::{HeaderValue, Method, StatusCode};
use restore_generations::source_api::{self, Native, Refusal};
use restore_generations::{self as generations, Reply, SourceApi};
use restore_ledger::Entry;
use restore_model::{Code, Problem, ProjectId};
use serde_json::{Value, json};

use super::links;
use super::{Call, base};
use crate::api::App;
use crate::dispatch::endpoints::AtEndpoint;
use crate::web::answer::{self, Answer, Failure};

/// Longest proxied path with its query, in bytes.
const LONGEST_PATH: usize = 4_096;

/// Passes a read on.
pub(super) async fn pass_on(app: &App, at: &AtEndpoint, call: &Call) -> Result<Answer, Failure> {
    if (call.method != Method::GET && call.method != Method::HEAD) || !at.names_project() {
        return Err(source_api::not_here().into());
    }
    let reply = ask_cloud(app, at, call, None, None).await?;
    Ok(passed_on(at, call, &reply))
}

/// Asks the cloud that the compatibility endpoint's programs used to talk to. `about` is the restore that shows in the answer.
pub(super) async fn ask_cloud(
    app: &App,
    at: &AtEndpoint,
    call: &Call,
    about: Option<&Entry>,
    body: Option<&Value>,
) -> Result<Reply, Failure> {
    let project = at.named()?.project;
    plain(at.endpoint.endpoint, &at.path, &call.query, &project)?;
    let path = if call.query.is_empty() { at.path.clone() } else { format!("{}?{}", at.path, call.query) };
    if path.len() > LONGEST_PATH {
        return Err(Problem::new(Code::InvalidParameter, "the path is longer than is passed on").into());
    }
    let template = match at.template() {
        "" => "(passed on)",
        template => template,
    };
    let cloud = match body {
        None => generations::Call::read(template, path),
        Some(body) => generations::Call::post(template, path, body),
    };
    let endpoint = at.endpoint.endpoint;
    let cloud = cloud.on(endpoint.service(&at.path));
    let own = at.endpoint.upstream.clone();
    let upstream = match cloud.host {
        generations::Host::Backup => own,
        generations::Host::Volumes => {
            app.engine.upstream_of_disks(own.as_deref(), endpoint.source_api(), &cloud)
        }
    };
    let Some(upstream) = upstream else { return Err(source_api::not_here().into()) };
    let reply = app.engine.pass_on(&upstream, &project, &cloud, about, &call.caller, call.trace.clone());
    Ok(Box::pin(reply).await?)
}

/// What is passed on is of the project that the caller was asked about, whoever reads the path behind the gateway: it
/// names the project where the generation has it, with versions alone before it, no segment leads out of it, and no
/// query names another one.
pub(crate) fn plain(
    endpoint: &dyn SourceApi,
    path: &str,
    query: &str,
    project: &ProjectId,
) -> Result<(), Problem> {
    let before = endpoint.project_segment();
    let odd = |code, what: &str| Err(Problem::new(code, format!("{what}; nothing was asked")));
    let mut segments = path.split('/').skip(1);
    let is_version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|number| {
            number.starts_with(|first: char| first.is_ascii_digit())
                && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
    };
    if !segments.by_ref().take(before).all(is_version) || segments.next() != Some(project.as_str()) {
        return odd(Code::NotFound, "the path does not begin with a version and the project");
    }
    if path.split('/').count() < before + 3 {
        return Err(source_api::not_here());
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@=,+".contains(&byte);
    if segments.any(|segment| matches!(segment, "" | "." | "..") || !segment.bytes().all(letter)) {
        return odd(
            Code::NotFound,
            "a segment of the path is empty, leads elsewhere, or has other letters than ids and names have",
        );
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let names_project = matches!(&*name, "project_id" | "tenant_id" | "project" | "tenant");
        let all = matches!(&*name, "all_tenants" | "all_projects" | "all_granted");
        let off = matches!(&*value.to_ascii_lowercase(), "" | "0" | "false");
        if (names_project && *value != *project.as_str()) || (all && !off) {
            return odd(Code::InvalidParameter, "the query asks for other projects than that of the path");
        }
    }
    Ok(())
}

/// An answer of the cloud, with the links of its inside turned into the compatibility endpoint's. A refusal keeps its words and gets the
/// form that every client shows besides; what is no JSON, and the 500 that one client breaks on, is told as the compatibility endpoint
/// tells a refusal.
pub(super) fn passed_on(at: &AtEndpoint, call: &Call, reply: &Reply) -> Answer {
    match (reply.status, reply.json()) {
        (200..=299, Some(body)) => with_links(at, call, reply, body),
        (400..=599, Some(Value::Object(mut members))) if !members.is_empty() => {
            if !members.values().any(Value::is_object) {
                let said = generations::errors::read(reply);
                let fallback = generations::classify(reply).into_problem();
                let shown = json!({
                    "message": said.message.unwrap_or(fallback.detail),
                    "code": said.code.unwrap_or_else(|| format!("Gateway.{}", fallback.code.as_str())),
                });
                members.insert("error".to_owned(), shown);
            }
            let reply = Reply { status: refusal(reply.status), ..reply.clone() };
            with_links(at, call, &reply, Value::Object(members))
        }
        (status, _) => {
            let problem = generations::classify(reply).into_problem();
            let told = Refusal { request_id: reply.request_id.as_deref(), ..Refusal::before(&problem) };
            let Native { body, .. } = at.endpoint.endpoint.refuse(&told);
            after(answer::native(Native { status: refusal(status), body }), reply)
        }
    }
}

/// The status with which a rejection of the cloud is returned.
const fn refusal(status: u16) -> u16 {
    match status {
        400..=499 | 501..=599 => status,
        _ => 503,
    }
}

pub(super) fn with_links(at: &AtEndpoint, call: &Call, reply: &Reply, mut body: Value) -> Answer {
    if let Ok(named) = at.named() {
        links::rewrite(&mut body, &base(at, call), &named.project);
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    after(answer::json(status, &body), reply)
}

/// With the pause that the cloud asks for.
fn after(mut answer: Answer, reply: &Reply) -> Answer {
    let pause = reply.retry_after.as_deref().and_then(|pause| HeaderValue::from_str(pause).ok());
    if let Some(pause) = pause {
        answer.headers_mut().insert(http::header::RETRY_AFTER, pause);
    }
    answer
}
