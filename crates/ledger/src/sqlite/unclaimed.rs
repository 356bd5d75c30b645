//! Which restores were found unfinished when the file was opened and were not claimed since. They are claimed in the order of
//! their ids, so that a place in that order says nearly all of it, however many there are.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use restore_model::RestoreId;

use crate::{Claim, Entry};

#[derive(Debug, Default)]
pub(super) struct Unclaimed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Every one up to here is claimed.
    all: Option<RestoreId>,
    /// The same of those that have [`Claim::BEFORE_ANSWER`].
    before_answer: Option<RestoreId>,
    /// What is this process's although it stands further on: what came in since, and what was claimed out of turn.
    others: HashSet<RestoreId>,
    done: bool,
}

impl Unclaimed {
    /// For a ledger that hands out nothing.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(State { done: true, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After which one the next page begins, if there may be one.
    pub(super) fn after(&self, which: Claim) -> Option<Option<RestoreId>> {
        let state = self.state();
        let after = match which {
            Claim::All => state.all,
            Claim::BeforeAnswer => state.before_answer.max(state.all),
        };
        (!state.done).then_some(after)
    }

    /// Claims what of a page is not this process's yet. An empty page is the end.
    pub(super) fn claim(&self, which: Claim, page: Vec<(RestoreId, Option<Entry>)>) -> Vec<Entry> {
        let mut state = self.state();
        let last = page.last().map(|(id, _)| *id);
        let unclaimed = page.into_iter().filter(|(id, _)| state.is_unclaimed(*id));
        let claimed: Vec<Entry> = unclaimed.filter_map(|(_, entry)| entry).collect();
        match which {
            Claim::All if last.is_none() => *state = State { done: true, ..State::default() },
            Claim::All => {
                state.all = last.max(state.all);
                let all = state.all;
                state.others.retain(|id| Some(*id) > all);
            }
            Claim::BeforeAnswer => {
                state.before_answer = last.max(state.before_answer);
                state.others.extend(claimed.iter().map(|entry| entry.intent.id));
            }
        }
        claimed
    }

    /// Whether one that is unfinished was not claimed yet.
    pub(super) fn has(&self, id: RestoreId) -> bool {
        self.state().is_unclaimed(id)
    }

    /// Makes one this process's; whether it was not before.
    pub(super) fn remove(&self, id: RestoreId) -> bool {
        let mut state = self.state();
        state.is_unclaimed(id) && state.others.insert(id)
    }
}

impl State {
    fn is_unclaimed(&self, id: RestoreId) -> bool {
        !self.done && Some(id) > self.all && !self.others.contains(&id)
    }
}
