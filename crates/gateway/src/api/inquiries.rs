//! Checks, previews and capabilities over HTTP. None of them changes anything.

use std::sync::LazyLock;

use http::StatusCode;
use restore_engine::Preview;
use restore_generations::{Backup, Check, source_api};
use restore_model::schema::{self, Validator};
use restore_model::{Code, Fault, Origin, Problem, RestoreRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Asked};
use crate::dispatch::endpoints;
use crate::web::answer::{self, Answer, Failure};

/// `POST /api/v1/restore-checks`.
pub(super) async fn check(app: &App, asked: Asked) -> Result<Answer, Failure> {
    let request = asked.restore_request(app)?;
    let report = app.engine.check(&request, None, &asked.caller, asked.trace).await?;
    let checks: Vec<Value> = report.checks.iter().map(check_body).collect();
    Ok(answer::json(
        StatusCode::OK,
        &json!({
            "restorable": report.restorable,
            "upstream": report.upstream,
            "generation": report.generation,
            "checks": checks,
            "backup": report.backup.as_ref().map(backup_body),
        }),
    ))
}

/// Facts about a backup for people.
fn backup_body(backup: &Backup) -> Value {
    json!({
        "id": backup.id,
        "name": backup.name,
        "status": backup.status,
        "created_at": backup.created_at,
        "size_gb": backup.size_gb,
        "resource_id": backup.resource_id,
        "resource_name": backup.resource_name,
    })
}

fn check_body(check: &Check) -> Value {
    let mut body = json!({ "name": check.name, "result": check.result.as_str() });
    if let Some(code) = &check.upstream_code {
        body["upstream_code"] = json!(code);
    }
    if let Some(detail) = &check.detail {
        body["detail"] = json!(detail);
    }
    body
}

/// `POST /api/v1/restore-previews`.
pub(super) async fn preview(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let request = asked.restore_request(app)?;
    let preview = app.engine.preview(&request, None, &asked.caller).await?;
    Ok(answer::json(StatusCode::OK, &preview_body(&preview)))
}

static NATIVE: LazyLock<Validator> = LazyLock::new(|| {
    let text = schema::text("compat-preview-request").unwrap_or_default();
    // The text is part of the binary and every test run compiles it.
    schema::compile(text).unwrap_or_else(|error| panic!("compat-preview-request does not compile: {error}"))
});

/// A restore as a program of a source API asks for it.
#[derive(Deserialize)]
struct Native {
    source_api: String,
    path: String,
    body: Value,
}

/// `POST /api/v1/native-previews`.
pub(super) async fn native_preview(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let Native { source_api, path, body } = schema::parse(&NATIVE, asked.json(app)?)?;
    let refused = |pointer: &str, why: String| {
        let problem = Problem::new(Code::InvalidRequest, "1 fault(s) in the request; nothing was sent");
        Failure::from(problem.faults(vec![Fault::at(pointer, why)]))
    };
    let Some(endpoint) = source_api::by_name(&source_api) else {
        return Err(refused(
            "/source_api",
            format!("the source APIs are {}", source_api::names().join(", ")),
        ));
    };
    let Ok(path) = path.parse() else { return Err(refused("/path", "this is no path".to_owned())) };
    let Some(origin) = app.origins.iter().find(|origin| origin.source_api == source_api) else {
        return Err(Problem::new(Code::Internal, "the source API has no origin").into());
    };
    let request = endpoints::read(endpoint, &path, body)?;
    let preview = app.engine.preview(&request, Some(origin), &asked.caller).await?;
    Ok(answer::json(StatusCode::OK, &native_body(&preview, origin, &request)))
}

/// Preview of a native request. The command line prints the same.
pub fn native_body(preview: &Preview, origin: &Origin, request: &RestoreRequest) -> Value {
    let backup_ids = match (preview.generation == origin.generation, preview.unknown_names) {
        (true, _) => "unchanged",
        (false, 0) => "mapped",
        (false, _) => "lookup_required",
    };
    let mut body = preview_body(preview);
    body["compat"] =
        json!({ "source_api": origin.source_api, "canonical_request": request, "backup_ids": backup_ids });
    body
}

/// Preview of a restore. The command line prints the same.
pub fn preview_body(preview: &Preview) -> Value {
    let call = &preview.encoded.call;
    let defaults: Vec<Value> = preview
        .encoded
        .defaults
        .iter()
        .map(|(member, value, reason)| json!({ "member": member, "value": value, "reason": reason }))
        .collect();
    let dropped_fields: Vec<Value> = preview
        .encoded
        .dropped_fields
        .iter()
        .map(|(member, reason)| json!({ "member": member, "reason": reason }))
        .collect();
    let headers: serde_json::Map<String, Value> =
        preview.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let reads: Vec<Value> = preview
        .reads
        .iter()
        .map(|(path, reason)| json!({ "method": "GET", "path": path, "reason": reason }))
        .collect();
    let further: Vec<Value> = preview
        .further
        .iter()
        .map(|(url, call)| json!({"method": call.method.as_str(), "url": url, "body": call.body_json()}))
        .collect();
    let mut body = json!({
        "route": {
            "upstream": preview.upstream,
            "generation": preview.generation,
            "reason": preview.reason,
        },
        "request": {
            "method": call.method.as_str(),
            "url": preview.url,
            "headers": headers,
            "body": call.body_json(),
        },
        "defaults": defaults,
        "dropped_fields": dropped_fields,
        "reads": reads,
        "digest": preview.digest,
    });
    if !further.is_empty() {
        body["further_requests"] = json!(further);
    }
    body
}

/// `GET /api/v1/capabilities`.
pub(super) fn capabilities(app: &App) -> Answer {
    answer::json(StatusCode::OK, &app.engine.capabilities())
}
