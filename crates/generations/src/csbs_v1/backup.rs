//! Reads of a backup item (cloud APIs 2.1, 3.1). Items are always backups of servers. Disk sizes are in GB, others in
//! MB.

use restore_model::{Id, ProjectId, TargetKind};
use serde_json::Value;

use super::wire::SERVER;
use crate::call::{Call, Reply};
use crate::{Backup, DiskBackup, backup, lenient, path};

pub(super) fn list(project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call> {
    (kind == TargetKind::Server).then(|| {
        let rest = format!("checkpoint_items?resource_id={resource}&limit=1000");
        Call::read("/v1/{project_id}/checkpoint_items", path("v1", project, format_args!("{rest}")))
    })
}

pub(super) fn one(reply: &Reply) -> Option<Backup> {
    if reply.status != 200 {
        return None;
    }
    read(reply.json()?.get("checkpoint_item")?)
}

pub(super) fn many(reply: &Reply) -> Option<Vec<Backup>> {
    backup::all(reply, "checkpoint_items", read)
}

fn read(item: &Value) -> Option<Backup> {
    let text = |name: &str| lenient::text(item, &[name]);
    let info = |name: &str| lenient::text(item, &["extend_info", name]);
    let disks: Vec<DiskBackup> = lenient::items(item, &["extend_info", "volume_backups"])
        .iter()
        .filter_map(|disk| {
            Some(DiskBackup {
                id: lenient::text(disk, &["id"])?,
                volume_id: lenient::text(disk, &["source_volume_id"])?,
                volume_name: lenient::text(disk, &["source_volume_name"]).unwrap_or_default(),
                size_gb: lenient::whole(disk, &["source_volume_size"]),
                bootable: lenient::truth(disk, &["bootable"]),
                created_at: None,
            })
        })
        .collect();
    let kind = text("resource_type").or_else(|| info("resource_type"));
    Some(Backup {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        status: lenient::word(item, &["status"])?,
        kind: (kind.as_deref() == Some(SERVER)).then_some(TargetKind::Server),
        resource_id: text("resource_id")?,
        resource_name: info("resource_name").unwrap_or_default(),
        checkpoint_id: text("checkpoint_id"),
        created_at: lenient::time(item, &["created_at"]),
        updated_at: lenient::time(item, &["updated_at"]),
        size_gb: disks.iter().map(|disk| disk.size_gb).sum(),
        zone: info("resource_az").unwrap_or_default(),
        disks,
    })
}
