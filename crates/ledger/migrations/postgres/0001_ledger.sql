-- Times of the model are microseconds since 1970-01-01T00:00:00Z; times of leases are the database's
-- own. Ids and JSON are text, and names are compared byte by byte whatever the database's collation.
-- What the gateway reads back is `intent` and `state`; the other columns of `restores` before `owner`
-- repeat parts of them for indexes.

-- The processes that share this ledger. One that is not here holds nothing: whoever finds its lease
-- over deletes it first and takes over what it held then.
create table replicas (
  id             text collate "C" primary key,
  lease_until    timestamptz not null,
  schema_version bigint not null,
  started_at     timestamptz not null default clock_timestamp()
);

create table restores (
  id          text collate "C" primary key,
  caller      text collate "C" not null,
  project_id  text collate "C" not null,
  upstream    text collate "C" not null,
  handle_id   text collate "C",
  status      text collate "C" not null,
  fingerprint text collate "C" not null,
  created_at  bigint not null,
  finished_at bigint,
  intent      text not null,
  state       text not null,
  -- The replica that holds it, how often it was taken over, and when it may be read next.
  owner       text collate "C",
  epoch       bigint not null default 1,
  next_read   timestamptz
);
-- Equal requests of one caller: the open one, and those that ended last.
create index restores_equal on restores (caller, fingerprint, finished_at);
create index restores_project on restores (project_id, id);
create index restores_caller on restores (caller, id);
create index restores_handle on restores (upstream, handle_id) where handle_id is not null;
create index restores_unfinished on restores (id) where finished_at is null;
create index restores_finished on restores (finished_at) where finished_at is not null;

-- The history, only ever appended to: a state is the fold of its events. `tx` is the transaction
-- that wrote it, and by (tx, n) the feed is told.
create table events (
  n          bigint generated always as identity primary key,
  tx         bigint not null,
  restore_id text collate "C" not null references restores (id) on delete cascade,
  seq        bigint not null,
  at         bigint not null,
  event      text not null,
  unique (restore_id, seq)
);
create index events_feed on events (tx, n);

create function events_are_only_ever_appended() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and not exists (select 1 from restores where id = old.restore_id) then
    return old; -- It goes with its restore.
  end if;
  raise exception 'events are only ever appended';
end $$;
create trigger events_are_only_ever_appended before update or delete on events
  for each row execute function events_are_only_ever_appended();
create function the_unfinished_are_not_deleted() returns trigger language plpgsql as $$
begin
  raise exception 'what is unfinished is never forgotten';
end $$;
create trigger the_unfinished_are_not_deleted before delete on restores
  for each row when (old.finished_at is null) execute function the_unfinished_are_not_deleted();

-- One row per disk or server that an unfinished restore must hold alone.
create table locks (
  lock       text collate "C" primary key,
  restore_id text collate "C" not null references restores (id)
);
create index locks_restore on locks (restore_id);

create table keys (
  caller     text collate "C" not null,
  key        text collate "C" not null,
  restore_id text collate "C" not null references restores (id),
  primary key (caller, key)
);
create index keys_restore on keys (restore_id);

-- Every server, disk or resource a restore overwrites, its id folded. An index for lists, no more.
create table targets (
  target     text collate "C" not null,
  restore_id text collate "C" not null references restores (id) on delete cascade,
  primary key (target, restore_id)
);
create index targets_restore on targets (restore_id);

-- Who is told of the feed, and how far. `cursor` is a position as the program writes it.
create table hooks (
  name     text collate "C" primary key,
  cursor   text not null,
  disabled text
);

-- What is still to be told. `due_at` is 0 until it was tried; `why` is the last failure.
create table deliveries (
  n          bigint generated always as identity primary key,
  hook       text collate "C" not null references hooks (name),
  restore_id text collate "C" not null,
  seq        bigint not null,
  attempts   bigint not null default 0,
  due_at     bigint not null default 0,
  dead       boolean not null default false,
  why        text,
  unique (hook, restore_id, seq)
);
create index deliveries_due on deliveries (hook, due_at, n) where not dead;
create index deliveries_dead on deliveries (hook) where dead;

-- There is a row while the ledger may be an older copy of itself.
create table recovery (
  here   integer primary key default 1 check (here = 1),
  since  bigint not null,
  reason text not null
);
