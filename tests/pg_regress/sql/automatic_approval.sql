-- Functions of the rules: one that may approve in the place of people, one that may refuse a request.

CREATE SCHEMA app;
CREATE ROLE app_admin LOGIN;
GRANT USAGE, CREATE ON SCHEMA app TO app_admin;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT EXECUTE ON FUNCTION jit.create_scope(text, jsonb), jit.alter_scope(text, jsonb) TO app_admin;
\c - app_admin
CREATE FUNCTION app.short(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT r.duration <= interval '1 hour' AND r.login <> 'carol' $$;
SELECT jit.create_scope('s', '{"key_type": "int", "auto_approve": "app.short", "denial_pause": "0", "approvers": {"support_lead": 1}}');
SELECT auto_approve - 'hash' - 'owner_id' AS auto_approve FROM jit.scopes; \echo :SQLSTATE
\c - postgres
SELECT auto_approve - 'hash' - 'owner_id' AS auto_approve FROM jit.scopes;

\c - alice
SELECT jit_request('s', 'refund', key => '1', duration => '1 hour') AS id \gset
SELECT jit_active('s', 1);
SELECT state, decided_by FROM jit.my_requests WHERE id = :id;
\c - postgres
SELECT kind, login, details - 'starts_at' - 'ends_at' AS details FROM jit.events WHERE request_id = :id ORDER BY id;
SELECT approved_by::regrole[] FROM jit.grants WHERE id = :id;
-- No: people are asked.
\c - alice
SELECT jit_request('s', 'refund', key => '2', duration => '2 hours') AS id \gset
SELECT jit_active('s', 2);
\c - bob
SELECT id = :id FROM jit.pending;
SELECT jit_approve(:id);
\c - carol
SELECT jit_request('s', 'refund', key => '2', duration => '1 minute') > 0 AS asked;
SELECT jit_active('s', 2);
-- An extension as well.
\c - postgres
SELECT jit.alter_scope('s', '{"max_total": "1 day"}');
\c - alice
SELECT jit_extend(id, '30 minutes', 'longer') > 0 AS asked FROM jit.my_grants WHERE key = '1';
SELECT ends_at - starts_at AS lasts FROM jit.my_grants WHERE key = '1';

-- It is not what it was: somebody else's body, options or owner. Each time a human is asked.
\c - app_admin
CREATE OR REPLACE FUNCTION app.short(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
\c - carol
SELECT jit_request('s', 'refund', key => '10') > 0 AS asked;
SELECT jit_active('s', 10);
\c - app_admin
CREATE OR REPLACE FUNCTION app.short(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT r.duration <= interval '1 hour' AND r.login <> 'carol' $$;
ALTER FUNCTION app.short SET search_path = app;
\c - alice
SELECT jit_request('s', 'refund', key => '11') > 0 AS asked;
SELECT jit_active('s', 11);
\c - app_admin
ALTER FUNCTION app.short RESET search_path;
\c - postgres
ALTER FUNCTION app.short OWNER TO frank;
\c - alice
SELECT jit_request('s', 'refund', key => '12') > 0 AS asked;
SELECT jit_active('s', 12);
\c - postgres
ALTER FUNCTION app.short OWNER TO app_admin;
\c - alice
SELECT jit_request('s', 'refund', key => '13') > 0 AS asked;
SELECT jit_active('s', 13);
\c - postgres
ALTER FUNCTION app.short RENAME TO long;
\c - alice
SELECT jit_request('s', 'refund', key => '14') > 0 AS asked;
SELECT jit_active('s', 14);
\c - postgres
ALTER FUNCTION app.long RENAME TO short;
SELECT request_id - (SELECT min(request_id) FROM jit.events WHERE kind = 'left to people') AS request, details
  FROM jit.events WHERE kind = 'left to people' ORDER BY id;

-- NULL, and an error: what it has written in between is gone.
CREATE TABLE app.notes (note text);
GRANT ALL ON app.notes TO app_admin;
\c - app_admin
CREATE FUNCTION app.odd(r jit.requests) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.notes VALUES (r.key || ' ' || current_user || ' ' || session_user);
    IF r.key = '20' THEN RETURN NULL; END IF;
    IF r.key = '21' THEN RAISE EXCEPTION 'out of order'; END IF;
    IF r.key = '22' THEN RETURN length(current_setting('search_path')) > 100; END IF;
    RETURN true;
END $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.odd"}');
\c - alice
SET search_path = app, public;
SELECT jit_request('s', 'refund', key => k::text) > 0 AS asked FROM generate_series(20, 23) k;
SELECT k FROM generate_series(20, 23) k WHERE jit_active('s', k);
SELECT current_user, current_setting('search_path');
\c - postgres
TABLE app.notes;
SELECT details FROM jit.events WHERE kind = 'left to people' AND details->>'automatic' = 'app.odd' ORDER BY id;

-- The owner of the function is not served by it; nor can they be by way of a group.
GRANT oncall TO alice, app_admin;
\c - alice
SELECT jit_request('s', 'tonight', key => '30', grantee => 'oncall') > 0 AS asked;
SELECT jit_active('s', 30);
\c - postgres
REVOKE oncall FROM app_admin;
\c - alice
SELECT jit_request('s', 'tonight', key => '31', grantee => 'oncall') > 0 AS asked;
SELECT jit_active('s', 31);
\c - postgres
GRANT oncall TO app_admin;
\c - app_admin
SELECT jit_active('s', 31);
\c - postgres
REVOKE oncall FROM app_admin, alice;
SELECT details FROM jit.events WHERE kind = 'left to people' ORDER BY id DESC LIMIT 1;

-- It cannot be made to decide for anybody, nor to become us.
\c - app_admin
CREATE FUNCTION app.greedy(r jit.requests) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.jit_approve(r.id);
    RETURN true;
END $$;
CREATE FUNCTION app.becomes(r jit.requests) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RESET ROLE;
    RETURN true;
END $$;
CREATE FUNCTION app.reads(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT count(*) >= 0 FROM jit.requests $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.greedy"}');
\c - alice
SELECT jit_request('s', 'refund', key => '40') > 0 AS asked;
\c - app_admin
SELECT jit.alter_scope('s', '{"auto_approve": "app.becomes"}');
\c - alice
SELECT jit_request('s', 'refund', key => '41') > 0 AS asked;
\c - app_admin
SELECT jit.alter_scope('s', '{"auto_approve": "app.reads"}');
\c - alice
SELECT jit_request('s', 'refund', key => '42') > 0 AS asked;
SELECT k FROM generate_series(40, 42) k WHERE jit_active('s', k);
\c - postgres
SELECT details FROM jit.events WHERE kind = 'left to people' ORDER BY id DESC LIMIT 3;

-- To ask is to decide where a function approves: what others have written does not get anybody a grant.
\c - app_admin
CREATE FUNCTION app.always(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.always"}');
\c - postgres
GRANT CREATE ON SCHEMA public TO carol;
\c - carol
CREATE VIEW bait AS SELECT public.jit_request('s', 'refund', key => '43') > 0 AS asked;
CREATE VIEW longer AS SELECT public.jit_extend(id, '5 minutes', 'longer') > 0 AS asked FROM jit.my_grants WHERE key = '45';
CREATE FUNCTION asks() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN jit_request('s', 'refund', key => '44') > 0; END $$;
GRANT SELECT ON bait, longer TO PUBLIC;
\c - alice
SELECT * FROM bait;
SELECT asks();
SELECT jit_request('s', 'refund', key => '45', duration => '10 minutes') > 0 AS asked;
SELECT * FROM longer;
SELECT k FROM generate_series(43, 45) k WHERE jit_active('s', k);
SELECT ends_at - starts_at AS lasts FROM jit.my_grants WHERE key = '45';
\c - postgres
SELECT details FROM jit.events WHERE kind = 'left to people' ORDER BY id DESC LIMIT 3;
-- Where people wrap it, a superuser can allow that.
ALTER ROLE alice SET jit_rls.allow_indirect_decisions = on;
\c - alice
SELECT jit_cancel(id) FROM jit.my_requests WHERE key IN ('43', '44') AND state = 'pending' ORDER BY id;
SELECT * FROM bait;
SELECT jit_active('s', 43);
\c - postgres
ALTER ROLE alice RESET jit_rls.allow_indirect_decisions;
DROP VIEW bait, longer;
DROP FUNCTION asks();
REVOKE CREATE ON SCHEMA public FROM carol;

-- Settings of whoever asks make no other function of it, and no other function the same.
\c - app_admin
CREATE FUNCTION app.precise(r jit.requests) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT extract(epoch FROM r.duration) <= '3600.25'::float8; END;
SELECT jit.alter_scope('s', '{"auto_approve": "app.precise"}');
\c - alice
SET quote_all_identifiers = on;
SET extra_float_digits = -14;
SET bytea_output = escape;
SELECT jit_request('s', 'refund', key => '46', duration => '1 hour') > 0 AS asked;
SELECT jit_active('s', 46);
\c - app_admin
CREATE OR REPLACE FUNCTION app.precise(r jit.requests) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT extract(epoch FROM r.duration) <= '3600.75'::float8; END;
\c - alice
SET extra_float_digits = -14;
SELECT jit_request('s', 'refund', key => '47', duration => '1 hour') > 0 AS asked;
SELECT jit_active('s', 47);
\c - app_admin
DROP FUNCTION app.always, app.precise;

-- validate: a message refuses.
\c - app_admin
CREATE FUNCTION app.ticket(r jit.requests) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF r.reason = 'explode' THEN RAISE EXCEPTION 'the ticket system does not answer'; END IF;
    RETURN CASE WHEN r.reason !~ '^T-[0-9]+' THEN 'name a ticket, as in T-123' END;
END $$;
SELECT jit.alter_scope('s', '{"auto_approve": null, "validate": "app.ticket"}');
\c - alice
SELECT jit_request('s', 'refund', key => '50'); \echo :SQLSTATE
SELECT jit_request('s', 'explode', key => '50'); \echo :SQLSTATE
SELECT jit_request('s', 'T-981', key => '50') > 0 AS asked;
SELECT count(*) FROM jit.my_requests WHERE key = '50';
\c - app_admin
CREATE OR REPLACE FUNCTION app.ticket(r jit.requests) RETURNS text LANGUAGE sql AS $$ SELECT NULL $$;
\c - alice
SELECT jit_request('s', 'whatever', key => '51'); \echo :SQLSTATE
\c - app_admin
SELECT jit.alter_scope('s', '{"validate": "app.ticket"}');
\c - alice
SELECT jit_request('s', 'whatever', key => '51') > 0 AS asked;
-- Other options do not pin it again.
\c - app_admin
CREATE OR REPLACE FUNCTION app.ticket(r jit.requests) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
SELECT jit.alter_scope('s', '{"description": "same rules"}');
\c - alice
SELECT jit_request('s', 'whatever', key => '52'); \echo :SQLSTATE

-- A cancel that the asker swallows takes the request back as well.
\c - app_admin
CREATE FUNCTION app.slow(r jit.requests) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN 'no'; END $$;
CREATE FUNCTION app.yes(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.yes", "validate": "app.slow"}');
\c - alice
BEGIN;
SET LOCAL statement_timeout = '200ms';
DO $$ BEGIN PERFORM jit_request('s', 'whatever', key => '60'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'swallowed'; END $$;
COMMIT;
DO $$ BEGIN SET LOCAL statement_timeout = '200ms'; PERFORM jit_request('s', 'whatever', key => '60'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'swallowed'; END $$;
SET statement_timeout = '200ms';
DO $$ BEGIN PERFORM jit_request('s', 'whatever', key => '60'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'swallowed'; END $$;
RESET statement_timeout;
BEGIN;
COMMIT;
SELECT count(*) FROM jit.my_requests WHERE key = '60';
SELECT jit_active('s', 60);
-- Neither the asker's temporary objects nor the asker's past decide.
\c - app_admin
SELECT jit.alter_scope('s', '{"validate": null}');
\c - alice
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT jit_request('s', 'whatever', key => '61') > 0 AS asked;
COMMIT;
SELECT jit_active('s', 61);
SELECT jit_request('s', 'whatever', key => '62') > 0 AS asked;
SELECT jit_active('s', 62);
\c - postgres
CREATE FUNCTION temporary() RETURNS void LANGUAGE sql AS 'CREATE TEMP TABLE on_call AS SELECT 1 AS x';
\c - alice
SELECT temporary();
SELECT jit_request('s', 'whatever', key => '63') > 0 AS asked;
SELECT jit_active('s', 63);
\c - postgres
SELECT details FROM jit.events WHERE kind = 'left to people' ORDER BY id DESC LIMIT 2;
-- A function that checks requests is not asked there either: then they are refused, extensions as well.
\c - app_admin
SELECT jit.alter_scope('s', '{"validate": "app.ticket"}');
\c - alice
SELECT id AS granted FROM jit.my_grants WHERE key = '62' \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT jit_request('s', 'whatever', key => '67'); \echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT jit_extend(:granted, '30 minutes', 'longer'); \echo :SQLSTATE
ROLLBACK;
SELECT jit_request('s', 'whatever', key => '67') > 0 AS asked;
SELECT temporary();
SELECT jit_request('s', 'whatever', key => '68'); \echo :SQLSTATE
SELECT jit_extend(:granted, '30 minutes', 'longer'); \echo :SQLSTATE
SELECT count(*) FROM jit.my_requests WHERE key = '68' OR extends = :granted;
-- A new session is as good as any.
\c - alice
SELECT jit_extend(:granted, '30 minutes', 'longer') > 0 AS asked;
\c - postgres
DROP FUNCTION temporary();
\c - app_admin
SELECT jit.alter_scope('s', '{"validate": null}');
CREATE FUNCTION app.path(r jit.requests) RETURNS boolean LANGUAGE sql SET search_path = app AS $$ SELECT true $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.path"}'); \echo :SQLSTATE
ALTER FUNCTION app.path SET search_path = app, pg_temp;
SELECT jit.alter_scope('s', '{"auto_approve": "app.path"}');
-- What it sets is gone.
CREATE FUNCTION app.sets(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT set_config('row_security', 'off', false) = 'off' $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.sets"}');
\c - alice
SELECT jit_request('s', 'whatever', key => '64') > 0 AS asked;
SELECT jit_active('s', 64), current_setting('row_security');
-- Whoever can become its owner could have written it.
\c - postgres
GRANT app_admin TO carol;
\c - carol
SELECT jit_request('s', 'whatever', key => '65') > 0 AS asked;
SELECT jit_active('s', 65);
\c - postgres
GRANT oncall TO alice, carol;
REVOKE app_admin FROM carol;
CREATE ROLE auto_member LOGIN IN ROLE app_admin;
\c - alice
SELECT jit_request('s', 'whatever', key => '66', grantee => 'oncall') > 0 AS asked;
\c - postgres
GRANT oncall TO auto_member;
\c - auto_member
SELECT jit_active('s', 66);
\c - carol
SELECT jit_active('s', 66);
\c - postgres
REVOKE oncall FROM alice, carol;
DROP ROLE auto_member;

-- Bad input.
\c - app_admin
CREATE FUNCTION app.wrong_result(r jit.requests) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION app.many(r jit.requests) RETURNS SETOF boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION app.wrong_argument(bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
SELECT jit.alter_scope('s', '{"auto_approve": "app.nowhere"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": "short"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": "app.short(jit.requests)"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": "app.wrong_result"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": "app.many"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": "app.wrong_argument"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"validate": "app.short"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": ""}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"auto_approve": 1}'); \echo :SQLSTATE
-- Nobody has somebody else's function run as that other.
\c - postgres
CREATE FUNCTION app.superusers(r jit.requests) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
\c - app_admin
SELECT jit.alter_scope('s', '{"auto_approve": "app.superusers"}'); \echo :SQLSTATE
\c - postgres
DROP SCHEMA app CASCADE;
DROP OWNED BY app_admin;
DROP ROLE app_admin;
