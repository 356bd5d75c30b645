//! A wall clock that is wrong by as much as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use restore_model::{Clock, SystemClock, Timestamp};

/// The machine's clock, moved. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct WrongClock(Arc<AtomicI64>);

impl WrongClock {
    /// Wrong by so many seconds.
    #[must_use]
    pub fn by_seconds(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds)))
    }

    /// Sets it forward, or back.
    pub fn set_on_by(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::SeqCst))
    }
}
