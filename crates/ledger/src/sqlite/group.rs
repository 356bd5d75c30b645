//! One group of writes as one transaction of two round trips, however many they are.
//!
//! The first begins the transaction and reads every row the group may depend on into a
//! [`Book`]; the book decides one write after another, each seeing those before it; the second
//! stores what the book became, and commits. Sets travel as JSON arrays, which SQLite takes apart
//! with `json_each`, so the statements are few, fixed and prepared once.

use std::collections::{BTreeSet, HashSet};

use restore_model::{Event, Intent, RestoreId, State, Timestamp};
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row as _};

use super::parse;
use crate::book::{Book, Coming, Row, lock_target};
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

const STORE_AND_COMMIT: &str = "
insert into restores
    (id, caller, project_id, upstream, handle_id, status, fingerprint, created_at, finished_at, intent, state)
  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
         value ->> 7, value ->> 8, value -> 9, value -> 10
  from json_each($1);
update restores
  set handle_id = w.value ->> 1, status = w.value ->> 2, finished_at = w.value ->> 3, state = w.value -> 4
  from json_each($2) w where restores.id = w.value ->> 0;
insert into events (restore_id, seq, at, event)
  select value ->> 0, value ->> 1, value ->> 2, value -> 3 from json_each($3);
delete from locks where lock in (select value from json_each($4));
insert into locks (lock, restore_id) select value ->> 0, value ->> 1 from json_each($5);
insert or replace into keys (caller, key, restore_id)
  select value ->> 0, value ->> 1, value ->> 2 from json_each($6);
insert into targets (target, restore_id) select distinct value ->> 0, value ->> 1 from json_each($7);
update meta set value = value + 1 where name = 'writable' and $8;
commit";

/// Commits the group and says what became of each write, in their order. When it fails, the
/// transaction may still be open.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    group: &[&Write],
) -> Result<Vec<Result<Written, LedgerError>>, Failure> {
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
    if came.is_empty() && moved.is_empty() && !touched {
        connection.execute("commit").await.map_err(failure)?;
    } else {
        Change::of(&book, &came, &moved, &open_before).store(connection, touched).await?;
    }
    Ok(answers)
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

type NewRow<'a> = (
    RestoreId,
    &'a str,
    &'a str,
    &'a str,
    Option<&'a str>,
    &'a str,
    &'a str,
    i64,
    Option<i64>,
    &'a Intent,
    &'a State,
);
type MovedRow<'a> = (RestoreId, Option<&'a str>, &'a str, Option<i64>, &'a State);

/// What a group changes, one member per parameter of [`STORE_AND_COMMIT`].
#[derive(Default)]
struct Change<'a> {
    rows: Vec<NewRow<'a>>,
    moves: Vec<MovedRow<'a>>,
    events: Vec<(RestoreId, u32, i64, &'a Event)>,
    released: Vec<&'a str>,
    taken: Vec<(&'a str, RestoreId)>,
    keys: Vec<(&'a str, &'a str, RestoreId)>,
    targets: Vec<(&'a str, RestoreId)>,
}

impl<'a> Change<'a> {
    fn of(
        book: &'a Book,
        came: &[RestoreId],
        moved: &BTreeSet<RestoreId>,
        open_before: &HashSet<RestoreId>,
    ) -> Self {
        let mut change = Self::default();
        for id in came {
            change.come(*id, &book.rows[id]);
        }
        for id in moved {
            change.shift(*id, &book.rows[id], open_before.contains(id));
        }
        change
    }

    fn come(&mut self, id: RestoreId, row: &'a Row) {
        let Row { intent, state, locks, .. } = row;
        self.rows.push((
            id,
            &intent.caller,
            intent.request.project_id.as_str(),
            &intent.route.upstream,
            handle_id(state),
            state.status.as_str(),
            &intent.fingerprint,
            intent.created_at.as_micros(),
            state.finished_at.map(Timestamp::as_micros),
            intent,
            state,
        ));
        if !state.status.is_final() {
            self.taken.extend(locks.iter().map(|lock| (&**lock, id)));
        }
        if let Some(key) = &intent.key {
            self.keys.push((&intent.caller, key, id));
        }
        self.targets.extend(locks.iter().map(|lock| (lock_target(lock), id)));
        self.tell(id, row);
    }

    fn shift(&mut self, id: RestoreId, row: &'a Row, was_open: bool) {
        let state = &row.state;
        let finished_at = state.finished_at.map(Timestamp::as_micros);
        self.moves.push((id, handle_id(state), state.status.as_str(), finished_at, state));
        if was_open && state.status.is_final() {
            self.released.extend(row.locks.iter().map(|lock| &**lock));
        }
        self.tell(id, row);
    }

    fn tell(&mut self, id: RestoreId, row: &'a Row) {
        self.events.extend(row.events.iter().map(|event| (id, event.seq, event.at.as_micros(), event)));
    }

    async fn store(&self, connection: &mut SqliteConnection, touched: bool) -> Result<(), Failure> {
        sqlx::query(STORE_AND_COMMIT)
            .bind(json(&self.rows)?)
            .bind(json(&self.moves)?)
            .bind(json(&self.events)?)
            .bind(json(&self.released)?)
            .bind(json(&self.taken)?)
            .bind(json(&self.keys)?)
            .bind(json(&self.targets)?)
            .bind(touched)
            .execute(connection)
            .await
            .map_err(failure)?;
        Ok(())
    }
}

fn json<T: Serialize>(values: &[T]) -> Result<String, Failure> {
    serde_json::to_string(values).map_err(|error| Failure::Within(LedgerError::Corrupt(error.to_string())))
}

fn handle_id(state: &State) -> Option<&str> {
    state.handle.as_ref().map(|handle| handle.id.as_str())
}

/// A refusal by a constraint concerns one write of the group; anything else concerns the file.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn failure(error: sqlx::Error) -> Failure {
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
