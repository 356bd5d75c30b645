//! Canonical request → `POST /v2/{project}/cloudbackups/{backup}/restore` (cloud APIs 1.5).

use restore_model::{Problem, RestoreRequest, Target};

use super::VbsV2;
use super::wire::{Restore, RestoreBody, restore_path};
use crate::call::Call;
use crate::{Encoded, not_expressible};

pub(super) fn encode(own: &VbsV2, request: &RestoreRequest) -> Result<Encoded, Problem> {
    let Target::Volume { volume_id } = &request.target else {
        return Err(not_expressible(own, request.target.kind(), "it restores one disk per call"));
    };
    let call = Call::post(
        "/v2/{project_id}/cloudbackups/{backup_id}/restore",
        restore_path(&request.project_id, &request.source.backup_id),
        &RestoreBody { restore: Restore { volume_id } },
    );
    let mut dropped_fields = Vec::new();
    if request.source.checkpoint_id.is_some() {
        dropped_fields.push(("source.checkpoint_id", "a VBS restore names the backup alone"));
    }
    Ok(Encoded { call: call.restoring(), defaults: Vec::new(), dropped_fields })
}
