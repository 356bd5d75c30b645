//! CBR v3: reads of backups, their vaults and their restore points.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::behaviour::Times;
use crate::call::{Call, Cloud, Page};
use crate::cbr::malformed;
use crate::clock::TimeFormat;
use crate::restores::Phase;
use crate::world::{
    DESKTOP, DESKTOP_BACKUP, DESKTOP_NAME, DiskBackup, PROJECT, SERVER, SERVER_BACKUP, SERVER_NAME, World,
    ZONE,
};

const SERVER_PROVIDER: &str = "0daac4c5-6707-4851-97ba-169e36266b66";
const DISK_PROVIDER: &str = "d1603440-187d-4516-af25-121250c7cc97";
const SERVER_VAULT: (&str, &str) = ("2b3c4d5e-6f70-4182-93a4-b5c6d7e8f900", "vault-shop");
const DISK_VAULT: (&str, &str) = ("2b3c4d5e-6f70-4182-93a4-b5c6d7e8f901", "vault-disks");
const SERVER_CHECKPOINT: &str = "3c4d5e6f-7081-4293-8a4b-5c6d7e8f9001";
const DISK_CHECKPOINT: &str = "3c4d5e6f-7081-4293-8a4b-5c6d7e8f9002";

/// A backup, by CBR's types.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backup<'w> {
    Server,
    /// A disk of the server backup.
    Child(&'w DiskBackup),
    /// A backup of a single disk.
    Disk(&'w DiskBackup),
    Desktop,
}

impl<'w> Backup<'w> {
    pub(crate) fn find(world: &'w World, project: &str, id: &str) -> Option<Self> {
        if project != PROJECT {
            return None;
        }
        if id.eq_ignore_ascii_case(SERVER_BACKUP) {
            return Some(Backup::Server);
        }
        if id.eq_ignore_ascii_case(DESKTOP_BACKUP) {
            return Some(Backup::Desktop);
        }
        let disk = world.disk_backup(id)?;
        Some(if disk.of_server { Backup::Child(disk) } else { Backup::Disk(disk) })
    }

    /// Returns the same, unless it was deleted.
    pub(crate) fn present(world: &'w World, project: &str, id: &str) -> Option<Self> {
        Self::find(world, project, id).filter(|backup| !world.behaviour.is_deleted(backup.id()))
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Backup::Server => SERVER_BACKUP,
            Backup::Desktop => DESKTOP_BACKUP,
            Backup::Child(disk) | Backup::Disk(disk) => &disk.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Backup::Server | Backup::Child(_) => "nightly_app-01",
            Backup::Desktop => "nightly_desk-01",
            Backup::Disk(disk) => &disk.name,
        }
    }

    /// Returns ID, name, type and size of the backed-up resource.
    pub(crate) fn resource(&self) -> (&str, &str, &'static str, u64) {
        match self {
            Backup::Server => (SERVER, SERVER_NAME, "OS::Nova::Server", 140),
            Backup::Desktop => (DESKTOP, DESKTOP_NAME, "OS::Workspace::DesktopV2", 80),
            Backup::Child(disk) | Backup::Disk(disk) => {
                (&disk.volume_id, &disk.volume_name, "OS::Cinder::Volume", disk.size_gb)
            }
        }
    }

    /// Children have the provider of the server, as in the real cloud.
    pub(crate) fn provider_id(&self) -> Option<&'static str> {
        match self {
            Backup::Server | Backup::Child(_) => Some(SERVER_PROVIDER),
            Backup::Disk(_) => Some(DISK_PROVIDER),
            Backup::Desktop => None,
        }
    }

    pub(crate) fn vault(&self) -> (&'static str, &'static str) {
        match self {
            Backup::Server | Backup::Child(_) => SERVER_VAULT,
            Backup::Disk(_) | Backup::Desktop => DISK_VAULT,
        }
    }

    pub(crate) fn checkpoint_id(&self) -> &'static str {
        match self {
            Backup::Server | Backup::Child(_) => SERVER_CHECKPOINT,
            Backup::Disk(_) | Backup::Desktop => DISK_CHECKPOINT,
        }
    }
}

