//! THE VERBS: submit, watch, check, preview, reconcile. Knows neither HTTP servers nor tower
//! layers; it joins the model, the generations, the ledger and the way out.
//!
//! | module | verb |
//! |---|---|
//! | `caller`, `grant` | who asks, and what they may |
//! | [`route`] | which upstream does it, and why |
//! | `submit` | take a restore in, once |
//! | `around` | the way that is left where a generation is closed to a project |
//! | `dispatch`, `record` | look first, write it down, send it while that is allowed, write down what came of it |
//! | `names` | what another generation's request is called by the one that carries it out |
//! | `steps` | a server disk by disk, where the upstream restores disks alone |
//! | `settle` | what a reading means for a state: a pure function |
//! | `follow`, `agenda`, `budget` | read until the end: one read per interval however many wait, and no more per minute than the upstream may be asked |
//! | `replay` | ask a generation's questions to their end |
//! | `recover`, `anew` | take up what an earlier or another process left, and keep the ledger small |
//! | `pass_on`, `passed` | what only the cloud knows, for compatibility endpoints, asked once for all who want the same |
//! | `asked` | what compatibility endpoints show of restores that nobody follows |
//! | `operate` | what only a person decides |
//! | `jumps` | how far the wall clock was set forward, so that no window ends early |
//! | [`crash`] | where tests have the process killed |
//! | `inquire` | check, preview, capabilities |
//! | `list` | the restores that a caller may see |
//! | `ways`, `policy` | routes and manners of work as they now are, and upstreams as they were |
//!
//! Everything durable goes through the ledger; everything in memory here may be lost with the
//! process, and costs at worst a read or a wait.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use restore_generations::Known;
use restore_ledger::{Accept, Entry, Ledger, LedgerError, NewEntry, Recovery, Unfinished};
use restore_model::{
    Cause, Clock, Code, Event, EventKind, Evidence, Problem, ProjectId, RestoreId, Strength, Timestamp,
};
use restore_upstream::{BreakerState, Platform, TraceContext};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod access;
mod agenda;
mod anew;
mod around;
mod asked;
mod brief;
mod budget;
mod caller;
pub mod crash;
mod dispatch;
mod follow;
mod grant;
mod inquire;
mod jumps;
mod list;
mod live;
mod names;
mod operate;
mod pass_on;
mod passed;
mod policy;
mod record;
mod recover;
mod replay;
pub mod route;
mod settle;
mod steps;
mod submit;
mod tasks;
mod ways;

use access::Access;
use brief::Brief;
use tasks::Tasks;
use ways::Ways;

pub use caller::{Action, Caller, Decision, Identity, Trail};
pub use grant::Grant;
pub use inquire::{CheckReport, Preview, cell};
pub use list::Page;
pub use names::{Asked, Named, Names, Pair, Pairs, Sought, Step};
pub use operate::Resolution;
pub use policy::Policy;
pub use route::{Idempotency, Match, Plan, Route, Routes};
pub use submit::{Refusal, Submission, Submitted};

/// How long a count of a caller's keys is believed.
const KEY_COUNT: Duration = Duration::from_secs(30);
/// How long it is believed that an upstream is closed to a project.
const CLOSED: Duration = Duration::from_secs(600);

/// Who wants to know what was written down: metrics and logs.
pub trait Witness: Send + Sync + 'static {
    /// Called after the commit, once per event, with the state it led to.
    fn witness(&self, entry: &Entry, event: &Event);

    /// Called with every decision on what a known caller may do.
    fn decided(&self, decision: &Decision<'_>);

    /// Called with every write of a restore into the ledger, how long it took, and the kind of fault.
    fn wrote(&self, _operation: &'static str, _took: Duration, _fault: Option<&'static str>) {}

    /// Called when a restore that was due is read, with how much later than due that is.
    fn read(&self, _upstream: &str, _late: Duration) {}
}

/// What is kept in memory of a restore that is not final.
#[derive(Default)]
struct Live {
    /// Tells waiters the number of the last event.
    changes: Option<watch::Sender<u32>>,
    /// Whether a task dispatches it.
    dispatching: bool,
    /// Whether it is on the agenda, or being read.
    followed: bool,
    /// For when it is on the agenda.
    due: Option<Instant>,
    /// The upstream that it goes to and its project, while it is followed.
    lane: Option<(String, ProjectId)>,
    /// With what it is read.
    access: Option<Access>,
    /// With what the next disks of a restore with several steps are sent: what its own caller brought for it.
    sender: Option<Access>,
    /// Counts the tokens it was given, and suchlike.
    accesses: u32,
    /// When this process sent it, on the monotonic clock.
    sent: Option<Instant>,
    /// Since when this process has followed its present step, on the monotonic clock.
    known_since: Option<(u16, Instant)>,
    /// When this process first saw it unknown, on the monotonic clock.
    unknown_since: Option<Instant>,
}

