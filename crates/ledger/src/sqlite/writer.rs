//! The one that writes: a task with a connection of its own. It takes all that waits, commits it
//! as one group with one sync to the disk, and only then answers everyone in it (I7). While the
//! disk works the next group gathers, so the dearer a sync is, the more writes share one.
//!
//! On a full disk a touch may still fit where a restore does not. So after a failure a touch is
//! believed only together with a proof of room, until that or something real was stored.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use super::file::LedgerFile;
use super::group::{self, Committed, Failure, Write, Written};
use crate::LedgerError;

/// At most so many writes in one transaction.
const GROUP: usize = 256;

/// Two transactions, so that the pages are taken and written before they are given back: what is
/// deleted before it is committed is never written.
const PROVE_ROOM: &str = "insert or replace into meta values ('room', zeroblob(65536));
delete from meta where name = 'room'";

pub(super) type Answer = Result<Written, LedgerError>;

/// What stands in the queue.
#[derive(Debug)]
pub(super) enum Job {
    Write(Write, oneshot::Sender<Answer>),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    file: LedgerFile,
    options: SqliteConnectOptions,
    /// `None` after a failure, until it is opened anew.
    connection: Option<SqliteConnection>,
    /// Whether the last that is known of the file is that it could not be written.
    doubted: bool,
}

impl Writer {
    pub(super) const fn new(
        file: LedgerFile,
        options: SqliteConnectOptions,
        connection: SqliteConnection,
    ) -> Self {
        Self { file, options, connection: Some(connection), doubted: false }
    }

    /// Writes until every sender is gone or one asks to close; what is queued by then is written.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        while jobs.recv_many(&mut waiting, GROUP).await > 0 {
            let mut writes = Vec::with_capacity(waiting.len());
            let mut answers = Vec::with_capacity(waiting.len());
            for job in waiting.drain(..) {
                match job {
                    Job::Write(write, answer) => {
                        writes.push(write);
                        answers.push(answer);
                    }
                    Job::Close(done) => {
                        jobs.close();
                        closing.push(done);
                    }
                }
            }
            if !writes.is_empty() {
                let outcomes = self.write(&writes).await;
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // Whoever asked may have gone; what was written stays written.
                    let _gone = answer.send(outcome);
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            let _leftover = connection.close().await;
        }
        // Whoever closed may open it again at once.
        drop(self.file);
        for done in closing {
            let _gone = done.send(());
        }
    }

    /// All of them in one transaction; when one spoils it for the others, each in its own.
    async fn write(&mut self, writes: &[Write]) -> Vec<Answer> {
        let all: Vec<&Write> = writes.iter().collect();
        match self.commit(&all).await {
            Ok(answers) => answers,
            Err(Failure::Within(error)) if all.len() > 1 => {
                tracing::warn!(error = %error, writes = all.len(), "a group of writes is tried one by one");
                let mut answers = Vec::with_capacity(all.len());
                for write in all {
                    answers.extend(match self.commit(&[write]).await {
                        Ok(answers) => answers,
                        Err(failure) => refuse_all(failure, 1),
                    });
                }
                answers
            }
            Err(failure) => refuse_all(failure, all.len()),
        }
    }

    async fn commit(&mut self, writes: &[&Write]) -> Result<Vec<Answer>, Failure> {
        let outcome = self.try_commit(writes).await;
        if let Err(failure) = &outcome {
            if let Failure::Down(reason) = failure {
                tracing::error!(error = reason, "the ledger cannot be written");
                self.doubted = true;
            }
            // After some faults SQLite has rolled back by itself; then, and whenever this fails,
            // a new connection is the surest way to a clean one.
            if let Some(connection) = &mut self.connection
                && connection.execute("rollback").await.is_err()
            {
                self.connection = None;
            }
        }
        outcome
    }

    async fn try_commit(&mut self, writes: &[&Write]) -> Result<Vec<Answer>, Failure> {
        self.file.in_place().map_err(Failure::Down)?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await.map_err(|e| Failure::Down(e.to_string()))?),
        };
        let Committed { answers, stored } = group::commit(connection, writes).await?;
        let touched = writes.iter().any(|write| matches!(write, Write::Touch));
        if self.doubted && touched && !stored {
            connection.execute(PROVE_ROOM).await.map_err(group::failure)?;
        }
        self.doubted &= !stored && !touched;
        Ok(answers)
    }
}

fn refuse_all(failure: Failure, count: usize) -> Vec<Answer> {
    match failure {
        Failure::Within(error) => vec![Err(error)],
        Failure::Down(reason) => (0..count).map(|_| Err(LedgerError::Unavailable(reason.clone()))).collect(),
    }
}
