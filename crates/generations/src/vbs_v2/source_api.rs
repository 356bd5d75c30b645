//! The compatibility endpoint `vbs-v2`: the API that VBS serves on its host, including the restore calls of block
//! storage (cloud APIs 1.5, 2.2, 3.3). The job of a restore is the gateway's own. It is available under `/v1` and
//! `/v2`: released clients use either.

use std::sync::LazyLock;

use restore_model::schema::{self, Validator};
use restore_model::{Id, Problem, RestoreRequest, Source, Target, TargetKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cinder;
use crate::source_api::{
    Act, Form, Named, Native, Place, Refusal, RestoreView, SourceApi, Stage, Wanted, both_forms, compiled,
    one, version_list, why, zulu,
};
use crate::{Backup, Generation};

/// Prefixes of the error codes of this generation.
pub(super) const OWN: &[&str] = &["VolumeBackup.", "common.", "BackupService.40", "APIG"];

static REQUEST: LazyLock<Validator> =
    LazyLock::new(|| compiled("vbs-restore-request", include_str!("schemas/vbs-restore-request.json")));

/// The source API.
pub(crate) struct VbsSourceApi;

/// A request to restore one disk, in each form of this API.
#[derive(Deserialize)]
pub(super) struct Body {
    pub(super) restore: Restore,
}

#[derive(Deserialize)]
pub(super) struct Restore {
    pub(super) volume_id: Id,
}

impl SourceApi for VbsSourceApi {
    fn source_api(&self) -> &'static str {
        "vbs-v2"
    }

    fn generation(&self) -> &'static str {
        "vbs-v2"
    }

    fn closed_on(&self) -> Option<&'static str> {
        super::VbsV2.closed_on()
    }

    fn targets(&self) -> &'static [TargetKind] {
        &[TargetKind::Volume]
    }

    fn places(&self) -> &'static [Place] {
        const PLACES: &[Place] = &[
            Place::new("POST", "/v2/{project_id}/cloudbackups/{id}/restore", Act::Restore),
            Place::cinder("POST", "/v2/{project_id}/backups/{id}/restore", Act::Restore),
            Place::cinder("POST", "/v3/{project_id}/backups/{id}/restore", Act::Restore),
            Place::new("GET", "/v1/{project_id}/jobs/{id}", Act::Restored),
            Place::new("GET", "/v2/{project_id}/jobs/{id}", Act::Restored),
            Place::new("GET", "/v2/{project_id}/backups", Act::BackupList),
            Place::new("GET", "/v3/{project_id}/backups", Act::BackupList),
            Place::new("GET", "/v2/{project_id}/backups/detail", Act::BackupList),
            Place::new("GET", "/v3/{project_id}/backups/detail", Act::BackupList),
            Place::new("GET", "/v2/{project_id}/backups/{id}", Act::Backup),
            Place::new("GET", "/v3/{project_id}/backups/{id}", Act::Backup),
            Place::new("GET", "/", Act::Versions),
            Place::new("GET", "/v2", Act::Versions),
            Place::new("GET", "/v2/", Act::Versions),
            Place::new("GET", "/v3", Act::Versions),
            Place::new("GET", "/v3/", Act::Versions),
        ];
        PLACES
    }

    fn restore(&self, form: Form, named: &Named, body: Value) -> Result<Wanted, Problem> {
        if form == Form::Cinder {
            return cinder::restore(named, body);
        }
        let body: Body = schema::parse(&REQUEST, nested(body))?;
        Ok(Wanted { request: of_disk(named, body.restore.volume_id)?, echo: Value::Null })
    }

    fn taken(&self, form: Form, told: RestoreView<'_>) -> Native {
        match form {
            Form::Own => Native::new(200, json!({"job_id": told.intent.id})),
            Form::Cinder => cinder::taken(told),
        }
    }

    fn restored(&self, told: RestoreView<'_>) -> Native {
        Native::new(200, job(told))
    }

    fn backup(&self, _form: Form, named: &Named, backup: &Backup) -> Value {
        cinder::backup(named, backup)
    }

    fn restoring(&self, _form: Form, backup: &mut Value, told: RestoreView<'_>) {
        cinder::restoring(backup, told);
    }

    fn versions(&self, base: &str) -> Native {
        version_list(base, &["v2", "v3"])
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Native {
        Native::new(refusal.status(OWN), both_forms(refusal, OWN))
    }
}

/// One table of the documentation has `volume_id` beside `restore`. The gateway accepts that, too (T4).
fn nested(mut body: Value) -> Value {
    let empty =
        body.get("restore").is_some_and(|restore| restore.as_object().is_some_and(serde_json::Map::is_empty));
    if empty
        && let Some(members) = body.as_object_mut()
        && let Some(volume) = members.remove("volume_id")
    {
        members.insert("restore".to_owned(), json!({"volume_id": volume}));
    }
    body
}

/// The restore of one disk.
pub(super) fn of_disk(named: &Named, volume_id: Id) -> Result<RestoreRequest, Problem> {
    Ok(RestoreRequest {
        project_id: named.project.clone(),
        source: Source { backup_id: one(named)?, checkpoint_id: None },
        target: Target::Volume { volume_id },
    })
}

/// A restore as a job.
fn job(told: RestoreView<'_>) -> Value {
    let RestoreView { intent, state } = told;
    let stage = Stage::of(state);
    let word = match stage {
        Stage::Waiting => "INIT",
        Stage::Running => "RUNNING",
        Stage::Done => "SUCCESS",
        Stage::Failed => "FAIL",
    };
    let (code, reason) = match stage {
        Stage::Failed => {
            let (code, reason) = why(state, OWN);
            (json!(code), json!(reason))
        }
        _ => (Value::Null, Value::Null),
    };
    json!({
        "job_id": intent.id,
        "job_type": "bksRestoreBackup",
        "status": word,
        "begin_time": zulu(intent.created_at),
        "end_time": state.finished_at.map(zulu),
        "error_code": code,
        "fail_reason": reason,
        "entities": {
            "backup_id": intent.request.source.backup_id,
            "volume_id": intent.request.target.id(),
        },
        "sub_jobs": [],
    })
}
