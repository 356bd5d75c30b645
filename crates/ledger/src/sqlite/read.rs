//! What only reads. A reader sees the last commit and nothing half done, whatever the writer does.

use std::sync::Arc;

use restore_model::{Event, RestoreId};
use sqlx::sqlite::{Sqlite, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _};

use super::{parse, unavailable};
use crate::{Entry, LedgerError, Query};

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

pub(super) async fn unfinished(pool: &SqlitePool) -> Result<Vec<Entry>, LedgerError> {
    const UNFINISHED: &str = "select intent, state from restores
        where id in (select restore_id from locks) order by id";
    let rows = sqlx::query(UNFINISHED).fetch_all(pool).await.map_err(unavailable)?;
    rows.iter().map(entry).collect()
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
    sql.push(" order by id desc limit ").push_bind(i64::try_from(query.limit).unwrap_or(i64::MAX));
    let rows = sql.build().fetch_all(pool).await.map_err(unavailable)?;
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Result<Entry, LedgerError> {
    Ok(Entry { intent: Arc::new(parse(row.get(0))?), state: parse(row.get(1))? })
}
