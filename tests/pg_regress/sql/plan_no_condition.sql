-- Where the planner has to leave the index alone: what is seen is the same, found by the row check.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('r', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('off', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('u', '{"key_type": "uuid", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('w', '{"approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, i / 10 AS k, 's'::text AS scope FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
CREATE TABLE empty (LIKE t INCLUDING ALL);
GRANT SELECT ON t, empty TO PUBLIC;
VACUUM ANALYZE t;

\c - alice
SELECT jit_request('s', 'test', key => '7') AS a, jit_request('s', 'test', key => '8') AS b, jit_request('off', 'test', key => '7') AS c,
       jit_request('r', 'test', key => '8') AS d;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;
\c - postgres
SELECT jit.alter_scope('off', '{"enabled": false}');

\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('s', k);
-- A scope that only the execution knows.
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active(scope, k);
SELECT count(*) FROM t WHERE jit_active(scope, k);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active(current_setting('test.scope', true), k);
SET test.scope = 's';
SELECT count(*) FROM t WHERE jit_active(current_setting('test.scope', true), k);
PREPARE by_scope (text) AS SELECT count(*) FROM t WHERE jit_active($1, k);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_scope ('s');
EXECUTE by_scope ('s');
EXECUTE by_scope ('u');
EXECUTE by_scope ('no such');
EXECUTE by_scope (NULL);
-- As a parameter of a custom plan it is a constant, whatever string type it came in.
SET plan_cache_mode = force_custom_plan;
EXPLAIN (COSTS OFF) EXECUTE by_scope ('s');
EXECUTE by_scope ('s');
EXECUTE by_scope (NULL);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('s'::varchar, k);
SELECT count(*) FROM t WHERE jit_active(lower('S'), k);

-- No scope, none of that name, one that is off: nothing to be seen, at no cost.
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active(NULL, k);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('no such', k);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('', k);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('off', k);
SELECT (SELECT count(*) FROM t WHERE jit_active(NULL, k)) AS null, (SELECT count(*) FROM t WHERE jit_active('no such', k)) AS unknown,
       (SELECT count(*) FROM t WHERE jit_active('', k)) AS empty, (SELECT count(*) FROM t WHERE jit_active('off', k)) AS off;
SELECT count(*) FROM t WHERE jit_active(repeat('long ', 1000), k);

-- Keys of another kind are a mistake in the policy. It shows with the first row, and not while planning.
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('u', k);
SELECT count(*) FROM t WHERE jit_active('u', k);
SELECT count(*) FROM empty WHERE jit_active('u', k);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('w', k);
SELECT count(*) FROM t WHERE jit_active('w', k);
SELECT count(*) FROM empty WHERE jit_active('w', k);
SELECT count(*) FROM t WHERE jit_active('u', k) AND id < 0;

-- NULL, or a constant, in the place of the column.
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE jit_active('s', NULL::int);
SELECT (SELECT count(*) FROM t WHERE jit_active('s', NULL::int)) AS null, (SELECT count(*) FROM t WHERE jit_active('s', 7)) AS held,
       (SELECT count(*) FROM t WHERE jit_active('s', 9)) AS not_held;

-- For somebody who may not execute jit_keys.
\c - postgres
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
REVOKE EXECUTE ON FUNCTION jit_keys(text, int) FROM PUBLIC;
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;
SELECT jit_keys('s', NULL::int);
-- A plan that was made before.
\setenv PGDATABASE :DBNAME
\! psql -X -q -U postgres -c 'GRANT EXECUTE ON FUNCTION jit_keys(text, int) TO alice'
SET plan_cache_mode = force_generic_plan;
PREPARE held AS SELECT count(*) FROM t;
EXPLAIN (COSTS OFF) EXECUTE held;
EXECUTE held;
\! psql -X -q -U postgres -c 'REVOKE EXECUTE ON FUNCTION jit_keys(text, int) FROM alice'
EXECUTE held;
EXPLAIN (COSTS OFF) EXECUTE held;
-- A plan that somebody else has left in the session, of a query that no policy makes depend on the role.
\c - postgres
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
SET plan_cache_mode = force_generic_plan;
PREPARE held AS SELECT count(*) FROM t WHERE jit_active('s', k);
EXECUTE held;
SET ROLE alice;
EXECUTE held;
RESET ROLE;
GRANT EXECUTE ON FUNCTION jit_keys(text, int) TO PUBLIC;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;

-- Behind a restrictive policy, which PostgreSQL evaluates before all else. The restrictive one itself may use the index.
CREATE POLICY odd ON t AS RESTRICTIVE USING (id % 2 = 1);
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*) FROM t;
\c - postgres
DROP POLICY odd ON t;
CREATE POLICY other ON t AS RESTRICTIVE USING (jit_active('r', k));
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT k, count(*) FROM t GROUP BY k;
\c - postgres
DROP POLICY other ON t;

-- Very many keys, for the size of the table: the array is made anew for each rescan.
INSERT INTO jit_private.grants (id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at, approved_by, epoch, origin)
SELECT 100 + i, s.id, s.name, (10 * i)::text, false, 'carol', 'carol'::regrole, now(), now() + '1 hour', '{}', s.epoch, jit.origin()
  FROM jit_private.scopes s, generate_series(1, 1001) i WHERE s.name = 's';
\c - carol
SELECT cardinality(jit_keys('s', NULL::int));
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*), min(id), max(id) FROM t;
RESET enable_seqscan;
EXPLAIN (COSTS OFF) SELECT * FROM t;
\c - postgres
INSERT INTO t SELECT i, i / 10, 's' FROM generate_series(10010, 20009) i;
VACUUM ANALYZE t;
\c - carol
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT count(*), min(id), max(id) FROM t;
