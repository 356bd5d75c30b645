//! Positions in the feed: the one order in which the events of all restores were committed.

use std::fmt;
use std::str::FromStr;

use restore_model::Event;

use crate::Entry;

/// A position in the feed of one ledger. Later positions compare greater; they have no other meaning. Positions of two
/// ledgers are not comparable. Written as `12-34`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64, i64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0, 0);

    pub(crate) const fn new(first: i64, second: i64) -> Self {
        Self(first, second)
    }

    pub(crate) const fn first(self) -> i64 {
        self.0
    }

    pub(crate) const fn second(self) -> i64 {
        self.1
    }
}

/// The error for a text that is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is two numbers with a dash between them")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = |digits: &str| {
            let number = digits.parse::<i64>().ok()?;
            // Each position has only one spelling.
            (number >= 0 && number.to_string() == digits).then_some(number)
        };
        let (first, second) = text.split_once('-').ok_or(InvalidPosition)?;
        number(first).zip(number(second)).map(|(first, second)| Self(first, second)).ok_or(InvalidPosition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// One event of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedItem {
    /// Its position in the feed.
    pub position: Position,
    /// The restore of the event in its current state: later events may have changed it.
    pub entry: Entry,
    /// The event.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_and_read_back() {
        let places =
            [Position::START, Position(0, 7), Position(3, 1), Position(3, i64::MAX), Position(20, 0)];
        for pair in places.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for place in places {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", "1-", "-1", "1--2", "1-2-3", "01-2", "+1-2", "a-b", "1-99999999999999999999"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
