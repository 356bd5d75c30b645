//! Accepts a restore once: it finds the route, rejects what the generation cannot express, writes row, locks and key in
//! one transaction, and then sends the restore. All of it runs in a separate task, which continues when the caller
//! disconnects. Owns the number of keys of each caller.
//!
//! Stands above planning, the dispatcher, the poller and the takeover.

use std::sync::Arc;

use restore_generations::{Prepare, Step};
use restore_ledger::{Accept, AcceptClock, Entry, Ledger, NewEntry};
use restore_model::{
    Cause, Code, Effect, EventKind, Evidence, Intent, Origin, Problem, RestoreId, RestoreRequest, Status,
    Strength,
};
use restore_upstream::TraceContext;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::callers::{Action, Caller};
use crate::crash;
use crate::dispatch::{Dispatcher, SendLease};
use crate::journal::{Journal, not_found, number, unavailable};
use crate::planning::Planner;
use crate::polling::Poller;
use crate::response_cache::ResponseCache;
use crate::routing::route::Idempotency;
use crate::routing::{Access, Plan, Routing, differ};
use crate::schedule::Schedule;
use crate::takeover::Takeover;
use crate::tasks::Tasks;

mod key_counts;

use key_counts::KeyCounts;

/// A restore request with its caller.
#[derive(Clone)]
pub struct Submission {
    /// The canonical request.
    pub request: RestoreRequest,
    /// The caller.
    pub caller: Caller,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// The compatibility endpoint it came through; none for the canonical API.
    pub origin: Option<Origin>,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
}

impl Submission {
    /// A request to restore.
    #[must_use]
    pub const fn new(request: RestoreRequest, caller: Caller) -> Self {
        Self { request, caller, key: None, origin: None, trace: None }
    }
}

/// A restore that was accepted, now or earlier.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// As it stands.
    pub entry: Entry,
    /// True if it is the answer to an earlier, equal request.
    pub replayed: bool,
}

/// First message of the task of a restore.
struct Taken {
    entry: Entry,
    replayed: bool,
    /// Gets the restore as the upstream's answer left it, where this request is what sends it.
    answer: Option<oneshot::Receiver<Entry>>,
}

/// Reason why a restore was not accepted.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub problem: Problem,
    /// The restore that stands in the way, if the caller may see it.
    pub holder: Option<RestoreId>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, holder: None }
    }
}

/// Takes restores in.
pub(crate) struct Admission {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    planner: Arc<Planner>,
    schedule: Arc<Schedule>,
    dispatcher: Arc<Dispatcher>,
    poller: Arc<Poller>,
    takeover: Arc<Takeover>,
    responses: Arc<ResponseCache>,
    tasks: Arc<Tasks>,
    keys: KeyCounts,
}

