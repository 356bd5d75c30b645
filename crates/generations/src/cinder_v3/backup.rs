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

/// A list that continues on another page is not complete and counts as unreadable: a cloud may allow fewer rows than
/// requested.
pub(super) fn many(reply: &Reply) -> Option<Vec<Backup>> {
    let goes_on = |body: Value| !lenient::items(&body, &["backups_links"]).is_empty();
    if reply.json().is_some_and(goes_on) {
        return None;
    }
    backup::all(reply, "backups", backup::of_disk)
}
