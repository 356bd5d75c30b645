//! Changes of a group: the rows to store, taken from its [`Book`].

use restore_model::{Event, RestoreId, State};

use crate::book::{Book, Row, tasks};
use crate::group::Decided;

#[derive(Default)]
pub(crate) struct Change<'a> {
    pub(crate) new: Vec<(RestoreId, &'a Row)>,
    pub(crate) moved: Vec<(RestoreId, &'a State)>,
    pub(crate) events: Vec<(RestoreId, &'a Event)>,
    /// Restores that ended in this group. Their locks are released before any new lock is taken.
    pub(crate) ended: Vec<(RestoreId, &'a Row)>,
    /// Caller, key and restore. If two have the same caller and key, the later one counts.
    pub(crate) keys: Vec<(&'a str, &'a str, RestoreId)>,
    /// Project, task and restore. A task that is already bound to its restore may be included.
    pub(crate) tasks: Vec<(&'a str, String, RestoreId)>,
}

impl<'a> Change<'a> {
    pub(crate) fn of(book: &'a Book, decided: &Decided<'_>) -> Self {
        let mut change = Self::default();
        for id in &decided.came {
            change.come(*id, &book.rows[id]);
        }
        for (id, was_open) in &decided.moved {
            change.shift(*id, &book.rows[id], *was_open);
        }
        change
    }

    fn come(&mut self, id: RestoreId, row: &'a Row) {
        self.new.push((id, row));
        self.tell(id, row);
        if row.state.status.is_final() {
            self.ended.push((id, row));
        }
        if let Some(key) = &row.intent.key {
            self.keys.push((&row.intent.caller, key, id));
        }
    }

    fn shift(&mut self, id: RestoreId, row: &'a Row, was_open: bool) {
        self.moved.push((id, &row.state));
        self.tell(id, row);
        if was_open && row.state.status.is_final() {
            self.ended.push((id, row));
        }
    }

    fn tell(&mut self, id: RestoreId, row: &'a Row) {
        self.events.extend(row.events.iter().map(|event| (id, event)));
        let project = row.intent.request.project_id.as_str();
        self.tasks.extend(tasks(&row.events).map(|task| (project, task, id)));
    }

    /// Returns the new unfinished restores: they take their locks.
    pub(crate) fn taking(&self) -> impl Iterator<Item = (RestoreId, &'a Row)> {
        self.new.iter().copied().filter(|(_, row)| !row.state.status.is_final())
    }
}

/// Returns every lock of these restores, held or not.
pub(crate) fn locks<'a>(rows: impl Iterator<Item = (RestoreId, &'a Row)>) -> Vec<(&'a str, RestoreId)> {
    rows.flat_map(|(id, row)| row.locks.iter().map(move |lock| (&**lock, id))).collect()
}
