//! A ledger that lives as long as the process: for trials, tests and measurements of everything except the ledger.
//!
//! One mutex protects plain maps, so every call is one short critical section without I/O. No accept, append or get
//! walks over other restores. Memory is bounded: the store keeps only a limited number of finished restores, and
//! deletes the oldest with key and history. It never deletes an unfinished restore or one whose window is still open.
//! If there are a few times as many of those, it rejects new restores.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use restore_model::{Event, ProjectId, RestoreId, Timestamp};

use crate::book::{Book, Coming, Forgotten, task_name};
use crate::{
    Accept, Claim, Entry, FeedItem, Lease, Ledger, LedgerError, NewEntry, Position, Pruned, Query, Record,
    Recovery, Unfinished,
};
use feed::Feed;
use outbox::Hooks;

mod feed;
mod outbox;

/// Default number of finished restores that a ledger keeps.
pub const DEFAULT_CAPACITY: usize = 100_000;

/// Factor for the number of restores that are kept while their windows are open.
const WITHIN_WINDOWS: usize = 4;

/// The ledger in memory.
#[derive(Debug)]
pub struct MemoryLedger {
    kept: Mutex<Kept>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    book: Book,
    feed: Feed,
    hooks: Hooks,
    recovery: Option<Recovery>,
    /// The longest windows that a restore required, in seconds: for keys, for identical requests.
    windows: (u64, u64),
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }
}

impl MemoryLedger {
    /// Creates a ledger that keeps at most `finished` finished restores and deletes the oldest beyond.
    #[must_use]
    pub fn with_capacity(finished: usize) -> Self {
        Self { kept: Mutex::default(), capacity: finished }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_now(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        // Work without the lock comes first.
        let new = Coming::of(new);
        let kept = &mut *self.kept();
        let (keys, equals) = kept.windows;
        kept.windows = (keys.max(new.idempotency_key_ttl_seconds), equals.max(new.dedup_window_seconds));
        let now = new.intent.created_at;
        kept.forget_beyond(self.capacity, now);
        if kept.book.finished() >= self.capacity.saturating_mul(WITHIN_WINDOWS).max(1)
            && !kept.book.is_known(&new)
        {
            return Err(LedgerError::Unavailable(format!(
                "the ledger in memory holds {} restores that have ended and whose windows are not over, which is all that it \
                 keeps; a ledger on disk keeps more",
                kept.book.finished()
            )));
        }
        let answer = kept.book.accept(new)?;
        if let Accept::New(entry) = &answer {
            kept.feed.tell(entry.intent.id, 1..=entry.state.seq);
            kept.forget_beyond(self.capacity, now);
        }
        Ok(answer)
    }

    fn append_now(&self, id: RestoreId, seen: u32, events: Vec<Event>) -> Result<Entry, LedgerError> {
        let kept = &mut *self.kept();
        let now = events.last().map(|event| event.at);
        let entry = kept.book.append(id, seen, events)?;
        kept.feed.tell(id, seen + 1..=entry.state.seq);
        if let Some(now) = now {
            kept.forget_beyond(self.capacity, now);
        }
        Ok(entry)
    }
}

impl Kept {
    fn forget_beyond(&mut self, capacity: usize, now: Timestamp) {
        let (keys, equals) = self.windows;
        let forgotten = self.book.forget_beyond_if(capacity, |state, has_key| {
            let window = if has_key { keys.max(equals) } else { equals };
            let window = i64::try_from(window.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
            state.finished_at.is_some_and(|end| now.micros_since(end) > window)
        });
        self.follow(&forgotten);
    }

    /// Removes forgotten restores from the feed and the outbox, too.
    fn follow(&mut self, forgotten: &Forgotten) {
        if !forgotten.restores.is_empty() {
            self.feed.forget(forgotten.events, &self.book);
            self.hooks.forget(&forgotten.restores);
        }
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
        Box::pin(future::ready(Ok(self.kept().book.rows.get(&id).map(|row| row.entry()))))
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        let events = self.kept().book.rows.get(&id).map(|row| row.events.clone());
        Box::pin(future::ready(Ok(events.unwrap_or_default())))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().book.list(&query))))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().book.unfinished())))
    }

    fn claim(&self, _: Claim, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        // This process accepted every restore of this ledger.
        Box::pin(future::ready(Ok(Vec::new())))
    }

    fn claim_one(&self, _: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(future::ready(Ok(None)))
    }

    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        let kept = self.kept();
        let open = kept.book.rows.get(&id).is_some_and(|row| !row.state.status.is_final());
        Box::pin(future::ready(Ok(open)))
    }

    fn lease(&self) -> Lease {
        Lease::for_good()
    }

    fn reserve_read(&self, _: RestoreId, _: Duration) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(future::ready(Ok(true)))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>, LedgerError>> {
        let kept = self.kept();
        Box::pin(future::ready(Ok(kept.feed.after(after, limit, &kept.book))))
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().feed.end())))
    }

    fn keys<'a>(&'a self, caller: &'a str, at_most: usize) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().book.keys(caller).min(at_most))))
    }

    fn prune(
        &self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        let kept = &mut *self.kept();
        let (pruned, forgotten) = kept.book.prune(restores_before, keys_before, limit);
        kept.follow(&forgotten);
        Box::pin(future::ready(Ok(pruned)))
    }

    fn audit(
        &self,
        after: Option<RestoreId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LedgerError>> {
        let kept = self.kept();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = kept.book.rows.range((from, Bound::Unbounded)).take(limit);
        let records = rows.map(|(id, row)| Record {
            entry: row.entry(),
            events: row.events.clone(),
            locks: kept.book.held(*id),
        });
        Box::pin(future::ready(Ok(records.collect())))
    }

    fn recovery(&self) -> BoxFuture<'_, Result<Option<Recovery>, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().recovery.clone())))
    }

    fn set_recovery(&self, recovery: Option<Recovery>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.kept().recovery = recovery;
        Box::pin(future::ready(Ok(())))
    }

    fn task_holder<'a>(
        &'a self,
        project: &'a ProjectId,
        task: &'a str,
    ) -> BoxFuture<'a, Result<Option<RestoreId>, LedgerError>> {
        Box::pin(future::ready(Ok(self.kept().book.task_holder(project.as_str(), &task_name(task)))))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}
