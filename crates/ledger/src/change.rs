//! What a group changes: the rows to store, drawn from what its [`Book`] became.

use restore_model::{Event, RestoreId, State};

use crate::book::{Book, Row, lock_target};
use crate::group::Decided;

#[derive(Default)]
pub(crate) struct Change<'a> {
    pub(crate) new: Vec<(RestoreId, &'a Row)>,
    pub(crate) moved: Vec<(RestoreId, &'a State)>,
    pub(crate) events: Vec<(RestoreId, &'a Event)>,
    /// Locks to let go, before any is taken.
    pub(crate) released: Vec<&'a str>,
    pub(crate) taken: Vec<(&'a str, RestoreId)>,
    /// Caller, key and restore; of two with one caller and key the later counts.
    pub(crate) keys: Vec<(&'a str, &'a str, RestoreId)>,
    pub(crate) targets: Vec<(&'a str, RestoreId)>,
}

impl<'a> Change<'a> {
    pub(crate) fn of(book: &'a Book, decided: &Decided<'_>) -> Self {
        let mut change = Self::default();
        for id in &decided.came {
            change.come(*id, &book.rows[id]);
        }
        for id in &decided.moved {
            change.shift(*id, &book.rows[id], decided.open_before.contains(id));
        }
        change
    }

    fn come(&mut self, id: RestoreId, row: &'a Row) {
        let Row { intent, state, events, locks } = row;
        self.new.push((id, row));
        self.events.extend(events.iter().map(|event| (id, event)));
        if !state.status.is_final() {
            self.taken.extend(locks.iter().map(|lock| (&**lock, id)));
        }
        if let Some(key) = &intent.key {
            self.keys.push((&intent.caller, key, id));
        }
        self.targets.extend(locks.iter().map(|lock| (lock_target(lock), id)));
    }

    fn shift(&mut self, id: RestoreId, row: &'a Row, was_open: bool) {
        self.moved.push((id, &row.state));
        self.events.extend(row.events.iter().map(|event| (id, event)));
        if was_open && row.state.status.is_final() {
            self.released.extend(row.locks.iter().map(|lock| &**lock));
        }
    }
}
