//! Taking up what was left: by an earlier process at the start, and by other replicas that have
//! fallen silent while this one runs. A restart or a take-over ends nothing (I6): what may have been
//! sent becomes unknown, and everything goes on where it stood.
//!
//! The same patrol hears what other replicas have written, so that whoever waits here learns of it,
//! and forgets what need not be kept any longer.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use restore_ledger::{Entry, LedgerError, Position, Query};
use restore_model::{Cause, EventKind, Evidence, RestoreId, RoutePin, Status, Strength};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Engine;
use crate::record::Hold;
use crate::routing::Plan;
use crate::routing::{Access, no_longer_named};

/// Restores taken over in one go.
const HANDFUL: usize = 256;
/// How often it is looked for what other replicas have written.
const LISTEN: Duration = Duration::from_millis(250);
/// The longest window of a key that settings can ask for.
const LONGEST_KEY_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long after its end a restore explains evidence that another one could take for its own: the day that is compared
/// with before a send, and the difference of clocks.
pub(crate) const EVIDENCE: Duration = Duration::from_secs(25 * 60 * 60);
/// A signature is good for so long on either side of its date, and a repetition of it is the same restore.
const SIGNATURES: Duration = Duration::from_secs(2 * 900);
/// Between two rounds of forgetting, and how much each step forgets.
const TIDY: Duration = Duration::from_secs(600);
const TIDY_STEP: usize = 500;

