//! Admission decisions of [`crate::Ledger`], on plain maps and without I/O. [`crate::memory`] keeps one book of
//! everything. A database store fills a book for each group of writes with the rows they touch, and stores the result.
//! So all stores decide in the same way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use restore_model::{Event, EventKind, Id, Intent, RestoreId, State, Timestamp};

use crate::tally::Tally;
use crate::{Accept, AcceptClock, Entry, LedgerError, NewEntry, Pruned, Query, Unfinished};

/// A [`NewEntry`], with all values that do not depend on the book.
#[derive(Clone, Debug)]
pub(crate) struct Coming {
    pub(crate) intent: Arc<Intent>,
    pub(crate) events: Vec<Event>,
    pub(crate) locks: Box<[Arc<str>]>,
    pub(crate) idempotency_key_ttl_seconds: u64,
    pub(crate) dedup_window_seconds: u64,
    pub(crate) may_keep_key: bool,
    clock: Option<AcceptClock>,
}

impl Coming {
    pub(crate) fn of(new: NewEntry) -> Self {
        Self {
            locks: locks(&new.intent),
            intent: Arc::new(new.intent),
            events: new.events,
            idempotency_key_ttl_seconds: new.idempotency_key_ttl_seconds,
            dedup_window_seconds: new.dedup_window_seconds,
            may_keep_key: new.may_keep_key,
            clock: new.clock,
        }
    }

    /// Dates the acceptance, as [`AcceptClock`] defines.
    fn dated(mut self) -> Self {
        if let Some(AcceptClock(clock)) = &self.clock {
            let now = clock.now();
            Arc::make_mut(&mut self.intent).created_at = now;
            self.events.iter_mut().for_each(|event| event.at = now);
        }
        self
    }
}

/// Number of restores that a search for one to forget may skip.
const PASSED_OVER: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Boxed: a tree that moves its rows should move pointers.
    pub(crate) rows: BTreeMap<RestoreId, Box<Row>>,
    /// In the order of their ends, for forgetting.
    finished: VecDeque<RestoreId>,
    locks: HashMap<Arc<str>, RestoreId>,
    /// For each lock, the last ended restore that may have changed the locked resource.
    changed: HashMap<Arc<str>, RestoreId>,
    /// By caller, then by key.
    keys: HashMap<String, HashMap<String, RestoreId>>,
    /// By caller, then by fingerprint.
    equals: HashMap<String, HashMap<String, Equals>>,
    /// By project, then by the upstream's task ID: the restore that the task belongs to.
    tasks: HashMap<String, HashMap<String, RestoreId>>,
    /// Project and task of forgotten restores, with the time of their end.
    spent: VecDeque<(Timestamp, String, String)>,
    /// Counts the restores that were accepted or changed through this book.
    tally: Tally,
    /// Unfinished restores that were accepted through this book, the oldest first.
    open: BTreeSet<(Timestamp, RestoreId)>,
}

/// Time after the end of a restore in which its task could be mistaken for evidence of another restore: the day that
/// the baseline covers, and the clock skew.
const EVIDENCE_SECONDS: i64 = 25 * 3_600;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) intent: Arc<Intent>,
    pub(crate) state: State,
    /// The events that were added through this book.
    pub(crate) events: Vec<Event>,
    pub(crate) locks: Box<[Arc<str>]>,
}

/// Identical requests of one caller. They share a target and so a lock, so at most one is open. They end one after the
/// other, so the last one that had an effect represents all.
#[derive(Debug, Default)]
struct Equals {
    open: Option<RestoreId>,
    effective: Option<RestoreId>,
}

/// Restores that a book has forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    pub(crate) restores: Vec<RestoreId>,
    /// Number of their events.
    pub(crate) events: usize,
}

impl Row {
    pub(crate) fn entry(&self) -> Entry {
        Entry { intent: Arc::clone(&self.intent), state: self.state.clone() }
    }

