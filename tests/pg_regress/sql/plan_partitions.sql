-- Partitioned tables and inheritance: each child by its own index, or gated; pruning is as ever.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
-- By the key, in three ways, and by another column.
CREATE TABLE listed (id int, k int) PARTITION BY LIST (k);
CREATE TABLE listed_1 PARTITION OF listed FOR VALUES IN (1);
CREATE TABLE listed_2 PARTITION OF listed FOR VALUES IN (2, 3);
CREATE TABLE listed_rest PARTITION OF listed DEFAULT;
CREATE TABLE ranged (id int, k int) PARTITION BY RANGE (k);
CREATE TABLE ranged_low PARTITION OF ranged FOR VALUES FROM (MINVALUE) TO (500);
CREATE TABLE ranged_high PARTITION OF ranged FOR VALUES FROM (500) TO (MAXVALUE);
CREATE TABLE hashed (id int, k int) PARTITION BY HASH (k);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE dated (id int, k int) PARTITION BY RANGE (id);
-- Columns in another order, an index in one of them only.
CREATE TABLE dated_old (k int, id int);
ALTER TABLE dated ATTACH PARTITION dated_old FOR VALUES FROM (0) TO (5000);
CREATE TABLE dated_new PARTITION OF dated FOR VALUES FROM (5000) TO (20000) PARTITION BY LIST (k);
CREATE TABLE dated_new_rest PARTITION OF dated_new DEFAULT;
CREATE TABLE parent (id int, k int);
CREATE TABLE child (more text) INHERITS (parent);
CREATE TABLE grandchild () INHERITS (child);
INSERT INTO listed SELECT i, i / 10 FROM generate_series(10, 10009) i;
INSERT INTO ranged TABLE listed;
INSERT INTO hashed TABLE listed;
INSERT INTO dated TABLE listed;
INSERT INTO parent SELECT * FROM listed WHERE id % 3 = 0;
INSERT INTO child SELECT * FROM listed WHERE id % 3 = 1;
INSERT INTO grandchild SELECT * FROM listed WHERE id % 3 = 2;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['listed', 'ranged', 'hashed', 'dated_old', 'parent', 'grandchild'] LOOP
        EXECUTE format('CREATE INDEX %s_key ON %s (k)', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['listed', 'ranged', 'hashed', 'dated', 'parent'] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY jit ON %s USING (jit_active(''s'', k))', t);
        EXECUTE format('GRANT ALL ON %s TO PUBLIC', t);
    END LOOP;
END $$;
VACUUM ANALYZE;

\c - alice
SELECT jit_request('s', 'test', key => k) FROM unnest(ARRAY['1', '3', '700']) k;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM ranged;
EXPLAIN (COSTS OFF) SELECT * FROM dated;
EXPLAIN (COSTS OFF) SELECT * FROM parent;
SELECT (SELECT array_agg(DISTINCT k) FROM listed) AS listed, (SELECT array_agg(DISTINCT k) FROM ranged) AS ranged, (SELECT array_agg(DISTINCT k) FROM hashed) AS hashed,
       (SELECT array_agg(DISTINCT k) FROM dated) AS dated, (SELECT array_agg(DISTINCT k) FROM parent) AS parent;
SELECT (SELECT count(*) FROM listed) AS listed, (SELECT count(*) FROM ranged) AS ranged, (SELECT count(*) FROM hashed) AS hashed,
       (SELECT count(*) FROM dated) AS dated, (SELECT count(*) FROM parent) AS parent, (SELECT count(*) FROM ONLY parent) AS only_parent;
-- In order, over all children.
EXPLAIN (COSTS OFF) SELECT k FROM ranged ORDER BY k LIMIT 25;
SELECT k, count(*) FROM (SELECT k FROM ranged ORDER BY k LIMIT 25) x GROUP BY k ORDER BY k;
SELECT k, count(*) FROM (SELECT k FROM hashed ORDER BY k DESC LIMIT 15) x GROUP BY k ORDER BY k;
-- Pruning, when planned and when executed.
EXPLAIN (COSTS OFF) SELECT * FROM listed WHERE k = 1;
SELECT count(*) FROM listed WHERE k = 1;
SELECT count(*) FROM listed WHERE k = 2;
SET plan_cache_mode = force_generic_plan;
PREPARE one (int) AS SELECT count(*) FROM listed WHERE k = $1;
EXPLAIN (COSTS OFF) EXECUTE one (1);
EXECUTE one (1);
EXECUTE one (3);
EXECUTE one (4);
-- The keys themselves are known too late for pruning.
EXPLAIN (COSTS OFF) SELECT * FROM hashed;
-- A join by partitions.
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SELECT k, count(*) FROM ranged a JOIN ranged b USING (k) GROUP BY k ORDER BY k;
RESET enable_partitionwise_join;
RESET enable_partitionwise_aggregate;
-- Rows may move to where a key is held.
BEGIN;
WITH moved AS (UPDATE ranged SET k = CASE k WHEN 1 THEN 700 ELSE 1 END RETURNING k) SELECT k, count(*) FROM moved GROUP BY k ORDER BY k;
SELECT tableoid::regclass, k, count(*) FROM ranged GROUP BY 1, 2 ORDER BY 2;
UPDATE ranged SET k = 2;
ROLLBACK;
WITH gone AS (DELETE FROM dated RETURNING tableoid::regclass AS t, k) SELECT t, k, count(*) FROM gone GROUP BY t, k ORDER BY k;
SELECT count(*) FROM dated;

-- For a holder of all rows: every child.
SELECT jit_request('s', 'test', all_rows => true) AS everything \gset
\c - bob
SELECT jit_approve(:everything);
\c - alice
EXPLAIN (COSTS OFF) SELECT * FROM parent;
SELECT (SELECT count(*) FROM listed) AS listed, (SELECT count(*) FROM ranged) AS ranged, (SELECT count(*) FROM hashed) AS hashed,
       (SELECT count(*) FROM dated) AS dated, (SELECT count(*) FROM parent) AS parent;
