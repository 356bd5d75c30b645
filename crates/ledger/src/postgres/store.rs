//! Commits groups into the database. One group is one transaction:
//!
//! 1. It locks this process's registration, so that no other process takes over its restores meanwhile.
//! 2. It locks the names of the group's requests (locks, keys, tasks), in the order of their hashes. So equal or
//!    conflicting requests of several processes are decided one after the other.
//! 3. It reads the rows, and locks those that get new events in the order of their IDs.
//! 4. The book decides, and a few statements store the result.
//!
//! The primary keys of locks and keys remain the last line of defence.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use restore_model::RestoreId;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Executor, Row as _};
use tokio::task::JoinHandle;

use super::connect::Way;
use super::fail::{Failed, failed};
use super::hold::lock_registration;
use super::replica_lease::ReplicaLease;
use super::{rows, side};
use crate::LedgerError;
use crate::book::Book;
use crate::change::Change;
use crate::group::{Answer, Decided, Decision, Failure, Wanted, Write, overwritten};
use crate::text::{parse, parse_id};
use crate::writer::Store;

/// Number of attempts for a group that conflicts with other processes.
const TRIES: u32 = 4;
/// Maximum duration of a group.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct PostgresStore {
    way: Way,
    replica_lease: Arc<ReplicaLease>,
    /// The task that renews the lease of this replica.
    heart: JoinHandle<()>,
    /// `None` before the first write and after a failure.
    connection: Option<PgConnection>,
    /// Restores whose acceptance was answered with an error although the commit may have succeeded. No code works on
    /// them, so if they exist any process must be able to claim them.
    doubtful: Vec<String>,
}

/// Rows that the group may depend on, besides those that get new events.
const READ: &str = "
select 1, '', '', r.id, r.intent, r.state from restores r where r.id = any($1)
union all
select 2, k.caller, k.key, r.id, r.intent, r.state
  from unnest($2::text[], $3::text[]) w (caller, key)
  join keys k on k.caller = w.caller and k.key = w.key
  join restores r on r.id = k.restore_id
union all
select 3, '', '', r.id, r.intent, r.state
  from unnest($4::text[], $5::text[], $6::bigint[]) w (caller, fingerprint, since)
  join restores r on r.id = coalesce(
    (select o.id from restores o
      where o.caller = w.caller and o.fingerprint = w.fingerprint and o.finished_at is null
      limit 1),
    (select e.id from restores e
      where e.caller = w.caller and e.fingerprint = w.fingerprint
        and e.finished_at >= w.since and e.status in ('succeeded', 'failed')
      order by e.finished_at desc limit 1))
union all
select 4, '', '', r.id, r.intent, r.state
  from locks l join restores r on r.id = l.restore_id where l.lock = any($7)
union all
select 6, t.project_id, t.task_id, t.restore_id, '', ''
  from unnest($8::text[], $9::text[]) w (id, task_id)
  join restores r on r.id = w.id
  join tasks t on t.project_id = r.project_id and t.task_id = w.task_id";

/// For a restore that answers identical requests: later restores of the same targets, including itself, the last one
/// last. Event numbers are assigned at the write, and restores that share a lock are written one after the other. An
/// unfinished restore holds its lock and is not needed here.
const OVERWRITTEN: &str = "
select 5, '', '', r.id, r.intent, r.state
  from restores r
  join events e on e.restore_id = r.id and e.seq = 1
 where r.status in ('succeeded', 'failed')
   and r.id in (select t.restore_id
                  from unnest($1::text[], $2::text[]) w (target, since)
                  join targets t on t.target = w.target and t.restore_id >= w.since)
 order by e.n";

/// Kinds of rows in the answer.
mod found {
    pub(super) const ROW: i32 = 1;
    pub(super) const KEY: i32 = 2;
    pub(super) const EQUAL: i32 = 3;
    pub(super) const HOLDER: i32 = 4;
    pub(super) const OVERWRITTEN: i32 = 5;
    pub(super) const TASK: i32 = 6;
}

