//! Time of the clouds: a clock as a parameter, and an offset that tests can increase.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Source of the simulator's time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the simulator takes the time from the air"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The clouds' time: the given clock plus the offset from `POST /_sim/clock`.
#[derive(Debug)]
pub(crate) struct CloudClock {
    base: Arc<dyn Clock>,
    ahead_seconds: AtomicI64,
}

impl CloudClock {
    pub(crate) fn new(base: Arc<dyn Clock>) -> Self {
        Self { base, ahead_seconds: AtomicI64::new(0) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead_seconds());
        self.base.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn ahead_seconds(&self) -> i64 {
        self.ahead_seconds.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, seconds: u32) {
        self.ahead_seconds.fetch_add(i64::from(seconds), Ordering::SeqCst);
    }

    pub(crate) fn reset(&self) {
        self.ahead_seconds.store(0, Ordering::SeqCst);
    }
}

/// The three timestamp formats of the clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// `2026-11-22T10:15:02.311+00:00`, Open Telekom Cloud's CBR.
    Offset,
    /// `2026-11-22T10:15:02.311000`, CSBS, Cinder, and Huawei Cloud's CBR: no zone, in UTC.
    Micros,
    /// `2026-11-22T10:15:02.311Z`, VBS jobs.
    Zulu,
}

impl TimeFormat {
    pub(crate) fn write(self, at: Timestamp) -> String {
        let pattern = match self {
            TimeFormat::Offset => "%Y-%m-%dT%H:%M:%S.%3f+00:00",
            TimeFormat::Micros => "%Y-%m-%dT%H:%M:%S.%6f",
            TimeFormat::Zulu => "%Y-%m-%dT%H:%M:%S.%3fZ",
        };
        at.strftime(pattern).to_string()
    }
}

/// The format of the `Date` header.
pub(crate) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_written_as_documented() {
        let at: Timestamp = "2026-11-22T10:15:02.311Z".parse().unwrap();
        assert_eq!(TimeFormat::Offset.write(at), "2026-11-22T10:15:02.311+00:00");
        assert_eq!(TimeFormat::Micros.write(at), "2026-11-22T10:15:02.311000");
        assert_eq!(TimeFormat::Zulu.write(at), "2026-11-22T10:15:02.311Z");
        assert_eq!(http_date(at), "Sun, 22 Nov 2026 10:15:02 GMT");
    }
}
