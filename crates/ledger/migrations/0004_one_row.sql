-- One accepted restore is one row. What earlier versions kept as several rows is converted by the program, in the same
-- transaction (`upgrade.rs`).

-- The upstream's tasks that are bound to restores, each to one, for good. A project belongs to one cloud and region, so
-- a task is known by it and by no name of the settings. `task_id` is folded: lower case, without dashes.
create table tasks (
  project_id text not null,
  task_id    text not null,
  restore_id text not null references restores (id) deferrable initially deferred,
  primary key (project_id, task_id)
) without rowid;
insert or ignore into tasks (project_id, task_id, restore_id)
  select project_id, lower(replace(handle_id, '-', '')), id from restores where handle_id is not null order by id;
create index tasks_restore on tasks (restore_id);
drop index restores_handle;
alter table restores drop column handle_id;
