//! Behaviour of the clouds where the documentation leaves a choice: the settings of `POST /_sim/world`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every switch. The defaults follow the documentation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    pub(crate) restore_seconds: u32,
    pub(crate) cbr_202: Cbr202,
    pub(crate) cbr_oplog_lag_seconds: u32,
    pub(crate) cbr_oplog_restore_block: bool,
    pub(crate) cbr_oplogs_hidden: bool,
    /// True if a log has its own request ID instead of that of the restore call: the documentation does not define it.
    pub(crate) cbr_oplog_own_request_id: bool,
    pub(crate) time_format: Times,
    pub(crate) csbs_answer: CsbsAnswer,
    pub(crate) csbs_restores_read: bool,
    pub(crate) csbs_fail_marker: bool,
    pub(crate) vbs_job_id: JobId,
    pub(crate) vbs_answer: VbsAnswer,
    /// True if Cinder has no running backup service, and reports that in a 404.
    pub(crate) cinder_backup_service_away: bool,
    /// True if no message gives the reason of a failed Cinder restore, as after a crash of its service.
    pub(crate) cinder_messages_missing: bool,
    pub(crate) next_restore: Option<NextRestore>,
    pub(crate) tasks_vanish_after_seconds: Option<u32>,
    pub(crate) power_state: PowerState,
    pub(crate) vault_status: String,
    pub(crate) backup_status: String,
    /// IDs of deleted backups. Restores from them that have begun continue.
    pub(crate) deleted_backups: Vec<String>,
    pub(crate) volumes: BTreeMap<String, VolumeChange>,
    pub(crate) token_lifetime_seconds: u32,
    pub(crate) extra_disks: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            restore_seconds: 3,
            cbr_202: Cbr202::Empty,
            cbr_oplog_lag_seconds: 0,
            cbr_oplog_restore_block: true,
            cbr_oplogs_hidden: false,
            cbr_oplog_own_request_id: false,
            time_format: Times::Otc,
            csbs_answer: CsbsAnswer::InProgress,
            csbs_restores_read: false,
            csbs_fail_marker: true,
            vbs_job_id: JobId::Hex,
            vbs_answer: VbsAnswer::JobId,
            cinder_backup_service_away: false,
            cinder_messages_missing: false,
            next_restore: None,
            tasks_vanish_after_seconds: None,
            power_state: PowerState::Active,
            vault_status: "available".to_owned(),
            backup_status: "available".to_owned(),
            deleted_backups: Vec::new(),
            volumes: BTreeMap::new(),
            token_lifetime_seconds: 24 * 60 * 60,
            extra_disks: 0,
        }
    }
}

impl Behaviour {
    /// Returns true if a backup was deleted.
    pub(crate) fn is_deleted(&self, backup_id: &str) -> bool {
        self.deleted_backups.iter().any(|id| id.eq_ignore_ascii_case(backup_id))
    }

    /// Returns this behaviour with the members of `patch`; the error names the member.
    pub(crate) fn patched(&self, patch: Value) -> Result<Self, String> {
        let Value::Object(patch) = patch else {
            return Err("a JSON object is wanted".to_owned());
        };
        let mut whole = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Some(members) = whole.as_object_mut() {
            members.extend(patch);
        }
        serde_json::from_value(whole).map_err(|error| error.to_string())
    }
}

/// CBR's answer to an accepted restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cbr202 {
    /// 202, `Content-Length: 0`.
    Empty,
    /// 202, no body, chunked.
    ChunkedEmpty,
    /// 202 with `{"job_id"}`.
    JobId,
    /// The same without a `Content-Type`.
    NoContentType,
    /// 202 with a page of HTML.
    Html,
    /// 200 with `{}`.
    OkObject,
}

/// CBR's format of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Times {
    Otc,
    Hwc,
}

/// CSBS's answer to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CsbsAnswer {
    InProgress,
    /// 200 with `status: "fail"`; nothing is applied.
    Fail,
    /// Applied. The answer is the published sample with its invalid JSON.
    PublishedSample,
}

/// VBS's format of job IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobId {
    Hex,
    Dashed,
}

/// VBS's answer to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VbsAnswer {
    JobId,
    /// Every restore call gets an error body under status 200; nothing is applied.
    #[serde(rename = "error_in_200")]
    ErrorIn200,
}

/// Power state of the server before any restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PowerState {
    Active,
    Shutoff,
    Error,
    Terminated,
}

/// Course of the next applied restore, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NextRestore {
    /// `success`, `failed`, `skipped`, `timeout`, `error`, or any undocumented status.
    pub(crate) status: String,
    pub(crate) error_code: Option<String>,
    pub(crate) error_msg: Option<String>,
    pub(crate) duration_seconds: Option<u32>,
    /// A later status of its task that differs.
    pub(crate) then: Option<String>,
    pub(crate) then_after_seconds: u32,
}

impl Default for NextRestore {
    fn default() -> Self {
        Self {
            status: "success".to_owned(),
            error_code: None,
            error_msg: None,
            duration_seconds: None,
            then: None,
            then_after_seconds: 0,
        }
    }
}

/// A change of a disk of the initial world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VolumeChange {
    pub(crate) size_gb: Option<u64>,
    pub(crate) status: Option<String>,
    pub(crate) multiattach: Option<bool>,
    pub(crate) detached: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_keeps_the_rest_and_names_what_it_does_not_know() {
        let first = Behaviour::default().patched(json!({"cbr_202": "job_id"})).unwrap();
        let second = first.patched(json!({"next_restore": {"status": "skipped"}})).unwrap();
        assert_eq!(second.cbr_202, Cbr202::JobId);
        assert_eq!(second.next_restore.as_ref().unwrap().status, "skipped");
        assert!(second.patched(json!({"next_restore": null})).unwrap().next_restore.is_none());
        assert!(second.patched(json!({"cbr_303": 1})).unwrap_err().contains("cbr_303"));
        assert!(second.patched(json!({"next_restore": {"wort": 1}})).unwrap_err().contains("wort"));
        assert!(second.patched(json!([])).is_err());
    }
}