impl Live {
    /// Since when this process has followed a step of the restore. Asked at every look, so that a step which another
    /// process or a read has ended meanwhile is noticed.
    fn known_since(&mut self, step: u16) -> Instant {
        match self.known_since {
            Some((known, since)) if known == step => since,
            _ => self.known_since.insert((step, Instant::now())).1,
        }
    }
}

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    ledger: Arc<dyn Ledger>,
    ways: Ways,
    jumps: jumps::Jumps,
    clock: Arc<dyn Clock>,
    witness: Arc<dyn Witness>,
    live: Mutex<HashMap<RestoreId, Live>>,
    /// Unfinished restores of a shared ledger that this process followed and follows no more, because nothing can become true
    /// of them by time alone. Another replica may write an event after which something can.
    at_rest: Mutex<HashSet<RestoreId>>,
    /// What the generation of an upstream wants cached of a backup: place, project and backup → facts that never change.
    facts: Cache<(String, String, String), Known>,
    /// Places of upstreams and projects that they are closed to, with the refusal of a while ago.
    closed: Brief<(String, String), Arc<Problem>>,
    /// Restores that were read on demand a moment ago; also the single flight of such reads.
    fresh: Brief<RestoreId, ()>,
    /// Which restore is to be read next.
    agenda: agenda::Agenda,
    /// Keys that each caller has, as counted a moment ago, and those that came since.
    keys: Brief<String, Arc<AtomicUsize>>,
    /// Set while the ledger may be an older copy of itself.
    recovery: Mutex<Option<Recovery>>,
    /// Counts commits, of this process and, with a shared ledger, of the others.
    changed: watch::Sender<u64>,
    /// Claimed from a silent replica, and not taken up because the ledger went away in between.
    left_over: Mutex<Vec<RestoreId>>,
    /// Places of upstreams that are known to lack the optional read of a restore.
    no_restore_read: Mutex<std::collections::HashSet<String>>,
    /// What clouds have answered a moment ago to reads that were passed on.
    passed: passed::Passed,
    /// Tokens of callers that upstreams refused a moment ago.
    refused: asked::Refused,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Engine {
    /// Joins the parts. [`Engine::recover`] must run before the first request.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        routes: Routes,
        policy: Policy,
        clock: Arc<dyn Clock>,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self::on(None, ledger, routes, policy, clock, witness)
    }

    /// As [`Engine::new`], on a platform that a test plays.
    #[must_use]
    pub fn on(
        platform: Option<Arc<dyn Platform>>,
        ledger: Arc<dyn Ledger>,
        routes: Routes,
        policy: Policy,
        clock: Arc<dyn Clock>,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let fresh = Brief::new(100_000, policy.status_cache);
        Self(Arc::new(Shared {
            ledger,
            ways: Ways::new(routes, policy),
            jumps: jumps::Jumps::since(&*clock),
            clock,
            witness,
            live: Mutex::default(),
            at_rest: Mutex::default(),
            facts: Cache::builder().max_capacity(100_000).build(),
            fresh,
            closed: Brief::new(10_000, CLOSED),
            agenda: agenda::Agenda::default(),
            keys: Brief::new(10_000, KEY_COUNT),
            recovery: Mutex::default(),
            changed: watch::channel(0).0,
            left_over: Mutex::default(),
            no_restore_read: Mutex::default(),
            passed: passed::Passed::default(),
            refused: asked::Refused::default(),
            tasks: Tasks::on(platform),
            stop: CancellationToken::new(),
        }))
    }

    /// One restore as it is stored.
    ///
    /// # Errors
    /// [`Code::RestoreNotFound`], or [`Code::LedgerUnavailable`].
    pub async fn get(&self, id: RestoreId) -> Result<Entry, Problem> {
        self.0.ledger.get(id).await.map_err(unavailable)?.ok_or_else(|| not_found(id))
    }

    /// One restore as it is stored, if this caller may see it.
    ///
    /// # Errors
    /// As [`Engine::get`]; one that may not be seen is not found.
    pub async fn look(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        let entry = self.get(id).await?;
        self.show(caller, &entry)?;
        Ok(entry)
    }

    /// The history of a restore that the asker may see.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub async fn events(&self, id: RestoreId) -> Result<Vec<Event>, Problem> {
        let events = self.0.ledger.events(id).await.map_err(unavailable)?;
        if events.is_empty() { Err(not_found(id)) } else { Ok(events) }
    }

    /// Calls a restore off, which is possible only before it is sent.
    ///
    /// # Errors
    /// [`Code::NotCancellable`] once it may have been sent, [`Code::NotAllowed`] for who may see it and
    /// did not submit it; else as [`Engine::look`].
    pub async fn cancel(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        use restore_model::Status::{Accepted, Checking};
        self.permit_own(caller, Action::Restore, &self.get(id).await?)?;
        // Somebody else may write in between; a few rounds are enough, for states only go forward.
        for _ in 0..4 {
            let entry = self.get(id).await?;
            if !matches!(entry.state.status, Accepted | Checking) {
                let detail = format!("restore {id} is {}", entry.state.status.as_str());
                let effect = operate::so_far(&entry.state);
                return Err(Problem::new(Code::NotCancellable, detail).effect(effect));
            }
            let evidence = Evidence::new("request", Strength::Strong, self.now());
            match self.write(&entry, Cause::Caller, vec![(EventKind::Cancelled, evidence)]).await {
                Err(LedgerError::Stale(_)) => {}
                other => return other.map_err(unavailable),
            }
        }
        Err(Problem::new(Code::NotCancellable, format!("restore {id} is just being sent")))
    }

    /// Why the engine could not take a restore right now; empty when it could.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(recovery) = self.recovery() {
            reasons.push(format!("recovery: {}", recovery.reason));
        }
        if let Err(error) = self.0.ledger.ready().await {
            reasons.push(format!("ledger: {error}"));
        }
        reasons
    }

    /// Whether the ledger can be written, and what of its restores has not ended, those of other replicas
    /// included.
    ///
    /// # Errors
    /// When it cannot be written or read.
    pub async fn unfinished(&self) -> Result<Unfinished, LedgerError> {
        self.0.ledger.ready().await?;
        self.0.ledger.unfinished().await
    }

    /// How many restores are due for a read and wait for their upstream's budget, by upstream.
    #[must_use]
    pub fn waiting_reads(&self) -> Vec<(String, usize)> {
        self.rules().waiting()
    }

    /// The breaker of each upstream.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.rules()
            .routes
            .upstreams()
            .map(|upstream| (upstream.name().to_owned(), upstream.breaker()))
            .collect()
    }

    /// Reads nothing more and keeps nobody waiting; what comes in is still taken.
    pub fn leave(&self) {
        self.0.stop.cancel();
    }

    /// Lets sends that are under way finish and be written down, at most so long, then closes the
    /// ledger. Returns whether everything was written in time.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.leave();
        self.0.tasks.close();
        let done = tokio::time::timeout(patience, self.0.tasks.wait()).await.is_ok();
        self.0.ledger.close().await;
        done
    }

    /// Tells when anything was written: the number changes with every commit.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Runs something beside the restores. It ends when `stop` is cancelled, and the engine waits for it.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    /// Cancelled when the engine stops.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// The clock that everything here goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<RestoreId, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends events, tells the witness and wakes who waits.
    async fn write(
        &self,
        entry: &Entry,
        cause: Cause,
        kinds: Vec<(EventKind, Evidence)>,
    ) -> Result<Entry, LedgerError> {
        let seen = entry.state.seq;
        // The end of a step is the end of the restore only where the steps make it so.
        let kinds = kinds.into_iter().flat_map(|(kind, evidence)| {
            entry.state.ending(kind).into_iter().map(move |kind| (kind, evidence.clone()))
        });
        let events = number(seen, self.now(), cause, &entry.intent.trace_id, kinds.collect());
        let begun = Instant::now();
        let after = self.0.ledger.append(entry.intent.id, seen, events.clone()).await;
        self.0.witness.wrote("append", begun.elapsed(), after.as_ref().err().map(LedgerError::kind));
        let after = after?;
        self.told(&after, &events);
        Ok(after)
    }

    /// Asks the ledger to take one in.
    async fn enter(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        let begun = Instant::now();
        let accepted = self.0.ledger.accept(new).await;
        self.0.witness.wrote("accept", begun.elapsed(), accepted.as_ref().err().map(LedgerError::kind));
        accepted
    }

    /// What follows every commit.
    fn told(&self, entry: &Entry, events: &[Event]) {
        for event in events {
            self.0.witness.witness(entry, event);
        }
        self.0.changed.send_modify(|commits| *commits = commits.wrapping_add(1));
        self.now_stands(entry);
    }

    /// Wakes who waits for a restore, and forgets what need not be kept of it. For every commit, also one of another
    /// replica.
    fn now_stands(&self, entry: &Entry) {
        let id = entry.intent.id;
        let mut live = self.live();
        let Some(known) = live.get_mut(&id) else { return };
        if let Some(changes) = &known.changes {
            changes.send_replace(entry.state.seq);
        }
        if entry.state.status == restore_model::Status::Unknown {
            known.unknown_since.get_or_insert_with(Instant::now);
        } else {
            known.unknown_since = None;
        }
        if entry.state.status.is_final() {
            // The token of a finished restore is of no more use to anybody.
            known.access = None;
            known.sender = None;
            drop(live);
            self.forget_if_idle(id);
        }
    }

    /// Waits until a restore is final or `until` has come, and returns it as it then is.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub async fn wait(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        self.wait_while(id, until, |entry| !entry.state.status.is_final()).await
    }

    async fn wait_while(
        &self,
        id: RestoreId,
        until: Instant,
        open: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, Problem> {
        // Also of one that is hung up on: it goes after the receiver.
        let _forgets = Forgets(self, id);
        let mut changes = {
            let mut live = self.live();
            let known = live.entry(id).or_default();
            known.changes.get_or_insert_with(|| watch::channel(0).0).subscribe()
        };
        loop {
            // Marked as seen before the look, so that no change falls between the two.
            changes.mark_unchanged();
            let entry = self.get(id).await;
            match &entry {
                Ok(entry) if open(entry) => {}
                _ => return entry,
            }
            tokio::select! {
                changed = tokio::time::timeout_at(until, changes.changed()) => {
                    if changed.is_err() {
                        return entry;
                    }
                }
                // Nobody is kept waiting while the gateway stops.
                () = self.0.stop.cancelled() => return entry,
            }
        }
    }

    /// Drops what is kept in memory of a restore that nobody dispatches, follows or waits for.
    fn forget_if_idle(&self, id: RestoreId) {
        let mut live = self.live();
        if let Some(known) = live.get_mut(&id) {
            if known.changes.as_ref().is_some_and(watch::Sender::is_closed) {
                known.changes = None;
            }
            let idle = known.changes.is_none() && !known.dispatching && !known.followed;
            if idle && known.access.is_none() && known.sender.is_none() && known.unknown_since.is_none() {
                live.remove(&id);
            }
        }
    }
}

