//! CBR v3: the restore of a server, of a disk, or of another resource. The answer is a 202, usually without a body.
//!
//! Every error is flat (`error_code`); an undocumented request gets `BackupService.9900`.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::{Answer, Refusal};
use crate::behaviour::{Cbr202, PowerState};
use crate::call::{Call, Cloud, is_uuid};
use crate::cbr_backups::{self, Backup};
use crate::cbr_tasks;
use crate::restores::{Mapping, MappingFault, Order, Target, judge_mapping};
use crate::routes::{Route, get, post};
use crate::world::{DESKTOP, SERVER, World};

pub(crate) const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/", access: Access::Open, handle: versions },
    post("/v3/{project_id}/backups/{id}/restore", restore),
    get("/v3/{project_id}/backups", cbr_backups::list),
    get("/v3/{project_id}/backups/{id}", cbr_backups::show),
    get("/v3/{project_id}/vaults", cbr_backups::vaults),
    get("/v3/{project_id}/vaults/{id}", cbr_backups::vault),
    get("/v3/{project_id}/checkpoints/{id}", cbr_backups::checkpoint),
    get("/v3/{project_id}/operation-logs", cbr_tasks::list),
    get("/v3/{project_id}/operation-logs/{id}", cbr_tasks::show),
];

const HTML: &str = "<html><head><title>202 Accepted</title></head><body><h1>Accepted</h1></body></html>";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    restore: Request,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    mappings: Option<Vec<Pair>>,
    power_on: Option<bool>,
    server_id: Option<String>,
    volume_id: Option<String>,
    resource_id: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    backup_id: String,
    volume_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    destination_path: String,
}

/// The rejection of an undocumented request, with the reason in the text.
pub(crate) fn malformed(why: &str) -> Answer {
    let message = format!("Parameter check failed: {why}");
    Answer::flat(StatusCode::BAD_REQUEST, "BackupService.9900", &message)
}

fn versions(call: &Call<'_>, _: &mut World) -> Answer {
    let links = json!([{"href": format!("{}/v3", call.base_url), "rel": "self"}]);
    let body = json!({"versions": [{"id": "v3", "status": "CURRENT", "links": links}]});
    Answer::json(StatusCode::MULTIPLE_CHOICES, &body)
}

fn restore(call: &Call<'_>, world: &mut World) -> Answer {
    match accept(call, world) {
        Ok(order) => {
            let task_id = crate::ids::uuid().to_string();
            let mode = world.behaviour.cbr_202;
            world.apply(order, task_id.clone(), call);
            accepted(mode, &task_id)
        }
        Err(answer) => answer,
    }
}

fn accepted(mode: Cbr202, task_id: &str) -> Answer {
    let job = json!({"job_id": task_id});
    match mode {
        Cbr202::Empty => Answer::empty(StatusCode::ACCEPTED),
        Cbr202::ChunkedEmpty => Answer { chunked: true, ..Answer::empty(StatusCode::ACCEPTED) },
        Cbr202::JobId => Answer::json(StatusCode::ACCEPTED, &job),
        Cbr202::NoContentType => Answer::json(StatusCode::ACCEPTED, &job).without_content_type(),
        Cbr202::Html => Answer::typed(StatusCode::ACCEPTED, "text/html", HTML),
        Cbr202::OkObject => Answer::ok(&json!({})),
    }
}

fn accept(call: &Call<'_>, world: &World) -> Result<Order, Answer> {
    if !call.is_json() {
        return Err(malformed("the content type is not application/json"));
    }
    let backup_id = call.param("id");
    if !is_uuid(backup_id) {
        return Err(malformed("backup_id is not a UUID"));
    }
    let Body { restore } = call.parse().map_err(|fault| malformed(&fault))?;
    let (target, mappings) = read(&restore)?;
    let backup = Backup::present(world, call.project(), backup_id);
    let backup = backup.ok_or(Refusal::missing("BackupService.6200", "The backup does not exist."));
    let backup = backup.map_err(Refusal::flat)?;
    judge(world, call, &backup, &target, &mappings).map_err(Refusal::flat)?;
    let power_on = matches!(target, Target::Server(_)).then(|| restore.power_on.unwrap_or(true));
    let volumes = match &target {
        Target::Server(_) => mappings,
        Target::Volume(id) => {
            vec![Mapping { backup_id: backup_id.to_owned(), volume_id: id.clone() }]
        }
        Target::Resource(_) => Vec::new(),
    };
    let backup_id = backup_id.to_owned();
    Ok(Order { cloud: Cloud::Cbr, backup_id, target, volumes, power_on, echo: Value::Null })
}

