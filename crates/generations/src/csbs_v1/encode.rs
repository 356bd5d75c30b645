//! Canonical request → `POST /v1/{project}/restores` (cloud APIs 1.3).

use restore_model::{Code, Problem, RestoreRequest, Target};
use serde_json::json;

use super::CsbsV1;
use super::wire::{CHECKPOINT, PROVIDER, Parameters, Restore, RestoreBody, Targets, restores_path};
use crate::call::Call;
use crate::{Encoded, Known, not_expressible};

pub(super) fn encode(own: &CsbsV1, request: &RestoreRequest, known: &Known) -> Result<Encoded, Problem> {
    let Target::Server { server_id, power_on, volumes } = &request.target else {
        let why = "it restores whole servers and refuses a part of one (CSBS.6018)";
        return Err(not_expressible(own, request.target.kind(), why));
    };
    let mut defaults = vec![("provider_id", json!(PROVIDER), "the only provider CSBS has")];
    let checkpoint_id = match (&request.source.checkpoint_id, known.get(CHECKPOINT)) {
        (Some(given), _) => given,
        (None, Some(read)) => {
            defaults.push(("checkpoint_id", json!(read), "read from the backup item"));
            read
        }
        (None, None) => {
            return Err(Problem::new(
                Code::BackupNotFound,
                "CSBS needs source.checkpoint_id, and the backup item does not tell it",
            ));
        }
    };
    let call = Call::post(
        "/v1/{project_id}/restores",
        restores_path(&request.project_id),
        &RestoreBody {
            restore: Restore {
                provider_id: PROVIDER,
                checkpoint_id,
                parameters: Parameters {
                    checkpoint_item_id: &request.source.backup_id,
                    power_on: *power_on,
                    targets: Targets { server_id, volumes },
                },
            },
        },
    );
    Ok(Encoded { call: call.restoring(), defaults, dropped_fields: Vec::new() })
}
