//! Compatibility endpoints: a request of a stranger, or an answer of a cloud that is told there. First line source API, method, path and
//! query; the rest is the body.

use restore_generations::source_api::{self, Act, SourceApi, Form, Named, Place, Question, Refusal, RestoreView, Verdict};
use restore_generations::{ALL, Known, Reply};
use restore_model::{
    Cause, Code, Effect, Event, EventKind, Evidence, Intent, Origin, Problem, RestoreRequest, RoutePin, State,
    Status, Strength, Timestamp, json, schema,
};
use serde_json::Value;

use super::canonical::no_value_repeated;
use crate::wording;

pub(crate) const MAX_LEN: usize = 16 * 1024;

const STATUSES: [Status; 11] = [
    Status::Accepted,
    Status::Checking,
    Status::Submitting,
    Status::Running,
    Status::Unknown,
    Status::Succeeded,
    Status::Failed,
    Status::Rejected,
    Status::NotApplied,
    Status::Cancelled,
    Status::Expired,
];

pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let line = String::from_utf8_lossy(&data[..end]).into_owned();
    let body = data.get(end + 1..).unwrap_or_default();
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (source_api, method, target) = (next(), next(), next());
    let endpoint = source_api::by_name(source_api).unwrap_or(source_api::ALL[source_api.len() % source_api::ALL.len()]);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = endpoint.places().iter().find_map(|place| named(place, method, path).map(|named| (place, named)));
    match found {
        None => refused(endpoint, &source_api::not_here(), false, &Value::Null),
        Some((_, Err(problem))) => refused(endpoint, &problem, method == "POST", &Value::Null),
        Some((place, Ok(named))) => asked(endpoint, place, &named, query, body),
    }
}

/// What a path names at a place; none where it is another one's.
fn named(place: &Place, method: &str, path: &str) -> Option<Result<Named, Problem>> {
    let (template, path): (Vec<&str>, Vec<&str>) = (place.template.split('/').collect(), path.split('/').collect());
    if place.method != method || template.len() != path.len() {
        return None;
    }
    let (mut project, mut id) = (None, None);
    for (name, text) in template.into_iter().zip(path) {
        match name {
            "{project_id}" => project = Some(text),
            "{id}" => id = Some(text),
            name if name == text => {}
            _ => return None,
        }
    }
    let fault = |_| Problem::new(Code::InvalidParameter, "the path names nothing");
    let read = || {
        let project = project.unwrap_or("0a1b2c3d4e5f60718293a4b5c6d7e8f9").parse().map_err(fault)?;
        Ok(Named { project, id: id.map(str::parse).transpose().map_err(fault)? })
    };
    Some(read())
}

fn asked(endpoint: &dyn SourceApi, place: &Place, named: &Named, query: &str, body: &[u8]) {
    let value = json::read_within(body, 32);
    match place.act {
        Act::Restore => match value {
            Err(fault) => refused(endpoint, &Problem::new(Code::InvalidJson, fault.to_string()), true, &Value::Null),
            Ok(value) => match endpoint.restore(place.form, named, value.clone()) {
                Ok(wanted) => taken(endpoint, place.form, &wanted.request, wanted.echo),
                Err(problem) => refused(endpoint, &problem, true, &value),
            },
        },
        Act::Ask => match value.map(|value| (endpoint.ask(named, &value), value)) {
            Err(fault) => refused(endpoint, &Problem::new(Code::InvalidJson, fault.to_string()), false, &Value::Null),
            Ok((Ok(Question::PassOn), _)) => {}
            Ok((Ok(Question::Restorable(requests)), _)) => {
                let verdicts: Vec<Verdict<'_>> =
                    requests.iter().map(|request| Verdict { request, obstacle: None }).collect();
                let answer = endpoint.answer(&verdicts);
                let told = answer.body.as_ref().and_then(|body| body["restorable"].as_array()).map(Vec::len);
                assert_eq!((answer.status, told), (200, Some(requests.len())), "one answer per question");
            }
            Ok((Err(problem), value)) => refused(endpoint, &problem, false, &value),
        },
        Act::RestoredList => list(endpoint, named, query, value.ok().as_ref()),
        Act::Backup | Act::BackupList => told_of_a_backup(endpoint, place.form, named, body),
        Act::Restored | Act::Disk | Act::DiskList | Act::PassOn => each(endpoint, &some(named), &|told| {
            is_json(endpoint.restored(told).body.as_ref());
            is_json(endpoint.disk(named, told).body.as_ref());
            let mut disk = value.clone().unwrap_or_default();
            endpoint.overwriting(&mut disk, told);
            is_json(Some(&disk));
        }),
        Act::Versions => {
            let answer = endpoint.versions(query);
            assert!(answer.body.is_some_and(|body| body["versions"].is_array()), "a list, or a client breaks");
        }
    }
}

/// What is taken is what its own generation can be asked for, and is told in every state.
fn taken(endpoint: &dyn SourceApi, form: Form, request: &RestoreRequest, echo: Value) {
    let own = restore_generations::by_name(endpoint.generation()).unwrap_or_else(|| panic!("no generation"));
    let encoded = own.encode(request, &Known::default()).unwrap_or_else(|why| panic!("{why:?}"));
    wording::safe_path(&encoded.call);
    assert!(schema::consistent(request.clone(), "").is_ok(), "taken with faults");
    let mut intent = intent(request, endpoint);
    intent.origin = Some(Origin {
        source_api: endpoint.source_api().to_owned(),
        generation: endpoint.generation().to_owned(),
        upstream: None,
        closed: false,
        echo,
    });
    each(endpoint, &intent, &|told| {
        let answer = endpoint.taken(form, told);
        assert!(matches!(answer.status, 200 | 202), "{}", answer.status);
        is_json(answer.body.as_ref());
        is_json(endpoint.restored(told).body.as_ref());
    });
}

