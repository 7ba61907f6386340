-- Text keys are compared by their bytes. An index finds what is equal so, unless its collation takes different texts for equal.

SELECT jit.create_scope('s', '{"key_type": "text", "approvers": {"support_lead": 1}}');
CREATE COLLATION german (provider = icu, locale = 'de');
CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN anycase_text AS text COLLATE anycase;
-- Texts that some take for equal: case, accents composed and decomposed, spaces at the end.
CREATE TABLE base AS SELECT i AS id, 'filler ' || i AS k FROM generate_series(1, 5000) i;
INSERT INTO base SELECT -10 * i - n, k FROM unnest(ARRAY['abc', 'ABC', 'Abc', 'abc ', E'caf\u00e9', E'cafe\u0301', 'cafe', 'strasse', E'stra\u00dfe', '', ' ']) WITH ORDINALITY x (k, i), generate_series(1, 2) n;
CREATE TABLE by_c AS TABLE base;           ALTER TABLE by_c ALTER k TYPE text COLLATE "C";
CREATE TABLE by_posix AS TABLE base;       ALTER TABLE by_posix ALTER k TYPE text COLLATE "POSIX";
CREATE TABLE by_default AS TABLE base;
CREATE TABLE by_german AS TABLE base;      ALTER TABLE by_german ALTER k TYPE text COLLATE german;
CREATE TABLE by_anycase AS TABLE base;     ALTER TABLE by_anycase ALTER k TYPE text COLLATE anycase;
CREATE TABLE by_domain AS TABLE base;      ALTER TABLE by_domain ALTER k TYPE anycase_text;
CREATE TABLE by_pattern AS TABLE base;     ALTER TABLE by_pattern ALTER k TYPE text COLLATE german;
CREATE TABLE by_varchar AS TABLE base;     ALTER TABLE by_varchar ALTER k TYPE varchar COLLATE german;
-- The index may have another collation than the column.
CREATE TABLE other_index AS TABLE base;    ALTER TABLE other_index ALTER k TYPE text COLLATE anycase;
CREATE TABLE worse_index AS TABLE base;
DO $$
DECLARE t text; key text;
BEGIN
    FOR t, key IN VALUES ('by_c', 'k'), ('by_posix', 'k'), ('by_default', 'k'), ('by_german', 'k'), ('by_anycase', 'k'), ('by_domain', 'k'),
                         ('by_pattern', 'k text_pattern_ops'), ('by_varchar', 'k varchar_pattern_ops'),
                         ('other_index', 'k COLLATE "C"'), ('worse_index', 'k COLLATE anycase') LOOP
        EXECUTE format('CREATE INDEX %s_k ON %s (%s)', t, t, key);
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY jit ON %s USING (jit_active(''s'', k))', t);
        EXECUTE format('GRANT SELECT ON %s TO PUBLIC', t);
    END LOOP;
END $$;
VACUUM ANALYZE;

\c - alice
SELECT jit_request('s', 'test', key => 'abc') AS a, jit_request('s', 'test', key => E'cafe\u0301') AS b, jit_request('s', 'test', key => 'strasse') AS c \gset
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM by_c;
EXPLAIN (COSTS OFF) SELECT * FROM by_posix;
EXPLAIN (COSTS OFF) SELECT * FROM by_default;
EXPLAIN (COSTS OFF) SELECT * FROM by_german;
EXPLAIN (COSTS OFF) SELECT * FROM by_varchar;
EXPLAIN (COSTS OFF) SELECT * FROM by_pattern;
EXPLAIN (COSTS OFF) SELECT * FROM other_index;
-- None.
EXPLAIN (COSTS OFF) SELECT * FROM by_anycase;
EXPLAIN (COSTS OFF) SELECT * FROM by_domain;
EXPLAIN (COSTS OFF) SELECT * FROM worse_index;
-- The same rows everywhere.
SELECT t, array_agg(id ORDER BY id) FROM (
    SELECT 'by_c' AS t, id FROM by_c UNION ALL SELECT 'by_posix', id FROM by_posix UNION ALL SELECT 'by_default', id FROM by_default
    UNION ALL SELECT 'by_german', id FROM by_german UNION ALL SELECT 'by_anycase', id FROM by_anycase UNION ALL SELECT 'by_domain', id FROM by_domain
    UNION ALL SELECT 'by_pattern', id FROM by_pattern UNION ALL SELECT 'by_varchar', id FROM by_varchar
    UNION ALL SELECT 'other_index', id FROM other_index UNION ALL SELECT 'worse_index', id FROM worse_index) x GROUP BY t ORDER BY t;
-- With a condition that some of them take for true of other rows as well.
SELECT (SELECT array_agg(id) FROM by_c WHERE k = 'ABC') AS c, (SELECT array_agg(id) FROM by_anycase WHERE k = 'ABC') AS anycase,
       (SELECT array_agg(id ORDER BY id) FROM by_anycase WHERE k = 'abc') AS anycase_lower, (SELECT count(*) FROM by_anycase WHERE k = 'STRASSE') AS street;
-- In the order of the index's collation.
SELECT array_agg(k) FROM (SELECT k FROM by_c ORDER BY k LIMIT 5) x;
SELECT array_agg(k) FROM (SELECT k FROM by_german ORDER BY k DESC LIMIT 5) x;
-- The policy's own collation has no say.
\c - postgres
DROP POLICY jit ON by_c; CREATE POLICY jit ON by_c USING (jit_active('s', k COLLATE anycase));
\c - alice
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM by_c;
SELECT array_agg(id ORDER BY id) FROM by_c;
-- Nor has a join that mixes them.
SELECT count(*) FROM by_c c JOIN by_german g ON c.k = g.k COLLATE "C";
SELECT count(*) FROM by_anycase c JOIN by_anycase g ON c.k = g.k;
