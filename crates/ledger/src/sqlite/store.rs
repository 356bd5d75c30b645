//! Commits groups into the file. It owns the file's lock and the only writing connection.
//!
//! On a full disk a touch may still fit where a restore does not. So after a failure a touch counts as success only
//! together with a proof of free space, until the proof or a real write has succeeded.

use std::time::Duration;

use restore_model::RestoreId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::time::Instant;

use super::file::{LedgerFile, Note};
use super::{group, rows, side};
use crate::book::Book;
use crate::change::Change;
use crate::group::{Answer, Decided, Decision, Failure, Wanted, Write};
use crate::writer::Store;

/// Two transactions, so that the pages are allocated and written before they are freed: data that is deleted before the
/// commit is never written.
const PROVE_ROOM: &str = "insert or replace into meta values ('room', zeroblob(65536));
delete from meta where name = 'room'";

/// Maximum number of restores that are kept from group to group. Beyond that all are dropped and read again when
/// needed. A restore needs some kilobytes.
const KEPT: usize = 2_048;

/// Minimum interval between two notes of the file's content.
const NOTE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct SqliteStore {
    file: LedgerFile,
    options: SqliteConnectOptions,
    /// `None` after a failure, until it is opened again.
    connection: Option<SqliteConnection>,
    /// Some of the unfinished restores that were recently written or read. A group need not read them again, because no
    /// other process writes the file. It has the state of the last commit. It is empty after a failure, which may have
    /// left the file in another state.
    book: Book,
    /// True if the last write of the file failed.
    doubted: bool,
    note: Note,
    noted: Instant,
}

impl SqliteStore {
    /// `note` is the current content of the file.
    pub(super) fn new(
        file: LedgerFile,
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        note: Note,
    ) -> Self {
        Self {
            file,
            options,
            connection: Some(connection),
            book: Book::default(),
            doubted: false,
            note,
            noted: Instant::now(),
        }
    }

    async fn try_commit(&mut self, writes: &[&Write]) -> Result<Vec<Answer>, Failure> {
        self.file.in_place().map_err(Failure::Down)?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await.map_err(|e| Failure::Down(e.to_string()))?),
        };
        let mut book = std::mem::take(&mut self.book);
        let wanted = Wanted::by(writes).beyond(&book);
        group::begin_and_read(connection, &wanted, &mut book).await?;
        alone(connection, self.note.opens).await?;
        let decided = Decided::of(&mut book, writes, |_| true);
        let (stored, touched) = (decided.stores(), decided.touched);
        let tally = book.take_tally();
        let change = Change::of(&book, &decided);
        if stored {
            rows::store(connection, &change).await?;
        }
        let written: Vec<RestoreId> = decided.came.iter().chain(decided.moved.keys()).copied().collect();
        let mut answers = Vec::with_capacity(writes.len());
        for decision in decided.decisions {
            answers.push(match decision {
                Decision::Made(answer) => answer,
                Decision::Left(side) => Ok(side::carry_out(connection, side).await?),
            });
        }
        if stored || touched {
            rows::commit(connection, &change, &tally, touched).await?;
        } else {
            connection.execute("commit").await.map_err(group::failure)?;
        }
        if self.doubted && touched && !stored {
            connection.execute(PROVE_ROOM).await.map_err(group::failure)?;
        }
        self.doubted &= !stored && !touched;
        if book.rows.len() <= KEPT {
            book.keep_unfinished(written);
            self.book = book;
        }
        Ok(answers)
    }

    /// Notes the content of the file. A failed note is no reason to reject a write: it only makes an older copy harder
    /// to detect.
    async fn note(&mut self) {
        self.noted = Instant::now();
        let Some(connection) = &mut self.connection else { return };
        if let Ok(position) = super::read::last_position(connection).await {
            self.note.position = position;
            if let Err(error) = self.file.note(self.note) {
                tracing::warn!(error = %error, "lock file of the ledger cannot be written");
            }
        }
    }
}

/// Rejects writes if another process has opened the file since: the lock was deleted, or the file system does not
/// support locks.
async fn alone(connection: &mut SqliteConnection, opens: i64) -> Result<(), Failure> {
    let found: i64 = sqlx::query_scalar("select value from meta where name = 'opens'")
        .fetch_one(connection)
        .await
        .map_err(group::failure)?;
    if found == opens {
        return Ok(());
    }
    Err(Failure::Down(
        "another process has opened the ledger since this one did, although one file has one gateway: its .lock file was \
         deleted, or the file system has no locks. Stop one of the two; this one writes nothing until it is restarted"
            .to_owned(),
    ))
}

impl Store for SqliteStore {
    async fn commit(&mut self, group: &[&Write]) -> Result<Vec<Answer>, Failure> {
        let outcome = self.try_commit(group).await;
        if let Err(failure) = &outcome {
            self.doubted |= matches!(failure, Failure::Down(_));
            // After some errors SQLite has rolled back by itself. In that case, and whenever the rollback fails, a new
            // connection is the safest choice.
            if let Some(connection) = &mut self.connection
                && connection.execute("rollback").await.is_err()
            {
                self.connection = None;
            }
        } else if self.noted.elapsed() >= NOTE_EVERY || self.file.is_to_be_noted() {
            self.note().await;
        }
        outcome
    }

    async fn close(mut self) {
        self.note().await;
        if let Some(connection) = self.connection.take() {
            let _leftover = connection.close().await;
        }
        // The last connection to close applies the log, which writes the file once more.
        let _hard_to_tell_then = self.file.note(self.note);
        // The file is released here: the process that closed it may open it again at once.
    }
}
