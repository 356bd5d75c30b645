//! WHAT WAS ASKED and what became of it. The only crate with SQL.
//!
//! One trait, [`Ledger`], and its stores: [`memory`] for trials and tests, [`sqlite`] for one
//! machine, [`postgres`] for any number. A store keeps three promises, whatever kills the process between two calls:
//!
//! * **I7** when a call returns `Ok`, what it wrote is durable (for `memory`: as long as the process);
//! * **I3, I4** [`Ledger::accept`] writes row, target locks and idempotency row in one transaction,
//!   so of two equal or clashing requests exactly one comes in;
//! * **I8** locks are released by the very transaction that writes the final event.
//!
//! Events are only ever appended. A store folds them through [`State::apply`] before it writes, so
//! a history that does not fold cannot come into being (I5, I6, I12).
//!
//! | module | its part |
//! |---|---|
//! | [`url`] | where a ledger is kept |
//! | [`mod@open`] | opening one: to write, to read, to tidy up |
//! | [`position`] | the feed: the one order of all events |
//! | [`lease`] | whether this process may still act on what it holds |
//! | [`outbox`] | what is still to be told to others |
//! | `tally` | how many have not ended, counted as they move on |
//! | `book` | who comes in and who does not, on plain maps |
//! | `group`, `change`, `writer` | what the databases share: many writes as one transaction |
//! | `read`, `stored`, `text` | and their reads, the outbox, documents as text |
//! | `upgrade` | rows of earlier versions as this one writes them |
//! | [`memory`], [`sqlite`], [`postgres`] | the stores |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::{Clock, Event, IllegalMove, Intent, ProjectId, RestoreId, State, Status, Timestamp};

mod book;
mod change;
mod check;
mod group;
pub mod lease;
pub mod memory;
pub mod open;
pub mod outbox;
pub mod position;
pub mod postgres;
mod read;
pub mod sqlite;
mod stored;
mod tally;
mod text;
mod upgrade;
pub mod url;
mod writer;

pub use check::{Checked, check};
pub use lease::Lease;
pub use open::{Found, OpenOptions, look, open, open_to_read, vacuum};
pub use outbox::{Delivery, Hook, MessageRef, Outbox, Waiting};
pub use position::{FeedItem, InvalidPosition, Position};
pub use url::{InvalidLedgerUrl, LedgerUrl, PostgresUrl};

/// One restore as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What was asked. Shared, for it never changes and every answer carries it.
    pub intent: Arc<Intent>,
    /// The fold of its events.
    pub state: State,
}

/// What [`Ledger::accept`] is asked to write.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What was asked.
    pub intent: Intent,
    /// Its first events, beginning with `accepted`; written together with the row.
    pub events: Vec<Event>,
    /// How long after its end a restore answers for its idempotency key.
    pub idempotency_key_ttl_seconds: u64,
    /// How long after its end a restore answers for an equal request without a key.
    pub dedup_window_seconds: u64,
    /// Whether the caller may have one more idempotency key. One that is known answers either way.
    pub may_keep_key: bool,
    /// The clock that dates the acceptance, `None` where the times stand as they are given.
    pub clock: Option<AcceptClock>,
}

/// The clock by which a restore is accepted. The ledger reads it as it decides, when it has seen which restores are
/// open: a process may be stopped between the arrival of a request and that, and a restore must not seem to have been
/// open while another one held its target. `created_at` of the intent and the times of its first events become that time.
#[derive(Clone)]
pub struct AcceptClock(pub Arc<dyn Clock>);

impl fmt::Debug for AcceptClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptClock")
    }
}

/// What became of an [`Ledger::accept`].
#[derive(Clone, Debug, PartialEq)]
pub enum Accept {
    /// Row, locks and key are written; the restore is new.
    New(Entry),
    /// The same request came before: by its key, or without one as an equal request of the same
    /// caller that is unfinished or ended, not without effect, within the duplicate window.
    Replayed(Entry),
    /// The key was used for another request.
    KeyConflict(RestoreId),
    /// The request has a key that is new, and its caller may have no more of them.
    TooManyKeys,
    /// Another unfinished restore holds the target or one of its disks.
    Busy(Entry),
}

