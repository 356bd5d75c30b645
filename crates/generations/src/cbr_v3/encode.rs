//! Canonical request → `POST /v3/{project}/backups/{backup}/restore` (cloud APIs 1.4).

use restore_model::{RestoreRequest, Target};

use super::wire::{Details, Restore, RestoreBody, restore_path};
use crate::Encoded;
use crate::call::Call;

pub(super) fn encode(request: &RestoreRequest) -> Encoded {
    let restore = match &request.target {
        Target::Server { server_id, power_on, volumes } => {
            Restore::Server { server_id, power_on: *power_on, mappings: volumes }
        }
        Target::Volume { volume_id } => Restore::Disk { volume_id },
        Target::Resource { resource_id, destination_path } => Restore::Resource {
            resource_id,
            details: destination_path.as_deref().map(|destination_path| Details { destination_path }),
        },
    };
    let call = Call::post(
        "/v3/{project_id}/backups/{backup_id}/restore",
        restore_path(&request.project_id, &request.source.backup_id),
        &RestoreBody { restore },
    );
    let mut dropped_fields = Vec::new();
    if request.source.checkpoint_id.is_some() {
        dropped_fields.push(("source.checkpoint_id", "a CBR restore names the backup alone"));
    }
    Encoded { call: call.restoring(), defaults: Vec::new(), dropped_fields }
}
