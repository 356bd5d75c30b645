//! Takes up restores that an earlier process or a failed replica left. A restart or a takeover ends nothing (I6): a
//! restore that may have been sent becomes unknown, and everything else continues where it was.
//!
//! At the start only restores that were not sent, or were just being sent, are taken up before the first request. The
//! others follow beside requests; a request for one of them takes that one up first.
//!
//! The same loop learns of the writes of other replicas, and notifies the callers that wait here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use restore_ledger::{Claim, Entry, Ledger, LedgerError, Position};
use restore_model::{Cause, EventKind, Evidence, Problem, RestoreId, Status, Strength};
use tokio::time::{Instant, MissedTickBehavior};

use crate::dispatch::{Dispatcher, SendLease};
use crate::journal::{Journal, unavailable};
use crate::routing::{Access, Plan, Routing, no_longer_named};
use crate::schedule::Schedule;
use crate::tasks::Tasks;

/// Restores taken over in one go.
const HANDFUL: usize = 256;
/// How often it is looked for what other replicas have written.
const LISTEN: Duration = Duration::from_millis(250);
/// Until the ledger is asked again when it did not answer.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// How often a restore is taken up again that somebody moved on meanwhile.
const TRIES: u32 = 4;

/// Takes up what no living process holds.
pub(crate) struct Takeover {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    schedule: Arc<Schedule>,
    dispatcher: Arc<Dispatcher>,
    tasks: Arc<Tasks>,
    /// Claimed from a silent replica, and not taken up because the ledger went away in between.
    left_over: Mutex<Vec<RestoreId>>,
    /// True if all that an earlier process left is taken up.
    is_through: AtomicBool,
    /// Held while restores are taken up, so that no request reads one that is claimed and not taken up yet.
    turn: tokio::sync::Mutex<()>,
}

