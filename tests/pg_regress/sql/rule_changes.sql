-- Who has changed the rules of a scope has no part in it for as long as a request may be pending: rules that are weakened for a minute
-- serve nobody who weakened them.

CREATE ROLE mallory LOGIN IN ROLE support;
CREATE ROLE mallory_too LOGIN;
GRANT EXECUTE ON FUNCTION jit.create_scope(text, jsonb), jit.alter_scope(text, jsonb), jit.drop_scope(text) TO mallory;
SELECT jit.create_scope('s', '{"key_type": "int", "pending_ttl": "2 days", "approvers": {"support_lead": 1}}');
-- A scope of a name that there never was changes nobody's rules.
\c - mallory
SELECT jit.create_scope('mine', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit_request('mine', 'trying it out', key => '1') AS mine \gset
\c - bob
SELECT jit_approve(:mine);

\c - mallory
SELECT jit_request('s', 'before', key => '1') AS before \gset
SELECT jit.alter_scope('s', '{"pending_ttl": "1 second", "approvers": {"support": 1}}');
\set VERBOSITY terse
SELECT jit_request('s', 'refund', key => '2'); \echo :SQLSTATE
-- What she had asked for before is not approved now, by anybody.
\c - alice
\set VERBOSITY terse
SELECT id FROM jit.pending;
SELECT jit_approve(:before); \echo :SQLSTATE
-- Nor does it help to act as somebody else.
\c - postgres
GRANT mallory_too TO mallory;
\c - mallory
\set VERBOSITY terse
SET ROLE mallory_too;
SELECT jit_request('s', 'refund', key => '2'); \echo :SQLSTATE
RESET ROLE;
-- She does not approve.
\c - carol
SELECT jit_request('s', 'refund', key => '3') AS id \gset
\c - mallory
\set VERBOSITY terse
SELECT id FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
-- But says no, and revokes.
SELECT jit_deny(:id, 'no');

-- Set back and renamed, it is still she. As long as the longer of the two times to live.
SELECT jit.alter_scope('s', '{"pending_ttl": "2 days", "approvers": {"support_lead": 1}}');
\c - postgres
ALTER ROLE mallory RENAME TO mallory_renamed;
\c - mallory_renamed
\set VERBOSITY terse
SELECT jit_request('s', 'refund', key => '2'); \echo :SQLSTATE
\c - postgres
ALTER ROLE mallory_renamed RENAME TO mallory;
SELECT scope, until - at AS until, pg_get_userbyid(person[1]) AS who FROM jit_private.rule_changes ORDER BY at;

-- A grant to a group that she belongs to serves the others.
GRANT oncall TO mallory, carol;
CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
\c - carol
SELECT jit_request('s', 'tonight', key => '4', grantee => 'oncall') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - carol
SELECT k FROM t;
\c - mallory
SELECT k FROM t;

-- To drop a scope and make it anew is a change of its rules, by whoever does it.
SELECT jit.drop_scope('mine');
SELECT jit.create_scope('mine', '{"key_type": "int", "approvers": {"support": 1}}');
\set VERBOSITY terse
SELECT jit_request('mine', 'again', key => '2'); \echo :SQLSTATE
\c - postgres
SELECT jit.create_scope('gone', '{"key_type": "int"}');
SELECT jit.drop_scope('gone');
\c - mallory
SELECT jit.create_scope('gone', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\set VERBOSITY terse
SELECT jit_request('gone', 'again', key => '2'); \echo :SQLSTATE

-- To describe a scope, or to stop it, is none.
\c - postgres
SELECT jit.create_scope('calm', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - mallory
SELECT jit.alter_scope('calm', '{"description": "of no account"}');
SELECT jit.alter_scope('calm', '{"enabled": false}');
\c - postgres
SELECT jit.alter_scope('calm', '{"enabled": true}');
\c - mallory
SELECT jit_request('calm', 'refund', key => '2') > 0 AS asked;

-- A yes from before counts no more.
\c - postgres
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}}');
GRANT support_lead TO mallory;
\c - alice
SELECT jit_request('two', 'refund', key => '1') AS id \gset
\c - mallory
SELECT jit_approve(:id);
SELECT jit.alter_scope('two', '{"max_duration": "2 hours"}');
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);

