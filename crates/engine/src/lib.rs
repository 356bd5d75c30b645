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
//! | `pass_on`, `passed` | what only the cloud knows, for native doors, asked once for all who want the same |
//! | `asked` | what native doors show of restores that nobody follows |
//! | `operate` | what only a person decides |
//! | `jumps` | how far the wall clock was set forward, so that no window ends early |
//! | [`crash`] | where tests have the process killed |
//! | `inquire` | check, preview, capabilities |
//! | `list` | the restores that a caller may see |
//! | `ways`, `policy` | routes and manners of work as they now are, and upstreams as they were |
//!
//! Everything durable goes through the ledger; everything in memory here may be lost with the
//! process, and costs at worst a read or a wait.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use restore_ledger::{Entry, Ledger, LedgerError, Position, Recovery, Told, Unfinished};
use restore_model::{Clock, Event, Problem, ProjectId, RestoreId, Timestamp};
use restore_upstream::{BreakerState, Platform};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod agenda;
mod around;
mod asked;
mod brief;
mod callers;
pub mod crash;
mod dispatch;
mod follow;
mod inquire;
mod journal;
mod list;
mod live_restores;
mod names;
mod operate;
mod pacing;
mod pass_on;
mod passed;
mod permissions;
mod record;
mod recover;
mod routing;
mod settle;
mod steps;
mod submit;
mod tasks;
#[cfg(test)]
mod testing;
mod witness;

use brief::Brief;
use journal::Journal;
use live_restores::LiveRestores;
use permissions::Permissions;
use routing::Routing;
use tasks::Tasks;

pub use callers::{Action, Caller, Decision, Grant, Identity, Trail};
pub use inquire::{CheckReport, Preview, cell};
pub use list::Page;
pub use names::{Asked, Named, Names, Sought, Step};
pub use operate::Resolution;
pub use routing::route::{self, Idempotency, Match, Plan, Route, Routes};
pub use routing::{Pair, Pairs, Policy};
pub use submit::{Refusal, Submission, Submitted};
pub use witness::Witness;

