//! The agenda: which restore is to be read next, and when. One task for all restores, because there
//! may be very many of them and nearly all of them only wait. What is due goes into the lane of its
//! upstream, where the budget lets it pass, the projects taking turns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_model::RestoreId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::Engine;
use crate::pacing::UpstreamQueue;

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

impl Engine {
    /// Works the agenda off until the engine stops.
    pub(crate) async fn work_off(self) {
        loop {
            let (at, id) = tokio::select! {
                () = self.0.tasks.stop().cancelled() => return,
                due = self.0.agenda.next() => due,
            };
            // Put down for another moment since.
            let Some(goes_to) = self.0.live.due(id, at) else { continue };
            if let Some((upstream, project)) = goes_to {
                self.0.routing.queue(&upstream).push(&project, at, id);
            } else {
                // There is nothing to read it with: only its deadlines are looked at.
                let engine = self.clone();
                self.0.tasks.spawn(async move { engine.follow_once(id).await });
            }
        }
    }

    /// Has a queue worked for as long as the engine runs.
    pub(crate) fn keep_lane(&self, queue: Arc<UpstreamQueue>) {
        let engine = self.clone();
        self.0.tasks.keep("lane", move || engine.clone().work_lane(Arc::clone(&queue)));
    }

    /// Reads what is due at one upstream until the engine stops.
    async fn work_lane(self, queue: Arc<UpstreamQueue>) {
        let rounds = Arc::new(Semaphore::new(MAX_ROUNDS));
        loop {
            let Ok(round) = Arc::clone(&rounds).acquire_owned().await else { return };
            let (due, id) = tokio::select! {
                () = self.0.tasks.stop().cancelled() => return,
                next = queue.next() => next,
            };
            let late = due.elapsed();
            let upstream = self.0.live.polled_at(id);
            let engine = self.clone();
            self.0.tasks.spawn(async move {
                tokio::select! {
                    () = engine.0.tasks.stop().cancelled() => {}
                    () = engine.follow_once(id) => {}
                }
                drop(round);
            });
            // After that: what comes out of the queue is followed, whatever becomes of who is told.
            if let Some(upstream) = upstream {
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
}
