//! Restores that were unfinished when the file was opened and are not claimed yet. They are claimed in the order of
//! their IDs, so a position in that order is nearly all the state, however many there are.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use restore_model::RestoreId;

use crate::{Claim, Entry};

#[derive(Debug, Default)]
pub(super) struct Unclaimed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Every restore up to this ID is claimed.
    all: Option<RestoreId>,
    /// The same for restores with a status of [`Claim::BEFORE_ANSWER`].
    before_answer: Option<RestoreId>,
    /// Restores after that position that this process holds: those accepted since, and those claimed out of order.
    others: HashSet<RestoreId>,
    done: bool,
}

impl Unclaimed {
    /// For a ledger that returns no restores from a claim.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(State { done: true, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the ID before the next page, if there may be one.
    pub(super) fn after(&self, which: Claim) -> Option<Option<RestoreId>> {
        let state = self.state();
        let after = match which {
            Claim::All => state.all,
            Claim::BeforeAnswer => state.before_answer.max(state.all),
        };
        (!state.done).then_some(after)
    }

    /// Claims the restores of a page that this process does not hold yet. An empty page is the end.
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

    /// Returns true if an unfinished restore is not claimed yet.
    pub(super) fn has(&self, id: RestoreId) -> bool {
        self.state().is_unclaimed(id)
    }

    /// Makes this process the holder of a restore. Returns true if it was not before.
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
