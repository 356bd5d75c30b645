//! Cinder v3: OpenStack's own block storage, with backups and disks on one host and Keystone in front of it.
//!
//! A restore has no task ID. Backup and disk show that it runs, the disk shows the outcome, and a message gives the
//! reason of a failure. A failed restore leaves its backup `available`. A success leaves the backup's ID in the disk's
//! metadata, except for a restore onto the backed-up disk itself. Cinder checks before it writes, without a lock. So of
//! two calls close together, both are applied.

use http::StatusCode;
use http::header::{HeaderName, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::call::{Call, Cloud, Page, is_uuid};
use crate::clock::TimeFormat;
use crate::restores::{Mapping, Order, Restore, Target};
use crate::routes::{Route, get, post};
use crate::vbs;
use crate::world::{DiskBackup, PROJECT, Volume, World, ZONE};

pub(crate) const ROUTES: &[Route] = &[
    post("/v3/{project_id}/backups/{id}/restore", restore),
    get("/v3/{project_id}/backups", backups),
    get("/v3/{project_id}/backups/detail", backups),
    get("/v3/{project_id}/backups/{id}", backup),
    get("/v3/{project_id}/volumes", volumes),
    get("/v3/{project_id}/volumes/detail", volumes),
    get("/v3/{project_id}/volumes/{id}", volume),
    get("/v3/{project_id}/messages", messages),
];

/// Calls with a shorter interval are both applied.
const RACE: SignedDuration = SignedDuration::from_millis(5);
const REQUEST_IDS: [HeaderName; 2] =
    [HeaderName::from_static("x-openstack-request-id"), HeaderName::from_static("x-compute-request-id")];
/// The API has messages since this version.
const MESSAGES_SINCE: (u32, u32) = (3, 3);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    restore: Request,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    volume_id: Option<String>,
    #[serde(rename = "name")]
    _name: Option<String>,
}

fn restore(call: &Call<'_>, world: &mut World) -> Answer {
    let order = match order(call, world) {
        Ok(order) => order,
        // Cinder returns a wait with a quota error, although no wait helps.
        Err((status @ StatusCode::PAYLOAD_TOO_LARGE, message)) => {
            let fault = json!({"code": 413, "message": message, "retryAfter": "0"});
            let answer = Answer::json(status, &json!({"overLimit": fault}));
            return signed(call, answer.with_header(RETRY_AFTER, "0"));
        }
        Err((status, message)) => return signed(call, Answer::fault(status, &message)),
    };
    let volume_name = world.volume(order.target.id()).map(|volume| volume.name).unwrap_or_default();
    let body = json!({"restore": {
        "backup_id": order.backup_id, "volume_id": order.target.id(), "volume_name": volume_name,
    }});
    world.apply(order, crate::ids::uuid().to_string(), call);
    signed(call, Answer::json(StatusCode::ACCEPTED, &body))
}

fn order(call: &Call<'_>, world: &World) -> Result<Order, (StatusCode, String)> {
    let bad = |message: &str| (StatusCode::BAD_REQUEST, message.to_owned());
    let missing = |what: String| (StatusCode::NOT_FOUND, format!("{what} could not be found."));
    if !call.is_json() {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Type".to_owned()));
    }
    let body: Body = call.parse().map_err(|why| bad(&format!("Invalid input: {why}")))?;
    let Some(volume_id) = body.restore.volume_id else {
        // The call would create a disk first, and the project has reached its maximum.
        let message = "Maximum number of volumes allowed (3) exceeded for quota 'volumes'.";
        return Err((StatusCode::PAYLOAD_TOO_LARGE, message.to_owned()));
    };
    if !is_uuid(&volume_id) {
        return Err(bad("Invalid input for field/attribute volume_id."));
    }
    let id = call.param("id");
    let there = !world.behaviour.is_deleted(id);
    let backup = world.disk_backup(id).filter(|_| there).ok_or_else(|| missing(format!("Backup {id}")))?;
    let volume = world.volume(&volume_id).ok_or_else(|| missing(format!("Volume {volume_id}")))?;
    // A restore that began a moment ago is not visible.
    let seen = call.now.checked_sub(RACE).unwrap_or(call.now);
    let is_active = |restore: &&Restore| restore.applied_at <= seen && restore.is_active(call.now);
    let active = || world.restores.iter().filter(is_active);
    if world.behaviour.backup_status != "available" || active().any(|restore| restore.reads(&backup.id)) {
        return Err(bad("Invalid backup: Backup status must be available"));
    }
    if volume.size_gb < backup.size_gb {
        let (size, needed) = (volume.size_gb, backup.size_gb);
        return Err(bad(&format!(
            "Invalid volume: volume size {size} is too small to restore backup of size {needed}."
        )));
    }
    let is_unseen =
        world.is_volume_busy(&volume.id, call.now) && !active().any(|one| one.touches(&volume.id));
    if volume_status(world, &volume, call.now) != "available" && !is_unseen {
        return Err(bad("Invalid volume: Volume to be restored to must be available"));
    }
    if world.behaviour.cinder_backup_service_away {
        return Err(missing("Service cinder-backup".to_owned()));
    }
    let volumes = vec![Mapping { backup_id: backup.id.clone(), volume_id: volume.id.clone() }];
    let (backup_id, target) = (backup.id.clone(), Target::Volume(volume.id));
    Ok(Order { cloud: Cloud::Cinder, backup_id, target, volumes, power_on: None, echo: Value::Null })
}

