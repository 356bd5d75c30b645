//! The ledger: the durable journal of restores. The only crate with SQL.
//!
//! One trait, [`Ledger`], and its stores: [`memory`] for trials and tests, [`sqlite`] for one machine, [`postgres`] for
//! any number. A store keeps three promises, even if the process dies between two calls:
//!
//! * **I7** when a call returns `Ok`, its writes are durable (for `memory`: as long as the process);
//! * **I3, I4** [`Ledger::accept`] writes row, target locks and idempotency row in one transaction, so exactly one of
//!   two equal or conflicting requests is accepted;
//! * **I8** the transaction that writes the final event also releases the locks.
//!
//! Events are append-only. A store folds them through [`State::apply`] before it writes, so the ledger never contains a
//! history that does not fold (I5, I6, I12).
//!
//! | module | content |
//! |---|---|
//! | [`url`] | location of a ledger |
//! | [`mod@open`] | opening a ledger: to write, to read, to reclaim space |
//! | [`position`] | the feed: one order of all events |
//! | [`lease`] | the right of this process to act on its restores |
//! | [`outbox`] | webhook messages that are not delivered yet |
//! | `tally` | counts of unfinished restores, updated with each event |
//! | `book` | admission decisions, on plain maps |
//! | `group`, `change`, `writer` | shared by the databases: many writes as one transaction |
//! | `read`, `stored`, `text` | shared by the databases: reads, the outbox, documents as text |
//! | `upgrade` | conversion of rows of earlier versions |
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

/// One restore as the ledger stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The request. Shared, because it never changes and every response contains it.
    pub intent: Arc<Intent>,
    /// The fold of its events.
    pub state: State,
}

/// Input of [`Ledger::accept`].
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The request.
    pub intent: Intent,
    /// Its first events, beginning with `accepted`. They are written together with the row.
    pub events: Vec<Event>,
    /// Seconds after its end in which a restore answers for its idempotency key.
    pub idempotency_key_ttl_seconds: u64,
    /// Seconds after its end in which a restore answers an identical request without a key.
    pub dedup_window_seconds: u64,
    /// True if the caller may have one more idempotency key. A known key works in any case.
    pub may_keep_key: bool,
    /// The clock that dates the acceptance; `None` if the given times stay unchanged.
    pub clock: Option<AcceptClock>,
}

/// The clock that dates the acceptance of a restore. The ledger reads it at its decision, after it has read the open
/// restores. The operating system may stop the process between the arrival of a request and the decision, and a restore
/// must not seem to have been open while another one held its target. `created_at` of the request and the times of its
/// first events become that time.
#[derive(Clone)]
pub struct AcceptClock(pub Arc<dyn Clock>);

impl fmt::Debug for AcceptClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptClock")
    }
}

/// Result of [`Ledger::accept`].
#[derive(Clone, Debug, PartialEq)]
pub enum Accept {
    /// Row, locks and key are written; the restore is new.
    New(Entry),
    /// The request is a repetition. It has the same key; or it has no key and is identical to a request of the same
    /// caller that is unfinished, or that had an effect and ended within the dedup window.
    Replayed(Entry),
    /// The key belongs to another request.
    KeyConflict(RestoreId),
    /// The request has a new key, and its caller has reached the maximum.
    TooManyKeys,
    /// Another unfinished restore holds the target or one of its disks.
    Busy(Entry),
}

/// The filter of a list of restores. All given conditions must match.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only restores of this caller.
    pub caller: Option<String>,
    /// Only restores of this project.
    pub project_id: Option<ProjectId>,
    /// Only restores with one of these statuses; empty means any.
    pub status: Vec<Status>,
    /// Only restores with this server, volume or resource as target or among the mapped disks, in the spelling of
    /// [`restore_model::Id::folded`].
    pub target: Option<String>,
    /// Only restores that ended at this time or later.
    pub ended_since: Option<Timestamp>,
    /// Only restores older than this one: the cursor.
    pub before: Option<RestoreId>,
    /// Maximum number of restores.
    pub limit: usize,
}

/// The restores that [`Ledger::claim`] takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Restores that were not sent yet, or whose send was in progress. These are few, however many restores are
    /// unfinished.
    BeforeAnswer,
    /// All.
    All,
}

impl Claim {
    /// The statuses of [`Claim::BeforeAnswer`].
    pub const BEFORE_ANSWER: [Status; 3] = [Status::Accepted, Status::Checking, Status::Submitting];
}

impl Query {
    /// Returns true if only unfinished restores can match.
    pub(crate) fn is_of_unfinished(&self) -> bool {
        !self.status.is_empty() && self.status.iter().all(|status| !status.is_final())
    }
}

/// Delay between a commit and a reader's next read of the feed, so that commits close together need one read.
pub const GATHER: Duration = Duration::from_millis(50);
/// Interval between two reads of a feed that other processes write as well.
pub const POLL: Duration = Duration::from_millis(500);

/// Result of [`Ledger::prune`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Number of deleted restores, with their history.
    pub restores: usize,
    /// Number of deleted idempotency keys.
    pub keys: usize,
}

/// One restore in an audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The restore.
    pub entry: Entry,
    /// Its history, in order.
    pub events: Vec<Event>,
    /// The names of the locks it holds, sorted.
    pub locks: Vec<String>,
}

/// Recovery mode: the ledger may come from an older backup of itself. A restore that it records as unsent may have been
/// sent by the process that wrote the newer ledger. The gateway sends nothing until an operator confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Start of recovery mode, as the caller of [`Ledger::set_recovery`] reports it; the beginning of 1970 if the
    /// ledger detected it.
    pub since: Timestamp,
    /// The reason, for a person.
    pub reason: String,
}

