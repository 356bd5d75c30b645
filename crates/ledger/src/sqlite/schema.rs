//! The schema of the file and its versions.
//!
//! To change it: add `migrations/NNNN_name.sql` and one line to [`MIGRATIONS`]. A migration that
//! was ever released is never edited.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use super::unavailable;
use crate::LedgerError;

/// Every migration in order; the first one leads to version 1.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_ledger.sql")];

/// `writable` is touched to prove that the file can be written; `room` is there only while
/// [`super::writer`] proves that there is room.
const META: &str = "create table if not exists meta (name text primary key not null, value integer not null)
    without rowid;
  insert or ignore into meta values ('schema_version', 0), ('writable', 0)";

const VERSION: &str = "select value from meta where name = 'schema_version'";

/// Brings the file to the version this program knows, each step in a transaction of its own.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    loop {
        // Read inside the transaction: another process may be migrating as well.
        let mut step = connection.begin_with("begin immediate").await.map_err(unavailable)?;
        step.execute(sqlx::raw_sql(META)).await.map_err(unavailable)?;
        let version: i64 = sqlx::query_scalar(VERSION).fetch_one(&mut *step).await.map_err(unavailable)?;
        if version > known {
            return Err(LedgerError::Unavailable(format!(
                "its schema has version {version}, and this program knows up to version {known}; \
                 it was written by a newer program"
            )));
        }
        let Some(migration) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version))
        else {
            return step.commit().await.map_err(unavailable);
        };
        step.execute(sqlx::raw_sql(*migration)).await.map_err(unavailable)?;
        sqlx::query("update meta set value = $1 where name = 'schema_version'")
            .bind(version + 1)
            .execute(&mut *step)
            .await
            .map_err(unavailable)?;
        step.commit().await.map_err(unavailable)?;
    }
}
