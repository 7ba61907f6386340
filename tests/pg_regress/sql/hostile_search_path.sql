-- What the caller has named, shadowed or set changes nothing: right caller, right tables, same answers.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}, "reason_pattern": "^[a-z]"}');
SELECT jit.create_scope('u', '{"key_type": "uuid", "approvers": {"support_lead": 1}}');
CREATE TABLE t (k int);
INSERT INTO t SELECT generate_series(1, 3);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;

-- A schema of somebody's with a look-alike of whatever our code might name without its schema.
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.hijacked() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'hijacked, as %', current_user; END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN '1999-01-01'; END $$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN '1999-01-01'; END $$;
CREATE FUNCTION evil.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN 'bob'; END $$;
CREATE FUNCTION evil.has_function_privilege(oid, text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.has_table_privilege(oid, text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.jsonb_build_object(VARIADIC "any") RETURNS jsonb LANGUAGE internal AS 'jsonb_build_object';
CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.eq(integer, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.eq(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN true; END $$;
CREATE FUNCTION evil.mul(float8, interval) RETURNS interval LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hijacked(); RETURN '99 years'; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.eq);
CREATE OPERATOR evil.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE OPERATOR evil.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.eq);
CREATE OPERATOR evil.* (LEFTARG = float8, RIGHTARG = interval, FUNCTION = evil.mul);
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN evil.interval AS pg_catalog.interval CHECK (false);
CREATE TABLE evil.grants (LIKE jit.grants);
CREATE TABLE evil.pg_roles (oid oid, rolname name, rolsuper boolean, rolbypassrls boolean);
GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC;
-- It does hijack, where a statement lets it.
SET search_path = evil, pg_catalog, public;
SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text;
RESET search_path;

-- alice, with that schema first and the same as temporary objects.
\c - alice
CREATE TEMP TABLE grants (id bigint, scope_id int, key text, ends_at timestamptz);
CREATE TEMP TABLE scopes (id int, name text, enabled boolean);
CREATE TEMP TABLE requests (id bigint, person oid[], state text);
CREATE TEMP TABLE endings (grant_id bigint);
CREATE TEMP TABLE pg_roles AS SELECT 10::oid AS oid, 'alice'::name AS rolname, true AS rolsuper, true AS rolbypassrls;
CREATE TYPE pg_temp.regrole AS (x int);
CREATE FUNCTION pg_temp.jit_active(text, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '1999-01-01'::timestamptz $$;
SET search_path = pg_temp, evil, pg_catalog, public;
-- Everything works, and nothing was hijacked.
SELECT jit_request('s', 'test', key => '1', duration => '2 hours'::pg_catalog.interval) AS r \gset
SELECT jit_request('s', 'TEST', key => '2');
SELECT jit_request('u', 'test', key => '6B8F0C1E3F0B4A399A550D6C7B1F2E44');
SELECT id, scope, key, state, duration FROM jit.my_requests ORDER BY id;
SELECT jit_approve(:r);
\c - bob
CREATE TEMP TABLE approvers (scope_id int, role text, role_id oid, people int);
SET search_path = pg_temp, evil, pg_catalog, public;
SELECT id, key, duration FROM jit.pending ORDER BY id;
SELECT jit_approve(id) FROM jit.pending ORDER BY id;
\c - alice
SET search_path = evil, pg_catalog, public;
SELECT public.jit_active('s', 1), public.jit_active('s', 2), public.jit_keys('s', NULL::int4), public.jit_keys('u', NULL::uuid);
SELECT * FROM public.t;
SELECT id, key, state, ends_at - starts_at AS length FROM jit.my_grants ORDER BY id;
SELECT login, actor, shared_login, person, inherited_roles @> '{alice,support}' AS inherited, sees_without_grants FROM public.jit_whoami();
SELECT public.jit_release(:r);
SELECT public.jit_active('s', 1);
-- As admin.
\c - postgres
SET search_path = evil, pg_catalog, public;
SELECT jit.create_scope('made', '{"approvers": {"support_lead": 1}, "default_duration": "90 minutes"}');
SELECT jit.alter_scope('made', '{"reason_pattern": "x", "max_duration": "2 hours"}');
SELECT jit.drop_scope('made');
RESET search_path;
SELECT kind, details -> 'changes' AS changes FROM jit.events WHERE scope = 'made' ORDER BY id;

-- A policy was bound to our function when it was made. In a statement of one's own, a look-alike is found where one looks for it.
CREATE FUNCTION evil.jit_active(pg_catalog.text, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
\c - alice
SET search_path = evil, public;
SELECT jit_active('s', 1), public.jit_active('s', 1), (SELECT count(*) FROM t);
RESET search_path;

-- Settings that change how values are read and written.
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET TimeZone = 'Asia/Kathmandu';
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET transform_null_equals = on;
SET bytea_output = 'escape';
SET extra_float_digits = -15;
SET default_transaction_isolation = 'serializable';
SELECT jit_request('s', 'test', key => '3', duration => '1 2:03:04.5') AS bad;
SELECT jit_request('s', 'test', key => '3', duration => '2:03:04.5') AS r \gset
SELECT jit_request('u', 'test', key => '{6B8F0C1E-3F0B-4A39-9A55-0D6C7B1F2E45}') AS u \gset
\c - bob
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET TimeZone = 'America/St_Johns';
SELECT jit_approve(:r), jit_approve(:u);
\c - alice
SELECT jit_keys('s', NULL::int), jit_keys('u', NULL::uuid);
SELECT key, ends_at - starts_at AS length FROM jit.my_grants WHERE id = :r;
-- On record all is in one form, whatever the session's.
\c - postgres
SELECT kind, details ->> 'duration' AS duration, (details ->> 'ends_at') ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$' AS utc,
       (details ->> 'ends_at')::timestamptz = (SELECT ends_at FROM jit.grants WHERE id = :r) AS right
  FROM jit.events WHERE request_id = :r ORDER BY id;
-- Our own settings for the duration of a call do not stay.
\c - alice
SET DateStyle = 'German';
SET TimeZone = 'Asia/Kathmandu';
SET search_path = evil, public;
SELECT public.jit_release(:r);
SHOW DateStyle;
SHOW TimeZone;
SHOW search_path;
-- Not after an error either, also one that a savepoint takes back.
\set VERBOSITY terse
SELECT public.jit_release(:r);
BEGIN;
SET LOCAL TimeZone = 'UTC';
SAVEPOINT a;
SELECT public.jit_approve(:r);
ROLLBACK TO a;
SHOW TimeZone;
SHOW search_path;
SELECT current_user;
ROLLBACK;
SHOW TimeZone;
