//! Stores the changes of a group in two statements: first the released locks, then everything else. Columns are arrays,
//! so the statements are fixed and prepared once, however many rows there are.

use restore_model::Timestamp;
use sqlx::postgres::PgConnection;

use super::fail::{Failed, failed};
use crate::book::lock_target;
use crate::change::{Change, locks};
use crate::text::json;

/// A separate statement: another restore of the same group may take a released lock.
const RELEASE: &str = "delete from locks where lock = any($1)";

const STORE: &str = "
with moved as (
  update restores r
     set status = m.status, finished_at = m.finished_at, state = m.state
    from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) m (id, status, finished_at, state)
   where r.id = m.id
), new as (
  insert into restores
    (id, caller, project_id, upstream, status, fingerprint, created_at, finished_at, intent, state, owner)
  select *, $5::text
    from unnest($6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                $11::text[], $12::bigint[], $13::bigint[], $14::text[], $15::text[])
), told as (
  insert into events (tx, restore_id, seq, at, event)
  select pg_current_xact_id()::text::bigint + (select value from meta where name = 'tx_offset'), *
    from unnest($16::text[], $17::bigint[], $18::bigint[], $19::text[])
), taken as (
  insert into locks (lock, restore_id) select * from unnest($20::text[], $21::text[])
), kept as (
  insert into keys (caller, key, restore_id)
  select distinct on (caller, key) caller, key, restore_id
    from unnest($22::text[], $23::text[], $24::text[]) with ordinality k (caller, key, restore_id, n)
   order by caller, key, n desc
  on conflict (caller, key) do update set restore_id = excluded.restore_id
), bound as (
  -- Another restore's task is a unique violation: the group is tried again, and the book then knows.
  insert into tasks (project_id, task_id, restore_id)
  select distinct w.* from unnest($27::text[], $28::text[], $29::text[]) w (project_id, task_id, restore_id)
   where not exists (select 1 from tasks t
                      where (t.project_id, t.task_id, t.restore_id) = (w.project_id, w.task_id, w.restore_id))
)
insert into targets (target, restore_id)
select * from unnest($25::text[], $26::text[]) on conflict do nothing";

pub(super) async fn store(
    connection: &mut PgConnection,
    change: &Change<'_>,
    replica: &str,
) -> Result<(), Failed> {
    let released = column(&locks(change.ended.iter().copied()), |(lock, _)| *lock);
    if !released.is_empty() {
        sqlx::query(RELEASE).bind(released).execute(&mut *connection).await.map_err(failed)?;
    }
    let Change { new, moved, events, keys, tasks, .. } = change;
    let (taken, all) = (locks(change.taking()), locks(new.iter().copied()));
    let mut query = sqlx::query(STORE)
        .bind(column(moved, |(id, _)| id.to_string()))
        .bind(column(moved, |(_, state)| state.status.as_str()))
        .bind(column(moved, |(_, state)| state.finished_at.map(Timestamp::as_micros)))
        .bind(documents(moved, |(_, state)| json(*state))?)
        .bind(replica)
        .bind(column(new, |(id, _)| id.to_string()))
        .bind(column(new, |(_, row)| row.intent.caller.clone()))
        .bind(column(new, |(_, row)| row.intent.request.project_id.to_string()))
        .bind(column(new, |(_, row)| row.intent.route.upstream.clone()))
        .bind(column(new, |(_, row)| row.state.status.as_str()))
        .bind(column(new, |(_, row)| row.intent.fingerprint.clone()))
        .bind(column(new, |(_, row)| row.intent.created_at.as_micros()))
        .bind(column(new, |(_, row)| row.state.finished_at.map(Timestamp::as_micros)))
        .bind(documents(new, |(_, row)| json(&*row.intent))?)
        .bind(documents(new, |(_, row)| json(&row.state))?);
    query = query
        .bind(column(events, |(id, _)| id.to_string()))
        .bind(column(events, |(_, event)| i64::from(event.seq)))
        .bind(column(events, |(_, event)| event.at.as_micros()))
        .bind(documents(events, |(_, event)| json(*event))?)
        .bind(column(&taken, |(lock, _)| *lock))
        .bind(column(&taken, |(_, id)| id.to_string()))
        .bind(column(keys, |(caller, ..)| *caller))
        .bind(column(keys, |(_, key, _)| *key))
        .bind(column(keys, |(.., id)| id.to_string()))
        .bind(column(&all, |(lock, _)| lock_target(lock)))
        .bind(column(&all, |(_, id)| id.to_string()))
        .bind(column(tasks, |(project, ..)| *project))
        .bind(column(tasks, |(_, task, _)| task.as_str()))
        .bind(column(tasks, |(.., id)| id.to_string()));
    query.execute(connection).await.map_err(failed)?;
    Ok(())
}

fn column<'a, T, V>(rows: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

fn documents<'a, T>(
    rows: &'a [T],
    text: impl Fn(&'a T) -> Result<String, crate::LedgerError>,
) -> Result<Vec<String>, Failed> {
    Ok(rows.iter().map(text).collect::<Result<_, _>>()?)
}
