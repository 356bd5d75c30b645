//! The schema of the file and its versions.
//!
//! To change it: add `migrations/NNNN_name.sql` and one line to [`MIGRATIONS`]. Never edit a released migration.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use super::unavailable;
use crate::LedgerError;
use crate::open::may_work_with;
use crate::upgrade::{Rows, to_one_row, to_standard_names};

/// Every migration in order, the first one leads to version 1. The number is the oldest schema version whose programs
/// may continue with the file after it.
const MIGRATIONS: &[(&str, i64)] = &[
    (include_str!("../../migrations/0001_ledger.sql"), 1),
    (include_str!("../../migrations/0002_feed_and_outbox.sql"), 2),
    (include_str!("../../migrations/0003_fewer_rows.sql"), 3),
    (include_str!("../../migrations/0004_one_row.sql"), 4),
    (include_str!("../../migrations/0005_names.sql"), 5),
    // A program that does not write `held` would let two restores hold one lock.
    (include_str!("../../migrations/0006_any_size.sql"), 6),
];

/// The version that this program supports.
const KNOWN: i64 = 6;
const _: () = assert!(MIGRATIONS.len() == 6, "KNOWN is their number");
/// From this version on, each restore is one row.
const ONE_ROW: i64 = 4;
/// From this version on, the JSON has the current names.
const NAMES: i64 = 5;
/// From this version on, an index finds each lock and allows only one holder.
const HELD: i64 = 6;

/// Two restores that hold the same lock, and the lock.
const HELD_TWICE: &str = "select min(l.restore_id), max(l.restore_id), n.value
    from locks l, json_each(l.names) n group by n.value having count(*) > 1 limit 1";

/// `writable` is written to prove that the file is writable. `room` exists only while [`super::store`] proves that
/// there is free space. `ledger` identifies this file and its copies, `opens` distinguishes the copies.
const META: &str = "create table if not exists meta (name text primary key not null, value integer not null)
    without rowid;
  insert or ignore into meta values
    ('schema_version', 0), ('oldest_reader', 0), ('writable', 0),
    ('ledger', random() & 0x7fffffffffffffff), ('opens', 0)";

const VERSIONS: &str = "select (select value from meta where name = 'schema_version'),
       coalesce((select value from meta where name = 'oldest_reader'), 0)";

/// True if there are tables and none of them belongs to a ledger.
const STRANGE: &str =
    "select exists (select 1 from sqlite_schema where type = 'table' and name not like 'sqlite_%')
  and not exists (select 1 from sqlite_schema where type = 'table' and name = 'meta')";

/// Upgrades the file to the version of this program, each migration in its own transaction. A file of a newer version
/// stays unchanged if this program supports it.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    loop {
        // Read inside the transaction: another process may migrate at the same time.
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
            to_one_row(&mut *step).await?;
        }
        if version + 1 == NAMES {
            to_standard_names(&mut *step).await?;
        }
        if version + 1 == HELD {
            each_lock_is_held_once(&mut step).await?;
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

/// Rejects a file in which two unfinished restores hold one lock (I3): no decision may be based on it.
async fn each_lock_is_held_once(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    let twice: Option<(String, String, String)> =
        sqlx::query_as(HELD_TWICE).fetch_optional(connection).await.map_err(unavailable)?;
    match twice {
        None => Ok(()),
        Some((one, other, lock)) => {
            Err(LedgerError::Corrupt(format!("restores {one} and {other} hold {lock} both")))
        }
    }
}

impl Rows for SqliteConnection {
    const REWRITABLE: &'static str = "drop trigger events_are_not_changed";
    const APPENDED_ONLY: &'static str = "create trigger events_are_not_changed before update on events
        begin select raise(abort, 'events are only ever appended'); end";

    async fn run(&mut self, sql: &'static str) -> Result<(), LedgerError> {
        self.execute(sql).await.map(drop).map_err(unavailable)
    }

    async fn read(&mut self, sql: &'static str, of: &str) -> Result<Vec<(String, String)>, LedgerError> {
        sqlx::query_as(sql).bind(of.to_owned()).fetch_all(self).await.map_err(unavailable)
    }

    async fn write(
        &mut self,
        sql: &'static str,
        texts: &[&str],
        number: Option<i64>,
    ) -> Result<(), LedgerError> {
        let query = texts.iter().fold(sqlx::query(sql), |query, text| query.bind((*text).to_owned()));
        let query = if number.is_some() { query.bind(number) } else { query };
        query.execute(self).await.map(drop).map_err(unavailable)
    }
}

/// Rejects a file that this program does not support.
pub(super) async fn look(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    version(connection).await.map(|_| ())
}

/// Rejects a file that this program cannot read without an upgrade.
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
