//! What native doors ask besides the verbs: reads that the gateway has no answer to, passed on to the cloud that has,
//! and the restore that a backup or a disk is in just now.

use restore_generations::{Backup, Call, Reply};
use restore_ledger::{Entry, Query};
use restore_model::{Code, Id, Origin, Problem, ProjectId, Status};
use restore_upstream::{FaultKind, TraceContext};

use crate::access::Access;
use crate::caller::Caller;
use crate::{Engine, unavailable};

/// Seconds after its end in which a restore still shows in the state of its backup and its disk.
const RECENT: i64 = 3_600;
/// Restores of a project that are looked through for one of a backup.
const LOOKED_THROUGH: usize = 200;

impl Engine {
    /// Asks an upstream something that changes nothing, for a caller who may read there, and gives its answer as it
    /// came.
    ///
    /// # Errors
    /// [`Code::NotAllowed`]; [`Code::CredentialMissing`]; [`Code::Throttled`] when the upstream was asked often enough;
    /// else why no answer came.
    pub async fn pass_on(
        &self,
        upstream: &str,
        project: &ProjectId,
        call: &Call,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Reply, Problem> {
        self.permit_project(caller, project, upstream)?;
        let named = self.0.routes.upstream(upstream).filter(|_| !call.restores);
        let Some(named) = named else {
            return Err(Problem::new(Code::NotFound, "no upstream has an answer to this"));
        };
        let Some(access) = Access::to(&named, caller.token.clone()) else {
            let detail = format!("upstream {upstream} is asked with the caller's own token");
            return Err(Problem::new(Code::CredentialMissing, detail));
        };
        let lane = self.lane(upstream);
        if !lane.budget.try_take() {
            let detail = format!("upstream {upstream} was asked often enough for now");
            return Err(Problem::new(Code::Throttled, detail).after(1));
        }
        match named.send(call, access.with(trace)).await {
            Ok(reply) => {
                lane.budget.heard(&reply);
                if reply.status == 401 && access.is_held() {
                    // A client would get itself a new token for it, which is of no use.
                    let detail = format!("upstream {upstream} refused the gateway's own credential");
                    return Err(Problem::new(Code::CredentialFailed, detail));
                }
                Ok(reply)
            }
            Err(fault) => {
                if fault.kind == FaultKind::Breaker {
                    lane.budget.give_back();
                }
                Err(fault.to_problem())
            }
        }
    }

    /// A backup as another generation than the door's tells of it: one that the door's restores may be carried out by.
    /// It keeps the id that it was asked for by, which is the one that the door's programs know.
    ///
    /// # Errors
    /// Why no answer came from any of them.
    pub async fn backup_elsewhere(
        &self,
        origin: &Origin,
        project: &ProjectId,
        id: &Id,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Option<Backup>, Problem> {
        let mut fault = None;
        for upstream in self.0.routes.of_dialect(&origin.dialect) {
            let generation = upstream.generation();
            if generation.name() == origin.generation {
                continue;
            }
            let paired = self.0.routes.pairs().find(&origin.generation, generation.name(), id);
            let call = generation.read_backup(project, paired.as_ref().unwrap_or(id));
            match self.pass_on(upstream.name(), project, &call, caller, trace.clone()).await {
                Ok(reply) => {
                    if let Some(backup) = generation.backup(&reply) {
                        return Ok(Some(Backup { id: id.to_string(), ..backup }));
                    }
                }
                Err(problem) => fault = Some(problem),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// The restore that a backup is, or was just now, the source of; none that a caller may not see.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub async fn restore_of_backup(
        &self,
        project: &ProjectId,
        backup: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let query = Query { project_id: Some(project.clone()), limit: LOOKED_THROUGH, ..Query::default() };
        let all = self.0.ledger.list(query).await.map_err(unavailable)?;
        let of_it = |entry: &Entry| entry.intent.request.source.backup_id.is_same(backup);
        Ok(all.into_iter().find(|entry| of_it(entry) && self.shows(entry) && caller.sees(entry)))
    }

    /// The restore that overwrites a disk, or did so just now; none that a caller may not see.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub async fn restore_of_disk(
        &self,
        project: &ProjectId,
        disk: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let query = Query {
            project_id: Some(project.clone()),
            target: Some(disk.folded()),
            limit: LOOKED_THROUGH,
            ..Query::default()
        };
        let all = self.0.ledger.list(query).await.map_err(unavailable)?;
        Ok(all.into_iter().find(|entry| self.shows(entry) && caller.sees(entry)))
    }

    /// Whether a restore shows in what it is of: one that had no effect does not, nor one that ended long ago.
    fn shows(&self, entry: &Entry) -> bool {
        let state = &entry.state;
        match state.finished_at {
            None => true,
            Some(end) => {
                matches!(state.status, Status::Succeeded | Status::Failed)
                    && self.now().micros_since(end) < RECENT * 1_000_000
            }
        }
    }
}
