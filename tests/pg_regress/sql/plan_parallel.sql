-- Each process of a parallel index scan would make the array of keys for itself, and they share their place in it: no such scan. Parallel
-- sequential and bitmap scans go on.

SELECT jit.create_scope('s', '{"key_type": "int", "max_pending": 1000, "max_grants": 1000, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, i / 100 AS k FROM generate_series(100, 20099) i;
CREATE INDEX t_k ON t (k);
CREATE INDEX t_id ON t (id);
CREATE TABLE plain AS TABLE t;
CREATE INDEX plain_k ON plain (k);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t, plain TO PUBLIC;
VACUUM ANALYZE t, plain;
\c - alice
SELECT count(jit_request('s', 'test', key => k::text)) FROM generate_series(1, 100) k;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
-- What PostgreSQL would do with a condition of its own.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT sum(id) FROM plain WHERE k BETWEEN 1 AND 150;
EXPLAIN (COSTS OFF) SELECT sum(id) FROM t;
SELECT count(*), sum(id) FROM t;
EXPLAIN (COSTS OFF) SELECT count(*) FROM t WHERE k > 50;
SELECT count(*), sum(id) FROM t WHERE k > 50;
-- A bitmap is made by the leader alone.
RESET enable_bitmapscan;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF) SELECT sum(id) FROM t;
SELECT count(*), sum(id) FROM t;
SET parallel_leader_participation = off;
SELECT count(*), sum(id) FROM t;
SET enable_bitmapscan = off;
RESET enable_seqscan;
EXPLAIN (COSTS OFF) SELECT sum(id) FROM t;
SELECT count(*), sum(id) FROM t;
-- The index of another column may be scanned in parallel.
RESET enable_indexscan;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT sum(k) FROM t WHERE id BETWEEN 5000 AND 15000;
SELECT count(*), sum(id) FROM t WHERE id BETWEEN 5000 AND 15000;

-- A worker whose part of a join looks keys up by itself uses those whose rows it lets through, and no others.
RESET parallel_leader_participation;
RESET enable_indexscan;
RESET enable_indexonlyscan;
SET enable_bitmapscan = off;
SET enable_nestloop = off;
SET enable_mergejoin = off;
SET enable_parallel_hash = off;
SET enable_seqscan = on;
EXPLAIN (COSTS OFF) SELECT count(*) FROM plain p JOIN t ON t.id = p.id WHERE t.k < 3;
\setenv PGDATABASE :DBNAME
BEGIN;
SELECT count(*) FROM plain p JOIN t ON t.id = p.id WHERE t.k < 3;
\! psql -X -q -At -U postgres -c "SELECT count(*) FROM jit.in_use"
COMMIT;
