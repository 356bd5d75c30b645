//! The agenda: which restore is to be read next, and when. One task for all restores, because there
//! may be very many of them and nearly all of them only wait. What is due goes into the lane of its
//! upstream, where the budget lets it pass, the projects taking turns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_model::{ProjectId, RestoreId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::Engine;
use crate::budget::Budget;

/// Rounds of reads under way at once in one lane; more wait their turn, so that many restores that
/// are due together do not crowd out the sends.
const MAX_ROUNDS: usize = 32;

/// What is due when.
#[derive(Default)]
pub(crate) struct Agenda {
    due: Mutex<BinaryHeap<Reverse<(Instant, RestoreId)>>>,
    sooner: Notify,
}

impl Agenda {
    fn due(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Instant, RestoreId)>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a restore down for a moment.
    pub(crate) fn put(&self, at: Instant, id: RestoreId) {
        let mut due = self.due();
        let first = due.peek().is_none_or(|Reverse((earliest, _))| at < *earliest);
        due.push(Reverse((at, id)));
        drop(due);
        if first {
            self.sooner.notify_one();
        }
    }

    /// Waits for the next restore that is due, and says for when it was put down.
    async fn next(&self) -> (Instant, RestoreId) {
        loop {
            let earliest = {
                let mut due = self.due();
                match due.peek() {
                    Some(Reverse((at, id))) if *at <= Instant::now() => {
                        let next = (*at, *id);
                        due.pop();
                        return next;
                    }
                    Some(Reverse((at, _))) => Some(*at),
                    None => None,
                }
            };
            match earliest {
                None => self.sooner.notified().await,
                Some(at) => tokio::select! {
                    () = self.sooner.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }
}

/// What is due at one upstream.
pub(crate) struct Lane {
    pub(crate) budget: Budget,
    waiting: Mutex<Turns>,
    more: Notify,
}

/// Restores by project, and whose turn it is.
#[derive(Default)]
struct Turns {
    order: VecDeque<ProjectId>,
    restores: HashMap<ProjectId, VecDeque<(Instant, RestoreId)>>,
}

impl Lane {
    /// A lane with so many reads per minute; 0 is no limit.
    pub(crate) fn per_minute(reads: u32) -> Self {
        Self { budget: Budget::per_minute(reads), waiting: Mutex::default(), more: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Turns> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many restores wait here for their read.
    pub(crate) fn len(&self) -> usize {
        self.waiting().restores.values().map(VecDeque::len).sum()
    }

    /// Lets a restore wait for its turn, which was due `at`.
    pub(crate) fn push(&self, project: &ProjectId, at: Instant, id: RestoreId) {
        let mut turns = self.waiting();
        let Turns { order, restores } = &mut *turns;
        match restores.get_mut(project) {
            Some(waiting) => waiting.push_back((at, id)),
            None => {
                restores.insert(project.clone(), VecDeque::from([(at, id)]));
                order.push_back(project.clone());
            }
        }
        drop(turns);
        self.more.notify_one();
    }

    fn pop(&self) -> Option<(Instant, RestoreId)> {
        let mut turns = self.waiting();
        let project = turns.order.pop_front()?;
        let waiting = turns.restores.get_mut(&project)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            turns.restores.remove(&project);
        } else {
            turns.order.push_back(project);
        }
        first
    }

    /// Waits until one is due here and may be read, its first read being paid for; says for when it was due.
    async fn next(&self) -> (Instant, RestoreId) {
        loop {
            while self.waiting().order.is_empty() {
                self.more.notified().await;
            }
            // Whose turn it is, is decided after the wait.
            self.budget.take().await;
            if let Some(next) = self.pop() {
                return next;
            }
        }
    }
}

impl Engine {
    /// Works the agenda off until the engine stops.
    pub(crate) async fn work_off(self) {
        loop {
            let (at, id) = tokio::select! {
                () = self.0.stop.cancelled() => return,
                due = self.0.agenda.next() => due,
            };
            let lane = {
                let live = self.live();
                let Some(known) = live.get(&id) else { continue };
                // Put down for another moment since.
                if known.due != Some(at) {
                    continue;
                }
                known.lane.clone().filter(|_| known.access.is_some())
            };
            if let Some((upstream, project)) = lane {
                self.lane(&upstream).push(&project, at, id);
            } else {
                // There is nothing to read it with: only its deadlines are looked at.
                let engine = self.clone();
                self.0.tasks.spawn(async move { engine.follow_once(id).await });
            }
        }
    }

    /// Has a lane worked for as long as the engine runs.
    pub(crate) fn keep_lane(&self, lane: Arc<Lane>) {
        self.keep("lane", move |engine| engine.work_lane(Arc::clone(&lane)));
    }

    /// Reads what is due in one lane until the engine stops.
    async fn work_lane(self, lane: Arc<Lane>) {
        let rounds = Arc::new(Semaphore::new(MAX_ROUNDS));
        loop {
            let Ok(round) = Arc::clone(&rounds).acquire_owned().await else { return };
            let (due, id) = tokio::select! {
                () = self.0.stop.cancelled() => return,
                next = lane.next() => next,
            };
            let late = due.elapsed();
            let lane = self.live().get(&id).and_then(|known| known.lane.clone());
            let engine = self.clone();
            self.0.tasks.spawn(async move {
                tokio::select! {
                    () = engine.0.stop.cancelled() => {}
                    () = engine.follow_once(id) => {}
                }
                drop(round);
            });
            // After that: what comes off the agenda is followed, whatever becomes of who is told.
            if let Some((upstream, _)) = lane {
                self.0.witness.read(&upstream, late);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use restore_model::Timestamp;

    fn id(n: i64) -> RestoreId {
        RestoreId::at(Timestamp::from_micros(n))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_its_order_and_at_its_time() {
        let agenda = Arc::new(Agenda::default());
        let begun = Instant::now();
        let [late, soon] = [id(2), id(1)];
        agenda.put(begun + Duration::from_secs(20), late);
        let other = Arc::clone(&agenda);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            other.put(begun + Duration::from_secs(10), soon);
        });
        assert_eq!((agenda.next().await.1, begun.elapsed().as_secs()), (soon, 10));
        assert_eq!((agenda.next().await.1, begun.elapsed().as_secs()), (late, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn projects_take_turns_however_many_restores_each_has() {
        let lane = Lane::per_minute(60);
        let [many, few]: [ProjectId; 2] =
            ["a", "b"].map(|digit| digit.repeat(32).parse().expect("a project id"));
        let of_many: Vec<_> = (0..100).map(id).collect();
        for id in &of_many {
            lane.push(&many, Instant::now(), *id);
        }
        let of_few = [id(1_000), id(1_001)];
        for id in of_few {
            lane.push(&few, Instant::now(), id);
        }
        let begun = Instant::now();
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(lane.next().await.1);
        }
        assert_eq!(order, [of_many[0], of_few[0], of_many[1], of_few[1], of_many[2], of_many[3]]);
        // One a second, but the first.
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
