//! The schema of the database, its versions, and the registration of this process as one of those that share it. Both
//! happen in one transaction that only one process at a time can execute. So two processes that start at once both
//! succeed, and no process registers while the schema changes.
//!
//! To change the schema: add `migrations/postgres/NNNN_name.sql` and one line to [`MIGRATIONS`]. Never edit a released
//! migration.

use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Connection, Executor, Transaction};

use super::unavailable;
use crate::LedgerError;
use crate::open::{Found, may_work_with};
use crate::upgrade::{Rows, to_one_row, to_standard_names};

/// A migration, and the oldest schema version whose programs may continue after it.
pub(super) type Migration = (&'static str, i64);

/// Every migration in order; the first one leads to version 1.
pub(super) const MIGRATIONS: &[Migration] =
    &[(include_str!("../../migrations/postgres/0001_ledger.sql"), 1), (TO_ONE_ROW, 2), (NAMES, 3)];

/// The version that this program supports.
const KNOWN: i64 = 3;
const _: () = assert!(MIGRATIONS.len() == 3, "KNOWN is their number");

/// After this migration each restore is one row.
const TO_ONE_ROW: &str = include_str!("../../migrations/postgres/0002_one_row.sql");
/// After this migration the JSON has the current names.
const NAMES: &str = include_str!("../../migrations/postgres/0003_names.sql");

/// `tx_offset` is added to transaction numbers; see [`keep_order`].
const META: &str = "create table if not exists meta (name text primary key, value bigint not null);
  insert into meta values ('schema_version', 0), ('oldest_reader', 0), ('tx_offset', 0)
    on conflict do nothing";

/// A registration waits for a schema change, and vice versa.
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('restore-gateway schema', 0))";

const VERSIONS: &str = "select (select value from meta where name = 'schema_version'),
       (select value from meta where name = 'oldest_reader')";

/// Upgrades the schema and registers `replica` for a first term. A newer schema stays unchanged if this program
/// supports it.
///
/// # Errors
/// If the schema requires a newer program, or a running program could not continue after the upgrade.
pub(super) async fn enter(
    connection: &mut PgConnection,
    migrations: &[Migration],
    replica: &str,
    lease: Duration,
) -> Result<(), LedgerError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let mut step = connection.begin().await.map_err(unavailable)?;
    step.execute(LOCK).await.map_err(unavailable)?;
    step.execute(sqlx::raw_sql(META)).await.map_err(unavailable)?;
    let version = version(&mut step, known).await?;
    if version == 0 {
        // An operator who did not expect an empty ledger must see this.
        tracing::warn!("new, empty ledger created");
    }
    let todo = migrations.get(usize::try_from(version).unwrap_or(usize::MAX)..).unwrap_or_default();
    for (migration, oldest_reader) in todo {
        if *migration == TO_ONE_ROW {
            to_one_row(&mut *step).await?;
        }
        if *migration == NAMES {
            to_standard_names(&mut *step).await?;
        }
        step.execute(sqlx::raw_sql(*migration)).await.map_err(unavailable)?;
        nobody_is_left_behind(&mut step, *oldest_reader).await?;
        sqlx::query(
            "update meta set value = case name when 'schema_version' then value + 1 else $1 end
              where name in ('schema_version', 'oldest_reader')",
        )
        .bind(*oldest_reader)
        .execute(&mut *step)
        .await
        .map_err(unavailable)?;
    }
    keep_order(&mut step).await?;
    know_the_place(&mut step).await?;
    register(&mut step, replica, lease, known).await?;
    step.commit().await.map_err(unavailable)
}

impl Rows for PgConnection {
    const REWRITABLE: &'static str = "alter table events disable trigger events_are_only_ever_appended";
    const APPENDED_ONLY: &'static str = "alter table events enable trigger events_are_only_ever_appended";

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

/// Registers this process again, after other processes removed it. The schema may have changed meanwhile.
///
/// # Errors
/// If the schema requires a newer program by now.
pub(super) async fn enter_again(
    connection: &mut PgConnection,
    replica: &str,
    lease: Duration,
) -> Result<(), LedgerError> {
    let mut step = connection.begin().await.map_err(unavailable)?;
    step.execute(LOCK).await.map_err(unavailable)?;
    version(&mut step, KNOWN).await?;
    register(&mut step, replica, lease, KNOWN).await?;
    step.commit().await.map_err(unavailable)
}

async fn register(
    step: &mut PgConnection,
    replica: &str,
    lease: Duration,
    known: i64,
) -> Result<(), LedgerError> {
    const REGISTER: &str = "insert into replicas (id, lease_until, schema_version)
        values ($1, clock_timestamp() + $2, $3)";
    sqlx::query(REGISTER).bind(replica).bind(lease).bind(known).execute(step).await.map_err(unavailable)?;
    Ok(())
}

/// Checks if there is a ledger that this program supports.
pub(super) async fn look(connection: &mut PgConnection) -> Result<Found, LedgerError> {
    let there: bool = sqlx::query_scalar("select to_regclass('meta') is not null")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if there {
        version(connection, KNOWN).await?;
    }
    Ok(if there { Found::Ledger } else { Found::Room })
}

/// Rejects a database that this program cannot read without an upgrade.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), LedgerError> {
    if look(connection).await? == Found::Room {
        return Err(LedgerError::Unavailable("there is no ledger in this database".to_owned()));
    }
    if version(connection, KNOWN).await? < KNOWN {
        return Err(LedgerError::Unavailable(
            "its schema is older than this program; start the gateway once to bring it up to date".to_owned(),
        ));
    }
    Ok(())
}

