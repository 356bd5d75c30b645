//! Carries out a restore, one attempt from beginning to end: pre-send checks, the write of `submitting`, the attempt,
//! and the write of its outcome. Runs in a separate task. No byte of a restore leaves before `submitting` is durable
//! (I1), and only the generation decides what a response means.
//!
//! Stands above the journal, `planning`, `id_mapping` and the schedule, to which it hands over started restores.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use restore_generations::{Generation, Known, Prepare, Prepared, Reply};
use restore_ledger::{Entry, Ledger, LedgerError};
use restore_model::{
    Cause, Code, EventKind, Evidence, Problem, RestoreId, RestoreRequest, Status, Strength, Timestamp,
};
use restore_upstream::{Behalf, Fault, TraceContext, With};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::crash;
use crate::id_mapping::{IdMapping, Named};
use crate::journal::{Journal, Kinds};
use crate::live_restores::LiveRestores;
use crate::pacing::Reads;
use crate::planning::{origin_of, reroute};
use crate::routing::{Access, Plan, Routing, whose};
use crate::schedule::Schedule;
use crate::tasks::Tasks;

mod outcome;
mod send_permit;
mod steps;

pub(crate) use send_permit::SendLease;
use send_permit::SendPermit;
pub(crate) use steps::requests;

/// From here on, a refused signature is put down to the clocks. The clouds allow for 15 minutes
/// between them, the wait of a request in between included.
const SKEW_MILLIS: u64 = 5 * 60 * 1_000;

/// Carries restores out.
pub(crate) struct Dispatcher {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    live: Arc<LiveRestores>,
    routing: Arc<Routing>,
    ids: Arc<IdMapping>,
    schedule: Arc<Schedule>,
    tasks: Arc<Tasks>,
}

