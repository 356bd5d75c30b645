//! Answers questions that change nothing: checks, previews, and the capabilities of each upstream.

use std::sync::Arc;

use restore_generations::{
    Answer, Backup, Call, Check, CheckResult, Encoded, Known, Prepare, Reply, Step, Unread, errors, matrix,
    source_api,
};
use restore_model::{Code, Effect, Origin, Problem, RestoreRequest, TargetKind};
use restore_upstream::{TraceContext, With};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ProxiedReads;
use crate::callers::{Action, Caller};
use crate::dispatch::requests;
use crate::id_mapping::{IdMapping, PLACEHOLDER};
use crate::journal::Journal;
use crate::pacing::Reads;
use crate::planning::{Planner, says_closed};
use crate::routing::{Access, Plan, Routing, differ, whose};

/// Seconds after which a check that was not answered may be asked again.
const RETRY_CHECK: u32 = 5;

/// The answer to "may this restore be done?".
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// True if it may; `None` when a question that matters could not be asked.
    pub restorable: Option<bool>,
    /// The way it would take.
    pub upstream: String,
    /// The generation of that way.
    pub generation: &'static str,
    /// Each question.
    pub checks: Vec<Check>,
    /// Why a question that matters could not be asked, where the cloud did not answer it.
    pub unasked: Option<Problem>,
    /// The backup, where it can be read.
    pub backup: Option<Backup>,
}

/// The request that the real call would send.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The way and the reason.
    pub upstream: String,
    /// Its generation.
    pub generation: &'static str,
    /// Which rule matched.
    pub reason: String,
    /// The absolute URL.
    pub url: String,
    /// The headers, credentials redacted.
    pub headers: Vec<(String, String)>,
    /// The call itself.
    pub encoded: Encoded,
    /// The calls after it, of a server that is restored disk by disk: the URL of each and the call.
    pub further: Vec<(String, Call)>,
    /// Reads that come first: path template, why.
    pub reads: Vec<(String, &'static str)>,
    /// SHA-256 over method, URL and body.
    pub digest: String,
    /// Backups whose IDs in that generation need a read; a placeholder stands for them.
    pub unknown_names: usize,
}

/// Asks clouds what changes nothing.
pub(crate) struct Inquiries {
    journal: Arc<Journal>,
    routing: Arc<Routing>,
    planner: Arc<Planner>,
    ids: Arc<IdMapping>,
    proxied: Arc<ProxiedReads>,
}

