//! A group of writes that become one transaction: the possible writes, the rows they need, and the decisions of the
//! [`Book`]. Without I/O; each store has its own SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use restore_model::{Event, EventKind, RestoreId, Timestamp};

use crate::book::{Book, Coming, lock_target, tasks};
use crate::{Accept, Delivery, Entry, LedgerError, MessageRef, Position, Pruned, Recovery};

/// A single write.
#[derive(Debug)]
pub(crate) enum Write {
    Accept(Box<Coming>),
    Append {
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    },
    /// Proves that the store is writable.
    Touch,
    /// A write that needs no decision of the book.
    Side(Side),
}

/// A write that one or two statements carry out, after the book's part of the group.
#[derive(Debug)]
pub(crate) enum Side {
    Prune { restores_before: Option<Timestamp>, keys_before: Timestamp, limit: usize },
    SetRecovery(Option<Recovery>),
    Post { hook: String, from: Option<Position>, to: Position, message_refs: Vec<MessageRef> },
    Due { hook: String, now: Timestamp, reserve: Duration, limit: usize },
    Delivered { hook: String, message_ref: MessageRef },
    PutOff { hook: String, message_ref: MessageRef, attempts: u32, until: Timestamp, why: String },
    GiveUp { hook: String, message_ref: MessageRef, why: String },
    SetDisabled { hook: String, why: Option<String> },
}

/// Result of a write.
#[derive(Debug)]
pub(crate) enum Written {
    Accept(Accept),
    Append(Entry),
    Pruned(Pruned),
    Deliveries(Vec<Delivery>),
    Posted(bool),
    Done,
}

pub(crate) type Answer = Result<Written, LedgerError>;

/// The reason why a whole group was not committed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One write was rejected or unreadable. Each write alone may succeed.
    Within(LedgerError),
    /// The store is neither readable nor writable now.
    Down(String),
}

/// The ID of a restore that was accepted later may look this much earlier, because another process's clock differs or a
/// clock was set. The ledger's own numbers define the order of acceptance.
const SKEW_SECONDS: i64 = 3600;

/// The rows that a group may depend on.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    /// Restores that get new events.
    pub(crate) moving: Vec<RestoreId>,
    /// IDs that must not exist yet.
    pub(crate) coming: Vec<RestoreId>,
    /// Caller and key.
    pub(crate) keys: Vec<(&'a str, &'a str)>,
    /// Caller, fingerprint, and the time in microseconds before which an end is too old to count.
    pub(crate) equals: Vec<(&'a str, &'a str, i64)>,
    pub(crate) locks: Vec<&'a str>,
    /// Restores that get new events, and the upstream tasks to bind to them.
    pub(crate) tasks: Vec<(RestoreId, String)>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn by(group: &[&'a Write]) -> Self {
        let mut wanted = Self::default();
        for write in group {
            match write {
                Write::Accept(new) => wanted.add(new),
                Write::Append { id, events, .. } => {
                    wanted.moving.push(*id);
                    wanted.tasks.extend(tasks(events).map(|task| (*id, task)));
                }
                Write::Touch | Write::Side(_) => {}
            }
        }
        wanted
    }

    /// Returns the rows that the book lacks. The book keeps some unfinished restores from earlier groups.
    pub(crate) fn beyond(mut self, book: &Book) -> Self {
        self.locks.retain(|lock| !book.knows_holder(lock));
        self.moving.retain(|id| !book.rows.contains_key(id));
        self.coming.retain(|id| !book.rows.contains_key(id));
        self.keys.retain(|(caller, key)| !book.knows_key(caller, key));
        self.equals.retain(|(caller, fingerprint, _)| !book.knows_open(caller, fingerprint));
        self
    }

    /// Returns true if no rows are needed.
    pub(crate) const fn is_empty(&self) -> bool {
        let Self { moving, coming, keys, equals, locks, tasks } = self;
        let by_name = keys.is_empty() && equals.is_empty() && locks.is_empty() && tasks.is_empty();
        by_name && moving.is_empty() && coming.is_empty()
    }

    fn add(&mut self, new: &'a Coming) {
        let intent = &new.intent;
        self.coming.push(intent.id);
        self.locks.extend(new.locks.iter().map(|lock| &**lock));
        match &intent.key {
            Some(key) => self.keys.push((&intent.caller, key)),
            None => {
                let window = i64::try_from(new.dedup_window_seconds).unwrap_or(i64::MAX);
                let since = intent.created_at.plus_seconds(window.saturating_neg()).as_micros();
                self.equals.push((&intent.caller, &intent.fingerprint, since));
            }
        }
    }
}