-- She gets no more time for what she had before, takes no access in an emergency, and finds nobody's justified. The others do.
\c - postgres
SELECT jit.create_scope('glass', '{"key_type": "int", "break_glass": ["support"], "approvers": {"support_lead": 1}}');
\c - mallory
SELECT jit_request('glass', 'refund', key => '1', duration => '1 hour') AS hers \gset
\c - alice
SELECT jit_request('glass', 'refund', key => '2', duration => '1 hour') AS alices \gset
\c - bob
SELECT jit_approve(:hers), jit_approve(:alices);
\c - mallory
SELECT jit.alter_scope('glass', '{"max_pending": 10}');
-- With the hint, and without the time that is in the detail.
DO $$
DECLARE hint text;
BEGIN
    PERFORM jit_extend(id, '1 hour', 'takes longer') FROM jit.my_grants WHERE scope = 'glass' AND key = '1';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '% %. %', SQLSTATE, SQLERRM, hint;
END $$;
\set VERBOSITY terse
SELECT jit_break_glass('glass', 'patient is bleeding', '3'); \echo :SQLSTATE
\c - alice
\set VERBOSITY terse
SELECT jit_extend(:alices, '1 hour', 'takes longer') > 0 AS asked;
SELECT jit_break_glass('glass', 'patient is bleeding', '3') AS broken \gset
\c - mallory
\set VERBOSITY terse
SELECT jit_review(:broken, true, 'fine'); \echo :SQLSTATE
SELECT jit_review(:broken, false, 'that was none');

-- What is changed in a transaction counts in it, and is committed soon or not at all.
\c - postgres
SELECT jit.create_scope('open', '{"key_type": "int", "pending_ttl": "1 second", "approvers": {"support_lead": 1}}');
\c - mallory
\set VERBOSITY terse
BEGIN;
SELECT jit.alter_scope('open', '{"max_duration": "2 hours"}');
SELECT jit_request('open', 'at once', key => '1'); \echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT jit.alter_scope('open', '{"max_duration": "2 hours"}');
PREPARE TRANSACTION 'rules'; \echo :SQLSTATE
-- A yes as well: as long as it is open, nobody can say no, and who changes the rules is not seen by it.
\c - alice
SELECT jit_request('open', 'at once', key => '2') AS id \gset
\c - bob
\set VERBOSITY terse
BEGIN;
SELECT jit_approve(:id);
PREPARE TRANSACTION 'yes'; \echo :SQLSTATE
-- And access that is taken.
\c - carol
\set VERBOSITY terse
BEGIN;
SELECT jit_break_glass('glass', 'patient is bleeding', '9') > 0 AS broken;
PREPARE TRANSACTION 'broken'; \echo :SQLSTATE
\c - bob
\set VERBOSITY terse
SELECT jit_deny(:id, 'no');
-- A weaker on_end is for what is live at once: not by somebody whom it would spare.
\c - postgres
SELECT jit.create_scope('ends', '{"key_type": "int", "on_end": "terminate", "approvers": {"support_lead": 1}}');
\c - mallory
SELECT jit_request('ends', 'refund', key => '1') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - mallory
SELECT jit.alter_scope('ends', '{"on_end": "none"}'); \echo :SQLSTATE
\set VERBOSITY terse
SELECT jit.alter_scope('ends', '{"on_end": null}'); \echo :SQLSTATE
\c - postgres
SELECT on_end FROM jit.scopes WHERE name = 'ends';
SELECT jit.alter_scope('ends', '{"on_end": "cancel"}');
\c - mallory
\set VERBOSITY terse
SELECT jit.alter_scope('ends', '{"on_end": "terminate"}');
-- By way of a group, too.
SELECT jit_release(:id);
SELECT jit.alter_scope('ends', '{"on_end": "cancel"}');
\c - alice
SELECT jit_request('ends', 'refund', key => '1', grantee => 'support') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - mallory
\set VERBOSITY terse
SELECT jit.alter_scope('ends', '{"on_end": "none"}'); \echo :SQLSTATE
-- What starts later does not serve who changes the rules before that.
\c - postgres
SELECT jit.create_scope('later', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - mallory
SELECT jit_request('later', 'maintenance', key => '1', starts_at => now() + interval '1 day') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - mallory
SELECT jit.alter_scope('later', '{"max_pending": 10}');
\c - postgres
SELECT approved_by::regrole[] FROM jit.grants WHERE id = :id;
-- A login that many share changes no rules: nobody would have done it.
ALTER DATABASE :DBNAME SET jit_rls.shared_logins = 'mallory';
\c - mallory
\set VERBOSITY terse
SELECT jit.alter_scope('later', '{"max_pending": 11}'); \echo :SQLSTATE
SELECT jit.drop_scope('later'); \echo :SQLSTATE
SELECT jit.create_scope('new'); \echo :SQLSTATE
\c - postgres
ALTER DATABASE :DBNAME RESET jit_rls.shared_logins;
\c - postgres
REVOKE oncall FROM mallory, carol;
DROP TABLE t;
DROP OWNED BY mallory;
DROP ROLE mallory, mallory_too;
