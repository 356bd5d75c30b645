//! The operations on a restore: submit, poll, check, preview, reconcile. This crate knows neither HTTP servers nor
//! tower layers. It joins the model, the generations, the ledger and the outbound stack.
//!
//! [`Engine`] is a façade over components. Each component owns its state and receives the components that it needs.
//! Each module imports only modules above it in this table; `tests/promises/repository/structure.rs` holds that.
//!
//! | module | purpose and state |
//! |---|---|
//! | [`crash`], `brief` | points at which tests kill the process; values that are valid for a short time |
//! | `tasks` | runs the tasks of the engine, and stops them |
//! | `pacing` | rate of the calls to an upstream: its read quota and poll queue, the reads of one question |
//! | `routing` | selection of the upstream: routes, policy, learnt facts about upstreams |
//! | `callers`, `observer` | callers and their permissions; the observer of the engine's actions |
//! | `live_restores` | data in memory about restores without a final status |
//! | `journal` | writes events and notifies waiting callers: the clock, the count of commits, recovery mode |
//! | `permissions` | permits or rejects the request of a caller |
//! | `planning` | the route of a request, and the fallback if a generation is closed to a project |
//! | `id_mapping` | the ID of a backup in the generation that carries out the restore |
//! | `schedule` | the time of each poll: the poll scheduler, and the restores without a poller |
//! | `dispatch` | pre-send checks, the write of `submitting`, the attempt, the write of its outcome; per-disk restore |
//! | `polling` | polls to the end, and reconciliation: fresh readings, refused tokens |
//! | `takeover` | takes up the restores that other processes left, before a request sees them |
//! | `response_cache` | recent responses of the cloud to compatibility endpoints |
//! | `admission` | accepts a restore once: the keys of each caller |
//! | `queries` | check, preview, list, capabilities; proxied reads of compatibility endpoints |
//! | `operations` | keeps the ledger small, and carries out the decisions of operators |
//! | `components` | joins them; [`Engine`] delegates to them |
//!
//! Everything durable goes through the ledger. Everything in memory here may be lost with the process, and costs at
//! worst a read or a wait.

mod admission;
mod brief;
mod callers;
mod components;
pub mod crash;
mod dispatch;
mod id_mapping;
mod journal;
mod live_restores;
mod observer;
mod operations;
mod pacing;
mod permissions;
mod planning;
mod polling;
mod queries;
mod response_cache;
mod routing;
mod schedule;
mod takeover;
mod tasks;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use restore_generations::{Backup, Call, Listed, Reply};
use restore_ledger::{Entry, FeedItem, Ledger, LedgerError, Position, Query, Recovery, Unfinished, Waiting};
use restore_model::{Clock, Event, Id, Origin, Problem, ProjectId, RestoreId, RestoreRequest, Timestamp};
use restore_upstream::{BreakerState, Platform, Token, TraceContext};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use components::Components;

pub use admission::{Refusal, Submission, Submitted};
pub use callers::{Action, Caller, Decision, Grant, Identity, RequestContext};
pub use id_mapping::{Asked, Named, Names, Sought, Step};
pub use observer::Observer;
pub use operations::Resolution;
pub use queries::{CheckReport, Page, Preview, cell};
pub use routing::route::{self, Idempotency, Match, Plan, Route, Routes};
pub use routing::{Pair, Pairs, Policy};

/// The engine. Cheap to clone; all clones are one. What a method refuses, and why, is told where the component does it.
#[derive(Clone)]
pub struct Engine(Arc<Components>);

