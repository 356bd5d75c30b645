//! The compatibility endpoint `cbr-v3` (cloud APIs 1.4, 2.3, 3.2). The 202 carries the gateway's ID as `job_id`. The
//! operation log that shows the outcome has the same ID. So clients that wait get a task ID, and clients that do not
//! read the body lose nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use restore_model::schema::{self, Validator};
use restore_model::{Code, Id, Mapping, Problem, RestoreRequest, Source, Target, TargetKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::source_api::{
    Act, Form, Named, Native, Place, Refusal, RestoreView, SourceApi, Stage, Wanted, both_forms, compiled,
    naive, one, version_list, why,
};
use crate::{Backup, Generation, lenient};

/// Prefixes of the error codes of this generation.
const OWN: &[&str] = &["BackupService.", "APIG"];
/// The provider of server backups, and that of disk backups (cloud APIs 0).
const SERVERS: &str = "0daac4c5-6707-4851-97ba-169e36266b66";
const DISKS: &str = "d1603440-187d-4516-af25-121250c7cc97";
/// Default and largest page of the list of operation logs.
const PAGE: usize = super::wire::PAGE;

static REQUEST: LazyLock<Validator> =
    LazyLock::new(|| compiled("cbr-restore-request", include_str!("schemas/cbr-restore-request.json")));

/// The source API.
pub(crate) struct CbrSourceApi;

#[derive(Deserialize)]
struct Body {
    restore: Restore,
}

/// One of three forms, as the schema guarantees. A missing `power_on` means true (cloud APIs 1.4).
#[derive(Deserialize)]
struct Restore {
    #[serde(default)]
    mappings: Vec<Mapping>,
    #[serde(default = "yes")]
    power_on: bool,
    server_id: Option<Id>,
    volume_id: Option<Id>,
    resource_id: Option<Id>,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    destination_path: String,
}

const fn yes() -> bool {
    true
}

impl SourceApi for CbrSourceApi {
    fn source_api(&self) -> &'static str {
        "cbr-v3"
    }

    fn generation(&self) -> &'static str {
        "cbr-v3"
    }

    fn closed_on(&self) -> Option<&'static str> {
        super::CbrV3.closed_on()
    }

    fn targets(&self) -> &'static [TargetKind] {
        &TargetKind::ALL
    }

    fn places(&self) -> &'static [Place] {
        const PLACES: &[Place] = &[
            Place::new("POST", "/v3/{project_id}/backups/{id}/restore", Act::Restore),
            Place::new("GET", "/v3/{project_id}/operation-logs", Act::RestoredList),
            Place::new("GET", "/v3/{project_id}/operation-logs/{id}", Act::Restored),
            Place::new("GET", "/v3/{project_id}/backups", Act::BackupList),
            Place::new("GET", "/v3/{project_id}/backups/{id}", Act::Backup),
            Place::new("GET", "/", Act::Versions),
            Place::new("GET", "/v3", Act::Versions),
            Place::new("GET", "/v3/", Act::Versions),
        ];
        PLACES
    }

    fn restore(&self, _form: Form, named: &Named, body: Value) -> Result<Wanted, Problem> {
        let Body { restore } = schema::parse(&REQUEST, body)?;
        let target = match (restore.server_id, restore.volume_id, restore.resource_id) {
            (Some(server_id), ..) => {
                Target::Server { server_id, power_on: restore.power_on, volumes: restore.mappings }
            }
            // The service itself ignores mappings and power for a disk.
            (None, Some(volume_id), _) => Target::Volume { volume_id },
            (None, None, Some(resource_id)) => Target::Resource {
                resource_id,
                destination_path: restore.details.map(|details| details.destination_path),
            },
            (None, None, None) => {
                let detail = "one of server_id, volume_id and resource_id is needed; nothing was sent";
                return Err(Problem::new(Code::InvalidRequest, detail));
            }
        };
        let request = RestoreRequest {
            project_id: named.project.clone(),
            source: Source { backup_id: one(named)?, checkpoint_id: None },
            target,
        };
        Ok(Wanted { request: schema::consistent(request, "/restore/mappings")?, echo: Value::Null })
    }

    fn taken(&self, _form: Form, told: RestoreView<'_>) -> Native {
        Native::new(202, json!({"job_id": told.intent.id}))
    }

    fn restored(&self, told: RestoreView<'_>) -> Native {
        Native::new(200, json!({"operation_log": log(told)}))
    }

    /// Restores without a log in the cloud come first. The cloud's own list begins after them.
    fn others(
        &self,
        query: &str,
        told: &[RestoreView<'_>],
        home: Option<&str>,
    ) -> Result<Option<String>, Problem> {
        let filter = Filter::read(query)?;
        if home.is_none() {
            return Ok(None);
        }
        let ours = told.iter().filter(|told| !is_logged(**told, home) && filter.takes(&log(**told))).count();
        let room = filter.limit - ours.saturating_sub(filter.offset).min(filter.limit);
        let mut others = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "limit" && name != "offset" {
                others.append_pair(&name, &value);
            }
        }
        // A page that is already full still needs the count of the cloud's list.
        others.append_pair("limit", &room.max(1).to_string());
        // Some services reject an offset of 0, which means the same as no offset (T13).
        let offset = filter.offset.saturating_sub(ours);
        if offset > 0 {
            others.append_pair("offset", &offset.to_string());
        }
        Ok(Some(others.finish()))
    }

    fn is_list(&self, others: &Value) -> bool {
        others["operation_logs"].is_array()
    }

    /// Shows each restore once. A restore that has a log in the cloud appears in the place of that log, under the
    /// gateway's ID: only the cloud can apply every filter, and its count includes the log. The gateway's own data
    /// decides about all others.
    fn restored_list(
        &self,
        query: &str,
        told: &[RestoreView<'_>],
        home: Option<&str>,
        others: Option<Value>,
    ) -> Result<Native, Problem> {
        let filter = Filter::read(query)?;
        let others = others.unwrap_or_default();
        let (logged, apart): (Vec<RestoreView<'_>>, Vec<RestoreView<'_>>) =
            told.iter().copied().partition(|told| is_logged(*told, home));
        let mut lacking: HashMap<&str, RestoreView<'_>> =
            logged.iter().filter_map(|told| Some((&*told.state.task.as_ref()?.id, *told))).collect();
        let theirs: Vec<Value> = lenient::items(&others, &["operation_logs"])
            .iter()
            .map(|theirs| {
                let id = lenient::text(theirs, &["id"]).unwrap_or_default();
                lacking.remove(&*id).map_or_else(|| theirs.clone(), log)
            })
            .collect();
        let ours = |told: Vec<RestoreView<'_>>| -> Vec<Value> {
            told.into_iter().map(log).filter(|log| filter.takes(log)).collect()
        };
        let mut all = ours(apart);
        let listed = lenient::whole(&others, &["count"]).unwrap_or(0).max(theirs.len() as u64);
        // Logs appear in the list some time after they begin, and the cloud deletes them later. If the page shows the
        // whole list, it is known which restores the list lacks. A query by status uses the status that the cloud
        // reports.
        let is_whole = filter.offset <= all.len() && theirs.len() as u64 == listed;
        if is_whole && filter.status.is_empty() {
            let is_lacking = |told: &RestoreView<'_>| {
                told.state.task.as_ref().is_some_and(|task| lacking.contains_key(&*task.id))
            };
            let lacking = ours(logged.into_iter().filter(is_lacking).collect());
            // The cloud counted the entries after this page without them.
            if all.len() + lacking.len() + theirs.len() <= filter.limit {
                all.splice(0..0, lacking);
            }
        }
        let count = all.len() as u64 + listed;
        let page: Vec<Value> = all.into_iter().skip(filter.offset).chain(theirs).take(filter.limit).collect();
        Ok(Native::new(
            200,
            json!({
                "count": count,
                "limit": filter.limit,
                "offset": filter.offset,
                "operation_logs": page,
            }),
        ))
    }

    fn backup(&self, _form: Form, named: &Named, backup: &Backup) -> Value {
        let project = named.project.as_str();
        let own = |id: &str, of: &str, name: &str, kind: Option<TargetKind>, size: Option<u64>| {
            json!({
                "id": id,
                "checkpoint_id": backup.checkpoint_id,
                "name": backup.name,
                "description": "",
                "status": backup.status,
                "image_type": "backup",
                "project_id": project,
                "provider_id": if backup.kind == Some(TargetKind::Server) { SERVERS } else { DISKS },
                "parent_id": null,
                "vault_id": null,
                "resource_id": of,
                "resource_name": name,
                "resource_type": resource_type(kind),
                "resource_size": size,
                "resource_az": backup.zone,
                "created_at": backup.created_at.map(naive),
                "updated_at": backup.updated_at.map(naive),
                "protected_at": backup.created_at.map(naive),
                "expired_at": null,
                "replication_records": [],
                "extend_info": {"supported_restore_mode": "backup"},
                "children": [],
            })
        };
        let mut body =
            own(&backup.id, &backup.resource_id, &backup.resource_name, backup.kind, backup.size_gb);
        let children: Vec<Value> = backup
            .disks
            .iter()
            .map(|disk| {
                let kind = Some(TargetKind::Volume);
                let mut child = own(&disk.id, &disk.volume_id, &disk.volume_name, kind, disk.size_gb);
                child["parent_id"] = json!(backup.id);
                child["created_at"] = json!(disk.created_at.or(backup.created_at).map(naive));
                if let Some(bootable) = disk.bootable {
                    child["extend_info"]["bootable"] = json!(bootable);
                }
                child
            })
            .collect();
        body["children"] = json!(children);
        json!({ "backup": body })
    }

    fn restoring(&self, _form: Form, backup: &mut Value, told: RestoreView<'_>) {
        let status = match Stage::of(told.state) {
            Stage::Waiting => "waiting_restore",
            Stage::Running => "restoring",
            // The backup is available after success and after failure; the operation log shows which (cloud APIs 2.0).
            Stage::Done | Stage::Failed => return,
        };
        if let Some(backup) = backup.get_mut("backup").filter(|backup| backup.is_object()) {
            backup["status"] = json!(status);
        }
    }

    fn versions(&self, base: &str) -> Native {
        version_list(base, &["v3"])
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Native {
        Native::new(refusal.status(OWN), both_forms(refusal, OWN))
    }
}

