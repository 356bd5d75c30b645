//! Writes without a decision of the book: deletion, recovery mode, the outbox.

use restore_model::{Intent, RestoreId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::group::{failure, json};
use crate::book::lock_target;
use crate::group::{Failure, Side, Written};
use crate::text::{parse, parse_id, size};
use crate::{Delivery, MessageRef, Position, Pruned};

/// Every statement below is part of the group's transaction.
pub(super) async fn carry_out(connection: &mut SqliteConnection, side: &Side) -> Result<Written, Failure> {
    match side {
        Side::Prune { restores_before, keys_before, limit } => {
            let keys = forget_keys(connection, *keys_before, *limit).await?;
            let restores = match restores_before {
                Some(before) => forget_restores(connection, before.as_micros(), *limit).await?,
                None => 0,
            };
            return Ok(Written::Pruned(Pruned { restores, keys }));
        }
        Side::SetRecovery(recovery) => {
            sqlx::query("delete from recovery").execute(&mut *connection).await.map_err(failure)?;
            if let Some(recovery) = recovery {
                sqlx::query("insert into recovery (here, since, reason) values (1, $1, $2)")
                    .bind(recovery.since.as_micros())
                    .bind(recovery.reason.clone())
                    .execute(connection)
                    .await
                    .map_err(failure)?;
            }
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
            sqlx::query("delete from deliveries where hook = $1 and restore_id = $2 and seq = $3")
                .bind(hook.clone())
                .bind(message_ref.restore.to_string())
                .bind(message_ref.seq)
                .execute(connection)
                .await
                .map_err(failure)?;
        }
        Side::PutOff { hook, message_ref, attempts, until, why } => {
            const PUT_OFF: &str = "update deliveries set attempts = $4, due_at = $5, why = $6
                where hook = $1 and restore_id = $2 and seq = $3";
            sqlx::query(PUT_OFF)
                .bind(hook.clone())
                .bind(message_ref.restore.to_string())
                .bind(message_ref.seq)
                .bind(*attempts)
                .bind(until.as_micros())
                .bind(why.clone())
                .execute(connection)
                .await
                .map_err(failure)?;
        }
        Side::GiveUp { hook, message_ref, why } => {
            const GIVE_UP: &str = "update deliveries set dead = 1, why = $4
                where hook = $1 and restore_id = $2 and seq = $3";
            sqlx::query(GIVE_UP)
                .bind(hook.clone())
                .bind(message_ref.restore.to_string())
                .bind(message_ref.seq)
                .bind(why.clone())
                .execute(connection)
                .await
                .map_err(failure)?;
        }
        Side::SetDisabled { hook, why } => {
            sqlx::query("update hooks set disabled = $2 where name = $1")
                .bind(hook.clone())
                .bind(why.clone())
                .execute(connection)
                .await
                .map_err(failure)?;
        }
    }
    Ok(Written::Done)
}

/// Walks the keys, not the restores: keys are kept for a month, restores for years. It needs only the keys of restores
/// accepted before the limit: a restore that was accepted later has not ended before it.
async fn forget_keys(
    connection: &mut SqliteConnection,
    before: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    const FORGET: &str = "delete from keys where (caller, key) in (
        select k.caller, k.key from keys k indexed by keys_restore cross join restores r on r.id = k.restore_id
         where k.restore_id < $3 and r.finished_at < $1 limit $2)";
    let done = sqlx::query(FORGET)
        .bind(before.as_micros())
        .bind(size(limit))
        .bind(RestoreId::least_at(before).to_string())
        .execute(connection)
        .await
        .map_err(failure)?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Deletes a restore before its history, as the foreign key requires; the commit checks that all of it is gone. The
/// stored requests define the targets. The targets of an unreadable request stay, and no list shows them.
async fn forget_restores(
    connection: &mut SqliteConnection,
    before: i64,
    limit: usize,
) -> Result<usize, Failure> {
    const OVER: &str = "select id, intent from restores
        where finished_at < $1 and not exists (select 1 from keys where restore_id = restores.id)
        order by finished_at limit $2";
    const FORGET: &str = "pragma defer_foreign_keys = on;
        delete from restores where id in (select value from json_each($1));
        delete from events where restore_id in (select value from json_each($1));
        delete from tasks where restore_id in (select value from json_each($1));
        delete from targets where (target, restore_id) in
          (select value ->> 0, value ->> 1 from json_each($2));
        delete from deliveries where (hook, restore_id) in
          (select h.name, w.value from hooks h, json_each($1) w)";
    let over = sqlx::query(OVER).bind(before).bind(size(limit));
    let over = over.fetch_all(&mut *connection).await.map_err(failure)?;
    let ids: Vec<&str> = over.iter().map(|row| row.get(0)).collect();
    if !ids.is_empty() {
        let intents = over.iter().filter_map(|row| parse::<Intent>(row.get(1)).ok());
        let targets: Vec<(String, RestoreId)> = intents
            .flat_map(|intent| {
                let locks = intent.locks();
                locks.into_iter().map(move |lock| (lock_target(&lock).to_owned(), intent.id))
            })
            .collect();
        sqlx::query(FORGET)
            .bind(json(&ids)?)
            .bind(json(&targets)?)
            .execute(connection)
            .await
            .map_err(failure)?;
    }
    Ok(ids.len())
}

async fn post(
    connection: &mut SqliteConnection,
    hook: &str,
    from: Option<Position>,
    to: Position,
    message_refs: &[MessageRef],
) -> Result<bool, Failure> {
    const BEGIN: &str = "insert or ignore into hooks (name, cursor) values ($1, $2)";
    const MOVE: &str = "update hooks set cursor = $2 where name = $1 and cursor = $3";
    const PUT_IN: &str = "insert or ignore into deliveries (hook, restore_id, seq)
        select $1, value ->> 0, value ->> 1 from json_each($2)";
    let moved = match from {
        None => sqlx::query(BEGIN).bind(hook.to_owned()).bind(to.to_string()),
        Some(from) => sqlx::query(MOVE).bind(hook.to_owned()).bind(to.to_string()).bind(from.to_string()),
    };
    if moved.execute(&mut *connection).await.map_err(failure)?.rows_affected() == 0 {
        return Ok(false);
    }
    if !message_refs.is_empty() {
        let message_refs: Vec<(RestoreId, u32)> = message_refs.iter().map(|l| (l.restore, l.seq)).collect();
        sqlx::query(PUT_IN)
            .bind(hook.to_owned())
            .bind(json(&message_refs)?)
            .execute(connection)
            .await
            .map_err(failure)?;
    }
    Ok(true)
}

async fn due(
    connection: &mut SqliteConnection,
    hook: &str,
    now: i64,
    until: i64,
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    const DUE: &str = "select n, restore_id, seq, attempts from deliveries
        where hook = $1 and not dead and due_at <= $2
          and exists (select 1 from hooks where name = $1 and disabled is null)
        order by due_at, n limit $3";
    const RESERVE: &str = "update deliveries set due_at = $2 where n in (select value from json_each($1))";
    let rows = sqlx::query(DUE)
        .bind(hook.to_owned())
        .bind(now)
        .bind(size(limit))
        .fetch_all(&mut *connection)
        .await
        .map_err(failure)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    sqlx::query(RESERVE).bind(json(&numbers)?).bind(until).execute(connection).await.map_err(failure)?;
    let delivery = |row: &sqlx::sqlite::SqliteRow| {
        let restore = parse_id(row.get(1)).map_err(Failure::Within)?;
        Ok(Delivery { restore, seq: row.get(2), attempts: row.get(3) })
    };
    rows.iter().map(delivery).collect()
}
