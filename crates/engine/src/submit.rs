//! Taking a restore in: route, refuse what cannot be expressed, write row, locks and key in one
//! transaction, and only then hand it to a task of its own, which lives on when the caller hangs up.

use restore_generations::{Expressible, Known, Prepare, Step};
use restore_ledger::{Accept, Entry, NewEntry};
use restore_model::{
    Cause, Code, EventKind, Evidence, Intent, Problem, RestoreId, RestoreRequest, Status, Strength,
};
use restore_upstream::{Token, TraceContext};
use tokio::time::Instant;

use crate::route::{Idempotency, Plan};
use crate::{Engine, number, trace_ids, unavailable};

/// A request to restore, with who asks and how.
#[derive(Clone)]
pub struct Submission {
    /// What is to be restored.
    pub request: RestoreRequest,
    /// Who asks.
    pub caller: String,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// The caller's token.
    pub token: Option<Token>,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
}

/// A restore that was taken in, now or before.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// As it stands.
    pub entry: Entry,
    /// Whether it is the answer to an earlier, equal request.
    pub replayed: bool,
}

/// Why a restore was not taken in.
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

impl Engine {
    /// Takes a restore in and waits, for a while, for the upstream's answer.
    ///
    /// # Errors
    /// Every refusal before anything is sent. What the upstream refuses is not an error here: the
    /// restore then exists and is `rejected`.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        let plan = self.plan(&submission.request)?;
        if plan.idempotency == Idempotency::Required && submission.key.is_none() {
            return Err(Problem::new(Code::KeyRequired, "this route needs an Idempotency-Key").into());
        }
        let Some(token) = submission.token.clone() else {
            let detail = format!("upstream {} takes the caller's own token", plan.upstream.name());
            return Err(Problem::new(Code::CredentialMissing, detail).into());
        };

        let accepted = match self.accept(&submission, &plan).await? {
            Accept::Busy(holder) => {
                // A restore that has ended without anybody looking must not block its target.
                let holder = Box::pin(self.refresh(holder.intent.id, Some(token.clone()))).await?;
                if holder.state.status.is_final() {
                    Box::pin(self.accept(&submission, &plan)).await?
                } else {
                    Accept::Busy(holder)
                }
            }
            other => other,
        };
        let (entry, replayed) = match accepted {
            Accept::New(entry) => (entry, false),
            Accept::Replayed(entry) => (entry, true),
            Accept::KeyConflict(_) => {
                let detail = "this Idempotency-Key was used for a restore with other content";
                return Err(Problem::new(Code::KeyConflict, detail).into());
            }
            Accept::Busy(holder) => return Err(busy(&holder, &submission.caller)),
        };
        let until = Instant::now() + self.0.policy.answer;
        if !replayed || (entry.state.is_unsent() && entry.state.status != Status::Submitting) {
            let id = entry.intent.id;
            if let Some(answer) = self.start(entry, plan, token, submission.trace) {
                let entry = match tokio::time::timeout_at(until, answer).await {
                    Ok(Ok(entry)) => entry,
                    _ => self.get(id).await?,
                };
                return Ok(Submitted { entry, replayed });
            }
            return Ok(Submitted { entry: Box::pin(self.answered(id, until)).await?, replayed });
        }
        let entry = Box::pin(self.answered(entry.intent.id, until)).await?;
        Ok(Submitted { entry, replayed })
    }

    /// The way of a request that its generation can express.
    pub(crate) fn plan(&self, request: &RestoreRequest) -> Result<Plan, Problem> {
        let plan = self.0.routes.plan(request)?;
        let generation = plan.upstream.generation();
        if generation.capability(request.target.kind()).verdict == Expressible::Impossible {
            generation.encode(request, &Known::default())?;
        }
        Ok(plan)
    }

    async fn accept(&self, submission: &Submission, plan: &Plan) -> Result<Accept, Problem> {
        let now = self.now();
        let request = &submission.request;
        let (trace_id, span_id) = trace_ids(submission.trace.as_ref());
        let known = self.known(plan, request).await;
        let ask = Prepare { request, known: &known, baseline: plan.pin.baseline, now };
        // Where nothing is to be read first, the first send is written with the acceptance.
        let next = match plan.upstream.generation().prepare(&ask, &[]) {
            Step::Ask(_) => EventKind::Checking,
            Step::Done(_) => EventKind::Submitting { attempt: 1 },
        };
        let asked = Evidence::new("request", Strength::Strong, now);
        let kinds =
            vec![(EventKind::Accepted, asked), (next, Evidence::new("gateway", Strength::Strong, now))];
        let events = number(0, now, Cause::Caller, &trace_id, kinds);
        let intent = Intent {
            id: RestoreId::at(now),
            caller: submission.caller.clone(),
            fingerprint: request.fingerprint(),
            request: request.clone(),
            key: submission.key.clone(),
            route: plan.pin.clone(),
            created_at: now,
            trace_id,
            span_id,
        };
        let new = NewEntry {
            intent,
            events: events.clone(),
            key_window_seconds: self.0.policy.key_window.as_secs(),
            duplicate_window_seconds: self.0.policy.duplicate_window.as_secs(),
        };
        let accepted = self.0.ledger.accept(new).await.map_err(unavailable)?;
        if let Accept::New(entry) = &accepted {
            self.told(entry, &events);
        }
        Ok(accepted)
    }

    /// Waits until the upstream has answered a send that another request began, or the time for an
    /// answer is over.
    async fn answered(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        let open = |entry: &Entry| {
            matches!(entry.state.status, Status::Accepted | Status::Checking | Status::Submitting)
        };
        self.wait_while(id, until, open).await
    }
}

fn busy(holder: &Entry, caller: &str) -> Refusal {
    // Only who may see the holder is told its name.
    let visible = holder.intent.caller == caller;
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
