//! Waits for commits: of one restore, or at the end of the feed of all. Streams of events read here, each at the pace
//! of its reader, and nothing is stored for a slow reader.

use restore_ledger::{Entry, FeedItem, GATHER, POLL, Position};
use restore_model::{Problem, RestoreId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Journal, unavailable};
use crate::live_restores::LiveRestores;

impl Journal {
    /// Tells when anything was written: the number changes with every commit.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Tells all who wait that something was written, here or by another replica.
    pub(crate) fn count_commit(&self) {
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
    }

    /// Waits until a restore is final or `until` has come, and returns it as it then is.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(crate) async fn wait(&self, id: RestoreId, until: Instant) -> Result<Entry, Problem> {
        self.wait_while(id, until, |entry| !entry.state.status.is_final()).await
    }

    /// Waits as long as `open` says so of the restore, until `until` at the longest.
    pub(crate) async fn wait_while(
        &self,
        id: RestoreId,
        until: Instant,
        open: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, Problem> {
        // Also of one that is hung up on: it goes after the receiver.
        let _forgets = Forgets(&self.live, id);
        let mut changes = self.live.subscribe(id);
        loop {
            // Marked as seen before the look, so that no change falls between the two.
            changes.mark_unchanged();
            let entry = self.get(id).await;
            match &entry {
                Ok(entry) if open(entry) => {}
                _ => return entry,
            }
            tokio::select! {
                changed = tokio::time::timeout_at(until, changes.changed()) => {
                    if changed.is_err() {
                        return entry;
                    }
                }
                // Nobody is kept waiting while the gateway stops.
                () = self.stop.cancelled() => return entry,
            }
        }
    }

    /// Events of all restores after a place in the feed, at most `limit`, in the order of their commits.
    ///
    /// # Errors
    /// [`restore_model::Code::LedgerUnavailable`].
    pub(crate) async fn feed(&self, after: Position, limit: usize) -> Result<Vec<FeedItem>, Problem> {
        self.ledger.feed(after, limit).await.map_err(unavailable)
    }

    /// The present end of the feed.
    ///
    /// # Errors
    /// As [`Journal::feed`].
    pub(crate) async fn position(&self) -> Result<Position, Problem> {
        self.ledger.position().await.map_err(unavailable)
    }

    /// Waits until the ledger may hold more than when `changed` was last looked at, or `until` has come.
    pub(crate) async fn commits(&self, changed: &mut watch::Receiver<u64>, until: Instant) {
        let until = if self.ledger.is_shared() { until.min(Instant::now() + POLL) } else { until };
        if tokio::time::timeout_at(until, changed.changed()).await.is_ok() {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Waits until a restore has an event after the number `seen`, or `until` has come, and returns it as it then
    /// is.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(crate) async fn news(&self, id: RestoreId, seen: u32, until: Instant) -> Result<Entry, Problem> {
        loop {
            let soon = if self.ledger.is_shared() { until.min(Instant::now() + POLL) } else { until };
            let entry = self.wait_while(id, soon, |entry| entry.state.seq <= seen).await?;
            if entry.state.seq > seen || soon == until || self.stop.is_cancelled() {
                return Ok(entry);
            }
        }
    }
}

/// Looks, when it goes, whether anything must be kept of a restore.
struct Forgets<'a>(&'a LiveRestores, RestoreId);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.forget_if_idle(self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use restore_model::{Cause, EventKind, Evidence, Status, Strength};

    use super::*;
    use crate::testing::{base, server, taken_in};

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_hung_up_on_leaves_nothing() {
        let base = base();
        let id = taken_in(&base.journal, server(), base.journal.now()).await.intent.id;
        let hour = Duration::from_secs(3_600);
        let wait = base.journal.wait(id, Instant::now() + hour);
        assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err(), "it is waiting");
        assert!(base.live.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_end_gets_it_as_it_is_written_and_no_event_before_it() {
        let base = base();
        let entry = taken_in(&base.journal, server(), base.journal.now()).await;
        let id = entry.intent.id;
        let begun = Instant::now();
        let wait = tokio::spawn({
            let journal = Arc::clone(&base.journal);
            async move { journal.wait(id, begun + Duration::from_secs(3_600)).await }
        });
        let mut commits = base.journal.changed();
        let mut entry = entry;
        for (after, kind) in [(5, EventKind::Checking), (10, EventKind::Cancelled)] {
            tokio::time::sleep(Duration::from_secs(after)).await;
            assert!(!wait.is_finished(), "after {:?}", begun.elapsed());
            let evidence = Evidence::new("test", Strength::Strong, base.journal.now());
            entry = base.journal.append(&entry, Cause::Caller, vec![(kind, evidence)]).await.unwrap();
            assert!(commits.has_changed().unwrap());
            commits.mark_unchanged();
        }
        let ended = wait.await.unwrap().unwrap();
        assert_eq!((ended.state.status, begun.elapsed().as_secs()), (Status::Cancelled, 15));
        assert_eq!(ended.state.seq, entry.state.seq);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_kept_waiting_beyond_the_time_or_the_stop() {
        let base = base();
        let id = taken_in(&base.journal, server(), base.journal.now()).await.intent.id;
        let begun = Instant::now();
        let soon = base.journal.wait(id, begun + Duration::from_secs(3)).await.unwrap();
        assert_eq!((soon.state.status, begun.elapsed().as_secs()), (Status::Accepted, 3));
        base.journal.stop.cancel();
        let stopped = base.journal.wait(id, begun + Duration::from_secs(3_600)).await.unwrap();
        assert_eq!((stopped.state.status, begun.elapsed().as_secs()), (Status::Accepted, 3));
    }
}