/// Requires exactly one target, with all its members and no others.
fn read(request: &Request) -> Result<(Target, Vec<Mapping>), Answer> {
    let target = match (&request.server_id, &request.volume_id, &request.resource_id) {
        (Some(id), None, None) => Target::Server(id.clone()),
        (None, Some(id), None) => Target::Volume(id.clone()),
        (None, None, Some(id)) => Target::Resource(id.clone()),
        (None, None, None) => return Err(malformed("one of server_id, volume_id, resource_id is wanted")),
        _ => return Err(malformed("only one of server_id, volume_id, resource_id may be given")),
    };
    if !is_uuid(target.id()) {
        return Err(malformed("the id of the target is not a UUID"));
    }
    let is_resource = matches!(target, Target::Resource(_));
    if let Some(details) = &request.details {
        if !is_resource {
            return Err(malformed("details belong to a resource"));
        }
        if details.destination_path.is_empty() || details.destination_path.chars().count() > 255 {
            return Err(malformed("destination_path has 1 to 255 characters"));
        }
    }
    let given = request.mappings.as_deref();
    if matches!(target, Target::Server(_)) && given.is_none() {
        return Err(malformed("mappings are wanted for a server"));
    }
    let pairs = given.unwrap_or_default();
    if pairs.iter().any(|pair| !is_uuid(&pair.backup_id) || !is_uuid(&pair.volume_id)) {
        return Err(malformed("an id in mappings is not a UUID"));
    }
    let mapping =
        |pair: &Pair| Mapping { backup_id: pair.backup_id.clone(), volume_id: pair.volume_id.clone() };
    Ok((target, pairs.iter().map(mapping).collect()))
}

fn judge(
    world: &World,
    call: &Call<'_>,
    backup: &Backup<'_>,
    target: &Target,
    mappings: &[Mapping],
) -> Result<(), Refusal> {
    let fits = matches!(
        (backup, target),
        (Backup::Server, Target::Server(_))
            | (Backup::Desktop, Target::Resource(_))
            | (Backup::Child(_) | Backup::Disk(_), Target::Volume(_))
    );
    if !fits {
        return Err(Refusal::bad("BackupService.7110", "The resource type does not match the provider."));
    }
    if world.is_target_busy(target, call.now) {
        return Err(Refusal::bad("BackupService.2010", "The resource is being restored."));
    }
    match cbr_backups::status(world, backup, call.now).as_str() {
        "available" => {}
        "restoring" | "waiting_restore" => {
            return Err(Refusal::bad("BackupService.2010", "The resource is being restored."));
        }
        "protecting" | "waiting_protect" => {
            return Err(Refusal::bad("BackupService.2002", "The resource is being backed up."));
        }
        _ => return Err(Refusal::bad("BackupService.2005", "The backup can not be restored in its status.")),
    }
    if !matches!(world.behaviour.vault_status.as_str(), "available" | "lock") {
        return Err(Refusal::bad("BackupService.6202", "The vault is not available."));
    }
    match (target, backup) {
        (Target::Server(id), _) => judge_server(world, id, mappings),
        (Target::Volume(id), Backup::Child(part) | Backup::Disk(part)) => {
            judge_disk(world, call, id, part.size_gb)
        }
        (Target::Resource(id), _) if id.eq_ignore_ascii_case(DESKTOP) => Ok(()),
        _ => Err(Refusal::missing("BackupService.6302", "The resource does not exist.")),
    }
}

fn judge_server(world: &World, server_id: &str, mappings: &[Mapping]) -> Result<(), Refusal> {
    if !server_id.eq_ignore_ascii_case(SERVER) {
        return Err(Refusal::missing("BackupService.7100", "The server does not exist."));
    }
    match world.behaviour.power_state {
        PowerState::Terminated => {
            return Err(Refusal::bad("BackupService.2007", "The server has been terminated."));
        }
        PowerState::Error => {
            return Err(Refusal::bad("BackupService.2008", "The status of the server does not allow it."));
        }
        PowerState::Active | PowerState::Shutoff => {}
    }
    judge_mapping(world, server_id, mappings).map_err(|fault| match fault {
        MappingFault::NotOfBackup => {
            Refusal::bad("BackupService.9900", "Parameter check failed: not a disk of the backup")
        }
        MappingFault::Twice => {
            Refusal::bad("BackupService.9900", "Parameter check failed: a disk is mapped twice")
        }
        MappingFault::UnknownVolume => Refusal::missing("BackupService.7000", "The disk does not exist."),
        MappingFault::NotAttached => {
            Refusal::bad("BackupService.2011", "The status of the disk does not allow it.")
        }
        MappingFault::Incomplete => {
            Refusal::bad("BackupService.2012", "Not all disks of the backup are restored.")
        }
        MappingFault::Shared => Refusal::bad("BackupService.2009", "The disk type can not be restored."),
        MappingFault::DataOntoSystem => {
            Refusal::bad("BackupService.2013", "A data disk can not be restored onto a system disk.")
        }
        MappingFault::TooSmall => {
            Refusal::bad("BackupService.2001", "The target disk is smaller than the backup.")
        }
    })
}

fn judge_disk(world: &World, call: &Call<'_>, volume_id: &str, size_gb: u64) -> Result<(), Refusal> {
    let Some(volume) = world.volume(volume_id) else {
        return Err(Refusal::missing("BackupService.7000", "The disk does not exist."));
    };
    if volume.size_gb < size_gb {
        return Err(Refusal::bad("BackupService.2001", "The target disk is smaller than the backup."));
    }
    if world.volume_status(&volume, call.now) != "available" {
        return Err(Refusal::bad("BackupService.2011", "The status of the disk does not allow it."));
    }
    Ok(())
}
