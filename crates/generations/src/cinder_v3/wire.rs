//! Cinder v3 on the wire (cloud APIs 1.9, 2.4, 3.4). Backups and disks are on one host.

use restore_model::{Id, ProjectId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, Reply};
use crate::{lenient, path};

/// Status of a disk while a backup is written onto it.
pub(super) const RESTORING: &str = "restoring_backup";

/// Messages exist since this version of the API. All other calls use the first version, which every Cinder supports:
/// Cinder rejects a call for a later version than its own.
const WITH_MESSAGES: &[(&str, &str)] = &[("openstack-api-version", "volume 3.3")];

/// `POST …/backups/{backup_id}/restore`. Without `volume_id` Cinder would create a disk. It rejects any other member.
#[derive(Serialize)]
pub(super) struct RestoreBody<'a> {
    pub(super) restore: Restore<'a>,
}

#[derive(Serialize)]
pub(super) struct Restore<'a> {
    pub(super) volume_id: &'a Id,
}

pub(super) fn restore_path(project: &ProjectId, backup: &Id) -> String {
    path("v3", project, format_args!("backups/{backup}/restore"))
}

pub(super) fn get_backup(project: &ProjectId, backup: &Id) -> Call {
    Call::read("/v3/{project_id}/backups/{backup_id}", path("v3", project, format_args!("backups/{backup}")))
}

pub(super) fn get_volume(project: &ProjectId, volume: &Id) -> Call {
    Call::read("/v3/{project_id}/volumes/{volume_id}", path("v3", project, format_args!("volumes/{volume}")))
}

/// The error messages of one request.
pub(super) fn get_messages(project: &ProjectId, request: &Id) -> Call {
    let rest = format!("messages?request_id={request}");
    Call::read("/v3/{project_id}/messages", path("v3", project, format_args!("{rest}"))).with(WITH_MESSAGES)
}

/// The members of a disk that show a restore.
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) status: String,
    /// Size in GB.
    pub(super) size: Option<f64>,
    pub(super) updated_at: Option<String>,
    /// The backup whose restore has left its mark: that of the last successful restore.
    pub(super) mark: Option<String>,
}

impl Volume {
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let body = reply.json().filter(|_| reply.status == 200)?;
        Some(Self {
            id: lenient::text(&body, &["volume", "id"])?,
            status: lenient::word(&body, &["volume", "status"])?,
            size: lenient::number(&body, &["volume", "size"]),
            updated_at: lenient::text(&body, &["volume", "updated_at"]),
            mark: lenient::text(&body, &["volume", "metadata", "src_backup_id"]),
        })
    }

    pub(super) fn is_marked_by(&self, backup: &Id) -> bool {
        self.mark.as_deref().is_some_and(|mark| lenient::same_id(mark, backup.as_str()))
    }
}

/// The state just before the send, when both backup and disk were available.
pub(super) struct Baseline {
    /// Last change of the disk.
    updated_at: Option<String>,
    /// True if the disk had the mark of this backup already.
    was_marked: bool,
    /// True if the backup belongs to this very disk. Then a success leaves no mark.
    pub(super) in_place: bool,
}

impl Baseline {
    pub(super) fn notes(volume: &Volume, backup: &Id, in_place: bool) -> Value {
        json!({"baseline": {
            "updated_at": volume.updated_at, "marked": volume.is_marked_by(backup), "in_place": in_place,
        }})
    }

    /// `None` if the route does not use a baseline.
    pub(super) fn of(notes: &Value) -> Option<Self> {
        let baseline = lenient::at(notes, &["baseline"])?;
        Some(Self {
            updated_at: lenient::text(baseline, &["updated_at"]),
            was_marked: lenient::truth(baseline, &["marked"])?,
            in_place: lenient::truth(baseline, &["in_place"])?,
        })
    }

    /// True if a restore of this backup onto this disk has succeeded since.
    pub(super) fn is_outdone_by(&self, volume: &Volume, backup: &Id) -> bool {
        !self.was_marked && volume.is_marked_by(backup)
    }

    /// True if the disk is unchanged: every restore changes its time, at its beginning and at its end.
    pub(super) fn is_still(&self, volume: &Volume) -> bool {
        self.updated_at.is_some() && self.updated_at == volume.updated_at
    }
}
