SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.events_are_only_ever_appended() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if tg_op = 'DELETE' and not exists (select 1 from restores where id = old.restore_id) then
    return old; -- It goes with its restore.
  end if;
  raise exception 'events are only ever appended';
end $$;
CREATE FUNCTION public.the_unfinished_are_not_deleted() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'what is unfinished is never forgotten';
end $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.deliveries (
    n bigint NOT NULL,
    hook text NOT NULL COLLATE pg_catalog."C",
    restore_id text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    due_at bigint DEFAULT 0 NOT NULL,
    dead boolean DEFAULT false NOT NULL,
    why text
);
ALTER TABLE public.deliveries ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.deliveries_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.events (
    n bigint NOT NULL,
    tx bigint NOT NULL,
    restore_id text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    at bigint NOT NULL,
    event text NOT NULL
);
ALTER TABLE public.events ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.hooks (
    name text NOT NULL COLLATE pg_catalog."C",
    cursor text NOT NULL,
    disabled text
);
CREATE TABLE public.keys (
    caller text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    restore_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.locks (
    lock text NOT NULL COLLATE pg_catalog."C",
    restore_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.meta (
    name text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.recovery (
    here integer DEFAULT 1 NOT NULL,
    since bigint NOT NULL,
    reason text NOT NULL,
    CONSTRAINT recovery_here_check CHECK ((here = 1))
);
CREATE TABLE public.replicas (
    id text NOT NULL COLLATE pg_catalog."C",
    lease_until timestamp with time zone NOT NULL,
    schema_version bigint NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE public.restores (
    id text NOT NULL COLLATE pg_catalog."C",
    caller text NOT NULL COLLATE pg_catalog."C",
    project_id text NOT NULL COLLATE pg_catalog."C",
    upstream text NOT NULL COLLATE pg_catalog."C",
    handle_id text COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    fingerprint text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    finished_at bigint,
    intent text NOT NULL,
    state text NOT NULL,
    owner text COLLATE pg_catalog."C",
    epoch bigint DEFAULT 1 NOT NULL,
    next_read timestamp with time zone
);
CREATE TABLE public.targets (
    target text NOT NULL COLLATE pg_catalog."C",
    restore_id text NOT NULL COLLATE pg_catalog."C"
);
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (1, 906, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 1, 1796007690672810, '{"seq":1,"at":"2026-11-30T03:01:30.67281Z","cause":"caller","evidence":{"kind":"request","strength":"strong","observed_at":"2026-11-30T03:01:30.67281Z"},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"accepted"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (2, 906, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 2, 1796007690672810, '{"seq":2,"at":"2026-11-30T03:01:30.67281Z","cause":"caller","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:30.67281Z"},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"checking"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (3, 907, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 3, 1796007690740383, '{"seq":3,"at":"2026-11-30T03:01:30.740383Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:30.732778Z"},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-740}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (4, 907, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 4, 1796007690740383, '{"seq":4,"at":"2026-11-30T03:01:30.740383Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:30.74038Z"},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"submitting","attempt":1}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (5, 908, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 5, 1796007690761210, '{"seq":5,"at":"2026-11-30T03:01:30.76121Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:30.761115Z","detail":"HTTP status 200"},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"started","handle":{"kind":"job","id":"923a8719b2324b7184ff3667de715f87"},"upstream_status":"INIT","request_id":"req-469ca880-6578-4230-a80c-bd0f73475f43","clock_offset_ms":-761}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (6, 910, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 6, 1796007691329010, '{"seq":6,"at":"2026-11-30T03:01:31.32901Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:31.328989Z","detail":"the upstream says \"RUNNING\""},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"observed","upstream_status":"RUNNING","notes":{"baseline":"available","confirmed":true}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (7, 912, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 7, 1796007691912991, '{"seq":7,"at":"2026-11-30T03:01:31.912991Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:31.912967Z","detail":"the upstream says \"SUCCESS\""},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"observed","upstream_status":"SUCCESS"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (8, 912, '01a22a66-81b0-7e9a-9f75-468fa55d8642', 8, 1796007691912991, '{"seq":8,"at":"2026-11-30T03:01:31.912991Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:31.912967Z","detail":"the upstream says \"SUCCESS\""},"trace_id":"3c93ebea338642a19f6e1e0e63b4bada","event":"succeeded"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (9, 913, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 1, 1796007692025507, '{"seq":1,"at":"2026-11-30T03:01:32.025507Z","cause":"caller","evidence":{"kind":"request","strength":"strong","observed_at":"2026-11-30T03:01:32.025507Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"accepted"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (10, 913, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 2, 1796007692025507, '{"seq":2,"at":"2026-11-30T03:01:32.025507Z","cause":"caller","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:32.025507Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"checking"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (11, 914, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 3, 1796007692041490, '{"seq":3,"at":"2026-11-30T03:01:32.04149Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:32.041486Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"submitting","attempt":1}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (12, 915, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 1, 1796007692056473, '{"seq":1,"at":"2026-11-30T03:01:32.056473Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.056473Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"accepted"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (13, 915, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 2, 1796007692056473, '{"seq":2,"at":"2026-11-30T03:01:32.056473Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.056473Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"checking"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (14, 916, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 3, 1796007692097306, '{"seq":3,"at":"2026-11-30T03:01:32.097306Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:32.092591Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-97}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (15, 916, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 4, 1796007692097306, '{"seq":4,"at":"2026-11-30T03:01:32.097306Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:32.097304Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"submitting","attempt":1}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (16, 917, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 5, 1796007692111386, '{"seq":5,"at":"2026-11-30T03:01:32.111386Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:32.111307Z","detail":"HTTP status 200"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"started","handle":{"kind":"job","id":"6d7697ce0ac8493c96dc35a3e9a49c2b"},"upstream_status":"INIT","request_id":"req-d6a8c78a-80fc-409d-a463-5feadef3f7ed","clock_offset_ms":-111}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (17, 918, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 4, 1796007692116192, '{"seq":4,"at":"2026-11-30T03:01:32.116192Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.11618Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"started","upstream_status":"0 of 2 disks restored"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (18, 918, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 5, 1796007692116192, '{"seq":5,"at":"2026-11-30T03:01:32.116192Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.11618Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":null,"status":"waiting","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (19, 919, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 1, 1796007692120053, '{"seq":1,"at":"2026-11-30T03:01:32.120053Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.120053Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"accepted"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (20, 919, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 2, 1796007692120053, '{"seq":2,"at":"2026-11-30T03:01:32.120053Z","cause":"gateway","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.120053Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"checking"}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (21, 920, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 3, 1796007692145272, '{"seq":3,"at":"2026-11-30T03:01:32.145272Z","cause":"gateway","evidence":{"kind":"preflight","strength":"strong","observed_at":"2026-11-30T03:01:32.140029Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"checked","notes":{"baseline":"available"},"clock_offset_ms":-145}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (22, 920, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 4, 1796007692145272, '{"seq":4,"at":"2026-11-30T03:01:32.145272Z","cause":"gateway","evidence":{"kind":"gateway","strength":"strong","observed_at":"2026-11-30T03:01:32.14527Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"submitting","attempt":1}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (23, 921, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 6, 1796007692157553, '{"seq":6,"at":"2026-11-30T03:01:32.157553Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.15754Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7d","status":"checking","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (24, 922, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 5, 1796007692163577, '{"seq":5,"at":"2026-11-30T03:01:32.163577Z","cause":"upstream","evidence":{"kind":"answer","strength":"strong","observed_at":"2026-11-30T03:01:32.163522Z","detail":"HTTP status 200"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"started","handle":{"kind":"job","id":"f681be9c1eb94809becf53ead60b6c8e"},"upstream_status":"INIT","request_id":"req-5a9b3f25-fbcf-4166-a94a-afe9366fe1cf","clock_offset_ms":-163}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (25, 923, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 7, 1796007692182788, '{"seq":7,"at":"2026-11-30T03:01:32.182788Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.182775Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7d","status":"submitting","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (26, 925, '01a22a66-86f9-7708-bc93-853bf4fdfb7f', 8, 1796007692208286, '{"seq":8,"at":"2026-11-30T03:01:32.208286Z","cause":"upstream","evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.208275Z"},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"0 of 2 disks restored","progress":0,"notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7d","status":"running","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (27, 929, '01a22a66-86f9-7708-bc93-853bf4fdfb7e', 6, 1796007692669677, '{"seq":6,"at":"2026-11-30T03:01:32.669677Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:32.669653Z","detail":"the upstream says \"INIT\""},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"INIT","notes":{"baseline":"available","confirmed":true}}');
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES (28, 931, '01a22a66-86f9-7708-bc93-853bf4fdfb7d', 6, 1796007692744912, '{"seq":6,"at":"2026-11-30T03:01:32.744912Z","cause":"upstream","evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:32.744889Z","detail":"the upstream says \"INIT\""},"trace_id":"c98fd3a3b4724440817cf08e7f57eae0","event":"observed","upstream_status":"INIT","notes":{"baseline":"available","confirmed":true}}');
INSERT INTO public.keys VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'disk-done', '01a22a66-81b0-7e9a-9f75-468fa55d8642');
INSERT INTO public.keys VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'server-open', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.keys VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'part 01a22a66-86f9-7708-bc93-853bf4fdfb7e', '01a22a66-86f9-7708-bc93-853bf4fdfb7e');
INSERT INTO public.keys VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'part 01a22a66-86f9-7708-bc93-853bf4fdfb7d', '01a22a66-86f9-7708-bc93-853bf4fdfb7d');
INSERT INTO public.locks VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9/server/7d2f6c1e3b0a4c559a510f6c2b9e8d14', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.locks VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9/volume/c0ffee00111142228333444455556666', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.locks VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9/volume/c0ffee01111142228333444455556666', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.locks VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9/part/01a22a66-86f9-7708-bc93-853bf4fdfb7e', '01a22a66-86f9-7708-bc93-853bf4fdfb7e');
INSERT INTO public.locks VALUES ('0a1b2c3d4e5f60718293a4b5c6d7e8f9/part/01a22a66-86f9-7708-bc93-853bf4fdfb7d', '01a22a66-86f9-7708-bc93-853bf4fdfb7d');
INSERT INTO public.meta VALUES ('tx_offset', 0);
INSERT INTO public.meta VALUES ('schema_version', 1);
INSERT INTO public.meta VALUES ('oldest_reader', 1);
INSERT INTO public.meta VALUES ('cluster', 7713794073259617070);
INSERT INTO public.meta VALUES ('database', 16387);
INSERT INTO public.restores VALUES ('01a22a66-81b0-7e9a-9f75-468fa55d8642', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'vbs', '923a8719b2324b7184ff3667de715f87', 'succeeded', 'vbs-v2/e99ec6941fff9660327902903c44f910eab58017364ee12dbcb5f4ad7c0c8332', 1796007690672810, 1796007691912991, '{"id":"01a22a66-81b0-7e9a-9f75-468fa55d8642","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03"},"target":{"type":"volume","volume_id":"c0ffee02-1111-4222-8333-444455556666"}},"fingerprint":"vbs-v2/e99ec6941fff9660327902903c44f910eab58017364ee12dbcb5f4ad7c0c8332","key":"disk-done","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:30.67281Z","trace_id":"3c93ebea338642a19f6e1e0e63b4bada","span_id":"a998035d1fc0a660"}', '{"status":"succeeded","overdue":false,"needs_operator":false,"awaiting_credential":false,"progress":100,"attempts":1,"handle":{"kind":"job","id":"923a8719b2324b7184ff3667de715f87"},"upstream_status":"SUCCESS","request_id":"req-469ca880-6578-4230-a80c-bd0f73475f43","clock_offset_ms":-761,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:31.912967Z","detail":"the upstream says \"SUCCESS\""},"submitted_at":"2026-11-30T03:01:30.740383Z","answered_at":"2026-11-30T03:01:30.76121Z","updated_at":"2026-11-30T03:01:31.912991Z","finished_at":"2026-11-30T03:01:31.912991Z","seq":8}', '526574cc-fcfe-4c9a-8cca-6008eb70abea', 1, '2026-11-30 03:01:32.37893+00');
INSERT INTO public.restores VALUES ('01a22a66-86f9-7708-bc93-853bf4fdfb7e', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'vbs', '6d7697ce0ac8493c96dc35a3e9a49c2b', 'running', '01a22a66-86f9-7708-bc93-853bf4fdfb7f/f6a31318f63ce809f61997a8c7c38bd3670cad5c0f40355b8ae19e2e04bf9b59', 1796007692050385, NULL, '{"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01"},"target":{"type":"volume","volume_id":"c0ffee00-1111-4222-8333-444455556666"}},"fingerprint":"01a22a66-86f9-7708-bc93-853bf4fdfb7f/f6a31318f63ce809f61997a8c7c38bd3670cad5c0f40355b8ae19e2e04bf9b59","key":"\u0001part 01a22a66-86f9-7708-bc93-853bf4fdfb7e","part_of":"01a22a66-86f9-7708-bc93-853bf4fdfb7f","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:32.050385Z","trace_id":"c98fd3a3b4724440817cf08e7f57eae0","span_id":"6fe729213881a1a0"}', '{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"attempts":1,"handle":{"kind":"job","id":"6d7697ce0ac8493c96dc35a3e9a49c2b"},"upstream_status":"INIT","request_id":"req-d6a8c78a-80fc-409d-a463-5feadef3f7ed","clock_offset_ms":-111,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:32.669653Z","detail":"the upstream says \"INIT\""},"submitted_at":"2026-11-30T03:01:32.097306Z","answered_at":"2026-11-30T03:01:32.111386Z","updated_at":"2026-11-30T03:01:32.669677Z","seq":6}', '526574cc-fcfe-4c9a-8cca-6008eb70abea', 1, '2026-11-30 03:01:33.708685+00');
INSERT INTO public.restores VALUES ('01a22a66-86f9-7708-bc93-853bf4fdfb7f', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'vbs', NULL, 'running', 'vbs-v2/9bfc117bb16abca9180cfdc4eac4bf2901c6fce7b3acccf955ccb0c77da34dea', 1796007692025507, NULL, '{"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7f","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"0f9e8d7c-6b5a-4948-8372-615049382716"},"target":{"type":"server","server_id":"7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14","power_on":true,"volumes":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]}},"fingerprint":"vbs-v2/9bfc117bb16abca9180cfdc4eac4bf2901c6fce7b3acccf955ccb0c77da34dea","key":"server-open","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"fan_out":true,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:32.025507Z","trace_id":"c98fd3a3b4724440817cf08e7f57eae0","span_id":"6fe729213881a1a0"}', '{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"progress":0,"attempts":1,"upstream_status":"0 of 2 disks restored","notes":{"parts":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7e","status":"running","volume_id":"c0ffee00-1111-4222-8333-444455556666"},{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02","error":null,"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7d","status":"running","volume_id":"c0ffee01-1111-4222-8333-444455556666"}]},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"parts","strength":"strong","observed_at":"2026-11-30T03:01:32.208275Z"},"submitted_at":"2026-11-30T03:01:32.04149Z","answered_at":"2026-11-30T03:01:32.116192Z","updated_at":"2026-11-30T03:01:32.208286Z","seq":8}', '526574cc-fcfe-4c9a-8cca-6008eb70abea', 1, NULL);
INSERT INTO public.restores VALUES ('01a22a66-86f9-7708-bc93-853bf4fdfb7d', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', '0a1b2c3d4e5f60718293a4b5c6d7e8f9', 'vbs', 'f681be9c1eb94809becf53ead60b6c8e', 'running', '01a22a66-86f9-7708-bc93-853bf4fdfb7f/79afb37e134c176ecb3999355648527a59ebcd7f6a437e72a40e28875675102a', 1796007692119426, NULL, '{"id":"01a22a66-86f9-7708-bc93-853bf4fdfb7d","caller":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","request":{"project_id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","source":{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02"},"target":{"type":"volume","volume_id":"c0ffee01-1111-4222-8333-444455556666"}},"fingerprint":"01a22a66-86f9-7708-bc93-853bf4fdfb7f/79afb37e134c176ecb3999355648527a59ebcd7f6a437e72a40e28875675102a","key":"\u0001part 01a22a66-86f9-7708-bc93-853bf4fdfb7d","part_of":"01a22a66-86f9-7708-bc93-853bf4fdfb7f","route":{"upstream":"vbs","generation":"vbs-v2","reason":"routes[2] matches everything","baseline":true,"overdue_seconds":7200,"at":"http://127.0.0.1:19900/vbs"},"created_at":"2026-11-30T03:01:32.119426Z","trace_id":"c98fd3a3b4724440817cf08e7f57eae0","span_id":"6fe729213881a1a0"}', '{"status":"running","overdue":false,"needs_operator":false,"awaiting_credential":false,"attempts":1,"handle":{"kind":"job","id":"f681be9c1eb94809becf53ead60b6c8e"},"upstream_status":"INIT","request_id":"req-5a9b3f25-fbcf-4166-a94a-afe9366fe1cf","clock_offset_ms":-163,"notes":{"baseline":"available","confirmed":true},"seen_moving":true,"absent_reads":0,"evidence":{"kind":"job","strength":"strong","observed_at":"2026-11-30T03:01:32.744889Z","detail":"the upstream says \"INIT\""},"submitted_at":"2026-11-30T03:01:32.145272Z","answered_at":"2026-11-30T03:01:32.163577Z","updated_at":"2026-11-30T03:01:32.744912Z","seq":6}', '526574cc-fcfe-4c9a-8cca-6008eb70abea', 1, '2026-11-30 03:01:33.227331+00');
INSERT INTO public.targets VALUES ('c0ffee02111142228333444455556666', '01a22a66-81b0-7e9a-9f75-468fa55d8642');
INSERT INTO public.targets VALUES ('7d2f6c1e3b0a4c559a510f6c2b9e8d14', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.targets VALUES ('c0ffee00111142228333444455556666', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.targets VALUES ('c0ffee01111142228333444455556666', '01a22a66-86f9-7708-bc93-853bf4fdfb7f');
INSERT INTO public.targets VALUES ('01a22a66-86f9-7708-bc93-853bf4fdfb7e', '01a22a66-86f9-7708-bc93-853bf4fdfb7e');
INSERT INTO public.targets VALUES ('01a22a66-86f9-7708-bc93-853bf4fdfb7d', '01a22a66-86f9-7708-bc93-853bf4fdfb7d');
SELECT pg_catalog.setval('public.deliveries_n_seq', 1, false);
SELECT pg_catalog.setval('public.events_n_seq', 28, true);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_hook_restore_id_seq_key UNIQUE (hook, restore_id, seq);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (n);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (n);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_restore_id_seq_key UNIQUE (restore_id, seq);
ALTER TABLE ONLY public.hooks
    ADD CONSTRAINT hooks_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (caller, key);
ALTER TABLE ONLY public.locks
    ADD CONSTRAINT locks_pkey PRIMARY KEY (lock);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_pkey PRIMARY KEY (here);
ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT replicas_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.restores
    ADD CONSTRAINT restores_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.targets
    ADD CONSTRAINT targets_pkey PRIMARY KEY (target, restore_id);
CREATE INDEX deliveries_dead ON public.deliveries USING btree (hook) WHERE dead;
CREATE INDEX deliveries_due ON public.deliveries USING btree (hook, due_at, n) WHERE (NOT dead);
CREATE INDEX events_feed ON public.events USING btree (tx, n);
CREATE INDEX keys_restore ON public.keys USING btree (restore_id);
CREATE INDEX locks_restore ON public.locks USING btree (restore_id);
CREATE INDEX restores_caller ON public.restores USING btree (caller, id);
CREATE INDEX restores_equal ON public.restores USING btree (caller, fingerprint, finished_at);
CREATE INDEX restores_finished ON public.restores USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX restores_handle ON public.restores USING btree (upstream, handle_id) WHERE (handle_id IS NOT NULL);
CREATE INDEX restores_project ON public.restores USING btree (project_id, id);
CREATE INDEX restores_unfinished ON public.restores USING btree (id) WHERE (finished_at IS NULL);
CREATE INDEX targets_restore ON public.targets USING btree (restore_id);
CREATE TRIGGER events_are_only_ever_appended BEFORE DELETE OR UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION public.events_are_only_ever_appended();
CREATE TRIGGER the_unfinished_are_not_deleted BEFORE DELETE ON public.restores FOR EACH ROW WHEN ((old.finished_at IS NULL)) EXECUTE FUNCTION public.the_unfinished_are_not_deleted();
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_hook_fkey FOREIGN KEY (hook) REFERENCES public.hooks(name);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_restore_id_fkey FOREIGN KEY (restore_id) REFERENCES public.restores(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_restore_id_fkey FOREIGN KEY (restore_id) REFERENCES public.restores(id);
ALTER TABLE ONLY public.locks
    ADD CONSTRAINT locks_restore_id_fkey FOREIGN KEY (restore_id) REFERENCES public.restores(id);
ALTER TABLE ONLY public.targets
    ADD CONSTRAINT targets_restore_id_fkey FOREIGN KEY (restore_id) REFERENCES public.restores(id) ON DELETE CASCADE;
