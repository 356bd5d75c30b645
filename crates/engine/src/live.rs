//! What a stream of events reads, one caller at a time and at the caller's pace: nothing is kept here for a reader
//! that is slow.

use restore_ledger::{Entry, GATHER, POLL, Position, Told};
use restore_model::{Problem, RestoreId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Engine, unavailable};

impl Engine {
    /// Events of all restores after a place in the feed, at most `limit`, in the order of their commits.
    ///
    /// # Errors
    /// [`restore_model::Code::LedgerUnavailable`].
    pub async fn feed(&self, after: Position, limit: usize) -> Result<Vec<Told>, Problem> {
        self.0.ledger.feed(after, limit).await.map_err(unavailable)
    }

    /// The present end of the feed.
    ///
    /// # Errors
    /// As [`Engine::feed`].
    pub async fn position(&self) -> Result<Position, Problem> {
        self.0.ledger.position().await.map_err(unavailable)
    }

    /// Waits until the ledger may hold more than when `changed` was last looked at, or `until` has come.
    pub async fn commits(&self, changed: &mut watch::Receiver<u64>, until: Instant) {
        let until = if self.0.ledger.is_shared() { until.min(Instant::now() + POLL) } else { until };
        if tokio::time::timeout_at(until, changed.changed()).await.is_ok() {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Waits until a restore has an event after the number `seen`, or `until` has come, and returns it as it then
    /// is.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub async fn news(&self, id: RestoreId, seen: u32, until: Instant) -> Result<Entry, Problem> {
        loop {
            let soon = if self.0.ledger.is_shared() { until.min(Instant::now() + POLL) } else { until };
            let entry = self.wait_while(id, soon, |entry| entry.state.seq <= seen).await?;
            if entry.state.seq > seen || soon == until || self.0.stop.is_cancelled() {
                return Ok(entry);
            }
        }
    }
}
