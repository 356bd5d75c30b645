//! The compatibility endpoint `cinder-v3`: OpenStack block storage as VBS serves it (cloud APIs 1.5, 3.3). Its restore
//! has no task ID: clients poll the backup and the disk until both are stable.

use std::sync::LazyLock;

use restore_model::schema::{self, Validator};
use restore_model::{Problem, TargetKind};
use serde_json::{Value, json};

use super::source_api::{Body, OWN, of_disk};
use crate::source_api::{
    Act, Form, Named, Native, Place, Refusal, RestoreView, SourceApi, Stage, Wanted, compiled, naive,
    version_list,
};
use crate::{Backup, Host};

static REQUEST: LazyLock<Validator> =
    LazyLock::new(|| compiled("cinder-restore-request", include_str!("schemas/cinder-restore-request.json")));

/// The source API.
pub(crate) struct CinderSourceApi;

impl SourceApi for CinderSourceApi {
    fn source_api(&self) -> &'static str {
        "cinder-v3"
    }

    fn generation(&self) -> &'static str {
        "vbs-v2"
    }

    /// Block storage continues after the end of the service that serves it here.
    fn closed_on(&self) -> Option<&'static str> {
        None
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-openstack-request-id")
    }

    fn targets(&self) -> &'static [TargetKind] {
        &[TargetKind::Volume]
    }

    fn places(&self) -> &'static [Place] {
        const PLACES: &[Place] = &[
            Place::cinder("POST", "/v3/{project_id}/backups/{id}/restore", Act::Restore),
            Place::cinder("GET", "/v3/{project_id}/backups", Act::BackupList),
            Place::cinder("GET", "/v3/{project_id}/backups/detail", Act::BackupList),
            Place::cinder("GET", "/v3/{project_id}/backups/{id}", Act::Backup),
            Place::cinder("GET", "/v3/{project_id}/volumes", Act::DiskList),
            Place::cinder("GET", "/v3/{project_id}/volumes/detail", Act::DiskList),
            Place::cinder("GET", "/v3/{project_id}/volumes/{id}", Act::Disk),
            Place::cinder("GET", "/", Act::Versions),
            Place::cinder("GET", "/v3", Act::Versions),
            Place::cinder("GET", "/v3/", Act::Versions),
        ];
        PLACES
    }

    /// Clouds serve backups and disks from two hosts, block storage from one.
    fn service(&self, path: &str) -> Host {
        if path.split('/').nth(3) == Some("volumes") { Host::Volumes } else { Host::Backup }
    }

    fn restore(&self, _form: Form, named: &Named, body: Value) -> Result<Wanted, Problem> {
        restore(named, body)
    }

    fn taken(&self, _form: Form, told: RestoreView<'_>) -> Native {
        taken(told)
    }

    fn restored(&self, _told: RestoreView<'_>) -> Native {
        self.refuse(&Refusal::before(&crate::source_api::not_here()))
    }

    fn backup(&self, _form: Form, named: &Named, backup: &Backup) -> Value {
        self::backup(named, backup)
    }

    fn restoring(&self, _form: Form, backup: &mut Value, told: RestoreView<'_>) {
        restoring(backup, told);
    }

    fn overwriting(&self, disk: &mut Value, told: RestoreView<'_>) {
        if let (Some(word), Some(disk)) = (overwritten(told), disk.get_mut("volume")) {
            disk["status"] = json!(word);
        }
    }

    fn disk(&self, named: &Named, told: RestoreView<'_>) -> Native {
        let RestoreView { intent, state } = told;
        let status = overwritten(told).unwrap_or("available");
        Native::new(
            200,
            json!({"volume": {
                "id": named.id,
                "name": "",
                "description": null,
                "status": status,
                "attachments": [],
                "created_at": naive(intent.created_at),
                "updated_at": naive(state.updated_at),
                "metadata": {},
                "links": [],
            }}),
        )
    }

    fn versions(&self, base: &str) -> Native {
        let mut list = version_list(base, &["v3.0"]);
        // Clients negotiate the microversion with these.
        if let Some(version) = list.body.as_mut().and_then(|body| body.pointer_mut("/versions/0")) {
            version["version"] = json!("3.60");
            version["min_version"] = json!("3.0");
        }
        list
    }

    /// In the format of block storage: the error name, then status and message (E5).
    fn refuse(&self, refusal: &Refusal<'_>) -> Native {
        let status = refusal.status(OWN);
        let kind = match status {
            400 | 422 => "badRequest",
            401 => "upstream_unauthorized",
            403 => "upstream_forbidden",
            404 => "itemNotFound",
            405 => "badMethod",
            409 => "conflictingRequest",
            413 | 429 => "overLimit",
            415 => "badMediaType",
            503 => "serviceUnavailable",
            _ => "computeFault",
        };
        let code = refusal.code(OWN);
        let message = format!("{} ({code})", refusal.message(OWN));
        Native::new(status, json!({kind: {"code": status, "message": message}}))
    }
}

/// Status of a disk that a restore overwrites. `None` if the disk shows it itself. An accepted restore that was not
/// carried out shows an error, too, because its programs wait for a result.
fn overwritten(told: RestoreView<'_>) -> Option<&'static str> {
    match Stage::of(told.state) {
        Stage::Waiting | Stage::Running => Some("restoring-backup"),
        Stage::Done => None,
        Stage::Failed => Some("error_restoring"),
    }
}

/// Without `volume_id` block storage would create a new disk. That is not a restore over a disk, and the schema rejects
/// it. `name` would be the name of that disk and has no effect here.
pub(super) fn restore(named: &Named, body: Value) -> Result<Wanted, Problem> {
    let body: Body = schema::parse(&REQUEST, body)?;
    Ok(Wanted { request: of_disk(named, body.restore.volume_id)?, echo: Value::Null })
}

pub(super) fn taken(told: RestoreView<'_>) -> Native {
    let request = &told.intent.request;
    Native::new(
        202,
        json!({"restore": {
            "backup_id": request.source.backup_id,
            "volume_id": request.target.id(),
            // Only block storage has it. Clients show it and need any text.
            "volume_name": "",
        }}),
    )
}

/// A backup in the format of VBS and block storage.
pub(super) fn backup(named: &Named, backup: &Backup) -> Value {
    let project = named.project.as_str();
    json!({"backup": {
        "id": backup.id,
        "name": backup.name,
        "status": backup.status,
        "description": null,
        "availability_zone": backup.zone,
        "volume_id": backup.resource_id,
        "size": backup.size_gb,
        "object_count": 0,
        "container": null,
        "fail_reason": null,
        "snapshot_id": null,
        "is_incremental": false,
        "has_dependent_backups": false,
        "created_at": backup.created_at.map(naive),
        "updated_at": backup.updated_at.map(naive),
        "data_timestamp": backup.created_at.map(naive),
        "os-bak-tenant-attr:tenant_id": project,
        "os-backup-project-attr:project_id": project,
        "links": [],
    }})
}

/// Sets the status of a backup during and after its restore. A failed restore shows as an error: clients would read
/// `available` as success.
pub(super) fn restoring(backup: &mut Value, told: RestoreView<'_>) {
    let status = match Stage::of(told.state) {
        Stage::Waiting | Stage::Running => "restoring",
        Stage::Failed => "error_restoring",
        Stage::Done => return,
    };
    if let Some(backup) = backup.get_mut("backup").filter(|backup| backup.is_object()) {
        backup["status"] = json!(status);
    }
}
