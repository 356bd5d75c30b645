//! What a door does: reads a native request, asks the engine, answers in the dialect. A restore that is of the gateway
//! is told from the ledger; every other read is passed on to the cloud that the door's programs used to talk to.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use restore_engine::{Caller, Submission};
use restore_generations::door::{self, Act, Native, Question, Refusal, Told, Verdict};
use restore_generations::{self as generations, Backup, CheckResult, DiskBackup, Door, Reply};
use restore_ledger::{Entry, Query};
use restore_model::{Code, Mapping, Origin, Problem, RestoreId, json as strict};
use restore_upstream::TraceContext;
use serde_json::{Value, json};

use super::{AtDoor, Stand, links};
use crate::answer::{self, Answer, Failure};
use crate::api::{App, preferences, restores};
use crate::callers::Claim;

/// Restores on one page of a native list at most; the dialects' own pages are of this size.
const PAGE: usize = 1_000;
/// Longest path with its query that is passed on, in bytes.
const LONGEST_PATH: usize = 4_096;

/// A request at a door, out of the way in.
pub(crate) struct Call {
    method: Method,
    query: String,
    body: Bytes,
    caller: Caller,
    signature: Option<[u8; 32]>,
    trace: Option<TraceContext>,
    /// The `Idempotency-Key`, of the few programs that send one.
    key: Result<Option<String>, Problem>,
    /// The authority that the client called.
    authority: String,
}

impl Call {
    pub(crate) fn new(mut head: Parts, body: Bytes) -> Self {
        let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let host = head.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default();
        Self {
            authority: host.to_owned(),
            method: head.method,
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
            signature: head.extensions.get::<Claim>().map(Claim::digest),
            key: preferences::idempotency_key(&head.headers),
            caller: head.extensions.remove::<Caller>().unwrap_or_else(|| Caller::anyone(None)),
            trace: head.extensions.remove::<TraceContext>(),
        }
    }

    /// Who asks.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    fn json(&self, app: &App) -> Result<Value, Failure> {
        strict::read_within(&self.body, app.json_depth).map_err(|fault| {
            let failure =
                Failure::from(Problem::new(Code::InvalidJson, format!("{fault}; nothing was sent")));
            if fault.too_deep { failure.at_limit("json_depth") } else { failure }
        })
    }
}

/// Answers a request at a door.
pub(crate) async fn answer(app: &Arc<App>, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    if at.is_wrong_method() {
        return Err(Problem::new(Code::MethodNotAllowed, "this path does not take that method").into());
    }
    match at.act() {
        Some(Act::Versions) => Ok(answer::native(at.door.door.versions(&base(at, &call)))),
        Some(Act::Restore) => restore(app, at, call).await,
        Some(Act::Ask) => Box::pin(ask(app, at, call)).await,
        Some(Act::Restored) => restored(app, at, call).await,
        Some(Act::RestoredList) => restored_list(app, at, call).await,
        Some(Act::Backup) => backup(app, at, call).await,
        Some(Act::Disk) => disk(app, at, call).await,
        Some(Act::PassOn) | None => pass_on(app, at, &call).await,
    }
}

/// Where the door is, as its client calls it.
fn base(at: &AtDoor, call: &Call) -> String {
    let prefix = match &at.door.stand {
        Stand::Prefix(prefix) => prefix,
        Stand::Host(_) | Stand::Listener => "",
    };
    format!("{}://{}{prefix}", at.door.scheme, call.authority)
}

fn told(entry: &Entry) -> Told<'_> {
    Told { intent: &entry.intent, state: &entry.state }
}

fn origin(at: &AtDoor, echo: Value) -> Origin {
    let door = at.door.door;
    Origin {
        dialect: door.dialect().to_owned(),
        generation: door.generation().to_owned(),
        upstream: at.door.upstream.clone(),
        echo,
    }
}

