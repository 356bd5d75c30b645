//! A ledger that lives as long as the process: for trials, tests and the measure of everything
//! that is not the ledger.
//!
//! One mutex around plain maps, so that every call is one short critical section without I/O; no
//! accept, append or get ever walks over other restores. Memory is bounded: of the finished
//! restores only the last so many are kept, and with an older one its key and its history are
//! forgotten. An unfinished restore is never forgotten.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{self, BoxFuture};
use restore_model::{Event, RestoreId};

use crate::book::{Book, Coming};
use crate::{Accept, Entry, Ledger, LedgerError, NewEntry, Query};

/// How many finished restores a ledger keeps unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 100_000;

/// The ledger in memory.
#[derive(Debug)]
pub struct MemoryLedger {
    book: Mutex<Book>,
    capacity: usize,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }
}

impl MemoryLedger {
    /// A ledger that keeps at most `finished` finished restores and forgets the oldest beyond.
    #[must_use]
    pub fn with_capacity(finished: usize) -> Self {
        Self { book: Mutex::default(), capacity: finished }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_now(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        // What needs no lock comes first.
        let new = Coming::of(new)?;
        let mut book = self.book();
        let answer = book.accept(new);
        book.forget_beyond(self.capacity);
        answer
    }

    fn append_now(&self, id: RestoreId, seen: u32, events: Vec<Event>) -> Result<Entry, LedgerError> {
        let mut book = self.book();
        let answer = book.append(id, seen, events);
        book.forget_beyond(self.capacity);
        answer
    }
}

impl Ledger for MemoryLedger {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        Box::pin(async move { self.accept_now(new) })
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        Box::pin(async move { self.append_now(id, seen, events) })
    }

    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(future::ready(Ok(self.book().rows.get(&id).map(|row| row.entry()))))
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        let events = self.book().rows.get(&id).map(|row| row.events.clone());
        Box::pin(future::ready(Ok(events.unwrap_or_default())))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(future::ready(Ok(self.book().list(&query))))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let book = self.book();
        let entries = book.unfinished.iter().map(|id| book.rows[id].entry()).collect();
        Box::pin(future::ready(Ok(entries)))
    }

    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(future::ready(Ok(self.book().handle_taken(upstream, handle_id, but))))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}
