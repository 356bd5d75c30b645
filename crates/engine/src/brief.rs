//! Values that are valid for a short time: a cache on the clock of the runtime, so that a test with a paused clock sees
//! the time pass. The clock of the cache library is that of the machine.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use moka::future::Cache;
use tokio::time::Instant;

/// Values that count for so long after they were found out.
pub(crate) struct Brief<K, V> {
    kept: Cache<K, (Instant, V)>,
    lasts: Duration,
}

impl<K, V> Brief<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most so many, each for so long.
    pub(crate) fn new(most: u64, lasts: Duration) -> Self {
        // By the machine's clock as well, so that what is never asked for again is let go.
        Self { kept: Cache::builder().max_capacity(most).time_to_live(lasts).build(), lasts }
    }

    fn counts(&self, (since, _): &(Instant, V)) -> bool {
        since.elapsed() < self.lasts
    }

    /// The value, while it counts.
    pub(crate) async fn get(&self, key: &K) -> Option<V> {
        self.kept.get(key).await.filter(|kept| self.counts(kept)).map(|(_, value)| value)
    }

    /// True if there is one that counts.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        // A look never waits; if it did, nothing would be believed, which is safe.
        self.get(key).now_or_never().flatten().is_some()
    }

    pub(crate) async fn insert(&self, key: K, value: V) {
        self.kept.insert(key, (Instant::now(), value)).await;
    }

    pub(crate) async fn invalidate(&self, key: &K) {
        self.kept.invalidate(key).await;
    }

    pub(crate) fn invalidate_all(&self) {
        self.kept.invalidate_all();
    }

    async fn drop_old(&self, key: &K) {
        if self.kept.get(key).await.is_some_and(|kept| !self.counts(&kept)) {
            self.kept.invalidate(key).await;
        }
    }

    /// The value, found out once for all who ask meanwhile.
    pub(crate) async fn get_with(&self, key: K, find_out: impl Future<Output = V>) -> V {
        self.drop_old(&key).await;
        self.kept.get_with(key, async { (Instant::now(), find_out.await) }).await.1
    }

    /// As [`Brief::get_with`]; what cannot be found out is not kept.
    pub(crate) async fn try_get_with_by_ref<E: Send + Sync + 'static>(
        &self,
        key: &K,
        find_out: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>> {
        self.drop_old(key).await;
        let kept = self.kept.try_get_with_by_ref(key, async { Ok((Instant::now(), find_out.await?)) }).await;
        kept.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_believed_is_forgotten_by_the_clock_of_the_runtime() {
        let brief: Brief<&str, u32> = Brief::new(10, Duration::from_secs(5));
        assert_eq!(brief.get_with("a", async { 1 }).await, 1);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(brief.get_with("a", async { 2 }).await, 1);
        assert!(brief.contains_key(&"a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!brief.contains_key(&"a"));
        assert_eq!(brief.get(&"a").await, None);
        assert_eq!(brief.get_with("a", async { 3 }).await, 3);
        let failed = brief.try_get_with_by_ref(&"b", async { Err::<u32, _>("no") }).await;
        assert_eq!(*failed.unwrap_err(), "no");
        assert_eq!(brief.try_get_with_by_ref(&"b", async { Ok::<_, &str>(4) }).await.unwrap(), 4);
    }
}