    fn answers(&self, query: &Query) -> bool {
        query.caller.as_ref().is_none_or(|caller| *caller == self.intent.caller)
            && query.project_id.as_ref().is_none_or(|project| *project == self.intent.request.project_id)
            && (query.status.is_empty() || query.status.contains(&self.state.status))
            && query.ended_since.is_none_or(|since| self.state.finished_at.is_some_and(|end| end >= since))
            && query.target.as_ref().is_none_or(|target| self.locks.iter().any(|l| lock_target(l) == target))
    }
}

impl Book {
    pub(crate) fn accept(&mut self, new: Coming) -> Result<Accept, LedgerError> {
        let new = new.dated();
        if let Some(known) = self.known(&new) {
            return Ok(known);
        }
        if new.intent.key.is_some() && !new.may_keep_key {
            return Ok(Accept::TooManyKeys);
        }
        let id = new.intent.id;
        if self.rows.contains_key(&id) {
            return Err(LedgerError::Stale(id));
        }
        let Coming { intent, events, locks, .. } = new;
        let state = State::fold(&intent.route.steps, &events)?;
        let row = Row { intent, state, events, locks };
        let entry = row.entry();
        self.take_in(id, row);
        Ok(Accept::New(entry))
    }

    pub(crate) fn append(
        &mut self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> Result<Entry, LedgerError> {
        let row = self.rows.get_mut(&id).ok_or(LedgerError::NotFound(id))?;
        let state = fold_on(id, &row.state, seen, &events)?;
        let project = row.intent.request.project_id.as_str();
        for task in tasks(&events) {
            let holder = self.tasks.get(project).and_then(|tasks| tasks.get(&task)).copied();
            if let Some(holder) = holder.filter(|holder| *holder != id) {
                return Err(LedgerError::TaskTaken { task, holder });
            }
        }
        for task in tasks(&events) {
            inner(&mut self.tasks, project).insert(task, id);
        }
        let before = std::mem::replace(&mut row.state, state);
        row.events.extend(events);
        self.tally.count(Some(&before), &row.state);
        let entry = row.entry();
        if entry.state.status.is_final() && !before.status.is_final() {
            self.finish(id);
        }
        Ok(entry)
    }

    /// Counts the unfinished restores that were accepted through this book.
    pub(crate) fn unfinished(&self) -> Unfinished {
        Unfinished { oldest: self.open.first().map(|(at, _)| *at), ..self.tally.unfinished() }
    }

    /// Returns the changes of the counts since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    pub(crate) fn list(&self, query: &Query) -> Vec<Entry> {
        let older = match query.before {
            Some(before) => self.rows.range(..before),
            None => self.rows.range::<RestoreId, _>(..),
        };
        older
            .rev()
            .filter(|(_, row)| row.answers(query))
            .take(query.limit)
            .map(|(_, row)| row.entry())
            .collect()
    }

    /// Returns the restore that a task is bound to; `task` is in the spelling of [`task_name`].
    pub(crate) fn task_holder(&self, project: &str, task: &str) -> Option<RestoreId> {
        self.tasks.get(project)?.get(task).copied()
    }

    /// Records which restore a task belongs to.
    pub(crate) fn load_task(&mut self, project: &str, task: String, id: RestoreId) {
        inner(&mut self.tasks, project).insert(task, id);
    }

    /// Adds a row that was stored earlier.
    pub(crate) fn load(&mut self, intent: Intent, state: State) -> RestoreId {
        let id = intent.id;
        let locks = locks(&intent);
        if state.status.is_final() {
            self.finished.push_back(id);
        } else {
            self.locks.extend(locks.iter().map(|lock| (Arc::clone(lock), id)));
            inner(&mut self.equals, &intent.caller).entry(intent.fingerprint.clone()).or_default().open =
                Some(id);
        }
        self.rows.insert(id, Box::new(Row { intent: Arc::new(intent), state, events: Vec::new(), locks }));
        id
    }

    /// Returns true if the holder of a lock is known.
    pub(crate) fn knows_holder(&self, lock: &str) -> bool {
        self.locks.contains_key(lock)
    }

    /// Returns true if the restore of a key is known.
    pub(crate) fn knows_key(&self, caller: &str, key: &str) -> bool {
        self.keys.get(caller).is_some_and(|keys| keys.contains_key(key))
    }

