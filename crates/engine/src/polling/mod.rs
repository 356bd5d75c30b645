//! Polls a restore to its end. If the gateway has a token in memory, the restore is in the poll queue and is read at
//! the poll interval of its generation; one poll serves all waiting callers. Without a token (after a restart, or an
//! expired one) an authorised request refreshes the restore, at most once per interval for all requests. Owns fresh
//! readings and refused tokens.
//!
//! Stands above the schedule and the dispatcher, which sends the next disk of a per-disk restore.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use restore_generations::Reading;
use restore_ledger::{Entry, Ledger, LedgerError};
use restore_model::{Cause, EventKind, Evidence, Problem, RestoreId, Status, Strength};
use restore_upstream::{Behalf, Token, TraceContext};
use tokio::sync::Semaphore;

use crate::brief::Brief;
use crate::dispatch::Dispatcher;
use crate::journal::Journal;
use crate::observer::Observer;
use crate::pacing::{Reads, UpstreamQueue};
use crate::routing::{Access, Routing, no_longer_named};
use crate::schedule::{FIRST_LOOK, OPERATOR_INTERVAL, Round, Schedule};
use crate::tasks::Tasks;

mod evidence;
mod reconcile;
mod refused_tokens;

pub(crate) use evidence::EVIDENCE;
use refused_tokens::RefusedTokens;

/// Rounds of reads under way at once at one upstream; more wait their turn, so that many restores that
/// are due together do not crowd out the sends.
const MAX_ROUNDS: usize = 32;
/// Until the ledger is asked again when it did not answer.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// How long a caller waits for its turn to have a restore read.
const TURN: Duration = Duration::from_secs(2);

/// Polls restores to their end.
pub(crate) struct Poller {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    schedule: Arc<Schedule>,
    dispatcher: Arc<Dispatcher>,
    tasks: Arc<Tasks>,
    observer: Arc<dyn Observer>,
    /// Restores that were read on demand a moment ago; also the single flight of such reads.
    fresh: Brief<RestoreId, ()>,
    /// Tokens of callers that upstreams refused a moment ago.
    refused: RefusedTokens,
}

