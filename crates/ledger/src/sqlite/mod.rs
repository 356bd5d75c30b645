//! A ledger in one SQLite file, for one machine: write-ahead log, full sync, group commit.
//!
//! It uses SQLite directly and not through sqlx's `any` driver. The techniques that make one file fast enough (a single
//! writer, sets as JSON arrays, several statements in one round trip) are specific to SQLite. The techniques that a
//! shared database needs (row locks, leases, `on conflict`) are not used here. The two share the decisions of the book,
//! not the text of the statements.
//!
//! | module | content |
//! |---|---|
//! | `file` | the file itself: one gateway holds it, and it is still there |
//! | `schema` | the tables and their upgrade |
//! | `store` | commits groups: the writing connection, and the handling of its failures |
//! | `unclaimed` | unfinished restores that were found and not claimed yet |
//! | `group` | the first half of a group: begin, read |
//! | `rows` | its second half: store, commit |
//! | `side` | writes without a decision: deletion, recovery mode, the outbox |
//! | `read` | all read-only queries, on their own connections that never wait for the writer |
//!
//! A write that returned [`LedgerError::Unavailable`] left no change that this process can see. As with every database,
//! if the sync of a commit fails, a later start may find the write done after all. A retry is safe in either case: the
//! key, the identical request or the event's number detects it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use restore_model::{Event, ProjectId, RestoreId, Timestamp};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::group::Side;
use crate::open::Found;
use crate::stored::Stored;
use crate::writer::Queue;
use crate::{
    Accept, Claim, Entry, FeedItem, Hook, Lease, Ledger, LedgerError, NewEntry, Position, Pruned, Query,
    Record, Recovery, Unfinished, Waiting,
};
use file::{LedgerFile, Note};
use store::SqliteStore;
use unclaimed::Unclaimed;

mod file;
mod group;
mod read;
mod rows;
mod schema;
mod side;
mod store;
mod unclaimed;

/// Number of read connections.
const READERS: u32 = 4;
/// Maximum wait of a read for one of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settings of the file. The defaults are for production; tests change them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Tuning {
    /// Maximum wait of a write for another process that is writing the file.
    pub busy_timeout: Duration,
    /// Maximum number of 4 KiB pages of the file; `None` means that only the disk limits it.
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
    queue: Queue,
    readers: SqlitePool,
    /// Restores that were unfinished when the file was opened and are not claimed yet. This process holds all others:
    /// no other process writes the file.
    unclaimed: Unclaimed,
}

impl SqliteLedger {
    /// Opens the file. Creates it for its owner alone if it is missing, and upgrades its schema. Its folder must exist.
    /// The file belongs to this ledger until it is closed or its process ends. A dropped ledger writes its queue first.
    ///
    /// # Errors
    /// If the file cannot be opened or written, another gateway has it open, or it requires a newer program.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_tuned(path, Tuning::default()).await
    }

    /// Does the same as [`SqliteLedger::open`] with other settings than those for production.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`].
    pub async fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self, LedgerError> {
        Self::hold(path, tuning).await.map_err(|error| named(path, error))
    }

    /// Opens the file read-only, beside the gateway that holds it. Every write is rejected.
    ///
    /// # Errors
    /// If there is no such file, it is unreadable, or this program does not support its schema.
    pub async fn open_to_read(path: &Path) -> Result<Self, LedgerError> {
        let open = async {
            let options = at(path).read_only(true).busy_timeout(Tuning::default().busy_timeout);
            let mut connection = options.connect().await.map_err(unavailable)?;
            schema::check(&mut connection).await?;
            let _leftover = connection.close().await;
            Ok(Self {
                queue: Queue::to_nowhere(),
                readers: readers(options).await?,
                unclaimed: Unclaimed::nothing(),
            })
        };
        open.await.map_err(|error| named(path, error))
    }

    async fn hold(path: &Path, tuning: Tuning) -> Result<Self, LedgerError> {
        let mut file = LedgerFile::hold(path).await.map_err(LedgerError::Unavailable)?;
        let mut options = at(file.path()).busy_timeout(tuning.busy_timeout);
        let reading = options.clone().read_only(true);
        // A cache of 64 MiB of pages, so that a write seldom reads. A checkpoint follows every 8000 pages (32 MiB)
        // instead of every 1000. After a burst the log shrinks back to 64 MiB.
        options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "8000")
            .pragma("journal_size_limit", "67108864");
        if let Some(pages) = tuning.max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        let mut connection = options.connect().await.map_err(unavailable)?;
        schema::migrate(&mut connection).await?;
        let before = Before { noted: file.noted(), traces: file.traces() };
        if !file.was_found() {
            // An operator who did not expect an empty ledger must see this.
            tracing::warn!(path = %file.path().display(), "new, empty ledger created");
        }
        let note = begin(&mut connection, &before).await?;
        file.note(note).map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        let readers = readers(reading).await?;
        let queue = Queue::to(SqliteStore::new(file, options, connection, note));
        Ok(Self { queue, readers, unclaimed: Unclaimed::default() })
    }
}