/// Every answer contains its request ID, twice.
fn signed(call: &Call<'_>, answer: Answer) -> Answer {
    REQUEST_IDS.into_iter().fold(answer, |answer, name| answer.with_header(name, call.request_id))
}

fn backup(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    let found = world.disk_backup(id).filter(|_| !world.behaviour.is_deleted(id));
    signed(
        call,
        match found {
            Some(backup) => Answer::ok(&json!({"backup": backup_shape(call, world, backup)})),
            None => Answer::fault(StatusCode::NOT_FOUND, &format!("Backup {id} could not be found.")),
        },
    )
}

fn backups(call: &Call<'_>, world: &mut World) -> Answer {
    let page = match Page::of(&call.query) {
        Ok(page) => page,
        Err(fault) => return signed(call, Answer::fault(StatusCode::BAD_REQUEST, fault)),
    };
    let fits = |backup: &&DiskBackup| {
        !world.behaviour.is_deleted(&backup.id)
            && call.query.admits("status", &vbs::status(world, backup, call.now))
            && call.query.admits("volume_id", &backup.volume_id)
    };
    let rows: Vec<&DiskBackup> = world.disk_backups.iter().filter(fits).collect();
    let rows = page.cut(rows).into_iter();
    let shown: Vec<Value> = match call.path.ends_with("/detail") {
        true => rows.map(|backup| backup_shape(call, world, backup)).collect(),
        false => rows.map(|backup| json!({"id": backup.id, "name": backup.name, "links": []})).collect(),
    };
    signed(call, Answer::ok(&json!({"backups": shown})))
}

fn backup_shape(call: &Call<'_>, world: &World, backup: &DiskBackup) -> Value {
    let times = TimeFormat::Micros;
    let taken = times.write(World::taken_at());
    let changed = world.restores.iter().rev().find(|restore| restore.reads(&backup.id));
    let updated_at = changed.map_or_else(World::taken_at, |restore| moved_at(restore, call.now));
    json!({
        "id": backup.id, "status": vbs::status(world, backup, call.now), "size": backup.size_gb,
        "object_count": 1, "availability_zone": ZONE, "container": backup.snapshot_id, "created_at": taken,
        "updated_at": times.write(updated_at), "name": backup.name, "description": null, "fail_reason": null,
        "volume_id": backup.volume_id, "links": [], "is_incremental": false, "has_dependent_backups": false,
        "snapshot_id": null, "data_timestamp": taken, "os-backup-project-attr:project_id": PROJECT,
    })
}

fn volume(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    signed(
        call,
        match world.volume(id) {
            Some(volume) => Answer::ok(&json!({"volume": volume_shape(call, world, &volume)})),
            None => Answer::fault(StatusCode::NOT_FOUND, &format!("Volume {id} could not be found.")),
        },
    )
}

fn volumes(call: &Call<'_>, world: &mut World) -> Answer {
    let volumes: Vec<Value> = world
        .volumes()
        .map(|volume| volume_shape(call, world, &volume))
        .filter(|shape| call.query.admits("status", shape["status"].as_str().unwrap_or_default()))
        .collect();
    signed(call, Answer::ok(&json!({"volumes": volumes})))
}

