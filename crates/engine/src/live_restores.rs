//! Keeps in memory what is known of restores that have not ended: who waits, which task has one, how it is polled, and the
//! tokens it is read and sent with. May be lost with the process, and costs at worst a read or a wait.
//!
//! One table and one lock, below the journal, the dispatcher and the poller: what one of them lets go of is forgotten
//! only when none of the others needs the restore any more, and "does a task have it, or is it polled?" is one look.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{ProjectId, RestoreId, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::routing::Access;

/// What is kept in memory of a restore that is not final.
#[derive(Default)]
struct Live {
    /// Tells waiters the number of the last event.
    changes: Option<watch::Sender<u32>>,
    /// Whether a task dispatches it.
    dispatching: bool,
    /// Whether it is in the poll queue, or being read.
    followed: bool,
    /// For when it is in the poll queue.
    due: Option<Instant>,
    /// The upstream that it goes to and its project, while it is followed.
    goes_to: Option<(String, ProjectId)>,
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

/// What a round of polling left to be done.
pub(crate) enum Round {
    /// Another one after so long.
    Again(Duration),
    /// The token is of no use: only deadlines are left, the next of them after so long.
    Unread(Option<Duration>),
    /// Nothing.
    Over,
}

/// The upstream that a restore is polled at and its project, where there is a token to poll it with.
pub(crate) type GoesTo = Option<(String, ProjectId)>;

/// The restores that have not ended, as far as this process has to do with them.
#[derive(Default)]
pub(crate) struct LiveRestores(Mutex<HashMap<RestoreId, Live>>);

impl LiveRestores {
    fn live(&self) -> MutexGuard<'_, HashMap<RestoreId, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of each further event of a restore, until it is dropped.
    pub(crate) fn subscribe(&self, id: RestoreId) -> watch::Receiver<u32> {
        let mut live = self.live();
        let known = live.entry(id).or_default();
        known.changes.get_or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Wakes who waits for a restore, and forgets what need not be kept of it. For every commit, also one of another
    /// replica.
    pub(crate) fn now_stands(&self, entry: &Entry) {
        let id = entry.intent.id;
        let mut live = self.live();
        let Some(known) = live.get_mut(&id) else { return };
        if let Some(changes) = &known.changes {
            changes.send_replace(entry.state.seq);
        }
        if entry.state.status == Status::Unknown {
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

    /// Drops what is kept in memory of a restore that nobody dispatches, follows or waits for.
    pub(crate) fn forget_if_idle(&self, id: RestoreId) {
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

    /// Claims a restore for the present task; not if another one has it already.
    pub(crate) fn claim(&self, id: RestoreId) -> bool {
        let mut live = self.live();
        !std::mem::replace(&mut live.entry(id).or_default().dispatching, true)
    }

    /// Gives the claim on a restore back.
    pub(crate) fn unclaim(&self, id: RestoreId) {
        if let Some(known) = self.live().get_mut(&id) {
            known.dispatching = false;
        }
        self.forget_if_idle(id);
    }

    /// Whether a task dispatches it.
    pub(crate) fn is_dispatching(&self, id: RestoreId) -> bool {
        self.live().get(&id).is_some_and(|live| live.dispatching)
    }

    /// Whether a task dispatches it, or it is polled with a token.
    pub(crate) fn is_busy(&self, id: RestoreId) -> bool {
        self.live().get(&id).is_some_and(|live| live.dispatching || (live.followed && live.access.is_some()))
    }

    /// Keeps the credential that the next disks of a restore are sent with, until it has ended.
    pub(crate) fn keep_sender(&self, entry: &Entry, access: &Access) {
        if !entry.state.steps.is_empty() && !entry.state.status.is_final() {
            self.live().entry(entry.intent.id).or_default().sender = Some(access.clone());
        }
    }

    /// That credential.
    pub(crate) fn sender(&self, id: RestoreId) -> Option<Access> {
        self.live().get(&id).and_then(|live| live.sender.clone())
    }

    /// Notes that this process sends a restore just now.
    pub(crate) fn note_sent(&self, id: RestoreId) {
        if let Some(live) = self.live().get_mut(&id) {
            live.sent = Some(Instant::now());
        }
    }

    /// How long ago this process sent it, on the monotonic clock.
    pub(crate) fn sent_ago(&self, id: RestoreId) -> Option<Duration> {
        self.live().get(&id).and_then(|live| live.sent).map(|sent| sent.elapsed())
    }

    /// How long this process has followed a step of a restore.
    pub(crate) fn known_for(&self, id: RestoreId, step: u16) -> Option<Duration> {
        self.live().get_mut(&id).map(|known| known.known_since(step).elapsed())
    }

    /// How long this process has known a restore to be unknown.
    pub(crate) fn unknown_for(&self, id: RestoreId) -> Duration {
        let mut live = self.live();
        live.entry(id).or_default().unknown_since.get_or_insert_with(Instant::now).elapsed()
    }

    /// Begins to poll a restore, first after so long, unless it is polled already. Returns for when it is to be put into
    /// the poll queue, if it is.
    pub(crate) fn poll(
        &self,
        entry: &Entry,
        first: Option<Duration>,
        access: Option<Access>,
    ) -> Option<Instant> {
        let mut live = self.live();
        let known = live.entry(entry.intent.id).or_default();
        // It is being read already; a token that works is not given up for one that may not.
        let (Some(first), false) = (first, known.followed && known.access.is_some()) else { return None };
        if access.is_some() {
            known.access = access;
            known.accesses = known.accesses.wrapping_add(1);
        }
        known.known_since(entry.state.step);
        let upstream = entry.state.route(&entry.intent).upstream.clone();
        known.goes_to = Some((upstream, entry.intent.request.project_id.clone()));
        let at = Instant::now() + first;
        // In its round it has no place in the queue, and gets one at the end of that.
        if !std::mem::replace(&mut known.followed, true) || known.due.is_some_and(|due| at < due) {
            known.due = Some(at);
            return Some(at);
        }
        None
    }

    /// Where a restore is polled that came out of the poll queue for this moment; none where it was put down for another
    /// one since.
    pub(crate) fn due(&self, id: RestoreId, at: Instant) -> Option<GoesTo> {
        let live = self.live();
        let known = live.get(&id).filter(|known| known.due == Some(at))?;
        Some(known.goes_to.clone().filter(|_| known.access.is_some()))
    }

    /// The upstream that a restore is polled at.
    pub(crate) fn polled_at(&self, id: RestoreId) -> Option<String> {
        self.live().get(&id)?.goes_to.as_ref().map(|(upstream, _)| upstream.clone())
    }

    /// Begins a round: with what the restore is read, and which of its tokens that is.
    pub(crate) fn begin_round(&self, id: RestoreId) -> Option<(Option<Access>, u32)> {
        let mut live = self.live();
        let known = live.get_mut(&id)?;
        known.due = None;
        Some((known.access.clone(), known.accesses))
    }

    /// Ends a round that was made with this of its tokens; `retry` is when a token that came meanwhile is tried. Returns
    /// for when the next one is to be put into the poll queue, if there is to be one.
    pub(crate) fn end_round(
        &self,
        id: RestoreId,
        used: u32,
        after: &Round,
        retry: Duration,
    ) -> Option<Option<Instant>> {
        let mut live = self.live();
        let known = live.get_mut(&id)?;
        // A token that came meanwhile is tried, whatever became of the one before.
        let newer = known.accesses != used && known.access.is_some();
        let next = match after {
            Round::Again(wait) => Some(*wait),
            Round::Unread(_) | Round::Over if newer => Some(retry),
            Round::Unread(deadline) => {
                known.access = None;
                *deadline
            }
            Round::Over => None,
        };
        if let Some(wait) = next {
            let at = Instant::now() + wait;
            known.due = Some(at);
            return Some(Some(at));
        }
        known.followed = false;
        known.access = None;
        known.goes_to = None;
        Some(None)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.live().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{base, server, taken_in};

    #[tokio::test(start_paused = true)]
    async fn what_another_replica_has_ended_leaves_nothing() {
        let base = base();
        let mut entry = taken_in(&base.journal, server(), base.journal.now()).await;
        let live = LiveRestores::default();
        entry.state.status = Status::Unknown;
        live.live().entry(entry.intent.id).or_default();
        live.now_stands(&entry);
        assert!(!live.is_empty(), "since when it is unknown is kept");
        entry.state.status = Status::NotApplied;
        live.now_stands(&entry);
        assert!(live.is_empty());
    }

    #[tokio::test]
    async fn one_task_at_a_time_has_a_restore() {
        let live = LiveRestores::default();
        let id = server().id;
        assert!(live.claim(id) && !live.claim(id));
        assert!(live.is_dispatching(id) && live.is_busy(id));
        live.unclaim(id);
        assert!(live.is_empty());
        assert!(live.claim(id));
    }
}
