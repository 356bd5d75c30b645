//! Carries out the decisions of operators: the end of a restore that polls cannot determine, the confirmation of a
//! ledger that may be an older copy, and messages to a receiver of webhooks that was disabled. The first is written
//! with name and reason, the others are logged.

use std::sync::Arc;

use restore_generations::{Answer, Listed};
use restore_ledger::{Entry, Ledger, LedgerError, Query, Waiting};
use restore_model::{
    Cause, Code, Effect, EventKind, Evidence, Problem, ProjectId, ResolvedAs, RestoreId, State, Status,
    Strength, Timestamp,
};
use restore_upstream::Token;

use crate::callers::{Action, Caller};
use crate::journal::{Journal, unavailable};
use crate::pacing::Reads;
use crate::permissions::Permissions;
use crate::routing::{Access, Routing};

/// An operator's word on a restore.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The state of the target that the operator found.
    pub outcome: ResolvedAs,
    /// Name of the operator.
    pub by: String,
    /// On what grounds.
    pub reason: String,
    /// True to end the restore although it does not need an operator yet.
    pub early: bool,
    /// The number of the last event that the operator has seen; the decision is about that state alone. None is about
    /// whatever the restore is now.
    pub seen: Option<u32>,
}

/// Known effect of a restore on its target.
fn so_far(state: &State) -> Effect {
    match (state.status, &state.error) {
        (Status::Succeeded, _) => Effect::Done,
        // A restore that failed may have overwritten disks before it did.
        (Status::Failed, Some(problem)) => problem.effect,
        (status, _) if status.is_final() => Effect::None,
        _ => Effect::Possible,
    }
}

/// Carries out what people decide.
pub(crate) struct Decisions {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    permissions: Arc<Permissions>,
}

