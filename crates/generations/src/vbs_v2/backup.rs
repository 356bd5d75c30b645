//! Reads of a disk's backup (cloud APIs 3.3).

use restore_model::{Id, ProjectId, TargetKind};

use crate::call::{Call, Reply};
use crate::{Backup, backup, path};

pub(super) fn list(project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call> {
    (kind == TargetKind::Volume).then(|| {
        let rest = format!("backups/detail?volume_id={resource}&limit=1000");
        Call::read("/v2/{project_id}/backups/detail", path("v2", project, format_args!("{rest}")))
    })
}

pub(super) fn many(reply: &Reply) -> Option<Vec<Backup>> {
    backup::all(reply, "backups", backup::of_disk)
}
