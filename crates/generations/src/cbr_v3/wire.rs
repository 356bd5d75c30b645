//! CBR v3 on the wire: the body of the restore call and the parts of answers that the gateway reads, as documented
//! (cloud APIs 1.4, 2.3, 3.2).

use restore_model::{Id, Mapping, ProjectId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::call::{Call, Reply};
use crate::lenient;
use crate::path;

/// Kind of the task reference to an operation log.
pub(super) const OPERATION_LOG: &str = "operation_log";
/// Default and largest page of the operation-log list.
pub(super) const PAGE: usize = 1_000;

/// `POST …/backups/{backup_id}/restore`.
#[derive(Serialize)]
pub(super) struct RestoreBody<'a> {
    pub(super) restore: Restore<'a>,
}

/// Exactly one of the three forms; the API does not define a mixture.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Restore<'a> {
    Server {
        server_id: &'a Id,
        power_on: bool,
        mappings: &'a [Mapping],
    },
    Disk {
        volume_id: &'a Id,
    },
    Resource {
        resource_id: &'a Id,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Details<'a>>,
    },
}

#[derive(Serialize)]
pub(super) struct Details<'a> {
    pub(super) destination_path: &'a str,
}

pub(super) fn restore_path(project: &ProjectId, backup: &Id) -> String {
    path("v3", project, format_args!("backups/{backup}/restore"))
}

pub(super) fn get_backup(project: &ProjectId, backup: &Id) -> Call {
    Call::read("/v3/{project_id}/backups/{backup_id}", path("v3", project, format_args!("backups/{backup}")))
}

pub(super) fn get_vault(project: &ProjectId, vault: &Id) -> Call {
    Call::read("/v3/{project_id}/vaults/{vault_id}", path("v3", project, format_args!("vaults/{vault}")))
}

pub(super) fn get_log(project: &ProjectId, id: &Id) -> Call {
    Call::read(
        "/v3/{project_id}/operation-logs/{operation_log_id}",
        path("v3", project, format_args!("operation-logs/{id}")),
    )
}

/// Restore logs that began at or after `from`. It uses no resource filter: the documentation does not define if that
/// means source or target (cloud APIs 2.3.1).
pub(super) fn list_logs(project: &ProjectId, from: Timestamp, offset: usize) -> Call {
    let from = from.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ");
    // Half of the documentation forbids an `offset` of 0, so the first page has none (T13).
    let offset = if offset == 0 { String::new() } else { format!("&offset={offset}") };
    Call::read(
        "/v3/{project_id}/operation-logs",
        path(
            "v3",
            project,
            format_args!("operation-logs?operation_type=restore&start_time={from}&limit={PAGE}{offset}"),
        ),
    )
}

/// One page of the list of operation logs.
pub(super) struct Page {
    pub(super) logs: Vec<Log>,
    /// Number of entries, readable or not. The offset of the next page counts them.
    pub(super) length: usize,
    total: Option<u64>,
}

impl Page {
    /// Reads a page; `None` if the answer is not a list.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let body = reply.json()?;
        let entries = body.get("operation_logs")?.as_array()?;
        Some(Self {
            logs: entries.iter().filter_map(Log::read).collect(),
            length: entries.len(),
            total: lenient::at(&body, &["count"]).and_then(Value::as_u64),
        })
    }

    /// True if more entries follow. `read` counts the entries including this page. A server may return shorter pages
    /// than requested, so its own count is used, too.
    pub(super) fn more(&self, read: usize) -> bool {
        self.length > 0 && (self.length >= PAGE || self.total.is_some_and(|total| total > read as u64))
    }
}

/// The members of an operation log that the gateway reads.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) id: String,
    pub(super) operation: Option<String>,
    pub(super) status: Option<String>,
    pub(super) progress: Option<u8>,
    pub(super) backup_id: Option<String>,
    pub(super) target_id: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) checkpoint_id: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) begun: Option<Timestamp>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
}

impl Log {
    /// True if it belongs to a restore that has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.status
            .as_deref()
            .is_some_and(|status| ["running", "waiting"].iter().any(|word| status.eq_ignore_ascii_case(word)))
    }

    /// True if it belongs to a restore. The query filters by this, but the answer is checked again.
    pub(super) fn is_restore(&self) -> bool {
        self.operation.as_deref().is_none_or(|operation| operation == "restore")
    }

    /// Reads a log; `None` if it has no ID.
    pub(super) fn read(value: &Value) -> Option<Self> {
        use lenient::{percent, text, time, word};
        Some(Self {
            id: text(value, &["id"])?,
            operation: word(value, &["operation_type"]),
            status: text(value, &["status"]),
            progress: percent(value, &["extra_info", "common", "progress"]),
            backup_id: text(value, &["extra_info", "restore", "backup_id"]),
            target_id: text(value, &["extra_info", "restore", "target_resource_id"]),
            resource_id: text(value, &["extra_info", "resource", "id"]),
            checkpoint_id: text(value, &["checkpoint_id"]),
            request_id: text(value, &["extra_info", "common", "request_id"]),
            begun: time(value, &["started_at"]).or_else(|| time(value, &["created_at"])),
            error_code: text(value, &["error_info", "code"])
                .or_else(|| text(value, &["error_info", "error_code"])),
            error_message: text(value, &["error_info", "message"])
                .or_else(|| text(value, &["error_info", "error_msg"]))
                .or_else(|| text(value, &["error_info"])),
        })
    }
}
