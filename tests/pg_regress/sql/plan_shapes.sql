-- Plans that find the keys held by the index, in every kind of statement; the row check stays in each.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
-- Ten rows of each of 1,000 keys, side by side.
CREATE TABLE orders (id int PRIMARY KEY, k int, owner text, amount int);
INSERT INTO orders SELECT i, i / 10, 'owner ' || i % 500, i % 100 FROM generate_series(10, 10009) i;
CREATE INDEX orders_k ON orders (k);
CREATE INDEX orders_owner ON orders (owner);
CREATE TABLE lines (order_id int, n int, PRIMARY KEY (order_id, n));
INSERT INTO lines SELECT i, n FROM generate_series(10, 10009) i, generate_series(1, 3) n;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON orders USING (jit_active('s', k));
GRANT ALL ON orders, lines TO PUBLIC;
VACUUM ANALYZE orders, lines;
-- The part of a plan that is ours, where the rest does not matter.
CREATE FUNCTION checks(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'jit_' THEN RETURN NEXT trim(line); END IF;
    END LOOP;
END $$;

\c - alice
SELECT jit_request('s', 'test', key => k) FROM unnest(ARRAY['7', '8', '1000']) k;
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;

\c - alice
-- An index scan, an index-only scan, a bitmap scan.
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM orders;
SELECT count(*), min(id), max(id) FROM orders;
EXPLAIN (COSTS OFF) SELECT k FROM orders;
SELECT k, count(*) FROM (SELECT k FROM orders) x GROUP BY k ORDER BY k;
RESET enable_bitmapscan;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM orders;
SELECT count(*), min(id), max(id) FROM orders;
RESET ALL;

-- In the order of the index, both ways, and only as far as needed.
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT id, k FROM orders ORDER BY k LIMIT 12;
SELECT array_agg(k) FROM (SELECT id, k FROM orders ORDER BY k LIMIT 12) x;
EXPLAIN (COSTS OFF) SELECT id, k FROM orders ORDER BY k DESC LIMIT 12;
SELECT array_agg(k) FROM (SELECT id, k FROM orders ORDER BY k DESC LIMIT 12) x;
-- A cursor goes back and forth.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT k FROM orders ORDER BY k;
FETCH 11 FROM c;
FETCH LAST FROM c;
FETCH BACKWARD 10 FROM c;
FETCH FIRST FROM c;
COMMIT;

-- Together with conditions on the key itself.
EXPLAIN (COSTS OFF) SELECT id FROM orders WHERE k BETWEEN 8 AND 500;
SELECT count(*), min(id), max(id) FROM orders WHERE k BETWEEN 8 AND 500;
EXPLAIN (COSTS OFF) SELECT id FROM orders WHERE k = 8;
SELECT count(*), min(id), max(id) FROM orders WHERE k = 8;
SELECT count(*) FROM orders WHERE k = 9;
SELECT k, count(*) FROM orders WHERE k = ANY ('{7,9,1000}') GROUP BY k ORDER BY k;
SELECT count(*) FROM orders WHERE k IS NULL;

-- Beside a cheaper index of another column.
EXPLAIN (COSTS OFF) SELECT id FROM orders WHERE id = 75;
SELECT id FROM orders WHERE id IN (75, 95) ORDER BY id;

-- A join: few rows are known to come out of orders, so that lines are looked up for each.
EXPLAIN (COSTS OFF) SELECT * FROM orders o JOIN lines l ON l.order_id = o.id;
SELECT count(*), sum(o.k) FROM orders o JOIN lines l ON l.order_id = o.id;
SELECT count(*), count(o.id) FROM lines l LEFT JOIN orders o ON l.order_id = o.id;
-- On the inner side the array is made again for each outer row.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
EXPLAIN (COSTS OFF) SELECT * FROM generate_series(6, 9) g LEFT JOIN orders o ON o.k = g;
SELECT g, count(*) FROM generate_series(6, 9) g JOIN orders o ON o.k = g GROUP BY g ORDER BY g;
SELECT g, count(o.k) FROM generate_series(6, 9) g LEFT JOIN orders o ON o.k = g GROUP BY g ORDER BY g;
-- A merge join marks a place in the index and comes back to it.
RESET enable_mergejoin;
SET enable_nestloop = off;
SET enable_sort = off;
SELECT a.k, count(*) FROM orders a JOIN orders b ON a.k = b.k GROUP BY a.k ORDER BY a.k;
RESET ALL;

-- OR with another indexed clause: both indexes.
\c - postgres
CREATE POLICY own ON orders USING (owner = 'owner 77');
\c - alice
EXPLAIN (COSTS OFF) SELECT * FROM orders;
SELECT count(*), count(*) FILTER (WHERE k IN (7, 8, 1000)) AS by_key, count(*) FILTER (WHERE owner = 'owner 77') AS own FROM orders;
\c - postgres
DROP POLICY own ON orders;

-- UPDATE, DELETE, MERGE.
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) UPDATE orders SET amount = amount + 1;
EXPLAIN (COSTS OFF) DELETE FROM orders WHERE amount > 90;
BEGIN;
WITH changed AS (UPDATE orders SET amount = amount + 1 RETURNING k) SELECT k, count(*) FROM changed GROUP BY k ORDER BY k;
WITH gone AS (DELETE FROM orders WHERE k <> 8 RETURNING k) SELECT k, count(*) FROM gone GROUP BY k ORDER BY k;
SELECT count(*) FROM orders;
ROLLBACK;
-- A row that is moved to another key held is not found again; one that is not held is not to be had.
BEGIN;
UPDATE orders SET k = CASE k WHEN 7 THEN 1000 ELSE 7 END;
SELECT k, count(*) FROM orders GROUP BY k ORDER BY k;
UPDATE orders SET k = 9;
ROLLBACK;
SELECT * FROM checks('MERGE INTO orders o USING (VALUES (7), (9)) v (k) ON o.k = v.k WHEN MATCHED THEN UPDATE SET amount = 0');
BEGIN;
MERGE INTO orders o USING (VALUES (7), (9)) v (k) ON o.k = v.k WHEN MATCHED THEN UPDATE SET amount = -1;
SELECT k, count(*) FROM orders WHERE amount = -1 GROUP BY k;
ROLLBACK;
SELECT count(*) FROM orders WHERE k IN (7, 8);
SELECT id FROM orders WHERE k = 7 ORDER BY id LIMIT 2 FOR UPDATE;

-- Without a policy the clause does the same.
\c - postgres
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE jit_active('s', k);
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE jit_active('s', k) = true AND id > 0;
SELECT count(*) FROM orders WHERE jit_active('s', k);
-- What has not to be true has no use of an index.
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE NOT jit_active('s', k);
SELECT count(*) FROM orders WHERE NOT jit_active('s', k);
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE jit_active('s', k) IS NOT TRUE;
-- Two checks of one key.
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE jit_active('s', k) AND jit_active('s', k + 1);
SELECT k, count(*) FROM orders WHERE jit_active('s', k) AND jit_active('s', k + 1) GROUP BY k;
-- A view of somebody's, with a barrier.
\c - postgres
CREATE VIEW guarded WITH (security_barrier) AS SELECT * FROM orders WHERE jit_active('s', k);
GRANT SELECT ON guarded TO PUBLIC;
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM guarded WHERE amount::text <> '5';
SELECT count(*) FROM guarded WHERE amount::text <> '5';
\c - carol
SELECT count(*) FROM guarded;
