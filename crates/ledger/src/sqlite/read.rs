//! What only reads. A reader sees the last commit and nothing half done, whatever the writer does.

use std::collections::BTreeSet;
use std::sync::Arc;

use restore_model::{Event, RestoreId, Timestamp};
use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _};

use super::unavailable;
use crate::text::{parse, parse_id, parse_position, size};
use crate::{Entry, Hook, LedgerError, Position, Query, Record, Recovery, Told, Waiting};

pub(super) async fn get(pool: &SqlitePool, id: RestoreId) -> Result<Option<Entry>, LedgerError> {
    sqlx::query("select intent, state from restores where id = $1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(unavailable)?
        .map(|row| entry(&row))
        .transpose()
}

pub(super) async fn events(pool: &SqlitePool, id: RestoreId) -> Result<Vec<Event>, LedgerError> {
    let rows = sqlx::query("select event from events where restore_id = $1 order by seq")
        .bind(id.to_string())
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| parse(row.get(0))).collect()
}

/// Those that nothing but its end releases, oldest first.
pub(super) async fn unfinished(pool: &SqlitePool) -> Result<BTreeSet<RestoreId>, LedgerError> {
    let ids: Vec<String> = sqlx::query_scalar("select distinct restore_id from locks")
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    ids.iter().map(|id| parse_id(id)).collect()
}

pub(super) async fn handle_taken(
    pool: &SqlitePool,
    upstream: &str,
    handle_id: &str,
    but: RestoreId,
) -> Result<bool, LedgerError> {
    const TAKEN: &str =
        "select exists (select 1 from restores where upstream = $1 and handle_id = $2 and id <> $3)";
    sqlx::query_scalar(TAKEN)
        .bind(upstream)
        .bind(handle_id)
        .bind(but.to_string())
        .fetch_one(pool)
        .await
        .map_err(unavailable)
}

/// Only the filters given become conditions, so that each of them finds its index.
pub(super) async fn list(pool: &SqlitePool, query: Query) -> Result<Vec<Entry>, LedgerError> {
    let mut sql = QueryBuilder::<Sqlite>::new("select intent, state from restores where true");
    if let Some(caller) = query.caller {
        sql.push(" and caller = ").push_bind(caller);
    }
    if let Some(project) = query.project_id {
        sql.push(" and project_id = ").push_bind(project.to_string());
    }
    if !query.status.is_empty() {
        sql.push(" and status in (");
        let mut words = sql.separated(", ");
        for status in query.status {
            words.push_bind(status.as_str());
        }
        sql.push(")");
    }
    if let Some(target) = query.target {
        sql.push(" and id in (select restore_id from targets where target = ").push_bind(target).push(")");
    }
    if let Some(before) = query.before {
        sql.push(" and id < ").push_bind(before.to_string());
    }
    sql.push(" order by id desc limit ").push_bind(size(query.limit));
    let rows = sql.build().fetch_all(pool).await.map_err(unavailable)?;
    rows.iter().map(entry).collect()
}

pub(super) async fn feed(pool: &SqlitePool, after: Position, limit: usize) -> Result<Vec<Told>, LedgerError> {
    const FEED: &str = "select r.intent, r.state, e.position, e.event
        from events e join restores r on r.id = e.restore_id
        where e.position > $1 order by e.position limit $2";
    let rows =
        sqlx::query(FEED).bind(after.first()).bind(size(limit)).fetch_all(pool).await.map_err(unavailable)?;
    let told = |row: &SqliteRow| {
        Ok(Told { position: Position::new(row.get(2), 0), entry: entry(row)?, event: parse(row.get(3))? })
    };
    rows.iter().map(told).collect()
}

pub(super) async fn position(pool: &SqlitePool) -> Result<Position, LedgerError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    Ok(Position::new(last_position(&mut connection).await?, 0))
}

/// Also when what had it is forgotten.
pub(super) async fn last_position(connection: &mut SqliteConnection) -> Result<i64, LedgerError> {
    sqlx::query_scalar("select coalesce((select seq from sqlite_sequence where name = 'events'), 0)")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

pub(super) async fn keys(pool: &SqlitePool, caller: &str, at_most: usize) -> Result<usize, LedgerError> {
    const COUNT: &str = "select count(*) from (select 1 from keys where caller = $1 limit $2)";
    let count: i64 = sqlx::query_scalar(COUNT)
        .bind(caller)
        .bind(size(at_most))
        .fetch_one(pool)
        .await
        .map_err(unavailable)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// One statement, and so of one moment.
pub(super) async fn audit(
    pool: &SqlitePool,
    after: Option<RestoreId>,
    limit: usize,
) -> Result<Vec<Record>, LedgerError> {
    const AUDIT: &str = "select r.intent, r.state,
        (select json_group_array(event) from
          (select event from events where restore_id = r.id order by seq)),
        (select json_group_array(lock) from
          (select lock from locks where restore_id = r.id order by lock))
        from restores r where r.id > $1 order by r.id limit $2";
    let rows = sqlx::query(AUDIT)
        .bind(after.map_or_else(String::new, |id| id.to_string()))
        .bind(size(limit))
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    let record = |row: &SqliteRow| {
        let events: Vec<String> = parse(row.get(2))?;
        Ok(Record {
            entry: entry(row)?,
            events: events.iter().map(|event| parse(event)).collect::<Result<_, _>>()?,
            locks: parse(row.get(3))?,
        })
    };
    rows.iter().map(record).collect()
}

pub(super) async fn recovery(pool: &SqlitePool) -> Result<Option<Recovery>, LedgerError> {
    let row =
        sqlx::query("select since, reason from recovery").fetch_optional(pool).await.map_err(unavailable)?;
    Ok(row.map(|row| Recovery { since: Timestamp::from_micros(row.get(0)), reason: row.get(1) }))
}

pub(super) async fn hook(pool: &SqlitePool, name: &str) -> Result<Option<Hook>, LedgerError> {
    let row = sqlx::query("select cursor, disabled from hooks where name = $1")
        .bind(name)
        .fetch_optional(pool)
        .await
        .map_err(unavailable)?;
    row.map(|row| Ok(Hook { cursor: parse_position(row.get(0))?, disabled: row.get(1) })).transpose()
}

pub(super) async fn next_due(pool: &SqlitePool, name: &str) -> Result<Option<Timestamp>, LedgerError> {
    const NEXT: &str = "select min(d.due_at) from deliveries d join hooks h on h.name = d.hook
        where d.hook = $1 and not d.dead and h.disabled is null";
    let due: Option<i64> = sqlx::query_scalar(NEXT).bind(name).fetch_one(pool).await.map_err(unavailable)?;
    Ok(due.map(Timestamp::from_micros))
}

pub(super) async fn waiting(pool: &SqlitePool, name: &str) -> Result<Waiting, LedgerError> {
    const COUNT: &str = "select (select count(*) from deliveries where hook = $1 and not dead),
        (select count(*) from deliveries where hook = $1 and dead)";
    let (waiting, dead): (i64, i64) =
        sqlx::query_as(COUNT).bind(name).fetch_one(pool).await.map_err(unavailable)?;
    Ok(Waiting { waiting: waiting.unsigned_abs(), dead: dead.unsigned_abs() })
}

fn entry(row: &SqliteRow) -> Result<Entry, LedgerError> {
    Ok(Entry { intent: Arc::new(parse(row.get(0))?), state: parse(row.get(1))? })
}
