//! Decides when a restore is polled: at the poll interval of its generation if there is a token for it, otherwise at
//! its deadlines only. Owns the poll scheduler and the restores without a poller. It reads nothing itself: the poller
//! takes the restores that are due.
//!
//! Stands above the journal, so that the dispatcher can hand over started restores without knowing the poller.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{RestoreId, State, Status, Timestamp};
use tokio::time::Instant;

use crate::journal::Journal;
use crate::live_restores::{GoesTo, LiveRestores};
use crate::routing::{Access, Routing};

mod poll_queue;

pub(crate) use crate::live_restores::Round;
use poll_queue::PollQueue;

/// From the answer to the first read.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(500);
/// As long as a restore is younger than this many seconds, it is read at least every
/// [`YOUNG_INTERVAL`], whatever the rhythm of its generation.
const YOUNG_SECONDS: u64 = 15;
/// Between reads of a young restore.
const YOUNG_INTERVAL: Duration = Duration::from_secs(2);
/// Between reads of a restore that waits for a person.
pub(crate) const OPERATOR_INTERVAL: Duration = Duration::from_secs(60);
/// How long after the time that absence needs reads go on at their usual interval.
const SETTLED: Duration = Duration::from_secs(120);

/// When each restore is polled next.
pub(crate) struct Schedule {
    journal: Arc<Journal>,
    live: Arc<LiveRestores>,
    routing: Arc<Routing>,
    /// Which restore is to be read next.
    queue: PollQueue,
    /// Unfinished restores of a shared ledger that this process followed and follows no more, because nothing can become true
    /// of them by time alone. Another replica may write an event after which something can.
    at_rest: Mutex<HashSet<RestoreId>>,
}

impl Schedule {
    pub(crate) fn new(journal: Arc<Journal>, live: Arc<LiveRestores>, routing: Arc<Routing>) -> Self {
        Self { journal, live, routing, queue: PollQueue::default(), at_rest: Mutex::default() }
    }

    /// Puts a restore into the poll queue, unless it stands there already. Without a token only its
    /// deadlines are watched.
    pub(crate) fn poll(&self, entry: &Entry, access: Option<Access>) {
        let id = entry.intent.id;
        let first = match access {
            // Without a configured interval the first poll is early, because a short restore that ends unseen cannot be
            // distinguished from none.
            Some(_) if self.routing.rules().policy.interval.is_none() => {
                Some(self.interval(entry).min(FIRST_LOOK))
            }
            Some(_) => Some(self.interval(entry)),
            None => self.until_deadline(entry),
        };
        if first.is_none() {
            self.rests(id);
        } else {
            self.at_rest().remove(&id);
        }
        if let Some(at) = self.live.poll(entry, first, access) {
            self.queue.put(at, id);
        }
    }

    /// True if a task dispatches a restore, or it is polled with a token.
    pub(crate) fn is_busy(&self, id: RestoreId) -> bool {
        self.live.is_busy(id)
    }

    /// Waits for the next restore that is due, and says for when it was put down.
    pub(crate) async fn next(&self) -> (Instant, RestoreId) {
        self.queue.next().await
    }

    /// Where a restore is polled that was due at this moment; none where it was put down for another one since.
    pub(crate) fn due(&self, id: RestoreId, at: Instant) -> Option<GoesTo> {
        self.live.due(id, at)
    }

    /// The upstream that a restore is polled at.
    pub(crate) fn polled_at(&self, id: RestoreId) -> Option<String> {
        self.live.polled_at(id)
    }

    /// Begins a round: with what the restore is read, and which of its tokens that is.
    pub(crate) fn begin_round(&self, id: RestoreId) -> Option<(Option<Access>, u32)> {
        self.live.begin_round(id)
    }

    /// Ends a round that was made with this of its tokens, and puts the restore into the poll queue for the next one if
    /// there is to be one.
    pub(crate) fn end_round(&self, id: RestoreId, used: u32, after: &Round) {
        let Some(next) = self.live.end_round(id, used, after, FIRST_LOOK) else { return };
        if let Some(at) = next {
            self.queue.put(at, id);
            return;
        }
        if !matches!(after, Round::Over) {
            self.rests(id);
        }
        self.live.forget_if_idle(id);
    }

    /// Remembers a restore that is followed no more. Only another replica can move it on unseen, so a ledger of one process
    /// has none to remember.
    fn rests(&self, id: RestoreId) {
        if self.journal.is_shared() {
            self.at_rest().insert(id);
        }
    }

    fn at_rest(&self) -> MutexGuard<'_, HashSet<RestoreId>> {
        self.at_rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls a restore again that this process polled before. An event of another replica may begin a deadline, and that
    /// replica may be gone before the deadline is over.
    pub(crate) fn poll_again(&self, entry: &Entry) {
        let id = entry.intent.id;
        if !self.at_rest().contains(&id) {
            return;
        }
        if entry.state.status.is_final() {
            self.at_rest().remove(&id);
        } else if self.until_deadline(entry).is_some() {
            self.poll(entry, self.routing.access(entry, None));
        }
    }