/// Which restores a list shows. Everything given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only of this caller.
    pub caller: Option<String>,
    /// Only of this project.
    pub project_id: Option<ProjectId>,
    /// Only in one of these states; empty is any.
    pub status: Vec<Status>,
    /// Only with this server, volume or resource as target or among the mapped disks, as
    /// [`restore_model::Id::folded`] spells it.
    pub target: Option<String>,
    /// Only those that have ended at this moment or later.
    pub ended_since: Option<Timestamp>,
    /// Only restores older than this one: the cursor.
    pub before: Option<RestoreId>,
    /// At most so many.
    pub limit: usize,
}

/// Which restores [`Ledger::claim`] takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Those that were not sent, or were just being sent: few, whatever the number of the unfinished.
    BeforeAnswer,
    /// All.
    All,
}

impl Claim {
    /// The statuses of [`Claim::BeforeAnswer`].
    pub const BEFORE_ANSWER: [Status; 3] = [Status::Accepted, Status::Checking, Status::Submitting];
}

impl Query {
    /// Whether only what has not ended can be an answer.
    pub(crate) fn is_of_unfinished(&self) -> bool {
        !self.status.is_empty() && self.status.iter().all(|status| !status.is_final())
    }
}

/// From a commit to a reader's look at the feed, so that commits which come together cost one look.
pub const GATHER: Duration = Duration::from_millis(50);
/// Between two looks of a reader at a feed that other processes write as well.
pub const POLL: Duration = Duration::from_millis(500);

/// What [`Ledger::prune`] forgot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// So many restores, with their history.
    pub restores: usize,
    /// So many idempotency keys.
    pub keys: usize,
}

/// One restore as an audit sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The restore.
    pub entry: Entry,
    /// Its history, in order.
    pub events: Vec<Event>,
    /// The names of the locks it holds, sorted.
    pub locks: Vec<String>,
}

/// The ledger may be an older copy of itself: what it holds to be unsent may have been sent by the
/// process that wrote the newer one. Nothing is sent until an operator confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Since when, as the caller tells; the beginning of 1970 where the ledger found out by itself.
    pub since: Timestamp,
    /// Why, for a person.
    pub reason: String,
}

/// The restores that have not ended, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many stand where; what nobody stands at may be missing.
    pub by_status: Vec<(Status, u64)>,
    /// So many run for longer than they should.
    pub overdue: u64,
    /// So many wait for a person.
    pub needs_operator: u64,
    /// So many could not be read when they last should have been.
    pub stale: u64,
    /// So many of those cannot be read until somebody brings a token.
    pub awaiting_credential: u64,
    /// When the oldest of them came in: no lock is held for longer.
    pub oldest: Option<Timestamp>,
}

/// Why the ledger did not do what it was asked. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store cannot be reached or written.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// No restore has this id.
    #[error("the ledger has no restore {0}")]
    NotFound(RestoreId),
    /// The restore moved on since it was read; read it again.
    #[error("restore {0} has changed in the meantime")]
    Stale(RestoreId),
    /// Another process holds the restore by now, or this one's lease of it has lapsed (I11).
    #[error("restore {0} is not held by this process")]
    NotHeld(RestoreId),
    /// A task of the upstream that the events name is bound to another restore.
    #[error("task {task} of the upstream belongs to restore {holder}")]
    TaskTaken {
        /// The upstream's id of the task.
        task: String,
        /// The restore it belongs to.
        holder: RestoreId,
    },
    /// The events do not fit the restore's state.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// What is stored cannot be read as what this version writes.
    #[error("the ledger holds something this version cannot read: {0}")]
    Corrupt(String),
}