/// Information about an earlier ledger at this path.
struct Before {
    /// The note in its lock file.
    noted: Option<Note>,
    /// Files that remained beside a missing or empty file.
    traces: Option<String>,
}

impl Before {
    /// Returns the reason why the file is not the earlier ledger, or not all of it.
    fn doubt(&self, now: Note) -> Option<String> {
        const MISSING: &str = "What was written since is missing: restores may have been sent that this file does not know \
                               or holds to be unsent";
        let other = |how: &str, noted: Note| {
            format!(
                "the ledger's file {how}, and the one that was here before had {} events and was opened {} times. {MISSING}",
                noted.position, noted.opens
            )
        };
        match (self.noted, &self.traces) {
            (Some(noted), Some(_)) => Some(other("was missing or empty at the start", noted)),
            (None, Some(traces)) => Some(format!(
                "the ledger's file was missing or empty at the start, and traces of one that was here before lay beside it \
                 ({traces}). {MISSING}"
            )),
            (Some(noted), None) if noted.ledger != now.ledger => Some(other("is another ledger", noted)),
            (Some(noted), None) if noted.opens >= now.opens || noted.position > now.position => {
                Some(format!(
                    "the ledger's file is an older copy of the one that was here before: it has {} events \
                 and was opened {} times, that one had {} and was opened {} times. {MISSING}",
                    now.position,
                    now.opens - 1,
                    noted.position,
                    noted.opens
                ))
            }
            _ => None,
        }
    }
}

/// Counts this opening, and starts recovery mode if the file contains less than the earlier one.
async fn begin(connection: &mut SqliteConnection, before: &Before) -> Result<Note, LedgerError> {
    const COUNT: &str = "update meta set value = value + 1 where name = 'opens' returning value";
    let mut step = connection.begin_with("begin immediate").await.map_err(unavailable)?;
    let ledger: i64 = sqlx::query_scalar("select value from meta where name = 'ledger'")
        .fetch_one(&mut *step)
        .await
        .map_err(unavailable)?;
    let opens: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *step).await.map_err(unavailable)?;
    let position = read::last_position(&mut step).await?;
    let note = Note { ledger, opens, position };
    if let Some(reason) = before.doubt(note) {
        tracing::error!(reason, "the ledger is in recovery mode");
        sqlx::query("insert or ignore into recovery (here, since, reason) values (1, 0, $1)")
            .bind(reason)
            .execute(&mut *step)
            .await
            .map_err(unavailable)?;
    }
    step.commit().await.map_err(unavailable)?;
    Ok(note)
}

/// Checks if there is a ledger that this program supports, or if one can be created: the check creates a temporary file
/// beside it.
pub(crate) async fn look(path: &Path) -> Result<Found, LedgerError> {
    let look = async {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
        let probe = folder.join(format!(".restore-gateway-{}", std::process::id()));
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
        made.and_then(|_| std::fs::remove_file(&probe)).map_err(|error| {
            LedgerError::Unavailable(format!("nothing can be written in {}: {error}", folder.display()))
        })?;
        if !path.exists() {
            return Ok(Found::Room);
        }
        let options = at(path).read_only(true).busy_timeout(Tuning::default().busy_timeout);
        let mut connection = options.connect().await.map_err(unavailable)?;
        schema::look(&mut connection).await?;
        let _leftover = connection.close().await;
        Ok(Found::Ledger)
    };
    look.await.map_err(|error| named(path, error))
}

