//! The compatibility endpoint `csbs-v1` (cloud APIs 1.3, 2.1, 4). Two reads show a restore: `GET restores/{id}`, which
//! clients of CSBS's predecessor use, and the state of its backup item, which is all that CSBS documents.

use std::sync::LazyLock;

use restore_model::schema::{self, Validator};
use restore_model::{Code, Fault, Id, Mapping, Problem, RestoreRequest, Source, Target, TargetKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{PROVIDER, SERVER};
use crate::source_api::{
    Act, Form, Named, Native, Place, Question, Refusal, RestoreView, SourceApi, Stage, Verdict, Wanted,
    both_forms, compiled, naive, version_list, why,
};
use crate::{Backup, Generation, lenient};

/// Prefixes of the error codes of this generation.
const OWN: &[&str] = &["CSBS.", "BackupService.40", "APIG"];

static REQUEST: LazyLock<Validator> =
    LazyLock::new(|| compiled("csbs-restore-request", include_str!("schemas/csbs-restore-request.json")));
static CHECK: LazyLock<Validator> = LazyLock::new(|| {
    compiled("csbs-check-restorable-request", include_str!("schemas/csbs-check-restorable-request.json"))
});

/// The source API.
pub(crate) struct CsbsSourceApi;

#[derive(Deserialize)]
struct Body {
    restore: Restore,
}

#[derive(Deserialize)]
struct Restore {
    checkpoint_id: Id,
    #[serde(default)]
    restore_target: Value,
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    checkpoint_item_id: Id,
    power_on: bool,
    targets: Targets,
}

#[derive(Deserialize)]
struct Targets {
    server_id: Id,
    volumes: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Check {
    check_restorable: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    checkpoint_item_id: Id,
    target: CheckTarget,
}

#[derive(Deserialize)]
struct CheckTarget {
    resource_id: Id,
    resource_type: String,
    volumes: Vec<Mapping>,
}

impl SourceApi for CsbsSourceApi {
    fn source_api(&self) -> &'static str {
        "csbs-v1"
    }

    fn generation(&self) -> &'static str {
        "csbs-v1"
    }

    fn closed_on(&self) -> Option<&'static str> {
        super::CsbsV1.closed_on()
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-openstack-request-id")
    }

    /// python-karborclient, which CSBS clients use, reads this header only with 413. It fails on any other answer with
    /// this header.
    fn allows_retry_after(&self, status: u16) -> bool {
        status == 413
    }

    fn targets(&self) -> &'static [TargetKind] {
        &[TargetKind::Server]
    }

    fn says(&self, member: &str) -> bool {
        member == "source.checkpoint_id"
    }

    fn places(&self) -> &'static [Place] {
        const PLACES: &[Place] = &[
            Place::new("POST", "/v1/{project_id}/restores", Act::Restore),
            Place::new("GET", "/v1/{project_id}/restores", Act::RestoredList),
            Place::new("GET", "/v1/{project_id}/restores/{id}", Act::Restored),
            Place::new("POST", "/v1/{project_id}/providers/{id}/resources/action", Act::Ask),
            Place::new("GET", "/v1/{project_id}/checkpoint_items/count", Act::PassOn),
            Place::new("GET", "/v1/{project_id}/checkpoint_items", Act::BackupList),
            Place::new("GET", "/v1/{project_id}/checkpoint_items/{id}", Act::Backup),
            Place::new("GET", "/", Act::Versions),
            Place::new("GET", "/v1", Act::Versions),
            Place::new("GET", "/v1/", Act::Versions),
        ];
        PLACES
    }

    fn restore(&self, _form: Form, named: &Named, mut body: Value) -> Result<Wanted, Problem> {
        without_credentials(&mut body)?;
        let Body { restore } = schema::parse(&REQUEST, body)?;
        let Parameters { checkpoint_item_id, power_on, targets } = restore.parameters;
        let request = RestoreRequest {
            project_id: named.project.clone(),
            source: Source { backup_id: checkpoint_item_id, checkpoint_id: Some(restore.checkpoint_id) },
            target: Target::Server { server_id: targets.server_id, power_on, volumes: targets.volumes },
        };
        let request = schema::consistent(request, "/restore/parameters/targets/volumes")?;
        let echo = match restore.restore_target {
            Value::Null => Value::Null,
            target => json!({ "restore_target": target }),
        };
        Ok(Wanted { request, echo })
    }

    fn taken(&self, _form: Form, told: RestoreView<'_>) -> Native {
        Native::new(200, json!({"restore": restore(told)}))
    }

    fn restored(&self, told: RestoreView<'_>) -> Native {
        Native::new(200, json!({"restore": restore(told)}))
    }

    fn restored_list(
        &self,
        query: &str,
        told: &[RestoreView<'_>],
        _home: Option<&str>,
        _others: Option<Value>,
    ) -> Result<Native, Problem> {
        let status = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "status");
        let restores: Vec<Value> = told
            .iter()
            .map(|told| restore(*told))
            .filter(|restore| status.as_ref().is_none_or(|(_, wanted)| restore["status"] == **wanted))
            .collect();
        Ok(Native::new(200, json!({ "restores": restores })))
    }

    fn ask(&self, named: &Named, body: &Value) -> Result<Question, Problem> {
        if named.id.as_ref().is_none_or(|id| id.as_str() != PROVIDER) {
            let detail = format!("the provider of this service is {PROVIDER}");
            return Err(Problem::new(Code::InvalidParameter, detail));
        }
        if body.get("check_protectable").is_some() && body.get("check_restorable").is_none() {
            return Ok(Question::PassOn);
        }
        let check: Check = schema::parse(&CHECK, body.clone())?;
        let mut requests = Vec::new();
        for (index, asked) in check.check_restorable.into_iter().enumerate() {
            if asked.target.resource_type != SERVER {
                let place = format!("/check_restorable/{index}/target/resource_type");
                let fault = Fault::at(place, format!("only {SERVER} is restored through this gateway"));
                return Err(
                    Problem::new(Code::InvalidRequest, "1 fault(s) in the request").faults(vec![fault])
                );
            }
            let request = RestoreRequest {
                project_id: named.project.clone(),
                source: Source { backup_id: asked.checkpoint_item_id, checkpoint_id: None },
                target: Target::Server {
                    server_id: asked.target.resource_id,
                    // The check request does not contain it, and no answer depends on it.
                    power_on: true,
                    volumes: asked.target.volumes,
                },
            };
            let place = format!("/check_restorable/{index}/target/volumes");
            requests.push(schema::consistent(request, &place)?);
        }
        Ok(Question::Restorable(requests))
    }

    fn answer(&self, verdicts: &[Verdict<'_>]) -> Native {
        let verdict = |verdict: &Verdict<'_>| {
            let (code, message) = verdict.obstacle.clone().unwrap_or_default();
            json!({
                "result": verdict.obstacle.is_none(),
                "resource_id": verdict.request.target.id(),
                "resource_type": SERVER,
                "error_code": code,
                "error_msg": message,
            })
        };
        Native::new(200, json!({"restorable": verdicts.iter().map(verdict).collect::<Vec<_>>()}))
    }

    fn backup(&self, _form: Form, _named: &Named, backup: &Backup) -> Value {
        let disks: Vec<Value> = backup
            .disks
            .iter()
            .map(|disk| {
                json!({
                    "id": disk.id,
                    "status": "available",
                    "bootable": disk.bootable,
                    "name": disk.volume_name,
                    "image_type": "backup",
                    "incremental": false,
                    "size": disk.size_gb.map(|gb| gb * 1024),
                    "source_volume_id": disk.volume_id,
                    "source_volume_name": disk.volume_name,
                    "source_volume_size": disk.size_gb,
                    "snapshot_id": null,
                    "average_speed": 0,
                    "space_saving_ratio": 0,
                })
            })
            .collect();
        json!({"checkpoint_item": {
            "id": backup.id,
            "checkpoint_id": backup.checkpoint_id,
            "name": backup.name,
            "description": "",
            "tags": [],
            "resource_id": backup.resource_id,
            "resource_type": SERVER,
            "status": backup.status,
            "created_at": backup.created_at.map(naive),
            "updated_at": backup.updated_at.map(naive),
            "backup_data": {},
            "extend_info": {
                "auto_trigger": false,
                "copy_from": "",
                "copy_status": "na",
                "fail_code": {},
                "fail_op": "",
                "fail_reason": "",
                "image_type": "backup",
                "incremental": false,
                "progress": 100,
                "resource_az": backup.zone,
                "resource_name": backup.resource_name,
                "resource_type": SERVER,
                "size": backup.size_gb.map(|gb| gb * 1024),
                "finished_at": backup.updated_at.map(naive),
                "supported_restore_mode": "backup",
                "support_lld": true,
                "os_images_data": [],
                "volume_backups": disks,
            },
        }})
    }

    fn backups(&self) -> (&'static str, &'static str) {
        ("checkpoint_items", "checkpoint_item")
    }

    fn restoring(&self, _form: Form, backup: &mut Value, told: RestoreView<'_>) {
        let state = told.state;
        let Some(item) = backup.get_mut("checkpoint_item").filter(|item| item.is_object()) else { return };
        item["updated_at"] = json!(naive(state.updated_at));
        match Stage::of(state) {
            Stage::Waiting => item["status"] = json!("waiting_restore"),
            Stage::Running => item["status"] = json!("restoring"),
            // Available again, with a failure marker, as the service does it (cloud APIs 2.1).
            Stage::Failed => {
                let (code, message) = why(state, OWN);
                if !item["extend_info"].is_object() {
                    item["extend_info"] = json!({});
                }
                let info = &mut item["extend_info"];
                info["fail_op"] = json!("restore");
                info["fail_code"] = json!({"Code": 0, "Description": code});
                info["fail_reason"] = json!(message);
            }
            Stage::Done => {}
        }
    }

    fn is_plain(&self, backup: &Value) -> bool {
        let text = |path: &[&str]| lenient::text(backup, path).unwrap_or_default();
        text(&["checkpoint_item", "status"]).eq_ignore_ascii_case("available")
            && text(&["checkpoint_item", "extend_info", "fail_op"]) != "restore"
    }

    fn versions(&self, base: &str) -> Native {
        version_list(base, &["v1"])
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Native {
        Native::new(refusal.status(OWN), both_forms(refusal, OWN))
    }
}

