-- A transaction whose snapshot is old decides on, and ends, what others have made since: a kill switch does not
-- have to wait for anybody to begin a new transaction.
\pset tuples_only on
\pset format unaligned
SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}, "on_end": "none"}');
SELECT jit.create_scope('t', '{"key_type": "int", "approvers": {"support_lead": 1}, "on_end": "none"}');
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}, "on_end": "none"}');
-- What other sessions do meanwhile.
\setenv PGDATABASE :DBNAME
\setenv PGUSER postgres

-- Revoke, as an approver.
\c - bob
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '1')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(1)"
\! psql -X -q -At -U alice -c "SELECT jit_active('s', 1)"
SELECT jit_revoke(1, 'enough');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_active('s', 1)"

-- As an admin, the whole transaction long; under SERIALIZABLE as well.
\c - postgres
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM jit.grants;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '2')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(2)"
SELECT jit_revoke(2, 'enough');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_active('s', 2)"

-- Approve and deny.
\c - bob
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM jit.pending;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '3'), jit_request('s', 'test', key => '4')"
SELECT jit_approve(3);
SELECT jit_deny(4, 'no');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_keys('s', NULL::int)"
-- The first of two yeses was given since.
\c - bob
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('two', 'test', key => '1')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(5)"
SELECT jit_approve(5);
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_active('two', 1)"

-- Give back and take back.
\c - alice
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '6'), jit_request('s', 'test', key => '7')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(6)"
SELECT jit_active('s', 6);
SELECT jit_release(6);
SELECT jit_cancel(7);
SELECT jit_active('s', 6);
COMMIT;
SELECT jit_keys('s', NULL::int);

-- Disable: what was granted and asked since ends and closes with the rest.
\c - postgres
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '8'), jit_request('s', 'test', key => '9')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(8)"
\! psql -X -q -At -U alice -c "SELECT jit_keys('s', NULL::int)"
SELECT jit.alter_scope('s', '{"enabled": false}');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_keys('s', NULL::int)"
SELECT id, state FROM jit.requests WHERE id IN (8, 9) ORDER BY id;
-- The scope's row itself was changed since, too.
SELECT jit.alter_scope('s', '{"enabled": true}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM jit.scopes;
\! psql -X -q -At -U alice -c "SELECT jit_request('s', 'test', key => '10')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(10)"
\! psql -X -q -At -c "SELECT FROM jit.alter_scope('s', '{\"description\": \"changed\"}')"
SELECT jit.alter_scope('s', '{"enabled": false}');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_keys('s', NULL::int)"
SELECT description, enabled FROM jit.scopes WHERE name = 's';
-- Drop.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('t', 'test', key => '1')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(11)"
SELECT jit.drop_scope('t');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_keys('t', NULL::int)"
-- A scope that was made since.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -c "SELECT FROM jit.create_scope('new', '{\"approvers\": {\"support_lead\": 1}}')"
\! psql -X -q -At -U alice -c "SELECT jit_request('new', 'test')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(12)"
SELECT jit.alter_scope('new', '{"enabled": false}');
COMMIT;
\! psql -X -q -At -U alice -c "SELECT jit_active('new')"

-- What has ended since has ended: no second ending, and the state is today's.
\c - bob
SELECT state FROM jit.my_requests;
\! psql -X -q -At -U alice -c "SELECT jit_request('two', 'test', key => '2')"
\! psql -X -q -At -U dave -c "SELECT jit_approve(13)"
SELECT jit_approve(13);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM jit.active_grants;
\! psql -X -q -At -U dave -c "SELECT FROM jit_revoke(13, 'first')"
\set VERBOSITY terse
SELECT jit_revoke(13, 'second'); \echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\! psql -X -q -At -U alice -c "SELECT jit_request('two', 'test', key => '3')"
\! psql -X -q -At -U dave -c "SELECT FROM jit_deny(14, 'no')"
SELECT jit_approve(14); \echo :SQLSTATE
ROLLBACK;
\c - postgres
SELECT grant_id, kind, actor, reason FROM jit.endings ORDER BY at, grant_id;