async fn version(connection: &mut PgConnection, known: i64) -> Result<i64, LedgerError> {
    let (version, oldest_reader): (i64, i64) =
        sqlx::query_as(VERSIONS).fetch_one(connection).await.map_err(unavailable)?;
    may_work_with(known, version, oldest_reader)?;
    Ok(version)
}

/// A running program that does not support the new schema must not encounter it. A process with an expired lease is
/// removed, and is checked again when it registers again.
async fn nobody_is_left_behind(
    step: &mut Transaction<'_, Postgres>,
    oldest_reader: i64,
) -> Result<(), LedgerError> {
    step.execute("delete from replicas where lease_until < clock_timestamp()").await.map_err(unavailable)?;
    let oldest: Option<i64> = sqlx::query_scalar("select min(schema_version) from replicas")
        .fetch_one(&mut **step)
        .await
        .map_err(unavailable)?;
    match oldest {
        Some(oldest) if oldest < oldest_reader => Err(LedgerError::Unavailable(format!(
            "its schema must be changed, and a gateway is running that knows only version {oldest} and \
             could not work with the new one, which needs version {oldest_reader}. Stop all gateways of \
             the older program, then start this one"
        ))),
        _ => Ok(()),
    }
}

/// The feed uses the order of transactions. Their numbers start again when a database is created from a dump of another
/// one. Then this function moves them behind all numbers in the dump. A dump is an older copy of a ledger that may have
/// continued, so recovery mode starts.
async fn keep_order(step: &mut Transaction<'_, Postgres>) -> Result<(), LedgerError> {
    const BEHIND: &str = "select max(tx) + 1 - pg_snapshot_xmax(pg_current_snapshot())::text::bigint
         - (select value from meta where name = 'tx_offset') from events";
    let behind: Option<i64> = sqlx::query_scalar(BEHIND).fetch_one(&mut **step).await.map_err(unavailable)?;
    let Some(behind) = behind.filter(|behind| *behind > 0) else { return Ok(()) };
    sqlx::query("update meta set value = value + $1 where name = 'tx_offset'")
        .bind(behind)
        .execute(&mut **step)
        .await
        .map_err(unavailable)?;
    begin_recovery(step).await
}

/// A ledger in another database or cluster than the one it was written in comes from a copy, whatever its transaction
/// numbers are.
async fn know_the_place(step: &mut Transaction<'_, Postgres>) -> Result<(), LedgerError> {
    const PLACE: &str = "select (select system_identifier from pg_control_system()),
        (select oid::bigint from pg_database where datname = current_database())";
    const KNOWN: &str = "select (select value from meta where name = 'cluster'),
        (select value from meta where name = 'database')";
    const KEEP: &str = "insert into meta values ('cluster', $1), ('database', $2)
        on conflict (name) do update set value = excluded.value";
    let place: (i64, i64) = sqlx::query_as(PLACE).fetch_one(&mut **step).await.map_err(unavailable)?;
    let known: (Option<i64>, Option<i64>) =
        sqlx::query_as(KNOWN).fetch_one(&mut **step).await.map_err(unavailable)?;
    let elsewhere = known.0.is_some_and(|cluster| cluster != place.0)
        || known.1.is_some_and(|database| database != place.1);
    if elsewhere {
        begin_recovery(step).await?;
    }
    sqlx::query(KEEP).bind(place.0).bind(place.1).execute(&mut **step).await.map_err(unavailable)?;
    Ok(())
}

async fn begin_recovery(step: &mut Transaction<'_, Postgres>) -> Result<(), LedgerError> {
    const REASON: &str = "the ledger was put into this database from a copy of another one. What that one \
         wrote after the copy is missing: restores may have been sent that this one does not know or \
         holds to be unsent";
    tracing::error!(reason = REASON, "the ledger is in recovery mode");
    sqlx::query("insert into recovery (since, reason) values (0, $1) on conflict do nothing")
        .bind(REASON)
        .execute(&mut **step)
        .await
        .map_err(unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use restore_test_postgres::Postgres as Server;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_running_program_that_could_not_go_on_keeps_the_schema_as_it_is() {
        let server = Server::start();
        server.create_database("ledger");
        let mut connection = PgConnection::connect(&server.url("ledger")).await.unwrap();
        let (first, harmless) = (MIGRATIONS[0], ("create table more ()", 1));
        // One version more than this program supports.
        let radical = ("drop table more", KNOWN + 1);
        enter(&mut connection, &[first], "old", LEASE).await.unwrap();
        enter(&mut connection, &[first, harmless], "newer", LEASE).await.unwrap();
        let newest = [first, harmless, ("create table other ()", 1), radical];
        let refused = enter(&mut connection, &newest, "newest", LEASE).await.unwrap_err().to_string();
        assert!(refused.contains("a gateway is running that knows only version 1"), "{refused}");
        // Nothing was changed, and the older programs continue.
        enter(&mut connection, &[first], "old too", LEASE).await.unwrap();
        connection.execute("select * from more").await.unwrap();

        connection.execute("update replicas set lease_until = clock_timestamp()").await.unwrap();
        enter(&mut connection, &newest, "newest", LEASE).await.unwrap();
        // No older program may register, or register again.
        for refused in [
            enter(&mut connection, &[first], "older", LEASE).await,
            enter_again(&mut connection, "old", LEASE).await,
        ] {
            let why = refused.unwrap_err().to_string();
            assert!(why.contains("version 4") && why.contains("newer program"), "{why}");
        }
    }
}