/// Looks, when it goes, whether anything must be kept of a restore.
struct Forgets<'a>(&'a Engine, RestoreId);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.forget_if_idle(self.1);
    }
}

/// Numbers events that follow the one with the number `seen`.
fn number(
    seen: u32,
    at: Timestamp,
    cause: Cause,
    trace_id: &str,
    kinds: Vec<(EventKind, Evidence)>,
) -> Vec<Event> {
    (seen + 1..)
        .zip(kinds)
        .map(|(seq, (kind, evidence))| Event {
            seq,
            at,
            cause,
            evidence,
            trace_id: trace_id.to_owned(),
            kind,
        })
        .collect()
}

/// The trace id of a context, zeros where there is none.
fn trace_ids(trace: Option<&TraceContext>) -> (String, String) {
    trace
        .map_or_else(|| ("0".repeat(32), "0".repeat(16)), |trace| (trace.trace_id_hex(), trace.span_id_hex()))
}

fn not_found(id: RestoreId) -> Problem {
    Problem::new(Code::RestoreNotFound, format!("no restore {id}"))
}

/// A ledger fault before anything was sent.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn unavailable(error: LedgerError) -> Problem {
    match error {
        LedgerError::NotFound(id) => not_found(id),
        LedgerError::NotHeld(_) => Problem::new(Code::LedgerUnavailable, error.to_string()).after(1),
        LedgerError::Illegal(_) | LedgerError::Corrupt(_) | LedgerError::TaskTaken { .. } => {
            Problem::new(Code::Internal, error.to_string())
        }
        _ => Problem::new(Code::LedgerUnavailable, error.to_string()).after(5),
    }
}

#[cfg(test)]
mod tests;
