//! Queries that all database stores share: one text of each statement that both databases understand. A macro, because
//! the bounds of generic functions would be longer than their code. If the databases differ, the store provides the
//! text: `UNFINISHED` counts the unfinished restores.

/// The queries, for a pool and its rows.
macro_rules! reads {
    ($pool:ty, $row:ty) => {
        use std::sync::Arc;

        use restore_model::{Event, ProjectId, RestoreId, Status, Timestamp};
        use sqlx::Row as _;

        use super::unavailable;
        use crate::book::task_name;
        use crate::text::{parse, parse_id, parse_position, size};
        use crate::{Entry, Hook, LedgerError, Recovery, Unfinished, Waiting};

        pub(super) async fn get(pool: &$pool, id: RestoreId) -> Result<Option<Entry>, LedgerError> {
            sqlx::query("select intent, state from restores where id = $1")
                .bind(id.to_string())
                .fetch_optional(pool)
                .await
                .map_err(unavailable)?
                .map(|row| entry(&row))
                .transpose()
        }

        pub(super) async fn events(pool: &$pool, id: RestoreId) -> Result<Vec<Event>, LedgerError> {
            let rows = sqlx::query("select event from events where restore_id = $1 order by seq")
                .bind(id.to_string())
                .fetch_all(pool)
                .await
                .map_err(unavailable)?;
            rows.iter().map(|row| parse(row.get(0))).collect()
        }

        pub(super) async fn task_holder(
            pool: &$pool,
            project: &ProjectId,
            task: &str,
        ) -> Result<Option<RestoreId>, LedgerError> {
            const HOLDER: &str = "select restore_id from tasks where project_id = $1 and task_id = $2";
            let holder: Option<String> = sqlx::query_scalar(HOLDER)
                .bind(project.to_string())
                .bind(task_name(task))
                .fetch_optional(pool)
                .await
                .map_err(unavailable)?;
            holder.as_deref().map(parse_id).transpose()
        }

        pub(super) async fn tally(pool: &$pool) -> Result<Unfinished, LedgerError> {
            let rows = sqlx::query(UNFINISHED).fetch_all(pool).await.map_err(unavailable)?;
            let mut tally = Unfinished::default();
            for row in &rows {
                let count = |column: usize| row.get::<i64, _>(column).unsigned_abs();
                let word: &str = row.get(0);
                let status = Status::from_word(word)
                    .ok_or_else(|| LedgerError::Corrupt(format!("a restore is {word:?}")))?;
                tally.by_status.push((status, count(1)));
                tally.overdue += count(2);
                tally.needs_operator += count(3);
                tally.awaiting_credential += count(4);
                tally.stale += count(5);
                let oldest = Timestamp::from_micros(row.get(6));
                tally.oldest = Some(tally.oldest.map_or(oldest, |other| other.min(oldest)));
            }
            Ok(tally)
        }

        pub(super) async fn keys(pool: &$pool, caller: &str, at_most: usize) -> Result<usize, LedgerError> {
            const COUNT: &str = "select count(*) from (select 1 from keys where caller = $1 limit $2) kept";
            let count: i64 = sqlx::query_scalar(COUNT)
                .bind(caller)
                .bind(size(at_most))
                .fetch_one(pool)
                .await
                .map_err(unavailable)?;
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        }

        pub(super) async fn recovery(pool: &$pool) -> Result<Option<Recovery>, LedgerError> {
            let row = sqlx::query("select since, reason from recovery")
                .fetch_optional(pool)
                .await
                .map_err(unavailable)?;
            Ok(row.map(|row| Recovery { since: Timestamp::from_micros(row.get(0)), reason: row.get(1) }))
        }

        pub(super) async fn hook(pool: &$pool, name: &str) -> Result<Option<Hook>, LedgerError> {
            let row = sqlx::query("select cursor, disabled from hooks where name = $1")
                .bind(name)
                .fetch_optional(pool)
                .await
                .map_err(unavailable)?;
            row.map(|row| Ok(Hook { cursor: parse_position(row.get(0))?, disabled: row.get(1) })).transpose()
        }

        pub(super) async fn next_due(pool: &$pool, name: &str) -> Result<Option<Timestamp>, LedgerError> {
            const NEXT: &str = "select min(d.due_at) from deliveries d join hooks h on h.name = d.hook
                where d.hook = $1 and not d.dead and h.disabled is null";
            let due: Option<i64> =
                sqlx::query_scalar(NEXT).bind(name).fetch_one(pool).await.map_err(unavailable)?;
            Ok(due.map(Timestamp::from_micros))
        }

        pub(super) async fn waiting(pool: &$pool, name: &str) -> Result<Waiting, LedgerError> {
            const COUNT: &str = "select (select count(*) from deliveries where hook = $1 and not dead),
                (select count(*) from deliveries where hook = $1 and dead)";
            let (waiting, dead): (i64, i64) =
                sqlx::query_as(COUNT).bind(name).fetch_one(pool).await.map_err(unavailable)?;
            Ok(Waiting { waiting: waiting.unsigned_abs(), dead: dead.unsigned_abs() })
        }

        fn entry(row: &$row) -> Result<Entry, LedgerError> {
            Ok(Entry { intent: Arc::new(parse(row.get(0))?), state: parse(row.get(1))? })
        }
    };
}
pub(crate) use reads;
