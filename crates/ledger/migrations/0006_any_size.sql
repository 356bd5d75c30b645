-- What a gateway does costs the same whatever the number of restores: every lock, every list and every count is found by an
-- index, and nothing of it is kept in memory.

-- Who holds which lock: the folded id that the lock is about, and before it project and kind. The primary key lets no two
-- unfinished restores hold one lock. `locks` still lists the unfinished, with the names of their locks.
create table held (
  target     text not null,
  scope      text not null,
  restore_id text not null,
  primary key (target, scope)
) without rowid;
insert into held (target, scope, restore_id)
  select substr(n.value, length(rtrim(n.value, replace(n.value, '/', ''))) + 1),
         rtrim(rtrim(n.value, replace(n.value, '/', '')), '/'), l.restore_id
    from locks l, json_each(l.names) n;

-- Lists of a status; and the unfinished of one project, and the oldest of them.
create index restores_status on restores (status, id);
create index restores_open_project on restores (project_id, id) where finished_at is null;
create index restores_oldest on restores (created_at) where finished_at is null;

-- How many of them have which status and which flags (`tally.rs`). Each group of writes adds its differences.
create table tally (
  status text not null,
  flags  integer not null,
  count  integer not null,
  primary key (status, flags)
) without rowid;
insert into tally (status, flags, count)
  select status,
         coalesce(state ->> 'overdue', 0) + 2 * coalesce(state ->> 'needs_operator', 0)
           + 4 * coalesce(state ->> 'awaiting_credential', 0) + 8 * (state ->> 'last_poll_failed_since' is not null),
         count(*)
    from restores where finished_at is null group by 1, 2;
