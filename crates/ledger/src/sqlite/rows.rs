//! The second half of a group: stores the changes and commits.
//!
//! Rows with documents are bound values, several to a statement: parsing JSON in SQL costs more than storing it. A
//! statement exists only for a few numbers of rows, so that each is prepared once. Unused places stay unbound and so
//! null, and store nothing. `or fail` saves SQLite the page copies with which it could undo half a statement: on any
//! failure, the whole transaction is rolled back.

use std::sync::LazyLock;

use restore_model::{RestoreId, Timestamp};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};

use super::group::{failure, json};
use crate::book::{lock_parts, lock_target};
use crate::change::{Change, locks};
use crate::group::Failure;
use crate::tally::Tally;

/// Numbers of rows that a statement has room for.
const ROOM: [usize; 5] = [1, 4, 16, 64, 256];

/// One text for each [`ROOM`].
type Texts = [String; ROOM.len()];

static NEW: LazyLock<Texts> = LazyLock::new(|| {
    rows(
        "insert or fail into restores
           (id, caller, project_id, upstream, status, fingerprint, created_at, finished_at, intent, state)
         select * from",
        10,
        "where column1 is not null",
    )
});

static MOVED: LazyLock<Texts> = LazyLock::new(|| {
    rows(
        "update or fail restores set status = column2, finished_at = column3, state = column4 from",
        4,
        "where restores.id = column1",
    )
});

static EVENTS: LazyLock<Texts> = LazyLock::new(|| {
    rows(
        "insert or fail into events (restore_id, seq, at, event) select * from",
        4,
        "where column1 is not null",
    )
});

static LOCKS: LazyLock<Texts> = LazyLock::new(|| {
    rows("insert or fail into locks (restore_id, names) select * from", 2, "where column1 is not null")
});

static HELD: LazyLock<Texts> = LazyLock::new(|| {
    rows("insert or fail into held (target, scope, restore_id) select * from", 3, "where column1 is not null")
});

static RELEASED: LazyLock<Texts> =
    LazyLock::new(|| rows("delete from held where (target, scope) in (select * from", 2, ")"));

static TASKS: LazyLock<Texts> = LazyLock::new(|| {
    rows(
        "insert or ignore into tasks (project_id, task_id, restore_id) select * from",
        3,
        "where column1 is not null",
    )
});

static TARGETS: LazyLock<Texts> = LazyLock::new(|| {
    rows("insert or ignore into targets (target, restore_id) select * from", 2, "where column1 is not null")
});

/// The remaining data is usually small: short names, as JSON arrays.
const REST_AND_COMMIT: &str = "
delete from locks where restore_id in (select value from json_each($1));
insert or replace into keys (caller, key, restore_id)
  select value ->> 0, value ->> 1, value ->> 2 from json_each($2);
insert into tally (status, flags, count)
  select value ->> 0, value ->> 1, value ->> 2 from json_each($3) where true
  on conflict (status, flags) do update set count = count + excluded.count;
update meta set value = value + 1 where name = 'writable' and $4;
commit";

/// Builds one statement for each [`ROOM`], around a list of that many rows. The places have no numbers: the driver
/// searches each name in a list. For hundreds of names that takes longer than storing them.
fn rows(head: &str, columns: usize, tail: &str) -> Texts {
    ROOM.map(|room| {
        let mut sql = format!("{head} (values");
        for place in 0..room * columns {
            let before = match (place % columns, place) {
                (0, 0) => " (?",
                (0, _) => "), (?",
                _ => ", ?",
            };
            sql.push_str(before);
        }
        sql.push_str(")) ");
        sql.push_str(tail);
        sql
    })
}

type Bound = Query<'static, Sqlite, SqliteArguments>;

/// Stores nearly all of a change; the commit stores the rest.
pub(super) async fn store(connection: &mut SqliteConnection, change: &Change<'_>) -> Result<(), Failure> {
    execute(connection, &NEW, &change.new, |query, (id, row)| {
        let (intent, state) = (&row.intent, &row.state);
        Ok(query
            .bind(id.to_string())
            .bind(intent.caller.clone())
            .bind(intent.request.project_id.to_string())
            .bind(intent.route.upstream.clone())
            .bind(state.status.as_str())
            .bind(intent.fingerprint.clone())
            .bind(intent.created_at.as_micros())
            .bind(state.finished_at.map(Timestamp::as_micros))
            .bind(json(&**intent)?)
            .bind(json(state)?))
    })
    .await?;
    execute(connection, &MOVED, &change.moved, |query, (id, state)| {
        Ok(query
            .bind(id.to_string())
            .bind(state.status.as_str())
            .bind(state.finished_at.map(Timestamp::as_micros))
            .bind(json(state)?))
    })
    .await?;
    execute(connection, &EVENTS, &change.events, |query, (id, event)| {
        Ok(query.bind(id.to_string()).bind(event.seq).bind(event.at.as_micros()).bind(json(event)?))
    })
    .await?;
    // Ended restores release their locks before any lock is taken.
    execute(connection, &RELEASED, &locks(change.ended.iter().copied()), |query, (lock, _)| {
        let (target, scope) = lock_parts(lock);
        Ok(query.bind(target.to_owned()).bind(scope.to_owned()))
    })
    .await?;
    let taking: Vec<_> = change.taking().collect();
    execute(connection, &LOCKS, &taking, |query, (id, row)| {
        let names: Vec<&str> = row.locks.iter().map(|lock| &**lock).collect();
        Ok(query.bind(id.to_string()).bind(json(&names)?))
    })
    .await?;
    execute(connection, &HELD, &locks(taking.iter().copied()), |query, (lock, id)| {
        let (target, scope) = lock_parts(lock);
        Ok(query.bind(target.to_owned()).bind(scope.to_owned()).bind(id.to_string()))
    })
    .await?;
    execute(connection, &TASKS, &change.tasks, |query, (project, task, id)| {
        Ok(query.bind((*project).to_owned()).bind(task.clone()).bind(id.to_string()))
    })
    .await?;
    execute(connection, &TARGETS, &locks(change.ended.iter().copied()), |query, (lock, id)| {
        Ok(query.bind(lock_target(lock).to_owned()).bind(id.to_string()))
    })
    .await
}

/// Stores the rest of a change and the touch, and commits.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    change: &Change<'_>,
    tally: &Tally,
    touched: bool,
) -> Result<(), Failure> {
    let ended: Vec<RestoreId> = change.ended.iter().map(|(id, _)| *id).collect();
    let tally: Vec<_> =
        tally.counts().map(|(status, flags, count)| (status.as_str(), flags, count)).collect();
    sqlx::query(REST_AND_COMMIT)
        .bind(json(&ended)?)
        .bind(json(&change.keys)?)
        .bind(json(&tally)?)
        .bind(touched)
        .execute(connection)
        .await
        .map_err(failure)?;
    Ok(())
}

/// Stores `values` with as few statements as possible.
async fn execute<T>(
    connection: &mut SqliteConnection,
    statements: &'static Texts,
    values: &[T],
    bind: impl Fn(Bound, &T) -> Result<Bound, Failure>,
) -> Result<(), Failure> {
    for values in values.chunks(ROOM[ROOM.len() - 1]) {
        let room = ROOM.iter().position(|room| values.len() <= *room).unwrap_or(ROOM.len() - 1);
        let query = values.iter().try_fold(sqlx::query(statements[room].as_str()), &bind)?;
        query.execute(&mut *connection).await.map_err(failure)?;
    }
    Ok(())
}
