//! Reads of a disk's backup (cloud APIs 3.4).

use restore_model::{Id, ProjectId, TargetKind};
use serde_json::Value;

use crate::call::{Call, Reply};
use crate::{Backup, backup, lenient, path};

pub(super) fn list(project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call> {
    (kind == TargetKind::Volume).then(|| {
        let rest = format!("backups/detail?volume_id={resource}&limit=1000");
        Call::read("/v3/{project_id}/backups/detail", path("v3", project, format_args!("{rest}")))
    })
}

pub(super) fn one(reply: &Reply) -> Option<Backup> {
    if reply.status != 200 {
        return None;
    }
    read(reply.json()?.get("backup")?)
}

/// A list that goes on elsewhere is none: a cloud may allow fewer rows than were asked for.
pub(super) fn many(reply: &Reply) -> Option<Vec<Backup>> {
    let goes_on = |body: Value| !lenient::items(&body, &["backups_links"]).is_empty();
    if reply.json().is_some_and(goes_on) {
        return None;
    }
    backup::all(reply, "backups", read)
}

fn read(backup: &Value) -> Option<Backup> {
    let text = |name: &str| lenient::text(backup, &[name]);
    Some(Backup {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        status: lenient::word(backup, &["status"])?,
        kind: Some(TargetKind::Volume),
        resource_id: text("volume_id")?,
        resource_name: String::new(),
        checkpoint_id: None,
        created_at: lenient::time(backup, &["created_at"]),
        updated_at: lenient::time(backup, &["updated_at"]),
        size_gb: lenient::whole(backup, &["size"]),
        zone: text("availability_zone").unwrap_or_default(),
        disks: Vec::new(),
    })
}
