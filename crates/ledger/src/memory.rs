//! A ledger that lives as long as the process: for trials, tests and the measure of everything
//! that is not the ledger.
//!
//! One mutex around plain maps, so that every call is one short critical section without I/O; no
//! accept, append or get ever walks over other restores. Memory is bounded: of the finished
//! restores only the last so many are kept, and with an older one its key and its history are
//! forgotten. An unfinished restore is never forgotten.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{self, BoxFuture};
use restore_model::{Event, Handle, Intent, RestoreId, State, Status};

use crate::{Accept, Entry, Ledger, LedgerError, NewEntry, Query, fold_on, lock_target};
use crate::{still_a_duplicate, within};

/// How many finished restores a ledger keeps unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 100_000;

/// The ledger in memory.
#[derive(Debug)]
pub struct MemoryLedger {
    kept: Mutex<Kept>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// Boxed: a tree that moves its rows about should move pointers.
    rows: BTreeMap<RestoreId, Box<Row>>,
    unfinished: BTreeSet<RestoreId>,
    /// In the order of their ends, for forgetting.
    finished: VecDeque<RestoreId>,
    locks: HashMap<Arc<str>, RestoreId>,
    /// By caller, then by key.
    keys: HashMap<String, HashMap<String, RestoreId>>,
    /// By caller, then by fingerprint.
    equals: HashMap<String, HashMap<String, Equals>>,
    /// By upstream, then by the upstream's id.
    handles: HashMap<String, HashMap<String, Vec<RestoreId>>>,
}

#[derive(Debug)]
struct Row {
    intent: Arc<Intent>,
    state: State,
    events: Vec<Event>,
    locks: Box<[Arc<str>]>,
}

/// What is remembered of equal requests of one caller. They share a target and so a lock, so at
/// most one is open; and they end in turn, so the last one that had an effect speaks for all.
#[derive(Debug, Default)]
struct Equals {
    open: Option<RestoreId>,
    effective: Option<RestoreId>,
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
        Self { kept: Mutex::default(), capacity: finished }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_now(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        // What needs no lock on the maps comes first.
        let state = State::fold(&new.events)?;
        let locks: Box<[Arc<str>]> = new.intent.request.locks().into_iter().map(Arc::from).collect();
        let mut kept = self.kept();
        if let Some(known) = kept.known(&new, &locks) {
            return Ok(known);
        }
        let id = new.intent.id;
        if kept.rows.contains_key(&id) {
            return Err(LedgerError::Stale(id));
        }
        let row = Box::new(Row { intent: Arc::new(new.intent), state, events: new.events, locks });
        let entry = row.entry();
        kept.take_in(id, row);
        kept.forget_beyond(self.capacity);
        Ok(Accept::New(entry))
    }

    fn append_now(&self, id: RestoreId, seen: u32, events: Vec<Event>) -> Result<Entry, LedgerError> {
        let mut kept = self.kept();
        let row = kept.rows.get_mut(&id).ok_or(LedgerError::NotFound(id))?;
        let state = fold_on(id, &row.state, seen, &events)?;
        let before = std::mem::replace(&mut row.state, state);
        row.events.extend(events);
        let entry = row.entry();
        if before.handle != entry.state.handle {
            kept.rename(
                id,
                &entry.intent.route.upstream,
                before.handle.as_ref(),
                entry.state.handle.as_ref(),
            );
        }
        if entry.state.status.is_final() && !before.status.is_final() {
            kept.finish(id);
            kept.forget_beyond(self.capacity);
        }
        Ok(entry)
    }

    fn list_now(&self, query: &Query) -> Vec<Entry> {
        let kept = self.kept();
        let older = match query.before {
            Some(before) => kept.rows.range(..before),
            None => kept.rows.range::<RestoreId, _>(..),
        };
        older
            .rev()
            .filter(|(_, row)| row.answers(query))
            .take(query.limit)
            .map(|(_, row)| row.entry())
            .collect()
    }
}

impl Row {
    fn entry(&self) -> Entry {
        Entry { intent: Arc::clone(&self.intent), state: self.state.clone() }
    }

    fn answers(&self, query: &Query) -> bool {
        query.caller.as_ref().is_none_or(|caller| *caller == self.intent.caller)
            && query.project_id.as_ref().is_none_or(|project| *project == self.intent.request.project_id)
            && (query.status.is_empty() || query.status.contains(&self.state.status))
            && query.target.as_ref().is_none_or(|target| self.locks.iter().any(|l| lock_target(l) == target))
    }
}

