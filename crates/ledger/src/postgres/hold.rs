//! Holders of restores. A restore names its holder. A holder with an expired lease is first removed from the list of
//! replicas; then its restores are free. See [`super::replica_lease`].

use std::time::Duration;

use restore_model::{RestoreId, Status};
use sqlx::postgres::{PgConnection, PgPool, PgRow, Postgres};
use sqlx::{Row as _, Transaction};

use super::replica_lease::ReplicaLease;
use super::unavailable;
use crate::text::{parse, size};
use crate::{Claim, Entry, LedgerError};

/// See [`crate::Ledger::claim`]. If the answer to a commit is lost, its restores are claimed again: they belong to this
/// process, no code here knows them, and no other process may have them.
pub(super) async fn claim(
    pool: &PgPool,
    replica_lease: &ReplicaLease,
    which: Claim,
    limit: usize,
) -> Result<Vec<Entry>, LedgerError> {
    const CLAIM: &str = "with free as materialized (
          select id from restores r
           where finished_at is null
             and ($4 or status = any($5))
             and (owner is null or not exists (select 1 from replicas where id = r.owner)
                  or (owner = $1 and id = any($3)))
           order by id limit $2 for update skip locked
        )
        update restores r
           set owner = $1, epoch = epoch + case when r.owner = $1 then 0 else 1 end
          from free where r.id = free.id
        returning r.intent, r.state";
    let mut step = begin(pool, replica_lease).await?;
    let rows = sqlx::query(CLAIM)
        .bind(&replica_lease.replica)
        .bind(size(limit))
        .bind(replica_lease.unheard())
        .bind(which == Claim::All)
        .bind(Claim::BEFORE_ANSWER.map(Status::as_str).to_vec())
        .fetch_all(&mut *step)
        .await
        .map_err(unavailable)?;
    // An unreadable restore is free again at the end of this transaction.
    let mut entries = rows.iter().map(entry).collect::<Result<Vec<Entry>, LedgerError>>()?;
    entries.sort_by_key(|entry| entry.intent.id);
    // From here on the claim may be committed, even if no answer arrives.
    replica_lease.claim_unheard(&entries);
    step.commit().await.map_err(unavailable)?;
    replica_lease.heard_of(&entries);
    Ok(entries)
}

/// See [`crate::Ledger::claim_one`].
pub(super) async fn claim_one(
    pool: &PgPool,
    replica_lease: &ReplicaLease,
    id: RestoreId,
) -> Result<Option<Entry>, LedgerError> {
    const FREE: &str = "select exists (select 1 from restores r
         where id = $1 and finished_at is null
           and (owner is null or not exists (select 1 from replicas where id = r.owner)))";
    const CLAIM: &str = "update restores r set owner = $1, epoch = epoch + 1
         where id = $2 and finished_at is null
           and (owner is null or not exists (select 1 from replicas where id = r.owner))
        returning r.intent, r.state";
    // Nearly always a living process holds it, and then no write is necessary.
    let free = sqlx::query_scalar(FREE).bind(id.to_string());
    if !free.fetch_one(pool).await.map_err(unavailable)? {
        return Ok(None);
    }
    let mut step = begin(pool, replica_lease).await?;
    let row = sqlx::query(CLAIM)
        .bind(&replica_lease.replica)
        .bind(id.to_string())
        .fetch_optional(&mut *step)
        .await
        .map_err(unavailable)?;
    let claimed = row.as_ref().map(entry).transpose()?;
    // As in [`claim`].
    replica_lease.claim_unheard(claimed.as_slice());
    step.commit().await.map_err(unavailable)?;
    replica_lease.heard_of(claimed.as_slice());
    Ok(claimed)
}

fn entry(row: &PgRow) -> Result<Entry, LedgerError> {
    let intent: restore_model::Intent = parse(row.get(0))?;
    Ok(Entry { intent: intent.into(), state: parse(row.get(1))? })
}

/// See [`crate::Ledger::take`].
pub(super) async fn take(
    pool: &PgPool,
    replica_lease: &ReplicaLease,
    id: RestoreId,
) -> Result<bool, LedgerError> {
    const TAKE: &str = "update restores r
           set owner = $1, epoch = epoch + case when owner = $1 then 0 else 1 end
         where id = $2 and finished_at is null
           and (owner is null or owner = $1 or not exists (select 1 from replicas where id = r.owner))";
    const OURS: &str =
        "select exists (select 1 from restores where id = $2 and finished_at is null and owner = $1)";
    // Nearly always this process holds it already, and then no write is necessary.
    if replica_lease.lease().is_current() {
        let ours = sqlx::query_scalar(OURS).bind(&replica_lease.replica).bind(id.to_string());
        if ours.fetch_one(pool).await.map_err(unavailable)? {
            return Ok(true);
        }
    }
    let mut step = begin(pool, replica_lease).await?;
    let taken = sqlx::query(TAKE)
        .bind(&replica_lease.replica)
        .bind(id.to_string())
        .execute(&mut *step)
        .await
        .map_err(unavailable)?;
    step.commit().await.map_err(unavailable)?;
    Ok(taken.rows_affected() == 1)
}

/// See [`crate::Ledger::reserve_read`].
pub(super) async fn reserve_read(
    pool: &PgPool,
    id: RestoreId,
    interval: Duration,
) -> Result<bool, LedgerError> {
    const RESERVE: &str = "update restores set next_read = clock_timestamp() + $2
        where id = $1 and (next_read is null or next_read <= clock_timestamp())";
    let reserved =
        sqlx::query(RESERVE).bind(id.to_string()).bind(interval).execute(pool).await.map_err(unavailable)?;
    Ok(reserved.rows_affected() == 1)
}

/// Returns the number of registered processes with a valid lease, at least 1 for this process.
pub(super) async fn processes(pool: &PgPool) -> Result<usize, LedgerError> {
    const COUNT: &str = "select count(*) from replicas where lease_until > clock_timestamp()";
    let count: i64 = sqlx::query_scalar(COUNT).fetch_one(pool).await.map_err(unavailable)?;
    Ok(usize::try_from(count).unwrap_or(1).max(1))
}

/// Begins a transaction in which this process stays registered, after the removal of processes with an expired lease.
async fn begin(
    pool: &PgPool,
    replica_lease: &ReplicaLease,
) -> Result<Transaction<'static, Postgres>, LedgerError> {
    let mut step = pool.begin().await.map_err(unavailable)?;
    if !lock_registration(&mut step, replica_lease).await? {
        step.rollback().await.map_err(unavailable)?;
        let mut connection = pool.acquire().await.map_err(unavailable)?;
        replica_lease.renew(&mut connection).await?;
        drop(connection);
        step = pool.begin().await.map_err(unavailable)?;
        if !lock_registration(&mut step, replica_lease).await? {
            return Err(LedgerError::Unavailable("the lease ends as soon as it is renewed".to_owned()));
        }
    }
    // A separate statement, so that later statements see the remaining processes.
    sqlx::query(
        "delete from replicas where id in
           (select id from replicas where lease_until < clock_timestamp() for update skip locked)",
    )
    .execute(&mut *step)
    .await
    .map_err(unavailable)?;
    Ok(step)
}

/// Locks this process's registration until the transaction ends. Returns true if it is current.
pub(super) async fn lock_registration(
    connection: &mut PgConnection,
    replica_lease: &ReplicaLease,
) -> Result<bool, LedgerError> {
    const LOCK: &str = "select lease_until > clock_timestamp() from replicas where id = $1 for share";
    let current: Option<bool> = sqlx::query_scalar(LOCK)
        .bind(&replica_lease.replica)
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    Ok(current == Some(true))
}
