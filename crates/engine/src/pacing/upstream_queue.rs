//! Poll queue of one upstream. The projects take turns, and the read quota of the upstream decides when the next poll starts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use restore_model::{ProjectId, RestoreId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::quota::ReadQuota;

/// The poll queue of one upstream, and the read quota of all calls that are made there.
pub(crate) struct UpstreamQueue {
    quota: ReadQuota,
    waiting: Mutex<Turns>,
    more: Notify,
}

/// Restores by project, and whose turn it is.
#[derive(Default)]
struct Turns {
    order: VecDeque<ProjectId>,
    restores: HashMap<ProjectId, VecDeque<(Instant, RestoreId)>>,
}

impl UpstreamQueue {
    /// A queue with so many reads per minute; 0 is no limit.
    pub(crate) fn per_minute(reads: u32) -> Self {
        Self { quota: ReadQuota::per_minute(reads), waiting: Mutex::default(), more: Notify::new() }
    }

    /// The read quota of the calls that are made there.
    pub(crate) const fn quota(&self) -> &ReadQuota {
        &self.quota
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
    pub(crate) async fn next(&self) -> (Instant, RestoreId) {
        loop {
            while self.waiting().order.is_empty() {
                self.more.notified().await;
            }
            // Whose turn it is, is decided after the wait.
            self.quota.take().await;
            if let Some(next) = self.pop() {
                return next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use restore_model::Timestamp;

    use super::*;

    fn id(n: i64) -> RestoreId {
        RestoreId::at(Timestamp::from_micros(n))
    }

    #[tokio::test(start_paused = true)]
    async fn projects_take_turns_however_many_restores_each_has() {
        let queue = UpstreamQueue::per_minute(60);
        let [many, few]: [ProjectId; 2] =
            ["a", "b"].map(|digit| digit.repeat(32).parse().expect("a project id"));
        let of_many: Vec<_> = (0..100).map(id).collect();
        for id in &of_many {
            queue.push(&many, Instant::now(), *id);
        }
        let of_few = [id(1_000), id(1_001)];
        for id in of_few {
            queue.push(&few, Instant::now(), id);
        }
        let begun = Instant::now();
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(queue.next().await.1);
        }
        assert_eq!(order, [of_many[0], of_few[0], of_many[1], of_few[1], of_many[2], of_many[3]]);
        // One a second, but the first.
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
