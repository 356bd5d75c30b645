//! A server, disk by disk: where a route allows it and the upstream restores disks alone, the restore of a server is
//! carried out as one restore of each of its disks.
//!
//! The whole is an entry like any other and holds the server and all its disks until it has ended; it sends nothing. Each part is
//! an entry of its own, with a send, an outcome and evidence of its own, under a name that follows from the whole's: so
//! whoever goes on after a crash finds what there is and takes nothing in twice. Parts are sent one after the other, and
//! no more once one is refused. What the whole is called follows from its parts alone ([`sum`], a pure function):
//! never succeeded unless all are.

use std::time::Duration;

use restore_generations::{Check, CheckResult, Known, Prepare, codes};
use restore_ledger::{Accept, Entry, LedgerError, NewEntry};
use restore_model::state::PARTS;
use restore_model::{
    Cause, Code, Effect, EventKind, Evidence, Intent, Mapping, Problem, RestoreId, RestoreRequest, RoutePin,
    Source, State, Status, Strength, Target,
};
use restore_upstream::{Token, TraceContext};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::access::Access;
use crate::dispatch::Kinds;
use crate::record::Hold;
use crate::replay::Reads;
use crate::route::Plan;
use crate::{Engine, number};

/// What stands for the status of a part that will not be sent.
const NOT_SENT: &str = "not_sent";
/// Longest wait for the answer to one part's send, and for whoever sends it; far beyond any time that settings allow.
const LONG: Duration = Duration::from_secs(2 * 60 * 60);
/// How long a part stands for its name. The ledger keeps names of what is unfinished for ever.
const NAME_WINDOW: u64 = 30 * 24 * 60 * 60;

impl Engine {
    /// Sends the parts of a whole that were not sent yet, and tells how the whole stands.
    pub(crate) async fn conduct(
        &self,
        whole: Entry,
        plan: &Plan,
        access: &Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        // As it is under the claim: it may have been decided meanwhile that no more is sent.
        let id = whole.intent.id;
        let mut whole = self.0.ledger.get(id).await?.ok_or(LedgerError::NotFound(id))?;
        if whole.state.status.is_final() || is_decided(&whole) {
            return self.sum_up_now(whole, false).await;
        }
        if matches!(whole.state.status, Status::Accepted | Status::Checking) {
            if let Err(problem) = self.check_parts(&whole, plan, access, trace.clone()).await {
                let evidence = Evidence::new("preflight", Strength::Strong, self.now());
                let kind = EventKind::Rejected { problem: Box::new(problem) };
                return self.write(&whole, Cause::Upstream, vec![(kind, evidence)]).await;
            }
            let evidence = Evidence::new("gateway", Strength::Strong, self.now());
            let kinds = vec![(EventKind::Submitting { attempt: 1 }, evidence)];
            whole = self.write(&whole, Cause::Gateway, kinds).await?;
        }
        if !tell(&whole) {
            // More may have been sent than is written here.
            return Ok(whole);
        }
        for index in 0..whole.intent.request.target.mappings().len() {
            if self.0.stop.is_cancelled() || self.recovery().is_some() {
                // What is left is for the next process, or for a person, to go on with.
                return Ok(whole);
            }
            let part = self.send_part(&whole, index, plan, access, trace.clone()).await?;
            match part.state.status {
                Status::Accepted | Status::Checking | Status::Submitting => return Ok(whole),
                Status::Rejected | Status::Cancelled | Status::Expired | Status::NotApplied => break,
                Status::Running | Status::Unknown | Status::Succeeded | Status::Failed => {}
            }
            whole = self.sum_up_now(whole, true).await?;
        }
        self.sum_up_now(whole, false).await
    }

    /// Tells how a whole stands, also where another look at its parts came in between.
    async fn sum_up_now(&self, mut whole: Entry, more_to_come: bool) -> Result<Entry, LedgerError> {
        let id = whole.intent.id;
        loop {
            match self.sum_up(whole, more_to_come).await {
                Err(LedgerError::Stale(_)) => {
                    whole = self.0.ledger.get(id).await?.ok_or(LedgerError::NotFound(id))?;
                }
                other => return other,
            }
        }
    }

