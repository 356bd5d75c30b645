//! Opening a ledger: to write it, only to read it, or to reclaim its space.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::memory::MemoryLedger;
use crate::postgres::{self, PostgresLedger};
use crate::sqlite::{self, SqliteLedger};
use crate::{Ledger, LedgerError, LedgerUrl};

/// Options that the URL does not contain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The database user's password, if the database requires one. Never shown.
    pub password: Option<SecretString>,
    /// Time after its last heartbeat for which a process still holds its restores, in a shared ledger. A heartbeat
    /// follows every third of it.
    pub lease: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { password: None, lease: Duration::from_secs(30) }
    }
}

/// Opens a ledger. Creates it and upgrades its schema if necessary.
///
/// # Errors
/// If the store cannot be opened or written, another gateway has exclusive access, or it requires a newer program.
pub async fn open(url: &LedgerUrl, options: OpenOptions) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(match url {
        LedgerUrl::Memory => Arc::new(MemoryLedger::default()),
        LedgerUrl::Sqlite(path) => Arc::new(SqliteLedger::open(path).await?),
        LedgerUrl::Postgres(url) => Arc::new(PostgresLedger::open(url, options).await?),
    })
}

/// Opens a ledger read-only, beside the process that writes it. Every write is rejected with
/// [`LedgerError::Unavailable`]. Nothing is created or upgraded.
///
/// # Errors
/// If there is no ledger, it is unreadable, or this program does not support its schema.
pub async fn open_to_read(url: &LedgerUrl, options: OpenOptions) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(match url {
        LedgerUrl::Memory => return Err(in_memory()),
        LedgerUrl::Sqlite(path) => Arc::new(SqliteLedger::open_to_read(path).await?),
        LedgerUrl::Postgres(url) => Arc::new(PostgresLedger::open_to_read(url, options).await?),
    })
}

/// Result of [`look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A ledger that this program supports; the start upgrades it if necessary.
    Ledger,
    /// No ledger yet; the start creates one.
    Room,
}

/// Checks if a ledger can be opened, without opening it to write and without creating one.
///
/// # Errors
/// The reason why it cannot be opened.
pub async fn look(url: &LedgerUrl, options: OpenOptions) -> Result<Found, LedgerError> {
    match url {
        LedgerUrl::Memory => Ok(Found::Room),
        LedgerUrl::Sqlite(path) => sqlite::look(path).await,
        LedgerUrl::Postgres(url) => postgres::look(url, options).await,
    }
}

/// Reclaims the space of pruned restores. No gateway may have a SQLite file open.
///
/// # Errors
/// If there is no ledger, it is not writable, or another gateway has exclusive access.
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

/// Checks if a program that supports the schema up to version `known` may work with `version` (F36): always if that is
/// not newer; otherwise only if `oldest_reader` allows it.
pub(crate) fn may_work_with(known: i64, version: i64, oldest_reader: i64) -> Result<(), LedgerError> {
    if version <= known || oldest_reader <= known {
        return Ok(());
    }
    Err(LedgerError::Unavailable(format!(
        "its schema has version {version} and needs a program that knows version {oldest_reader}; this \
         one knows up to version {known}. It was written by a newer program"
    )))
}
