//! What only reads. A reader sees the last commit and nothing half done, whatever the writer does.

use std::collections::BTreeSet;

use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool, SqliteRow};

use crate::{FeedItem, Position, Record};

/// The locks of the unfinished are looked through one by one, for they are few; an index of them would
/// have to be written before each send.
const OF_TARGET: (&str, &str) = (
    "with wanted (target) as (select ",
    ") select t.restore_id from targets t, wanted w where t.target = w.target
       union all
       select l.restore_id from locks l, json_each(l.names) n, wanted w
        where substr(n.value, -length(w.target) - 1) = '/' || w.target",
);

/// Each unfinished one has a row of locks, and no other has.
const OPEN: &str = "id in (select restore_id from locks)";

const UNFINISHED: &str = "select r.status, count(*),
    count(*) filter (where r.state ->> 'overdue'),
    count(*) filter (where r.state ->> 'needs_operator'),
    count(*) filter (where r.state ->> 'awaiting_credential'),
    count(*) filter (where r.state ->> 'last_poll_failed_since' is not null),
    min(r.created_at)
    from locks l join restores r on r.id = l.restore_id group by r.status";

crate::read::reads!(SqlitePool, SqliteRow, Sqlite);

/// Those that nothing but its end releases, oldest first.
pub(super) async fn unfinished(pool: &SqlitePool) -> Result<BTreeSet<RestoreId>, LedgerError> {
    let ids: Vec<String> =
        sqlx::query_scalar("select restore_id from locks").fetch_all(pool).await.map_err(unavailable)?;
    ids.iter().map(|id| parse_id(id)).collect()
}

pub(super) async fn feed(
    pool: &SqlitePool,
    after: Position,
    limit: usize,
) -> Result<Vec<FeedItem>, LedgerError> {
    const FEED: &str = "select r.intent, r.state, e.position, e.event
        from events e join restores r on r.id = e.restore_id
        where e.position > $1 order by e.position limit $2";
    let rows =
        sqlx::query(FEED).bind(after.first()).bind(size(limit)).fetch_all(pool).await.map_err(unavailable)?;
    let told = |row: &SqliteRow| {
        Ok(FeedItem { position: Position::new(row.get(2), 0), entry: entry(row)?, event: parse(row.get(3))? })
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

/// One statement, and so of one moment.
pub(super) async fn audit(
    pool: &SqlitePool,
    after: Option<RestoreId>,
    limit: usize,
) -> Result<Vec<Record>, LedgerError> {
    const AUDIT: &str = "select r.intent, r.state,
        (select json_group_array(event) from
          (select event from events where restore_id = r.id order by seq)),
        coalesce((select names from locks where restore_id = r.id), '[]')
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
