//! CSBS v1 on the wire (cloud APIs 1.3, 2.1, 4).

use restore_model::{Id, Mapping, ProjectId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::Call;
use crate::{lenient, path};

/// The fact of a backup that the restore call needs: its checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint_id";

/// The only existing provider ID.
pub(super) const PROVIDER: &str = "fc4d5750-22e7-4798-8a46-f48f62c4c1da";
/// The only resource type this gateway restores through CSBS.
pub(super) const SERVER: &str = "OS::Nova::Server";
/// Kind of the task reference to a restore.
pub(super) const RESTORE: &str = "restore";

/// `POST …/restores`. `restore_target` has no documented effect and is left out; `restore_auth`
/// and `targets.resource_type` are never sent.
#[derive(Serialize)]
pub(super) struct RestoreBody<'a> {
    pub(super) restore: Restore<'a>,
}

#[derive(Serialize)]
pub(super) struct Restore<'a> {
    pub(super) provider_id: &'static str,
    pub(super) checkpoint_id: &'a Id,
    pub(super) parameters: Parameters<'a>,
}

#[derive(Serialize)]
pub(super) struct Parameters<'a> {
    pub(super) checkpoint_item_id: &'a Id,
    pub(super) power_on: bool,
    pub(super) targets: Targets<'a>,
}

#[derive(Serialize)]
pub(super) struct Targets<'a> {
    pub(super) server_id: &'a Id,
    pub(super) volumes: &'a [Mapping],
}

/// `POST …/providers/{provider_id}/resources/action`, one question per call: the answer does not name its question
/// (cloud APIs 4).
#[derive(Serialize)]
pub(super) struct CheckBody<'a> {
    pub(super) check_restorable: [Question<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct Question<'a> {
    pub(super) checkpoint_item_id: &'a Id,
    pub(super) target: CheckTarget<'a>,
}

#[derive(Serialize)]
pub(super) struct CheckTarget<'a> {
    pub(super) resource_id: &'a Id,
    pub(super) resource_type: &'static str,
    pub(super) volumes: &'a [Mapping],
}

pub(super) fn restores_path(project: &ProjectId) -> String {
    path("v1", project, format_args!("restores"))
}

pub(super) fn get_item(project: &ProjectId, item: &Id) -> Call {
    Call::read(
        "/v1/{project_id}/checkpoint_items/{checkpoint_item_id}",
        path("v1", project, format_args!("checkpoint_items/{item}")),
    )
}

/// Not documented by the cloud, but present in its predecessor. The gateway tries it (cloud APIs 2.1).
pub(super) fn get_restore(project: &ProjectId, restore: &Id) -> Call {
    Call::read(
        "/v1/{project_id}/restores/{restore_id}",
        path("v1", project, format_args!("restores/{restore}")),
    )
}

pub(super) fn action_path(project: &ProjectId) -> String {
    path("v1", project, format_args!("providers/{PROVIDER}/resources/action"))
}

/// The members of a backup item that polls compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) updated_at: Option<String>,
    pub(super) fail_op: Option<String>,
    pub(super) fail_code: Option<String>,
    pub(super) fail_reason: Option<String>,
}

impl Marker {
    /// Reads the marker of a `checkpoint_item`.
    pub(super) fn read(item: &Value) -> Self {
        let info = item.get("extend_info").cloned().unwrap_or_default();
        // Capitalised only here (T24).
        let inside = |name: &str| {
            let members = lenient::at(&info, &["fail_code"])?.as_object()?;
            members
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .and_then(|(_, v)| lenient::as_text(v))
        };
        Self {
            updated_at: lenient::text(item, &["updated_at"]),
            fail_op: lenient::word(&info, &["fail_op"]),
            fail_code: inside("code"),
            fail_reason: lenient::text(&info, &["fail_reason"]).or_else(|| inside("description")),
        }
    }

    /// True if the item reports that a restore failed; it does not name the restore.
    pub(super) fn tells_failure(&self) -> bool {
        self.fail_op.as_deref() == Some("restore")
    }

    /// True if it reports the same failure as before. The time is not compared: every change of the item moves it, and
    /// the marker of an earlier restore may stay.
    pub(super) fn repeats(&self, before: &Self) -> bool {
        let words =
            |marker: &Self| [marker.fail_op.clone(), marker.fail_code.clone(), marker.fail_reason.clone()];
        words(self) == words(before)
    }
}