/// `restore_auth` comes from CSBS's predecessor: a user and a password for the target. One client always sends it,
/// empty. The gateway rejects a request in which it is not empty, without reading the content.
fn without_credentials(body: &mut Value) -> Result<(), Problem> {
    let Some(restore) = body.get_mut("restore").and_then(Value::as_object_mut) else { return Ok(()) };
    match restore.remove("restore_auth") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(members)) if members.is_empty() => Ok(()),
        Some(_) => {
            let fault = Fault::at("/restore/restore_auth", "credentials in a body are not taken");
            let detail = "1 fault(s) in the request; nothing was sent";
            Err(Problem::new(Code::InvalidRequest, detail).faults(vec![fault]))
        }
    }
}

/// A restore in the format of this service. The two members about resources are objects, empty while nothing is known:
/// a released client fails on anything else.
fn restore(told: RestoreView<'_>) -> Value {
    let RestoreView { intent, state } = told;
    let request = &intent.request;
    let stage = Stage::of(state);
    let word = match stage {
        Stage::Waiting | Stage::Running => "in_progress",
        Stage::Done => "success",
        Stage::Failed => "fail",
    };
    let resource = format!("{SERVER}#{}", request.target.id());
    let (status, reason) = match stage {
        Stage::Waiting | Stage::Running => (json!({}), json!({})),
        Stage::Done => (json!({&*resource: "success"}), json!({})),
        Stage::Failed => {
            let (code, message) = why(state, OWN);
            (json!({&*resource: "fail"}), json!({&*resource: format!("{code}: {message}")}))
        }
    };
    let power_on = match &request.target {
        Target::Server { power_on, .. } => *power_on,
        Target::Volume { .. } | Target::Resource { .. } => false,
    };
    let echo = intent.origin.as_ref().map(|origin| &origin.echo);
    json!({
        "id": intent.id,
        "status": word,
        "project_id": request.project_id,
        "provider_id": PROVIDER,
        "checkpoint_id": request.source.checkpoint_id,
        "restore_target": echo.and_then(|echo| lenient::at(echo, &["restore_target"])),
        "resources_status": status,
        "resources_reason": reason,
        "parameters": {
            "checkpoint_item_id": request.source.backup_id,
            "power_on": power_on,
            "targets": {
                "server_id": request.target.id(),
                "volumes": request.target.mappings(),
            },
        },
    })
}
