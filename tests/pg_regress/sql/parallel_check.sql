-- The check in parallel workers: they see what their leader sees.
-- What makes plans parallel has another name since 16.
SELECT name AS force_parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
CREATE TABLE t (id int PRIMARY KEY, k int);
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 20000) i;
CREATE INDEX t_k ON t (k);
CREATE TABLE w (id int);
INSERT INTO w SELECT generate_series(1, 20000);
ANALYZE t, w;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
ALTER TABLE w ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON w USING (jit_active('whole'));
GRANT SELECT ON t, w TO PUBLIC;

\c - alice
SELECT jit_request('s', 'test', key => '1') AS own, jit_request('s', 'test', key => '2', grantee => 'support') AS shared,
       jit_request('whole', 'test') AS whole \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;

\c - alice
-- First without parallel query, for comparison.
SET max_parallel_workers_per_gather = 0;
SELECT count(*), min(k), max(k) FROM t;
SELECT count(*) FROM w;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;

-- The leader looks the keys up in the index, the workers read what it has found.
EXPLAIN (COSTS OFF) SELECT count(*), min(k), max(k) FROM t;
SELECT count(*), min(k), max(k) FROM t;
SET parallel_leader_participation = off;
SELECT count(*), min(k), max(k) FROM t;
RESET parallel_leader_participation;
-- A sequential scan, with the leader at work and without.
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*), min(k), max(k) FROM t;
SELECT count(*), min(k), max(k) FROM t;
SET parallel_leader_participation = off;
SELECT count(*), min(k), max(k) FROM t;
SELECT count(*) FROM w;
-- jit_keys() in a worker.
SELECT count(*) FROM t WHERE k = ANY (jit_keys('s', NULL::int));
-- A join of the two.
SELECT count(*) FROM t JOIN w USING (id);
-- After SET ROLE the workers act as that role, too.
SET ROLE support;
SELECT count(*), min(k), max(k) FROM t;
SELECT count(*) FROM w;
RESET ROLE;
-- SET LOCAL, and inside a DO block.
BEGIN;
SET LOCAL ROLE support;
SELECT count(*), min(k), max(k) FROM t;
COMMIT;
SELECT count(*), min(k), max(k) FROM t;
-- The workers are told who the actor is inside a SECURITY DEFINER function of another role, whose grants are not lent.
\c - postgres
CREATE FUNCTION of_support() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    SET :force_parallel = on SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0
    AS 'SELECT count(*) FROM t';
ALTER FUNCTION of_support() OWNER TO support;
\c - alice
SELECT of_support();
\c - frank
SELECT of_support();

-- Somebody without grants.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM t;
SELECT count(*) FROM w;

-- All of a plan in one worker.
\c - alice
SET :force_parallel = on;
EXPLAIN (COSTS OFF) SELECT jit_active('s', 1), jit_active('s', 2), jit_active('s', 3), jit_active('whole'), jit_keys('s', NULL::int);
SELECT jit_active('s', 1), jit_active('s', 2), jit_active('s', 3), jit_active('whole'), jit_keys('s', NULL::int);
-- An ending counts before it has committed. Where a transaction has written, PostgreSQL still reads in parallel.
BEGIN;
SELECT jit_release(:own);
SELECT jit_active('s', 1), jit_active('s', 2), jit_keys('s', NULL::int);
SELECT count(*), min(k), max(k) FROM t;
ROLLBACK;
SELECT jit_active('s', 1), jit_active('s', 2), jit_keys('s', NULL::int);
-- One's own grant serves nobody before it has committed, in a worker neither.
\c - postgres
SET :force_parallel = on;
BEGIN;
SET SESSION AUTHORIZATION alice;
SELECT jit_request('s', 'test', key => '3') AS r \gset
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(:r);
SET SESSION AUTHORIZATION alice;
SELECT jit_active('s', 3), jit_keys('s', NULL::int);
SELECT count(*), min(k), max(k) FROM t;
ROLLBACK;
-- Under an old snapshot a worker denies what has ended since.
\c - alice
SET :force_parallel = on;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*), min(k), max(k) FROM t;
SELECT jit_release(:own);
SELECT count(*), min(k), max(k) FROM t;
COMMIT;
SELECT count(*), min(k), max(k) FROM t;
-- A key of the wrong family is the same error from a worker.
SELECT jit_active('s', 'x'::text);
-- A shared login holds nothing in a worker.
\c - postgres
GRANT support TO pooler;
SET jit_rls.shared_logins = 'pooler';
SET :force_parallel = on;
SET SESSION AUTHORIZATION pooler;
SELECT jit_active('s', 2), jit_keys('s', NULL::int);
SET ROLE support;
SELECT jit_active('s', 2), jit_keys('s', NULL::int);
\c - postgres
REVOKE support FROM pooler;