    /// Returns true if an unfinished restore is known that answers requests with this fingerprint.
    pub(crate) fn knows_open(&self, caller: &str, fingerprint: &str) -> bool {
        let equals = self.equals.get(caller).and_then(|equals| equals.get(fingerprint));
        equals.is_some_and(|equals| equals.open.is_some())
    }

    /// Keeps only the rows that outlive a group of writes: of the restores in `written` no history, and no finished
    /// restores.
    pub(crate) fn keep_unfinished(&mut self, written: impl IntoIterator<Item = RestoreId>) {
        for id in written {
            if let Some(row) = self.rows.get_mut(&id) {
                row.events = Vec::new();
            }
        }
        self.forget_beyond(0);
        // A store reads the tasks again for each group.
        self.tasks.clear();
    }

    /// Records which restore a key belongs to.
    pub(crate) fn load_key(&mut self, caller: &str, key: String, id: RestoreId) {
        inner(&mut self.keys, caller).insert(key, id);
    }

    /// Records which restore answers identical requests; it must be loaded. For an ended restore, a store also records
    /// later changes of its target: [`Self::load_changed`].
    pub(crate) fn load_equal(&mut self, id: RestoreId) {
        let row = &self.rows[&id];
        let equals =
            inner(&mut self.equals, &row.intent.caller).entry(row.intent.fingerprint.clone()).or_default();
        if row.state.status.is_final() {
            equals.effective = Some(id);
        } else {
            equals.open = Some(id);
        }
    }

    /// Records that a restore may have changed the resources of its locks. It must be loaded. Calls must follow the
    /// order of acceptance.
    pub(crate) fn load_changed(&mut self, id: RestoreId) {
        let row = &self.rows[&id];
        if row.state.status.has_effect() {
            self.changed.extend(row.locks.iter().map(|lock| (Arc::clone(lock), id)));
        }
    }

    /// Returns true if this restore answers an identical request: an unfinished one always; an ended one if it had an
    /// effect, ended recently, and no later restore may have overwritten its target.
    fn answers_equal(&self, row: &Row, new: &Coming) -> bool {
        let id = Some(&row.intent.id);
        let last = |kept: &HashMap<_, _>, lock| kept.get(lock).is_none() || kept.get(lock) == id;
        let stands = || new.locks.iter().all(|lock| last(&self.locks, lock) && last(&self.changed, lock));
        let recent = || within(&row.state, new.intent.created_at, new.dedup_window_seconds);
        match row.state.status {
            status if status.has_effect() => recent() && stands(),
            status => !status.is_final(),
        }
    }

    /// Returns the answer to a request that is not new.
    fn known(&self, new: &Coming) -> Option<Accept> {
        let intent = &new.intent;
        let now = intent.created_at;
        if let Some(key) = &intent.key {
            let row = self.keys.get(&intent.caller).and_then(|keys| keys.get(key)).map(|id| &self.rows[id]);
            if let Some(row) = row.filter(|row| within(&row.state, now, new.idempotency_key_ttl_seconds)) {
                return Some(if intent.repeats(&row.intent) {
                    Accept::Replayed(row.entry())
                } else {
                    Accept::KeyConflict(row.intent.id)
                });
            }
        } else if let Some(equals) = self.equals.get(&intent.caller).and_then(|e| e.get(&intent.fingerprint))
        {
            let row = equals.open.or(equals.effective).map(|id| &self.rows[&id]);
            if let Some(row) = row.filter(|row| intent.repeats(&row.intent) && self.answers_equal(row, new)) {
                return Some(Accept::Replayed(row.entry()));
            }
        }
        let holder = new.locks.iter().find_map(|lock| self.locks.get(lock))?;
        Some(Accept::Busy(self.rows[holder].entry()))
    }

    fn take_in(&mut self, id: RestoreId, row: Row) {
        let intent = &row.intent;
        self.locks.extend(row.locks.iter().map(|lock| (Arc::clone(lock), id)));
        if let Some(key) = &intent.key {
            inner(&mut self.keys, &intent.caller).insert(key.clone(), id);
        }
        inner(&mut self.equals, &intent.caller).entry(intent.fingerprint.clone()).or_default().open =
            Some(id);
        self.tally.count(None, &row.state);
        let ended = row.state.status.is_final();
        if !ended {
            self.open.insert((intent.created_at, id));
        }
        self.rows.insert(id, Box::new(row));
        if ended {
            self.finish(id);
        }
    }

