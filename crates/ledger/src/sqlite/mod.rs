//! A ledger in one SQLite file, for one machine: write-ahead log, full sync, group commit.
//!
//! It speaks to SQLite itself and not through sqlx's `any` driver. What makes one file fast enough
//! (a single writer, sets as JSON arrays, several statements in one round trip) is SQLite's own,
//! and what a shared database needs instead (row locks, leases, `on conflict`) is not: the two
//! have in common the book of decisions, and not the text of the statements.
//!
//! | module | its part |
//! |---|---|
//! | `file` | the file itself: one gateway holds it, and it is still there |
//! | `schema` | what the file looks like, and how an older one gets there |
//! | `writer` | the queue, and groups of writes out of it |
//! | `group` | one group: begin, read, decide |
//! | `store` | what was decided: store, commit |
//! | `read` | everything that only reads, on connections of its own that never wait for the writer |
//!
//! A write that was answered [`LedgerError::Unavailable`] left nothing behind that this process can
//! see. As with every database, when the very sync of a commit fails, a later start may find it
//! done after all; asking again is safe either way, for the key, the equal request or the event's
//! number tell.

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::{Event, RestoreId};
use serde::de::DeserializeOwned;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::{mpsc, oneshot};

use crate::book::Coming;
use crate::{Accept, Entry, Ledger, LedgerError, NewEntry, Query};
use file::LedgerFile;
use group::{Write, Written};
use writer::{Job, Writer};

mod file;
mod group;
mod read;
mod schema;
mod store;
mod writer;

/// Writes that may wait in the queue before a caller must wait for a place in it.
const QUEUE: usize = 1024;
/// Connections for reading.
const READERS: u32 = 4;

/// What can be set about the file. The defaults are for service; tests bend them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Tuning {
    /// How long a write waits for another process that is writing the file.
    pub busy_timeout: Duration,
    /// How many pages of 4 KiB the file may have; `None` is as many as fit on the disk.
    pub max_pages: Option<u32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), max_pages: None }
    }
}

/// The ledger in a SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    jobs: mpsc::Sender<Job>,
    readers: SqlitePool,
}

impl SqliteLedger {
    /// Opens the file, creating it for its owner alone where it is missing, and brings its schema
    /// up to date. Its folder must exist. The file is this ledger's alone until it is closed or its
    /// process ends; dropped, it writes what is queued first.
    ///
    /// # Errors
    /// When the file cannot be opened or written, another gateway has it open, or it was written by
    /// a newer program.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_tuned(path, Tuning::default()).await
    }

    /// [`SqliteLedger::open`] with other settings than those for service.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`].
    pub async fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self, LedgerError> {
        let named = |error| match error {
            LedgerError::Unavailable(why) => LedgerError::Unavailable(format!("{}: {why}", path.display())),
            other => other,
        };
        let file = LedgerFile::hold(path).await.map_err(|why| named(LedgerError::Unavailable(why)))?;
        let mut options = SqliteConnectOptions::new()
            .filename(file.path())
            .foreign_keys(true)
            .busy_timeout(tuning.busy_timeout)
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        let reading = options.clone().read_only(true);
        // 64 MiB of pages are kept, so that a write seldom reads; the log is brought home every
        // 8000 pages (32 MiB) and not every 1000, and after a burst it shrinks back to 64 MiB.
        options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "8000")
            .pragma("journal_size_limit", "67108864");
        if let Some(pages) = tuning.max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        let mut connection = options.connect().await.map_err(unavailable).map_err(named)?;
        schema::migrate(&mut connection).await.map_err(named)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(reading)
            .await
            .map_err(unavailable)
            .map_err(named)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(Writer::new(file, options, connection).run(receiver));
        Ok(Self { jobs: sender, readers })
    }

    async fn write(&self, write: Write) -> Result<Written, LedgerError> {
        let closed = || LedgerError::Unavailable("it is closed".to_owned());
        let (answer, outcome) = oneshot::channel();
        self.jobs.send(Job::Write(write, answer)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn unavailable(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|error| LedgerError::Corrupt(error.to_string()))
}

/// A write is answered with what was written.
fn mismatch() -> LedgerError {
    LedgerError::Corrupt("the writer answered another question".to_owned())
}

impl Ledger for SqliteLedger {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        Box::pin(async move {
            match self.write(Write::Accept(Box::new(Coming::of(new)?))).await? {
                Written::Accept(accept) => Ok(accept),
                _ => Err(mismatch()),
            }
        })
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        Box::pin(async move {
            match self.write(Write::Append { id, seen, events }).await? {
                Written::Append(entry) => Ok(entry),
                _ => Err(mismatch()),
            }
        })
    }

    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(read::get(&self.readers, id))
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        Box::pin(read::events(&self.readers, id))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(read::list(&self.readers, query))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(read::unfinished(&self.readers))
    }

    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(read::handle_taken(&self.readers, upstream, handle_id, but))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.write(Write::Touch).await.map(|_| ()) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, closed) = oneshot::channel();
            if self.jobs.send(Job::Close(done)).await.is_ok() {
                let _stopped = closed.await;
            }
            self.readers.close().await;
        })
    }
}