/// How long a count of a caller's keys is believed.
const KEY_COUNT: Duration = Duration::from_secs(30);

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    ledger: Arc<dyn Ledger>,
    witness: Arc<dyn Witness>,
    tasks: Tasks,
    live: Arc<LiveRestores>,
    journal: Journal,
    routing: Routing,
    permissions: Permissions,
    /// Unfinished restores of a shared ledger that this process followed and follows no more, because nothing can become true
    /// of them by time alone. Another replica may write an event after which something can.
    at_rest: Mutex<HashSet<RestoreId>>,
    /// Restores that were read on demand a moment ago; also the single flight of such reads.
    fresh: Brief<RestoreId, ()>,
    /// Which restore is to be read next.
    agenda: agenda::Agenda,
    /// Keys that each caller has, as counted a moment ago, and those that came since.
    keys: Brief<String, Arc<AtomicUsize>>,
    /// Claimed from a silent replica, and not taken up because the ledger went away in between.
    left_over: Mutex<Vec<RestoreId>>,
    /// What clouds have answered a moment ago to reads that were passed on.
    passed: passed::Passed,
    /// Tokens of callers that upstreams refused a moment ago.
    refused: asked::Refused,
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
        let tasks = Tasks::on(platform);
        let live = Arc::new(LiveRestores::default());
        let stop = tasks.stop().clone();
        Self(Arc::new(Shared {
            journal: Journal::new(Arc::clone(&ledger), clock, Arc::clone(&witness), Arc::clone(&live), stop),
            routing: Routing::new(routes, policy),
            permissions: Permissions::told_to(Arc::clone(&witness)),
            ledger,
            witness,
            tasks,
            live,
            at_rest: Mutex::default(),
            fresh,
            agenda: agenda::Agenda::default(),
            keys: Brief::new(10_000, KEY_COUNT),
            left_over: Mutex::default(),
            passed: passed::Passed::default(),
            refused: asked::Refused::default(),
        }))
    }

    /// One restore as it is stored.
    pub async fn get(&self, id: RestoreId) -> Result<Entry, Problem> {
        self.0.journal.get(id).await
    }

    /// One restore as it is stored, if this caller may see it.
    ///
    /// # Errors
    /// As [`Engine::get`]; one that may not be seen is not found.
    pub async fn look(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        let entry = self.0.journal.get(id).await?;
        self.0.permissions.show(caller, &entry)?;
        Ok(entry)
    }

    /// The history of a restore that the asker may see.
    pub async fn events(&self, id: RestoreId) -> Result<Vec<Event>, Problem> {
        self.0.journal.events(id).await
    }

    /// Waits until a restore is final or `until` has come, and returns it as it then is.
    pub async fn wait(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        self.0.journal.wait(id, until).await
    }

    /// Waits until a restore has an event after the number `seen`, or `until` has come, and returns it as it then is.
    pub async fn news(&self, id: RestoreId, seen: u32, until: Instant) -> Result<Entry, Problem> {
        self.0.journal.news(id, seen, until).await
    }

    /// Tells when anything was written: the number changes with every commit.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.journal.changed()
    }

    /// Waits until the ledger may hold more than when `changed` was last looked at, or `until` has come.
    pub async fn commits(&self, changed: &mut watch::Receiver<u64>, until: Instant) {
        self.0.journal.commits(changed, until).await;
    }

    /// Events of all restores after a place in the feed, at most `limit`, in the order of their commits.
    pub async fn feed(&self, after: Position, limit: usize) -> Result<Vec<Told>, Problem> {
        self.0.journal.feed(after, limit).await
    }

    /// The present end of the feed.
    pub async fn position(&self) -> Result<Position, Problem> {
        self.0.journal.position().await
    }

    /// Why the engine could not take a restore right now; empty when it could.
    pub async fn not_ready(&self) -> Vec<String> {
        self.0.journal.not_ready().await
    }

    /// Whether the ledger can be written, and what of its restores has not ended, those of other replicas included.
    pub async fn unfinished(&self) -> Result<Unfinished, LedgerError> {
        self.0.journal.unfinished().await
    }

    /// Whether the ledger may be an older copy of itself, and why.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        self.0.journal.recovery().now()
    }

    /// Begins recovery mode: nothing is sent until an operator confirms. Survives restarts.
    pub async fn begin_recovery(&self, reason: &str, since: Timestamp) -> Result<(), LedgerError> {
        self.0.journal.recovery().begin(reason, since).await
    }

    /// The clock that everything here goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.0.journal.clock()
    }

    /// The routes that are in effect.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.0.routing.rules().routes.clone()
    }

    /// Goes by these from now on. Restores that are under way keep the upstream they were accepted for. How long a
    /// status counts as fresh is of the start alone.
    pub fn replace(&self, routes: Routes, policy: Policy) {
        self.0.routing.replace(routes, policy).into_iter().for_each(|queue| self.keep_lane(queue));
    }

    /// How many restores are due for a read and wait for their upstream's budget, by upstream.
    #[must_use]
    pub fn waiting_reads(&self) -> Vec<(String, usize)> {
        self.0.routing.waiting_reads()
    }

    /// The breaker of each upstream.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.0.routing.breakers()
    }

    /// Refuses to look through what a project has at an upstream, as an operator, to who is none for it.
    pub fn permit_survey(&self, caller: &Caller, project: &ProjectId, upstream: &str) -> Result<(), Problem> {
        self.0.permissions.permit_survey(caller, project, upstream)
    }

    /// Refuses what an operator does to the gateway as a whole, also to operators of certain projects, upstreams or
    /// targets.
    pub fn permit_operator(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_operator(caller)
    }

    /// Refuses the pages of operators to who is none.
    pub fn permit_watch(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_watch(caller)
    }

    /// Refuses what tells of every caller and every project to who may not know of all.
    pub fn permit_overview(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_overview(caller)
    }

    /// Refuses a list to who may see nothing at all: an empty one would say that there is nothing.
    pub fn permit_list(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_list(caller)
    }

    /// Runs something beside the restores. It ends when `stop` is cancelled, and the engine waits for it.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    /// Cancelled when the engine stops.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.0.tasks.stop().clone()
    }

    /// Reads nothing more and keeps nobody waiting; what comes in is still taken.
    pub fn leave(&self) {
        self.0.tasks.stop().cancel();
    }

    /// Lets sends that are under way finish and be written down, at most so long, then closes the
    /// ledger. Returns whether everything was written in time.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.leave();
        self.0.tasks.close();
        let done = tokio::time::timeout(patience, self.0.tasks.wait()).await.is_ok();
        self.0.journal.close().await;
        done
    }
}

#[cfg(test)]
mod tests;
