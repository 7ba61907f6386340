-- In a read-only transaction every function that writes gives 25006, and all that reads works.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE TABLE t (k int);
INSERT INTO t SELECT generate_series(1, 3);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
\c - alice
SELECT jit_request('s', 'test', key => '1') AS r, jit_request('s', 'test', key => '2') AS waiting \gset
\c - bob
SELECT jit_approve(:r);

-- What writes, tried by those who otherwise could.
\c - alice
SET default_transaction_read_only = on;
SELECT jit_request('s', 'test', key => '3');
\echo :LAST_ERROR_SQLSTATE
SELECT jit_cancel(:waiting);
\echo :LAST_ERROR_SQLSTATE
SELECT jit_release(:r);
\echo :LAST_ERROR_SQLSTATE
-- Before anything else is looked at.
SELECT jit_request(NULL, NULL);
SELECT jit_release(-1);
\c - bob
BEGIN READ ONLY;
SELECT jit_approve(:waiting);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT jit_deny(:waiting, 'test');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SET TRANSACTION READ ONLY;
SELECT jit_revoke(:r, 'test');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\c - postgres
SET default_transaction_read_only = on;
SELECT jit.create_scope('more');
\echo :LAST_ERROR_SQLSTATE
SELECT jit.alter_scope('s', '{"enabled": false}');
\echo :LAST_ERROR_SQLSTATE
SELECT jit.drop_scope('s');
\echo :LAST_ERROR_SQLSTATE

-- What reads: the check, the views, and who one is.
\c - alice
BEGIN READ ONLY;
SELECT jit_active('s'), jit_active('s', 1), jit_active('s', 2), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
SELECT id, state FROM jit.my_requests ORDER BY id;
SELECT id, state FROM jit.my_grants ORDER BY id;
SELECT id FROM jit.active_grants;
SELECT login, actor, why FROM jit_whoami();
SELECT jit.may_decide(:waiting), jit.oversees(1), jit.preloaded(), jit.origin() ~ '^\d+/\d+/[0-9a-f-]{36}$' AS origin,
       jit.person() = ARRAY['alice'::regrole::oid] AS person, jit.held_roles() @> ARRAY['support'::regrole::oid] AS held;
COMMIT;
\c - bob
BEGIN READ ONLY;
SELECT id FROM jit.pending;
COMMIT;
-- Serializable, and read-only after a write in the same transaction.
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT id FROM jit.pending;
COMMIT;
\c - alice
BEGIN;
SELECT jit_release(:r);
SAVEPOINT a;
SET TRANSACTION READ ONLY;
SELECT jit_active('s', 1);
SELECT jit_cancel(:waiting);
ROLLBACK;
SELECT jit_active('s', 1);
\c - postgres
BEGIN READ ONLY;
SELECT * FROM jit.advice;
SELECT count(*) FROM jit.events;
COMMIT;
