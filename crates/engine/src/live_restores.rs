//! Data in memory about restores without a final status: waiting callers, running tasks, polls, and the tokens for
//! reads and attempts. It may be lost with the process, and costs at worst a read or a wait.
//!
//! It is one table with one lock, below the journal, the dispatcher and the poller. So a restore is forgotten only when
//! none of them needs it any more, and one look answers if a task holds a restore or a poller tracks it.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{ProjectId, RestoreId, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::routing::Access;

/// Data in memory about a restore that is not final. There may be a million of them, and nearly all only wait for
/// their next poll: what the others need besides is apart.
#[derive(Default)]
struct Live {
    /// For when it is in the poll queue.
    due: Option<Moment>,
    /// Since when this process has followed its present step.
    known_since: Option<Moment>,
    /// When this process sent it.
    sent: Option<Moment>,
    /// Data that few restores need.
    more: Option<Box<More>>,
    /// The upstream that it goes to and its project, while it is followed.
    goes_to: Option<Place>,
    /// The step that `known_since` is about.
    step: u16,
    /// True if a task dispatches it.
    dispatching: bool,
    /// True if it is in the poll queue, or being read.
    polled: Polled,
}

/// True if a restore is in the poll queue, or being read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Polled {
    #[default]
    No,
    Yes,
    /// With the upstream's own credential, and with nothing else.
    ByOwnCredential,
}

/// Data about a restore with a waiting caller, with the token of a caller, or with an unknown outcome.
#[derive(Default)]
struct More {
    /// Tells waiters the number of the last event.
    changes: Option<watch::Sender<u32>>,
    /// With what it is read, where that is more than the upstream's own credential.
    access: Option<Access>,
    /// With what the next disks of a restore with several steps are sent: what its own caller brought for it.
    sender: Option<Access>,
    /// Counts the tokens it was given, and suchlike.
    accesses: u32,
    /// When this process first saw it unknown, on the monotonic clock.
    unknown_since: Option<Instant>,
}

/// A moment of the monotonic clock, in nanoseconds since the table was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(NonZeroU64);

/// A number in [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(NonZeroU32);

/// Places that are kept although no restore may use them.
const FEW_PLACES: usize = 1_024;

/// The upstreams and projects that restores go to: usually few, whatever the number of restores.
#[derive(Default)]
struct Places {
    numbers: HashMap<Arc<(String, ProjectId)>, Place>,
    places: Vec<Arc<(String, ProjectId)>>,
}

impl Places {
    fn place(&mut self, upstream: &str, project: &ProjectId) -> Option<Place> {
        let goes_to = Arc::new((upstream.to_owned(), project.clone()));
        if let Some(place) = self.numbers.get(&goes_to) {
            return Some(*place);
        }
        self.places.push(Arc::clone(&goes_to));
        let place = Place(NonZeroU32::new(u32::try_from(self.places.len()).ok()?)?);
        self.numbers.insert(goes_to, place);
        Some(place)
    }

    fn get(&self, place: Place) -> Option<&(String, ProjectId)> {
        let index = usize::try_from(place.0.get()).ok()?;
        self.places.get(index - 1).map(|place| &**place)
    }
}

