-- A gated table in every kind of statement: nothing for who holds nothing, and for the holder the same as from a table without policy.

SELECT jit.create_scope('oncall', '{"approvers": {"support_lead": 1}}');
CREATE TABLE plain AS SELECT i AS id, i % 10 AS v, 'text ' || i % 7 AS w FROM generate_series(1, 1000) i;
CREATE TABLE t AS TABLE plain;
CREATE UNIQUE INDEX t_id ON t (id);
CREATE INDEX t_v ON t (v);
CREATE TABLE parts (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (500);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (500) TO (5000);
INSERT INTO parts SELECT id, v FROM plain;
CREATE TABLE parent (id int, v int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent SELECT id, v FROM plain WHERE id <= 10;
INSERT INTO child SELECT id, v FROM plain WHERE id > 10;
DO $$
DECLARE tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['t', 'parts', 'parent'] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tab);
        EXECUTE format('CREATE POLICY jit ON %s USING (jit_active(''oncall''))', tab);
    END LOOP;
END $$;
CREATE VIEW guarded WITH (security_barrier) AS SELECT * FROM plain WHERE jit_active('oncall');
CREATE VIEW unguarded AS SELECT * FROM plain WHERE jit_active('oncall');
CREATE VIEW as_caller WITH (security_invoker) AS SELECT * FROM t;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
VACUUM ANALYZE;
-- The lines of a plan that are about gates and scans.
CREATE FUNCTION gates(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'jit_|Scan' THEN RETURN NEXT line; END IF;
    END LOOP;
END $$;
\c - alice
SELECT jit_request('oncall', 'test');
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
\pset tuples_only on
-- Scans of all kinds.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT gates('SELECT * FROM t WHERE id = 5');
SELECT gates('SELECT v FROM t WHERE v = 5');
SELECT gates('SELECT * FROM t ORDER BY id DESC LIMIT 3');
SELECT gates($$SELECT * FROM t WHERE ctid = '(0,1)'$$);
SELECT gates($$SELECT * FROM t WHERE ctid BETWEEN '(0,1)' AND '(0,5)'$$);
SET enable_bitmapscan = on;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SELECT gates('SELECT * FROM t WHERE v = 5 OR id = 3');
RESET ALL;
SELECT gates('SELECT * FROM t TABLESAMPLE SYSTEM (100)');
SELECT gates('SELECT * FROM parts WHERE id < 100');
SELECT gates('SELECT * FROM parent');
SELECT gates('SELECT * FROM ONLY parent');
SELECT gates('SELECT * FROM guarded WHERE v = 5');
SELECT gates('SELECT * FROM unguarded WHERE v = 5');
SELECT gates('SELECT * FROM as_caller WHERE v = 5');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(*) FROM t;
RESET ALL;

-- What each of them sees.
\set looks 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t WHERE id = 5) AS by_id, (SELECT count(*) FROM t WHERE v = 5) AS by_v, (SELECT count(*) FROM (SELECT * FROM t ORDER BY id DESC LIMIT 3) x) AS ordered, (SELECT count(*) FROM t WHERE ctid = \'(0,1)\') AS tid, (SELECT count(*) FROM t TABLESAMPLE SYSTEM (100)) AS sample, (SELECT count(*) FROM parts) AS parts, (SELECT count(*) FROM parent) AS parent, (SELECT count(*) FROM ONLY parent) AS only_parent, (SELECT count(*) FROM guarded) AS guarded, (SELECT count(*) FROM unguarded) AS unguarded, (SELECT count(*) FROM as_caller) AS as_caller, (SELECT count(DISTINCT (t.ctid, t.tableoid, t.xmin)) FROM t) AS system_columns, (SELECT count(t) FROM t) AS whole_rows'
:looks;
SET enable_seqscan = off;
:looks;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
:looks;
RESET ALL;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
:looks;
SET parallel_leader_participation = off;
:looks;
\c - carol
:looks;
SET enable_seqscan = off;
:looks;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
:looks;
RESET ALL;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
:looks;
SET parallel_leader_participation = off;
:looks;

-- Joins, on either side, by each method; rescans on the inner side.
\set joins 'SELECT (SELECT count(*) FROM plain p JOIN t USING (id)) AS inner, (SELECT count(*) FROM plain p LEFT JOIN t USING (id)) AS left_, (SELECT count(t.id) FROM plain p LEFT JOIN t USING (id)) AS matched, (SELECT count(*) FROM t LEFT JOIN plain p USING (id)) AS right_, (SELECT count(*) FROM plain p FULL JOIN t USING (id)) AS full_, (SELECT count(*) FROM plain p WHERE NOT EXISTS (SELECT FROM t WHERE t.id = p.id)) AS anti, (SELECT count(*) FROM plain p WHERE id IN (SELECT id FROM t)) AS semi, (SELECT count(*) FROM t a JOIN t b ON a.v = b.v AND a.id < 11) AS self, (SELECT count(*) FROM plain p, LATERAL (SELECT * FROM t WHERE t.id = p.id OFFSET 0) x) AS lateral_, (SELECT count(*) FROM plain p CROSS JOIN t WHERE p.id < 5) AS cross_, (SELECT sum((SELECT count(*) FROM t WHERE t.id = p.id)) FROM plain p) AS scalar'
\c - alice
:joins;
SET enable_hashjoin = off;
:joins;
SET enable_mergejoin = off;
:joins;
SET enable_material = off;
SET enable_memoize = off;
:joins;
RESET ALL;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SET enable_seqscan = off;
:joins;
RESET ALL;
SELECT gates('SELECT * FROM plain p LEFT JOIN t USING (id) WHERE p.id < 5');
\c - carol
:joins;
SET enable_hashjoin = off;
:joins;
SET enable_mergejoin = off;
:joins;
SET enable_material = off;
SET enable_memoize = off;
:joins;
RESET ALL;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SET enable_seqscan = off;
:joins;

-- Writing.
\c - alice
SELECT gates('UPDATE t SET v = v WHERE id = 5');
SELECT gates('DELETE FROM parts WHERE id = 5');
\set writes 'WITH u AS (UPDATE t SET w = upper(w) RETURNING 1), up AS (UPDATE parts SET v = v + 1 RETURNING 1), d AS (DELETE FROM parent WHERE v = 5 RETURNING 1), f AS (UPDATE plain p SET w = t.w FROM t WHERE t.id = p.id RETURNING 1) SELECT (SELECT count(*) FROM u) AS updated, (SELECT count(*) FROM up) AS parts, (SELECT count(*) FROM d) AS deleted, (SELECT count(*) FROM f) AS updated_from'
BEGIN;
:writes;
MERGE INTO t USING (VALUES (1), (2)) x (id) ON t.id = x.id WHEN MATCHED AND x.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET w = 'merged';
SELECT count(*), count(*) FILTER (WHERE w = 'merged') FROM t;
SELECT count(*) FROM (SELECT * FROM t WHERE v = 5 FOR UPDATE) x;
INSERT INTO t VALUES (1, 1, 'new') RETURNING id;
INSERT INTO t VALUES (3, 1, 'again') ON CONFLICT (id) DO UPDATE SET w = excluded.w RETURNING w;
-- At the place of a cursor, which is below the gate.
DECLARE c CURSOR FOR SELECT id FROM t WHERE id > 500;
FETCH 2 FROM c;
UPDATE t SET w = 'here' WHERE CURRENT OF c;
DECLARE u CURSOR FOR SELECT id FROM t WHERE id > 600 FOR UPDATE;
FETCH 2 FROM u;
DELETE FROM t WHERE CURRENT OF u;
SELECT (SELECT array_agg(id) FROM t WHERE w = 'here') AS updated, (SELECT count(*) FROM t WHERE id = 602) AS deleted;
ROLLBACK;
\c - carol
BEGIN;
:writes;
MERGE INTO t USING (VALUES (1), (2)) x (id) ON t.id = x.id WHEN MATCHED AND x.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET w = 'merged';
SELECT count(*) FROM (SELECT * FROM t WHERE v = 5 FOR UPDATE) x;
DECLARE c SCROLL CURSOR FOR SELECT id FROM t WHERE id > 500;
FETCH 2 FROM c;
FETCH LAST FROM c;
INSERT INTO t VALUES (2000, 1, 'new');
ROLLBACK;

-- A call in a subquery that looks at a column of the query around it is asked again for each of its rows.
\c - alice
CREATE TEMP TABLE scopes AS SELECT * FROM unnest(ARRAY['oncall', 'no such', 'oncall', NULL]) WITH ORDINALITY x (scope, n);
SELECT n, scope, c FROM scopes s, LATERAL (SELECT count(*) AS c FROM plain WHERE jit_active(s.scope)) x ORDER BY n;
SELECT n, scope, id FROM scopes s, LATERAL (SELECT id FROM t WHERE jit_active(s.scope) ORDER BY id LIMIT 1) x ORDER BY n;
SELECT n, scope, (SELECT max(id) FROM t WHERE jit_active(s.scope)) FROM scopes s ORDER BY n;
SELECT n FROM scopes s WHERE EXISTS (SELECT FROM t WHERE (SELECT jit_active(s.scope)) AND t.id = s.n) ORDER BY n;
SET enable_material = off;
SELECT n, count(t.id) FROM scopes s LEFT JOIN t ON jit_active(s.scope) AND t.v = 5 GROUP BY n ORDER BY n;

-- Recursion, set operations, windows.
WITH RECURSIVE r AS (SELECT id FROM t WHERE id = 1 UNION ALL SELECT t.id FROM r JOIN t ON t.id = r.id + 1 WHERE t.id < 6) SELECT array_agg(id) FROM r;
SELECT count(*) FROM (SELECT id FROM t UNION SELECT id FROM parts EXCEPT SELECT id FROM parent WHERE id < 100) x;
SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY v ORDER BY id) AS n FROM t) x;
SELECT count(*) FROM t WHERE v = (SELECT max(v) FROM t) GROUP BY GROUPING SETS ((v), ()) ORDER BY 1;
