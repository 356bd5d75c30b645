//! VBS v2 and native Cinder: the restore of one disk, in the two source APIs of the host.
//!
//! Both use the same checks. `cloudbackups` answers 200 with a job and rejects in the nested format. The native paths
//! answer 202 with the pair and reject in Cinder's format.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::behaviour::{JobId, VbsAnswer};
use crate::call::{Call, Cloud, is_uuid};
use crate::restores::{Mapping, Order, Target};
use crate::vbs;
use crate::world::{PROJECT, World};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    restore: Request,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    volume_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeBody {
    restore: NativeRequest,
}

/// Cinder accepts a name, for the disk it would create; the cloud requires the ID of a disk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeRequest {
    volume_id: String,
    #[serde(rename = "name")]
    _name: Option<String>,
}

pub(crate) fn cloud(call: &Call<'_>, world: &mut World) -> Answer {
    let parsed = call.parse::<Body>().map(|body| body.restore.volume_id);
    let order = order(call, world, parsed.map_err(|_| ()));
    if world.behaviour.vbs_answer == VbsAnswer::ErrorIn200 {
        let none = Refusal::bad("VolumeBackup.0014", "failed to submit the task");
        let refusal = order.err().unwrap_or(none);
        return Answer::nested(StatusCode::OK, refusal.code, refusal.message);
    }
    match order {
        Ok(order) => {
            let job_id = crate::ids::uuid();
            let job_id = match world.behaviour.vbs_job_id {
                JobId::Hex => job_id.simple().to_string(),
                JobId::Dashed => job_id.to_string(),
            };
            world.apply(order, job_id.clone(), call);
            Answer::ok(&json!({"job_id": job_id}))
        }
        Err(refusal) => Answer::nested(refusal.status, refusal.code, refusal.message),
    }
}

pub(crate) fn native(call: &Call<'_>, world: &mut World) -> Answer {
    if !call.is_json() {
        return Answer::fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Type.");
    }
    let parsed = call.parse::<NativeBody>().map(|body| body.restore.volume_id);
    let order = match order(call, world, parsed.map_err(|_| ())) {
        Ok(order) => order,
        Err(refusal) => return Answer::coded_fault(refusal.status, refusal.code, refusal.message),
    };
    let volume_name = world.volume(order.target.id()).map(|volume| volume.name).unwrap_or_default();
    let body = json!({"restore": {
        "backup_id": order.backup_id, "volume_id": order.target.id(), "volume_name": volume_name,
    }});
    world.apply(order, crate::ids::uuid().to_string(), call);
    Answer::json(StatusCode::ACCEPTED, &body)
}

fn order(call: &Call<'_>, world: &World, volume_id: Result<String, ()>) -> Result<Order, Refusal> {
    let backup_id = call.param("id");
    if !is_uuid(backup_id) {
        return Err(Refusal::bad("VolumeBackup.0204", "the backup_id is malformed"));
    }
    let volume_id = match volume_id {
        Ok(id) if call.is_json() => id,
        _ => return Err(Refusal::bad("VolumeBackup.0210", "the request body is malformed")),
    };
    if !is_uuid(&volume_id) {
        return Err(Refusal::bad("VolumeBackup.0208", "the volume_id is incorrect"));
    }
    let missing = Refusal::missing("VolumeBackup.0111", "the disk or the backup does not exist");
    let there = call.project() == PROJECT && !world.behaviour.is_deleted(backup_id);
    let backup = world.disk_backup(backup_id).filter(|_| there).ok_or(missing)?;
    let volume = world.volume(&volume_id).ok_or(missing)?;
    if vbs::status(world, backup, call.now) != "available" {
        return Err(Refusal::bad("VolumeBackup.0089", "the backup is not in a usable state"));
    }
    if volume.size_gb < backup.size_gb {
        return Err(Refusal::bad("VolumeBackup.0209", "the target disk is smaller than the backup"));
    }
    match world.volume_status(&volume, call.now).as_str() {
        "available" => {}
        "error" | "error_restoring" => {
            return Err(Refusal::bad("VolumeBackup.0202", "the target disk is in status error"));
        }
        "backing-up" => {
            return Err(Refusal::bad("VolumeBackup.0206", "a backup of the disk is being created"));
        }
        _ => return Err(Refusal::bad("VolumeBackup.0205", "the target disk is not in a usable state")),
    }
    let volumes = vec![Mapping { backup_id: backup.id.clone(), volume_id: volume.id.clone() }];
    let target = Target::Volume(volume.id);
    let backup_id = backup.id.clone();
    Ok(Order { cloud: Cloud::Vbs, backup_id, target, volumes, power_on: None, echo: Value::Null })
}