impl Engine {
    /// Joins the parts. [`Engine::recover`] must run before the first request.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        routes: Routes,
        policy: Policy,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self::on(None, ledger, routes, policy, clock, observer)
    }

    /// As [`Engine::new`], on a platform that a test plays.
    #[must_use]
    pub fn on(
        platform: Option<Arc<dyn Platform>>,
        ledger: Arc<dyn Ledger>,
        routes: Routes,
        policy: Policy,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self(Arc::new(Components::new(platform, ledger, routes, policy, clock, observer)))
    }

    /// Starts the engine's own work, and takes up what no living process holds: what was not sent or was just being sent at
    /// once, and the rest beside the first requests. Returns how many were taken up at once.
    pub async fn recover(&self) -> Result<usize, LedgerError> {
        self.0.start().await
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

    /// Cancelled when the engine stops.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.0.tasks.stop().clone()
    }

    /// Runs something beside the restores. It ends when `stop` is cancelled, and the engine waits for it.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    // admission

    /// Takes a restore in and waits, for a while, for the upstream's answer. What the upstream refuses is not an error
    /// here: the restore then exists and is `rejected`.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        self.0.admission.submit(submission).await
    }

    // journal

    /// One restore as it is stored.
    pub async fn get(&self, id: RestoreId) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.journal.get(id).await
    }

    /// The history of a restore that the asker may see.
    pub async fn events(&self, id: RestoreId) -> Result<Vec<Event>, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.journal.events(id).await
    }

    /// Waits until a restore is final or `until` has come, and returns it as it then is.
    pub async fn wait(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.journal.wait(id, until).await
    }

    /// Waits until a restore has an event after the number `seen`, or `until` has come, and returns it as it then is.
    pub async fn news(&self, id: RestoreId, seen: u32, until: Instant) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
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
    pub async fn feed(&self, after: Position, limit: usize) -> Result<Vec<FeedItem>, Problem> {
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

    /// True if the ledger can be written, and what of its restores has not ended, those of other replicas included.
    pub async fn unfinished(&self) -> Result<Unfinished, LedgerError> {
        self.0.journal.unfinished().await
    }

    /// True if the ledger may be an older copy of itself, and why.
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

    // routing

    /// The routes that are in effect.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.0.routing.rules().routes.clone()
    }

    /// Goes by these from now on. Restores that are under way keep the upstream they were accepted for. How long a
    /// status counts as fresh is of the start alone.
    pub fn replace(&self, routes: Routes, policy: Policy) {
        let added = self.0.routing.replace(routes, policy);
        added.into_iter().for_each(|queue| self.0.poller.keep_queue(queue));
    }

    /// How many restores are due for a read and wait for their read quota of the upstream, by upstream.
    #[must_use]
    pub fn waiting_reads(&self) -> Vec<(String, usize)> {
        self.0.routing.waiting_reads()
    }

    /// The breaker of each upstream.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.0.routing.breakers()
    }

    // permissions

    /// Refuses to look through what a project has at an upstream, as an operator, to who is none for it.
    pub fn permit_audit(&self, caller: &Caller, project: &ProjectId, upstream: &str) -> Result<(), Problem> {
        self.0.permissions.permit_audit(caller, project, upstream)
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

    // queries

    /// One restore as it is stored, if this caller may see it.
    pub async fn look(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.views.look(id, caller).await
    }

    /// A page of the restores that a caller may see, newest first.
    pub async fn list(&self, query: Query, caller: &Caller) -> Result<Page, Problem> {
        let mut page = self.0.views.list(query, caller).await?;
        page.entries = self.0.takeover.settled(page.entries).await?;
        Ok(page)
    }

    /// Refreshes, then waits until the restore is final or `until` has come.
    pub async fn refresh_and_wait(
        &self,
        id: RestoreId,
        caller: &Caller,
        trace: Option<TraceContext>,
        until: Option<Instant>,
    ) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.views.refresh_and_wait(id, caller, trace, until).await
    }

    /// Restores that are about to be shown to a caller who may see them, as they stand: those that nobody follows are read
    /// with this caller's token, a few of them per request.
    pub async fn refresh_shown(
        &self,
        entries: Vec<Entry>,
        caller: &Caller,
        trace: Option<&TraceContext>,
    ) -> Result<Vec<Entry>, Problem> {
        self.0.views.refresh_shown(entries, caller, trace).await
    }

    /// True if what is known of a restore is not old for want of this caller's credential alone.
    pub fn readable_by(&self, entry: &Entry, caller: &Caller) -> Result<(), Problem> {
        self.0.views.readable_by(entry, caller)
    }

    /// Asks whether a restore may be done; `origin` is the compatibility endpoint that the question came through.
    pub async fn check(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<CheckReport, Problem> {
        self.0.inquiries.check(request, origin, caller, trace).await
    }

    /// Shows what a restore would send. Nothing is sent, not even a read.
    pub async fn preview(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        caller: &Caller,
    ) -> Result<Preview, Problem> {
        self.0.inquiries.preview(request, origin, caller).await
    }

    /// Targets that each configured upstream can express, and the verdict for each source API at its routed upstreams.
    #[must_use]
    pub fn capabilities(&self) -> Value {
        self.0.inquiries.capabilities()
    }

    /// How names would be found at an upstream, for a person: the reads that a restore would make, and nothing else.
    pub async fn seek_names(
        &self,
        asked: &Asked,
        origin: &Origin,
        upstream: &str,
        token: Option<Token>,
    ) -> Result<Sought, Problem> {
        self.0.ids.seek_names(asked, origin, upstream, token).await
    }

    /// Asks an upstream something that changes nothing, for a caller who may read there, and gives its answer as it
    /// came, or as it came a moment ago. `about` is the restore that shows in the answer, if one does.
    pub async fn pass_on(
        &self,
        upstream: &str,
        project: &ProjectId,
        call: &Call,
        about: Option<&Entry>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Reply, Problem> {
        self.0.proxied.pass_on(upstream, project, call, about, caller, trace).await
    }

    /// The upstream that knows the disks of a project: `own`, if it has the service, else one that the restores of this
    /// source API are carried out by.
    #[must_use]
    pub fn upstream_of_disks(&self, own: Option<&str>, source_api: &str, call: &Call) -> Option<String> {
        self.0.proxied.upstream_of_disks(own, source_api, call)
    }

    /// A backup as another generation than the compatibility endpoint's tells of it, under the id that it was asked for by.
    pub async fn backup_elsewhere(
        &self,
        origin: &Origin,
        project: &ProjectId,
        id: &Id,
        about: Option<&Entry>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Option<Backup>, Problem> {
        self.0.proxied.backup_elsewhere(origin, project, id, about, caller, trace).await
    }

    /// The restore that a backup is, or was just now, the source of; none that a caller may not see.
    pub async fn restore_of_backup(
        &self,
        project: &ProjectId,
        backup: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let found = self.0.proxied.restore_of_backup(project, backup, caller).await?;
        Ok(self.0.takeover.settled(Vec::from_iter(found)).await?.pop())
    }

    /// The restore that overwrites a disk, or did so just now; none that a caller may not see.
    pub async fn restore_of_disk(
        &self,
        project: &ProjectId,
        disk: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let found = self.0.proxied.restore_of_disk(project, disk, caller).await?;
        Ok(self.0.takeover.settled(Vec::from_iter(found)).await?.pop())
    }

    /// The restores of a project that show in its backups and disks just now, those first that have not ended, each
    /// kind newest first; none that a caller may not see.
    pub async fn restores_that_show(
        &self,
        project: &ProjectId,
        caller: &Caller,
    ) -> Result<Vec<Entry>, Problem> {
        let found = self.0.proxied.restores_that_show(project, caller).await?;
        self.0.takeover.settled(found).await
    }

    // operations

    /// Calls a restore off, which is possible only before it is sent.
    pub async fn cancel(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.decisions.cancel(id, caller).await
    }

    /// Ends a restore that waits for an operator, or one that may have been sent and of which an operator knows better.
    pub async fn resolve(&self, id: RestoreId, word: Resolution, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.settle(id).await?;
        self.0.decisions.resolve(id, word, caller).await
    }

    /// Ends recovery mode on an operator's word.
    pub async fn end_recovery(&self, by: &str, reason: &str) -> Result<(), Problem> {
        self.0.decisions.end_recovery(by, reason).await
    }

    /// How a webhook stands: what waits, what was given up, and why it is disabled, if it is.
    pub async fn webhook(&self, name: &str) -> Result<(Waiting, Option<String>), Problem> {
        self.0.decisions.webhook(name).await
    }

    /// Delivers to a disabled webhook again, beginning with what it has missed.
    pub async fn enable_webhook(&self, name: &str, by: &str, reason: &str) -> Result<(), Problem> {
        self.0.decisions.enable_webhook(name, by, reason).await
    }

    /// Restores that an upstream has begun in a project since a moment and that the ledger knows nothing of.
    pub async fn unrecorded(
        &self,
        upstream: &str,
        project: &ProjectId,
        since: Timestamp,
        token: Option<Token>,
    ) -> Result<Vec<Listed>, Problem> {
        self.0.decisions.unrecorded(upstream, project, since, token).await
    }

    /// How many restores are under way at upstreams that the configuration names no more, by upstream.
    pub async fn on_removed_upstreams(&self) -> Result<BTreeMap<String, usize>, LedgerError> {
        self.0.maintenance.on_removed_upstreams().await
    }
}