impl Dispatcher {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        live: Arc<LiveRestores>,
        routing: Arc<Routing>,
        ids: Arc<IdMapping>,
        schedule: Arc<Schedule>,
        tasks: Arc<Tasks>,
    ) -> Self {
        Self { journal, ledger, live, routing, ids, schedule, tasks }
    }

    /// As [`Dispatcher::carry_out`], in a task of its own and for nobody who waits.
    pub(crate) fn carry_out_later(self: &Arc<Self>, entry: (Entry, SendLease), plan: Plan, access: Access) {
        let dispatcher = Arc::clone(self);
        self.tasks.spawn(async move {
            let (answered, _nobody_waits) = oneshot::channel();
            dispatcher.carry_out(entry, &plan, access, None, answered).await;
        });
    }

    /// Sends a claimed restore and follows it. `lease` is as it was before the first write.
    /// `answered` gets it as the upstream's answer left it; nothing, when it was left where it stands.
    pub(crate) async fn carry_out(
        &self,
        (entry, lease): (Entry, SendLease),
        plan: &Plan,
        access: Access,
        trace: Option<TraceContext>,
        answered: oneshot::Sender<Entry>,
    ) {
        let id = entry.intent.id;
        self.live.keep_sender(&entry, &access);
        let dispatch = AssertUnwindSafe(self.dispatch((entry, lease), plan, &access, trace)).catch_unwind();
        let ended = match dispatch.await {
            Ok(Ok(entry)) => Some(entry),
            Ok(Err(LedgerError::Stale(_) | LedgerError::NotHeld(_))) => {
                // Cancelled, or another replica has it: what it wrote is the truth. One that has died since may have left it
                // to this process, and then nobody else continues it.
                tracing::info!(restore.id = %id, "restore continued by another process");
                let detail = "another process went on with the restore; this one sent nothing";
                self.end_unsent(id, Problem::new(Code::SendWindowMissed, detail)).await
            }
            Ok(Err(error)) => {
                tracing::warn!(restore.id = %id, error = %error, "restore dispatch failed");
                let why = Problem::new(Code::LedgerUnavailable, format!("{error}; nothing was sent"));
                // A waiting caller does not wait for the ledger.
                drop(answered);
                let ended = self.end_unsent(id, why).await;
                self.release(id, ended, &access);
                return;
            }
            // The panic hook has said where.
            Err(_) => {
                let why = Problem::new(Code::Internal, "the gateway failed before anything was sent");
                self.end_unsent(id, why).await
            }
        };
        self.release(id, ended.clone(), &access);
        if let Some(entry) = ended {
            // The waiting caller may have disconnected.
            let _ = answered.send(entry);
        }
    }

    /// Claims a restore for the present task; not if another one has it already.
    pub(crate) fn claim(&self, id: RestoreId) -> bool {
        self.live.claim(id)
    }

    /// True if a task dispatches a restore.
    pub(crate) fn is_dispatching(&self, id: RestoreId) -> bool {
        self.live.is_dispatching(id)
    }

    /// True if a credential is kept that the next disk of a restore is sent with.
    pub(crate) fn keeps_sender(&self, id: RestoreId) -> bool {
        self.live.sender(id).is_some()
    }

    /// True if a claimed restore is this process's; where not, the claim is given back.
    pub(crate) async fn held(&self, id: RestoreId) -> bool {
        let held = matches!(self.ledger.take(id).await, Ok(true));
        if !held {
            self.live.unclaim(id);
        }
        held
    }

    /// Gives a claimed restore back: to the poll queue as long as it is open.
    fn release(&self, id: RestoreId, entry: Option<Entry>, access: &Access) {
        if let Some(entry) = entry.filter(|entry| !entry.state.status.is_final()) {
            // It may have been rerouted, and another upstream takes another credential.
            self.schedule.poll(&entry, self.routing.access(&entry, access.token()));
        }
        self.live.unclaim(id);
    }

    /// Ends what was not sent, and makes unknown what may have been, after a fault of our own or of
    /// the ledger; as long as it takes, for until then the target is locked by nobody's work.
    async fn end_unsent(&self, id: RestoreId, why: Problem) -> Option<Entry> {
        let mut wait = Duration::from_millis(200);
        loop {
            match self.try_to_end_unsent(id, &why).await {
                Ok(entry) => return entry,
                Err(error) => {
                    tracing::warn!(restore.id = %id, error = %error, "restore outcome waits for the ledger");
                }
            }
            tokio::select! {
                // The next start finds it as it is.
                () = self.tasks.stop().cancelled() => return None,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
    }

    async fn try_to_end_unsent(&self, id: RestoreId, why: &Problem) -> Result<Option<Entry>, LedgerError> {
        let held = self.ledger.take(id).await?;
        let Some(entry) = self.ledger.get(id).await? else { return Ok(None) };
        if !held {
            // Another replica has taken it over, and settles it.
            return Ok(Some(entry));
        }
        let evidence = Evidence::new("gateway", Strength::Strong, self.journal.now());
        let kind = if entry.state.is_unsent() {
            EventKind::Rejected { problem: Box::new(why.clone()) }
        } else if entry.state.status == Status::Submitting {
            let reason = "the gateway failed while the request may have been on the wire".to_owned();
            EventKind::OutcomeUnclear { reason, problem: None }
        } else {
            return Ok(Some(entry));
        };
        self.journal.append(&entry, Cause::Gateway, vec![(kind, evidence)]).await.map(Some)
    }

    /// Carries a restore out as far as its present call: after a refusal by a generation that is closed to the project, on
    /// its other route.
    async fn dispatch(
        &self,
        (entry, lease): (Entry, SendLease),
        plan: &Plan,
        access: &Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        let entry = self.send((entry, lease), plan, access, trace.clone()).await?;
        if entry.state.status != Status::Checking || entry.state.rerouted.is_none() {
            return Ok(entry);
        }
        let way = self.routing.rules().routes.pinned(&entry).zip(self.routing.access(&entry, access.token()));
        let Some((plan, access)) = way else { return Ok(entry) };
        self.live.keep_sender(&entry, &access);
        let lease = SendLease::from_now(&*self.ledger);
        Box::pin(self.send((entry, lease), &plan, &access, trace)).await
    }

    /// One call: reads first, `submitting`, the send, and what came of it.
    async fn send(
        &self,
        (entry, mut lease): (Entry, SendLease),
        plan: &Plan,
        access: &Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        let mut request = entry.state.request(&entry.intent).into_owned();
        // The reads before the send take turns among callers.
        let behalf = Behalf::Restore(entry.intent.caller.as_str().into());
        let with = With { behalf, ..access.with(trace.clone()) };

        let mut entry = entry;
        let mut first: Kinds = Vec::new();
        let mut read = Known::default();
        let between = entry.state.is_between_steps();
        if between || matches!(entry.state.status, Status::Accepted | Status::Checking) {
            if entry.state.status == Status::Accepted {
                let evidence = Evidence::new("gateway", Strength::Strong, self.journal.now());
                entry = self
                    .journal
                    .append(&entry, Cause::Gateway, vec![(EventKind::Checking, evidence)])
                    .await?;
            }
            let seen = Evidence::new("preflight", Strength::Strong, self.journal.now());
            if !between
                && !entry.state.steps.is_empty()
                && let Err(problem) = Box::pin(self.check_steps(&entry, plan, &with)).await
            {
                return self.refuse(&entry, plan, "preflight", problem).await;
            }
            let origin = origin_of(&entry).map(Cow::into_owned);
            let (seen, sent_as) =
                match Box::pin(self.ids.own_names(&request, origin.as_ref(), plan, &with)).await {
                    Err(problem) => return self.reject(&entry, Cause::Gateway, "ids", problem).await,
                    Ok(None) => (seen, None),
                    Ok(Some(Named { request: named, evidence })) => {
                        request = named.clone();
                        (seen.detail(evidence), Some(Box::new(named)))
                    }
                };
            let known = self.routing.learnt().facts(plan, &request).await;
            match Box::pin(self.prepare(plan, &request, &known, with.clone())).await {
                Err(problem) => return self.refuse(&entry, plan, "preflight", problem).await,
                Ok((prepared, clock_offset_ms)) => {
                    if !prepared.facts.is_empty() {
                        self.routing.learnt().note_facts(plan, &request, prepared.facts.clone()).await;
                        read = prepared.facts;
                    }
                    let notes = prepared.notes;
                    first.push((EventKind::Checked { notes, clock_offset_ms, sent_as }, seen));
                }
            }
        }

        let mut known = self.routing.learnt().facts(plan, &request).await;
        known.learn(read);
        let encoded = match plan.upstream.generation().encode(&request, &known) {
            Ok(encoded) => encoded,
            Err(problem) => return self.reject(&entry, Cause::Gateway, "translation", problem).await,
        };
        if entry.state.status != Status::Submitting {
            first.push((
                EventKind::Submitting { attempt: 1, step: entry.state.step },
                Evidence::new("gateway", Strength::Strong, self.journal.now()),
            ));
            lease.since = Instant::now();
            entry = self.journal.append(&entry, Cause::Gateway, first).await?;
        }
        crash::point("submitting");

        self.live.note_sent(entry.intent.id);
        let permit =
            Arc::new(SendPermit::new(Arc::clone(&self.journal), Arc::clone(&self.routing), entry, lease));
        let with = With { journal: Some(Arc::clone(&permit) as Arc<dyn restore_upstream::Journal>), ..with };
        let queue = self.routing.queue(&plan.pin.upstream);
        queue.quota().spend();
        let result = plan.upstream.send(&encoded.call, with).await;
        let kept_back = result.as_ref().is_err_and(Fault::is_kept_back);
        if kept_back {
            // A send is paid for as a poll is.
            queue.quota().give_back(&Behalf::Poll);
        }
        crash::point("answered");
        let entry = permit.entry();
        let mut kinds = self.outcome(plan, &request, result);
        if let Some((kind, _)) = kinds.first_mut()
            && let EventKind::Rejected { problem } = kind
        {
            if !kept_back {
                queue.quota().forgive();
            }
            *kind = reroute(&self.routing, &entry, plan, Problem::clone(problem)).await;
        }
        let entry = self.write_for_sure(entry, kinds).await;
        crash::point("recorded");
        entry
    }

    async fn reject(
        &self,
        entry: &Entry,
        cause: Cause,
        evidence: &str,
        problem: Problem,
    ) -> Result<Entry, LedgerError> {
        let evidence = Evidence::new(evidence, Strength::Strong, self.journal.now());
        self.journal
            .append(entry, cause, vec![(EventKind::Rejected { problem: Box::new(problem) }, evidence)])
            .await
    }

    /// Ends a restore that the upstream would refuse, or takes it its other way.
    async fn refuse(
        &self,
        entry: &Entry,
        plan: &Plan,
        evidence: &str,
        problem: Problem,
    ) -> Result<Entry, LedgerError> {
        let evidence = Evidence::new(evidence, Strength::Strong, self.journal.now());
        let kind = reroute(&self.routing, entry, plan, problem).await;
        self.journal.append(entry, Cause::Upstream, vec![(kind, evidence)]).await
    }

    /// The reads before a send.
    async fn prepare(
        &self,
        plan: &Plan,
        request: &RestoreRequest,
        known: &Known,
        with: With,
    ) -> Result<(Prepared, Option<i64>), Problem> {
        let now = self.journal.now();
        let ask = Prepare { request, known, baseline: plan.pin.baseline, server: None, now };
        let generation = plan.upstream.generation();
        let queue = self.routing.queue(&plan.pin.upstream);
        let mut reads = Reads::counted(queue.quota());
        let done = reads.until_done(&plan.upstream, &with, |answers| generation.prepare(&ask, answers)).await;
        let Some(done) = done else {
            let detail = "the reads before the restore did not come to an end";
            return Err(Problem::new(Code::Internal, detail));
        };
        let offset = reads.answers.iter().rev().find_map(|answer| self.offset(answer.as_ref().ok()?));
        done.map(|prepared| (prepared, offset)).map_err(|problem| {
            let problem = because(problem, reads.fault);
            let problem = match reads.answers.last() {
                Some(Ok(reply)) => by_the_clock(problem, generation, reply, self.journal.now()),
                _ => problem,
            };
            whose(problem, &plan.upstream)
        })
    }

    /// Upstream clock minus ours, in milliseconds.
    fn offset(&self, reply: &Reply) -> Option<i64> {
        reply.date.map(|date| date.micros_since(self.journal.now()) / 1_000)
    }
}

/// Why the last read brought nothing is known better from its fault than in the generation, which
/// only knows that no answer came.
fn because(problem: Problem, fault: Option<Fault>) -> Problem {
    match fault.filter(|fault| fault.proof.is_some() && problem.code == Code::UpstreamUnavailable) {
        // What a credential lacks it says best itself.
        Some(fault) if fault.problem.is_some() => fault.to_problem(),
        Some(fault) => Problem { detail: problem.detail, ..fault.to_problem() },
        None => problem,
    }
}

/// A signature holds for minutes of the upstream's own clock. One that is refused while the clocks
/// differ is no matter of credentials.
fn by_the_clock(problem: Problem, generation: &dyn Generation, reply: &Reply, now: Timestamp) -> Problem {
    let theirs = generation.signature_refusal(reply).and_then(|refusal| refusal.upstream_time.or(reply.date));
    let offset = theirs.map(|theirs| theirs.micros_since(now) / 1_000);
    let Some(offset) = offset.filter(|offset| offset.unsigned_abs() >= SKEW_MILLIS) else {
        return problem;
    };
    let detail = format!("the upstream's clock is {} s from ours, and {}", offset / 1_000, problem.detail);
    Problem { upstream: problem.upstream, ..Problem::new(Code::ClockSkew, detail) }
}
