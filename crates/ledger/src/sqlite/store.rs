//! The second half of a group: what a [`Book`] became, written down and committed.
//!
//! Rows that carry documents go in as bound values, several to a statement: taking JSON apart in
//! SQL costs more than storing it. A statement exists for a few numbers of rows only, so that each
//! is prepared once; places that are not needed stay unbound, and so null, and store nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use restore_model::{Event, RestoreId, State, Timestamp};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};

use super::group::{Failure, failure, json};
use crate::book::{Book, Row, lock_target};

/// How many rows one statement has room for.
const ROOM: [usize; 3] = [1, 8, 64];

static NEW: LazyLock<[String; 3]> = LazyLock::new(|| {
    rows(
        "insert into restores
           (id, caller, project_id, upstream, handle_id, status, fingerprint, created_at, finished_at,
            intent, state)
         select * from",
        11,
        "where column1 is not null",
    )
});

static MOVED: LazyLock<[String; 3]> = LazyLock::new(|| {
    rows(
        "update restores set handle_id = column2, status = column3, finished_at = column4, state = column5
         from",
        5,
        "where restores.id = column1",
    )
});

static EVENTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    rows("insert into events (restore_id, seq, at, event) select * from", 4, "where column1 is not null")
});

/// The rest is short names only, as JSON arrays.
const REST_AND_COMMIT: &str = "
delete from locks where lock in (select value from json_each($1));
insert into locks (lock, restore_id) select value ->> 0, value ->> 1 from json_each($2);
insert or replace into keys (caller, key, restore_id)
  select value ->> 0, value ->> 1, value ->> 2 from json_each($3);
insert or ignore into targets (target, restore_id) select value ->> 0, value ->> 1 from json_each($4);
update meta set value = value + 1 where name = 'writable' and $5;
commit";

/// One statement for each [`ROOM`], around a list of so many rows. The places have no numbers: the
/// driver looks each name up in a list, which for hundreds of them takes longer than to store them.
fn rows(head: &str, columns: usize, tail: &str) -> [String; 3] {
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

/// What a group changes.
#[derive(Default)]
pub(super) struct Change<'a> {
    new: Vec<(RestoreId, &'a Row)>,
    moved: Vec<(RestoreId, &'a State)>,
    events: Vec<(RestoreId, &'a Event)>,
    released: Vec<&'a str>,
    taken: Vec<(&'a str, RestoreId)>,
    keys: Vec<(&'a str, &'a str, RestoreId)>,
    targets: Vec<(&'a str, RestoreId)>,
}

impl<'a> Change<'a> {
    /// `came` and `moved` name the restores; those of `open_before` were open when they were read.
    pub(super) fn of(
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
        let Row { intent, state, events, locks } = row;
        self.new.push((id, row));
        self.events.extend(events.iter().map(|event| (id, event)));
        if !state.status.is_final() {
            self.taken.extend(locks.iter().map(|lock| (&**lock, id)));
        }
        if let Some(key) = &intent.key {
            self.keys.push((&intent.caller, key, id));
        }
        self.targets.extend(locks.iter().map(|lock| (lock_target(lock), id)));
    }

    fn shift(&mut self, id: RestoreId, row: &'a Row, was_open: bool) {
        self.moved.push((id, &row.state));
        self.events.extend(row.events.iter().map(|event| (id, event)));
        if was_open && row.state.status.is_final() {
            self.released.extend(row.locks.iter().map(|lock| &**lock));
        }
    }

    pub(super) async fn store(
        &self,
        connection: &mut SqliteConnection,
        touched: bool,
    ) -> Result<(), Failure> {
        execute(connection, &NEW, &self.new, |query, (id, row)| {
            let (intent, state) = (&row.intent, &row.state);
            Ok(query
                .bind(id.to_string())
                .bind(intent.caller.clone())
                .bind(intent.request.project_id.to_string())
                .bind(intent.route.upstream.clone())
                .bind(handle_id(state))
                .bind(state.status.as_str())
                .bind(intent.fingerprint.clone())
                .bind(intent.created_at.as_micros())
                .bind(state.finished_at.map(Timestamp::as_micros))
                .bind(json(&**intent)?)
                .bind(json(state)?))
        })
        .await?;
        execute(connection, &MOVED, &self.moved, |query, (id, state)| {
            Ok(query
                .bind(id.to_string())
                .bind(handle_id(state))
                .bind(state.status.as_str())
                .bind(state.finished_at.map(Timestamp::as_micros))
                .bind(json(state)?))
        })
        .await?;
        execute(connection, &EVENTS, &self.events, |query, (id, event)| {
            Ok(query.bind(id.to_string()).bind(event.seq).bind(event.at.as_micros()).bind(json(event)?))
        })
        .await?;
        sqlx::query(REST_AND_COMMIT)
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

/// Stores `values` with as few statements as there is room for.
async fn execute<T>(
    connection: &mut SqliteConnection,
    statements: &'static [String; 3],
    values: &[T],
    bind: impl Fn(Bound, &T) -> Result<Bound, Failure>,
) -> Result<(), Failure> {
    for values in values.chunks(ROOM[2]) {
        let room = ROOM.iter().position(|room| values.len() <= *room).unwrap_or(2);
        let query = values.iter().try_fold(sqlx::query(statements[room].as_str()), &bind)?;
        query.execute(&mut *connection).await.map_err(failure)?;
    }
    Ok(())
}

fn handle_id(state: &State) -> Option<String> {
    state.handle.as_ref().map(|handle| handle.id.clone())
}
