//! The agenda: which restore is to be read next, and when. One task for all restores, because
//! there may be very many of them and nearly all of them only wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_model::RestoreId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::Engine;

/// Rounds of reads under way at once; more wait their turn, so that many restores that are due
/// together do not crowd out the sends.
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

    /// Waits for the next restore that is due.
    async fn next(&self) -> RestoreId {
        loop {
            let earliest = {
                let mut due = self.due();
                match due.peek() {
                    Some(Reverse((at, id))) if *at <= Instant::now() => {
                        let id = *id;
                        due.pop();
                        return id;
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

impl Engine {
    /// Works the agenda off until the engine stops.
    pub(crate) async fn work_off(self) {
        let rounds = Arc::new(Semaphore::new(MAX_ROUNDS));
        loop {
            let id = tokio::select! {
                () = self.0.stop.cancelled() => return,
                id = self.0.agenda.next() => id,
            };
            let Ok(round) = Arc::clone(&rounds).acquire_owned().await else { return };
            let engine = self.clone();
            self.0.tasks.spawn(async move {
                tokio::select! {
                    () = engine.0.stop.cancelled() => {}
                    () = engine.follow_once(id) => {}
                }
                drop(round);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use restore_model::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_its_order_and_at_its_time() {
        let agenda = Arc::new(Agenda::default());
        let begun = Instant::now();
        let [late, soon] = [2, 1].map(|n| RestoreId::at(Timestamp::from_micros(n)));
        agenda.put(begun + Duration::from_secs(20), late);
        let other = Arc::clone(&agenda);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            other.put(begun + Duration::from_secs(10), soon);
        });
        assert_eq!((agenda.next().await, begun.elapsed().as_secs()), (soon, 10));
        assert_eq!((agenda.next().await, begun.elapsed().as_secs()), (late, 20));
    }
}
