-- An index on the key is used for the keys that are held, whatever type the key has.

SELECT jit.create_scope(type, jsonb_build_object('key_type', type, 'approvers', jsonb_build_object('support_lead', 1)))
  FROM unnest(ARRAY['smallint', 'int', 'bigint', 'uuid', 'text']) type;
CREATE DOMAIN customer AS int CHECK (VALUE > 0);
CREATE DOMAIN account AS customer;
CREATE DOMAIN code AS text;
-- Each key in 10 rows, side by side.
CREATE FUNCTION uuid_of(i int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT lpad(to_hex(i), 32, '0')::uuid $$;
CREATE TABLE k2 AS SELECT i AS id, (i / 10)::smallint AS k FROM generate_series(10, 10009) i;
CREATE TABLE k4 AS SELECT id, k::int FROM k2;
CREATE TABLE k8 AS SELECT id, k::bigint FROM k2;
CREATE TABLE ku AS SELECT id, uuid_of(k) AS k FROM k2;
CREATE TABLE kt AS SELECT id, 'key ' || to_char(k, 'FM0000') AS k FROM k2;
CREATE TABLE kv AS SELECT id, k::varchar(20) FROM kt;
CREATE TABLE kc AS SELECT id, k::char(8) FROM kt;
CREATE TABLE kd AS SELECT id, k::customer FROM k2;
CREATE TABLE ka AS SELECT id, k::account FROM k2;
CREATE TABLE kdt AS SELECT id, k::code FROM kt;
DO $$
DECLARE t text; scope text;
BEGIN
    FOR t, scope IN VALUES ('k2', 'smallint'), ('k4', 'int'), ('k8', 'bigint'), ('ku', 'uuid'), ('kt', 'text'),
                           ('kv', 'text'), ('kc', 'text'), ('kd', 'int'), ('ka', 'int'), ('kdt', 'text') LOOP
        EXECUTE format('CREATE INDEX %1$s_key ON %1$s (k)', t);
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY jit ON %s USING (jit_active(%L, k))', t, scope);
        EXECUTE format('GRANT SELECT ON %s TO PUBLIC', t);
    END LOOP;
END $$;
VACUUM ANALYZE;

\c - alice
SELECT jit_request(type, 'test', key => k) FROM unnest(ARRAY['smallint', 'int', 'bigint']) type, unnest(ARRAY['7', '1000', '-5']) k;
SELECT jit_request('bigint', 'test', key => '4000000000'), jit_request('int', 'test', key => '70000');
SELECT jit_request('uuid', 'test', key => uuid_of(k)::text) FROM unnest(ARRAY[7, 1000]) k;
SELECT jit_request('text', 'test', key => k) FROM unnest(ARRAY['key 0007', 'key 1000', 'no such']) k;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM k2;
EXPLAIN (COSTS OFF) SELECT * FROM k4;
EXPLAIN (COSTS OFF) SELECT * FROM k8;
EXPLAIN (COSTS OFF) SELECT * FROM ku;
EXPLAIN (COSTS OFF) SELECT * FROM kt;
EXPLAIN (COSTS OFF) SELECT * FROM kv;
EXPLAIN (COSTS OFF) SELECT * FROM kd;
EXPLAIN (COSTS OFF) SELECT * FROM ka;
EXPLAIN (COSTS OFF) SELECT * FROM kdt;
-- The cast of char to text is no mere change of name: its index is of no use.
EXPLAIN (COSTS OFF) SELECT * FROM kc;

-- What is seen is what the keys held say.
CREATE TEMP TABLE seen (k text, type text, rows bigint, first int, last int);
INSERT INTO seen SELECT k::text, 'smallint', count(*), min(id), max(id) FROM k2 GROUP BY k;
INSERT INTO seen SELECT k::text, 'int', count(*), min(id), max(id) FROM k4 GROUP BY k;
INSERT INTO seen SELECT k::text, 'bigint', count(*), min(id), max(id) FROM k8 GROUP BY k;
INSERT INTO seen SELECT right(k::text, 4), 'uuid', count(*), min(id), max(id) FROM ku GROUP BY k;
INSERT INTO seen SELECT k, 'text', count(*), min(id), max(id) FROM kt GROUP BY k;
INSERT INTO seen SELECT k, 'varchar', count(*), min(id), max(id) FROM kv GROUP BY k;
INSERT INTO seen SELECT k, 'char', count(*), min(id), max(id) FROM kc GROUP BY k;
INSERT INTO seen SELECT k, 'domain over int', count(*), min(id), max(id) FROM kd GROUP BY k;
INSERT INTO seen SELECT k, 'domain over domain', count(*), min(id), max(id) FROM ka GROUP BY k;
INSERT INTO seen SELECT k, 'domain over text', count(*), min(id), max(id) FROM kdt GROUP BY k;
SELECT type, string_agg(format('%s: %s rows (%s to %s)', k, rows, first, last), ', ' ORDER BY k) AS seen FROM seen GROUP BY type ORDER BY type;
-- So it is by the row check alone.
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SELECT (SELECT count(*) FROM k2) AS k2, (SELECT count(*) FROM k4) AS k4, (SELECT count(*) FROM k8) AS k8, (SELECT count(*) FROM ku) AS ku,
       (SELECT count(*) FROM kt) AS kt, (SELECT count(*) FROM kv) AS kv, (SELECT count(*) FROM kc) AS kc, (SELECT count(*) FROM kd) AS kd;

-- A column of another integer type than the scope's keys: keys that do not fit it are in no row.
\c - postgres
DROP POLICY jit ON k2; CREATE POLICY jit ON k2 USING (jit_active('bigint', k));
DROP POLICY jit ON k4; CREATE POLICY jit ON k4 USING (jit_active('bigint', k));
DROP POLICY jit ON k8; CREATE POLICY jit ON k8 USING (jit_active('smallint', k));
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM k2;
EXPLAIN (COSTS OFF) SELECT * FROM k4;
EXPLAIN (COSTS OFF) SELECT * FROM k8;
SELECT (SELECT array_agg(DISTINCT k) FROM k2) AS k2, (SELECT array_agg(DISTINCT k) FROM k4) AS k4, (SELECT array_agg(DISTINCT k) FROM k8) AS k8;
-- A cast of the column is an expression, which an index must have to be used.
\c - postgres
DROP POLICY jit ON k4; CREATE POLICY jit ON k4 USING (jit_active('bigint', k::bigint));
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM k4;
\c - postgres
CREATE INDEX k4_bigint ON k4 ((k::bigint));
ANALYZE k4;
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM k4;
SELECT array_agg(DISTINCT k), count(*) FROM k4;

-- NULL is no key.
\c - postgres
INSERT INTO k8 SELECT 20000 + i, NULL FROM generate_series(1, 10) i;
\c - alice
SELECT count(*), count(k) FROM k8;
SET enable_bitmapscan = off;
SET enable_indexscan = off;
SELECT count(*), count(k) FROM k8;