    /// Releases everything that only an unfinished restore holds.
    fn finish(&mut self, id: RestoreId) {
        let row = &self.rows[&id];
        let has_effect = row.state.status.has_effect();
        self.open.remove(&(row.intent.created_at, id));
        for lock in &row.locks {
            self.locks.remove(lock);
            if has_effect {
                self.changed.insert(Arc::clone(lock), id);
            }
        }
        if let Some(equals) =
            self.equals.get_mut(&row.intent.caller).and_then(|e| e.get_mut(&row.intent.fingerprint))
        {
            equals.open = None;
            if has_effect {
                equals.effective = Some(id);
            }
        }
        self.finished.push_back(id);
    }

    /// Forgets the restores that ended first, beyond this capacity.
    pub(crate) fn forget_beyond(&mut self, capacity: usize) -> Forgotten {
        self.forget_beyond_if(capacity, |_, _| true)
    }

    /// Does the same, but only for restores for which `may` returns true. The second argument of `may` is true if the
    /// key of the restore still refers to it. A limited number of other restores is skipped, so that no call walks over
    /// all of them.
    pub(crate) fn forget_beyond_if(
        &mut self,
        capacity: usize,
        may: impl Fn(&State, bool) -> bool,
    ) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let mut passed = 0;
        while self.finished.len() > capacity.max(passed) && passed < PASSED_OVER {
            let id = self.finished[passed];
            let row = &self.rows[&id];
            if may(&row.state, self.has_key(&row.intent)) {
                self.finished.remove(passed);
                self.forget(id, &mut forgotten);
            } else {
                passed += 1;
            }
        }
        forgotten
    }

    /// Returns the number of ended restores.
    pub(crate) fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Returns true if an existing restore answers a request.
    pub(crate) fn is_known(&self, new: &Coming) -> bool {
        self.known(new).is_some()
    }

    /// See [`crate::Ledger::prune`].
    pub(crate) fn prune(
        &mut self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> (Pruned, Forgotten) {
        let keys = self.prune_keys(keys_before, limit);
        let over = restores_before.map_or_else(Vec::new, |before| {
            let old = self.finished.iter().filter(|id| {
                let row = &self.rows[id];
                ended_before(&row.state, before) && !self.has_key(&row.intent)
            });
            old.copied().take(limit).collect::<Vec<_>>()
        });
        let mut forgotten = Forgotten::default();
        for id in over {
            self.forget(id, &mut forgotten);
        }
        if !forgotten.restores.is_empty() {
            self.finished.retain(|id| self.rows.contains_key(id));
        }
        (Pruned { restores: forgotten.restores.len(), keys }, forgotten)
    }

    fn prune_keys(&mut self, before: Timestamp, limit: usize) -> usize {
        let rows = &self.rows;
        let old = self.keys.iter().flat_map(|(caller, keys)| {
            let old = keys.iter().filter(|(_, id)| ended_before(&rows[id].state, before));
            old.map(|(key, _)| (caller.clone(), key.clone()))
        });
        let old: Vec<(String, String)> = old.take(limit).collect();
        for (caller, key) in &old {
            remove_if(&mut self.keys, caller, key, |_| true);
        }
        old.len()
    }

    /// Returns true if the key of a restore still refers to it.
    fn has_key(&self, intent: &Intent) -> bool {
        intent.key.as_ref().is_some_and(|key| {
            self.keys.get(&intent.caller).and_then(|keys| keys.get(key)) == Some(&intent.id)
        })
    }

    pub(crate) fn keys(&self, caller: &str) -> usize {
        self.keys.get(caller).map_or(0, HashMap::len)
    }

    /// Returns the locks that a restore holds, sorted.
    pub(crate) fn held(&self, id: RestoreId) -> Vec<String> {
        let locks = self.rows.get(&id).map_or(&[][..], |row| &row.locks);
        let held = locks.iter().filter(|lock| self.locks.get(*lock) == Some(&id));
        let mut held: Vec<String> = held.map(|lock| String::from(&**lock)).collect();
        held.sort_unstable();
        held
    }

    fn forget(&mut self, id: RestoreId, forgotten: &mut Forgotten) {
        let Some(row) = self.rows.remove(&id) else { return };
        forgotten.restores.push(id);
        forgotten.events += row.events.len();
        let intent = &row.intent;
        for lock in &row.locks {
            if self.changed.get(lock) == Some(&id) {
                self.changed.remove(lock);
            }
        }
        if let Some(key) = &intent.key {
            remove_if(&mut self.keys, &intent.caller, key, |holder| *holder == id);
        }
        remove_if(&mut self.equals, &intent.caller, &intent.fingerprint, |equals| {
            if equals.effective == Some(id) {
                equals.effective = None;
            }
            equals.open.is_none() && equals.effective.is_none()
        });
        // The task of a forgotten restore must not be bound to another restore while it could be mistaken for evidence.
        let ended = row.state.finished_at.unwrap_or(row.state.updated_at);
        let project = intent.request.project_id.as_str();
        self.spent.extend(tasks(&row.events).map(|task| (ended, project.to_owned(), task)));
        let over = ended.plus_seconds(-EVIDENCE_SECONDS);
        while let Some((_, project, task)) = self.spent.front().filter(|(ended, ..)| *ended < over).cloned() {
            self.spent.pop_front();
            remove_if(&mut self.tasks, &project, &task, |_| true);
        }
    }
}

