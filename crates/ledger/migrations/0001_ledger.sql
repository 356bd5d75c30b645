-- Times are microseconds since 1970-01-01T00:00:00Z. Ids and JSON are text. What the gateway reads
-- back is `intent` and `state`; the other columns of `restores` repeat parts of them for indexes.

create table restores (
  id          text primary key not null,
  caller      text not null,
  project_id  text not null,
  upstream    text not null,
  handle_id   text,
  status      text not null,
  fingerprint text not null,
  created_at  integer not null,
  finished_at integer,
  intent      text not null,
  state       text not null
);
-- Equal requests of one caller: the open one, and those that ended last.
create index restores_equal on restores (caller, fingerprint, finished_at);
create index restores_project on restores (project_id, id);
create index restores_caller on restores (caller, id);
create index restores_handle on restores (upstream, handle_id) where handle_id is not null;

-- The history, only ever appended to: a state is the fold of its events.
create table events (
  restore_id text not null references restores (id),
  seq        integer not null,
  at         integer not null,
  event      text not null,
  primary key (restore_id, seq)
) without rowid;
create trigger events_are_not_changed before update on events
begin
  select raise(abort, 'events are only ever appended');
end;
create trigger events_are_not_deleted before delete on events
begin
  select raise(abort, 'events are only ever appended');
end;

-- One row per disk or server that an unfinished restore must hold alone; each holds one at least,
-- so these are also the list of the unfinished.
create table locks (
  lock       text primary key not null,
  restore_id text not null references restores (id)
) without rowid;

create table keys (
  caller     text not null,
  key        text not null,
  restore_id text not null references restores (id),
  primary key (caller, key)
) without rowid;

-- Every server, disk or resource a restore overwrites, its id folded. An index for lists, no more.
create table targets (
  target     text not null,
  restore_id text not null,
  primary key (target, restore_id)
) without rowid;