/// Reclaims the space of deleted rows. No gateway may have the file open.
///
/// # Errors
/// If there is no such file, it is not writable, or a gateway has it open.
pub async fn vacuum(path: &Path) -> Result<(), LedgerError> {
    let vacuum = async {
        if !path.exists() {
            return Err(LedgerError::Unavailable("there is no such file".to_owned()));
        }
        let file = LedgerFile::hold(path).await.map_err(LedgerError::Unavailable)?;
        let mut connection = at(file.path()).connect().await.map_err(unavailable)?;
        schema::check(&mut connection).await?;
        connection.execute("vacuum").await.map_err(unavailable)?;
        connection.close().await.map_err(unavailable)
    };
    vacuum.await.map_err(|error| named(path, error))
}

fn at(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

async fn readers(options: SqliteConnectOptions) -> Result<SqlitePool, LedgerError> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(unavailable)
}

fn named(path: &Path, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Unavailable(why) => LedgerError::Unavailable(format!("{}: {why}", path.display())),
        other => other,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn unavailable(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

impl Stored for SqliteLedger {
    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>> {
        Box::pin(read::hook(&self.readers, name))
    }

    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>> {
        Box::pin(read::next_due(&self.readers, name))
    }

    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>> {
        Box::pin(read::waiting(&self.readers, name))
    }
}

impl Ledger for SqliteLedger {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        self.unclaimed.remove(new.intent.id);
        Box::pin(self.queue.accept(new))
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        Box::pin(self.queue.append(id, seen, events))
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

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, LedgerError>> {
        Box::pin(read::tally(&self.readers))
    }

    fn claim(&self, which: Claim, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move {
            loop {
                let Some(after) = self.unclaimed.after(which) else { return Ok(Vec::new()) };
                // The claim is recorded only after the read, so that the next call claims the restores of a cancelled
                // or failed read.
                let page = read::unfinished(&self.readers, which, after, limit).await?;
                let is_last = page.is_empty();
                let claimed = self.unclaimed.claim(which, page);
                if is_last || !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
        })
    }

    fn claim_one(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(async move {
            if !self.unclaimed.has(id) {
                return Ok(None);
            }
            let found = read::get(&self.readers, id).await?;
            Ok(found.filter(|entry| !entry.state.status.is_final() && self.unclaimed.remove(id)))
        })
    }

    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            let found = read::get(&self.readers, id).await?;
            self.unclaimed.remove(id);
            Ok(found.is_some_and(|entry| !entry.state.status.is_final()))
        })
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
        Box::pin(read::feed(&self.readers, after, limit))
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, LedgerError>> {
        Box::pin(read::position(&self.readers))
    }

    fn keys<'a>(&'a self, caller: &'a str, at_most: usize) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(read::keys(&self.readers, caller, at_most))
    }

    fn prune(
        &self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        Box::pin(self.queue.prune(Side::Prune { restores_before, keys_before, limit }))
    }

    fn audit(
        &self,
        after: Option<RestoreId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LedgerError>> {
        Box::pin(read::audit(&self.readers, after, limit))
    }

    fn recovery(&self) -> BoxFuture<'_, Result<Option<Recovery>, LedgerError>> {
        Box::pin(read::recovery(&self.readers))
    }

    fn set_recovery(&self, recovery: Option<Recovery>) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.queue.carry_out(Side::SetRecovery(recovery)))
    }

    fn task_holder<'a>(
        &'a self,
        project: &'a ProjectId,
        task: &'a str,
    ) -> BoxFuture<'a, Result<Option<RestoreId>, LedgerError>> {
        Box::pin(read::task_holder(&self.readers, project, task))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.queue.touch().await?;
            self.readers.acquire().await.map(drop).map_err(unavailable)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The writer closes last: only a writing connection may apply the log to the file.
            self.readers.close().await;
            self.queue.close().await;
        })
    }
}
