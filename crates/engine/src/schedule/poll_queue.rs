//! The poll scheduler: the next restore to poll, and its time. One queue holds all restores, because there may be very
//! many and nearly all of them only wait. A restore that is due moves to the queue of its upstream, where the read
//! quota and the turns of the projects decide.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_model::RestoreId;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Restores by the time of their next poll, in nanoseconds since the queue was made: there may be a million of them.
pub(crate) struct PollQueue {
    begun: Instant,
    due: Mutex<BinaryHeap<Reverse<(u64, RestoreId)>>>,
    sooner: Notify,
}

impl Default for PollQueue {
    fn default() -> Self {
        Self { begun: Instant::now(), due: Mutex::default(), sooner: Notify::default() }
    }
}

impl PollQueue {
    fn due(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(u64, RestoreId)>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a restore down for a moment.
    pub(crate) fn put(&self, at: Instant, id: RestoreId) {
        let nanos = at.saturating_duration_since(self.begun).as_nanos();
        let at = u64::try_from(nanos).unwrap_or(u64::MAX);
        let mut due = self.due();
        let first = due.peek().is_none_or(|Reverse((earliest, _))| at < *earliest);
        due.push(Reverse((at, id)));
        drop(due);
        if first {
            self.sooner.notify_one();
        }
    }

    /// Waits for the next restore that is due, and says for when it was put down.
    pub(crate) async fn next(&self) -> (Instant, RestoreId) {
        loop {
            let earliest = {
                let mut due = self.due();
                let earliest =
                    due.peek().map(|Reverse((at, id))| (self.begun + Duration::from_nanos(*at), *id));
                if let Some((at, id)) = earliest
                    && at <= Instant::now()
                {
                    due.pop();
                    return (at, id);
                }
                earliest.map(|(at, _)| at)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use restore_model::Timestamp;

    use super::*;

    fn id(n: i64) -> RestoreId {
        RestoreId::at(Timestamp::from_micros(n))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_its_order_and_at_its_time() {
        let queue = Arc::new(PollQueue::default());
        let begun = Instant::now();
        let [late, soon] = [id(2), id(1)];
        queue.put(begun + Duration::from_secs(20), late);
        let other = Arc::clone(&queue);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            other.put(begun + Duration::from_secs(10), soon);
        });
        assert_eq!((queue.next().await.1, begun.elapsed().as_secs()), (soon, 10));
        assert_eq!((queue.next().await.1, begun.elapsed().as_secs()), (late, 20));
    }
}