    /// Whether each part would be taken. One that would not is found before another one is sent, as far as reads can tell.
    async fn check_parts(
        &self,
        whole: &Entry,
        plan: &Plan,
        access: &Access,
        trace: Option<TraceContext>,
    ) -> Result<(), Problem> {
        let with = access.with(trace);
        let generation = plan.upstream.generation();
        let lane = self.lane(&plan.pin.upstream);
        for (index, mapping) in whole.intent.request.target.mappings().iter().enumerate() {
            let request = of_disk(&whole.intent.request, mapping);
            let of_it = |problem: Problem| {
                let detail = format!("disk {} (volumes[{index}]): {}", mapping.volume_id, problem.detail);
                Problem { detail, ..problem }
            };
            let origin = whole.intent.origin.as_ref();
            let named = self.own_names(&request, origin, plan, &with).await.map_err(of_it)?;
            let request = named.map_or(request, |named| named.request);
            let known = Known::default();
            let ask = Prepare { request: &request, known: &known, baseline: true, now: self.now() };
            let mut reads = Reads::counted(&lane.budget);
            let checks =
                reads.until_done(&plan.upstream, &with, |answers| generation.check(&ask, answers)).await;
            if let Some(failed) = checks.iter().flatten().find(|check| check.result == CheckResult::Failed) {
                return Err(of_it(obstacle(failed)));
            }
        }
        Ok(())
    }

    /// One part as its send left it; sent now if it was not.
    async fn send_part(
        &self,
        whole: &Entry,
        index: usize,
        plan: &Plan,
        access: &Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        let intent = part(&whole.intent, index, self.now());
        let id = intent.id;
        let hold = Hold { lease: self.0.ledger.lease(), since: Instant::now() };
        let entry = match self.0.ledger.get(id).await? {
            Some(entry) => entry,
            None => self.take_part_in(intent).await?,
        };
        let unsent = matches!(entry.state.status, Status::Accepted | Status::Checking);
        if unsent && self.claim(id) && self.held(id).await {
            let (answered, _nobody_waits) = oneshot::channel();
            let plan = Plan { pin: entry.intent.route.clone(), ..plan.clone() };
            Box::pin(self.carry_out((entry, hold), &plan, access.clone(), trace, answered)).await;
        }
        let open = |entry: &Entry| {
            matches!(entry.state.status, Status::Accepted | Status::Checking | Status::Submitting)
        };
        match self.wait_while(id, Instant::now() + LONG, open).await {
            Ok(entry) => Ok(entry),
            Err(problem) => Err(LedgerError::Unavailable(problem.detail)),
        }
    }

    async fn take_part_in(&self, intent: Intent) -> Result<Entry, LedgerError> {
        let now = self.now();
        let id = intent.id;
        let asked = Evidence::new(PARTS, Strength::Strong, now);
        let kinds = vec![(EventKind::Accepted, asked.clone()), (EventKind::Checking, asked)];
        let events = number(0, now, Cause::Gateway, &intent.trace_id, kinds);
        let new = NewEntry {
            intent,
            events: events.clone(),
            key_window_seconds: NAME_WINDOW,
            duplicate_window_seconds: 0,
            may_keep_key: true,
        };
        match self.enter(new).await? {
            Accept::New(entry) => {
                self.told(&entry, &events);
                Ok(entry)
            }
            Accept::Replayed(entry) | Accept::Busy(entry) => Ok(entry),
            Accept::KeyConflict(_) | Accept::TooManyKeys => Err(LedgerError::Stale(id)),
        }
    }

    /// Reads the parts with a caller's token where nobody follows them, and tells how the whole stands.
    pub(crate) async fn refresh_parts(
        &self,
        whole: Entry,
        token: Option<Token>,
        trace: Option<TraceContext>,
    ) -> Result<Entry, Problem> {
        for part in self.parts_of(&whole).await.map_err(crate::unavailable)?.into_iter().flatten() {
            Box::pin(self.refresh(part, token.clone(), trace.clone())).await?;
        }
        let id = whole.intent.id;
        match self.sum_up_if_nobody_does(whole).await {
            Ok(entry) => Ok(entry),
            Err(LedgerError::Stale(_)) => self.get(id).await,
            Err(error) => Err(crate::unavailable(error)),
        }
    }

    /// Tells how a whole stands. While somebody sends its parts, or will, those that are not there yet are still to come.
    /// Nobody will where its token is gone; that is decided under the claim that a sender would need.
    pub(crate) async fn sum_up_if_nobody_does(&self, whole: Entry) -> Result<Entry, LedgerError> {
        let id = whole.intent.id;
        if is_decided(&whole) {
            return self.sum_up(whole, false).await;
        }
        let will = self.access(&whole.intent, None).is_some() || self.recovery().is_some();
        if will || !self.claim(id) {
            return self.sum_up(whole, true).await;
        }
        let decided = async {
            let ours = self.0.ledger.take(id).await?;
            let whole = self.0.ledger.get(id).await?.ok_or(LedgerError::NotFound(id))?;
            self.sum_up(whole, !ours).await
        };
        let decided = decided.await;
        self.unclaim(id);
        decided
    }

    /// After a part has moved on: its whole may have.
    pub(crate) fn nudge(&self, part: &Entry) {
        if let Some(whole) = part.intent.part_of {
            self.look_at_parts(whole);
        }
    }