/// Returns the targets of `ended` for which a store must search later restores: normalized IDs as in [`lock_target`],
/// each with the smallest ID that such a restore may have.
pub(crate) fn overwritten(book: &Book, ended: &[RestoreId]) -> Vec<(String, String)> {
    let rows = ended.iter().filter_map(|id| book.rows.get(id));
    let targets = rows.filter(|row| row.state.status.is_final()).flat_map(|row| {
        let since = RestoreId::least_at(row.intent.created_at.plus_seconds(-SKEW_SECONDS)).to_string();
        row.locks.iter().map(move |lock| (lock_target(lock).to_owned(), since.clone()))
    });
    targets.collect()
}

/// The book's decision about one write.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, which moves on as it is")]
pub(crate) enum Decision<'a> {
    Made(Answer),
    /// The store carries it out and provides the result.
    Left(&'a Side),
}

/// The book's decisions about a group.
pub(crate) struct Decided<'a> {
    /// One for each write, in the same order.
    pub(crate) decisions: Vec<Decision<'a>>,
    /// New restores, in the order of arrival. If two used the same key, the later one keeps it.
    pub(crate) came: Vec<RestoreId>,
    /// Existing restores that got events. The value is true if the restore was open before.
    pub(crate) moved: BTreeMap<RestoreId, bool>,
    pub(crate) touched: bool,
}

impl<'a> Decided<'a> {
    /// Decides one write after the other. Each decision takes the previous ones into account. `holds` returns true if
    /// this process holds an existing restore.
    pub(crate) fn of(book: &mut Book, group: &[&'a Write], holds: impl Fn(RestoreId) -> bool) -> Self {
        let mut decided = Self {
            decisions: Vec::with_capacity(group.len()),
            came: Vec::new(),
            moved: BTreeMap::new(),
            touched: false,
        };
        for write in group {
            let decision = match write {
                Write::Accept(new) => Decision::Made(decided.accept(book, new)),
                Write::Append { id, seen, events } => {
                    Decision::Made(decided.append(book, *id, *seen, events, &holds))
                }
                Write::Touch => {
                    decided.touched = true;
                    Decision::Made(Ok(Written::Done))
                }
                Write::Side(side) => Decision::Left(side),
            };
            decided.decisions.push(decision);
        }
        decided
    }

    /// Returns true if the book's part of the group has something to store.
    pub(crate) fn stores(&self) -> bool {
        !self.came.is_empty() || !self.moved.is_empty()
    }

    fn accept(&mut self, book: &mut Book, new: &Coming) -> Answer {
        let accept = book.accept(new.clone())?;
        if matches!(accept, Accept::New(_)) {
            self.came.push(new.intent.id);
        }
        Ok(Written::Accept(accept))
    }

    fn append(
        &mut self,
        book: &mut Book,
        id: RestoreId,
        seen: u32,
        events: &[Event],
        holds: impl Fn(RestoreId) -> bool,
    ) -> Answer {
        let came = self.came.contains(&id);
        let sends = events.iter().any(|event| matches!(event.kind, EventKind::Submitting { .. }));
        if sends && !came && book.rows.contains_key(&id) && !holds(id) {
            return Err(LedgerError::NotHeld(id));
        }
        let open = book.rows.get(&id).is_some_and(|row| !row.state.status.is_final());
        let entry = book.append(id, seen, events.to_vec())?;
        if !events.is_empty() && !came {
            self.moved.entry(id).or_insert(open);
        }
        Ok(Written::Append(entry))
    }
}
