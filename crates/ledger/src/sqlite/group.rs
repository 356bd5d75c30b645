//! One group of writes as one transaction of a few round trips, however many they are.
//!
//! The first begins the transaction and reads every row the group may depend on into a [`Book`];
//! the book decides one write after another, each seeing those before it; then [`super::store`]
//! writes down what the book became, and commits. Sets of names travel as JSON arrays, which
//! SQLite takes apart with `json_each`, so the statements are few, fixed and prepared once.

use std::collections::{BTreeSet, HashSet};

use restore_model::{Event, RestoreId};
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row as _};

use super::parse;
use super::store::Change;
use crate::book::{Book, Coming};
use crate::{Accept, Entry, LedgerError};

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    Accept(Box<Coming>),
    Append {
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    },
    /// Proof that the file can be written.
    Touch,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Written {
    Accept(Accept),
    Append(Entry),
    Touch,
}

/// A group that was committed.
#[derive(Debug)]
pub(super) struct Committed {
    /// What became of each write, in their order.
    pub(super) answers: Vec<Result<Written, LedgerError>>,
    /// Whether anything was stored besides a touch.
    pub(super) stored: bool,
}

/// Why a whole group was not committed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something in it was refused or unreadable; each write alone may fare better.
    Within(LedgerError),
    /// The file cannot be read or written now.
    Down(String),
}

/// Kinds of rows the reading half answers with.
mod found {
    pub(super) const ROW: i64 = 1;
    pub(super) const KEY: i64 = 2;
    pub(super) const EQUAL: i64 = 3;
    pub(super) const HOLDER: i64 = 4;
}

/// Finished restores that had no effect do not answer for equal requests, nor do those that ended
/// before the window; both are left out here so that the search stays short.
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
  join restores r on r.id = coalesce(
    (select o.id from restores o
      where o.caller = w.value ->> 0 and o.fingerprint = w.value ->> 1 and o.finished_at is null
      limit 1),
    (select e.id from restores e
      where e.caller = w.value ->> 0 and e.fingerprint = w.value ->> 1
        and e.finished_at >= w.value ->> 2 and e.status in ('succeeded', 'failed')
      order by e.finished_at desc limit 1))
union all
select 4, '', '', r.id, r.intent, r.state
  from json_each($4) w join locks l on l.lock = w.value join restores r on r.id = l.restore_id";

/// Commits the group. When it fails, the transaction may still be open.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    group: &[&Write],
) -> Result<Committed, Failure> {
    let mut book = read(connection, group).await?;
    let open_before: HashSet<RestoreId> =
        book.rows.iter().filter(|(_, row)| !row.state.status.is_final()).map(|(id, _)| *id).collect();

    // In the order they came: of two that used one key in turn, the later keeps it.
    let mut came = Vec::new();
    let mut moved = BTreeSet::new();
    let mut touched = false;
    let mut answers = Vec::with_capacity(group.len());
    for write in group {
        answers.push(match write {
            Write::Accept(new) => book.accept(Coming::clone(new)).map(Written::Accept),
            Write::Append { id, seen, events } => {
                book.append(*id, *seen, events.clone()).map(Written::Append)
            }
            Write::Touch => Ok(Written::Touch),
        });
        match (write, answers.last()) {
            (Write::Accept(new), Some(Ok(Written::Accept(Accept::New(_))))) => {
                came.push(new.intent.id);
            }
            (Write::Append { id, events, .. }, Some(Ok(_))) if !events.is_empty() && !came.contains(id) => {
                moved.insert(*id);
            }
            (Write::Touch, _) => touched = true,
            _ => {}
        }
    }
    let stored = !came.is_empty() || !moved.is_empty();
    if stored || touched {
        Change::of(&book, &came, &moved, &open_before).store(connection, touched).await?;
    } else {
        connection.execute("commit").await.map_err(failure)?;
    }
    Ok(Committed { answers, stored })
}

async fn read(connection: &mut SqliteConnection, group: &[&Write]) -> Result<Book, Failure> {
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    let mut equals = Vec::new();
    let mut locks = Vec::new();
    for write in group {
        match write {
            Write::Accept(new) => {
                let intent = &new.intent;
                ids.push(intent.id);
                locks.extend(new.locks.iter().map(|lock| &**lock));
                match &intent.key {
                    Some(key) => keys.push((&intent.caller, key)),
                    None => {
                        let window = i64::try_from(new.duplicate_window_seconds).unwrap_or(i64::MAX);
                        let since = intent.created_at.plus_seconds(window.saturating_neg()).as_micros();
                        equals.push((&intent.caller, &intent.fingerprint, since));
                    }
                }
            }
            Write::Append { id, .. } => ids.push(*id),
            Write::Touch => {}
        }
    }
    let rows = sqlx::query(BEGIN_AND_READ)
        .bind(json(&ids)?)
        .bind(json(&keys)?)
        .bind(json(&equals)?)
        .bind(json(&locks)?)
        .fetch_all(connection)
        .await
        .map_err(failure)?;
    let mut book = Book::default();
    for row in &rows {
        enter(&mut book, row).map_err(Failure::Within)?;
    }
    Ok(book)
}

fn enter(book: &mut Book, row: &SqliteRow) -> Result<(), LedgerError> {
    let id: RestoreId = parse_id(row.get(3))?;
    if !book.rows.contains_key(&id) {
        book.load(parse(row.get(4))?, parse(row.get(5))?);
    }
    match row.get::<i64, _>(0) {
        found::KEY => book.load_key(row.get(1), row.get(2), id),
        found::EQUAL => book.load_equal(id),
        found::ROW | found::HOLDER => {}
        kind => return Err(LedgerError::Corrupt(format!("a row of kind {kind}"))),
    }
    Ok(())
}

fn parse_id(text: &str) -> Result<RestoreId, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt("a restore id that is none".to_owned()))
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Within(LedgerError::Corrupt(error.to_string())))
}

/// A refusal by a constraint concerns one write of the group; anything else concerns the file.
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
