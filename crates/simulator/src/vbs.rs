//! VBS v2, and native Cinder v2 and v3 on the same host: the paths, the jobs, and the reads of backups.
//!
//! `vbs_restore` contains the calls that create a restore.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::call::{Call, Cloud, Page};
use crate::clock::TimeFormat;
use crate::restores::{Phase, Restore};
use crate::routes::{Route, get, post};
use crate::vbs_restore;
use crate::world::{DiskBackup, PROJECT, SERVER, World, ZONE};

pub(crate) const ROUTES: &[Route] = &[
    post("/v2/{project_id}/cloudbackups/{id}/restore", vbs_restore::cloud),
    post("/v2/{project_id}/backups/{id}/restore", vbs_restore::native),
    post("/v3/{project_id}/backups/{id}/restore", vbs_restore::native),
    get("/v1/{project_id}/jobs/{id}", job),
    get("/v2/{project_id}/jobs/{id}", job),
    get("/v2/{project_id}/backups", summary),
    get("/v3/{project_id}/backups", summary),
    get("/v2/{project_id}/backups/detail", detail),
    get("/v3/{project_id}/backups/detail", detail),
    get("/v2/{project_id}/backups/{id}", show),
    get("/v3/{project_id}/backups/{id}", show),
];

fn job(call: &Call<'_>, world: &mut World) -> Answer {
    let gone = world.behaviour.tasks_vanish_after_seconds;
    let is_there = |restore: &&Restore| {
        let age = call.now.duration_since(restore.applied_at);
        restore.cloud == Cloud::Vbs
            && call.project() == PROJECT
            && restore.task_id == call.param("id")
            && gone.is_none_or(|seconds| age < SignedDuration::from_secs(i64::from(seconds)))
    };
    match world.restores.iter().find(is_there) {
        Some(restore) => Answer::ok(&job_shape(restore, call.now)),
        None => Answer::nested(StatusCode::NOT_FOUND, "common.0011", "The job does not exist."),
    }
}

fn job_shape(restore: &Restore, now: Timestamp) -> Value {
    let times = TimeFormat::Zulu;
    let status = match restore.phase(now) {
        Phase::Waiting => "INIT".to_owned(),
        Phase::Running => "RUNNING".to_owned(),
        Phase::Ended => match restore.word(now) {
            "success" => "SUCCESS".to_owned(),
            _ if restore.has_failed(now) => "FAIL".to_owned(),
            word => word.to_uppercase(),
        },
    };
    let failure = restore.has_failed(now).then(|| restore.error(now, "VolumeBackup.0200"));
    let (code, reason) = failure.map_or((None, None), |(code, reason)| (Some(code), Some(reason)));
    let mut job = json!({
        "job_id": restore.task_id, "job_type": "bksRestoreBackup", "status": status,
        "begin_time": times.write(restore.applied_at),
        "end_time": restore.ended_at(now).map(|at| times.write(at)),
        "error_code": code, "fail_reason": reason,
        "entities": {"backup_id": restore.backup_id, "volume_id": restore.target.id()},
    });
    let mut part = job.clone();
    part["job_id"] = json!(restore.id.replace('-', ""));
    part["entities"] = json!({});
    job["sub_jobs"] = if restore.phase(now) == Phase::Waiting { json!([]) } else { json!([part]) };
    job
}

/// Returns Cinder's status of a disk backup; only the disk shows its own true state.
pub(crate) fn status(world: &World, backup: &DiskBackup, now: Timestamp) -> String {
    let in_use = world.is_backup_in_use(&backup.id, now);
    if in_use { "restoring".to_owned() } else { world.behaviour.backup_status.clone() }
}

fn show(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    let there = call.project() == PROJECT && !world.behaviour.is_deleted(id);
    match world.disk_backup(id).filter(|_| there) {
        Some(backup) => Answer::ok(&json!({"backup": shape(call, world, backup)})),
        None => Answer::fault(StatusCode::NOT_FOUND, &format!("Backup {id} could not be found.")),
    }
}

fn summary(call: &Call<'_>, world: &mut World) -> Answer {
    listing(call, world, |whole| json!({"id": whole["id"], "name": whole["name"], "links": whole["links"]}))
}

fn detail(call: &Call<'_>, world: &mut World) -> Answer {
    listing(call, world, |whole| whole)
}

fn listing(call: &Call<'_>, world: &World, form: fn(Value) -> Value) -> Answer {
    let page = match Page::of(&call.query) {
        Ok(page) => page,
        Err(fault) => return Answer::fault(StatusCode::BAD_REQUEST, fault),
    };
    let fits = |backup: &&DiskBackup| {
        call.project() == PROJECT
            && !world.behaviour.is_deleted(&backup.id)
            && call.query.admits("name", &backup.name)
            && call.query.admits("status", &status(world, backup, call.now))
            && call.query.admits("volume_id", &backup.volume_id)
    };
    let rows: Vec<&DiskBackup> = world.disk_backups.iter().filter(fits).collect();
    let backups: Vec<Value> =
        page.cut(rows).into_iter().map(|backup| form(shape(call, world, backup))).collect();
    Answer::ok(&json!({"backups": backups}))
}

fn shape(call: &Call<'_>, world: &World, backup: &DiskBackup) -> Value {
    let times = TimeFormat::Micros;
    let taken = times.write(World::taken_at());
    let changed = world.restores.iter().rev().find(|restore| restore.reads(&backup.id));
    let updated_at = changed.map_or_else(World::taken_at, |restore| restore.updated_at(call.now));
    let part = u8::from(backup.of_server);
    let mut service = json!({"ST": part, "bootable": backup.bootable.to_string(), "progress": 100});
    if backup.of_server {
        service["VMID"] = json!(SERVER);
    }
    let (version, owner) = if call.path.starts_with("/v3/") {
        ("v3", "os-backup-project-attr:project_id")
    } else {
        ("v2", "os-bak-tenant-attr:tenant_id")
    };
    let href = format!("{}/vbs/{version}/{PROJECT}/backups/{}", call.base_url, backup.id);
    json!({
        "id": backup.id, "name": backup.name, "status": status(world, backup, call.now),
        "description": json!({"DESC": "nightly", "INC": 1}).to_string(), "availability_zone": ZONE,
        "volume_id": backup.volume_id, "size": backup.size_gb, "object_count": 0, "container": "bucket-7f2a",
        "fail_reason": null, "snapshot_id": backup.snapshot_id, "is_incremental": true,
        "has_dependent_backups": false, "created_at": taken, "updated_at": times.write(updated_at),
        "data_timestamp": taken, owner: PROJECT, "service_metadata": service.to_string(),
        "links": [{"rel": "self", "href": href}],
    })
}
