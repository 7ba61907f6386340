-- What comes through a gate is what a table without policy gives: any columns, in any order, of rows of any shape.

SELECT jit.create_scope('oncall', '{"approvers": {"support_lead": 1}}');
CREATE TABLE plain (gone int, id int PRIMARY KEY, v int, w text, doubled int GENERATED ALWAYS AS (v * 2) STORED);
INSERT INTO plain SELECT 0, i, nullif(i % 10, 3), repeat('text ' || i, CASE WHEN i % 50 = 0 THEN 3000 ELSE 1 END) FROM generate_series(1, 500) i;
ALTER TABLE plain DROP COLUMN gone;
-- Rows from before have fewer columns than the table.
ALTER TABLE plain ADD COLUMN later text DEFAULT 'from before', ADD COLUMN empty int;
INSERT INTO plain (id, v, w, later, empty) SELECT i, i % 10, 'new', NULL, i FROM generate_series(501, 600) i;
CREATE TABLE whole AS TABLE plain;
CREATE TABLE t (LIKE plain INCLUDING ALL EXCLUDING GENERATED);
INSERT INTO t TABLE plain;
CREATE TABLE whole_t AS TABLE plain;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('oncall'));
ALTER TABLE whole_t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON whole_t USING (jit_active('oncall'));
GRANT ALL ON plain, t, whole, whole_t TO PUBLIC;
VACUUM ANALYZE;
-- A query over a table, the same over the gated one: how many rows, and whether they are the same in the same order.
CREATE FUNCTION compare(query text) RETURNS TABLE (rows bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
    answers text[];
    answer text;
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['plain', 't', 'whole', 'whole_t'] LOOP
        EXECUTE format('SELECT count(*) || '' '' || coalesce(md5(string_agg(q::text, ''|'')), '''') FROM (%s) q',
                       replace(query, '@', wanted)) INTO answer;
        answers := answers || answer;
    END LOOP;
    RETURN QUERY SELECT split_part(answers[1], ' ', 1)::bigint,
                        answers[1] = answers[2] AND answers[3] = answers[4] AND answers[1] = answers[3];
END $$;
-- Since 18 rows are counted with decimals.
CREATE FUNCTION analysed(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
        RETURN NEXT replace(line, '.00', '');
    END LOOP;
END $$;
\c - alice
SELECT jit_request('oncall', 'test');
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
\pset tuples_only on
SELECT compare('SELECT * FROM @ ORDER BY id');
SELECT compare('SELECT FROM @');
SELECT compare('SELECT 1 AS one FROM @');
SELECT compare('SELECT later, id FROM @ ORDER BY id');
SELECT compare('SELECT empty, w, empty, v FROM @ ORDER BY id');
SELECT compare('SELECT @ FROM @ ORDER BY id');
SELECT compare('SELECT @, id FROM @ ORDER BY later DESC, w, id');
SELECT compare('SELECT tableoid::regclass::text = ''@'' AS here, ctid IS NOT NULL AS there, xmin IS NULL AS nowhere, id FROM @ ORDER BY id');
SELECT compare('SELECT v + 1 AS x, upper(w) AS y FROM @ ORDER BY id');
SELECT compare('SELECT sum(id), max(later), count(empty), sum(v) FROM @');
SELECT compare('SELECT v, count(*), string_agg(later, w ORDER BY id) FROM @ GROUP BY v ORDER BY v');
SELECT compare('SELECT DISTINCT later, v FROM @ ORDER BY 1, 2');
SELECT compare('SELECT id, lag(w) OVER (ORDER BY id), empty FROM @');
SELECT compare('SELECT a.id, b.w, a.empty FROM @ a JOIN @ b ON a.v = b.v AND a.id < b.id ORDER BY a.id, b.id');
SELECT compare('SELECT a.id, b.later FROM @ a LEFT JOIN LATERAL (SELECT later FROM @ c WHERE c.id = a.id + 400) b ON true ORDER BY a.id');
SELECT compare('SELECT id, (SELECT count(*) FROM @ b WHERE b.v = a.v) FROM @ a ORDER BY id');
SELECT compare('SELECT w FROM @ WHERE EXISTS (SELECT FROM @) ORDER BY id LIMIT 7');
SELECT compare('SELECT a.v, b.v FROM (SELECT v FROM @ ORDER BY id LIMIT 5) a, (SELECT v, w FROM @ ORDER BY id LIMIT 3) b');
SELECT compare('SELECT id FROM @ UNION ALL SELECT v FROM @ ORDER BY 1');
SELECT compare('(SELECT id, w FROM @) EXCEPT (SELECT id, w FROM @ WHERE v = 5) ORDER BY 1');
SELECT compare('WITH q AS MATERIALIZED (SELECT w, id FROM @) SELECT a.id, b.w FROM q a JOIN q b ON b.id = a.id + 1 ORDER BY 1');
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT compare('SELECT a.id, b.w, a.empty FROM @ a JOIN @ b ON a.v = b.v AND a.id < b.id ORDER BY a.id, b.id');
SET enable_material = off;
SELECT compare('SELECT a.id, b.w, a.empty FROM @ a JOIN @ b ON a.v = b.v AND a.id < b.id ORDER BY a.id, b.id');
RESET ALL;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT compare('SELECT empty, w, empty, v FROM @ ORDER BY id');
SELECT compare('SELECT sum(id), max(later), count(empty), sum(v) FROM @');
RESET ALL;

-- A row that is kept while others come: a cursor that goes back and forth, and EXPLAIN ANALYZE, which counts.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT later, id FROM t ORDER BY id;
FETCH 2 FROM c;
MOVE 500 FROM c;
FETCH 2 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH FIRST FROM c;
COMMIT;
BEGIN;
DECLARE d SCROLL CURSOR FOR SELECT w FROM t;
FETCH 1 FROM d;
MOVE LAST FROM d;
FETCH RELATIVE 0 FROM d;
FETCH PRIOR FROM d;
FETCH NEXT FROM d;
FETCH NEXT FROM d;
FETCH FIRST FROM d;
COMMIT;
SELECT analysed('SELECT w, id FROM t');

-- Rows that are locked or written come from the table itself.
UPDATE t SET w = 'changed' WHERE id IN (1, 600) RETURNING later, id, w;
SELECT empty, id FROM t WHERE id IN (599, 2) FOR UPDATE;
DELETE FROM t WHERE id = 1 RETURNING w, later;