    /// Until something becomes true of a restore by time alone; nothing when all such is true.
    pub(crate) fn until_deadline(&self, entry: &Entry) -> Option<Duration> {
        let left = match entry.state.status {
            Status::Running if !entry.state.overdue => {
                let overdue = Duration::from_secs(entry.intent.route.overdue_seconds);
                overdue.saturating_sub(self.age(entry))
            }
            Status::Running if !entry.state.needs_operator => {
                let overdue = Duration::from_secs(entry.intent.route.overdue_seconds);
                (overdue + self.routing.rules().policy.unknown).saturating_sub(self.age(entry))
            }
            Status::Unknown if !entry.state.needs_operator => {
                let unknown_for = self.unknown_for(entry.intent.id, &entry.state);
                self.routing.rules().policy.unknown.saturating_sub(unknown_for)
            }
            _ => return None,
        };
        // Past it, not just before it.
        Some(left + Duration::from_millis(20))
    }

    /// Until the next read. Spread by a tenth, by a number that each restore has of its own, so
    /// that restores begun together are not read together for ever.
    pub(crate) fn interval(&self, entry: &Entry) -> Duration {
        let generation = restore_generations::by_name(&entry.state.route(&entry.intent).generation);
        let age = self.age(entry).as_secs();
        let own = Duration::from_secs(generation.map_or(15, |generation| generation.poll_interval(age)));
        let own = if age < YOUNG_SECONDS { own.min(YOUNG_INTERVAL) } else { own };
        let mut interval = self.routing.rules().policy.interval.unwrap_or(own);
        // An operator is asked, and reads go on: more slowly once absence can prove nothing more.
        let policy = &self.routing.rules().policy;
        let settled = self.unknown_for(entry.intent.id, &entry.state) > policy.send + policy.settle + SETTLED;
        if entry.state.needs_operator && (entry.state.status != Status::Unknown || settled) {
            interval = interval.max(OPERATOR_INTERVAL);
        }
        let share = entry.intent.id.spread();
        interval + interval / 1_000 * u32::from(share % 100)
    }

    /// The present moment as the send's own moment plus what the monotonic clock says has passed,
    /// where this process made the send; a wall clock that is set meanwhile changes nothing then.
    pub(crate) fn monotonic_now(&self, id: RestoreId, sent_at: Timestamp) -> Timestamp {
        match self.live.sent_ago(id) {
            Some(ago) => sent_at.plus_micros(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)),
            None => self.journal.now(),
        }
    }

    /// Since the send.
    pub(crate) fn age(&self, entry: &Entry) -> Duration {
        let sent_at = entry.state.submitted_at.unwrap_or(entry.intent.created_at);
        let now = self.monotonic_now(entry.intent.id, sent_at);
        let by_wall = Duration::from_micros(u64::try_from(now.micros_since(sent_at)).unwrap_or(0));
        // A wall clock that was set back makes nothing younger than this process has known it for.
        let known_for = self.live.known_for(entry.intent.id, entry.state.step);
        known_for.map_or(by_wall, |known_for| by_wall.max(known_for))
    }

    /// How long this process has known a restore to be unknown. Starts anew with the process:
    /// waiting longer than needed is safe, shorter is not.
    pub(crate) fn unknown_for(&self, id: RestoreId, state: &State) -> Duration {
        if state.status != Status::Unknown {
            return Duration::ZERO;
        }
        self.live.unknown_for(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::route::Routes;
    use crate::testing::{Base, base, policy, server, taken_in};

    fn schedule() -> (Base, Schedule) {
        let base = base();
        let routing = Arc::new(Routing::new(Routes::default(), policy()));
        let schedule = Schedule::new(Arc::clone(&base.journal), Arc::clone(&base.live), routing);
        (base, schedule)
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_read_is_due_soon_and_what_cannot_at_its_deadline() {
        let (base, schedule) = schedule();
        let mut entry = taken_in(&base.journal, server(), base.journal.now()).await;
        let id = entry.intent.id;
        entry.state.status = Status::Running;
        entry.state.submitted_at = Some(base.journal.now());
        schedule.poll(&entry, None);
        // A token comes, and it is put down for a moment before its deadline.
        schedule.poll(&entry, Some(Access::Held(None)));
        let begun = Instant::now();
        let (soon, due) = schedule.next().await;
        assert_eq!((due, begun.elapsed()), (id, FIRST_LOOK));
        let goes_to = Some(("vbs".to_owned(), entry.intent.request.project_id.clone()));
        assert_eq!(schedule.due(id, soon), Some(goes_to));
        let (late, due) = schedule.next().await;
        assert!((59..=60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        assert_eq!((due, schedule.due(id, late)), (id, None), "it was put down for another moment since");

        // Without a credential only its deadline is checked.
        let (_base, schedule) = self::schedule();
        schedule.poll(&entry, None);
        let (deadline, due) = schedule.next().await;
        assert_eq!((due, schedule.due(id, deadline)), (id, Some(None)));
    }

    /// F47: a restore becomes overdue by the time that passes, whatever the wall clock says, at each of its steps.
    #[tokio::test(start_paused = true)]
    async fn f47_a_wall_clock_that_was_set_back_keeps_no_step_young() {
        let (base, schedule) = schedule();
        let mut entry = taken_in(&base.journal, server(), base.journal.now()).await;
        entry.state.status = Status::Running;
        entry.state.submitted_at = Some(base.journal.now().plus_seconds(7_200));
        schedule.poll(&entry, None);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert!(schedule.age(&entry) >= Duration::from_secs(90));

        // Its first disk has ended, and nobody sends the next one.
        entry.state.step = 1;
        base.live.now_stands(&entry);
        assert_eq!(schedule.age(&entry), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert!(schedule.age(&entry) >= Duration::from_secs(90), "it is overdue");
    }
}
