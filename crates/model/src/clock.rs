//! Wall-clock time as a parameter, so that a test can change it.
//!
//! Deadlines never use this clock: they use the runtime's monotonic time (invariant I9). It dates stored data, and
//! times of an upstream's clock are compared with it, with tolerance.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time in UTC with microsecond precision; its text is RFC 3339 with a `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the time `micros` microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns this time plus `micros` microseconds, which may be negative.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Returns this time plus whole seconds, which may be negative.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_micros(seconds.saturating_mul(1_000_000))
    }

    /// Whole microseconds from `earlier` to this time, negative if `earlier` is later.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same time as a [`jiff::Timestamp`], for formats.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(value: jiff::Timestamp) -> Self {
        Self(value.as_microsecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Written::of(*self) {
            Some(written) => f.write_str(written.as_str()),
            None => fmt::Display::fmt(&self.to_jiff(), f),
        }
    }
}

/// Text of a time from 1970 to 9999 in the format of [`jiff`], in a tenth of the time: each stored restore contains
/// about twenty of them.
struct Written {
    text: [u8; 27],
    length: usize,
}

impl Written {
    fn of(moment: Timestamp) -> Option<Self> {
        const END: u64 = 253_402_207_200_000_000;
        let micros = u64::try_from(moment.0).ok().filter(|micros| *micros < END)?;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01 in eras of 400 years. Years begin in March, so that a leap day is the last day of a
        // year.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + later;

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, second / 3_600)];
        let rest = [(14, 2, second / 60 % 60), (17, 2, second % 60), (20, 6, fraction)];
        for (at, digits, mut number) in parts.into_iter().chain(rest) {
            for digit in text[at..at + digits].iter_mut().rev() {
                *digit = b"0123456789"[(number % 10) as usize];
                number /= 10;
            }
        }
        // A fraction has no trailing zeros, and the point appears only with a fraction.
        let mut length = 26;
        while text[length - 1] == b'0' && length > 20 {
            length -= 1;
        }
        if length == 20 {
            length = 19;
        }
        text[length] = b'Z';
        Some(Self { text, length: length + 1 })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(Self::from)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Written::of(*self) {
            Some(written) => serializer.serialize_str(written.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A source of wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed point of this process, by a clock that cannot be set.
    fn elapsed(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time is read")]
    fn now(&self) -> Timestamp {
        jiff::Timestamp::now().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_jiff_writes_it() {
        const DAY: i64 = 86_400_000_000;
        // Every day up to 2400 and the last possible ones, each at a different time of day.
        let days = (0..157_100).chain(2_932_000..2_932_897);
        let moments = days.map(|day| day * DAY + day * 7_654_321_987 % DAY);
        let edges = [0, 1, 100, 1_000_000, 1_500_000, DAY - 1, DAY, -1, -DAY, 253_402_207_199_999_999];
        for micros in moments.chain(edges).chain([253_402_207_200_000_000, i64::MAX, i64::MIN]) {
            let moment = Timestamp::from_micros(micros);
            assert_eq!(moment.to_string(), moment.to_jiff().to_string());
        }
    }
}
