-- A holder of all rows sees rows of other keys too: no index condition for them. For everybody else there is one, though somebody
-- in the scope holds all rows.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, nullif(i / 10, 9) AS k FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
VACUUM ANALYZE t;

\c - alice
SELECT jit_request('s', 'test', key => '7'), jit_request('s', 'test', key => '8');
\c - carol
SELECT jit_request('s', 'test', key => '7'), jit_request('s', 'test', all_rows => true);
\c - frank
SELECT jit_request('s', 'test', key => '5');
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*), count(k) FROM t;
-- Rows without a key are seen by holders of all rows, too.
\c - carol
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*), count(k) FROM t;
SET enable_seqscan = off;
SELECT count(*), count(k) FROM t;
SELECT count(*) FROM t WHERE k IS NULL;
SELECT count(*) FROM t WHERE k BETWEEN 7 AND 20;
-- Who holds nothing.
\c - dave
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;

-- As a member of a group that holds all rows.
\c - alice
SELECT jit_request('s', 'test', grantee => 'support', all_rows => true) AS shared \gset
\c - bob
SELECT jit_approve(:shared);
\c - alice
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*), count(k) FROM t;
\c - frank
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;
-- And no longer.
\c - bob
SELECT jit_revoke(:shared, 'done');
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;

-- One that begins later counts as held when the plan is made: it may be kept until then.
SELECT jit_request('s', 'test', all_rows => true, starts_at => now() + '1 hour') AS later \gset
\c - bob
SELECT jit_approve(:later);
\c - alice
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;
\c - bob
SELECT jit_revoke(:later, 'done');

-- In a definer function, PostgreSQL knows plans by its owner and we by the caller: no condition as long as anybody holds all rows.
\c - postgres
GRANT CREATE ON SCHEMA public TO alice;
\c - alice
CREATE FUNCTION plan() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER SET enable_bitmapscan = off AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) SELECT * FROM t'; END $$;
CREATE FUNCTION rows() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM t';
\c - frank
SELECT plan(), rows();
\c - carol
SELECT plan(), rows();
SELECT jit_release(g.id) FROM jit.my_grants g WHERE all_rows AND state = 'active';
-- Gone for us at once, and for the planner when it is tidied away.
\c - frank
SELECT rows();

-- Allowed, but nobody holds all rows.
\c - postgres
SELECT jit.create_scope('nobody', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
DROP POLICY jit ON t;
CREATE POLICY jit ON t USING (jit_active('nobody', k));
\c - frank
SELECT plan(), rows();