impl Kept {
    /// The answer to a request that is not new.
    fn known(&self, new: &NewEntry, locks: &[Arc<str>]) -> Option<Accept> {
        let intent = &new.intent;
        let now = intent.created_at;
        if let Some(key) = &intent.key {
            let row = self.keys.get(&intent.caller).and_then(|keys| keys.get(key)).map(|id| &self.rows[id]);
            if let Some(row) = row.filter(|row| within(&row.state, now, new.key_window_seconds)) {
                return Some(if row.intent.fingerprint == intent.fingerprint {
                    Accept::Replayed(row.entry())
                } else {
                    Accept::KeyConflict(row.intent.id)
                });
            }
        } else if let Some(equals) = self.equals.get(&intent.caller).and_then(|e| e.get(&intent.fingerprint))
        {
            let row = equals.open.or(equals.effective).map(|id| &self.rows[&id]);
            if let Some(row) =
                row.filter(|row| still_a_duplicate(&row.state, now, new.duplicate_window_seconds))
            {
                return Some(Accept::Replayed(row.entry()));
            }
        }
        let holder = locks.iter().find_map(|lock| self.locks.get(lock))?;
        Some(Accept::Busy(self.rows[holder].entry()))
    }

    fn take_in(&mut self, id: RestoreId, row: Box<Row>) {
        let intent = &row.intent;
        self.locks.extend(row.locks.iter().map(|lock| (Arc::clone(lock), id)));
        if let Some(key) = &intent.key {
            inner(&mut self.keys, &intent.caller).insert(key.clone(), id);
        }
        inner(&mut self.equals, &intent.caller).entry(intent.fingerprint.clone()).or_default().open =
            Some(id);
        self.unfinished.insert(id);
        let ended = row.state.status.is_final();
        self.rows.insert(id, row);
        if ended {
            self.finish(id);
        }
    }

    fn rename(&mut self, id: RestoreId, upstream: &str, before: Option<&Handle>, after: Option<&Handle>) {
        if let Some(before) = before {
            self.drop_handle(id, upstream, before);
        }
        if let Some(after) = after {
            inner(&mut self.handles, upstream).entry(after.id.clone()).or_default().push(id);
        }
    }

    fn drop_handle(&mut self, id: RestoreId, upstream: &str, handle: &Handle) {
        let Some(of_upstream) = self.handles.get_mut(upstream) else { return };
        if let Slot::Occupied(mut holders) = of_upstream.entry(handle.id.clone()) {
            holders.get_mut().retain(|holder| *holder != id);
            if holders.get().is_empty() {
                holders.remove();
            }
        }
    }

    /// Releases what only an unfinished restore holds.
    fn finish(&mut self, id: RestoreId) {
        let row = &self.rows[&id];
        for lock in &row.locks {
            self.locks.remove(lock);
        }
        if let Some(equals) =
            self.equals.get_mut(&row.intent.caller).and_then(|e| e.get_mut(&row.intent.fingerprint))
        {
            equals.open = None;
            if matches!(row.state.status, Status::Succeeded | Status::Failed) {
                equals.effective = Some(id);
            }
        }
        self.unfinished.remove(&id);
        self.finished.push_back(id);
    }

    fn forget_beyond(&mut self, capacity: usize) {
        while self.finished.len() > capacity {
            let Some(id) = self.finished.pop_front() else { return };
            let Some(row) = self.rows.remove(&id) else { continue };
            let intent = &row.intent;
            if let Some(key) = &intent.key {
                remove_if(&mut self.keys, &intent.caller, key, |holder| *holder == id);
            }
            remove_if(&mut self.equals, &intent.caller, &intent.fingerprint, |equals| {
                if equals.effective == Some(id) {
                    equals.effective = None;
                }
                equals.open.is_none() && equals.effective.is_none()
            });
            if let Some(handle) = &row.state.handle {
                self.drop_handle(id, &intent.route.upstream, handle);
            }
        }
    }
}

/// The inner map under a name, without a copy of the name where it is already there.
fn inner<'a, T: Default>(outer: &'a mut HashMap<String, T>, name: &str) -> &'a mut T {
    if !outer.contains_key(name) {
        outer.insert(name.to_owned(), T::default());
    }
    outer.get_mut(name).expect("it was put there one line above")
}

/// Removes what stands under two names when `is_idle` says so, and the inner map when that was all.
fn remove_if<T>(
    outer: &mut HashMap<String, HashMap<String, T>>,
    first: &str,
    second: &str,
    is_idle: impl FnOnce(&mut T) -> bool,
) {
    let Some(names) = outer.get_mut(first) else { return };
    if names.get_mut(second).is_some_and(is_idle) {
        names.remove(second);
    }
    if names.is_empty() {
        outer.remove(first);
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
        Box::pin(future::ready(Ok(self.kept().rows.get(&id).map(|row| row.entry()))))
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        let events = self.kept().rows.get(&id).map(|row| row.events.clone());
        Box::pin(future::ready(Ok(events.unwrap_or_default())))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(future::ready(Ok(self.list_now(&query))))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let kept = self.kept();
        let entries = kept.unfinished.iter().map(|id| kept.rows[id].entry()).collect();
        Box::pin(future::ready(Ok(entries)))
    }

    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let kept = self.kept();
        let holders = kept.handles.get(upstream).and_then(|of_upstream| of_upstream.get(handle_id));
        let taken = holders.is_some_and(|holders| holders.iter().any(|holder| *holder != but));
        Box::pin(future::ready(Ok(taken)))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}