/// Only the status is specific to this cloud: a restore that was stopped from outside is `error`.
fn volume_status(world: &World, volume: &Volume, now: Timestamp) -> String {
    let status = world.volume_status(volume, now);
    let last = world.restores.iter().rev().find(|restore| restore.touches(&volume.id));
    let stopped = last.is_some_and(|restore| restore.ending.status == "error");
    if status == "error_restoring" && stopped { "error".to_owned() } else { status }
}

fn volume_shape(call: &Call<'_>, world: &World, volume: &Volume) -> Value {
    let times = TimeFormat::Micros;
    let changed = world.restores.iter().rev().find(|restore| restore.touches(&volume.id));
    let updated_at = changed.map_or_else(World::taken_at, |restore| moved_at(restore, call.now));
    let mark = mark(world, volume, call.now);
    let metadata = mark.map_or_else(|| json!({}), |backup| json!({"src_backup_id": backup}));
    let attachments: Vec<Value> =
        volume.server_id.iter().map(|server| json!({"server_id": server, "volume_id": volume.id})).collect();
    json!({
        "id": volume.id, "status": volume_status(world, volume, call.now), "size": volume.size_gb,
        "availability_zone": ZONE, "created_at": "2026-10-01T08:00:00.000000", "name": volume.name,
        "updated_at": times.write(updated_at), "description": null, "volume_type": "__DEFAULT__",
        "snapshot_id": null, "source_volid": null, "metadata": metadata, "links": [],
        "bootable": volume.bootable.to_string(), "encrypted": false, "multiattach": world.is_shared(&volume.id),
        "attachments": attachments, "os-vol-tenant-attr:tenant_id": PROJECT,
    })
}

/// Both states are written at the beginning and at the end of a restore, and not in between.
fn moved_at(restore: &Restore, now: Timestamp) -> Timestamp {
    restore.ended_at(now).unwrap_or(restore.applied_at)
}

/// The backup whose ID the last success has left in a disk. The backed-up disk itself gets none, unless it has one
/// already.
fn mark(world: &World, volume: &Volume, now: Timestamp) -> Option<String> {
    let ended = world.restores.iter().filter(|restore| {
        restore.cloud == Cloud::Cinder
            && restore.touches(&volume.id)
            && !restore.is_active(now)
            && !restore.has_failed(now)
    });
    ended.fold(None, |mark, restore| {
        let own = world.disk_backup(&restore.backup_id).is_some_and(|backup| backup.volume_id == volume.id);
        if own && mark.is_none() { None } else { Some(restore.backup_id.clone()) }
    })
}

fn messages(call: &Call<'_>, world: &mut World) -> Answer {
    if version(call).is_none_or(|version| version < MESSAGES_SINCE) {
        return signed(call, Answer::fault(StatusCode::NOT_FOUND, "The resource could not be found."));
    }
    let told = |restore: &&Restore| {
        restore.cloud == Cloud::Cinder
            && restore.has_failed(call.now)
            && !world.behaviour.cinder_messages_missing
            && call.query.admits("request_id", &restore.request_id)
            && call.query.admits("resource_uuid", &restore.backup_id)
    };
    let shown: Vec<Value> = world
        .restores
        .iter()
        .filter(told)
        .map(|restore| {
            let (code, message) = restore.error(call.now, "VOLUME_VOLUME_BACKUP_015_026");
            let at = restore.ended_at(call.now).map(|at| TimeFormat::Micros.write(at));
            json!({
                "id": restore.id, "event_id": code, "user_message": format!("restore backup:{message}"),
                "message_level": "ERROR", "created_at": at, "request_id": restore.request_id, "links": [],
                "resource_type": "VOLUME_BACKUP", "resource_uuid": restore.backup_id,
            })
        })
        .collect();
    signed(call, Answer::ok(&json!({"messages": shown})))
}

/// Returns the API version that a call requests; the first version by default.
fn version(call: &Call<'_>) -> Option<(u32, u32)> {
    let Some(asked) = call.header("openstack-api-version") else { return Some((3, 0)) };
    let (major, minor) = asked.strip_prefix("volume ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