impl PostgresStore {
    pub(super) const fn new(way: Way, replica_lease: Arc<ReplicaLease>, heart: JoinHandle<()>) -> Self {
        Self { way, replica_lease, heart, connection: None, doubtful: Vec::new() }
    }

    async fn try_commit(&mut self, writes: &[&Write]) -> Result<Vec<Answer>, Failed> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.way.connect().await.map_err(|error| Failure::Down(error.to_string()))?),
        };
        begin(connection, &self.replica_lease).await?;
        if !self.doubtful.is_empty() {
            sqlx::query("update restores set owner = null where id = any($1) and owner = $2")
                .bind(&self.doubtful)
                .bind(&self.replica_lease.replica)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
        }
        let mut book = Book::default();
        let wanted = Wanted::by(writes);
        lock_names(connection, &wanted).await?;
        let held = read_moving(connection, &wanted, &self.replica_lease.replica, &mut book).await?;
        read(connection, &wanted, &mut book).await?;
        let decided = Decided::of(&mut book, writes, |id| held.contains(&id));
        if decided.stores() {
            rows::store(connection, &Change::of(&book, &decided), &self.replica_lease.replica).await?;
        }
        if decided.touched {
            const TOUCH: &str = "update replicas set started_at = started_at where id = $1";
            sqlx::query(TOUCH)
                .bind(&self.replica_lease.replica)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
        }
        let mut answers = Vec::with_capacity(writes.len());
        for decision in decided.decisions {
            answers.push(match decision {
                Decision::Made(answer) => answer,
                Decision::Left(side) => Ok(side::carry_out(connection, side).await?),
            });
        }
        // From here on the group may be committed, even if no answer arrives.
        self.doubtful.extend(decided.came.iter().map(RestoreId::to_string));
        connection.execute("commit").await.map_err(failed)?;
        self.doubtful.clear();
        Ok(answers)
    }
}

impl Store for PostgresStore {
    async fn commit(&mut self, group: &[&Write]) -> Result<Vec<Answer>, Failure> {
        let mut tries = 0;
        loop {
            let outcome = match tokio::time::timeout(PATIENCE, self.try_commit(group)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    // A late answer may still arrive, and nothing would show which statement it belongs to.
                    self.connection = None;
                    Err(Failed::For(Failure::Down("the database does not answer".to_owned())))
                }
            };
            let failed = match outcome {
                Ok(answers) => return Ok(answers),
                Err(failed) => failed,
            };
            if let Some(connection) = &mut self.connection
                && connection.execute("rollback").await.is_err()
            {
                self.connection = None;
            }
            tries += 1;
            match failed {
                Failed::For(failure) => return Err(failure),
                Failed::Crossed(_) if tries < TRIES => {}
                Failed::Crossed(reason) => return Err(Failure::Down(reason)),
            }
        }
    }

    async fn close(mut self) {
        self.heart.abort();
        // Otherwise it could register once more after this process has left.
        let _aborted = (&mut self.heart).await;
        let leave = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.way.connect().await?,
            };
            self.replica_lease.leave(&mut connection).await?;
            let _leftover = connection.close().await;
            Ok::<(), LedgerError>(())
        };
        if !matches!(tokio::time::timeout(PATIENCE, leave).await, Ok(Ok(()))) {
            tracing::warn!("lease could not be released; other replicas wait for its end");
        }
    }
}

/// Begins the transaction and locks this process's registration in it.
async fn begin(connection: &mut PgConnection, replica_lease: &ReplicaLease) -> Result<(), Failed> {
    let down = |error: LedgerError| Failure::Down(error.to_string());
    for _ in 0..2 {
        connection.execute("begin").await.map_err(failed)?;
        if lock_registration(connection, replica_lease).await.map_err(down)? {
            return Ok(());
        }
        connection.execute("rollback").await.map_err(failed)?;
        replica_lease.renew(connection).await.map_err(down)?;
    }
    Err(Failure::Down("the lease ends as soon as it is renewed".to_owned()).into())
}

