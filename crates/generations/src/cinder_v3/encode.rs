//! Canonical request → `POST /v3/{project}/backups/{backup}/restore` (cloud APIs 1.9).

use restore_model::{Problem, RestoreRequest, Target};

use super::CinderV3;
use super::wire::{Restore, RestoreBody, restore_path};
use crate::call::Call;
use crate::{Encoded, not_expressible};

pub(super) fn encode(own: &CinderV3, request: &RestoreRequest) -> Result<Encoded, Problem> {
    let Target::Volume { volume_id } = &request.target else {
        let why = "it restores one disk per call, and does not tell which server a disk is of";
        return Err(not_expressible(own, request.target.kind(), why));
    };
    let call = Call::post(
        "/v3/{project_id}/backups/{backup_id}/restore",
        restore_path(&request.project_id, &request.source.backup_id),
        &RestoreBody { restore: Restore { volume_id } },
    );
    let mut dropped_fields = Vec::new();
    if request.source.checkpoint_id.is_some() {
        dropped_fields.push(("source.checkpoint_id", "a Cinder restore names the backup alone"));
    }
    Ok(Encoded { call: call.restoring(), defaults: Vec::new(), dropped_fields })
}
