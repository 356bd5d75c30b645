//! WHAT WAS ASKED and what became of it. The only crate with SQL.
//!
//! One trait, [`Ledger`], and its stores: [`memory`] for trials and tests, [`sqlite`] for one
//! machine. A store keeps three promises, whatever kills the process between two calls:
//!
//! * **I7** when a call returns `Ok`, what it wrote is durable (for `memory`: as long as the process);
//! * **I3, I4** [`Ledger::accept`] writes row, target locks and idempotency row in one transaction,
//!   so of two equal or clashing requests exactly one comes in;
//! * **I8** locks are released by the very transaction that writes the final event.
//!
//! Events are only ever appended. A store folds them through [`State::apply`] before it writes, so
//! a history that does not fold cannot come into being (I5, I6, I12).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use restore_model::{Event, IllegalMove, Intent, ProjectId, RestoreId, State, Status};

mod book;
pub mod memory;
pub mod sqlite;

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
    pub key_window_seconds: u64,
    /// How long after its end a restore answers for an equal request without a key.
    pub duplicate_window_seconds: u64,
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
    /// Only restores older than this one: the cursor.
    pub before: Option<RestoreId>,
    /// At most so many.
    pub limit: usize,
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
    #[error("restore {0} has moved on meanwhile")]
    Stale(RestoreId),
    /// The events do not fit the restore's state.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// What is stored cannot be read as what this version writes.
    #[error("the ledger holds something this version cannot read: {0}")]
    Corrupt(String),
}

/// The store of all restores.
pub trait Ledger: Send + Sync + 'static {
    /// Takes a restore in, or says why it is not new. One transaction.
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>>;

    /// Appends events to a restore whose last event had the number `seen`, and releases its locks
    /// when the last of them is final. One transaction. The events' numbers follow `seen`.
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

    /// Every restore that is not final, oldest first.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Whether another restore of this upstream already goes by this upstream handle.
    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Whether the store can be written right now; the reason when not.
    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Finishes what is queued and closes the store.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Where a ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `memory:`, gone with the process.
    Memory,
    /// `sqlite:PATH`.
    Sqlite(std::path::PathBuf),
}

/// A text that names no ledger of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ledger is \"memory:\" or \"sqlite:PATH\"")]
pub struct InvalidLedgerUrl;

impl FromStr for LedgerUrl {
    type Err = InvalidLedgerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidLedgerUrl> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(InvalidLedgerUrl),
        }
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// Opens a ledger, creating it and bringing its schema up to date where needed.
///
/// # Errors
/// When the store cannot be opened or written, another gateway has it open, or it was written by a
/// newer version.
pub async fn open(url: &LedgerUrl) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(match url {
        LedgerUrl::Memory => Arc::new(memory::MemoryLedger::default()),
        LedgerUrl::Sqlite(path) => Arc::new(sqlite::SqliteLedger::open(path).await?),
    })
}
