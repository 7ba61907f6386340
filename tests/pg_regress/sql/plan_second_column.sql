-- The key as a later column of an index. Before PostgreSQL 17 the planner would take a scan with an array there for sorted,
-- which it is not: no condition (plan_second_column.out); since then there is one (plan_second_column_1.out). The rows are the same.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS a, i % 50 AS k, repeat('x', 200) AS pad FROM generate_series(1, 10000) i;
CREATE INDEX t_a_k ON t (a, k);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
VACUUM ANALYZE t;
\c - alice
SELECT jit_request('s', 'test', key => k) FROM unnest(ARRAY['41', '7', '23']) k;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT a, k FROM t ORDER BY a LIMIT 7;
SELECT a, k FROM t ORDER BY a LIMIT 7;
SELECT a, k FROM t ORDER BY a DESC LIMIT 4;
SELECT a, k FROM t ORDER BY a, k LIMIT 4;
SELECT a, k FROM t WHERE a > 5000 ORDER BY a LIMIT 4;
SELECT a, k FROM t WHERE a = ANY ('{57,58,107,123}') ORDER BY a;
SELECT a, k FROM t WHERE a = 57;
SELECT count(*), min(a), max(a) FROM t;
