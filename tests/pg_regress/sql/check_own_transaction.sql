-- A grant serves nobody before its transaction has committed, so that nobody reads first and rolls back then.
-- An ending counts at once in the transaction that makes it.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
CREATE TABLE t (k int);
INSERT INTO t SELECT generate_series(1, 5);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;

-- A superuser's session can be both, requester and approver, in one transaction. The grant is made …
BEGIN;
SET SESSION AUTHORIZATION alice;
SELECT jit_request('s', 'test', key => '1') AS one, jit_request('s', 'test', all_rows => true) AS every,
       jit_request('whole', 'test') AS whole \gset
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(:one), jit_approve(:every), jit_approve(:whole);
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM jit.grants;
-- … and serves nobody: no key, not all rows, not the whole, whatever asks.
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 1), jit_active('s'), jit_active('whole'), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
DO $$ BEGIN RAISE NOTICE '% %', jit_active('s', 1), (SELECT count(*) FROM t); END $$;
SAVEPOINT a;
SELECT jit_active('s', 1), jit_active('whole'), (SELECT count(*) FROM t);
RELEASE a;
-- After ROLLBACK there is none, in this session …
ROLLBACK;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 1), jit_active('s'), jit_active('whole'), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM jit.requests, jit.grants;
-- … and in another.
\c - alice
SELECT jit_active('s', 1), jit_active('s'), jit_active('whole'), jit_keys('s', NULL::int), (SELECT count(*) FROM t);

-- ROLLBACK TO: the request stays, the approval is undone.
SELECT jit_request('s', 'test', key => '2') AS r \gset
\c - postgres
BEGIN;
SAVEPOINT before;
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(:r);
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 2);
ROLLBACK TO before;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 2);
COMMIT;
SELECT jit_active('s', 2), (SELECT state FROM jit.my_requests WHERE id = :r);
\c - alice
SELECT jit_active('s', 2), (SELECT count(*) FROM t);

-- In a subtransaction that was released the grant is as uncommitted as in its parent.
\c - postgres
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(:r);
RELEASE b;
RELEASE a;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 2);
ROLLBACK;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 2);

-- An error: the same.
\c - bob
BEGIN;
SELECT jit_approve(:r);
SELECT 1 / 0;
COMMIT;
\c - alice
SELECT jit_active('s', 2), (SELECT count(*) FROM t);
-- An error in the statement that approves.
\c - bob
SELECT jit_approve(:r), 1 / (random() < 0)::int;
\c - alice
SELECT jit_active('s', 2), (SELECT state FROM jit.my_requests WHERE id = :r);
-- An error caught by an exception block, around a revocation: that is undone as well.
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT jit_active('s', 2);
DO $$
BEGIN
    BEGIN
        PERFORM jit_release((SELECT id FROM jit.my_grants WHERE key = '2'));
        RAISE NOTICE 'released: %', jit_active('s', 2);
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'caught: %', jit_active('s', 2);
    END;
END $$;
SELECT jit_active('s', 2), (SELECT state FROM jit.my_grants WHERE id = :r);

-- One's own ending counts before it has committed, and not any more when it is rolled back.
BEGIN;
SELECT jit_release(:r);
SELECT jit_active('s', 2), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
ROLLBACK;
SELECT jit_active('s', 2), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
BEGIN;
SAVEPOINT a;
SELECT jit_release(:r);
SELECT jit_active('s', 2);
ROLLBACK TO a;
SELECT jit_active('s', 2);
COMMIT;
SELECT jit_active('s', 2);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT jit_active('s', 2);
SELECT jit_release(:r);
SELECT jit_active('s', 2), (SELECT count(*) FROM t);
COMMIT;
SELECT jit_active('s', 2);

-- A scope that is disabled: the same, for whoever disables it.
SELECT jit_request('s', 'test', key => '3') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - postgres
BEGIN;
SELECT jit.alter_scope('s', '{"enabled": false}');
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 3), (SELECT count(*) FROM t);
ROLLBACK;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 3), (SELECT count(*) FROM t);
RESET SESSION AUTHORIZATION;

-- Changed by a superuser and not yet committed, a grant does not serve in that transaction: it is a new row.
BEGIN;
UPDATE jit_private.grants SET ends_at = ends_at + '1 hour' WHERE id = :r;
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 3);
COMMIT;
SELECT jit_active('s', 3);