/// Counts of unfinished restores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Number of restores per status; a status without restores may be missing.
    pub by_status: Vec<(Status, u64)>,
    /// Number of overdue restores.
    pub overdue: u64,
    /// Number of restores that need an operator.
    pub needs_operator: u64,
    /// Number of restores whose last poll failed.
    pub stale: u64,
    /// Number of those that cannot be polled without a new token.
    pub awaiting_credential: u64,
    /// Acceptance time of the oldest one: no lock is older.
    pub oldest: Option<Timestamp>,
}

/// The reason why the ledger did not carry out a request. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store is not reachable or not writable.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// No restore has this ID.
    #[error("the ledger has no restore {0}")]
    NotFound(RestoreId),
    /// The restore has changed since it was read; read it again.
    #[error("restore {0} has changed in the meantime")]
    Stale(RestoreId),
    /// Another process holds the restore now, or this process's lease for it has expired (I11).
    #[error("restore {0} is not held by this process")]
    NotHeld(RestoreId),
    /// An upstream task that the events name is bound to another restore.
    #[error("task {task} of the upstream belongs to restore {holder}")]
    TaskTaken {
        /// The upstream's task ID.
        task: String,
        /// The restore that it belongs to.
        holder: RestoreId,
    },
    /// The events are not valid in the restore's state.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// The stored data is not in the format of this version.
    #[error("the ledger holds something this version cannot read: {0}")]
    Corrupt(String),
}

impl LedgerError {
    /// Returns the kind of error as one word, for metrics.
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
/// Several processes may share a ledger. Then at most one process *holds* each unfinished restore: the one that
/// accepted it, or that claimed it later.
pub trait Ledger: Outbox {
    /// Accepts a restore, or returns why it is not new. One transaction. This process holds a new restore.
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>>;

    /// Appends events to a restore whose last event has the number `seen`, and releases its locks if the last of them
    /// is final. One transaction. The events' numbers continue after `seen`.
    ///
    /// Any process may append observations. But `submitting` among the events is rejected with [`LedgerError::NotHeld`]
    /// unless this process holds the restore (I11). An upstream task that an event names is permanently bound to this
    /// restore. If it is already bound to another one, nothing is written ([`LedgerError::TaskTaken`]). Tasks are bound
    /// within a project, whatever the name of the upstream in the configuration is.
    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>>;

    /// Returns one restore.
    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Returns its history, in order; empty if there is no such restore.
    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>>;

    /// Returns a page of restores, newest first.
    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Counts the unfinished restores of all processes; it does not read any finished restore.
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, LedgerError>>;

    /// Takes over unfinished restores that no living process holds, oldest first, at most `limit`. This process holds
    /// them from then on. A ledger for one process returns each restore that was unfinished when it was opened once.
    fn claim(&self, which: Claim, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Takes over this one restore, if [`Ledger::claim`] could still return it.
    fn claim_one(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Makes this process the holder of one unfinished restore, unless another living process holds it. Returns true if
    /// this process holds it now.
    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Returns the current right of this process to act on the restores it holds. **Take it before `submitting` is
    /// written, and check it immediately before a byte is sent**; see [`Lease`].
    fn lease(&self) -> Lease;

    /// Reserves the next poll of a restore for this process for the interval. Returns false if another process has the
    /// reservation. Always true in a ledger for one process.
    fn reserve_read(&self, id: RestoreId, interval: Duration) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Returns true if other processes may write this ledger as well.
    fn is_shared(&self) -> bool;

    /// Returns the number of processes that share the ledger now, including this one; 1 if it is not shared.
    fn processes(&self) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(std::future::ready(Ok(1)))
    }

    /// Returns events of all restores after a position in the order of their commits, at most `limit`. An event that is
    /// committed later has a higher position than all events ever returned. For that reason, a shared ledger may return
    /// an event a moment after its commit.
    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>, LedgerError>>;

    /// Returns the current end of the feed: at or after all returned events, before all future commits.
    fn position(&self) -> BoxFuture<'_, Result<Position, LedgerError>>;

    /// Returns the number of stored idempotency keys of a caller; it stops counting at `at_most`.
    fn keys<'a>(&'a self, caller: &'a str, at_most: usize) -> BoxFuture<'a, Result<usize, LedgerError>>;

    /// Deletes keys whose restore ended before `keys_before`, and restores that ended before `restores_before` (`None`:
    /// none) with their history; at most `limit` of each. A restore is kept as long as its key, and no unfinished
    /// restore is ever deleted.
    fn prune(
        &self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Pruned, LedgerError>>;

    /// Returns restores after `after` in the order of their IDs, at most `limit`, each from one point in time. For
    /// audits.
    fn audit(
        &self,
        after: Option<RestoreId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LedgerError>>;

    /// Returns the recovery mode if it is active: the ledger may come from an older backup. It is durable and stays
    /// active until it is set to `None`.
    fn recovery(&self) -> BoxFuture<'_, Result<Option<Recovery>, LedgerError>>;

    /// Starts or ends recovery mode.
    fn set_recovery(&self, recovery: Option<Recovery>) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Returns the restore that an upstream task is bound to, in this project.
    fn task_holder<'a>(
        &'a self,
        project: &'a ProjectId,
        task: &'a str,
    ) -> BoxFuture<'a, Result<Option<RestoreId>, LedgerError>>;

    /// Checks that the store is writable now; returns the reason if not.
    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Completes queued writes and closes the store. The restores that this process holds are free at once.
    fn close(&self) -> BoxFuture<'_, ()>;
}
