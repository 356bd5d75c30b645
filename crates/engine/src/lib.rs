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

/// The engine. Cheap to clone; all clones share one state. The component behind a method documents its errors.
#[derive(Clone)]
pub struct Engine(Arc<Components>);

impl Engine {
    /// Builds the engine from its parts. [`Engine::recover`] must run before the first request.
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

    /// As [`Engine::new`], on the platform of a simulation.
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

    /// Starts the tasks of the engine, and takes up restores that no living process holds: those that were not sent or were
    /// just being sent before it returns, and the rest beside requests. Returns the number of those taken up at once.
    pub async fn recover(&self) -> Result<usize, LedgerError> {
        self.0.start().await
    }

    /// Stops polls and ends all waits. New restores are still accepted.
    pub fn leave(&self) {
        self.0.tasks.stop().cancel();
    }

    /// Lets attempts in progress finish and be written, at most for this time, and then closes the
    /// ledger. Returns true if everything was written in time.
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

    /// Runs a task of the service. It ends when `stop` is cancelled, and the engine waits for it.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    // admission

    /// Accepts a restore and waits up to `submit.sync_wait_seconds` for the response of the upstream. A rejection by the
    /// upstream is not an error here: the restore then exists and is `rejected`.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        self.0.admission.submit(submission).await
    }

    // journal

    /// Returns one restore from the ledger.
    pub async fn get(&self, id: RestoreId) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.journal.get(id).await
    }

    /// Returns the history of a restore that the caller may see.
    pub async fn events(&self, id: RestoreId) -> Result<Vec<Event>, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.journal.events(id).await
    }

    /// Waits until a restore has a final status, at most until `until`, and returns its present state.
    pub async fn wait(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.journal.wait(id, until).await
    }

    /// Waits until a restore has an event after the number `seen`, at most until `until`, and returns its present state.
    pub async fn news(&self, id: RestoreId, seen: u32, until: Instant) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.journal.news(id, seen, until).await
    }

    /// Notifies of commits: the number changes with each.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.journal.changed()
    }

    /// Waits until the ledger may have changed since `changed` was last seen, at most until `until`.
    pub async fn commits(&self, changed: &mut watch::Receiver<u64>, until: Instant) {
        self.0.journal.commits(changed, until).await;
    }

    /// Returns events of all restores after a position of the feed, at most `limit`, in the order of their commits.
    pub async fn feed(&self, after: Position, limit: usize) -> Result<Vec<FeedItem>, Problem> {
        self.0.journal.feed(after, limit).await
    }

    /// Returns the present end of the feed.
    pub async fn position(&self) -> Result<Position, Problem> {
        self.0.journal.position().await
    }

    /// Returns the reasons why the engine cannot accept a restore now; empty if it can.
    pub async fn not_ready(&self) -> Vec<String> {
        self.0.journal.not_ready().await
    }

    /// Returns the unfinished restores of all replicas, and whether the ledger can be written.
    pub async fn unfinished(&self) -> Result<Unfinished, LedgerError> {
        self.0.journal.unfinished().await
    }

    /// Returns the reason for recovery mode, or `None` outside of it.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        self.0.journal.recovery().now()
    }

    /// Starts recovery mode: nothing is sent until an operator confirms. It survives restarts.
    pub async fn begin_recovery(&self, reason: &str, since: Timestamp) -> Result<(), LedgerError> {
        self.0.journal.recovery().begin(reason, since).await
    }

    /// Returns the clock of the engine.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.0.journal.clock()
    }

    // routing

    /// Returns the routes in effect.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.0.routing.rules().routes.clone()
    }

    /// Applies new rules. Unfinished restores keep the upstream for which they were accepted. The time for which a
    /// status counts as fresh changes only at a start.
    pub fn replace(&self, routes: Routes, policy: Policy) {
        let added = self.0.routing.replace(routes, policy);
        added.into_iter().for_each(|queue| self.0.poller.keep_queue(queue));
    }

    /// Returns the number of restores that are due for a poll and wait for the read quota of their upstream, by upstream.
    #[must_use]
    pub fn waiting_reads(&self) -> Vec<(String, usize)> {
        self.0.routing.waiting_reads()
    }

    /// Returns the state of the circuit breaker of each upstream.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.0.routing.breakers()
    }

    // permissions

    /// Permits the audit of a project at an upstream to its operators only.
    pub fn permit_audit(&self, caller: &Caller, project: &ProjectId, upstream: &str) -> Result<(), Problem> {
        self.0.permissions.permit_audit(caller, project, upstream)
    }

    /// Permits actions on the gateway as a whole to operators without a limit to projects, upstreams or
    /// targets only.
    pub fn permit_operator(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_operator(caller)
    }

    /// Permits the pages of operators to operators only.
    pub fn permit_watch(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_watch(caller)
    }

    /// Permits pages about all callers and projects to callers that may read all of them only.
    pub fn permit_overview(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_overview(caller)
    }

    /// Rejects a list for a caller that may see nothing at all: an empty list would claim that there is nothing.
    pub fn permit_list(&self, caller: &Caller) -> Result<(), Problem> {
        self.0.permissions.permit_list(caller)
    }

    // queries

    /// Returns one restore from the ledger, if this caller may see it.
    pub async fn look(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.views.look(id, caller).await
    }

    /// Returns a page of the restores that a caller may see, newest first.
    pub async fn list(&self, query: Query, caller: &Caller) -> Result<Page, Problem> {
        let mut page = self.0.views.list(query, caller).await?;
        page.entries = self.0.takeover.taken_up(page.entries).await?;
        Ok(page)
    }

    /// Refreshes a restore, then waits until it has a final status, at most until `until`.
    pub async fn refresh_and_wait(
        &self,
        id: RestoreId,
        caller: &Caller,
        trace: Option<TraceContext>,
        until: Option<Instant>,
    ) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.views.refresh_and_wait(id, caller, trace, until).await
    }

    /// Returns the present state of restores that a caller may see. Those without a poller are refreshed
    /// with the token of this caller, a few of them per request.
    pub async fn refresh_shown(
        &self,
        entries: Vec<Entry>,
        caller: &Caller,
        trace: Option<&TraceContext>,
    ) -> Result<Vec<Entry>, Problem> {
        self.0.views.refresh_shown(entries, caller, trace).await
    }

    /// True unless the state of a restore is old only because the credential of this caller is missing.
    pub fn readable_by(&self, entry: &Entry, caller: &Caller) -> Result<(), Problem> {
        self.0.views.readable_by(entry, caller)
    }

    /// Checks if the cloud would accept a restore; `origin` is the compatibility endpoint of the request.
    pub async fn check(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<CheckReport, Problem> {
        self.0.inquiries.check(request, origin, caller, trace).await
    }

    /// Shows the request that a restore would send. Nothing is sent, not even a read.
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

    /// Shows the ID mapping at an upstream: it makes the reads that a restore would make, and nothing else.
    pub async fn seek_names(
        &self,
        asked: &Asked,
        origin: &Origin,
        upstream: &str,
        token: Option<Token>,
    ) -> Result<Sought, Problem> {
        self.0.ids.seek_names(asked, origin, upstream, token).await
    }

    /// Makes a proxied read for a caller that may read at this upstream, and returns the response as it
    /// came, or a recent one. `about` is the restore that the response shows, if it shows one.
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

    /// Returns the upstream with the disks of a project: `own`, if it has the service, else one that carries out restores
    /// of this source API.
    #[must_use]
    pub fn upstream_of_disks(&self, own: Option<&str>, source_api: &str, call: &Call) -> Option<String> {
        self.0.proxied.upstream_of_disks(own, source_api, call)
    }

    /// Returns a backup from another generation than that of the compatibility endpoint, under the requested ID.
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

    /// Returns the open or recent restore from a backup; none that the caller may not see.
    pub async fn restore_of_backup(
        &self,
        project: &ProjectId,
        backup: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let found = self.0.proxied.restore_of_backup(project, backup, caller).await?;
        Ok(self.0.takeover.taken_up(Vec::from_iter(found)).await?.pop())
    }

    /// Returns the open or recent restore onto a disk; none that the caller may not see.
    pub async fn restore_of_disk(
        &self,
        project: &ProjectId,
        disk: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let found = self.0.proxied.restore_of_disk(project, disk, caller).await?;
        Ok(self.0.takeover.taken_up(Vec::from_iter(found)).await?.pop())
    }

    /// Returns the open and recent restores of a project, open ones first, each
    /// kind newest first; none that the caller may not see.
    pub async fn restores_that_show(
        &self,
        project: &ProjectId,
        caller: &Caller,
    ) -> Result<Vec<Entry>, Problem> {
        let found = self.0.proxied.restores_that_show(project, caller).await?;
        self.0.takeover.taken_up(found).await
    }

    // operations

    /// Cancels a restore, which is possible only before it is sent.
    pub async fn cancel(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.decisions.cancel(id, caller).await
    }

    /// Ends a restore that needs an operator, or one that may have been sent if the operator overrides.
    pub async fn resolve(&self, id: RestoreId, word: Resolution, caller: &Caller) -> Result<Entry, Problem> {
        self.0.takeover.ensure_taken_up(id).await?;
        self.0.decisions.resolve(id, word, caller).await
    }

    /// Ends recovery mode after the confirmation of an operator.
    pub async fn end_recovery(&self, by: &str, reason: &str) -> Result<(), Problem> {
        self.0.decisions.end_recovery(by, reason).await
    }

    /// Returns the state of a webhook: pending messages, dead letters, and the reason if it is disabled.
    pub async fn webhook(&self, name: &str) -> Result<(Waiting, Option<String>), Problem> {
        self.0.decisions.webhook(name).await
    }

    /// Enables a disabled webhook; it resumes with the messages that it missed.
    pub async fn enable_webhook(&self, name: &str, by: &str, reason: &str) -> Result<(), Problem> {
        self.0.decisions.enable_webhook(name, by, reason).await
    }

    /// Returns restores that an upstream has started in a project since a time and that the ledger does not know.
    pub async fn unrecorded(
        &self,
        upstream: &str,
        project: &ProjectId,
        since: Timestamp,
        token: Option<Token>,
    ) -> Result<Vec<Listed>, Problem> {
        self.0.decisions.unrecorded(upstream, project, since, token).await
    }

    /// Returns the number of unfinished restores at upstreams that the configuration no longer names, by upstream.
    pub async fn on_removed_upstreams(&self) -> Result<BTreeMap<String, usize>, LedgerError> {
        self.0.maintenance.on_removed_upstreams().await
    }
}