/// Returns CBR's format of times in this world.
pub(crate) fn times(world: &World) -> TimeFormat {
    match world.behaviour.time_format {
        Times::Otc => TimeFormat::Offset,
        Times::Hwc => TimeFormat::Micros,
    }
}

/// The backup is available again after a restore, whether it succeeded or failed.
pub(crate) fn status(world: &World, backup: &Backup<'_>, now: Timestamp) -> String {
    let own = |restore: &&crate::restores::Restore| {
        restore.cloud == Cloud::Cbr && restore.backup_id.eq_ignore_ascii_case(backup.id())
    };
    let last = world.restores.iter().rev().find(own);
    let word = match last {
        Some(restore) if restore.phase(now) == Phase::Waiting => "waiting_restore",
        Some(restore) if restore.is_active(now) => "restoring",
        Some(restore) if restore.word(now) == "error" => "error",
        _ if world.is_backup_in_use(backup.id(), now) => "restoring",
        _ => &world.behaviour.backup_status,
    };
    word.to_owned()
}

pub(crate) fn show(call: &Call<'_>, world: &mut World) -> Answer {
    match Backup::present(world, call.project(), call.param("id")) {
        Some(backup) => Answer::ok(&json!({"backup": shape(world, &backup, call.now, true)})),
        None => Refusal::missing("BackupService.6200", "The backup does not exist.").flat(),
    }
}

pub(crate) fn list(call: &Call<'_>, world: &mut World) -> Answer {
    let page = match Page::of(&call.query) {
        Ok(page) => page,
        Err(fault) => return malformed(fault),
    };
    let parent = call.query.get("parent_id");
    let disks = world.disk_backups.iter();
    let all: Vec<Backup<'_>> = match parent {
        _ if call.project() != PROJECT => Vec::new(),
        Some(id) if id.eq_ignore_ascii_case(SERVER_BACKUP) => {
            disks.filter(|disk| disk.of_server).map(Backup::Child).collect()
        }
        Some(_) => Vec::new(),
        None => [Backup::Server, Backup::Desktop]
            .into_iter()
            .chain(disks.filter(|disk| !disk.of_server).map(Backup::Disk))
            .collect(),
    };
    let wanted: Vec<_> = all.into_iter().filter(|backup| fits(call, world, backup)).collect();
    let count = wanted.len();
    let rows = page.cut(wanted);
    let backups: Vec<Value> = rows.iter().map(|backup| shape(world, backup, call.now, false)).collect();
    Answer::ok(&json!({"backups": backups, "count": count, "limit": page.limit, "offset": page.offset}))
}

fn fits(call: &Call<'_>, world: &World, backup: &Backup<'_>) -> bool {
    let (resource_id, resource_name, resource_type, _) = backup.resource();
    let query = &call.query;
    !world.behaviour.is_deleted(backup.id())
        && query.admits("status", &status(world, backup, call.now))
        && query.admits_part("name", backup.name())
        && query.admits("resource_id", resource_id)
        && query.admits_part("resource_name", resource_name)
        && query.admits("resource_type", resource_type)
        && query.admits("checkpoint_id", backup.checkpoint_id())
        && query.admits("vault_id", backup.vault().0)
        && query.admits("resource_az", ZONE)
        && query.admits("image_type", "backup")
}