    /// Tells how a whole stands, in its own time.
    pub(crate) fn look_at_parts(&self, whole: RestoreId) {
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            for _ in 0..4 {
                let Ok(Some(entry)) = engine.0.ledger.get(whole).await else { return };
                match engine.sum_up_if_nobody_does(entry).await {
                    Err(LedgerError::Stale(_)) => {}
                    // What could not be written now is written by the next look at it.
                    _ => return,
                }
            }
        });
    }

    pub(crate) async fn parts_of(&self, whole: &Entry) -> Result<Vec<Option<Entry>>, LedgerError> {
        let mut parts = Vec::new();
        for id in ids(&whole.intent) {
            parts.push(self.0.ledger.get(id).await?);
        }
        Ok(parts)
    }

    async fn sum_up(&self, whole: Entry, more_to_come: bool) -> Result<Entry, LedgerError> {
        let parts = self.parts_of(&whole).await?;
        let kinds = sum(&whole, &parts, more_to_come);
        if kinds.is_empty() {
            return Ok(whole);
        }
        let now = self.now();
        let evidence = |kind: EventKind| (kind, Evidence::new(PARTS, Strength::Strong, now));
        let kinds: Kinds = kinds.into_iter().map(evidence).collect();
        self.write(&whole, Cause::Upstream, kinds).await
    }
}

/// What follows for a whole from its parts. A part that is not there was not sent, and is still to come or not.
fn sum(whole: &Entry, parts: &[Option<Entry>], more_to_come: bool) -> Vec<EventKind> {
    let state = &whole.state;
    if !tell(whole) {
        return Vec::new();
    }
    let there = || parts.iter().flatten();
    let count = |wanted: Status| there().filter(|part| part.state.status == wanted).count();
    let (done, failed) = (count(Status::Succeeded), count(Status::Failed));
    let open = there().filter(|part| !part.state.status.is_final()).count();
    let missing = parts.len() - there().count();
    let is_over = open == 0 && (missing == 0 || !more_to_come);
    let shown = json!({ "parts": shown(&whole.intent, parts, more_to_come) });
    let mut kinds = Vec::new();

    if is_over && done == 0 && failed == 0 && state.status == Status::Submitting {
        let why = there().find_map(|part| part.state.error.clone());
        let why = why.unwrap_or_else(|| Problem::new(Code::Expired, "no disk was sent in time"));
        let detail = format!("no disk was restored: {}", why.detail);
        return vec![EventKind::Rejected { problem: Box::new(Problem { detail, ..why }) }];
    }
    let started = done > 0
        || failed > 0
        || there().any(|part| matches!(part.state.status, Status::Running | Status::Unknown));
    let unknown = there().find(|part| part.state.status == Status::Unknown);
    let begins = match state.status {
        Status::Submitting => started,
        Status::Unknown => started && unknown.is_none(),
        _ => false,
    };
    if begins {
        kinds.push(EventKind::Started {
            handle: None,
            upstream_status: Some(words(done, parts.len())),
            progress: None,
            request_id: None,
            clock_offset_ms: None,
        });
    }
    let running = !kinds.is_empty() || state.status != Status::Submitting;
    if running && state.notes != shown {
        kinds.push(EventKind::Observed {
            handle: None,
            upstream_status: Some(words(done, parts.len())),
            progress: Some(progress(parts)),
            notes: Some(shown),
        });
    }
    if let (Some(part), true) = (unknown, state.status != Status::Unknown) {
        let reason =
            format!("nobody can say yet whether disk {} was restored", part.intent.request.target.id());
        kinds.push(EventKind::Unsure { reason, problem: None });
    }
    let overdue = there().any(|part| part.state.overdue);
    if overdue && unknown.is_none() && !state.overdue && running {
        kinds.push(EventKind::Overdue);
    }
    if is_over && running && (done, failed) == (0, 0) {
        if state.status == Status::Running {
            let reason = "none of its disks was restored".to_owned();
            kinds.push(EventKind::Unsure { reason, problem: None });
        }
        kinds.push(EventKind::NotApplied);
    } else if is_over && running {
        kinds.push(if done == parts.len() {
            EventKind::Succeeded
        } else {
            EventKind::Failed { problem: Box::new(partial(parts, done, failed)) }
        });
    }
    kinds
}

fn words(done: usize, all: usize) -> String {
    format!("{done} of {all} disks restored")
}

/// Percent of the whole: the mean of its parts.
fn progress(parts: &[Option<Entry>]) -> u8 {
    let one = |part: &Entry| match part.state.status {
        Status::Succeeded => 100,
        _ => usize::from(part.state.progress.unwrap_or(0)),
    };
    let all: usize = parts.iter().flatten().map(one).sum();
    u8::try_from(all / parts.len().max(1)).unwrap_or(100)
}