/// The restore call. Whatever may have reached a cloud is answered as taken: an error would be sent again.
async fn restore(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let door = at.door.door;
    let wanted = door.restore(at.form(), &at.named()?, call.json(app)?)?;
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
    let mut answer = answer::native(door.taken(at.form(), told(&entry)));
    if submitted.replayed {
        answer.headers_mut().insert(answer::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// One restore by the handle that a door gave out; what is no restore of the gateway's may be one of the cloud's.
async fn restored(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let id = named.id.as_ref().and_then(|id| id.as_str().parse::<RestoreId>().ok());
    let Some(id) = id else { return pass_on(app, at, &call).await };
    let read = app.engine.refresh_and_wait(id, &call.caller, call.trace.clone(), None);
    match Box::pin(read).await {
        Ok(entry) if entry.intent.request.project_id == named.project => {
            Ok(answer::native(at.door.door.restored(told(&entry))))
        }
        Ok(_) => pass_on(app, at, &call).await,
        Err(problem) if problem.code == Code::RestoreNotFound => {
            // As it is said of what never was, also where nobody can be asked.
            pass_on(app, at, &call).await.map_err(|failure| match failure.problem.code {
                Code::NotFound => problem.into(),
                _ => failure,
            })
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn restored_list(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let query = Query { project_id: Some(named.project.clone()), limit: PAGE, ..Query::default() };
    let page = app.engine.list(query, &call.caller).await?;
    let others = match ask_cloud(app, at, &call, None, None).await {
        Ok(reply) if reply.status == 200 => reply.json(),
        // The list of the gateway's own is better than none.
        Ok(_) | Err(_) => None,
    };
    let told: Vec<Told<'_>> =
        page.entries.iter().filter(|entry| entry.intent.part_of.is_none()).map(told).collect();
    Ok(answer::native(at.door.door.restored_list(&call.query, &told, others)?))
}

/// A backup: the word of the cloud that the door's programs used to talk to, else that of the one that carries out
/// their restores, else what the ledger knows of it. A restore by another generation is shown in it.
async fn backup(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let Some(id) = &named.id else { return Err(door::not_here().into()) };
    let door = at.door.door;
    let running = app.engine.restore_of_backup(&named.project, id, &call.caller).await?;
    let home = match &at.door.upstream {
        Some(_) => Some(ask_cloud(app, at, &call, running.as_ref(), None).await?),
        None => None,
    };
    let (mut body, reply) = match home {
        Some(reply) if reply.status == 200 && reply.json().is_some() => {
            (reply.json().unwrap_or_default(), reply)
        }
        home => {
            let origin = origin(at, Value::Null);
            let (about, trace) = (running.as_ref(), call.trace.clone());
            let found = app.engine.backup_elsewhere(&origin, &named.project, id, about, &call.caller, trace);
            let found = match Box::pin(found).await? {
                Some(backup) => Some(backup),
                None => elsewhere(&running, door).map(as_backup),
            };
            match (found, home) {
                (Some(backup), _) => {
                    let reply = Reply { status: 200, ..Reply::default() };
                    (door.backup(at.form(), &named, &backup), reply)
                }
                (None, Some(refusal)) => return Ok(passed_on(at, &call, &refusal)),
                (None, None) => {
                    return Err(Problem::new(Code::BackupNotFound, "no cloud behind this door has it").into());
                }
            }
        }
    };
    if let Some(entry) = elsewhere(&running, door) {
        door.restoring(at.form(), &mut body, told(entry));
    }
    Ok(with_links(at, &call, &reply, body))
}

/// The restore of a backup, if another generation than the door's carries it out: its own cloud shows it by itself.
fn elsewhere<'a>(running: &'a Option<Entry>, door: &dyn Door) -> Option<&'a Entry> {
    running.as_ref().filter(|entry| entry.intent.route.generation != door.generation())
}

/// What a restore tells of its backup.
fn as_backup(entry: &Entry) -> Backup {
    let request = &entry.intent.request;
    let disk = |mapping: &Mapping| DiskBackup {
        id: mapping.backup_id.to_string(),
        volume_id: mapping.volume_id.to_string(),
        volume_name: String::new(),
        size_gb: None,
        bootable: None,
        created_at: None,
    };
    Backup {
        id: request.source.backup_id.to_string(),
        name: String::new(),
        status: "available".to_owned(),
        kind: Some(request.target.kind()),
        resource_id: request.target.id().to_string(),
        resource_name: String::new(),
        checkpoint_id: request.source.checkpoint_id.as_ref().map(ToString::to_string),
        created_at: None,
        updated_at: Some(entry.state.updated_at),
        size_gb: None,
        zone: String::new(),
        disks: request.target.mappings().iter().map(disk).collect(),
    }
}

/// The disk that a restore overwrites, as long as that is to be seen.
async fn disk(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let Some(id) = &named.id else { return Err(door::not_here().into()) };
    match app.engine.restore_of_disk(&named.project, id, &call.caller).await? {
        Some(entry) => Ok(answer::native(at.door.door.disk(&named, told(&entry)))),
        None => pass_on(app, at, &call).await,
    }
}

/// A question that changes nothing, sent as a POST.
async fn ask(app: &App, at: &AtDoor, call: Call) -> Result<Answer, Failure> {
    let body = call.json(app)?;
    let requests = match at.door.door.ask(&at.named()?, &body)? {
        Question::PassOn => {
            let reply = ask_cloud(app, at, &call, None, Some(&body)).await?;
            return Ok(passed_on(at, &call, &reply));
        }
        Question::Restorable(requests) => requests,
    };
    let mut verdicts = Vec::with_capacity(requests.len());
    for request in &requests {
        let origin = origin(at, Value::Null);
        let report = app.engine.check(request, Some(&origin), &call.caller, call.trace.clone()).await?;
        let failed = report.checks.iter().find(|check| check.result == CheckResult::Failed);
        let not_run = || report.checks.iter().find(|check| check.result == CheckResult::NotRun);
        let obstacle = match report.restorable {
            Some(true) => None,
            _ => failed.or_else(not_run).map(|check| {
                let code = check.upstream_code.clone();
                let code = code.unwrap_or_else(|| format!("Gateway.{}", check.name));
                (code, check.detail.clone().unwrap_or_default())
            }),
        };
        verdicts.push(Verdict { request, obstacle });
    }
    Ok(answer::native(at.door.door.answer(&verdicts)))
}

/// Passes a read on.
async fn pass_on(app: &App, at: &AtDoor, call: &Call) -> Result<Answer, Failure> {
    if call.method != Method::GET && call.method != Method::HEAD {
        return Err(door::not_here().into());
    }
    let reply = ask_cloud(app, at, call, None, None).await?;
    Ok(passed_on(at, call, &reply))
}

/// Asks the cloud that the door's programs used to talk to. `about` is the restore that shows in the answer.
async fn ask_cloud(
    app: &App,
    at: &AtDoor,
    call: &Call,
    about: Option<&Entry>,
    body: Option<&Value>,
) -> Result<Reply, Failure> {
    let project = at.named()?.project;
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
    let door = at.door.door;
    let cloud = cloud.on(door.service(&at.path));
    let own = at.door.upstream.clone();
    let upstream = match cloud.host {
        generations::Host::Backup => own,
        generations::Host::Volumes => app.engine.upstream_of_disks(own.as_deref(), door.dialect(), &cloud),
    };
    let Some(upstream) = upstream else { return Err(door::not_here().into()) };
    let reply = app.engine.pass_on(&upstream, &project, &cloud, about, &call.caller, call.trace.clone());
    Ok(Box::pin(reply).await?)
}

/// An answer of the cloud, with the links of its inside turned into the door's. A refusal keeps its words and gets the
/// form that every client shows besides; what is no JSON, and the 500 that one client breaks on, is told as the door
/// tells a refusal.
fn passed_on(at: &AtDoor, call: &Call, reply: &Reply) -> Answer {
    match (reply.status, reply.json()) {
        (200..=299, Some(body)) => with_links(at, call, reply, body),
        (400..=599, Some(Value::Object(mut members))) if !members.is_empty() => {
            if !members.values().any(Value::is_object) {
                let said = generations::errors::read(reply);
                let shown = json!({"message": said.message.unwrap_or_default(), "code": said.code});
                members.insert("error".to_owned(), shown);
            }
            let reply = Reply { status: refusal(reply.status), ..reply.clone() };
            with_links(at, call, &reply, Value::Object(members))
        }
        (status, _) => {
            let problem = generations::classify(reply).into_problem();
            let told = Refusal { request_id: reply.request_id.as_deref(), ..Refusal::before(&problem) };
            let Native { body, .. } = at.door.door.refuse(&told);
            answer::native(Native { status: refusal(status), body })
        }
    }
}

/// The status under which a cloud's refusal is passed on.
const fn refusal(status: u16) -> u16 {
    match status {
        400..=499 | 501..=599 => status,
        _ => 503,
    }
}

fn with_links(at: &AtDoor, call: &Call, reply: &Reply, mut body: Value) -> Answer {
    if let Ok(named) = at.named() {
        links::rewrite(&mut body, &base(at, call), &named.project);
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    answer::json(status, &body)
}