impl Decisions {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        permissions: Arc<Permissions>,
    ) -> Self {
        Self { journal, ledger, routing, permissions }
    }

    /// Calls a restore off, which is possible only before it is sent.
    ///
    /// # Errors
    /// [`Code::NotCancellable`] once it may have been sent, [`Code::Forbidden`] for who may see it and
    /// did not submit it; else as [`Journal::get`].
    pub(crate) async fn cancel(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        self.permissions.permit_own(caller, Action::Restore, &self.journal.get(id).await?)?;
        // Somebody else may write in between; a few rounds are enough, for states only go forward.
        for _ in 0..4 {
            let entry = self.journal.get(id).await?;
            if !matches!(entry.state.status, Status::Accepted | Status::Checking) {
                let detail = format!("restore {id} is {}", entry.state.status.as_str());
                let effect = so_far(&entry.state);
                return Err(Problem::new(Code::NotCancellable, detail).effect(effect));
            }
            let evidence = Evidence::new("request", Strength::Strong, self.journal.now());
            match self.journal.append(&entry, Cause::Caller, vec![(EventKind::Cancelled, evidence)]).await {
                Err(LedgerError::Stale(_)) => {}
                other => return other.map_err(unavailable),
            }
        }
        Err(Problem::new(Code::NotCancellable, format!("restore {id} is just being sent")))
    }

    /// Ends a restore that waits for an operator, or one that may have been sent and of which an operator knows better:
    /// `succeeded`, `failed` or `not_applied`, as the operator found it. Its target is free again, and nothing more of it
    /// is sent.
    ///
    /// # Errors
    /// [`Code::Forbidden`], [`Code::NotResolvable`] when it does not wait for an operator, or was not sent; else as
    /// [`Journal::get`].
    pub(crate) async fn resolve(
        &self,
        id: RestoreId,
        word: Resolution,
        caller: &Caller,
    ) -> Result<Entry, Problem> {
        self.permissions.permit_resolve(caller, &self.journal.get(id).await?)?;
        // Reads go on meanwhile; a few rounds are enough, for states only go forward.
        for _ in 0..4 {
            let entry = self.journal.get(id).await?;
            let may_have_been_sent = matches!(entry.state.status, Status::Running | Status::Unknown);
            if word.seen.is_some_and(|seen| seen != entry.state.seq) {
                let detail = format!("restore {id} has changed since; it is {}", entry.state.status.as_str());
                return Err(Problem::new(Code::RestoreChanged, detail).effect(so_far(&entry.state)));
            }
            if word.outcome == ResolvedAs::Applied && entry.state.is_between_steps() {
                let detail = format!(
                    "disk {} of {} was never sent, so this restore did not overwrite it: resolve it as failed",
                    usize::from(entry.state.step) + 1,
                    entry.state.steps.len()
                );
                return Err(Problem::new(Code::NotResolvable, detail).effect(so_far(&entry.state)));
            }
            let decidable = entry.state.needs_operator || word.early && may_have_been_sent;
            if !decidable {
                let status = entry.state.status.as_str();
                let hint = match may_have_been_sent {
                    true => "; reads may still settle it. To decide all the same, override",
                    false => "",
                };
                let detail = format!("restore {id} is {status}{hint}");
                return Err(Problem::new(Code::NotResolvable, detail).effect(so_far(&entry.state)));
            }
            let Resolution { outcome, by, reason, .. } = word.clone();
            let early = !entry.state.needs_operator;
            let detail = format!("{by}: {reason}");
            let evidence = Evidence::new("operator", Strength::Strong, self.journal.now()).detail(detail);
            let kind = EventKind::Resolved { outcome, by, reason, early };
            match self.journal.append(&entry, Cause::Operator, vec![(kind, evidence)]).await {
                Err(LedgerError::Stale(_)) => {}
                Ok(entry) => {
                    let (by, reason) = (&word.by, &word.reason);
                    tracing::warn!(restore.id = %id, ?outcome, early, by, reason, "restore resolved by operator");
                    return Ok(entry);
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(Problem::new(
            Code::NotResolvable,
            format!("restore {id} changes too often at the moment; try again"),
        ))
    }

    /// Ends recovery mode on an operator's word.
    ///
    /// # Errors
    /// [`Code::NotResolvable`] when the gateway is not in recovery mode, or
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn end_recovery(&self, by: &str, reason: &str) -> Result<(), Problem> {
        if self.journal.recovery().now().is_none() {
            return Err(Problem::new(Code::NotResolvable, "the gateway is not in recovery mode"));
        }
        self.halt_steps(by).await.map_err(unavailable)?;
        self.journal.recovery().end().await.map_err(unavailable)?;
        tracing::warn!(by, reason, "recovery mode ended by operator");
        Ok(())
    }

    /// Sends no further disk of a restore that goes disk by disk: an older copy of the ledger does not know which were sent
    /// after it was made. Written down before recovery mode ends, so nothing is sent in between.
    async fn halt_steps(&self, by: &str) -> Result<(), LedgerError> {
        let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        // Nearly all restores are one call, and are not read a second time.
        let goes_on = |state: &State| !state.steps.is_empty() && !state.halted && !state.status.is_final();
        let mut open = Vec::new();
        self.journal
            .each_of(Query { status, ..Query::default() }, |entry| {
                open.extend(goes_on(&entry.state).then_some(entry.intent.id));
            })
            .await?;
        for id in open {
            while let Some(entry) = self.ledger.get(id).await?.filter(|entry| goes_on(&entry.state)) {
                let detail = format!("{by} confirmed a ledger that may be an older copy of itself");
                let evidence = Evidence::new("recovery", Strength::Strong, self.journal.now()).detail(detail);
                match self.journal.append(&entry, Cause::Operator, vec![(EventKind::Halted, evidence)]).await
                {
                    // Somebody moved it on meanwhile.
                    Err(LedgerError::Stale(_)) => {}
                    written => {
                        written?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// How a webhook stands: what waits, what was given up, and why it is disabled, if it is.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn webhook(&self, name: &str) -> Result<(Waiting, Option<String>), Problem> {
        let hook = self.ledger.hook(name).await.map_err(unavailable)?;
        let waiting = self.ledger.waiting(name).await.map_err(unavailable)?;
        Ok((waiting, hook.and_then(|hook| hook.disabled)))
    }

    /// Delivers to a disabled webhook again, beginning with what it has missed.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn enable_webhook(&self, name: &str, by: &str, reason: &str) -> Result<(), Problem> {
        self.ledger.set_disabled(name, None).await.map_err(unavailable)?;
        // Its relay looks at once, and not only when something happens.
        self.journal.count_commit();
        tracing::warn!(webhook = name, by, reason, "webhook enabled by operator");
        Ok(())
    }

    /// Restores that an upstream has begun in a project since a moment and that the ledger knows
    /// nothing of: what happened after a copy of it was made, or what somebody did elsewhere.
    ///
    /// # Errors
    /// When no route leads to the upstream, it has no list of restores, or it refuses to show it.
    pub(crate) async fn unrecorded(
        &self,
        upstream: &str,
        project: &ProjectId,
        since: Timestamp,
        token: Option<Token>,
    ) -> Result<Vec<Listed>, Problem> {
        let unknown = || Problem::new(Code::InvalidParameter, "no route leads to an upstream of this name");
        let way = self.routing.rules().routes.upstream(upstream).ok_or_else(unknown)?;
        let Some(access) = Access::to(&way, token) else {
            let detail = format!("upstream {upstream} is asked with a token of your own: send X-Auth-Token");
            return Err(Problem::new(Code::CredentialMissing, detail));
        };
        let with = access.with(None);
        let queue = self.routing.queue(upstream);
        let generation = way.generation();
        let question = |answers: &[Answer]| generation.audit(project, since, answers);
        let listed = Reads::counted(queue.quota()).until_done(&way, &with, question).await;
        let endless = || Problem::new(Code::Internal, "the reads of a survey did not come to an end");
        let mut unrecorded = Vec::new();
        for restore in listed.ok_or_else(endless)?? {
            let holder = self.ledger.task_holder(project, &restore.task.id).await;
            if holder.map_err(unavailable)?.is_none() {
                unrecorded.push(restore);
            }
        }
        Ok(unrecorded)
    }
}
