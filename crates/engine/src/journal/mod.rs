//! Writes the events of restores and notifies waiting callers. Owns the count of commits, the clock, and the state of
//! recovery mode. Everything durable of a restore goes through here.
//!
//! Stands above `live_restores` and the [`Observer`], and below every component that writes events.

use std::sync::Arc;
use std::time::Duration;

use restore_ledger::{Accept, Entry, Ledger, LedgerError, NewEntry, Query, Unfinished};
use restore_model::{Cause, Clock, Code, Event, EventKind, Evidence, Problem, RestoreId, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live_restores::LiveRestores;
use crate::observer::Observer;

mod clock_steps;
mod recovery_mode;
mod waiting;

use clock_steps::ClockSteps;
use recovery_mode::RecoveryMode;

/// Restores per read.
const PAGE: usize = 500;

/// Events about to be written, each with its evidence.
pub(crate) type Kinds = Vec<(EventKind, Evidence)>;

/// The history of every restore, and those who wait for it.
pub(crate) struct Journal {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    clock_steps: ClockSteps,
    recovery: RecoveryMode,
    observer: Arc<dyn Observer>,
    live: Arc<LiveRestores>,
    /// Counts commits, of this process and, with a shared ledger, of the others.
    commits: watch::Sender<u64>,
    /// Nobody is kept waiting once it is cancelled.
    stop: CancellationToken,
}

impl Journal {
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        live: Arc<LiveRestores>,
        stop: CancellationToken,
    ) -> Self {
        let clock_steps = ClockSteps::since(&*clock);
        let recovery = RecoveryMode::of(Arc::clone(&ledger));
        Self { ledger, clock, clock_steps, recovery, observer, live, commits: watch::channel(0).0, stop }
    }

    /// The clock that everything here goes by.
    pub(crate) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A window as long as it must be, now, to reach back by so much of real time.
    pub(crate) fn reaching_back(&self, window: Duration) -> Duration {
        self.clock_steps.reaching_back(&*self.clock, window)
    }

    /// True if the ledger may be an older copy of itself.
    pub(crate) const fn recovery(&self) -> &RecoveryMode {
        &self.recovery
    }

    /// One restore as it is stored.
    ///
    /// # Errors
    /// [`Code::RestoreNotFound`], or [`Code::LedgerUnavailable`].
    pub(crate) async fn get(&self, id: RestoreId) -> Result<Entry, Problem> {
        self.ledger.get(id).await.map_err(unavailable)?.ok_or_else(|| not_found(id))
    }

    /// The history of a restore.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(crate) async fn events(&self, id: RestoreId) -> Result<Vec<Event>, Problem> {
        let events = self.ledger.events(id).await.map_err(unavailable)?;
        if events.is_empty() { Err(not_found(id)) } else { Ok(events) }
    }

    /// Why the engine could not take a restore right now; empty when it could.
    pub(crate) async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(recovery) = self.recovery.now() {
            reasons.push(format!("recovery: {}", recovery.reason));
        }
        if let Err(error) = self.ledger.ready().await {
            reasons.push(format!("ledger: {error}"));
        }
        reasons
    }

    /// True if the ledger can be written, and what of its restores has not ended, those of other replicas
    /// included.
    ///
    /// # Errors
    /// When it cannot be written or read.
    pub(crate) async fn unfinished(&self) -> Result<Unfinished, LedgerError> {
        self.ledger.ready().await?;
        self.ledger.unfinished().await
    }

    /// True if other processes may write into the ledger as well.
    pub(crate) fn is_shared(&self) -> bool {
        self.ledger.is_shared()
    }

    /// Shows every restore that is an answer.
    pub(crate) async fn each_of(
        &self,
        query: Query,
        mut show: impl FnMut(&Entry) + Send,
    ) -> Result<(), LedgerError> {
        let mut query = Query { limit: PAGE, ..query };
        loop {
            let page = self.ledger.list(query.clone()).await?;
            page.iter().for_each(&mut show);
            query.before = page.last().map(|entry| entry.intent.id);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Appends events, reports them to the observer and wakes waiting callers.
    pub(crate) async fn append(
        &self,
        entry: &Entry,
        cause: Cause,
        kinds: Kinds,
    ) -> Result<Entry, LedgerError> {
        let seen = entry.state.seq;
        // The end of a step is the end of the restore only where the steps make it so.
        let kinds = kinds.into_iter().flat_map(|(kind, evidence)| {
            entry.state.ending(kind).into_iter().map(move |kind| (kind, evidence.clone()))
        });
        let events = number(seen, self.now(), cause, &entry.intent.trace_id, kinds.collect());
        let begun = Instant::now();
        let after = self.ledger.append(entry.intent.id, seen, events.clone()).await;
        self.observer.wrote("append", begun.elapsed(), after.as_ref().err().map(LedgerError::kind));
        let after = after?;
        self.notify_committed(&after, &events);
        Ok(after)
    }

    /// Asks the ledger to take one in.
    pub(crate) async fn accept(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        let begun = Instant::now();
        let accepted = self.ledger.accept(new).await;
        self.observer.wrote("accept", begun.elapsed(), accepted.as_ref().err().map(LedgerError::kind));
        accepted
    }

    /// Does what follows every commit.
    pub(crate) fn notify_committed(&self, entry: &Entry, events: &[Event]) {
        for event in events {
            self.observer.committed(entry, event);
        }
        self.count_commit();
        self.now_stands(entry);
    }

    /// Wakes who waits for a restore, also after a commit of another replica.
    pub(crate) fn now_stands(&self, entry: &Entry) {
        self.live.now_stands(entry);
    }

    /// Lets the ledger go.
    pub(crate) async fn close(&self) {
        self.ledger.close().await;
    }
}

/// Numbers events that follow the one with the number `seen`.
pub(crate) fn number(seen: u32, at: Timestamp, cause: Cause, trace_id: &str, kinds: Kinds) -> Vec<Event> {
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

pub(crate) fn not_found(id: RestoreId) -> Problem {
    Problem::new(Code::RestoreNotFound, format!("no restore {id}"))
}

/// A ledger fault before anything was sent.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub(crate) fn unavailable(error: LedgerError) -> Problem {
    match error {
        LedgerError::NotFound(id) => not_found(id),
        LedgerError::NotHeld(_) => Problem::new(Code::LedgerUnavailable, error.to_string()).after(1),
        LedgerError::Illegal(_) | LedgerError::Corrupt(_) | LedgerError::TaskTaken { .. } => {
            Problem::new(Code::Internal, error.to_string())
        }
        _ => Problem::new(Code::LedgerUnavailable, error.to_string()).after(5),
    }
}
