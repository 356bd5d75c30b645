//! The order of all events, as references to the rows of the book.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use restore_model::RestoreId;

use crate::book::Book;
use crate::{FeedItem, Position};

#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Position, restore and event number.
    told: VecDeque<(i64, RestoreId, u32)>,
    last: i64,
    /// Number of entries of `told` that the book has forgotten.
    gone: usize,
}

impl Feed {
    pub(super) fn tell(&mut self, id: RestoreId, numbers: RangeInclusive<u32>) {
        for seq in numbers {
            self.last += 1;
            self.told.push_back((self.last, id, seq));
        }
    }

    pub(super) fn end(&self) -> Position {
        Position::new(self.last, 0)
    }

    pub(super) fn after(&self, after: Position, limit: usize, book: &Book) -> Vec<FeedItem> {
        let from = self.told.partition_point(|(position, ..)| *position <= after.first());
        let told = self.told.range(from..).filter_map(|(position, id, seq)| {
            let row = book.rows.get(id)?;
            let event = row.events.get(usize::try_from(*seq).ok()?.checked_sub(1)?)?.clone();
            Some(FeedItem { position: Position::new(*position, 0), entry: row.entry(), event })
        });
        told.take(limit).collect()
    }

    /// Removes the entries of this many forgotten events. They are removed together once they are half of all entries,
    /// so that each costs little and memory stays bounded.
    pub(super) fn forget(&mut self, events: usize, book: &Book) {
        self.gone += events;
        if self.gone * 2 > self.told.len() {
            self.told.retain(|(_, id, _)| book.rows.contains_key(id));
            self.gone = 0;
        }
    }
}