impl Inquiries {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        routing: Arc<Routing>,
        planner: Arc<Planner>,
        ids: Arc<IdMapping>,
        proxied: Arc<ProxiedReads>,
    ) -> Self {
        Self { journal, routing, planner, ids, proxied }
    }

    /// Asks whether a restore may be done; `origin` is the compatibility endpoint that the question came through.
    ///
    /// # Errors
    /// When the caller may not ask, no route takes it, its generation cannot express it, or there is no token to ask with.
    pub(crate) async fn check(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<CheckReport, Problem> {
        let plan = self.planner.permitted_plan(caller, Action::Check, request, origin)?;
        let origin = self.planner.home_for(caller, request, origin, &plan);
        let asks = (caller, Action::Check);
        let (plan, origin) = self.planner.way_now(asks, request, origin.as_ref(), plan)?;
        match Box::pin(self.check_by(request, origin.as_ref(), &plan, caller, trace.clone())).await {
            Err(refused) => {
                let (plan, origin) =
                    self.planner.way_after(refused, asks, request, origin.as_ref(), &plan).await?;
                Box::pin(self.check_by(request, Some(&origin), &plan, caller, trace)).await
            }
            report => report,
        }
    }

    /// Asks by this way; one that is closed to the project is an error where there is another.
    async fn check_by(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<CheckReport, Problem> {
        let Some(access) = Access::to(&plan.upstream, caller.token.clone()) else {
            let detail = format!("upstream {} is asked with the caller's own token", plan.upstream.name());
            return Err(Problem::new(Code::CredentialMissing, detail));
        };
        let behalf = caller.asks_of(&request.project_id);
        let with = With { behalf: behalf.clone(), ..access.with(trace.clone()) };
        let generation = plan.upstream.generation();
        let queue = self.routing.queue(&plan.pin.upstream);
        queue.quota().refuse_while_quiet(plan.upstream.name())?;
        let mut checks = Vec::new();
        let mut unasked = None;
        let parts = requests(&plan.pin, request);
        let server = (!plan.pin.steps.is_empty()).then(|| request.target.id());
        // What is restored disk by disk has no one backup there.
        let mut source = (parts.len() == 1).then(|| request.source.backup_id.clone());
        for request in parts {
            let named = Box::pin(self.ids.own_names(&request, origin, plan, &with)).await?;
            let request = named.map_or(request, |named| named.request);
            source = source.map(|_| request.source.backup_id.clone());
            let known = self.routing.learnt().facts(plan, &request).await;
            let ask =
                Prepare { request: &request, known: &known, baseline: true, server, now: self.journal.now() };
            let mut reads = Reads::counted(queue.quota());
            let done =
                reads.until_done(&plan.upstream, &with, |answers| generation.check(&ask, answers)).await;
            let Some(done) = done else {
                return Err(Problem::new(Code::Internal, "the reads of a check did not come to an end"));
            };
            let refusal = |reply: &Reply| {
                let problem = restore_generations::classify(reply).into_problem();
                // A refused credential answers nothing at all, and neither does a closed generation.
                let closed = problem.code == Code::GenerationRetired && plan.fallback_upstream.is_some();
                (reply.status == 401 || closed).then(|| whose(problem, &plan.upstream))
            };
            let said = || done.iter().find_map(says_closed).filter(|_| plan.fallback_upstream.is_some());
            if let Some(refused) = reads.answers.iter().flatten().find_map(refusal).or_else(said) {
                return Err(refused);
            }
            if done.iter().any(|check| check.result == CheckResult::NotRun) {
                unasked =
                    unasked.or_else(|| reads.answers.iter().find_map(|answer| unanswered(answer, plan)));
            }
            checks.extend(done);
        }
        let restorable = if checks.iter().any(|check| check.result == CheckResult::Failed) {
            Some(false)
        } else if checks.iter().any(|check| check.result == CheckResult::NotRun) {
            None
        } else {
            Some(true)
        };
        // What a person wants to know before anything is overwritten: what by, and how old that is.
        let backup = match source {
            None => None,
            Some(source) => {
                let call = generation.read_backup(&request.project_id, &source);
                let read = self.proxied.ask_in_turn(&plan.upstream, &call, &access, behalf, trace).await;
                read.ok().and_then(|reply| generation.backup(&reply))
            }
        };
        let (upstream, generation) = (plan.pin.upstream.clone(), generation.name());
        Ok(CheckReport { restorable, upstream, generation, checks, unasked, backup })
    }

    /// Shows what a restore would send. Nothing is sent, not even a read, and it fails exactly where
    /// the real call would fail before its first byte.
    ///
    /// Through the compatibility endpoint of another generation (`origin`), backups have the names of the operator's table. Where it
    /// has none, only reads could tell, and a placeholder stands for the name: the one that they came with is not sent.
    ///
    /// # Errors
    /// When the caller may not ask, no route takes it or its generation cannot express it.
    pub(crate) async fn preview(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        caller: &Caller,
    ) -> Result<Preview, Problem> {
        let plan = self.planner.permitted_plan(caller, Action::Preview, request, origin)?;
        let (plan, origin) = self.planner.way_now((caller, Action::Preview), request, origin, plan)?;
        let strange = origin.as_ref().filter(|origin| differ(Some(origin), &plan));
        let by_table = strange.map(|origin| self.ids.by_table(request, origin, &plan));
        let asked = request;
        let (request, unknown) = by_table.as_ref().map_or((request, 0), |(named, open)| (named, *open));
        let mut known = self.routing.learnt().facts(&plan, request).await;
        let mut reads = self.first_reads(&plan, request, &known);
        if let Some(origin) = strange {
            reads.splice(0..0, self.ids.reads_of_names(request, origin, &plan));
        }
        // An ID that needs a read is a placeholder here; the real call reads it first.
        for fact in plan.upstream.generation().wanted_facts(request) {
            if let (None, Ok(placeholder)) = (known.get(fact), PLACEHOLDER.parse()) {
                known.learn(Known::of(fact, placeholder));
            }
        }
        let mut hash = Sha256::new();
        let mut calls = Vec::new();
        for request in requests(&plan.pin, request) {
            let encoded = plan.upstream.generation().encode(&request, &known)?;
            let url = plan.upstream.url(&encoded.call).unwrap_or_default();
            hash.update(encoded.call.method.as_str());
            hash.update([0]);
            hash.update(&url);
            hash.update([0]);
            hash.update(encoded.call.body.as_deref().unwrap_or_default());
            calls.push((url, encoded));
        }
        // What its own source API says and the call does not is lost on the way there, too.
        let mut lost = match strange {
            Some(_) => plan.upstream.generation().encode(asked, &known)?.dropped_fields,
            None => Vec::new(),
        };
        let further = calls.split_off(calls.len().min(1));
        let Some((url, mut encoded)) = calls.pop() else {
            return Err(Problem::new(Code::UnsupportedByGeneration, "there is no disk to restore"));
        };
        lost.retain(|loss| !encoded.dropped_fields.contains(loss));
        encoded.dropped_fields.extend(lost);
        if !plan.pin.steps.is_empty() {
            encoded.dropped_fields.extend(matrix::DISK_BY_DISK);
        }
        Ok(Preview {
            upstream: plan.pin.upstream,
            generation: plan.upstream.generation().name(),
            reason: plan.pin.reason,
            url,
            headers: plan.upstream.headers(&encoded.call),
            encoded,
            further: further.into_iter().map(|(url, encoded)| (url, encoded.call)).collect(),
            reads,
            digest: hex::encode(hash.finalize()),
            unknown_names: unknown,
        })
    }

    fn first_reads(
        &self,
        plan: &Plan,
        request: &RestoreRequest,
        known: &Known,
    ) -> Vec<(String, &'static str)> {
        let ask =
            Prepare { request, known, baseline: plan.pin.baseline, server: None, now: self.journal.now() };
        match plan.upstream.generation().prepare(&ask, &[]) {
            Step::Ask(call) => vec![(call.template.to_owned(), "read first, to compare later reads with")],
            Step::Done(_) => Vec::new(),
        }
    }

    /// Targets that each configured upstream can express, and the verdict for each source API at its routed upstreams.
    #[must_use]
    pub(crate) fn capabilities(&self) -> Value {
        let rules = self.routing.rules();
        let upstreams: Vec<Value> = rules
            .routes
            .upstreams()
            .filter(|upstream| rules.routes.lead_to(upstream))
            .map(|upstream| {
                let generation = upstream.generation();
                let targets: Vec<Value> = TargetKind::ALL
                    .into_iter()
                    .map(|target| {
                        let able = generation.capability(target);
                        let lost = if generation.restores(target) { able.lost } else { &[][..] };
                        json!({
                            "target": target.as_str(),
                            "verdict": able.verdict.as_str(),
                            "conditions": able.conditions,
                            "lost": lost,
                        })
                    })
                    .collect();
                json!({
                    "name": upstream.name(),
                    "generation": generation.name(),
                    "targets": targets,
                    "progress": generation.tells_progress(),
                    "check": if generation.checks_natively() { "native" } else { "by_reads" },
                })
            })
            .collect();
        let source_apis: Vec<Value> = source_api::ALL
            .iter()
            .map(|endpoint| {
                let routed = rules.routes.of_source_api(endpoint.source_api());
                let upstreams: Vec<Value> = routed
                    .iter()
                    .map(|upstream| {
                        let generation = upstream.generation();
                        let cells = matrix::cells(*endpoint, generation);
                        json!({
                            "name": upstream.name(),
                            "generation": generation.name(),
                            "targets": cells.iter().map(cell).collect::<Vec<_>>(),
                        })
                    })
                    .collect();
                json!({ "source_api": endpoint.source_api(), "backup_ids_of": endpoint.generation(), "upstreams": upstreams })
            })
            .collect();
        let keys = json!({
            "header": "Idempotency-Key",
            "window_seconds": rules.routes.longest_key_window().as_secs(),
            "max_keys_per_caller": rules.policy.max_keys_per_caller,
        });
        json!({ "upstreams": upstreams, "source_apis": source_apis, "idempotency": keys })
    }
}

/// Why a read of a check has no answer to its question, if it has none. What is not there is an answer.
fn unanswered(answer: &Answer, plan: &Plan) -> Option<Problem> {
    let name = plan.upstream.name();
    match answer {
        Ok(reply) if (200..300).contains(&reply.status) => reply.json().is_none().then(|| {
            let detail = format!("what upstream {name} answered to a check cannot be read");
            Problem::new(Code::UpstreamUnavailable, detail)
        }),
        Ok(reply) if errors::not_there(reply) => None,
        Ok(reply) => {
            let verdict = restore_generations::classify(reply);
            let refused = verdict.refusal().is_some();
            let problem = whose(verdict.into_problem(), &plan.upstream);
            // A refusal of the question stays what it is.
            if refused {
                return Some(problem.effect(Effect::None));
            }
            let detail = format!("upstream {name} did not answer a check: {}", problem.detail);
            let pause = problem.retry_after.unwrap_or(RETRY_CHECK);
            Some(Problem::new(Code::UpstreamUnavailable, detail).after(pause))
        }
        Err(Unread::NoAnswer(why)) => {
            let detail = format!("upstream {name} did not answer a check: {why}");
            Some(Problem::new(Code::UpstreamUnavailable, detail).after(RETRY_CHECK))
        }
        // The configuration is the cause, so another attempt does not help.
        Err(Unread::NoEndpoint | Unread::NoCredential) => None,
    }
}

/// One cell of source API and generation.
#[must_use]
pub fn cell(cell: &matrix::Cell) -> Value {
    json!({
        "target": cell.target.as_str(),
        "verdict": cell.verdict.as_str(),
        "conditions": cell.conditions,
        "lost": cell.lost,
    })
}