impl Live {
    /// Since when this process has followed a step of the restore. Asked at every look, so that a step which another
    /// process or a read has ended meanwhile is noticed.
    fn known_since(&mut self, step: u16, now: Moment) -> Moment {
        match self.known_since {
            Some(since) if self.step == step => since,
            _ => {
                self.step = step;
                *self.known_since.insert(now)
            }
        }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn is_followed(&self) -> bool {
        self.polled != Polled::No
    }

    /// With what it is read.
    fn access(&self) -> Option<Access> {
        let brought = self.more.as_ref().and_then(|more| more.access.clone());
        brought.or_else(|| (self.polled == Polled::ByOwnCredential).then_some(Access::Held(None)))
    }

    fn has_access(&self) -> bool {
        self.polled == Polled::ByOwnCredential || self.more.as_ref().is_some_and(|more| more.access.is_some())
    }

    /// Has it followed, and read with this where there is something to read it with; what it was read with before is kept
    /// otherwise.
    fn follow(&mut self, access: Option<Access>) {
        let own = matches!(access, Some(Access::Held(None)));
        // Of one that nobody reads there is no round that an earlier token was used in.
        if access.is_some() && (!own || self.is_followed() || self.more.is_some()) {
            let more = self.more();
            more.accesses = more.accesses.wrapping_add(1);
            more.access = access.filter(|_| !own);
        }
        if own || self.polled != Polled::ByOwnCredential {
            self.polled = if own { Polled::ByOwnCredential } else { Polled::Yes };
        }
    }

    /// Takes away what it is read with.
    fn take_access(&mut self) {
        if self.polled == Polled::ByOwnCredential {
            self.polled = Polled::Yes;
        }
        if let Some(more) = &mut self.more {
            more.access = None;
        }
    }

    fn unknown_since(&mut self) -> Instant {
        *self.more().unknown_since.get_or_insert_with(Instant::now)
    }

    /// Lets go of what is kept for waiters that have gone, and of what is empty.
    fn tidy(&mut self) {
        // There the count of its tokens still matters.
        let in_round = self.is_followed() && self.due.is_none();
        if let Some(more) = &mut self.more {
            if more.changes.as_ref().is_some_and(watch::Sender::is_closed) {
                more.changes = None;
            }
            let More { changes, access, sender, accesses: _, unknown_since } = &**more;
            let is_empty = changes.is_none() && access.is_none() && sender.is_none();
            if is_empty && unknown_since.is_none() && !in_round {
                self.more = None;
            }
        }
    }
}

/// Work that remains after a round of polling.
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
pub(crate) struct LiveRestores {
    /// Start of the time scale.
    begun: Instant,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    restores: HashMap<RestoreId, Live>,
    places: Places,
}

impl Table {
    /// Returns the number of a place. Unused places are forgotten once they may be the most, so places never take more
    /// memory than restores.
    fn place(&mut self, upstream: &str, project: &ProjectId) -> Option<Place> {
        if self.places.places.len() >= FEW_PLACES + 2 * self.restores.len() {
            let all = std::mem::take(&mut self.places);
            for live in self.restores.values_mut() {
                let used = live.goes_to.and_then(|place| all.get(place));
                live.goes_to = used.and_then(|(upstream, project)| self.places.place(upstream, project));
            }
        }
        self.places.place(upstream, project)
    }
}

impl Default for LiveRestores {
    fn default() -> Self {
        Self { begun: Instant::now(), table: Mutex::default() }
    }
}

impl LiveRestores {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self, at: Instant) -> Moment {
        let nanos = at.saturating_duration_since(self.begun).as_nanos();
        Moment(NonZeroU64::MIN.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn elapsed(&self, since: Moment) -> Duration {
        let nanos = self.moment(Instant::now()).0.get().saturating_sub(since.0.get());
        Duration::from_nanos(nanos)
    }

    /// Tells of each further event of a restore, until it is dropped.
    pub(crate) fn subscribe(&self, id: RestoreId) -> watch::Receiver<u32> {
        let mut table = self.table();
        let known = table.restores.entry(id).or_default();
        known.more().changes.get_or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Wakes who waits for a restore, and forgets what need not be kept of it. For every commit, also one of another
    /// replica.
    pub(crate) fn now_stands(&self, entry: &Entry) {
        let id = entry.intent.id;
        let mut table = self.table();
        let Some(known) = table.restores.get_mut(&id) else { return };
        if let Some(changes) = known.more.as_ref().and_then(|more| more.changes.as_ref()) {
            changes.send_replace(entry.state.seq);
        }
        if entry.state.status == Status::Unknown {
            known.unknown_since();
        } else if let Some(more) = &mut known.more {
            more.unknown_since = None;
        }
        if entry.state.status.is_final() {
            // The token of a finished restore is of no more use to anybody.
            known.take_access();
            if let Some(more) = &mut known.more {
                more.sender = None;
            }
            drop(table);
            self.forget_if_idle(id);
        }
    }

    /// Drops what is kept in memory of a restore that nobody dispatches, follows or waits for.
    pub(crate) fn forget_if_idle(&self, id: RestoreId) {
        let mut table = self.table();
        if let Some(known) = table.restores.get_mut(&id) {
            known.tidy();
            let unused = known.more.as_ref().is_none_or(|more| {
                more.changes.is_none() && more.sender.is_none() && more.unknown_since.is_none()
            });
            if unused && !known.dispatching && !known.is_followed() && !known.has_access() {
                table.restores.remove(&id);
            }
        }
    }

    /// Claims a restore for the present task; not if another one has it already.
    pub(crate) fn claim(&self, id: RestoreId) -> bool {
        let mut table = self.table();
        !std::mem::replace(&mut table.restores.entry(id).or_default().dispatching, true)
    }

    /// Gives the claim on a restore back.
    pub(crate) fn unclaim(&self, id: RestoreId) {
        if let Some(known) = self.table().restores.get_mut(&id) {
            known.dispatching = false;
        }
        self.forget_if_idle(id);
    }

    /// True if a task dispatches it.
    pub(crate) fn is_dispatching(&self, id: RestoreId) -> bool {
        self.table().restores.get(&id).is_some_and(|live| live.dispatching)
    }

    /// True if a task dispatches it, or it is polled with a token.
    pub(crate) fn is_busy(&self, id: RestoreId) -> bool {
        let table = self.table();
        table
            .restores
            .get(&id)
            .is_some_and(|live| live.dispatching || (live.is_followed() && live.has_access()))
    }

    /// Keeps the credential that the next disks of a restore are sent with, until it has ended.
    pub(crate) fn keep_sender(&self, entry: &Entry, access: &Access) {
        if !entry.state.steps.is_empty() && !entry.state.status.is_final() {
            self.table().restores.entry(entry.intent.id).or_default().more().sender = Some(access.clone());
        }
    }

    /// That credential.
    pub(crate) fn sender(&self, id: RestoreId) -> Option<Access> {
        self.table().restores.get(&id).and_then(|live| live.more.as_ref()?.sender.clone())
    }

    /// Notes that this process sends a restore just now.
    pub(crate) fn note_sent(&self, id: RestoreId) {
        let now = self.moment(Instant::now());
        if let Some(live) = self.table().restores.get_mut(&id) {
            live.sent = Some(now);
        }
    }

    /// How long ago this process sent it, on the monotonic clock.
    pub(crate) fn sent_ago(&self, id: RestoreId) -> Option<Duration> {
        let sent = self.table().restores.get(&id).and_then(|live| live.sent);
        sent.map(|sent| self.elapsed(sent))
    }

    /// How long this process has followed a step of a restore.
    pub(crate) fn known_for(&self, id: RestoreId, step: u16) -> Option<Duration> {
        let now = self.moment(Instant::now());
        let since = self.table().restores.get_mut(&id).map(|known| known.known_since(step, now));
        since.map(|since| self.elapsed(since))
    }

    /// How long this process has known a restore to be unknown.
    pub(crate) fn unknown_for(&self, id: RestoreId) -> Duration {
        self.table().restores.entry(id).or_default().unknown_since().elapsed()
    }

    /// Begins to poll a restore, first after so long, unless it is polled already. Returns for when it is to be put into
    /// the poll queue, if it is.
    pub(crate) fn poll(
        &self,
        entry: &Entry,
        first: Option<Duration>,
        access: Option<Access>,
    ) -> Option<Instant> {
        let mut table = self.table();
        let known = table.restores.entry(entry.intent.id).or_default();
        // It is being read already; a token that works is not given up for one that may not.
        let (Some(first), false) = (first, known.is_followed() && known.has_access()) else { return None };
        let followed = known.is_followed();
        known.follow(access);
        let now = Instant::now();
        known.known_since(entry.state.step, self.moment(now));
        let at = now + first;
        let due = self.moment(at);
        // In its round it has no place in the queue, and gets one at the end of that.
        let is_queued = !followed || known.due.is_some_and(|earlier| due.0 < earlier.0);
        if is_queued {
            known.due = Some(due);
        }
        let upstream = &entry.state.route(&entry.intent).upstream;
        let goes_to = table.place(upstream, &entry.intent.request.project_id);
        table.restores.entry(entry.intent.id).or_default().goes_to = goes_to;
        is_queued.then_some(at)
    }

    /// Where a restore is polled that came out of the poll queue for this moment; none where it was put down for another
    /// one since.
    pub(crate) fn due(&self, id: RestoreId, at: Instant) -> Option<GoesTo> {
        let table = self.table();
        let known = table.restores.get(&id).filter(|known| known.due == Some(self.moment(at)))?;
        let goes_to = known.goes_to.and_then(|place| table.places.get(place));
        Some(goes_to.filter(|_| known.has_access()).cloned())
    }

    /// The upstream that a restore is polled at.
    pub(crate) fn polled_at(&self, id: RestoreId) -> Option<String> {
        let table = self.table();
        let place = table.restores.get(&id)?.goes_to?;
        table.places.get(place).map(|(upstream, _)| upstream.clone())
    }

    /// Begins a round: with what the restore is read, and which of its tokens that is.
    pub(crate) fn begin_round(&self, id: RestoreId) -> Option<(Option<Access>, u32)> {
        let mut table = self.table();
        let known = table.restores.get_mut(&id)?;
        known.due = None;
        Some((known.access(), known.more.as_ref().map_or(0, |more| more.accesses)))
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
        let mut table = self.table();
        let known = table.restores.get_mut(&id)?;
        // A token that came meanwhile is tried, whatever became of the one before.
        let accesses = known.more.as_ref().map_or(0, |more| more.accesses);
        let newer = accesses != used && known.has_access();
        let next = match after {
            Round::Again(wait) => Some(*wait),
            Round::Unread(_) | Round::Over if newer => Some(retry),
            Round::Unread(deadline) => {
                known.take_access();
                *deadline
            }
            Round::Over => None,
        };
        if let Some(wait) = next {
            let at = Instant::now() + wait;
            known.due = Some(self.moment(at));
            known.tidy();
            return Some(Some(at));
        }
        known.take_access();
        known.polled = Polled::No;
        known.goes_to = None;
        Some(None)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.table().restores.is_empty()
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
        live.table().restores.entry(entry.intent.id).or_default();
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

    /// A million of them fit into 120 megabytes, with the room that a hash table needs.
    #[test]
    fn what_waits_for_its_poll_needs_56_bytes() {
        assert_eq!(size_of::<(RestoreId, Live)>(), 56);
    }

    /// Restores of many projects come and go.
    #[tokio::test(start_paused = true)]
    async fn places_that_no_restore_uses_are_forgotten() {
        let base = base();
        let mut entry = taken_in(&base.journal, server(), base.journal.now()).await;
        entry.state.status = Status::Running;
        let live = LiveRestores::default();
        let first = entry.intent.id;
        let own = Some(Access::Held(None));
        assert!(live.poll(&entry, Some(Duration::ZERO), own.clone()).is_some());
        let upstream = live.polled_at(first);
        for number in 0..4 * FEW_PLACES {
            let mut intent = (*entry.intent).clone();
            intent.id = RestoreId::at(base.journal.now());
            intent.request.project_id = format!("{number:032x}").parse().unwrap();
            let id = intent.id;
            let other = Entry { intent: intent.into(), state: entry.state.clone() };
            assert!(live.poll(&other, Some(Duration::ZERO), own.clone()).is_some());
            let (_, used) = live.begin_round(id).expect("a round");
            live.end_round(id, used, &Round::Over, Duration::ZERO);
            live.forget_if_idle(id);
        }
        assert!(live.table().places.places.len() <= FEW_PLACES + 2);
        assert_eq!(live.polled_at(first), upstream, "a place in use is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_waits_for_its_poll_keeps_nothing_else() {
        let base = base();
        let mut entry = taken_in(&base.journal, server(), base.journal.now()).await;
        entry.state.status = Status::Running;
        let (id, live) = (entry.intent.id, LiveRestores::default());
        let has_more = || live.table().restores[&id].more.is_some();
        let soon = Some(Duration::from_secs(1));
        let due = live.poll(&entry, soon, Some(Access::Held(None))).expect("a place in the queue");
        assert!(!has_more() && live.is_busy(id));
        for _ in 0..3 {
            let (access, used) = live.begin_round(id).expect("a round");
            assert!(matches!(access, Some(Access::Held(None))));
            // The caller no longer waits.
            drop(live.subscribe(id));
            let again = live.end_round(id, used, &Round::Again(Duration::from_secs(1)), Duration::ZERO);
            assert!(again.flatten().is_some_and(|again| again >= due) && !has_more());
        }

        // A token that came in a round without one is tried.
        let (_, used) = live.begin_round(id).expect("a round");
        live.end_round(id, used, &Round::Unread(soon), Duration::ZERO);
        let (access, used) = live.begin_round(id).expect("a round");
        assert!(access.is_none());
        assert!(live.poll(&entry, soon, Some(Access::Held(None))).is_none(), "it is in its round");
        let tried = live.end_round(id, used, &Round::Unread(None), Duration::ZERO);
        assert!(tried.flatten().is_some() && live.is_busy(id));
        let (access, _) = live.begin_round(id).expect("a round");
        assert!(matches!(access, Some(Access::Held(None))));
    }
}
