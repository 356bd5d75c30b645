//! Reads of a backup (cloud APIs 3.2).

use restore_model::{Id, ProjectId, TargetKind};
use serde_json::Value;

use crate::call::{Call, Reply};
use crate::{Backup, DiskBackup, backup, lenient, path};

/// Resource type of a server backup. Only the type identifies disks of a server: child backups have the provider of the
/// server (T12).
const SERVER: &str = "OS::Nova::Server";
const DISK: &str = "OS::Cinder::Volume";

pub(super) fn list(project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call> {
    let kind = match kind {
        TargetKind::Server => SERVER,
        TargetKind::Volume => DISK,
        TargetKind::Resource => return None,
    };
    let rest =
        format_args!("backups?resource_id={resource}&resource_type={}&limit=1000", escaped(kind)).to_string();
    Some(Call::read("/v3/{project_id}/backups", path("v3", project, format_args!("{rest}"))))
}

/// The resource type with its colons escaped for a query.
fn escaped(kind: &str) -> String {
    kind.replace(':', "%3A")
}

pub(super) fn one(reply: &Reply) -> Option<Backup> {
    if reply.status != 200 {
        return None;
    }
    read(reply.json()?.get("backup")?)
}

pub(super) fn many(reply: &Reply) -> Option<Vec<Backup>> {
    backup::all(reply, "backups", read)
}

fn read(backup: &Value) -> Option<Backup> {
    let text = |name: &str| lenient::text(backup, &[name]);
    let disks = lenient::items(backup, &["children"])
        .iter()
        .filter(|child| lenient::text(child, &["resource_type"]).as_deref() == Some(DISK))
        .filter_map(|child| {
            Some(DiskBackup {
                id: lenient::text(child, &["id"])?,
                volume_id: lenient::text(child, &["resource_id"])?,
                volume_name: lenient::text(child, &["resource_name"]).unwrap_or_default(),
                size_gb: lenient::whole(child, &["resource_size"]),
                bootable: lenient::truth(child, &["extend_info", "bootable"]),
                created_at: lenient::time(child, &["created_at"]),
            })
        })
        .collect();
    Some(Backup {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        status: lenient::word(backup, &["status"])?,
        kind: match text("resource_type").as_deref() {
            Some(SERVER) => Some(TargetKind::Server),
            Some(DISK) => Some(TargetKind::Volume),
            _ => None,
        },
        resource_id: text("resource_id")?,
        resource_name: text("resource_name").unwrap_or_default(),
        checkpoint_id: text("checkpoint_id"),
        created_at: lenient::time(backup, &["created_at"]),
        updated_at: lenient::time(backup, &["updated_at"]),
        size_gb: lenient::whole(backup, &["resource_size"]),
        zone: text("resource_az").unwrap_or_default(),
        disks,
    })
}
