//! The schema of the file and its versions.
//!
//! To change it: add `migrations/NNNN_name.sql` and one line to [`MIGRATIONS`]. A migration that
//! was ever released is never edited.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use super::unavailable;
use crate::LedgerError;
use crate::open::may_work_with;
use crate::upgrade::{self, Old, Upgraded};

/// Every migration in order, the first one leads to version 1; and the oldest version of the schema
/// whose programs may go on working with the file after it.
const MIGRATIONS: &[(&str, i64)] = &[
    (include_str!("../../migrations/0001_ledger.sql"), 1),
    (include_str!("../../migrations/0002_feed_and_outbox.sql"), 2),
    (include_str!("../../migrations/0003_fewer_rows.sql"), 3),
    (include_str!("../../migrations/0004_one_row.sql"), 4),
];

/// The version this program knows.
const KNOWN: i64 = 4;
const _: () = assert!(MIGRATIONS.len() == 4, "KNOWN is their number");
/// The version that this migration leads to keeps each restore as one row.
const ONE_ROW: i64 = 4;

/// `writable` is touched to prove that the file can be written; `room` is there only while
/// [`super::store`] proves that there is room. `ledger` tells this file and its copies from all
/// others, `opens` the copies from one another.
const META: &str = "create table if not exists meta (name text primary key not null, value integer not null)
    without rowid;
  insert or ignore into meta values
    ('schema_version', 0), ('oldest_reader', 0), ('writable', 0),
    ('ledger', random() & 0x7fffffffffffffff), ('opens', 0)";

const VERSIONS: &str = "select (select value from meta where name = 'schema_version'),
       coalesce((select value from meta where name = 'oldest_reader'), 0)";

/// Whether there are tables and none of them is ours.
const STRANGE: &str =
    "select exists (select 1 from sqlite_schema where type = 'table' and name not like 'sqlite_%')
  and not exists (select 1 from sqlite_schema where type = 'table' and name = 'meta')";

/// Brings the file to the version this program knows, each step in a transaction of its own. A file
/// of a newer version is left as it is where this program may work with it.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    loop {
        // Read inside the transaction: another process may be migrating as well.
        let mut step = connection.begin_with("begin immediate").await.map_err(unavailable)?;
        if sqlx::query_scalar(STRANGE).fetch_one(&mut *step).await.map_err(unavailable)? {
            return Err(LedgerError::Unavailable("it is another program's database".to_owned()));
        }
        step.execute(sqlx::raw_sql(META)).await.map_err(unavailable)?;
        let version = version(&mut step).await?;
        let Some((migration, oldest_reader)) =
            usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version))
        else {
            return step.commit().await.map_err(unavailable);
        };
        if version + 1 == ONE_ROW {
            to_one_row(&mut step).await?;
        }
        step.execute(sqlx::raw_sql(*migration)).await.map_err(unavailable)?;
        sqlx::query(
            "update meta set value = case name when 'schema_version' then $1 else $2 end
              where name in ('schema_version', 'oldest_reader')",
        )
        .bind(version + 1)
        .bind(*oldest_reader)
        .execute(&mut *step)
        .await
        .map_err(unavailable)?;
        step.commit().await.map_err(unavailable)?;
    }
}

