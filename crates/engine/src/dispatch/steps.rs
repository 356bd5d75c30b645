//! Per-disk restore: if a route allows it and the upstream restores disks only, the restore of a server becomes one
//! call for each of its disks.
//!
//! It stays one restore: one row with one ID, one key, all locks and one lease. Each disk is a [`Step`] of the row. A
//! step is sent after the previous one has succeeded, like another attempt: it is written under the lease and at the
//! number of the row's last event. So nothing can be sent after the row has ended or while another process holds it.
//!
//! [`Step`]: restore_model::Step

use std::sync::Arc;

use restore_generations::{Check, CheckResult, Known, Prepare, codes};
use restore_ledger::{Entry, LedgerError};
use restore_model::{Code, Mapping, Problem, RestoreRequest, RoutePin, Source, Target};
use restore_upstream::With;

use super::{Dispatcher, SendLease};
use crate::pacing::Reads;
use crate::planning::origin_of;
use crate::routing::Plan;

impl Dispatcher {
    /// True if each disk would be restored. One that would not is found before any is overwritten, as far as reads show.
    /// The cloud must confirm of each disk that it is one of that server: a server restore may be allowed to a caller
    /// who may restore no other disk.
    pub(super) async fn check_steps(&self, entry: &Entry, plan: &Plan, with: &With) -> Result<(), Problem> {
        let request = &entry.intent.request;
        let Target::Server { server_id, .. } = &request.target else { return Ok(()) };
        let generation = plan.upstream.generation();
        let queue = self.routing.queue(&plan.pin.upstream);
        let origin = origin_of(entry);
        for (index, step) in requests(&plan.pin, request).into_iter().enumerate() {
            let disk = step.target.id().clone();
            let of_it = |problem: Problem| {
                let detail = format!("disk {disk} (volumes[{index}]): {}", problem.detail);
                Problem { detail, ..problem }
            };
            let named = self.ids.own_names(&step, origin.as_deref(), plan, with).await.map_err(of_it)?;
            let step = named.map_or(step, |named| named.request);
            let known = Known::default();
            let ask = Prepare {
                request: &step,
                known: &known,
                baseline: true,
                server: Some(server_id),
                now: self.journal.now(),
            };
            let mut reads = Reads::counted(queue.quota());
            let checks =
                reads.until_done(&plan.upstream, with, |answers| generation.check(&ask, answers)).await;
            let stands_against = |check: &&Check| match check.result {
                CheckResult::Failed => true,
                CheckResult::NotRun => check.is_required,
                CheckResult::Passed => false,
            };
            if let Some(failed) = checks.iter().flatten().find(stands_against) {
                return Err(of_it(obstacle(failed)));
            }
        }
        Ok(())
    }

    /// Sends the next disk of a restore of which one has just ended well, with a credential of the gateway's own or with
    /// the token that its caller brought for it. False where there is neither, or it may not be sent now.
    pub(crate) async fn send_next_step(self: &Arc<Self>, entry: &Entry) -> Result<bool, LedgerError> {
        let id = entry.intent.id;
        if self.tasks.stop().is_cancelled() || self.journal.recovery().now().is_some() || entry.state.halted {
            return Ok(false);
        }
        let brought = self.live.sender(id);
        let access = self.routing.access(entry, None).or(brought);
        let Some((plan, access)) = self.routing.rules().routes.pinned(entry).zip(access) else {
            return Ok(false);
        };
        if !self.live.claim(id) {
            return Ok(true);
        }
        // What another replica holds is its to send.
        let lease = SendLease::from_now(&*self.ledger);
        match self.ledger.take(id).await {
            Ok(true) => {
                self.carry_out_later((entry.clone(), lease), plan, access);
                Ok(true)
            }
            Ok(false) => {
                self.live.unclaim(id);
                Ok(false)
            }
            Err(error) => {
                self.live.unclaim(id);
                Err(error)
            }
        }
    }
}

/// The calls that a request is carried out as, by this route.
pub(crate) fn requests(route: &RoutePin, request: &RestoreRequest) -> Vec<RestoreRequest> {
    if route.steps.is_empty() {
        return vec![request.clone()];
    }
    let one = |Mapping { backup_id, volume_id }: &Mapping| RestoreRequest {
        project_id: request.project_id.clone(),
        source: Source { backup_id: backup_id.clone(), checkpoint_id: None },
        target: Target::Volume { volume_id: volume_id.clone() },
    };
    route.steps.iter().map(one).collect()
}

/// A check that failed, as the refusal that the send would meet.
fn obstacle(check: &Check) -> Problem {
    let code = check.upstream_code.as_deref().and_then(|code| codes::find(code, 400));
    let class = code.map_or(check.code.unwrap_or(Code::TargetNotReady), |row| row.class);
    let said = check.upstream_code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
    let detail = check.detail.as_deref().unwrap_or(check.name);
    Problem::new(class, format!("{said}{detail}; nothing was sent"))
}
