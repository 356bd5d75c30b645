//! Counts the idempotency keys of each caller: in the ledger from time to time, in memory in between. The limit exists
//! so that keys do not fill the disk. With several replicas a few more keys do not matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use restore_ledger::{Ledger, LedgerError};
use restore_model::Problem;

use crate::brief::Brief;
use crate::journal::unavailable;

/// How long a count of a caller's keys is believed.
const KEY_COUNT: Duration = Duration::from_secs(30);

/// Keys that each caller has, as counted a moment ago, and those that came since.
pub(super) struct KeyCounts {
    ledger: Arc<dyn Ledger>,
    counts: Brief<String, Arc<AtomicUsize>>,
}

impl KeyCounts {
    pub(super) fn of(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, counts: Brief::new(10_000, KEY_COUNT) }
    }

    /// True if a caller has fewer keys than that.
    pub(super) async fn is_below(&self, most: usize, caller: &String) -> Result<bool, Problem> {
        let count = async {
            let count = self.ledger.keys(caller, most).await?;
            Ok::<_, LedgerError>(Arc::new(AtomicUsize::new(count)))
        };
        let count = self.counts.try_get_with_by_ref(caller, count).await;
        let count = count.map_err(|error| unavailable(LedgerError::Unavailable(error.to_string())))?;
        Ok(count.load(Ordering::Relaxed) < most)
    }

    /// Counts a key that a caller has just got.
    pub(super) async fn count_one_more(&self, caller: &String) {
        if let Some(count) = self.counts.get(caller).await {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{base, server, taken_in};

    #[tokio::test(start_paused = true)]
    async fn a_key_counts_at_once_here_and_after_a_while_where_another_replica_took_it_in() {
        let base = base();
        let keys = KeyCounts::of(Arc::clone(&base.ledger));
        let ann = "ann".to_owned();
        assert!(keys.is_below(1, &ann).await.unwrap());
        let mut intent = server();
        intent.key = Some("one".to_owned());
        taken_in(&base.journal, intent, base.journal.now()).await;
        assert!(keys.is_below(1, &ann).await.unwrap(), "the count of a moment ago is believed");
        tokio::time::advance(KEY_COUNT).await;
        assert!(!keys.is_below(1, &ann).await.unwrap());
        assert!(keys.is_below(2, &ann).await.unwrap());
        keys.count_one_more(&ann).await;
        assert!(!keys.is_below(2, &ann).await.unwrap(), "it counts at once");
        assert!(keys.is_below(1, &"bob".to_owned()).await.unwrap());
    }
}
