//! Read-only queries. A reader sees the last commit and no partial write, whatever the writer does.

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool, SqliteRow};

use crate::text::json;
use crate::{Claim, FeedItem, Position, Query, Record};

/// The counts that each group of writes updates.
const UNFINISHED: &str = "select status, sum(count),
    coalesce(sum(count) filter (where flags & 1), 0),
    coalesce(sum(count) filter (where flags & 2), 0),
    coalesce(sum(count) filter (where flags & 4), 0),
    coalesce(sum(count) filter (where flags & 8), 0),
    (select min(created_at) from restores where finished_at is null)
    from tally where count > 0 group by status";

crate::read::reads!(SqlitePool, SqliteRow);

/// Uses the index that leaves the fewest rows: every index has the order of the IDs.
pub(super) async fn list(pool: &SqlitePool, query: Query) -> Result<Vec<Entry>, LedgerError> {
    let mut sql = QueryBuilder::<Sqlite>::new("select r.intent, r.state from ");
    let unfinished = query.is_of_unfinished();
    let of_all = query.caller.is_none() && query.project_id.is_none();
    if let Some(target) = &query.target {
        // One query for ended, one for unfinished restores.
        sql.push("(select restore_id from targets where target = ").push_bind(target.clone());
        sql.push(" union select restore_id from held where target = ").push_bind(target.clone());
        sql.push(") o cross join restores r on r.id = o.restore_id where true");
        narrow(&mut sql, &query, &query.status);
    } else if unfinished && query.project_id.is_some() {
        sql.push("restores r indexed by restores_open_project where r.finished_at is null");
        narrow(&mut sql, &query, &query.status);
    } else if !query.status.is_empty() && query.ended_since.is_none() && (unfinished || of_all) {
        sql.push("(");
        for (index, status) in query.status.iter().enumerate() {
            sql.push(if index == 0 { "" } else { " union all " });
            sql.push("select * from (select r.id from restores r indexed by restores_status where true");
            narrow(&mut sql, &query, std::slice::from_ref(status));
            sql.push(" order by r.id desc limit ").push_bind(size(query.limit)).push(")");
        }
        sql.push(") o cross join restores r on r.id = o.id");
    } else {
        sql.push("restores r where true");
        narrow(&mut sql, &query, &query.status);
    }
    sql.push(" order by r.id desc limit ").push_bind(size(query.limit));
    let rows = sql.build().fetch_all(pool).await.map_err(unavailable)?;
    rows.iter().map(entry).collect()
}

/// Only the given filters become conditions. Recently ended restores are few. For them no other column may use its
/// index, which contains all restores ever accepted.
fn narrow(sql: &mut QueryBuilder<Sqlite>, query: &Query, status: &[Status]) {
    let only = if query.ended_since.is_some() { " || '' " } else { " " };
    if let Some(since) = query.ended_since {
        sql.push(" and r.finished_at >= ").push_bind(since.as_micros());
    }
    if let Some(caller) = &query.caller {
        sql.push(" and r.caller").push(only).push("= ").push_bind(caller.clone());
    }
    if let Some(project) = &query.project_id {
        sql.push(" and r.project_id").push(only).push("= ").push_bind(project.to_string());
    }
    match status {
        [] => {}
        [one] => {
            sql.push(" and r.status").push(only).push("= ").push_bind(one.as_str());
        }
        several => {
            sql.push(" and r.status || '' in (");
            let mut words = sql.separated(", ");
            several.iter().for_each(|status| {
                words.push_bind(status.as_str());
            });
            sql.push(")");
        }
    }
    if let Some(before) = query.before {
        sql.push(" and r.id").push(only).push("< ").push_bind(before.to_string());
    }
}

/// A page of unfinished restores after this one, the oldest first. `locks` has a row for each of them. An unreadable
/// restore whose send was in progress is an error. Any other unreadable restore is skipped.
pub(super) async fn unfinished(
    pool: &SqlitePool,
    which: Claim,
    after: Option<RestoreId>,
    limit: usize,
) -> Result<Vec<(RestoreId, Option<Entry>)>, LedgerError> {
    const ALL: &str =
        "select r.intent, r.state, r.id from locks l cross join restores r on r.id = l.restore_id
        where l.restore_id > $1 order by l.restore_id limit $2";
    const BEFORE_ANSWER: &str = "select intent, state, id from restores indexed by restores_status
        where status in (select value from json_each($3)) and id > $1 order by id limit $2";
    let sql = match which {
        Claim::All => ALL,
        Claim::BeforeAnswer => BEFORE_ANSWER,
    };
    let mut page =
        sqlx::query(sql).bind(after.map_or_else(String::new, |id| id.to_string())).bind(size(limit));
    if which == Claim::BeforeAnswer {
        page = page.bind(json(&Claim::BEFORE_ANSWER.map(Status::as_str))?);
    }
    let rows = page.fetch_all(pool).await.map_err(unavailable)?;
    let found = |row: &SqliteRow| {
        let id = parse_id(row.get(2))?;
        match entry(row) {
            Ok(entry) => Ok((id, Some(entry))),
            Err(error) if which == Claim::All => {
                tracing::error!(restore.id = %id, error = %error, "unfinished restore cannot be read; it is not polled");
                Ok((id, None))
            }
            Err(error) => Err(error),
        }
    };
    rows.iter().map(found).collect()
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

/// Includes the position of deleted events.
pub(super) async fn last_position(connection: &mut SqliteConnection) -> Result<i64, LedgerError> {
    sqlx::query_scalar("select coalesce((select seq from sqlite_sequence where name = 'events'), 0)")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

/// A single statement, so the result is from one point in time.
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