/// A page of restores, among what a cloud has told of others.
fn list(endpoint: &dyn SourceApi, named: &Named, query: &str, others: Option<&Value>) {
    let intent = some(named);
    each(endpoint, &intent, &|told| match endpoint.restored_list(query, &[told, told], Some("u"), others.cloned()) {
        Ok(answer) => {
            assert_eq!(answer.status, 200);
            is_json(answer.body.as_ref());
            assert!(endpoint.others(query, &[told, told], Some("u")).is_ok(), "a query that is understood is understood twice");
        }
        Err(problem) => refused(endpoint, &problem, false, &Value::String(query.to_owned())),
    });
}

/// A backup as any generation tells of it, and whatever a cloud gave for one, with a restore shown in it.
fn told_of_a_backup(endpoint: &dyn SourceApi, form: Form, named: &Named, body: &[u8]) {
    let reply = Reply { status: 200, body: body.to_vec().into(), ..Reply::default() };
    let mut all: Vec<Value> =
        ALL.iter().filter_map(|one| one.backup(&reply)).map(|one| endpoint.backup(form, named, &one)).collect();
    all.extend(reply.json());
    let intent = some(named);
    for shown in all {
        each(endpoint, &intent, &|told| {
            let mut shown = shown.clone();
            endpoint.restoring(form, &mut shown, told);
            is_json(Some(&shown));
        });
    }
}

/// A refusal is in the source API's own words, starts no second restore and repeats nothing.
fn refused(endpoint: &dyn SourceApi, problem: &Problem, restores: bool, value: &Value) {
    assert_eq!(problem.effect, Effect::None, "nothing was sent");
    // Names are shown, values are not; a value that is a part of a name cannot be told from it.
    for said in std::iter::once(&problem.detail).chain(problem.errors.iter().map(|fault| &fault.detail)) {
        no_value_repeated(value, said);
    }
    for sent in [false, true] {
        let answer = endpoint.refuse(&Refusal { problem, restores, sent, request_id: Some("r") });
        assert!((400..504).contains(&answer.status) && !matches!(answer.status, 422 | 500), "{}", answer.status);
        assert!(!restores || !matches!(answer.status, 429 | 502), "{}", answer.status);
        let Some(body) = answer.body else { panic!("a refusal without words") };
        let words = body.as_object().and_then(|body| body.values().find_map(|member| member["message"].as_str()));
        let Some(words) = words else { panic!("nothing that a client shows in {body}") };
        wording::clean(words);
        assert!(body.to_string().len() <= 64 * 1024, "{} bytes", body.to_string().len());
    }
}

fn is_json(body: Option<&Value>) {
    let Some(body) = body else { panic!("an answer without a body") };
    let text = body.to_string();
    assert_eq!(serde_json::from_str::<Value>(&text).ok().as_ref(), Some(body), "{text}");
}

/// In every state, ended well and badly.
fn each(_: &dyn SourceApi, intent: &Intent, look: &dyn Fn(RestoreView<'_>)) {
    for status in STATUSES {
        let ended = Problem::new(Code::RestoreFailed, "it has failed");
        let error = matches!(status, Status::Failed | Status::Unknown).then_some(ended);
        let state = State { status, error, ..begun() };
        look(RestoreView { intent, state: &state });
    }
}

/// A restore of the gateway's for what is only read.
fn some(named: &Named) -> Intent {
    let id = named.id.clone().unwrap_or_else(|| "c0ffee00".parse().unwrap_or_else(|_| panic!("an id")));
    let request = RestoreRequest {
        project_id: named.project.clone(),
        source: restore_model::Source { backup_id: id.clone(), checkpoint_id: None },
        target: restore_model::Target::Volume { volume_id: id },
    };
    intent(&request, source_api::ALL[0])
}

fn intent(request: &RestoreRequest, endpoint: &dyn SourceApi) -> Intent {
    let now = Timestamp::from_micros(1_795_000_000_000_000);
    Intent {
        id: restore_model::RestoreId::at(now),
        caller: "job".to_owned(),
        fingerprint: request.fingerprint(),
        request: request.clone(),
        key: None,
        origin: None,
        route: RoutePin {
            upstream: "u".to_owned(),
            generation: endpoint.generation().to_owned(),
            reason: "routes[0]".to_owned(),
            baseline: true,
            overdue_seconds: 60,
            steps: Vec::new(),
            at: None,
        },
        fallback: None,
        created_at: now,
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
    }
}

fn begun() -> State {
    let now = Timestamp::from_micros(1_795_000_000_000_000);
    let accepted = Event {
        seq: 1,
        at: now,
        cause: Cause::Caller,
        evidence: Evidence::new("request", Strength::Strong, now),
        trace_id: "0".repeat(32),
        kind: EventKind::Accepted,
    };
    State::begin(&[], &accepted).unwrap_or_else(|why| panic!("{why}"))
}