impl Poller {
    pub(crate) fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        schedule: Arc<Schedule>,
        dispatcher: Arc<Dispatcher>,
        tasks: Arc<Tasks>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let fresh = Brief::new(100_000, routing.rules().policy.status_cache);
        let refused = RefusedTokens::default();
        Self { journal, ledger, routing, schedule, dispatcher, tasks, observer, fresh, refused }
    }

    /// The tokens of callers that upstreams refused a moment ago.
    pub(crate) const fn refused(&self) -> &RefusedTokens {
        &self.refused
    }

    /// True if a task dispatches a restore, or it is polled with a token: nobody need read it then.
    pub(crate) fn is_busy(&self, id: RestoreId) -> bool {
        self.schedule.is_busy(id)
    }

    /// Begins to work off what is due, at every upstream.
    pub(crate) fn start(self: &Arc<Self>) {
        let poller = Arc::clone(self);
        self.tasks.keep("agenda", move || Arc::clone(&poller).work_off());
        self.routing.queues().into_iter().for_each(|queue| self.keep_queue(queue));
    }

    /// Works the poll queue off until the engine stops.
    async fn work_off(self: Arc<Self>) {
        loop {
            let (at, id) = tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                due = self.schedule.next() => due,
            };
            // Put down for another moment since.
            let Some(goes_to) = self.schedule.due(id, at) else { continue };
            if let Some((upstream, project)) = goes_to {
                self.routing.queue(&upstream).push(&project, at, id);
            } else {
                // Without a credential only its deadlines are checked.
                let poller = Arc::clone(&self);
                self.tasks.spawn(async move { poller.poll_once(id).await });
            }
        }
    }

    /// Has a queue worked for as long as the engine runs.
    pub(crate) fn keep_queue(self: &Arc<Self>, queue: Arc<UpstreamQueue>) {
        let poller = Arc::clone(self);
        self.tasks.keep("lane", move || Arc::clone(&poller).work_queue(Arc::clone(&queue)));
    }

    /// Reads what is due at one upstream until the engine stops.
    async fn work_queue(self: Arc<Self>, queue: Arc<UpstreamQueue>) {
        let rounds = Arc::new(Semaphore::new(MAX_ROUNDS));
        loop {
            let Ok(round) = Arc::clone(&rounds).acquire_owned().await else { return };
            let (due, id) = tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                next = queue.next() => next,
            };
            let late = due.elapsed();
            let upstream = self.schedule.polled_at(id);
            let poller = Arc::clone(&self);
            self.tasks.spawn(async move {
                tokio::select! {
                    () = poller.tasks.stop().cancelled() => {}
                    () = poller.poll_once(id) => {}
                }
                drop(round);
            });
            // After that: a restore from the queue is polled even if nobody waits for it any more.
            if let Some(upstream) = upstream {
                self.observer.read(&upstream, late);
            }
        }
    }

    /// Makes one round of reads, and puts the next one into the poll queue if there is to be one.
    async fn poll_once(self: &Arc<Self>, id: RestoreId) {
        let Some((access, used)) = self.schedule.begin_round(id) else { return };
        let round = AssertUnwindSafe(self.round_of(id, access)).catch_unwind().await;
        // After a panic, which the panic hook has logged, it is polled again later.
        let after = round.unwrap_or(Round::Again(OPERATOR_INTERVAL));
        self.schedule.end_round(id, used, &after);
    }

    /// One round.
    async fn round_of(self: &Arc<Self>, id: RestoreId, access: Option<Access>) -> Round {
        match self.try_round_of(id, access).await {
            Ok(round) => round,
            // Another replica, or a caller's own read, was first.
            Err(LedgerError::Stale(_)) => Round::Again(FIRST_LOOK),
            Err(error) => {
                tracing::warn!(restore.id = %id, error = %error, "poll failed");
                Round::Again(LEDGER_PAUSE)
            }
        }
    }

    async fn try_round_of(
        self: &Arc<Self>,
        id: RestoreId,
        access: Option<Access>,
    ) -> Result<Round, LedgerError> {
        let Some(entry) = self.ledger.get(id).await? else { return Ok(Round::Over) };
        if entry.state.status.is_final() {
            return Ok(Round::Over);
        }
        let interval = self.schedule.interval(&entry);
        if entry.state.is_between_steps() {
            return self.between_steps(entry).await;
        }
        let entry = match access {
            None if self.routing.rules().routes.pinned(&entry).is_none() => {
                let reason = no_longer_named(entry.state.route(&entry.intent));
                self.reconcile(&entry, &Reading::unreadable(reason, false, "settings")).await?
            }
            None => {
                let reading = Reading::unreadable("no token to read it with", true, "credential");
                self.reconcile(&entry, &reading).await?
            }
            // Another replica has read it just now, perhaps without this token.
            Some(_) if !self.ledger.reserve_read(id, interval / 10 * 9).await? => {
                return Ok(Round::Again(interval));
            }
            Some(access) => {
                let queue = self.routing.queue(&entry.state.route(&entry.intent).upstream);
                self.observe(&entry, access, None, Reads::paid(queue.quota())).await?
            }
        };
        if entry.state.is_between_steps() {
            return self.between_steps(entry).await;
        }
        Ok(if entry.state.status.is_final() {
            Round::Over
        } else if entry.state.awaiting_credential {
            Round::Unread(self.schedule.until_deadline(&entry))
        } else {
            Round::Again(self.schedule.interval(&entry))
        })
    }

    /// One round of a restore of which one disk has ended well: the next one is sent where that can be done.
    async fn between_steps(self: &Arc<Self>, entry: Entry) -> Result<Round, LedgerError> {
        let sending = self.dispatcher.is_dispatching(entry.intent.id);
        if entry.state.halted && !sending {
            // Reads find out if it was sent.
            let reason =
                "the ledger may have been an older copy of itself, made before this disk was sent".to_owned();
            let evidence = Evidence::new("recovery", Strength::Weak, self.journal.now());
            let unsure = EventKind::OutcomeUnclear { reason, problem: None };
            let entry = self.journal.append(&entry, Cause::Gateway, vec![(unsure, evidence)]).await?;
            return Ok(Round::Again(self.schedule.interval(&entry)));
        }
        if sending || self.dispatcher.send_next_step(&entry).await? {
            return Ok(Round::Again(self.schedule.interval(&entry)));
        }
        let gone = self.routing.rules().routes.pinned(&entry).is_none();
        let brought = self.dispatcher.keeps_sender(entry.intent.id);
        let waits = !gone && !brought && self.routing.access(&entry, None).is_none();
        let reason = match (gone, waits) {
            (true, _) => no_longer_named(entry.state.route(&entry.intent)),
            (_, true) => "no credential to send the next disk with".to_owned(),
            _ => "the next disk may not be sent now".to_owned(),
        };
        let entry = self.reconcile(&entry, &Reading::unreadable(reason, waits, "credential")).await?;
        Ok(match waits {
            true => Round::Unread(self.schedule.until_deadline(&entry)),
            false => Round::Again(self.schedule.interval(&entry)),
        })
    }

    /// A restore as it stands, read anew where nobody follows it and a token is at hand. That a read
    /// fails is no fault: the restore then says `last_poll_failed_since`.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        entry: Entry,
        token: Option<Token>,
        trace: Option<TraceContext>,
    ) -> Result<Entry, Problem> {
        let id = entry.intent.id;
        let busy = self.is_busy(id);
        // Of a disk that was not sent there is nothing to read.
        let readable = matches!(entry.state.status, Status::Running | Status::Unknown)
            && !entry.state.is_between_steps();
        let access = self.routing.access(&entry, token);
        let (Some(access), false, true) = (access, busy, readable) else { return Ok(entry) };

        // One flight per restore, and a short life of what it brought. In a task of its own: what was
        // read is written down although the caller who asked may have gone.
        let poller = Arc::clone(self);
        let asked = access.clone();
        let flight = async move {
            let read = self.tasks.spawn(async move { poller.read_now(&entry, asked, trace).await });
            match read.await {
                Ok(Ok(_) | Err(LedgerError::Stale(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(restore.id = %id, error = %error, "polled status could not be recorded");
                }
                Err(error) => {
                    tracing::error!(restore.id = %id, error = %error, "poll ended in an internal error");
                }
            }
        };
        self.fresh.get_with(id, flight).await;
        let entry = self.journal.get(id).await?;
        if entry.state.awaiting_credential {
            // A token that was refused says nothing of the next caller's.
            self.fresh.invalidate(&id).await;
        }
        if !entry.state.status.is_final() && entry.state.last_poll_failed_since.is_none() {
            self.schedule.poll(&entry, Some(access));
        }
        Ok(entry)
    }

    /// Reads for a caller who asks, unless the upstream was asked often enough, or by another
    /// replica just now.
    async fn read_now(
        &self,
        entry: &Entry,
        access: Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        let queue = self.routing.queue(&entry.state.route(&entry.intent).upstream);
        let shared = self.routing.rules().policy.status_cache;
        // A read that brought nothing for want of a token says nothing of this one's.
        let free =
            entry.state.awaiting_credential || self.ledger.reserve_read(entry.intent.id, shared).await?;
        // The read of a caller takes turns with those of other callers.
        let asks = Behalf::Restore(entry.intent.caller.as_str().into());
        let free = free && queue.quota().quiet().is_zero();
        if !free || tokio::time::timeout(TURN, queue.quota().turn(&asks)).await != Ok(true) {
            return Ok(entry.clone());
        }
        self.observe(entry, access, trace, Reads::paid(queue.quota())).await
    }
}
