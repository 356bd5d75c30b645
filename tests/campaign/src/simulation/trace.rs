//! What a simulation did, line by line with its moment: for people, and as one number, which is the same for every run
//! of a seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use restore_model::Timestamp;
use tokio::time::Instant;

/// 2026-11-22T10:00:00Z, when every simulation begins.
const BEGAN: Timestamp = Timestamp::from_micros(1_795_341_600_000_000);

/// The lines and the time. To be made on the runtime whose clock it reads.
pub struct Trace {
    began: Instant,
    kept: Mutex<Kept>,
}

struct Kept {
    lines: Vec<String>,
    hash: DefaultHasher,
}

impl Trace {
    /// At its beginning.
    pub fn new() -> Self {
        // Without keys by chance, so that it is the same in every process.
        Self {
            began: Instant::now(),
            kept: Mutex::new(Kept { lines: Vec::new(), hash: DefaultHasher::new() }),
        }
    }

    /// How long the simulation has gone on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The true time.
    pub fn time(&self) -> Timestamp {
        BEGAN.plus_micros(i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// How long after the beginning a moment was.
    pub fn since_began(moment: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(moment.micros_since(BEGAN)).unwrap_or(0))
    }

    /// Notes a line.
    pub fn line(&self, text: impl FnOnce() -> String) {
        let line = format!("{:>10.3} {}", self.elapsed().as_secs_f64(), text());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        line.hash(&mut kept.hash);
        kept.lines.push(line);
    }

    /// All of it.
    pub fn lines(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// The number of all lines.
    pub fn hash(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).hash.finish()
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
