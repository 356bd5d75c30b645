//! A wall clock that is wrong by as much as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use restore_model::{Clock, SystemClock, Timestamp};

/// The machine's clock, moved. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct WrongClock {
    ahead: Arc<AtomicI64>,
    passed: Arc<AtomicU64>,
}

impl WrongClock {
    /// Wrong by so many seconds.
    #[must_use]
    pub fn by_seconds(seconds: i64) -> Self {
        Self { ahead: Arc::new(AtomicI64::new(seconds)), ..Self::default() }
    }

    /// Sets it forward, or back.
    pub fn set_on_by(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Lets so much time pass, which is no jump.
    pub fn pass(&self, seconds: u64) {
        self.passed.fetch_add(seconds, Ordering::SeqCst);
        self.set_on_by(seconds.cast_signed());
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.ahead.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + Duration::from_secs(self.passed.load(Ordering::SeqCst))
    }
}