impl Engine {
    /// Starts the engine's own work, and takes up what no living process holds.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn recover(&self) -> Result<usize, LedgerError> {
        let engine = self.clone();
        self.0.tasks.keep("agenda", move || engine.clone().work_off());
        self.0.routing.queues().into_iter().for_each(|queue| self.keep_lane(queue));
        self.0.journal.recovery().learn().await?;
        let count = self.take_over().await?;
        let engine = self.clone();
        self.0.tasks.keep("tidy", move || engine.clone().tidy());
        if self.0.ledger.is_shared() {
            let position = self.0.ledger.position().await?;
            let engine = self.clone();
            self.0.tasks.keep("patrol", move || engine.clone().patrol());
            let engine = self.clone();
            self.0.tasks.keep("listen", move || engine.clone().listen(position));
        }
        Ok(count)
    }

    /// Everything that no living process holds becomes this one's.
    async fn take_over(&self) -> Result<usize, LedgerError> {
        let mut count = self.take_up_left_over().await?;
        loop {
            let entries = self.0.ledger.claim(HANDFUL).await?;
            if entries.is_empty() {
                return Ok(count);
            }
            count += entries.len();
            let ids: Vec<RestoreId> = entries.iter().map(|entry| entry.intent.id).collect();
            for (entry, left) in entries.into_iter().zip((0..).map(|done| &ids[done..])) {
                if let Err(error) = self.take_up(entry).await {
                    // They are this process's now: nobody else would find them.
                    self.left_over().extend(left);
                    return Err(error);
                }
            }
        }
    }

    /// What was claimed before and could not be taken up, as far as it is still this process's.
    async fn take_up_left_over(&self) -> Result<usize, LedgerError> {
        let ids = std::mem::take(&mut *self.left_over());
        for (done, id) in ids.iter().enumerate() {
            let again = async {
                match self.0.ledger.take(*id).await? {
                    true => self.0.ledger.get(*id).await,
                    false => Ok(None),
                }
            };
            let taken_up = match again.await {
                Ok(Some(entry)) => self.take_up(entry).await,
                other => other.map(drop),
            };
            if let Err(error) = taken_up {
                self.left_over().extend(&ids[done..]);
                return Err(error);
            }
        }
        Ok(ids.len())
    }

    fn left_over(&self) -> MutexGuard<'_, Vec<RestoreId>> {
        self.0.left_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with one restore where it stood.
    async fn take_up(&self, entry: Entry) -> Result<(), LedgerError> {
        let id = entry.intent.id;
        // Our own, after the ledger was away for longer than the lease: its task goes on by itself.
        if self.0.live.is_dispatching(id) {
            return Ok(());
        }
        let access = self.0.routing.access(&entry, None);
        let evidence =
            |what: &str| Evidence::new("restart", Strength::Weak, self.0.journal.now()).detail(what);
        let unsure = |reason: &str, found: &str| {
            let reason = reason.to_owned();
            let mut kinds = vec![(EventKind::Unsure { reason, problem: None }, evidence(found))];
            if access.is_none() {
                kinds.push((EventKind::Stale { awaiting_credential: true }, evidence("no token is kept")));
            }
            kinds
        };
        let unsent = entry.state.is_unsent() || entry.state.is_between_steps();
        let kinds = if unsent && self.0.journal.recovery().now().is_some() {
            unsure(
                "the ledger may be an older copy of itself, made before this restore was sent",
                "found unsent in a copy of the ledger",
            )
        } else if entry.state.status == Status::Submitting && !unsent {
            unsure(
                "the gateway was restarted while the request may have been on the wire",
                "found submitting",
            )
        } else if self.0.routing.rules().routes.pinned(&entry).is_none() {
            // No token would help; said once.
            let said = entry.state.stale_since.is_some() && !entry.state.awaiting_credential;
            let stale = EventKind::Stale { awaiting_credential: false };
            let reason = no_longer_named(entry.state.route(&entry.intent));
            if said { Vec::new() } else { vec![(stale, evidence(&reason))] }
        } else if entry.state.stale_since.is_none() && access.is_none() {
            vec![(EventKind::Stale { awaiting_credential: true }, evidence("no token is kept"))]
        } else {
            Vec::new()
        };
        let entry = match kinds.is_empty() {
            true => entry,
            false => match self.0.journal.append(&entry, Cause::Restart, kinds).await {
                // Somebody moved it on meanwhile: it is not left behind after all.
                Err(LedgerError::Stale(_)) => return Ok(()),
                written => written?,
            },
        };
        if entry.state.is_unsent() {
            match self.0.routing.rules().routes.pinned(&entry).zip(access) {
                Some((plan, access)) if matches!(entry.state.status, Status::Accepted | Status::Checking) => {
                    self.go_on(entry, plan, access);
                }
                _ => self.expire_later(id),
            }
        } else if !entry.state.status.is_final() {
            // Of several disks the next one is sent in its round.
            self.follow(&entry, access);
        }
        Ok(())
    }

    /// Sends what was accepted and could not be sent, with a credential of the gateway's own.
    fn go_on(&self, entry: Entry, plan: Plan, access: Access) {
        if self.0.live.claim(entry.intent.id) {
            let hold = Hold { lease: self.0.ledger.lease(), since: Instant::now() };
            self.carry_out_later((entry, hold), plan, access);
        }
    }

    /// Looks for restores whose process has fallen silent.
    async fn patrol(self) {
        let mut rounds = tokio::time::interval(self.0.routing.rules().policy.patrol);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.tasks.stop().cancelled() => return,
                _ = rounds.tick() => {}
            }
            let looked = async {
                self.0.journal.recovery().learn().await?;
                let processes = self.0.ledger.processes().await?;
                self.0.routing.queues().iter().for_each(|queue| queue.budget().share_among(processes));
                self.take_over().await
            };
            match looked.await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "restores of a silent replica were taken over"),
                Err(error) => tracing::warn!(error = %error, "silent replicas cannot be looked for"),
            }
        }
    }

    /// Hears what other replicas have written, and wakes who waits for it.
    async fn listen(self, mut position: Position) {
        let mut rounds = tokio::time::interval(LISTEN);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.tasks.stop().cancelled() => return,
                _ = rounds.tick() => {}
            }
            // Begun at one replica, recovery mode is everybody's at once.
            if let Err(error) = self.0.journal.recovery().learn().await {
                tracing::debug!(error = %error, "whether there is recovery mode cannot be read");
            }
            // Whoever cannot write says so elsewhere; this only waits until it can be heard again.
            while let Ok(news) = self.0.ledger.feed(position, HANDFUL).await {
                let Some(last) = news.last() else { break };
                position = last.position;
                for told in &news {
                    self.0.live.now_stands(&told.entry);
                    self.watch_again(&told.entry);
                }
                self.0.journal.count_commit();
                if news.len() < HANDFUL {
                    break;
                }
            }
        }
    }

    /// Forgets what need not be kept: restores past their retention, keys past their window.
    async fn tidy(self) {
        // The first round comes soon, so that a gateway that is restarted daily gets to it as well.
        let mut next = Instant::now() + TIDY / 10;
        loop {
            tokio::select! {
                () = self.0.tasks.stop().cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + TIDY;
            if let Err(error) = self.forget_old().await {
                tracing::warn!(error = %error, "what is old could not be forgotten");
            }
        }
    }

    /// Forgets upstreams as they were that no restore needs any more.
    async fn forget_former(&self) -> Result<(), LedgerError> {
        if !self.0.routing.rules().routes.has_former() {
            return Ok(());
        }
        let mut pins: Vec<RoutePin> = Vec::new();
        self.under_way(|entry| {
            let pin = entry.state.route(&entry.intent);
            let known = |known: &RoutePin| {
                (&known.upstream, &known.generation, &known.at) == (&pin.upstream, &pin.generation, &pin.at)
            };
            if !pins.iter().any(known) {
                pins.push(pin.clone());
            }
            // The fallback may still be needed.
            pins.extend(entry.intent.fallback.as_deref().filter(|_| entry.state.rerouted.is_none()).cloned());
        })
        .await?;
        self.0.routing.forget_former(&pins);
        Ok(())
    }

    /// How many restores are under way at upstreams that the settings name no more, by upstream. This process follows
    /// them to their end; one that is started anew would not know where to ask.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn outlasting(&self) -> Result<BTreeMap<String, usize>, LedgerError> {
        let routes = self.routes();
        let mut counts = BTreeMap::new();
        self.under_way(|entry| {
            let pin = entry.state.route(&entry.intent);
            if !routes.names(pin) {
                *counts.entry(pin.upstream.clone()).or_default() += 1;
            }
        })
        .await?;
        Ok(counts)
    }

    /// Shows every restore that is under way.
    async fn under_way(&self, show: impl FnMut(&Entry) + Send) -> Result<(), LedgerError> {
        let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        self.0.journal.each_of(Query { status, ..Query::default() }, show).await
    }

    pub(crate) async fn forget_old(&self) -> Result<(), LedgerError> {
        self.forget_former().await?;
        let now = self.0.journal.now();
        let ago = |age: Duration| {
            let age = self.0.journal.reaching_back(age);
            now.plus_seconds(-i64::try_from(age.as_secs()).unwrap_or(i64::MAX / 2_000_000))
        };
        // Nothing is forgotten that a window still answers with, whatever the retention says.
        let windows = self.0.routing.rules().routes.longest_window().max(SIGNATURES);
        let restores = match self.0.routing.rules().policy.retention {
            None => None,
            Some(retention) => {
                // What ended while a restore was under way that has not ended yet may be what its evidence belongs to.
                let under_way = self.0.ledger.unfinished().await?.oldest;
                let before = ago(retention.max(windows).max(EVIDENCE));
                Some(under_way.map_or(before, |oldest| before.min(oldest)))
            }
        };
        // Other replicas may have other windows, and this one had others before: no key is forgotten
        // that any settings could still honour.
        let keys = ago(self.0.routing.rules().routes.longest_key_window().max(LONGEST_KEY_WINDOW));
        loop {
            let pruned = self.0.ledger.prune(restores, keys, TIDY_STEP).await?;
            if pruned.restores > 0 || pruned.keys > 0 {
                tracing::info!(restores = pruned.restores, keys = pruned.keys, "old entries were forgotten");
            }
            if pruned.restores < TIDY_STEP && pruned.keys < TIDY_STEP {
                return Ok(());
            }
            if self.0.tasks.stop().is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Expires a restore that no process carries on with, for its locks block its target. Looks at it until it was sent or
    /// has ended: another process may take it in between and let go of it again.
    fn expire_later(&self, id: RestoreId) {
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.0.tasks.stop().cancelled() => return,
                    () = tokio::time::sleep(engine.0.routing.rules().policy.unsent) => {}
                }
                match engine.expire(id).await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(restore.id = %id, error = %error, "an unsent restore could not be expired");
                    }
                }
            }
        });
    }

    /// Expires an unsent restore. True when nothing is left to expire.
    async fn expire(&self, id: RestoreId) -> Result<bool, LedgerError> {
        let entry = match self.0.ledger.get(id).await? {
            Some(entry) if entry.state.is_unsent() && !entry.state.status.is_final() => entry,
            _ => return Ok(true),
        };
        let dispatching = self.0.live.is_dispatching(id);
        if dispatching || !self.0.ledger.take(id).await? {
            return Ok(false);
        }
        let evidence = Evidence::new("deadline", Strength::Strong, self.0.journal.now());
        match self.0.journal.append(&entry, Cause::Deadline, vec![(EventKind::Expired, evidence)]).await {
            Err(LedgerError::Stale(_)) => Ok(false),
            written => written.map(|_| true),
        }
    }
}
