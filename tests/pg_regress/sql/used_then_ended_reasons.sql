-- What somebody is told whose transaction has used a grant that has ended: how it ended, and how to ask again.

SELECT jit.create_scope('s', '{"key_type": "text", "allow_all_rows": true, "approvers": {"support_lead": 1}, "on_end": "none"}');
SELECT jit.create_scope('w', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
SELECT jit.create_scope('x', '{"key_type": "int", "approvers": {"support_lead": 1}, "on_end": "none"}');
GRANT EXECUTE ON FUNCTION jit.alter_scope(text, jsonb), jit.drop_scope(text) TO erin;
GRANT USAGE ON SCHEMA jit TO erin;
CREATE FUNCTION wait_until_recorded(request bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM jit_private.endings WHERE grant_id = request) LOOP PERFORM pg_sleep(0.01); END LOOP;
    RETURN 'on record';
END $$;
\setenv PGDATABASE :DBNAME
-- All there is in the error, without the time, from a block that runs nothing after it.
\set why 'DO $$ DECLARE d text; h text; BEGIN PERFORM 1; RAISE NOTICE \'not refused\'; EXCEPTION WHEN query_canceled THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT; RAISE NOTICE E\'% %\\n%\\n%\', SQLSTATE, SQLERRM, regexp_replace(d, \' at \\d\\S*\', \' at some time.\'), h; END $$;'

\c - alice
\pset tuples_only on
-- Revoked by an approver, by an admin, released in another session.
SELECT jit_request('s', 'test', key => 'one');
\! psql -X -q -At -U bob -c "SELECT jit_approve(1)"
BEGIN;
SELECT jit_active('s', 'one');
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(1, 'why should not be told')"
:why
ROLLBACK;
SELECT jit_request('s', 'test', key => 'two');
\! psql -X -q -At -U bob -c "SELECT jit_approve(2)"
BEGIN;
SELECT jit_active('s', 'two');
\! psql -X -q -At -U erin -c "SELECT FROM jit_revoke(2, 'done')"
:why
ROLLBACK;
SELECT jit_request('w', 'test');
\! psql -X -q -At -U bob -c "SELECT jit_approve(3)"
BEGIN;
SELECT jit_active('w');
\! psql -X -q -At -U alice -c "SELECT FROM jit_release(3)"
:why
ROLLBACK;

-- A key with quotes, backslashes, in other letters; one that is long.
SELECT jit_request('s', 'test', key => E'O''Brien\\ "\u00e9"');
\! psql -X -q -At -U bob -c "SELECT jit_approve(4)"
BEGIN;
SELECT jit_active('s', E'O''Brien\\ "\u00e9"');
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(4, 'done')"
:why
ROLLBACK;
-- As the HINT says.
SELECT jit_request('s', 'why', key => 'O''Brien\ "é"');
SELECT key FROM jit.my_requests WHERE id = 5;
SELECT jit_cancel(5);
-- All rows of a scope with keys.
SELECT jit_request('s', 'test', all_rows => true);
\! psql -X -q -At -U bob -c "SELECT jit_approve(6)"
BEGIN;
SELECT jit_active('s', 'anything');
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(6, 'done')"
:why
ROLLBACK;

-- Expired, before and after that has been put on record.
SELECT jit_request('x', 'test', key => '7', duration => '3 seconds');
\! psql -X -q -At -U bob -c "SELECT jit_approve(7)"
SELECT ends_at FROM jit.my_grants WHERE id = 7 \gset
BEGIN;
SELECT jit_active('x', 7);
SELECT pg_sleep_until(:'ends_at'::timestamptz + '10 ms');
:why
\! psql -X -q -At -U postgres -c "SELECT wait_until_recorded(7)"
:why
ROLLBACK;

-- The scope disabled, dropped.
SELECT jit_request('x', 'test', key => '8');
\! psql -X -q -At -U bob -c "SELECT jit_approve(8)"
BEGIN;
SELECT jit_active('x', 8);
\! psql -X -q -At -U erin -c "SELECT FROM jit.alter_scope('x', '{\"enabled\": false}')"
:why
ROLLBACK;
\! psql -X -q -At -U erin -c "SELECT FROM jit.alter_scope('x', '{\"enabled\": true}')"
SELECT jit_request('x', 'test', key => '9');
\! psql -X -q -At -U bob -c "SELECT jit_approve(9)"
BEGIN;
SELECT jit_active('x', 9);
\! psql -X -q -At -U erin -c "SELECT FROM jit.drop_scope('x')"
:why
ROLLBACK;

-- The membership lost: the grant lives on, for others.
SELECT jit_request('w', 'test', grantee => 'support');
\! psql -X -q -At -U bob -c "SELECT jit_approve(10)"
BEGIN;
SELECT jit_active('w');
\! psql -X -q -At -U postgres -c "REVOKE support FROM alice"
:why
ROLLBACK;
\! psql -X -q -At -U carol -c "SELECT jit_active('w')"
\! psql -X -q -At -U postgres -c "GRANT support TO alice"
-- It was lost and is back by the time that somebody asks.
BEGIN;
SELECT jit_active('w');
\! psql -X -q -At -U postgres -c "REVOKE support FROM alice"
\! psql -X -q -At -U postgres -c "GRANT support TO alice"
:why
ROLLBACK;
-- Used in another role, which the session has left since.
BEGIN;
SET LOCAL ROLE support;
SELECT jit_active('w');
RESET ROLE;
:why
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(10, 'done')"
:why
ROLLBACK;

-- Two of them: the first is named. Under an old snapshot, and in a read-only transaction, it is known all the same.
SELECT jit_request('s', 'test', key => 'two'), jit_request('s', 'test', key => 'one');
\! psql -X -q -At -U bob -c "SELECT jit_approve(11), jit_approve(12)"
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT jit_active('s', 'one'), jit_active('s', 'two');
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(12, 'done')"
:why
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(11, 'done')"
:why
ROLLBACK;
-- As an error it looks so.
SELECT jit_request('s', 'test', key => 'one');
\! psql -X -q -At -U bob -c "SELECT jit_approve(13)"
BEGIN;
SELECT jit_active('s', 'one');
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(13, 'done')"
\set VERBOSITY sqlstate
SELECT 1;
ROLLBACK;
