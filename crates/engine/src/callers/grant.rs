//! The permissions that a policy of the configuration grants to a [`Caller`](crate::Caller).

use restore_model::{Id, RestoreRequest, Target, TargetKind};

use super::Action;
use crate::routing::route::Match;

/// One permission: actions on certain restores.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Allowed actions.
    pub allow: Vec<Action>,
    /// Only through these upstreams; none is through any.
    pub upstreams: Vec<String>,
    /// Only of what matches. Its `volume_id` is what [`Grant::disks`] is for.
    pub matches: Match,
    /// Only where every disk that is overwritten is one of these; none is any.
    pub disks: Vec<Id>,
}

impl Grant {
    /// True if it is one for this; `upstream` is left out where no route takes the request.
    pub(crate) fn allows(&self, action: Action, request: &RestoreRequest, upstream: Option<&str>) -> bool {
        self.allow.contains(&action)
            && upstream.map_or(self.upstreams.is_empty(), |upstream| self.goes_through(upstream))
            && self.matches.takes(request)
            && self.covers_disks(request)
    }

    /// True if it is also one for each disk by itself. Carried out disk by disk a server and its backup are names alone: no
    /// cloud is told of them, so a grant for servers says nothing of disks that it does not list, and one for certain backups
    /// nothing of others.
    pub(crate) fn covers_parts(&self, request: &RestoreRequest) -> bool {
        let listed = |id: &Id| self.matches.backup_id.iter().any(|backup| backup.is_same(id));
        let of_servers = !self.matches.server_id.is_empty()
            || (!self.matches.target.is_empty() && !self.matches.target.contains(&TargetKind::Volume));
        (!of_servers || !self.disks.is_empty())
            && (self.matches.backup_id.is_empty()
                || request.target.mappings().iter().all(|mapping| listed(&mapping.backup_id)))
    }

    /// True if it is one for this upstream.
    pub(crate) fn goes_through(&self, upstream: &str) -> bool {
        self.upstreams.is_empty() || self.upstreams.iter().any(|name| name == upstream)
    }

    fn covers_disks(&self, request: &RestoreRequest) -> bool {
        let listed = |id: &Id| self.disks.iter().any(|disk| disk.is_same(id));
        self.disks.is_empty()
            || match &request.target {
                Target::Volume { volume_id } => listed(volume_id),
                // A server is stopped for it: disks alone do not say that this was meant.
                Target::Server { volumes, .. } => {
                    let named = !self.matches.server_id.is_empty()
                        || self.matches.target.contains(&TargetKind::Server);
                    named && !volumes.is_empty() && volumes.iter().all(|mapping| listed(&mapping.volume_id))
                }
                Target::Resource { .. } => false,
            }
    }
}
