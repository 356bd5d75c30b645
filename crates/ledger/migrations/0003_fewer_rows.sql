-- Fewer rows for each restore, for every one of them is paid for before a restore is sent. Who holds
-- which lock is decided by the one gateway that has the file; here it is kept, one row for each
-- unfinished restore with the names as a JSON array, which is also the list of the unfinished.
create table locks_by_restore (
  restore_id text primary key not null references restores (id) deferrable initially deferred,
  names      text not null
) without rowid;
insert into locks_by_restore (restore_id, names)
  select restore_id, json_group_array(lock) from (select lock, restore_id from locks order by lock)
   group by restore_id;
drop table locks;
alter table locks_by_restore rename to locks;

-- A list finds the targets of the unfinished by their locks; only what ended is written here, and
-- what is forgotten says itself what its targets were.
drop index targets_restore;

-- Equal requests that are unfinished share their locks and are found by those.
drop index restores_equal;
create index restores_equal on restores (caller, fingerprint, finished_at) where finished_at is not null;
