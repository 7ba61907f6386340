-- Which indexes the keys held are looked up in: B-trees whose first column is the key, and no others.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('t', '{"key_type": "text", "approvers": {"support_lead": 1}}');
CREATE EXTENSION btree_gist;
CREATE EXTENSION btree_gin;
CREATE TABLE base AS SELECT i AS id, i / 10 AS k, 'Key ' || i / 10 AS name, i % 2 = 0 AS open FROM generate_series(10, 10009) i;
CREATE TABLE hashed AS TABLE base;       CREATE INDEX hashed_i ON hashed USING hash (k);
CREATE TABLE brin AS TABLE base;         CREATE INDEX brin_i ON brin USING brin (k) WITH (pages_per_range = 1);
CREATE TABLE gist AS TABLE base;         CREATE INDEX gist_i ON gist USING gist (k);
CREATE TABLE gin AS TABLE base;          CREATE INDEX gin_i ON gin USING gin (k);
CREATE TABLE uniq AS SELECT id, id AS k FROM base; CREATE UNIQUE INDEX uniq_i ON uniq (k);
CREATE TABLE wide AS TABLE base;         CREATE INDEX wide_i ON wide (k, open) INCLUDE (id);
CREATE TABLE descending AS TABLE base;   CREATE INDEX descending_i ON descending (k DESC NULLS LAST);
CREATE TABLE partial AS TABLE base;      CREATE INDEX partial_i ON partial (k) WHERE open;
CREATE TABLE expression AS TABLE base;   CREATE INDEX expression_i ON expression (lower(name));
CREATE TABLE stranger AS TABLE base;     CREATE INDEX stranger_i ON stranger ((k + 1));
DO $$
DECLARE t text; key text;
BEGIN
    FOREACH t IN ARRAY ARRAY['hashed', 'brin', 'gist', 'gin', 'uniq', 'wide', 'descending', 'partial', 'expression', 'stranger'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY jit ON %I USING (%s)', t,
                       CASE t WHEN 'expression' THEN $p$jit_active('t', lower(name))$p$ ELSE $p$jit_active('s', k)$p$ END);
        EXECUTE format('GRANT SELECT ON %I TO PUBLIC', t);
    END LOOP;
END $$;
VACUUM ANALYZE;

\c - alice
SELECT jit_request('s', 'test', key => '7') AS a, jit_request('s', 'test', key => '500') AS b, jit_request('t', 'test', key => 'key 7') AS c,
       jit_request('t', 'test', key => 'Key 8') AS d;
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET enable_bitmapscan = off;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM uniq;
EXPLAIN (COSTS OFF) SELECT k, open, id FROM wide WHERE open;
EXPLAIN (COSTS OFF) SELECT k FROM descending ORDER BY k DESC NULLS LAST;
SELECT k, count(*) FROM (SELECT k FROM descending ORDER BY k DESC NULLS LAST) x GROUP BY k ORDER BY k;
-- A partial index, where the query asks for no more than it has.
EXPLAIN (COSTS OFF) SELECT * FROM partial WHERE open;
SELECT count(*) FROM partial WHERE open;
-- An index on the expression that the policy has.
EXPLAIN (COSTS OFF) SELECT * FROM expression;
SELECT name, count(*) FROM expression GROUP BY name;
RESET enable_seqscan;

-- None: an index that does not have all the rows, one on another expression, and methods that cannot look up an array.
RESET enable_bitmapscan;
EXPLAIN (COSTS OFF) SELECT * FROM partial;
EXPLAIN (COSTS OFF) SELECT * FROM stranger;
EXPLAIN (COSTS OFF) SELECT * FROM hashed;
EXPLAIN (COSTS OFF) SELECT * FROM brin;
EXPLAIN (COSTS OFF) SELECT * FROM gist;
EXPLAIN (COSTS OFF) SELECT * FROM gin;
-- They still serve other conditions.
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM hashed WHERE k = 7;
EXPLAIN (COSTS OFF) SELECT * FROM gin WHERE k = 7;
SELECT (SELECT count(*) FROM hashed WHERE k = 7) AS hashed, (SELECT count(*) FROM hashed WHERE k = 8) AS hashed_not_held,
       (SELECT count(*) FROM brin WHERE k BETWEEN 5 AND 10) AS brin, (SELECT count(*) FROM gist WHERE k BETWEEN 5 AND 10) AS gist,
       (SELECT count(*) FROM gin WHERE k = 7) AS gin;
RESET enable_seqscan;
SELECT (SELECT count(*) FROM hashed) AS hashed, (SELECT count(*) FROM brin) AS brin, (SELECT count(*) FROM gist) AS gist,
       (SELECT count(*) FROM gin) AS gin, (SELECT count(*) FROM uniq) AS uniq, (SELECT count(*) FROM wide) AS wide,
       (SELECT count(*) FROM descending) AS descending, (SELECT count(*) FROM partial) AS partial,
       (SELECT count(*) FROM expression) AS expression, (SELECT count(*) FROM stranger) AS stranger;

-- An operator class of somebody's own, whose order and equality are others.
\c - postgres
CREATE FUNCTION mod_cmp(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT btint4cmp($1 % 100, $2 % 100)';
CREATE FUNCTION mod_lt(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 100 < $2 % 100';
CREATE FUNCTION mod_eq(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 100 = $2 % 100';
CREATE OPERATOR <% (FUNCTION = mod_lt, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR =% (FUNCTION = mod_eq, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR CLASS mod_ops FOR TYPE int USING btree AS OPERATOR 1 <%, OPERATOR 3 =%, FUNCTION 1 mod_cmp(int, int);
DROP INDEX stranger_i;
CREATE INDEX stranger_i ON stranger (k mod_ops);
\c - alice
SET enable_seqscan = off;
SELECT count(*) FROM stranger;
SET enable_seqscan = on;
EXPLAIN (COSTS OFF) SELECT * FROM stranger;
