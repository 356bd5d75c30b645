//! CSBS v1: the backup of the server as a checkpoint item. Only its status shows a restore.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::call::{Call, Cloud, Page};
use crate::clock::TimeFormat;
use crate::restores::{Phase, Restore};
use crate::world::{CSBS_CHECKPOINT, CSBS_ITEM, PROJECT, SERVER, SERVER_NAME, World, ZONE};

const NAME: &str = "nightly_app-01";

fn last(world: &World) -> Option<&Restore> {
    world.restores.iter().rev().find(|restore| restore.cloud == Cloud::Csbs)
}

/// The status machine: available, waiting_restore, restoring, available again (or error).
pub(crate) fn status(world: &World, now: Timestamp) -> String {
    let word = match last(world) {
        Some(restore) if restore.phase(now) == Phase::Waiting => "waiting_restore",
        Some(restore) if restore.is_active(now) => "restoring",
        Some(restore) if restore.word(now) == "error" => "error",
        _ => &world.behaviour.backup_status,
    };
    word.to_owned()
}

pub(crate) fn show(call: &Call<'_>, world: &mut World) -> Answer {
    let is_it = call.param("id").eq_ignore_ascii_case(CSBS_ITEM) && !world.behaviour.is_deleted(CSBS_ITEM);
    if call.project() != PROJECT || !is_it {
        return Refusal::missing("CSBS.3001", "The checkpoint item does not exist.").flat();
    }
    Answer::ok(&json!({"checkpoint_item": shape(world, call.now)}))
}

pub(crate) fn list(call: &Call<'_>, world: &mut World) -> Answer {
    match Page::of(&call.query) {
        Ok(page) => Answer::ok(&json!({"checkpoint_items": page.cut(wanted(call, world))})),
        Err(fault) => Answer::fault(StatusCode::BAD_REQUEST, fault),
    }
}

pub(crate) fn count(call: &Call<'_>, world: &mut World) -> Answer {
    Answer::ok(&json!({"count": wanted(call, world).len()}))
}

fn wanted(call: &Call<'_>, world: &World) -> Vec<Value> {
    let query = &call.query;
    let fits = call.project() == PROJECT
        && !world.behaviour.is_deleted(CSBS_ITEM)
        && query.get("marker").is_none()
        && query.admits("status", &status(world, call.now))
        && query.admits_part("name", NAME)
        && query.admits("resource_id", SERVER)
        && query.admits_part("resource_name", SERVER_NAME)
        && query.admits("resource_type", "OS::Nova::Server")
        && query.admits("checkpoint_id", CSBS_CHECKPOINT)
        && query.admits("image_type", "backup")
        && query.admits("az", ZONE);
    if fits { vec![shape(world, call.now)] } else { Vec::new() }
}

fn shape(world: &World, now: Timestamp) -> Value {
    let times = TimeFormat::Micros;
    let restore = last(world);
    let failed = restore.filter(|restore| world.behaviour.csbs_fail_marker && restore.has_failed(now));
    let marker = failed.map(|restore| restore.error(now, "CSBS.9999"));
    let (fail_op, fail_code, fail_reason) = marker.map_or(("", json!({}), String::new()), |(code, text)| {
        let digits: String = code.chars().filter(char::is_ascii_digit).collect();
        let number = digits.parse::<u32>().unwrap_or(9999);
        ("restore", json!({"Code": number, "Description": &text}), text)
    });
    let updated_at = restore.map_or_else(World::taken_at, |restore| restore.updated_at(now));
    let volume_backups: Vec<Value> = world.server_children().map(|backup| part(world, backup, now)).collect();
    json!({
        "id": CSBS_ITEM, "checkpoint_id": CSBS_CHECKPOINT, "name": NAME, "description": "",
        "tags": [{"key": "team", "value": "shop"}], "resource_id": SERVER, "resource_type": "OS::Nova::Server",
        "status": status(world, now), "created_at": times.write(World::taken_at()),
        "updated_at": times.write(updated_at),
        "backup_data": {
            "__openstack_region_name": "", "cloudservicetype": "server", "disk": 0, "imagetype": "gold",
            "ram": 4096, "vcpus": 4, "eip": "", "private_ip": "10.0.0.12",
        },
        "extend_info": {
            "auto_trigger": true, "average_speed": 28.1, "copy_from": "", "copy_status": "na",
            "fail_code": fail_code, "fail_op": fail_op, "fail_reason": fail_reason, "image_type": "backup",
            "incremental": false, "progress": 100, "resource_az": ZONE, "resource_name": SERVER_NAME,
            "resource_type": "OS::Nova::Server", "size": 12288, "space_saving_ratio": 0,
            "finished_at": "2026-11-21T01:31:38.675478", "supported_restore_mode": "backup",
            "support_lld": true, "os_images_data": [], "taskid": "e0a21692-2192-41e7-bf23-0242ac110007",
            "hypervisor_type": "QEMU", "volume_backups": volume_backups,
        },
    })
}

fn part(world: &World, backup: &crate::world::DiskBackup, now: Timestamp) -> Value {
    let status = if world.is_backup_in_use(&backup.id, now) { "restoring" } else { "available" };
    json!({
        "id": backup.id, "status": status, "bootable": backup.bootable, "name": backup.name,
        "image_type": "backup", "incremental": false, "size": backup.size_mb,
        "source_volume_id": backup.volume_id, "source_volume_name": backup.volume_name,
        "source_volume_size": backup.size_gb, "snapshot_id": backup.snapshot_id,
        "average_speed": backup.average_speed, "space_saving_ratio": 0,
    })
}