impl Takeover {
    pub(crate) fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        schedule: Arc<Schedule>,
        dispatcher: Arc<Dispatcher>,
        tasks: Arc<Tasks>,
    ) -> Self {
        Self {
            journal,
            ledger,
            routing,
            schedule,
            dispatcher,
            tasks,
            left_over: Mutex::default(),
            is_through: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Begins to look after other replicas, where the ledger is shared with any.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), LedgerError> {
        if self.journal.is_shared() {
            let position = self.ledger.position().await?;
            let takeover = Arc::clone(self);
            self.tasks.keep("takeover loop", move || Arc::clone(&takeover).takeover_loop());
            let takeover = Arc::clone(self);
            self.tasks.keep("listen", move || Arc::clone(&takeover).listen(position));
        }
        Ok(())
    }

    /// Takes up restores that were not sent or were just being sent, if no living process holds them. Only this must precede
    /// the first request, because it changes the status of a restore; the rest runs beside requests.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let mut count = 0;
        loop {
            let taken = self.take_over_page(Claim::BeforeAnswer).await?;
            count += taken;
            if taken == 0 {
                break;
            }
        }
        let takeover = Arc::clone(self);
        self.tasks.keep("takeover", move || Arc::clone(&takeover).go_through());
        Ok(count)
    }

    /// Takes up all that an earlier process left, page by page.
    async fn go_through(self: Arc<Self>) {
        let mut count = 0;
        while !self.tasks.stop().is_cancelled() {
            let begun = Instant::now();
            let pause = match self.take_over_page(Claim::All).await {
                Ok(0) => break,
                // Callers come first: at most half of the time is for this.
                Ok(taken) => {
                    count += taken;
                    begun.elapsed()
                }
                Err(error) => {
                    tracing::warn!(error = %error, "takeover failed");
                    LEDGER_PAUSE
                }
            };
            tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.is_through.store(true, Ordering::Release);
        if count > 0 {
            tracing::info!(count, "unfinished restores taken up");
        }
    }

    /// Everything that no living process holds becomes this one's.
    async fn take_over(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let mut count = 0;
        loop {
            match self.take_over_page(Claim::All).await? {
                0 => return Ok(count),
                taken => count += taken,
            }
        }
    }

    /// Some of that, the oldest first. How many; none when there are no more.
    async fn take_over_page(self: &Arc<Self>, which: Claim) -> Result<usize, LedgerError> {
        let _turn = self.turn.lock().await;
        let left_over = self.take_up_left_over().await;
        // One that cannot be taken up keeps no other waiting.
        let entries = self.ledger.claim(which, HANDFUL).await?;
        let count = entries.len();
        self.take_up_all(entries).await?;
        Ok(left_over? + count)
    }

    /// Restores that were claimed before and could not be taken up, if this process still holds them.
    async fn take_up_left_over(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let ids = std::mem::take(&mut *self.left_over());
        let mut entries = Vec::new();
        for (done, id) in ids.iter().enumerate() {
            let again = async {
                match self.ledger.take(*id).await? {
                    true => self.ledger.get(*id).await,
                    false => Ok(None),
                }
            };
            match again.await {
                Ok(entry) => entries.extend(entry),
                Err(error) => {
                    let read = entries.iter().map(|entry: &Entry| entry.intent.id);
                    self.left_over().extend(read.chain(ids[done..].iter().copied()));
                    return Err(error);
                }
            }
        }
        self.take_up_all(entries).await?;
        Ok(ids.len())
    }

    /// Takes up what was claimed, all at once, so that it is written together.
    async fn take_up_all(self: &Arc<Self>, entries: Vec<Entry>) -> Result<(), LedgerError> {
        let ids: Vec<RestoreId> = entries.iter().map(|entry| entry.intent.id).collect();
        let taken_up = join_all(entries.into_iter().map(|entry| self.take_up(entry))).await;
        let mut outcome = Ok(());
        for (id, taken_up) in ids.into_iter().zip(taken_up) {
            if taken_up.is_err() {
                // They are this process's now: nobody else would find them.
                self.left_over().push(id);
                outcome = outcome.and(taken_up);
            }
        }
        outcome
    }

    /// A restore as it stands once it is taken up: before anybody sees it or moves it on.
    ///
    /// # Errors
    /// [`restore_model::Code::LedgerUnavailable`].
    pub(crate) async fn ensure_taken_up(self: &Arc<Self>, id: RestoreId) -> Result<(), Problem> {
        self.ensure_all_taken_up(std::iter::once(id)).await.map(|_| ())
    }

    /// The same of restores that were just read; those that stood otherwise are read again.
    ///
    /// # Errors
    /// As [`Takeover::ensure_taken_up`].
    pub(crate) async fn taken_up(self: &Arc<Self>, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Problem> {
        let open = entries.iter().filter(|entry| !entry.state.status.is_final());
        let open: Vec<RestoreId> = open.map(|entry| entry.intent.id).collect();
        if self.ensure_all_taken_up(open.into_iter()).await? {
            for entry in entries.iter_mut().filter(|entry| !entry.state.status.is_final()) {
                *entry = self.journal.get(entry.intent.id).await?;
            }
        }
        Ok(entries)
    }

    /// True if any of them may have moved on.
    async fn ensure_all_taken_up(
        self: &Arc<Self>,
        ids: impl ExactSizeIterator<Item = RestoreId> + Send,
    ) -> Result<bool, Problem> {
        if ids.len() == 0 || self.is_through.load(Ordering::Acquire) {
            return Ok(false);
        }
        // The holder of the turn may be taking up one of them.
        let _turn = self.turn.lock().await;
        let mut claimed = Vec::new();
        for id in ids {
            match self.ledger.claim_one(id).await {
                Ok(entry) => claimed.extend(entry),
                Err(error) => {
                    self.left_over().extend(claimed.iter().map(|entry: &Entry| entry.intent.id));
                    return Err(unavailable(error));
                }
            }
        }
        self.take_up_all(claimed).await.map_err(unavailable)?;
        Ok(true)
    }

    fn left_over(&self) -> MutexGuard<'_, Vec<RestoreId>> {
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with one restore where it stood.
    async fn take_up(self: &Arc<Self>, entry: Entry) -> Result<(), LedgerError> {
        let id = entry.intent.id;
        let mut entry = entry;
        for _ in 0..TRIES {
            match self.try_to_take_up(entry).await {
                // Somebody moved it on meanwhile, and nobody may be polling it.
                Err(LedgerError::Stale(_)) => {}
                taken_up => return taken_up,
            }
            match self.ledger.get(id).await?.filter(|entry| !entry.state.status.is_final()) {
                Some(again) => entry = again,
                None => return Ok(()),
            }
        }
        Err(LedgerError::Stale(id))
    }

    async fn try_to_take_up(self: &Arc<Self>, entry: Entry) -> Result<(), LedgerError> {
        let id = entry.intent.id;
        // Our own restore, after the ledger was unavailable for longer than the lease: its task continues by itself.
        if self.dispatcher.is_dispatching(id) {
            return Ok(());
        }
        let access = self.routing.access(&entry, None);
        let evidence = |what: &str| Evidence::new("restart", Strength::Weak, self.journal.now()).detail(what);
        let unsure = |reason: &str, found: &str| {
            let reason = reason.to_owned();
            let mut kinds = vec![(EventKind::OutcomeUnclear { reason, problem: None }, evidence(found))];
            if access.is_none() {
                kinds.push((EventKind::Stale { awaiting_credential: true }, evidence("no token is kept")));
            }
            kinds
        };
        let unsent = entry.state.is_unsent() || entry.state.is_between_steps();
        let kinds = if unsent && self.journal.recovery().now().is_some() {
            unsure(
                "the ledger may be an older copy of itself, made before this restore was sent",
                "found unsent in a copy of the ledger",
            )
        } else if entry.state.status == Status::Submitting && !unsent {
            unsure(
                "the gateway was restarted while the request may have been on the wire",
                "found submitting",
            )
        } else if self.routing.rules().routes.pinned(&entry).is_none() {
            // No token would help; said once.
            let said = entry.state.last_poll_failed_since.is_some() && !entry.state.awaiting_credential;
            let stale = EventKind::Stale { awaiting_credential: false };
            let reason = no_longer_named(entry.state.route(&entry.intent));
            if said { Vec::new() } else { vec![(stale, evidence(&reason))] }
        } else if entry.state.last_poll_failed_since.is_none() && access.is_none() {
            vec![(EventKind::Stale { awaiting_credential: true }, evidence("no token is kept"))]
        } else {
            Vec::new()
        };
        let entry = match kinds.is_empty() {
            true => entry,
            false => self.journal.append(&entry, Cause::Restart, kinds).await?,
        };
        if entry.state.is_unsent() {
            match self.routing.rules().routes.pinned(&entry).zip(access) {
                Some((plan, access)) if matches!(entry.state.status, Status::Accepted | Status::Checking) => {
                    self.go_on(entry, plan, access);
                }
                _ => self.expire_later(id),
            }
        } else if !entry.state.status.is_final() {
            // Of several disks the next one is sent in its round.
            self.schedule.poll(&entry, access);
        }
        Ok(())
    }

    /// Sends what was accepted and could not be sent, with a credential of the gateway's own.
    fn go_on(&self, entry: Entry, plan: Plan, access: Access) {
        if self.dispatcher.claim(entry.intent.id) {
            let lease = SendLease::from_now(&*self.ledger);
            self.dispatcher.carry_out_later((entry, lease), plan, access);
        }
    }

    /// Looks for restores whose process has fallen silent.
    async fn takeover_loop(self: Arc<Self>) {
        let mut rounds = tokio::time::interval(self.routing.rules().policy.takeover_interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                _ = rounds.tick() => {}
            }
            let looked = async {
                self.journal.recovery().learn().await?;
                let processes = self.ledger.processes().await?;
                self.routing.queues().iter().for_each(|queue| queue.quota().share_among(processes));
                self.take_over().await
            };
            match looked.await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "restores of a failed replica taken over"),
                Err(error) => tracing::warn!(error = %error, "takeover check failed"),
            }
        }
    }

    /// Hears what other replicas have written, and wakes who waits for it.
    async fn listen(self: Arc<Self>, mut position: Position) {
        let mut rounds = tokio::time::interval(LISTEN);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                _ = rounds.tick() => {}
            }
            // Begun at one replica, recovery mode is everybody's at once.
            if let Err(error) = self.journal.recovery().learn().await {
                tracing::debug!(error = %error, "recovery mode cannot be read");
            }
            // A failed write is reported elsewhere; this only waits until the ledger is available again.
            while let Ok(news) = self.ledger.feed(position, HANDFUL).await {
                let Some(last) = news.last() else { break };
                position = last.position;
                for told in &news {
                    self.journal.now_stands(&told.entry);
                    self.schedule.poll_again(&told.entry);
                }
                self.journal.count_commit();
                if news.len() < HANDFUL {
                    break;
                }
            }
        }
    }

    /// Expires a restore that no process carries on with, for its locks block its target. Looks at it until it was sent or
    /// has ended: another process may take it in between and let go of it again.
    fn expire_later(self: &Arc<Self>, id: RestoreId) {
        let takeover = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = takeover.tasks.stop().cancelled() => return,
                    () = tokio::time::sleep(takeover.routing.rules().policy.unsent) => {}
                }
                match takeover.expire(id).await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(restore.id = %id, error = %error, "unsent restore could not be expired");
                    }
                }
            }
        });
    }

    /// Expires an unsent restore. True when nothing is left to expire.
    async fn expire(&self, id: RestoreId) -> Result<bool, LedgerError> {
        let entry = match self.ledger.get(id).await? {
            Some(entry) if entry.state.is_unsent() && !entry.state.status.is_final() => entry,
            _ => return Ok(true),
        };
        let dispatching = self.dispatcher.is_dispatching(id);
        if dispatching || !self.ledger.take(id).await? {
            return Ok(false);
        }
        let evidence = Evidence::new("deadline", Strength::Strong, self.journal.now());
        match self.journal.append(&entry, Cause::Deadline, vec![(EventKind::Expired, evidence)]).await {
            Err(LedgerError::Stale(_)) => Ok(false),
            written => written.map(|_| true),
        }
    }
}