impl LedgerError {
    /// The kind of fault in one word, for counting.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::NotFound(_) => "not_found",
            Self::Stale(_) => "stale",
            Self::NotHeld(_) => "not_held",
            Self::TaskTaken { .. } => "task_taken",
            Self::Illegal(_) => "illegal",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

/// The store of all restores.
///
/// A ledger may be shared by several processes. Each unfinished restore is then *held* by one of
/// them at most: by the one that accepted it, or that claimed it later.
pub trait Ledger: Outbox {
    /// Takes a restore in, or says why it is not new. One transaction. A new one is held by this
    /// process.
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>>;

    /// Appends events to a restore whose last event had the number `seen`, and releases its locks
    /// when the last of them is final. One transaction. The events' numbers follow `seen`.
    ///
    /// Anybody may write down what became known. But `submitting` among the events is refused with
    /// [`LedgerError::NotHeld`] unless this process holds the restore (I11). A task of the upstream that an event names
    /// is bound to this restore for good; where it is bound to another one already, nothing is written
    /// ([`LedgerError::TaskTaken`]). Tasks are bound within a project, whatever upstream the configuration calls it by.
    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>>;

    /// One restore.
    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Its history, in order; empty when there is no such restore.
    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>>;

    /// A page of restores, newest first.
    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// How many restores have not ended, those of all processes; walks over none that has.
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, LedgerError>>;

    /// Takes over unfinished restores that no living process holds, oldest first, at most `limit`;
    /// they are this process's from then on. A one-process ledger hands out what it found
    /// unfinished when it was opened, each once.
    fn claim(&self, which: Claim, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Takes over this one restore, if [`Ledger::claim`] would still hand it out.
    fn claim_one(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Makes this process the holder of one unfinished restore, unless another living one holds it.
    /// Whether it is this process's now.
    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// The right of this process to act on what it holds now. **To be taken before `submitting` is
    /// written and asked right before a byte is sent**; see [`Lease`].
    fn lease(&self) -> Lease;

    /// Reserves the next read of a restore for this process for so long; false while another one
    /// has it. Always true in a one-process ledger.
    fn reserve_read(&self, id: RestoreId, interval: Duration) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Whether other processes may write this ledger as well.
    fn is_shared(&self) -> bool;

    /// How many processes share the ledger at present, this one among them; 1 where it is not shared.
    fn processes(&self) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(std::future::ready(Ok(1)))
    }

    /// Events of all restores in the order in which they were committed, after a position, at most
    /// `limit`. Whatever is committed later has a higher position than everything this has ever
    /// returned; in a shared ledger an event may be told a moment after its commit for that.
    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>, LedgerError>>;

    /// The present end of the feed: higher than all that was told, lower than all that is committed
    /// from now on.
    fn position(&self) -> BoxFuture<'_, Result<Position, LedgerError>>;

    /// How many idempotency keys of a caller are kept; counts no further than `at_most`.
    fn keys<'a>(&'a self, caller: &'a str, at_most: usize) -> BoxFuture<'a, Result<usize, LedgerError>>;

    /// Forgets keys whose restore ended before `keys_before`, and restores that ended before
    /// `restores_before` (`None`: none) with their history; at most `limit` of each. A restore is
    /// kept for as long as its key is, and nothing unfinished is ever forgotten.
    fn prune(
        &self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Pruned, LedgerError>>;

    /// For audits: restores after `after` in the order of their ids, at most `limit`, each as of one
    /// moment.
    fn audit(
        &self,
        after: Option<RestoreId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LedgerError>>;

    /// Whether the ledger may be an older copy of itself. Durable: it stays so until it is set to
    /// `None`.
    fn recovery(&self) -> BoxFuture<'_, Result<Option<Recovery>, LedgerError>>;

    /// Begins or ends recovery mode.
    fn set_recovery(&self, recovery: Option<Recovery>) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// The restore that a task of the upstream is bound to, in this project.
    fn task_holder<'a>(
        &'a self,
        project: &'a ProjectId,
        task: &'a str,
    ) -> BoxFuture<'a, Result<Option<RestoreId>, LedgerError>>;

    /// Whether the store can be written right now; the reason when not.
    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Finishes what is queued and closes the store. What this process holds is free at once.
    fn close(&self) -> BoxFuture<'_, ()>;
}
