//! One SQLite file. Not written yet.

use std::path::Path;

use futures_util::future::BoxFuture;
use restore_model::{Event, RestoreId};

use crate::memory::MemoryLedger;
use crate::{Accept, Entry, Ledger, LedgerError, NewEntry, Query};

/// The ledger in a SQLite file.
#[derive(Debug)]
pub struct SqliteLedger(MemoryLedger);

impl SqliteLedger {
    /// Opens the file, creating it where needed.
    ///
    /// # Errors
    /// Always, until the store is written.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        Err(LedgerError::Unavailable(format!("{}: the SQLite store is not written yet", path.display())))
    }
}

impl Ledger for SqliteLedger {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        self.0.accept(new)
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        self.0.append(id, seen, events)
    }

    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.0.get(id)
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        self.0.events(id)
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.list(query)
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.unfinished()
    }

    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.0.handle_taken(upstream, handle_id, but)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}
