//! Writes without a decision of the book: deletion, recovery mode, the outbox.

use restore_model::RestoreId;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::fail::{Failed, failed};
use crate::group::{Side, Written};
use crate::text::{number, parse_id, size};
use crate::{Delivery, MessageRef, Position, Pruned};

/// Every statement below is part of the group's transaction.
pub(super) async fn carry_out(connection: &mut PgConnection, side: &Side) -> Result<Written, Failed> {
    match side {
        Side::Prune { restores_before, keys_before, limit } => {
            let keys = forget_keys(connection, keys_before.as_micros(), *limit).await?;
            let restores = match restores_before {
                Some(before) => forget_restores(connection, before.as_micros(), *limit).await?,
                None => 0,
            };
            return Ok(Written::Pruned(Pruned { restores, keys }));
        }
        Side::SetRecovery(None) => {
            sqlx::query("delete from recovery").execute(connection).await.map_err(failed)?;
        }
        Side::SetRecovery(Some(recovery)) => {
            const SET: &str = "insert into recovery (since, reason) values ($1, $2)
                on conflict (here) do update set since = excluded.since, reason = excluded.reason";
            sqlx::query(SET)
                .bind(recovery.since.as_micros())
                .bind(&recovery.reason)
                .execute(connection)
                .await
                .map_err(failed)?;
        }
        Side::Post { hook, from, to, message_refs } => {
            return post(connection, hook, *from, *to, message_refs).await.map(Written::Posted);
        }
        Side::Due { hook, now, reserve, limit } => {
            let reserve = i64::try_from(reserve.as_micros()).unwrap_or(i64::MAX);
            let until = now.plus_micros(reserve).as_micros();
            let due = due(connection, hook, now.as_micros(), until, *limit).await?;
            return Ok(Written::Deliveries(due));
        }
        Side::Delivered { hook, message_ref } => {
            const DELIVERED: &str = "delete from deliveries where hook = $1 and restore_id = $2 and seq = $3";
            sqlx::query(DELIVERED)
                .bind(hook)
                .bind(message_ref.restore.to_string())
                .bind(i64::from(message_ref.seq))
                .execute(connection)
                .await
                .map_err(failed)?;
        }
        Side::PutOff { hook, message_ref, attempts, until, why } => {
            const PUT_OFF: &str = "update deliveries set attempts = $4, due_at = $5, why = $6
                where hook = $1 and restore_id = $2 and seq = $3";
            sqlx::query(PUT_OFF)
                .bind(hook)
                .bind(message_ref.restore.to_string())
                .bind(i64::from(message_ref.seq))
                .bind(i64::from(*attempts))
                .bind(until.as_micros())
                .bind(why)
                .execute(connection)
                .await
                .map_err(failed)?;
        }
        Side::GiveUp { hook, message_ref, why } => {
            const GIVE_UP: &str = "update deliveries set dead = true, why = $4
                where hook = $1 and restore_id = $2 and seq = $3";
            sqlx::query(GIVE_UP)
                .bind(hook)
                .bind(message_ref.restore.to_string())
                .bind(i64::from(message_ref.seq))
                .bind(why)
                .execute(connection)
                .await
                .map_err(failed)?;
        }
        Side::SetDisabled { hook, why } => {
            sqlx::query("update hooks set disabled = $2 where name = $1")
                .bind(hook)
                .bind(why)
                .execute(connection)
                .await
                .map_err(failed)?;
        }
    }
    Ok(Written::Done)
}

/// Walks the keys, not the restores: keys are kept for a day, restores for years.
async fn forget_keys(connection: &mut PgConnection, before: i64, limit: usize) -> Result<usize, Failed> {
    const FORGET: &str = "delete from keys where (caller, key) in (
        select k.caller, k.key from keys k join restores r on r.id = k.restore_id
         where r.finished_at < $1 limit $2 for update of k skip locked)";
    let done = sqlx::query(FORGET).bind(before).bind(size(limit)).execute(connection).await;
    Ok(usize::try_from(done.map_err(failed)?.rows_affected()).unwrap_or(usize::MAX))
}

/// The foreign keys delete history and targets together with a restore.
async fn forget_restores(connection: &mut PgConnection, before: i64, limit: usize) -> Result<usize, Failed> {
    const FORGET: &str = "delete from restores where id in (
        select id from restores
         where finished_at < $1 and not exists (select 1 from keys where restore_id = restores.id)
         order by finished_at limit $2 for update skip locked)
        returning id";
    const MESSAGE_REFS: &str = "delete from deliveries d using hooks h, unnest($1::text[]) gone (id)
        where d.hook = h.name and d.restore_id = gone.id";
    let gone: Vec<String> = sqlx::query_scalar(FORGET)
        .bind(before)
        .bind(size(limit))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if !gone.is_empty() {
        sqlx::query(MESSAGE_REFS).bind(&gone).execute(connection).await.map_err(failed)?;
    }
    Ok(gone.len())
}

async fn post(
    connection: &mut PgConnection,
    hook: &str,
    from: Option<Position>,
    to: Position,
    message_refs: &[MessageRef],
) -> Result<bool, Failed> {
    const BEGIN: &str = "insert into hooks (name, cursor) values ($1, $2) on conflict do nothing";
    const MOVE: &str = "update hooks set cursor = $2 where name = $1 and cursor = $3";
    const PUT_IN: &str = "insert into deliveries (hook, restore_id, seq)
        select $1, * from unnest($2::text[], $3::bigint[]) on conflict do nothing";
    let moved = match from {
        None => sqlx::query(BEGIN).bind(hook).bind(to.to_string()),
        Some(from) => sqlx::query(MOVE).bind(hook).bind(to.to_string()).bind(from.to_string()),
    };
    if moved.execute(&mut *connection).await.map_err(failed)?.rows_affected() == 0 {
        return Ok(false);
    }
    if !message_refs.is_empty() {
        let restores: Vec<String> =
            message_refs.iter().map(|message_ref| message_ref.restore.to_string()).collect();
        let numbers: Vec<i64> = message_refs.iter().map(|message_ref| i64::from(message_ref.seq)).collect();
        let put_in = sqlx::query(PUT_IN).bind(hook).bind(restores).bind(numbers);
        put_in.execute(connection).await.map_err(failed)?;
    }
    Ok(true)
}

async fn due(
    connection: &mut PgConnection,
    hook: &str,
    now: i64,
    until: i64,
    limit: usize,
) -> Result<Vec<Delivery>, Failed> {
    const DUE: &str = "with mine as materialized (
          select n, due_at from deliveries
           where hook = $1 and not dead and due_at <= $2
             and exists (select 1 from hooks where name = $1 and disabled is null)
           order by due_at, n limit $3 for update skip locked
        ), reserved as (
          update deliveries d set due_at = $4 from mine where d.n = mine.n
          returning mine.due_at, d.n, d.restore_id, d.seq, d.attempts
        )
        select restore_id, seq, attempts from reserved order by due_at, n";
    let rows = sqlx::query(DUE)
        .bind(hook)
        .bind(now)
        .bind(size(limit))
        .bind(until)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let delivery = |row: &PgRow| {
        let restore: RestoreId = parse_id(row.get(0))?;
        Ok(Delivery { restore, seq: number(row.get(1))?, attempts: number(row.get(2))? })
    };
    rows.iter().map(delivery).collect()
}
