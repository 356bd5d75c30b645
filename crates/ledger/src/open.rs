//! Opening a ledger: to write it, only to read it, or to tidy it up.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::memory::MemoryLedger;
use crate::postgres::{self, PostgresLedger};
use crate::sqlite::{self, SqliteLedger};
use crate::{Ledger, LedgerError, LedgerUrl};

/// What is not said by the URL.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The database user's password, where one is asked for. Never shown.
    pub password: Option<SecretString>,
    /// How long after its last sign of life a process still holds what it held, in a shared ledger.
    /// A sign is given every third of it.
    pub lease: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { password: None, lease: Duration::from_secs(30) }
    }
}

/// Opens a ledger, creating it and bringing its schema up to date where needed.
///
/// # Errors
/// When the store cannot be opened or written, another gateway has it for itself, or only a newer
/// program may work with it.
pub async fn open(url: &LedgerUrl, options: OpenOptions) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(match url {
        LedgerUrl::Memory => Arc::new(MemoryLedger::default()),
        LedgerUrl::Sqlite(path) => Arc::new(SqliteLedger::open(path).await?),
        LedgerUrl::Postgres(url) => Arc::new(PostgresLedger::open(url, options).await?),
    })
}

/// Opens a ledger only to read it, beside whoever writes it. Every write is refused with
/// [`LedgerError::Unavailable`], and nothing is created or brought up to date.
///
/// # Errors
/// When there is no ledger, it cannot be read, or its schema is not one this program reads.
pub async fn open_to_read(url: &LedgerUrl, options: OpenOptions) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(match url {
        LedgerUrl::Memory => return Err(in_memory()),
        LedgerUrl::Sqlite(path) => Arc::new(SqliteLedger::open_to_read(path).await?),
        LedgerUrl::Postgres(url) => Arc::new(PostgresLedger::open_to_read(url, options).await?),
    })
}

/// What is found where a ledger is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A ledger that this program may work with; the start brings it up to date where that is needed.
    Ledger,
    /// Room for one, which the start makes.
    Room,
}

/// Looks whether a ledger could be opened, without opening it to write and without making one.
///
/// # Errors
/// Why it could not.
pub async fn look(url: &LedgerUrl, options: OpenOptions) -> Result<Found, LedgerError> {
    match url {
        LedgerUrl::Memory => Ok(Found::Room),
        LedgerUrl::Sqlite(path) => sqlite::look(path).await,
        LedgerUrl::Postgres(url) => postgres::look(url, options).await,
    }
}

/// Gives back the room of what was pruned. A SQLite file must not be open in any gateway.
///
/// # Errors
/// When there is no ledger, it cannot be written, or another gateway has it for itself.
pub async fn vacuum(url: &LedgerUrl, options: OpenOptions) -> Result<(), LedgerError> {
    match url {
        LedgerUrl::Memory => Err(in_memory()),
        LedgerUrl::Sqlite(path) => sqlite::vacuum(path).await,
        LedgerUrl::Postgres(url) => postgres::vacuum(url, options).await,
    }
}

fn in_memory() -> LedgerError {
    LedgerError::Unavailable("a ledger in memory is seen by its own process only".to_owned())
}

/// Whether a program that knows the schema up to version `known` may work with what has `version`
/// (F36): always when that is not newer, and else when its programs left room for older ones.
pub(crate) fn may_work_with(known: i64, version: i64, oldest_reader: i64) -> Result<(), LedgerError> {
    if version <= known || oldest_reader <= known {
        return Ok(());
    }
    Err(LedgerError::Unavailable(format!(
        "its schema has version {version} and needs a program that knows version {oldest_reader}; this \
         one knows up to version {known}. It was written by a newer program"
    )))
}