/// True if the list of the upstream `home` has a log of a restore.
fn is_logged(told: RestoreView<'_>, home: Option<&str>) -> bool {
    let task = told.state.task.as_ref();
    home == Some(&*told.intent.route.upstream)
        && task.is_some_and(|task| task.kind == super::wire::OPERATION_LOG)
}

/// The filters of an operation log list that the gateway can apply to its restores.
struct Filter {
    operation: Option<String>,
    status: Vec<String>,
    resource: Option<String>,
    provider: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: usize,
    offset: usize,
    /// True if a filter uses a value that the gateway does not know for any restore, such as a vault.
    other: bool,
}

impl Filter {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut filter = Self {
            operation: None,
            status: Vec::new(),
            resource: None,
            provider: None,
            since: None,
            until: None,
            limit: PAGE,
            offset: 0,
            other: false,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = |least: usize, most: usize| {
                value.parse::<usize>().ok().filter(|number| (least..=most).contains(number)).ok_or_else(
                    || {
                        let detail = format!("query {name} is a whole number from {least} to {most}");
                        Problem::new(Code::InvalidParameter, detail)
                    },
                )
            };
            match &*name {
                "operation_type" => filter.operation = Some(value.into_owned()),
                "status" => filter.status.extend(value.split(',').map(str::to_owned)),
                "resource_id" => filter.resource = Some(value.into_owned()),
                "start_time" => filter.since = Some(value.trim_end_matches('Z').to_owned()),
                "end_time" => filter.until = Some(value.trim_end_matches('Z').to_owned()),
                "limit" => filter.limit = number(1, PAGE)?,
                "offset" => filter.offset = number(0, 1_000_000)?,
                "provider_id" => filter.provider = Some(value.into_owned()),
                "resource_name" | "vault_id" | "vault_name" => filter.other = true,
                _ => {}
            }
        }
        Ok(filter)
    }

    fn takes(&self, log: &Value) -> bool {
        let text = |path: &[&str]| lenient::text(log, path).unwrap_or_default();
        let resource = text(&["extra_info", "resource", "id"]);
        let created = text(&["created_at"]);
        !self.other
            && self.operation.as_deref().is_none_or(|operation| operation == "restore")
            && (self.status.is_empty() || self.status.contains(&text(&["status"])))
            && self.provider.as_deref().is_none_or(|wanted| lenient::same_id(wanted, &text(&["provider_id"])))
            && self.resource.as_deref().is_none_or(|wanted| lenient::same_id(wanted, &resource))
            // Times in the same format compare as text.
            && self.since.as_deref().is_none_or(|since| *created >= *since)
            && self.until.as_deref().is_none_or(|until| *created <= *until)
    }
}

