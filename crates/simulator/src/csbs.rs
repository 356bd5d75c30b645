//! CSBS v1: restores of a server, and the check if one is possible.
//!
//! Business errors are flat (`error_code`), malformed requests get Karbor's error format (`badRequest`).

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::behaviour::{CsbsAnswer, PowerState};
use crate::call::{Call, Cloud, is_uuid};
use crate::csbs_items;
use crate::restores::{Mapping, MappingFault, Order, Restore, Target, judge_mapping};
use crate::routes::{Route, get, post};
use crate::world::{CSBS_CHECKPOINT, CSBS_ITEM, PROJECT, SERVER, World};

/// The only existing provider.
pub(crate) const PROVIDER: &str = "fc4d5750-22e7-4798-8a46-f48f62c4c1da";

pub(crate) const ROUTES: &[Route] = &[
    post("/v1/{project_id}/restores", restore),
    get("/v1/{project_id}/restores", list_restores),
    get("/v1/{project_id}/restores/{id}", read_restore),
    post("/v1/{project_id}/providers/{provider_id}/resources/action", check),
    get("/v1/{project_id}/checkpoint_items", csbs_items::list),
    get("/v1/{project_id}/checkpoint_items/count", csbs_items::count),
    get("/v1/{project_id}/checkpoint_items/{id}", csbs_items::show),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    restore: RestoreRequest,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RestoreRequest {
    provider_id: String,
    checkpoint_id: String,
    restore_target: Option<String>,
    /// In Karbor, credentials for another cloud. Its client always sends the member. This service needs no credentials,
    /// so it must be empty.
    #[serde(skip_serializing)]
    #[serde(rename = "restore_auth")]
    _restore_auth: Option<NoCredentials>,
    parameters: Parameters,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoCredentials {}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    checkpoint_item_id: String,
    power_on: bool,
    targets: Targets,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Targets {
    server_id: String,
    volumes: Vec<Pair>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    backup_id: String,
    volume_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestorableBody {
    check_restorable: Vec<Question>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    checkpoint_item_id: String,
    target: QuestionTarget,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionTarget {
    resource_id: String,
    resource_type: String,
    volumes: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtectableBody {
    check_protectable: Vec<Protectable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protectable {
    resource_id: String,
    resource_type: String,
}

fn bad(message: &str) -> Answer {
    Answer::fault(StatusCode::BAD_REQUEST, message)
}

fn pairs(volumes: &[Pair]) -> Result<Vec<Mapping>, Answer> {
    let mapping = |pair: &Pair| {
        if !is_uuid(&pair.backup_id) || !is_uuid(&pair.volume_id) {
            return Err(bad("Invalid input for field volumes: an id is not a UUID."));
        }
        Ok(Mapping { backup_id: pair.backup_id.clone(), volume_id: pair.volume_id.clone() })
    };
    volumes.iter().map(mapping).collect()
}

/// Rejects a malformed call, before any business check.
fn well_formed(call: &Call<'_>) -> Result<(), Answer> {
    if call.is_json() {
        return Ok(());
    }
    Err(Answer::fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Type."))
}

fn restore(call: &Call<'_>, world: &mut World) -> Answer {
    match accept(call, world) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn accept(call: &Call<'_>, world: &mut World) -> Result<Answer, Answer> {
    well_formed(call)?;
    let body: RestoreBody = call.parse().map_err(|fault| bad(&format!("Malformed request body: {fault}")))?;
    let request = body.restore;
    let named = &request.parameters;
    for (field, id) in [
        ("checkpoint_id", &request.checkpoint_id),
        ("checkpoint_item_id", &named.checkpoint_item_id),
        ("server_id", &named.targets.server_id),
    ] {
        if !is_uuid(id) {
            return Err(bad(&format!("Invalid input for field {field}: not a UUID.")));
        }
    }
    let volumes = pairs(&named.targets.volumes)?;
    if request.provider_id != PROVIDER {
        return Err(Refusal::bad("CSBS.9001", "The provider ID is invalid.").flat());
    }
    let verdict = judge(world, call, &named.checkpoint_item_id, &named.targets.server_id, &volumes);
    verdict.map_err(Refusal::flat)?;
    if request.checkpoint_id != CSBS_CHECKPOINT {
        let message = format!("Checkpoint {} could not be found.", request.checkpoint_id);
        return Err(Answer::fault(StatusCode::NOT_FOUND, &message));
    }
    if world.behaviour.csbs_answer == CsbsAnswer::Fail {
        return Ok(stillborn(world, &request));
    }
    let order = Order {
        cloud: Cloud::Csbs,
        backup_id: named.checkpoint_item_id.clone(),
        target: Target::Server(named.targets.server_id.clone()),
        volumes,
        power_on: Some(named.power_on),
        echo: echo(&request),
    };
    let task_id = crate::ids::uuid().to_string();
    let published = world.behaviour.csbs_answer == CsbsAnswer::PublishedSample;
    let body = shape(world.apply(order, task_id, call), call).to_string();
    // The published page has the name without quotes, which is not valid JSON.
    let wrong = body.replacen("\"resources_status\":{}", "\"resources_status\":in_progress", 1);
    let body = if published { wrong } else { body };
    Ok(Answer::typed(StatusCode::OK, "application/json", body))
}

fn echo(request: &RestoreRequest) -> Value {
    json!({
        "provider_id": request.provider_id, "checkpoint_id": request.checkpoint_id,
        "restore_target": request.restore_target, "parameters": request.parameters,
    })
}

fn stillborn(world: &mut World, request: &RestoreRequest) -> Answer {
    let id = crate::ids::uuid().to_string();
    let server = format!("OS::Nova::Server#{}", request.parameters.targets.server_id);
    let mut body = echo(request);
    body["id"] = json!(id);
    body["project_id"] = json!(PROJECT);
    body["status"] = json!("fail");
    body["resources_status"] = json!({&server: "fail"});
    body["resources_reason"] = json!({&server: "the protection service could not be reached"});
    world.stillborn.push((id, body.clone()));
    Answer::ok(&json!({"restore": body}))
}

/// A restore in the format of `POST` and, if switched on, `GET`.
fn shape(restore: &Restore, call: &Call<'_>) -> Value {
    let mut body = restore.echo.clone();
    let server = format!("OS::Nova::Server#{}", restore.target.id());
    body["id"] = json!(restore.id);
    body["project_id"] = json!(PROJECT);
    body["resources_status"] = json!({});
    body["resources_reason"] = json!({});
    let status = match restore.ended_at(call.now) {
        // The answer to the POST itself always reports a restore in progress.
        _ if restore.applied_at == call.now => "in_progress",
        None => "in_progress",
        Some(_) if restore.has_failed(call.now) => {
            body["resources_status"] = json!({&server: "fail"});
            body["resources_reason"] = json!({&server: restore.error(call.now, "CSBS.9999").1});
            "fail"
        }
        Some(_) => {
            body["resources_status"] = json!({&server: "success"});
            "success"
        }
    };
    body["status"] = json!(status);
    json!({"restore": body})
}

fn read_restore(call: &Call<'_>, world: &mut World) -> Answer {
    if !world.behaviour.csbs_restores_read {
        return Answer::no_such_api();
    }
    let id = call.param("id");
    if !is_uuid(id) {
        return bad("Invalid restore id provided.");
    }
    let applied = world.restores.iter().find(|restore| restore.cloud == Cloud::Csbs && restore.id == id);
    let stillborn = world.stillborn.iter().find(|(other, _)| other == id);
    match (applied, stillborn) {
        (Some(restore), _) => Answer::ok(&shape(restore, call)),
        (None, Some((_, body))) => Answer::ok(&json!({"restore": body})),
        (None, None) => Answer::fault(StatusCode::NOT_FOUND, &format!("Restore {id} could not be found.")),
    }
}

fn list_restores(call: &Call<'_>, world: &mut World) -> Answer {
    if !world.behaviour.csbs_restores_read {
        return Answer::no_such_api();
    }
    let mine = world.restores.iter().rev().filter(|restore| restore.cloud == Cloud::Csbs);
    let shown = mine.map(|restore| shape(restore, call)["restore"].take());
    let wanted =
        shown.filter(|restore| call.query.admits("status", restore["status"].as_str().unwrap_or("")));
    Answer::ok(&json!({"restores": wanted.collect::<Vec<_>>()}))
}

/// Checks if the state permits that restore. Restore and check use the same function.
fn judge(
    world: &World,
    call: &Call<'_>,
    item_id: &str,
    server_id: &str,
    volumes: &[Mapping],
) -> Result<(), Refusal> {
    let is_it = item_id.eq_ignore_ascii_case(CSBS_ITEM) && !world.behaviour.is_deleted(CSBS_ITEM);
    if !is_it || call.project() != PROJECT {
        return Err(Refusal::missing("CSBS.3001", "The checkpoint item does not exist."));
    }
    if !server_id.eq_ignore_ascii_case(SERVER) {
        return Err(Refusal::bad("CSBS.6000", "The server does not exist."));
    }
    if world.is_server_busy(server_id, call.now) {
        return Err(Refusal::bad("CSBS.6015", "The server is being restored."));
    }
    if world.behaviour.power_state == PowerState::Terminated {
        return Err(Refusal::bad("CSBS.6001", "The server has stopped."));
    }
    match csbs_items::status(world, call.now).as_str() {
        "available" => {}
        "protecting" | "deleting" | "waiting_protect" | "waiting_delete" => {
            return Err(Refusal::bad("CSBS.2003", "The backup is being backed up, restored or deleted."));
        }
        _ => return Err(Refusal::bad("CSBS.4000", "The checkpoint item can not be restored in its status.")),
    }
    judge_mapping(world, server_id, volumes).map_err(|fault| match fault {
        MappingFault::NotOfBackup => Refusal::bad("CSBS.6017", "The disk backup is not part of the backup."),
        MappingFault::UnknownVolume | MappingFault::NotAttached => {
            Refusal::bad("CSBS.6014", "The disk is not attached to the server.")
        }
        MappingFault::Twice => Refusal::bad("CSBS.6018", "a disk backup or a disk is assigned twice"),
        MappingFault::Incomplete => Refusal::bad("CSBS.6018", "not every disk backup is assigned to a disk"),
        MappingFault::Shared => Refusal::bad("CSBS.6021", "A shared disk can not be restored."),
        MappingFault::DataOntoSystem => {
            Refusal::dressed_as_500("CSBS.6023", "A data disk can not be restored onto a system disk.")
        }
        MappingFault::TooSmall => Refusal::bad("CSBS.6024", "The disk is smaller than the backup."),
    })
}

fn check(call: &Call<'_>, world: &mut World) -> Answer {
    match answer_check(call, world) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn answer_check(call: &Call<'_>, world: &World) -> Result<Answer, Answer> {
    well_formed(call)?;
    let malformed = |fault: String| bad(&format!("Malformed request body: {fault}"));
    let body: Value = call.parse().map_err(malformed)?;
    let protectable = body.get("check_protectable").is_some();
    if call.param("provider_id") != PROVIDER {
        return Err(Refusal::bad("CSBS.9001", "The provider ID is invalid.").flat());
    }
    if protectable {
        let body: ProtectableBody = call.parse().map_err(malformed)?;
        let lines: Vec<Value> = body.check_protectable.iter().map(protection).collect();
        return Ok(Answer::ok(&json!({"protectable": lines})));
    }
    let body: RestorableBody = call.parse().map_err(malformed)?;
    let mut lines = Vec::with_capacity(body.check_restorable.len());
    for question in &body.check_restorable {
        let volumes = pairs(&question.target.volumes)?;
        let target = &question.target;
        let verdict = if target.resource_type == "OS::Nova::Server" {
            judge(world, call, &question.checkpoint_item_id, &target.resource_id, &volumes)
        } else {
            Err(Refusal::bad("CSBS.6013", "The resource type can not be restored."))
        };
        lines.push(line(verdict, &target.resource_id, &target.resource_type));
    }
    Ok(Answer::ok(&json!({"restorable": lines})))
}

fn protection(resource: &Protectable) -> Value {
    let known = resource.resource_id.eq_ignore_ascii_case(SERVER);
    let verdict = match resource.resource_type.as_str() {
        "OS::Nova::Server" if known => Ok(()),
        "OS::Nova::Server" => Err(Refusal::bad("CSBS.6000", "The server does not exist.")),
        _ => Err(Refusal::bad("CSBS.6013", "The resource type can not be backed up.")),
    };
    line(verdict, &resource.resource_id, &resource.resource_type)
}

fn line(verdict: Result<(), Refusal>, resource_id: &str, resource_type: &str) -> Value {
    let (code, message) = verdict.err().map_or(("", ""), |refusal| (refusal.code, refusal.message));
    json!({
        "result": verdict.is_ok(), "resource_id": resource_id, "resource_type": resource_type,
        "error_code": code, "error_msg": message,
    })
}
