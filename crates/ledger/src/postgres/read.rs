//! Read-only queries.

use sqlx::QueryBuilder;
use sqlx::postgres::{PgPool, PgRow, Postgres};

use crate::{FeedItem, Position, Query, Record};

const UNFINISHED: &str = "select status, count(*),
    count(*) filter (where (state::json ->> 'overdue')::boolean),
    count(*) filter (where (state::json ->> 'needs_operator')::boolean),
    count(*) filter (where (state::json ->> 'awaiting_credential')::boolean),
    count(*) filter (where (state::json ->> 'last_poll_failed_since') is not null),
    min(created_at)
    from restores where finished_at is null group by status";

crate::read::reads!(PgPool, PgRow);

/// Only the given filters become conditions, so that each of them can use its index.
pub(super) async fn list(pool: &PgPool, query: Query) -> Result<Vec<Entry>, LedgerError> {
    let mut sql = QueryBuilder::<Postgres>::new("select intent, state from restores where true");
    let few = query.is_of_unfinished() || query.ended_since.is_some();
    if query.is_of_unfinished() {
        sql.push(" and finished_at is null");
    }
    if let Some(since) = query.ended_since {
        sql.push(" and finished_at >= ").push_bind(since.as_micros());
    }
    if let Some(caller) = query.caller {
        sql.push(" and caller = ").push_bind(caller);
    }
    if let Some(project) = query.project_id {
        // If only a few rows are left, an index of all rows ever written is the slower choice.
        let column = if few { " and project_id || '' = " } else { " and project_id = " };
        sql.push(column).push_bind(project.to_string());
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
        let column = if query.ended_since.is_some() { " and id || '' < " } else { " and id < " };
        sql.push(column).push_bind(before.to_string());
    }
    sql.push(" order by id desc limit ").push_bind(size(query.limit));
    let rows = sql.build().fetch_all(pool).await.map_err(unavailable)?;
    rows.iter().map(entry).collect()
}

/// Returns only events of transactions before the oldest open one: later commits get higher positions.
pub(super) async fn feed(pool: &PgPool, after: Position, limit: usize) -> Result<Vec<FeedItem>, LedgerError> {
    const FEED: &str = "select r.intent, r.state, e.tx, e.n, e.event
        from events e join restores r on r.id = e.restore_id
        where (e.tx, e.n) > ($1, $2)
          and e.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                     + (select value from meta where name = 'tx_offset')
        order by e.tx, e.n limit $3";
    let rows = sqlx::query(FEED)
        .bind(after.first())
        .bind(after.second())
        .bind(size(limit))
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    let told = |row: &PgRow| {
        Ok(FeedItem {
            position: Position::new(row.get(2), row.get(3)),
            entry: entry(row)?,
            event: parse(row.get(4))?,
        })
    };
    rows.iter().map(told).collect()
}

/// Returns the position before all events of the oldest open transaction.
pub(super) async fn position(pool: &PgPool) -> Result<Position, LedgerError> {
    const END: &str = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint + value
        from meta where name = 'tx_offset'";
    let end = sqlx::query_scalar(END).fetch_one(pool).await.map_err(unavailable)?;
    Ok(Position::new(end, 0))
}

/// A single statement, so the result is from one point in time.
pub(super) async fn audit(
    pool: &PgPool,
    after: Option<RestoreId>,
    limit: usize,
) -> Result<Vec<Record>, LedgerError> {
    const AUDIT: &str = "select r.intent, r.state,
        array(select event from events where restore_id = r.id order by seq),
        array(select lock from locks where restore_id = r.id order by lock)
        from restores r where r.id > $1 order by r.id limit $2";
    let rows = sqlx::query(AUDIT)
        .bind(after.map_or_else(String::new, |id| id.to_string()))
        .bind(size(limit))
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    let record = |row: &PgRow| {
        let events: Vec<String> = row.get(2);
        Ok(Record {
            entry: entry(row)?,
            events: events.iter().map(|event| parse(event)).collect::<Result<_, _>>()?,
            locks: row.get(3),
        })
    };
    rows.iter().map(record).collect()
}
