//! What a backup is called by the generation that carries a restore out, where the request came through the door of
//! another one. Ids are resolved on proof or not at all: a wrong one overwrites disks (wire reference 6.4).

use restore_model::{Code, Origin, Problem, RestoreRequest};
use restore_upstream::With;

use crate::Engine;
use crate::access::Access;
use crate::route::Plan;

/// A request in the names of the upstream's generation.
pub(crate) struct Named {
    /// The request.
    pub(crate) request: RestoreRequest,
    /// How its names were found, for a person.
    pub(crate) evidence: String,
}

/// Whether a request names backups as another generation than the upstream's does.
pub(crate) fn differ(origin: Option<&Origin>, plan: &Plan) -> bool {
    origin.is_some_and(|origin| origin.generation != plan.pin.generation)
}

impl Engine {
    /// The request in the upstream's own names; none where it has them already.
    pub(crate) async fn own_names(
        &self,
        _request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
        _access: &Access,
        _with: &With,
    ) -> Result<Option<Named>, Problem> {
        if !differ(origin, plan) {
            return Ok(None);
        }
        Err(Problem::new(Code::BackupNotFound, "the id cannot be resolved; nothing was sent"))
    }
}