const fn resource_type(kind: Option<TargetKind>) -> &'static str {
    match kind {
        Some(TargetKind::Server) => "OS::Nova::Server",
        Some(TargetKind::Volume) => "OS::Cinder::Volume",
        Some(TargetKind::Resource) | None => "OS::Workspace::DesktopV2",
    }
}

/// A restore as an operation log.
fn log(told: RestoreView<'_>) -> Value {
    let RestoreView { intent, state } = told;
    let request = &intent.request;
    let stage = Stage::of(state);
    let word = match stage {
        Stage::Waiting => "waiting",
        Stage::Running => "running",
        Stage::Done => "success",
        Stage::Failed => "failed",
    };
    let (code, message) = if stage == Stage::Failed { why(state, OWN) } else { Default::default() };
    let progress = match (stage, state.progress) {
        (Stage::Done, _) => 100,
        (_, progress) => progress.unwrap_or(0),
    };
    let kind = request.target.kind();
    json!({
        "id": intent.id,
        "operation_type": "restore",
        "status": word,
        "provider_id": if kind == TargetKind::Server { SERVERS } else { DISKS },
        "checkpoint_id": request.source.checkpoint_id,
        "project_id": request.project_id,
        "policy_id": null,
        "vault_id": null,
        "vault_name": null,
        "created_at": naive(intent.created_at),
        "started_at": naive(state.submitted_at.unwrap_or(intent.created_at)),
        "updated_at": naive(state.updated_at),
        "ended_at": state.finished_at.map(naive),
        "error_info": {"code": code, "message": message},
        "extra_info": {
            "resource": {"id": request.target.id(), "type": resource_type(Some(kind)), "name": ""},
            "restore": {
                "backup_id": request.source.backup_id,
                "backup_name": "",
                "target_resource_id": request.target.id(),
                "target_resource_name": "",
            },
            "common": {
                "progress": progress,
                "request_id": state.request_id.clone().unwrap_or_default(),
                "task_id": intent.id,
            },
        },
    })
}
