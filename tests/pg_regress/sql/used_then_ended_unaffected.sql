-- What is no use of a grant that has ended, and does not stop a transaction.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}, "on_end": "none"}');
SELECT jit.create_scope('w', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t AS SELECT i AS id, i / 10 AS k FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
CREATE TABLE gated AS SELECT i AS id FROM generate_series(1, 100) i;
ALTER TABLE gated ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON gated USING (jit_active('w'));
GRANT SELECT ON t, gated TO PUBLIC;
GRANT CREATE ON SCHEMA public TO alice;
VACUUM ANALYZE t, gated;
\setenv PGDATABASE :DBNAME
\set VERBOSITY terse
\c - alice
\pset tuples_only on
SELECT jit_request('s', 'test', key => k::text) FROM generate_series(1, 9) k;
SELECT jit_request('w', 'test') FROM generate_series(1, 1);
\! psql -X -q -At -U bob -c "SELECT count(jit_approve(id)) FROM jit.pending"

-- A plan that is only shown.
BEGIN;
EXPLAIN (COSTS OFF) SELECT * FROM t;
EXPLAIN (COSTS OFF) SELECT * FROM gated;
PREPARE q AS SELECT * FROM gated;
EXPLAIN (COSTS OFF) EXECUTE q;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE k = ANY (jit_keys('s', NULL::int));
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(1, 'done')"
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(10, 'done')"
SELECT 'goes on';
COMMIT;

-- Another key than was read: by the index, by a bitmap, by the check of each row.
BEGIN;
SELECT count(*) FROM t WHERE k = 5;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(2, 'done')"
SELECT count(*) FROM t WHERE id BETWEEN 50 AND 59;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_indexonlyscan = off;
SELECT count(*) FROM t WHERE k = 5;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(3, 'done')"
SELECT 'goes on';
COMMIT;
-- jit_keys() gives every key away.
BEGIN;
SELECT jit_keys('s', NULL::int);
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(4, 'done')"
SELECT 'goes on';
COMMIT;
-- A check that denies uses nothing; nor does a row that is not there.
BEGIN;
SELECT jit_active('s', 4), jit_active('w'), jit_active('s', NULL::int), (SELECT count(*) FROM t WHERE k = 6 AND id < 0), (SELECT count(*) FROM gated);
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(6, 'done')"
SELECT 'goes on';
COMMIT;
-- Somebody else's grants, and requests that are denied.
\! psql -X -q -At -U carol -c "SELECT jit_request('s', 'test', key => '5'), jit_request('s', 'test', key => '6')"
\! psql -X -q -At -U bob -c "SELECT jit_approve(11)"
BEGIN;
SELECT count(*) FROM t WHERE k = 5;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(11, 'done')"
\! psql -X -q -At -U bob -c "SELECT FROM jit_deny(12, 'no')"
SELECT 'goes on', count(*) FROM t WHERE k = 5;
COMMIT;
-- Rules that change, and other scopes that are stopped.
BEGIN;
SELECT count(*) FROM t WHERE k = 5;
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"max_duration\": \"2 hours\", \"allow_all_rows\": false}')"
\! psql -X -q -At -U postgres -c "SELECT FROM jit.drop_scope('w')"
SELECT 'goes on', count(*) FROM t WHERE k = 5;
COMMIT;
-- An ending that is not committed, or rolled back.
BEGIN;
SELECT count(*) FROM t WHERE k = 5;
\! psql -X -q -At -U bob -c "BEGIN" -c "SELECT FROM jit_revoke(5, 'done')" -c "ROLLBACK"
SELECT 'goes on', count(*) FROM t WHERE k = 5;
COMMIT;
-- One of the transaction before.
BEGIN;
SELECT count(*) FROM t WHERE k = 5;
COMMIT;
BEGIN;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(5, 'done')"
SELECT 'goes on', count(*) FROM t WHERE k = 5;
COMMIT;

-- One's own release: not as long as it can be taken back, …
BEGIN;
SELECT count(*) FROM t WHERE k = 7;
SAVEPOINT a;
SELECT jit_release(7);
SELECT 'goes on', count(*) FROM t WHERE k = 7;
ROLLBACK TO a;
SELECT 'goes on', count(*) FROM t WHERE k = 7;
-- … and after it was, by what others do;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(7, 'done')"
SELECT 'went on';
ROLLBACK;
-- nor does it shield from that.
BEGIN;
SELECT count(*) FROM t WHERE k = 8;
SELECT jit_release(8);
SELECT 'goes on';
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(8, 'done')"
SELECT 'went on';
ROLLBACK;
BEGIN;
SELECT count(*) FROM t WHERE k = 9;
SELECT jit_release(9);
COMMIT;
SELECT 'goes on', count(*) FROM t WHERE k = 9;

-- What a function reads while the planner tries it out has been read.
SELECT jit_request('s', 'test', key => '5') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
CREATE FUNCTION tried_out() RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE k = 5); END';
BEGIN;
EXPLAIN (COSTS OFF) SELECT tried_out() AS rows;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
SELECT 'went on';
ROLLBACK;