fn shape(world: &World, backup: &Backup<'_>, now: Timestamp, with_children: bool) -> Value {
    let times = times(world);
    let (resource_id, resource_name, resource_type, size) = backup.resource();
    let taken = World::taken_at();
    let changed = world.restores.iter().rev().find(|restore| restore.reads(backup.id()));
    let updated_at = changed.map_or(taken, |restore| restore.updated_at(now));
    let parent_id = matches!(backup, Backup::Child(_)).then_some(SERVER_BACKUP);
    let extend_info = match backup {
        Backup::Child(disk) | Backup::Disk(disk) => json!({
            "auto_trigger": true, "supported_restore_mode": "backup", "snapshot_id": disk.snapshot_id,
            "bootable": disk.bootable, "encrypted": false, "progress": 100,
        }),
        Backup::Server | Backup::Desktop => json!({
            "auto_trigger": true, "supported_restore_mode": "backup", "contain_system_disk": true,
            "support_lld": true, "os_images_data": [],
        }),
    };
    let children: Vec<Value> = match backup {
        Backup::Server if with_children => {
            world.server_children().map(|disk| shape(world, &Backup::Child(disk), now, false)).collect()
        }
        _ => Vec::new(),
    };
    json!({
        "id": backup.id(), "checkpoint_id": backup.checkpoint_id(), "name": backup.name(), "description": "",
        "status": status(world, backup, now), "image_type": "backup", "project_id": PROJECT,
        "enterprise_project_id": "0", "vault_id": backup.vault().0, "provider_id": backup.provider_id(),
        "parent_id": parent_id, "resource_id": resource_id, "resource_name": resource_name,
        "resource_type": resource_type, "resource_size": size, "resource_az": ZONE,
        "created_at": times.write(taken), "updated_at": times.write(updated_at), "protected_at": null,
        "expired_at": null, "replication_records": [], "extend_info": extend_info, "children": children,
    })
}

fn vault_shape(world: &World, (id, name): (&str, &str)) -> Value {
    let is_server = id == SERVER_VAULT.0;
    let disks = world.disk_backups.iter().filter(|disk| !disk.of_server);
    let resources: Vec<Value> = if is_server {
        vec![json!({"id": SERVER, "name": SERVER_NAME, "type": "OS::Nova::Server", "size": 140,
            "protect_status": "available", "backup_count": 1, "backup_size": 12288})]
    } else {
        disks
            .map(|disk| {
                json!({"id": disk.volume_id, "name": disk.volume_name, "type": "OS::Cinder::Volume",
                    "size": disk.size_gb, "protect_status": "available", "backup_count": 1,
                    "backup_size": disk.size_mb})
            })
            .collect()
    };
    json!({
        "id": id, "name": name, "description": "", "project_id": PROJECT, "enterprise_project_id": "0",
        "provider_id": if is_server { SERVER_PROVIDER } else { DISK_PROVIDER },
        "created_at": times(world).write(World::taken_at()), "auto_bind": false, "auto_expand": false,
        "tags": [], "resources": resources,
        "billing": {
            "status": world.behaviour.vault_status, "size": 500, "allocated": 240, "used": 12288,
            "charging_mode": "post_paid", "cloud_type": "public", "consistent_level": "crash_consistent",
            "object_type": if is_server { "server" } else { "disk" }, "protect_type": "backup",
            "spec_code": "vault.backup.server.normal", "storage_unit": null,
        },
    })
}

pub(crate) fn vault(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    let vault = [SERVER_VAULT, DISK_VAULT].into_iter().find(|vault| vault.0.eq_ignore_ascii_case(id));
    match vault.filter(|_| call.project() == PROJECT) {
        Some(vault) => Answer::ok(&json!({"vault": vault_shape(world, vault)})),
        None => Refusal::missing("BackupService.6105", "The vault does not exist.").flat(),
    }
}

pub(crate) fn vaults(call: &Call<'_>, world: &mut World) -> Answer {
    let mine = [SERVER_VAULT, DISK_VAULT].into_iter().filter(|_| call.project() == PROJECT);
    let vaults: Vec<Value> = mine.map(|vault| vault_shape(world, vault)).collect();
    Answer::ok(&json!({"count": vaults.len(), "limit": 1000, "offset": 0, "vaults": vaults}))
}

pub(crate) fn checkpoint(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    let known = [(SERVER_CHECKPOINT, SERVER_VAULT), (DISK_CHECKPOINT, DISK_VAULT)];
    let found = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(id));
    let Some((id, vault)) = found.filter(|_| call.project() == PROJECT) else {
        return Refusal::missing("BackupService.6217", "The restore point does not exist.").flat();
    };
    let vault = vault_shape(world, vault);
    Answer::ok(&json!({"checkpoint": {
        "id": id, "project_id": PROJECT, "status": "available",
        "created_at": times(world).write(World::taken_at()),
        "vault": {"id": vault["id"], "name": vault["name"], "resources": vault["resources"]},
        "extra_info": {"name": "nightly", "description": "", "retention_duration": -1},
    }}))
}