/// Locks the names of the group's requests. It locks by number instead of name, because the database has room for only
/// some thousands of locks. Two names with the same number only cost a wait.
async fn lock_names(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<(), Failed> {
    const LOCK: &str = "select count(pg_advisory_xact_lock(1919251316, number)) from
        (select distinct (hashtextextended(name, 0) & 4095)::integer as number
           from unnest($1::text[]) name order by 1) numbers";
    let locks = wanted.locks.iter().map(|lock| format!("lock {lock}"));
    let keys = wanted.keys.iter().map(|(caller, key)| format!("key {caller} {key}"));
    let tasks = wanted.tasks.iter().map(|(_, task)| format!("task {task}"));
    let names: Vec<String> = locks.chain(keys).chain(tasks).collect();
    if !names.is_empty() {
        sqlx::query(LOCK).bind(names).execute(connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Reads and locks the restores that get new events; returns those that this process holds.
async fn read_moving(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    replica: &str,
    book: &mut Book,
) -> Result<HashSet<RestoreId>, Failed> {
    const MOVING: &str = "select id, intent, state, owner is not distinct from $2 from restores
        where id = any($1) order by id for update";
    let mut held = HashSet::new();
    if wanted.moving.is_empty() {
        return Ok(held);
    }
    let rows = sqlx::query(MOVING)
        .bind(names(&wanted.moving))
        .bind(replica)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    for row in &rows {
        let id = book.load(parse(row.get(1))?, parse(row.get(2))?);
        if row.get(3) {
            held.insert(id);
        }
    }
    Ok(held)
}

/// Reads the rows that new requests and new task bindings may depend on.
async fn read(connection: &mut PgConnection, wanted: &Wanted<'_>, book: &mut Book) -> Result<(), Failed> {
    if wanted.coming.is_empty() && wanted.tasks.is_empty() {
        return Ok(());
    }
    let (key_callers, keys): (Vec<&str>, Vec<&str>) = wanted.keys.iter().copied().unzip();
    let callers: Vec<&str> = wanted.equals.iter().map(|(caller, ..)| *caller).collect();
    let fingerprints: Vec<&str> = wanted.equals.iter().map(|(_, fingerprint, _)| *fingerprint).collect();
    let since: Vec<i64> = wanted.equals.iter().map(|(.., since)| *since).collect();
    let rows = sqlx::query(READ)
        .bind(names(&wanted.coming))
        .bind(key_callers)
        .bind(keys)
        .bind(callers)
        .bind(fingerprints)
        .bind(since)
        .bind(&wanted.locks)
        .bind(wanted.tasks.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>())
        .bind(wanted.tasks.iter().map(|(_, task)| task.as_str()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut equals = Vec::new();
    for row in &rows {
        equals.extend(enter(book, row)?);
    }
    let (targets, since): (Vec<_>, Vec<_>) = overwritten(book, &equals).into_iter().unzip();
    if targets.is_empty() {
        return Ok(());
    }
    let rows =
        sqlx::query(OVERWRITTEN).bind(targets).bind(since).fetch_all(connection).await.map_err(failed)?;
    for row in &rows {
        enter(book, row)?;
    }
    Ok(())
}

/// Returns the restore that answers identical requests, if the row contains it.
fn enter(book: &mut Book, row: &PgRow) -> Result<Option<RestoreId>, LedgerError> {
    let id = parse_id(row.get(3))?;
    if row.get::<i32, _>(0) == found::TASK {
        book.load_task(row.get(1), row.get(2), id);
        return Ok(None);
    }
    if !book.rows.contains_key(&id) {
        book.load(parse(row.get(4))?, parse(row.get(5))?);
    }
    match row.get::<i32, _>(0) {
        found::KEY => book.load_key(row.get(1), row.get(2), id),
        found::EQUAL => {
            book.load_equal(id);
            return Ok(Some(id));
        }
        found::OVERWRITTEN => book.load_changed(id),
        found::ROW | found::HOLDER => {}
        kind => return Err(LedgerError::Corrupt(format!("a row of kind {kind}"))),
    }
    Ok(None)
}

fn names(ids: &[RestoreId]) -> Vec<String> {
    ids.iter().map(RestoreId::to_string).collect()
}
