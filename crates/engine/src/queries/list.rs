//! Lists the restores that a caller may see, page by page.

use restore_ledger::{Entry, Query};
use restore_model::{Problem, RestoreId};

use super::Views;
use crate::callers::{Action, Caller};
use crate::journal::unavailable;

/// Pages of the ledger that are looked through for one page of a list.
const PAGES: usize = 10;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins: before this one. None on the last page.
    pub next: Option<RestoreId>,
}

impl Views {
    /// A page of the restores that a caller may see, newest first.
    ///
    /// # Errors
    /// [`LedgerUnavailable`](restore_model::Code::LedgerUnavailable); [`NotAllowed`](restore_model::Code::Forbidden) for who
    /// may see nothing at all.
    pub(crate) async fn list(&self, mut query: Query, caller: &Caller) -> Result<Page, Problem> {
        self.permissions.permit_list(caller)?;
        if !caller.may_at_all(Action::ReadAny) {
            query.caller = caller.name().map(str::to_owned);
        }
        let limit = query.limit;
        // One restore more than the limit shows that there is a next page.
        query.limit = limit + 1;
        let mut entries: Vec<Entry> = Vec::new();
        // A caller who may see little of much gets a short page and a place to go on from.
        for _ in 0..PAGES {
            let found = self.ledger.list(query.clone()).await.map_err(unavailable)?;
            let more = found.len() > limit;
            query.before = found.last().map(|entry| entry.intent.id);
            entries.extend(found.into_iter().filter(|entry| caller.sees(entry)));
            if entries.len() > limit {
                entries.truncate(limit);
                let next = entries.last().map(|entry| entry.intent.id);
                return Ok(Page { entries, next });
            }
            if !more {
                return Ok(Page { entries, next: None });
            }
        }
        Ok(Page { entries, next: query.before })
    }
}