impl Admission {
    #[expect(clippy::too_many_arguments, reason = "each is a component that it stands on")]
    pub(crate) fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        planner: Arc<Planner>,
        schedule: Arc<Schedule>,
        dispatcher: Arc<Dispatcher>,
        poller: Arc<Poller>,
        takeover: Arc<Takeover>,
        responses: Arc<ResponseCache>,
        tasks: Arc<Tasks>,
    ) -> Self {
        let keys = KeyCounts::of(Arc::clone(&ledger));
        Self {
            journal,
            ledger,
            routing,
            planner,
            schedule,
            dispatcher,
            poller,
            takeover,
            responses,
            tasks,
            keys,
        }
    }

    /// Takes a restore in and waits, for a while, for the upstream's answer.
    ///
    /// # Errors
    /// Every refusal before anything is sent. What the upstream refuses is not an error here: the
    /// restore then exists and is `rejected`.
    pub(crate) async fn submit(self: &Arc<Self>, mut submission: Submission) -> Result<Submitted, Refusal> {
        let Submission { request, caller, origin, .. } = &submission;
        let plan = self.planner.permitted_plan(caller, Action::Restore, request, origin.as_ref())?;
        if plan.idempotency == Idempotency::Required && submission.key.is_none() {
            return Err(
                Problem::new(Code::IdempotencyKeyRequired, "this route needs an Idempotency-Key").into()
            );
        }
        submission.origin = self.planner.home_for(caller, request, origin.as_ref(), &plan);
        let until = Instant::now() + self.routing.rules().policy.answer;
        self.submit_by(submission, plan, until).await
    }

    /// Takes a restore in, by this way.
    async fn submit_by(
        self: &Arc<Self>,
        submission: Submission,
        plan: Plan,
        until: Instant,
    ) -> Result<Submitted, Refusal> {
        let Some(access) = Access::to(&plan.upstream, submission.caller.token.clone()) else {
            let detail = format!("upstream {} takes the caller's own token", plan.upstream.name());
            return Err(Problem::new(Code::CredentialMissing, detail).into());
        };

        if self.journal.recovery().now().is_some() {
            let detail = "the ledger may be an older copy of itself; nothing was sent";
            return Err(Problem::new(Code::RecoveryMode, detail).after(60).into());
        }
        if self.tasks.stop().is_cancelled() {
            return Err(Problem::new(Code::ShuttingDown, "the gateway is stopping").after(5).into());
        }

        // In a task of its own from the first write on: a caller that hangs up must not leave a
        // restore behind that is written down as being sent and never is.
        let (taken, take) = oneshot::channel();
        let admission = Arc::clone(self);
        self.tasks.spawn(async move { admission.take_in(submission, plan, access, taken).await });
        let lost =
            || Problem::new(Code::Internal, "the restore's task has ended early").effect(Effect::Possible);
        let Taken { entry, replayed, answer } = take.await.map_err(|_| lost())??;
        let id = entry.intent.id;
        let possible = |problem: Problem| problem.effect(Effect::Possible);
        let answered = match answer {
            None => Box::pin(self.answered(id, until)).await.map_err(possible),
            Some(answer) => match tokio::time::timeout_at(until, answer).await {
                Ok(Ok(entry)) => Ok(entry),
                Ok(Err(_)) => self.given_up(id).await,
                Err(_) => self.journal.get(id).await.map_err(possible),
            },
        };
        // It exists, and may have been sent: that it cannot be shown now must not hide that.
        let refusal = |problem| Refusal { problem, holder: Some(id) };
        answered.map(|entry| Submitted { entry, replayed }).map_err(refusal)
    }

    /// A restore whose task could not write it on: refused while nothing was sent.
    async fn given_up(&self, id: RestoreId) -> Result<Entry, Problem> {
        let entry = self.journal.get(id).await.map_err(|problem| problem.effect(Effect::Possible))?;
        if entry.state.is_unsent() {
            let detail = "the ledger went away before the restore was sent; nothing was sent";
            return Err(Problem::new(Code::LedgerUnavailable, detail).after(5));
        }
        Ok(entry)
    }

    /// Writes a restore, notifies the waiting caller, and carries it out if this process holds it.
    async fn take_in(
        self: Arc<Self>,
        submission: Submission,
        plan: Plan,
        access: Access,
        taken: oneshot::Sender<Result<Taken, Refusal>>,
    ) {
        let lease = SendLease::from_now(&*self.ledger);
        // The caller may have disconnected at any point; the restore continues all the same.
        let (entry, replayed) = match self.accept_unless_busy(&submission, &plan).await {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let _ = taken.send(Err(refusal));
                return;
            }
        };
        self.responses.forget();
        // An equal request takes up what an earlier process accepted and could not send, or not to its end.
        let waits = matches!(entry.state.status, Status::Accepted | Status::Checking);
        let open = !replayed || waits || entry.state.is_between_steps();
        let elsewhere = replayed || entry.state.rerouted.is_some();
        let plan = if elsewhere { self.routing.rules().routes.pinned(&entry) } else { Some(plan) };
        let id = entry.intent.id;
        let plan = plan.filter(|_| open && self.dispatcher.claim(id));
        // What another replica is about to send is its to send.
        let ours = plan.is_some() && (!replayed || self.dispatcher.held(id).await);
        let (Some(plan), true) = (plan, ours) else {
            // A repeated request brings a token: it refreshes a restore without a poller.
            if replayed && matches!(entry.state.status, Status::Running | Status::Unknown) {
                self.schedule.poll(&entry, self.routing.access(&entry, submission.caller.token));
            }
            let _ = taken.send(Ok(Taken { entry, replayed, answer: None }));
            return;
        };
        // To the upstream that it goes to, which need not be the one that the routes lead to now.
        let access = match elsewhere {
            true => self.routing.access(&entry, submission.caller.token.clone()).unwrap_or(access),
            false => access,
        };
        let (answered, answer) = oneshot::channel();
        let _ = taken.send(Ok(Taken { entry: entry.clone(), replayed, answer: Some(answer) }));
        self.dispatcher.carry_out((entry, lease), &plan, access, submission.trace, answered).await;
    }

    async fn accept_unless_busy(
        &self,
        submission: &Submission,
        plan: &Plan,
    ) -> Result<(Entry, bool), Refusal> {
        let accepted = match self.accept(submission, plan).await? {
            Accept::Busy(holder) => {
                // A restore that has ended without anybody looking must not block its target. A token is for what its caller
                // may see, in the project that it is for, and is neither shown nor kept for anything else.
                let sees = submission.caller.sees(&holder)
                    && holder.intent.request.project_id == submission.request.project_id;
                let token = submission.caller.token.clone().filter(|_| sees);
                let holder = Box::pin(self.poller.refresh(holder, token, None)).await?;
                if holder.state.status.is_final() {
                    Box::pin(self.accept(submission, plan)).await?
                } else {
                    Accept::Busy(holder)
                }
            }
            other => other,
        };
        match accepted {
            Accept::New(entry) => Ok((entry, false)),
            Accept::Replayed(entry) => Ok((entry, true)),
            Accept::KeyConflict(_) => {
                let detail = "this Idempotency-Key was used for a restore with other content";
                Err(Problem::new(Code::IdempotencyKeyConflict, detail).into())
            }
            Accept::Busy(holder) => Err(busy(&holder, &submission.caller)),
            Accept::TooManyKeys => {
                let most = self.routing.rules().policy.max_keys_per_caller;
                let detail = format!("this caller has {most} keys; nothing was started");
                Err(Problem::new(Code::TooManyIdempotencyKeys, detail).after(60).into())
            }
        }
    }

    /// An earlier restore, which an earlier process may have left.
    async fn taken_up(&self, entry: Entry) -> Result<Entry, Problem> {
        let id = entry.intent.id;
        let entries = self.takeover.taken_up(vec![entry]).await?;
        entries.into_iter().next().ok_or_else(|| not_found(id))
    }

    async fn accept(&self, submission: &Submission, plan: &Plan) -> Result<Accept, Problem> {
        let now = self.journal.now();
        let request = &submission.request;
        let (trace_id, span_id) = trace_ids(submission.trace.as_ref());
        let known = self.routing.learnt().facts(plan, request).await;
        let ask = Prepare { request, known: &known, baseline: plan.pin.baseline, server: None, now };
        // Where nothing is to be read first, the first send is written with the acceptance.
        let reads_first = !plan.pin.steps.is_empty() || differ(submission.origin.as_ref(), plan);
        let fallback = self
            .planner
            .fallback_for(&submission.caller, request, submission.origin.as_ref(), plan)
            .map(Box::new);
        // Refused a while ago: the cloud is not asked again for each restore.
        let refused = self.routing.learnt().closed(plan, request).await.zip(fallback.clone());
        let next = match plan.upstream.generation().prepare(&ask, &[]) {
            _ if let Some((refused, to)) = refused => {
                EventKind::Rerouted { to, problem: Box::new(Problem::clone(&refused)) }
            }
            Step::Done(_) if !reads_first => EventKind::Submitting { attempt: 1, step: 0 },
            _ => EventKind::Checking,
        };
        let asked = Evidence::new("request", Strength::Strong, now);
        let kinds =
            vec![(EventKind::Accepted, asked), (next, Evidence::new("gateway", Strength::Strong, now))];
        let mut events = number(0, now, Cause::Caller, &trace_id, kinds);
        let mut intent = Intent {
            id: RestoreId::at(now),
            caller: submission.caller.account(request),
            fingerprint: String::new(),
            request: request.clone(),
            key: submission.key.clone(),
            origin: submission.origin.clone(),
            route: plan.pin.clone(),
            fallback,
            created_at: now,
            trace_id,
            span_id,
        };
        intent.fingerprint = intent.own_fingerprint();
        let reaching_back = |window| self.journal.reaching_back(window).as_secs();
        let new = NewEntry {
            intent,
            events: events.clone(),
            idempotency_key_ttl_seconds: reaching_back(plan.key_window),
            dedup_window_seconds: reaching_back(plan.duplicate_window.max(submission.caller.repeatable())),
            may_keep_key: self.may_keep_key(submission).await?,
            clock: Some(AcceptClock(Arc::clone(self.journal.clock()))),
        };
        crash::point("before_accept");
        let accepted = self.journal.accept(new).await.map_err(unavailable)?;
        if let Accept::New(entry) = &accepted {
            crash::point("accepted");
            events.iter_mut().for_each(|event| event.at = entry.intent.created_at);
            self.journal.notify_committed(entry, &events);
            if submission.key.is_some() {
                self.keys.count_one_more(&entry.intent.caller).await;
            }
        }
        Ok(match accepted {
            Accept::Replayed(entry) => Accept::Replayed(self.taken_up(entry).await?),
            Accept::Busy(holder) => Accept::Busy(self.taken_up(holder).await?),
            other => other,
        })
    }

    /// True if the caller may have one more key.
    async fn may_keep_key(&self, submission: &Submission) -> Result<bool, Problem> {
        let most = self.routing.rules().policy.max_keys_per_caller;
        if submission.key.is_none() {
            return Ok(true);
        }
        self.keys.is_below(most, &submission.caller.account(&submission.request)).await
    }

    /// Waits until the upstream has answered a send that another request began, or the time for an
    /// answer is over.
    async fn answered(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        let open = |entry: &Entry| {
            matches!(entry.state.status, Status::Accepted | Status::Checking | Status::Submitting)
        };
        self.journal.wait_while(id, until, open).await
    }
}

/// The trace id of a context, zeros where there is none.
fn trace_ids(trace: Option<&TraceContext>) -> (String, String) {
    trace
        .map_or_else(|| ("0".repeat(32), "0".repeat(16)), |trace| (trace.trace_id_hex(), trace.span_id_hex()))
}

fn busy(holder: &Entry, caller: &Caller) -> Refusal {
    // Only a caller that may see the holder learns its ID.
    let visible = caller.sees(holder);
    let detail = if visible {
        format!("restore {} is {}", holder.intent.id, holder.state.status.as_str())
    } else {
        "another caller's restore is not finished".to_owned()
    };
    Refusal {
        problem: Problem::new(Code::TargetBusy, detail).after(10),
        holder: visible.then_some(holder.intent.id),
    }
}
