-- The feed, the outbox, forgetting, and recovery mode.

-- Events get a position in the order of their commits: there is one writer. A position is never
-- used twice, also when what had it is forgotten.
create table events_in_order (
  position   integer primary key autoincrement,
  restore_id text not null references restores (id),
  seq        integer not null,
  at         integer not null,
  event      text not null,
  unique (restore_id, seq)
);
insert into events_in_order (restore_id, seq, at, event)
  select restore_id, seq, at, event from events order by at, restore_id, seq;
drop table events;
alter table events_in_order rename to events;

-- The history is only ever appended to. It goes with its restore, and a restore only when it is over.
create trigger events_are_not_changed before update on events
begin
  select raise(abort, 'events are only ever appended');
end;
create trigger events_are_not_deleted before delete on events
when exists (select 1 from restores where id = old.restore_id)
begin
  select raise(abort, 'events are only ever appended');
end;
create trigger the_unfinished_are_not_deleted before delete on restores
when old.finished_at is null
begin
  select raise(abort, 'what is unfinished is never forgotten');
end;

-- For forgetting: what ended when, and what goes with a restore.
create index restores_finished on restores (finished_at) where finished_at is not null;
create index keys_restore on keys (restore_id);
create index locks_restore on locks (restore_id);
create index targets_restore on targets (restore_id);

-- Who is told of the feed, and how far. `cursor` is a position as the program writes it.
create table hooks (
  name     text primary key not null,
  cursor   text not null,
  disabled text
) without rowid;

-- What is still to be told. `due_at` is 0 until it was tried; `why` is the last failure.
create table deliveries (
  n          integer primary key,
  hook       text not null references hooks (name),
  restore_id text not null,
  seq        integer not null,
  attempts   integer not null default 0,
  due_at     integer not null default 0,
  dead       integer not null default 0,
  why        text,
  unique (hook, restore_id, seq)
);
create index deliveries_due on deliveries (hook, due_at) where not dead;
create index deliveries_dead on deliveries (hook) where dead;

-- There is a row while the ledger may be an older copy of itself.
create table recovery (
  here   integer primary key check (here = 1),
  since  integer not null,
  reason text not null
);