/// Each disk and how it stands, for the history and for callers.
fn shown(intent: &Intent, parts: &[Option<Entry>], more_to_come: bool) -> Value {
    let one = |(mapping, part): (&Mapping, &Option<Entry>)| match part {
        Some(part) => json!({
            "id": part.intent.id,
            "volume_id": mapping.volume_id,
            "backup_id": mapping.backup_id,
            "status": part.state.status,
            "error": part.state.error.as_ref().map(|problem| problem.detail.clone()),
        }),
        None => json!({
            "id": null,
            "volume_id": mapping.volume_id,
            "backup_id": mapping.backup_id,
            "status": if more_to_come { "waiting" } else { NOT_SENT },
            "error": null,
        }),
    };
    intent.request.target.mappings().iter().zip(parts).map(one).collect()
}

/// Why a whole has failed, disk by disk.
fn partial(parts: &[Option<Entry>], done: usize, failed: usize) -> Problem {
    let mut detail = format!("{}; the server is not as the backup has it", words(done, parts.len()));
    for part in parts.iter().flatten().filter(|part| part.state.status != Status::Succeeded) {
        let State { status, error, .. } = &part.state;
        let why = error.as_ref().map_or("", |problem| &*problem.detail);
        detail.push_str(&format!("; disk {}: {} {why}", part.intent.request.target.id(), status.as_str()));
    }
    let missing = parts.iter().filter(|part| part.is_none()).count();
    if missing > 0 {
        detail.push_str(&format!("; {missing} not sent"));
    }
    let effect = match (done, failed) {
        (0, _) => Effect::Possible,
        _ => Effect::Done,
    };
    Problem::new(Code::RestoreFailed, detail).effect(effect)
}

/// The restores that a request is carried out as.
pub(crate) fn apart(plan: &Plan, request: &RestoreRequest) -> Vec<RestoreRequest> {
    if plan.pin.fan_out {
        request.target.mappings().iter().map(|mapping| of_disk(request, mapping)).collect()
    } else {
        vec![request.clone()]
    }
}

/// The names of the parts of a whole, disk by disk.
pub(crate) fn ids(whole: &Intent) -> impl Iterator<Item = RestoreId> + '_ {
    (0..whole.request.target.mappings().len()).map(|index| id_of(whole, index))
}

fn id_of(whole: &Intent, index: usize) -> RestoreId {
    whole.id.part(u16::try_from(index).unwrap_or(u16::MAX))
}

/// Whether a whole is for its parts to tell. What became unknown for another reason, such as an old copy of the ledger, is
/// not.
pub(crate) fn tell(whole: &Entry) -> bool {
    let state = &whole.state;
    whole.intent.route.fan_out
        && match state.status {
            Status::Submitting | Status::Running => true,
            Status::Unknown => state.evidence.kind == PARTS,
            _ => false,
        }
}

/// Whether it is written down that what was not sent will not be.
fn is_decided(whole: &Entry) -> bool {
    let parts = whole.state.notes.get("parts").and_then(Value::as_array);
    parts.into_iter().flatten().any(|part| part["status"] == NOT_SENT)
}

/// The restore of one disk of a server.
fn of_disk(request: &RestoreRequest, mapping: &Mapping) -> RestoreRequest {
    RestoreRequest {
        project_id: request.project_id.clone(),
        source: Source { backup_id: mapping.backup_id.clone(), checkpoint_id: None },
        target: Target::Volume { volume_id: mapping.volume_id.clone() },
    }
}

/// What is asked of one part.
fn part(whole: &Intent, index: usize, now: restore_model::Timestamp) -> Intent {
    let request = match whole.request.target.mappings().get(index) {
        Some(mapping) => of_disk(&whole.request, mapping),
        None => whole.request.clone(),
    };
    let id = id_of(whole, index);
    let mut intent = Intent {
        id,
        part_of: Some(whole.id),
        // No caller can send such a key: it has a character that no header has.
        key: Some(format!("\u{1}part {id}")),
        route: RoutePin { fan_out: false, ..whole.route.clone() },
        request,
        created_at: now,
        fingerprint: String::new(),
        ..whole.clone()
    };
    intent.fingerprint = intent.own_fingerprint();
    intent
}

/// A check that failed, as the refusal that the send would meet.
fn obstacle(check: &Check) -> Problem {
    let code = check.upstream_code.as_deref().and_then(|code| codes::find(code, 400));
    let class = code.map_or(Code::TargetState, |row| row.class);
    let said = check.upstream_code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
    let detail = check.detail.as_deref().unwrap_or(check.name);
    Problem::new(class, format!("{said}{detail}; nothing was sent"))
}

#[cfg(test)]
pub(crate) mod tests;
