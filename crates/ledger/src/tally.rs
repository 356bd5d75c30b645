//! Counts the unfinished restores by the values that the gauges show: status and flags. Every event updates the counts,
//! so no read of all restores is necessary.

use restore_model::{State, Status};

use crate::Unfinished;

/// The flags of a restore in one number, as in the migration `0006_any_size.sql`.
mod flag {
    pub(super) const OVERDUE: i64 = 1;
    pub(super) const NEEDS_OPERATOR: i64 = 2;
    pub(super) const AWAITING_CREDENTIAL: i64 = 4;
    pub(super) const STALE: i64 = 8;
}

/// Number of restores per status and flags, or the change by a group of writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Vec<(Status, i64, i64)>);

impl Tally {
    /// Counts a restore that is new, or that has changed from `before`.
    pub(crate) fn count(&mut self, before: Option<&State>, after: &State) {
        if let Some(before) = before {
            self.add(before, -1);
        }
        self.add(after, 1);
    }

    fn add(&mut self, state: &State, by: i64) {
        if state.status.is_final() {
            return;
        }
        let flags = i64::from(state.overdue) * flag::OVERDUE
            + i64::from(state.needs_operator) * flag::NEEDS_OPERATOR
            + i64::from(state.awaiting_credential) * flag::AWAITING_CREDENTIAL
            + i64::from(state.last_poll_failed_since.is_some()) * flag::STALE;
        let known = self.0.iter_mut().find(|(status, known, _)| (*status, *known) == (state.status, flags));
        match known {
            Some((_, _, count)) => *count += by,
            None => self.0.push((state.status, flags, by)),
        }
    }

    /// Returns status, flags and count, if the count is not zero.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Status, i64, i64)> {
        self.0.iter().copied().filter(|(.., count)| *count != 0)
    }

    /// Returns the counts, without the time of the oldest restore.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for (status, flags, count) in self.counts() {
            let count = u64::try_from(count).unwrap_or(0);
            match unfinished.by_status.iter_mut().find(|(known, _)| *known == status) {
                Some((_, known)) => *known += count,
                None => unfinished.by_status.push((status, count)),
            }
            for (flag, total) in [
                (flag::OVERDUE, &mut unfinished.overdue),
                (flag::NEEDS_OPERATOR, &mut unfinished.needs_operator),
                (flag::AWAITING_CREDENTIAL, &mut unfinished.awaiting_credential),
                (flag::STALE, &mut unfinished.stale),
            ] {
                *total += if flags & flag == 0 { 0 } else { count };
            }
        }
        unfinished
    }
}