/// Makes each row stand for itself: see [`crate::upgrade`].
async fn to_one_row(step: &mut SqliteConnection) -> Result<(), LedgerError> {
    const PAGE: &str =
        "select id, intent, finished_at is null from restores where id > $1 order by id limit 500";
    // The history is only ever appended to, but for this once.
    const OPEN: &str = "drop trigger events_are_not_changed";
    const CLOSE: &str = "create trigger events_are_not_changed before update on events
        begin select raise(abort, 'events are only ever appended'); end";
    let mut unfinished = Vec::new();
    let (mut replaced, mut by_disk) = (Vec::new(), Vec::new());
    let mut after = String::new();
    loop {
        let page: Vec<(String, String, bool)> =
            sqlx::query_as(PAGE).bind(after.clone()).fetch_all(&mut *step).await.map_err(unavailable)?;
        let Some((last, ..)) = page.last() else { break };
        after.clone_from(last);
        for (id, intent, open) in page {
            let old = Old::read(&intent)?;
            if old.is_part_of_several() {
                if open { unfinished.push(id.clone()) } else { by_disk.push(id.clone()) }
            }
            if let Some(refused) = old.replaces() {
                replaced.push((id.clone(), refused.to_owned()));
            }
            let key = old.key().map(str::to_owned);
            keep(step, &id, &old.upgraded(key)?).await?;
        }
    }
    if !unfinished.is_empty() {
        return Err(upgrade::refusal(&unfinished));
    }
    for (id, refused) in replaced {
        const READ: &str = "select intent from restores where id = $1";
        const MOVE: &str = "update keys set restore_id = $3 where caller = $1 and key = $2";
        let read = |id: String| sqlx::query_scalar::<_, String>(READ).bind(id);
        let intent = read(refused.clone()).fetch_optional(&mut *step).await.map_err(unavailable)?;
        let (Some(intent), own) =
            (intent, read(id.clone()).fetch_one(&mut *step).await.map_err(unavailable)?)
        else {
            continue;
        };
        let old = Old::read(&intent)?;
        let Some(key) = old.key().map(str::to_owned) else { continue };
        let caller = old.caller().to_owned();
        keep(step, &refused, &old.upgraded(None)?).await?;
        keep(step, &id, &Old::read(&own)?.upgraded(Some(key.clone()))?).await?;
        sqlx::query(MOVE).bind(caller).bind(key).bind(id).execute(&mut *step).await.map_err(unavailable)?;
    }
    step.execute("delete from keys where substr(key, 1, 1) = char(1)").await.map_err(unavailable)?;
    step.execute(OPEN).await.map_err(unavailable)?;
    for id in by_disk {
        const EVENTS: &str = "select event from events where restore_id = $1 order by seq";
        const REWRITE: &str = "update events set event = $3 where restore_id = $1 and seq = $2";
        const MOVED: &str = "update restores set status = $2, finished_at = $3, state = $4 where id = $1";
        let events: Vec<String> =
            sqlx::query_scalar(EVENTS).bind(id.clone()).fetch_all(&mut *step).await.map_err(unavailable)?;
        let Some((events, state)) = upgrade::history(&events)? else { continue };
        for (seq, event) in (1_i64..).zip(events) {
            let rewrite = sqlx::query(REWRITE).bind(id.clone()).bind(seq).bind(event);
            rewrite.execute(&mut *step).await.map_err(unavailable)?;
        }
        sqlx::query(MOVED)
            .bind(id)
            .bind(state.status.as_str())
            .bind(upgrade::finished_at(&state))
            .bind(crate::text::json(&state)?)
            .execute(&mut *step)
            .await
            .map_err(unavailable)?;
    }
    step.execute(CLOSE).await.map_err(unavailable)?;
    Ok(())
}

async fn keep(step: &mut SqliteConnection, id: &str, row: &Upgraded) -> Result<(), LedgerError> {
    sqlx::query("update restores set intent = $2, fingerprint = $3 where id = $1")
        .bind(id.to_owned())
        .bind(row.intent.clone())
        .bind(row.fingerprint.clone())
        .execute(step)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// Refuses a file that this program may not work with.
pub(super) async fn look(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    version(connection).await.map(|_| ())
}

/// Refuses a file that this program cannot read as it is.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    if version(connection).await? < KNOWN {
        return Err(LedgerError::Unavailable(
            "its schema is older than this program; start the gateway once to bring it up to date".to_owned(),
        ));
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, LedgerError> {
    let (version, oldest_reader): (i64, i64) =
        sqlx::query_as(VERSIONS).fetch_one(connection).await.map_err(unavailable)?;
    may_work_with(KNOWN, version, oldest_reader)?;
    Ok(version)
}
