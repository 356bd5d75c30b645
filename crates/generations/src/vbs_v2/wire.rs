//! VBS v2 on the wire (cloud APIs 1.5, 2.2, 3.3).

use restore_model::{Id, ProjectId};
use serde::Serialize;

use crate::call::Call;
use crate::path;

/// Kind of the task reference to a job.
pub(super) const JOB: &str = "job";

/// `POST …/cloudbackups/{backup_id}/restore`. The documentation's table puts `volume_id` beside `restore`; its example
/// and every SDK put it inside. Inside is correct (T4).
#[derive(Serialize)]
pub(super) struct RestoreBody<'a> {
    pub(super) restore: Restore<'a>,
}

#[derive(Serialize)]
pub(super) struct Restore<'a> {
    pub(super) volume_id: &'a Id,
}

pub(super) fn restore_path(project: &ProjectId, backup: &Id) -> String {
    path("v2", project, format_args!("cloudbackups/{backup}/restore"))
}

/// Jobs are under `/v1` of the same host.
pub(super) fn get_job(project: &ProjectId, job: &Id) -> Call {
    Call::read("/v1/{project_id}/jobs/{job_id}", path("v1", project, format_args!("jobs/{job}")))
}

pub(super) fn get_backup(project: &ProjectId, backup: &Id) -> Call {
    Call::read("/v2/{project_id}/backups/{backup_id}", path("v2", project, format_args!("backups/{backup}")))
}

pub(super) fn list_creating(project: &ProjectId, volume: &Id) -> Call {
    Call::read(
        "/v2/{project_id}/backups/detail",
        path("v2", project, format_args!("backups/detail?volume_id={volume}&status=creating&limit=1")),
    )
}