/// Returns the inner map for a name; the name is copied only if it is new.
fn inner<'a, T: Default>(outer: &'a mut HashMap<String, T>, name: &str) -> &'a mut T {
    if !outer.contains_key(name) {
        outer.insert(name.to_owned(), T::default());
    }
    outer.get_mut(name).expect("it was put there one line above")
}

/// Removes the value under two names if `is_idle` returns true, and the inner map if it is empty then.
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

/// Returns the upstream tasks that events name, in the spelling of [`task_name`].
pub(crate) fn tasks(events: &[Event]) -> impl Iterator<Item = String> + '_ {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Started { task: Some(task), .. } | EventKind::Progress { task: Some(task), .. } => {
            Some(task_name(&task.id))
        }
        _ => None,
    })
}

/// Normalizes a task ID: clouds write UUIDs with and without dashes, in either case. The only character that PostgreSQL
/// cannot store is replaced.
pub(crate) fn task_name(id: &str) -> String {
    id.parse::<Id>().map_or_else(|_| id.replace('\0', "\u{fffd}"), |id| id.folded())
}

fn locks(intent: &Intent) -> Box<[Arc<str>]> {
    intent.locks().into_iter().map(Arc::from).collect()
}

/// Applies the `new` events to `state`. They must continue from the number `seen`.
fn fold_on(id: RestoreId, state: &State, seen: u32, new: &[Event]) -> Result<State, LedgerError> {
    if state.seq != seen {
        return Err(LedgerError::Stale(id));
    }
    let Some((first, rest)) = new.split_first() else { return Ok(state.clone()) };
    Ok(rest.iter().try_fold(state.clone().apply(first)?, State::apply)?)
}

/// Returns the normalized ID in a lock of [`restore_model::RestoreRequest::locks`]. IDs have no slash.
pub(crate) fn lock_target(lock: &str) -> &str {
    lock_parts(lock).0
}

/// Returns that ID, and the part before it with project and kind.
pub(crate) fn lock_parts(lock: &str) -> (&str, &str) {
    lock.rsplit_once('/').map_or((lock, ""), |(scope, id)| (id, scope))
}

fn ended_before(state: &State, before: Timestamp) -> bool {
    state.finished_at.is_some_and(|end| end < before)
}

/// Returns true if a restore is unfinished or ended at most `window_seconds` ago.
fn within(state: &State, now: Timestamp, window_seconds: u64) -> bool {
    let window = i64::try_from(window_seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    state.finished_at.is_none_or(|end| now.micros_since(end) <= window)
}
