BEGIN TRANSACTION;
CREATE TABLE deliveries (
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
CREATE TABLE "events" (
  position   integer primary key autoincrement,
  restore_id text not null references restores (id),
  seq        integer not null,
  at         integer not null,
  event      text not null,
  unique (restore_id, seq)
);
INSERT INTO "events" VALUES(1,'01a22a66-7730-7523-b149-b47425808b68',1,1796007687984514,'{"seq":1,"at":"2026-11-30T03:01:27.984514Z","cause":"caller","evidence":{"kind":"request","strength":"strong","observed_at":"2026-11-30T03:01:27.984514Z"},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"accepted"}');
INSERT INTO "events" VALUES(2,'01a22a66-7730-7523-b149-b47425808b68',2,1796007687984514,'{"seq":2,"at":"2026-11-30T03:01:27.984514Z","cause":"caller","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:27.984514Z"},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"checking"}');
INSERT INTO "events" VALUES(3,'01a22a66-7730-7523-b149-b47425808b68',3,1796007688003402,'{"seq":3,"at":"2026-11-30T03:01:28.003402Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:28.001148Z"},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-3}');
INSERT INTO "events" VALUES(4,'01a22a66-7730-7523-b149-b47425808b68',4,1796007688003402,'{"seq":4,"at":"2026-11-30T03:01:28.003402Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:28.0034Z"},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"submitting","attempt":1}');
INSERT INTO "events" VALUES(5,'01a22a66-7730-7523-b149-b47425808b68',5,1796007688010013,'{"seq":5,"at":"2026-11-30T03:01:28.010013Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:28.009933Z","detail":"HTTP status 200"},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"started","handle":{"kind":"job","id":"a947a6b316494dfd9d0f9046382df147"},"upstream_status":"INIT","request_id":"req-ca08a53a-f504-4cfa-86b2-a2ac1dae708b","clock_offset_ms":-10}');
INSERT INTO "events" VALUES(6,'01a22a66-7730-7523-b149-b47425808b68',6,1796007688565246,'{"seq":6,"at":"2026-11-30T03:01:28.565246Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:28.565224Z","detail":"the upstream says \"RUNNING\""},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"observed","upstream_status":"RUNNING","notes":{"baseline":"available","confirmed":true}}');
INSERT INTO "events" VALUES(7,'01a22a66-7730-7523-b149-b47425808b68',7,1796007689137167,'{"seq":7,"at":"2026-11-30T03:01:29.137167Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.137141Z","detail":"the upstream says \"SUCCESS\""},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"observed","upstream_status":"SUCCESS"}');
INSERT INTO "events" VALUES(8,'01a22a66-7730-7523-b149-b47425808b68',8,1796007689137167,'{"seq":8,"at":"2026-11-30T03:01:29.137167Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.137141Z","detail":"the upstream says \"SUCCESS\""},"trace_id":"fa81075d25394d26a9ae7c1d5970413a","event":"succeeded"}');
INSERT INTO "events" VALUES(9,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',1,1796007689180736,'{"seq":1,"at":"2026-11-30T03:01:29.180736Z","cause":"caller","evidence":{"kind":"request","strength":"strong","observed_at":"2026-11-30T03:01:29.180736Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"accepted"}');
INSERT INTO "events" VALUES(10,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',2,1796007689180736,'{"seq":2,"at":"2026-11-30T03:01:29.180736Z","cause":"caller","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:29.180736Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"checking"}');
INSERT INTO "events" VALUES(11,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',3,1796007689208731,'{"seq":3,"at":"2026-11-30T03:01:29.208731Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:29.208726Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"submitting","attempt":1}');
INSERT INTO "events" VALUES(12,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',1,1796007689220900,'{"seq":1,"at":"2026-11-30T03:01:29.2209Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.2209Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"accepted"}');
INSERT INTO "events" VALUES(13,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',2,1796007689220900,'{"seq":2,"at":"2026-11-30T03:01:29.2209Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.2209Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"checking"}');
INSERT INTO "events" VALUES(14,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',3,1796007689231002,'{"seq":3,"at":"2026-11-30T03:01:29.231002Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:29.229495Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-230}');
INSERT INTO "events" VALUES(15,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',4,1796007689231002,'{"seq":4,"at":"2026-11-30T03:01:29.231002Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:29.231001Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"submitting","attempt":1}');
INSERT INTO "events" VALUES(16,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',5,1796007689244347,'{"seq":5,"at":"2026-11-30T03:01:29.244347Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:29.244292Z","detail":"HTTP status 200"},"trace_id":"4490044767f2418e8762ccae40498385","event":"started","handle":{"kind":"job","id":"32712b9edee84086bee4eebc93125cf1"},"upstream_status":"INIT","request_id":"req-855d1f4c-1e39-41e6-b2cd-0f55c4cd317b","clock_offset_ms":-244}');
INSERT INTO "events" VALUES(17,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',4,1796007689257824,'{"seq":4,"at":"2026-11-30T03:01:29.257824Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.257812Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"started","upstream_status":"0 of 2 disks restored"}');
INSERT INTO "events" VALUES(18,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',5,1796007689257824,'{"seq":5,"at":"2026-11-30T03:01:29.257824Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.257812Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":null,"status":"waiting","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO "events" VALUES(19,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',1,1796007689270530,'{"seq":1,"at":"2026-11-30T03:01:29.27053Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.27053Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"accepted"}');
INSERT INTO "events" VALUES(20,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',2,1796007689270530,'{"seq":2,"at":"2026-11-30T03:01:29.27053Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.27053Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"checking"}');
INSERT INTO "events" VALUES(21,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',6,1796007689277480,'{"seq":6,"at":"2026-11-30T03:01:29.27748Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.27747Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b31","status":"checking","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO "events" VALUES(22,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',3,1796007689279703,'{"seq":3,"at":"2026-11-30T03:01:29.279703Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:29.278026Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-279}');
INSERT INTO "events" VALUES(23,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',4,1796007689279703,'{"seq":4,"at":"2026-11-30T03:01:29.279703Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:29.279702Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"submitting","attempt":1}');
INSERT INTO "events" VALUES(24,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',7,1796007689293737,'{"seq":7,"at":"2026-11-30T03:01:29.293737Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.293725Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b31","status":"submitting","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO "events" VALUES(25,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',5,1796007689295460,'{"seq":5,"at":"2026-11-30T03:01:29.29546Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:29.295406Z","detail":"HTTP status 200"},"trace_id":"4490044767f2418e8762ccae40498385","event":"started","handle":{"kind":"job","id":"3f489d42cffa4d3b8e201c95892fc341"},"upstream_status":"INIT","request_id":"req-dd1f93c9-acdd-4e41-af89-964b9dbe2bf5","clock_offset_ms":-295}');
INSERT INTO "events" VALUES(26,'01a22a66-7bdc-7967-8b74-b8d2851a8b33',8,1796007689310125,'{"seq":8,"at":"2026-11-30T03:01:29.310125Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.310121Z"},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b31","status":"running","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO "events" VALUES(27,'01a22a66-7bdc-7967-8b74-b8d2851a8b32',6,1796007689776632,'{"seq":6,"at":"2026-11-30T03:01:29.776632Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.776613Z","detail":"the upstream says \"INIT\""},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"INIT","notes":{"baseline":"available","confirmed":true}}');
INSERT INTO "events" VALUES(28,'01a22a66-7bdc-7967-8b74-b8d2851a8b31',6,1796007689829603,'{"seq":6,"at":"2026-11-30T03:01:29.829603Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.829582Z","detail":"the upstream says \"INIT\""},"trace_id":"4490044767f2418e8762ccae40498385","event":"observed","upstream_status":"INIT","notes":{"baseline":"available","confirmed":true}}');
CREATE TABLE hooks (
  name     text primary key not null,
  cursor   text not null,
  disabled text
) without rowid;
CREATE TABLE keys (
  caller     text not null,
  key        text not null,
  restore_id text not null references restores (id),
  primary key (caller, key)
) without rowid;
INSERT INTO "keys" VALUES('0a1b2c3d4e5f60718293a4b5c6d7e8f9','disk-done','01a22a66-7730-7523-b149-b47425808b68');
INSERT INTO "keys" VALUES('0a1b2c3d4e5f60718293a4b5c6d7e8f9','part 01a22a66-7bdc-7967-8b74-b8d2851a8b31','01a22a66-7bdc-7967-8b74-b8d2851a8b31');
INSERT INTO "keys" VALUES('0a1b2c3d4e5f60718293a4b5c6d7e8f9','part 01a22a66-7bdc-7967-8b74-b8d2851a8b32','01a22a66-7bdc-7967-8b74-b8d2851a8b32');
INSERT INTO "keys" VALUES('0a1b2c3d4e5f60718293a4b5c6d7e8f9','server-open','01a22a66-7bdc-7967-8b74-b8d2851a8b33');
CREATE TABLE "locks" (
  restore_id text primary key not null references restores (id) deferrable initially deferred,
  names      text not null
) without rowid;
INSERT INTO "locks" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b31','["0a1b2c3d4e5f60718293a4b5c6d7e8f9/part/01a22a66-7bdc-7967-8b74-b8d2851a8b31"]');
INSERT INTO "locks" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b32','["0a1b2c3d4e5f60718293a4b5c6d7e8f9/part/01a22a66-7bdc-7967-8b74-b8d2851a8b32"]');
INSERT INTO "locks" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b33','["0a1b2c3d4e5f60718293a4b5c6d7e8f9/server/7d2f6c1e3b0a4c559a510f6c2b9e8d14","0a1b2c3d4e5f60718293a4b5c6d7e8f9/volume/c0ffee00111142228333444455556666","0a1b2c3d4e5f60718293a4b5c6d7e8f9/volume/c0ffee01111142228333444455556666"]');
CREATE TABLE meta (name text primary key not null, value integer not null)
    without rowid;
INSERT INTO "meta" VALUES('ledger',5579517320679548677);
INSERT INTO "meta" VALUES('oldest_reader',3);
INSERT INTO "meta" VALUES('opens',1);
INSERT INTO "meta" VALUES('schema_version',3);
INSERT INTO "meta" VALUES('writable',1);
CREATE TABLE recovery (
  here   integer primary key check (here = 1),
  since  integer not null,
  reason text not null
);
CREATE TABLE restores (
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
INSERT INTO "restores" VALUES('01a22a66-7730-7523-b149-b47425808b68','0a1b2c3d4e5f60718293a4b5c6d7e8f9','0a1b2c3d4e5f60718293a4b5c6d7e8f9','vbs','a947a6b316494dfd9d0f9046382df147','succeeded','vbs-v2/e99ec6941fff9660327902903c44f910eab58017364ee12dbcb5f4ad7c0c8332',1796007687984514,1796007689137167,'{"id":"01a22a66-7730-7523-b149-b47425808b68","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03"},"target":{"type":"volume","volume_id":"c0ffee02-1111-4222-8333-444455556666"}},"fingerprint":"vbs-v2/e99ec6941fff9660327902903c44f910eab58017364ee12dbcb5f4ad7c0c8332","key":"disk-done","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:27.984514Z","trace_id":"fa81075d25394d26a9ae7c1d5970413a","span_id":"5379b75b086e3bde"}','{"status":"succeeded","overdue":false,"needs_operator":false,"awaiting_credential":false,"progress":100,"attempts":1,"handle":{"kind":"job","id":"a947a6b316494dfd9d0f9046382df147"},"upstream_status":"SUCCESS","request_id":"req-ca08a53a-f504-4cfa-86b2-a2ac1dae708b","clock_offset_ms":-10,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.137141Z","detail":"the upstream says \"SUCCESS\""},"submitted_at":"2026-11-30T03:01:28.003402Z","answered_at":"2026-11-30T03:01:28.010013Z","updated_at":"2026-11-30T03:01:29.137167Z","finished_at":"2026-11-30T03:01:29.137167Z","seq":8}');
INSERT INTO "restores" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b33','0a1b2c3d4e5f60718293a4b5c6d7e8f9','0a1b2c3d4e5f60718293a4b5c6d7e8f9','vbs',NULL,'running','vbs-v2/9bfc117bb16abca9180cfdc4eac4bf2901c6fce7b3acccf955ccb0c77da34dea',1796007689180736,NULL,'{"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b33","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"0f9e8d7c-6b5a-4948-8372-615049382716"},"target":{"type":"server","server_id":"7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14","power_on":true,"volumes":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}},"fingerprint":"vbs-v2/9bfc117bb16abca9180cfdc4eac4bf2901c6fce7b3acccf955ccb0c77da34dea","key":"server-open","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"fan_out":true,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:29.180736Z","trace_id":"4490044767f2418e8762ccae40498385","span_id":"c94ad1c187764ec2"}','{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"progress":0,"attempts":1,"upstream_status":"0 of 2 disks restored","notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b31","status":"running","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:29.310121Z"},"submitted_at":"2026-11-30T03:01:29.208731Z","answered_at":"2026-11-30T03:01:29.257824Z","updated_at":"2026-11-30T03:01:29.310125Z","seq":8}');
INSERT INTO "restores" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b32','0a1b2c3d4e5f60718293a4b5c6d7e8f9','0a1b2c3d4e5f60718293a4b5c6d7e8f9','vbs','32712b9edee84086bee4eebc93125cf1','running','01a22a66-7bdc-7967-8b74-b8d2851a8b33/f6a31318f63ce809f61997a8c7c38bd3670cad5c0f40355b8ae19e2e04bf9b59',1796007689220556,NULL,'{"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b32","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01"},"target":{"type":"volume","volume_id":"c0ffee00-1111-4222-8333-444455556666"}},"fingerprint":"01a22a66-7bdc-7967-8b74-b8d2851a8b33/f6a31318f63ce809f61997a8c7c38bd3670cad5c0f40355b8ae19e2e04bf9b59","key":"\u0001part 01a22a66-7bdc-7967-8b74-b8d2851a8b32","part_of":"01a22a66-7bdc-7967-8b74-b8d2851a8b33","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:29.220556Z","trace_id":"4490044767f2418e8762ccae40498385","span_id":"c94ad1c187764ec2"}','{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"attempts":1,"handle":{"kind":"job","id":"32712b9edee84086bee4eebc93125cf1"},"upstream_status":"INIT","request_id":"req-855d1f4c-1e39-41e6-b2cd-0f55c4cd317b","clock_offset_ms":-244,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.776613Z","detail":"the upstream says \"INIT\""},"submitted_at":"2026-11-30T03:01:29.231002Z","answered_at":"2026-11-30T03:01:29.244347Z","updated_at":"2026-11-30T03:01:29.776632Z","seq":6}');
INSERT INTO "restores" VALUES('01a22a66-7bdc-7967-8b74-b8d2851a8b31','0a1b2c3d4e5f60718293a4b5c6d7e8f9','0a1b2c3d4e5f60718293a4b5c6d7e8f9','vbs','3f489d42cffa4d3b8e201c95892fc341','running','01a22a66-7bdc-7967-8b74-b8d2851a8b33/79afb37e134c176ecb3999355648527a59ebcd7f6a437e72a40e28875675102a',1796007689270265,NULL,'{"id":"01a22a66-7bdc-7967-8b74-b8d2851a8b31","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02"},"target":{"type":"volume","volume_id":"c0ffee01-1111-4222-8333-444455556666"}},"fingerprint":"01a22a66-7bdc-7967-8b74-b8d2851a8b33/79afb37e134c176ecb3999355648527a59ebcd7f6a437e72a40e28875675102a","key":"\u0001part 01a22a66-7bdc-7967-8b74-b8d2851a8b31","part_of":"01a22a66-7bdc-7967-8b74-b8d2851a8b33","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:29.270265Z","trace_id":"4490044767f2418e8762ccae40498385","span_id":"c94ad1c187764ec2"}','{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"attempts":1,"handle":{"kind":"job","id":"3f489d42cffa4d3b8e201c95892fc341"},"upstream_status":"INIT","request_id":"req-dd1f93c9-acdd-4e41-af89-964b9dbe2bf5","clock_offset_ms":-295,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:29.829582Z","detail":"the upstream says \"INIT\""},"submitted_at":"2026-11-30T03:01:29.279703Z","answered_at":"2026-11-30T03:01:29.29546Z","updated_at":"2026-11-30T03:01:29.829603Z","seq":6}');
CREATE TABLE targets (
  target     text not null,
  restore_id text not null,
  primary key (target, restore_id)
) without rowid;
INSERT INTO "targets" VALUES('c0ffee02111142228333444455556666','01a22a66-7730-7523-b149-b47425808b68');
CREATE INDEX restores_project on restores (project_id, id);
CREATE INDEX restores_caller on restores (caller, id);
CREATE INDEX restores_handle on restores (upstream, handle_id) where handle_id is not null;
CREATE TRIGGER events_are_not_changed before update on events
begin
  select raise(abort, 'events are only ever appended');
end;
CREATE TRIGGER events_are_not_deleted before delete on events
when exists (select 1 from restores where id = old.restore_id)
begin
  select raise(abort, 'events are only ever appended');
end;
CREATE TRIGGER the_unfinished_are_not_deleted before delete on restores
when old.finished_at is null
begin
  select raise(abort, 'what is unfinished is never forgotten');
end;
CREATE INDEX restores_finished on restores (finished_at) where finished_at is not null;
CREATE INDEX keys_restore on keys (restore_id);
CREATE INDEX deliveries_due on deliveries (hook, due_at) where not dead;
CREATE INDEX deliveries_dead on deliveries (hook) where dead;
CREATE INDEX restores_equal on restores (caller, fingerprint, finished_at) where finished_at is not null;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',28);
COMMIT;
