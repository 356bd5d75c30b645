//! CBR v3: operation logs, the only source for the outcome of a restore.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::call::{Call, Cloud, Page};
use crate::cbr::malformed;
use crate::cbr_backups::{Backup, times};
use crate::restores::{Restore, Target};
use crate::world::{DESKTOP_NAME, PROJECT, SERVER_NAME, World};

/// Returns true if a task is readable: after the lag, and before it vanishes.
fn is_visible(world: &World, restore: &Restore, now: Timestamp) -> bool {
    let age = now.duration_since(restore.applied_at);
    let lag = SignedDuration::from_secs(i64::from(world.behaviour.cbr_oplog_lag_seconds));
    let gone = world.behaviour.tasks_vanish_after_seconds;
    restore.cloud == Cloud::Cbr
        && age >= lag
        && gone.is_none_or(|seconds| age < SignedDuration::from_secs(i64::from(seconds)))
}

fn forbidden() -> Answer {
    let message = "policy does not allow cbr:tasks:list";
    Answer::gateway(StatusCode::FORBIDDEN, "IAM.0003", message)
}

pub(crate) fn show(call: &Call<'_>, world: &mut World) -> Answer {
    if world.behaviour.cbr_oplogs_hidden {
        return forbidden();
    }
    let id = call.param("id");
    let mut visible = world.restores.iter().filter(|restore| is_visible(world, restore, call.now));
    match visible.find(|restore| restore.task_id == id && call.project() == PROJECT) {
        Some(restore) => Answer::ok(&json!({"operation_log": shape(world, restore, call.now)})),
        None => Refusal::missing("BackupService.6500", "The operation log does not exist.").flat(),
    }
}

pub(crate) fn list(call: &Call<'_>, world: &mut World) -> Answer {
    if world.behaviour.cbr_oplogs_hidden {
        return forbidden();
    }
    match wanted(call, world) {
        Ok((page, rows)) => {
            let count = rows.len();
            let rows = page.cut(rows);
            let body =
                json!({"count": count, "limit": page.limit, "offset": page.offset, "operation_logs": rows});
            Answer::ok(&body)
        }
        Err(answer) => answer,
    }
}

fn wanted(call: &Call<'_>, world: &World) -> Result<(Page, Vec<Value>), Answer> {
    let page = Page::of(&call.query).map_err(malformed)?;
    let time = |name: &str| match call.query.get(name).map(str::parse::<Timestamp>) {
        None => Ok(None),
        Some(Ok(at)) => Ok(Some(at)),
        Some(Err(_)) => Err(malformed(&format!("{name} is not a time like 2026-11-22T10:00:00Z"))),
    };
    let (start, end) = (time("start_time")?, time("end_time")?);
    let in_window = |restore: &&Restore| {
        call.project() == PROJECT
            && is_visible(world, restore, call.now)
            && start.is_none_or(|start| restore.applied_at >= start)
            && end.is_none_or(|end| restore.applied_at <= end)
    };
    let logs = world.restores.iter().rev().filter(in_window).map(|restore| shape(world, restore, call.now));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fits = |log: &Value| {
        let resource = &log["extra_info"]["resource"];
        call.query.admits("operation_type", &word(&log["operation_type"]))
            && call.query.admits("status", &word(&log["status"]))
            && call.query.admits("provider_id", &word(&log["provider_id"]))
            && call.query.admits("vault_id", &word(&log["vault_id"]))
            && call.query.admits("vault_name", &word(&log["vault_name"]))
            && call.query.admits("resource_id", &word(&resource["id"]))
            && call.query.admits("resource_name", &word(&resource["name"]))
    };
    Ok((page, logs.filter(fits).collect()))
}

fn shape(world: &World, restore: &Restore, now: Timestamp) -> Value {
    let times = times(world);
    let backup = Backup::find(world, PROJECT, &restore.backup_id).unwrap_or(Backup::Server);
    let (resource_id, resource_name, resource_type, _) = backup.resource();
    let (vault_id, vault_name) = backup.vault();
    let (code, message) = restore.error(now, "BackupService.9910");
    let target_name = match &restore.target {
        Target::Server(_) => SERVER_NAME.to_owned(),
        Target::Resource(_) => DESKTOP_NAME.to_owned(),
        Target::Volume(id) => world.volume(id).map(|volume| volume.name).unwrap_or_default(),
    };
    let request_id = match world.behaviour.cbr_oplog_own_request_id {
        true => format!("req-{}", restore.id),
        false => restore.request_id.clone(),
    };
    let mut extra_info = json!({
        "resource": {"id": resource_id, "type": resource_type, "name": resource_name},
        "common": {"progress": restore.progress(now), "request_id": request_id, "task_id": restore.id},
    });
    if world.behaviour.cbr_oplog_restore_block {
        extra_info["restore"] = json!({
            "backup_id": restore.backup_id, "backup_name": backup.name(),
            "target_resource_id": restore.target.id(), "target_resource_name": target_name,
        });
    }
    json!({
        "id": restore.task_id, "operation_type": "restore", "status": restore.word(now),
        "provider_id": backup.provider_id(), "checkpoint_id": backup.checkpoint_id(), "project_id": PROJECT,
        "policy_id": null, "vault_id": vault_id, "vault_name": vault_name,
        "created_at": times.write(restore.applied_at),
        "started_at": times.write(restore.applied_at),
        "updated_at": times.write(restore.updated_at(now)),
        "ended_at": restore.ended_at(now).map(|at| times.write(at)),
        "error_info": {"code": code, "message": message}, "extra_info": extra_info,
    })
}
