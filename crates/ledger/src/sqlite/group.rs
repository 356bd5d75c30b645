//! The first half of a group: it begins the transaction, and reads every row that the group may depend on and that is
//! not in the [`Book`], in one round trip. Sets of names are JSON arrays, which SQLite reads with `json_each`, so the
//! statement is fixed and prepared once.

use restore_model::RestoreId;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor as _, Row as _};

use crate::LedgerError;
use crate::book::{Book, lock_parts};
use crate::group::{Failure, Wanted, overwritten};
use crate::text::{self, parse, parse_id};

/// Kinds of rows in the answer.
mod found {
    pub(super) const ROW: i64 = 1;
    pub(super) const KEY: i64 = 2;
    pub(super) const EQUAL: i64 = 3;
    pub(super) const OVERWRITTEN: i64 = 4;
    pub(super) const TASK: i64 = 5;
}

/// A finished restore without effect does not answer identical requests. Neither does one that ended before the window.
/// The query excludes both so that the search stays short. An identical unfinished request holds the same locks, and is
/// read as their holder.
const BEGIN_AND_READ: &str = "begin immediate;
select 1, '', '', r.id, r.intent, r.state
  from json_each($1) w join restores r on r.id = w.value
union all
select 2, k.caller, k.key, r.id, r.intent, r.state
  from json_each($2) w
  join keys k on k.caller = w.value ->> 0 and k.key = w.value ->> 1
  join restores r on r.id = k.restore_id
union all
select 3, '', '', r.id, r.intent, r.state
  from json_each($3) w
  join restores r on r.id =
    (select e.id from restores e
      where e.caller = w.value ->> 0 and e.fingerprint = w.value ->> 1
        and e.finished_at >= w.value ->> 2 and e.status in ('succeeded', 'failed')
      order by e.finished_at desc limit 1)
union all
select 5, t.project_id, t.task_id, t.restore_id, '', ''
  from json_each($4) w
  join restores r on r.id = w.value ->> 0
  join tasks t on t.project_id = r.project_id and t.task_id = w.value ->> 1
union all
select 1, '', '', r.id, r.intent, r.state
  from (select distinct h.restore_id as id
          from json_each($5) w
         cross join held h on h.target = w.value ->> 0 and h.scope = w.value ->> 1) o
 cross join restores r on r.id = o.id";

/// For a restore that answers identical requests: later ended restores of the same targets, including itself, the last
/// one last. It is rarely needed: only for a repetition after the end.
const OVERWRITTEN: &str = "
select 4, '', '', r.id, r.intent, r.state
  from (select distinct t.restore_id as id
          from json_each($1) w
         cross join targets t on t.target = w.value ->> 0 and t.restore_id >= w.value ->> 1) o
 cross join restores r on r.id = o.id and r.status in ('succeeded', 'failed')
 cross join events e on e.restore_id = o.id and e.seq = 1
 order by e.position";

/// On failure, the transaction may be open all the same.
pub(super) async fn begin_and_read(
    connection: &mut SqliteConnection,
    wanted: &Wanted<'_>,
    book: &mut Book,
) -> Result<(), Failure> {
    if wanted.is_empty() {
        connection.execute("begin immediate").await.map_err(failure)?;
        return Ok(());
    }
    let ids: Vec<RestoreId> = wanted.coming.iter().chain(&wanted.moving).copied().collect();
    let locks: Vec<_> = wanted.locks.iter().map(|lock| lock_parts(lock)).collect();
    let rows = sqlx::query(BEGIN_AND_READ)
        .bind(json(&ids)?)
        .bind(json(&wanted.keys)?)
        .bind(json(&wanted.equals)?)
        .bind(json(&wanted.tasks)?)
        .bind(json(&locks)?)
        .fetch_all(&mut *connection)
        .await
        .map_err(failure)?;
    let mut equals = Vec::new();
    for row in &rows {
        equals.extend(enter(book, row).map_err(Failure::Within)?);
    }
    let targets = overwritten(book, &equals);
    if targets.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(OVERWRITTEN).bind(json(&targets)?).fetch_all(connection).await.map_err(failure)?;
    for row in &rows {
        enter(book, row).map_err(Failure::Within)?;
    }
    Ok(())
}

/// Returns the restore that answers identical requests, if the row contains it.
fn enter(book: &mut Book, row: &SqliteRow) -> Result<Option<RestoreId>, LedgerError> {
    let id = parse_id(row.get(3))?;
    if row.get::<i64, _>(0) == found::TASK {
        book.load_task(row.get(1), row.get(2), id);
        return Ok(None);
    }
    if !book.rows.contains_key(&id) {
        book.load(parse(row.get(4))?, parse(row.get(5))?);
    }
    match row.get::<i64, _>(0) {
        found::KEY => book.load_key(row.get(1), row.get(2), id),
        found::EQUAL => {
            book.load_equal(id);
            return Ok(Some(id));
        }
        found::OVERWRITTEN => book.load_changed(id),
        found::ROW => {}
        kind => return Err(LedgerError::Corrupt(format!("a row of kind {kind}"))),
    }
    Ok(None)
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    text::json(value).map_err(Failure::Within)
}

/// A violated constraint concerns one write of the group; any other error concerns the file.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub(super) fn failure(error: sqlx::Error) -> Failure {
    const CONSTRAINT: i32 = 19;
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<i32>().ok());
    // The low byte of an extended code is its class.
    if code.is_some_and(|code| code & 0xff == CONSTRAINT) {
        Failure::Within(LedgerError::Corrupt(error.to_string()))
    } else {
        Failure::Down(error.to_string())
    }
}
