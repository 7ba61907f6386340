-- A transaction that has used a grant which has ended runs nothing more, whatever it tries: it may hold what the grant has shown it.
-- In each case alice uses a grant, bob revokes it, and alice goes on.

SELECT jit.create_scope('s', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t AS SELECT i AS id, 'secret ' || i AS secret FROM generate_series(1, 200) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s'));
CREATE TABLE plain AS SELECT 1 AS id;
CREATE SCHEMA mine AUTHORIZATION alice;
GRANT ALL ON t, plain TO PUBLIC;
ANALYZE t;
\setenv PGDATABASE :DBNAME
\set VERBOSITY terse

\c - alice
SET search_path = mine, public;
CREATE FUNCTION reads() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
CREATE FUNCTION outer_one() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN reads(); END';

-- A statement, a function, a prepared statement.
SELECT jit_request('s', 'test') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
PREPARE q AS SELECT count(*) FROM t;
PREPARE other AS SELECT 'nothing to do with it';
BEGIN;
SELECT count(*) FROM t;
EXECUTE q;
EXECUTE other;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
SELECT 1;
ROLLBACK;
-- The next transaction is none of its business.
SELECT 1 AS fine, count(*) FROM t;
EXECUTE q;

SELECT jit_request('s', 'test') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
BEGIN;
EXECUTE q;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
EXECUTE other;
COMMIT;
SELECT 1 AS fine;

SELECT jit_request('s', 'test') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
BEGIN;
SELECT outer_one();
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
DO $$ BEGIN PERFORM reads(); END $$;
ROLLBACK;

-- Each of the rest, tried at savepoints of one transaction. What is no statement of the executor's goes on.
SELECT jit_request('s', 'test') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
BEGIN;
DECLARE c CURSOR FOR SELECT id, secret FROM t;
DECLARE d SCROLL CURSOR FOR SELECT id, secret FROM t;
DECLARE e SCROLL CURSOR FOR SELECT id, secret FROM t;
DECLARE f CURSOR FOR SELECT id, secret FROM t ORDER BY secret;
DECLARE before_use CURSOR FOR SELECT id FROM plain;
FETCH 2 FROM c;
MOVE 2 IN d;
MOVE 2 IN e;
MOVE 2 IN f;
SAVEPOINT s;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH PRIOR FROM d;
ROLLBACK TO s;
FETCH ABSOLUTE 1 FROM e;
ROLLBACK TO s;
MOVE ALL IN f;
ROLLBACK TO s;
FETCH FIRST FROM d;
ROLLBACK TO s;
FETCH ALL FROM before_use;
ROLLBACK TO s;
EXECUTE other;
ROLLBACK TO s;
SELECT FROM plain;
ROLLBACK TO s;
INSERT INTO plain SELECT 2;
ROLLBACK TO s;
INSERT INTO plain VALUES (2) RETURNING id;
ROLLBACK TO s;
UPDATE plain SET id = 2 WHERE CURRENT OF before_use;
ROLLBACK TO s;
DELETE FROM plain;
ROLLBACK TO s;
MERGE INTO plain p USING t ON t.id = p.id WHEN MATCHED THEN DELETE;
ROLLBACK TO s;
VALUES (1);
ROLLBACK TO s;
TABLE plain;
ROLLBACK TO s;
COPY (SELECT * FROM t) TO STDOUT;
ROLLBACK TO s;
COPY t TO STDOUT;
ROLLBACK TO s;
CREATE TABLE mine.copy AS SELECT * FROM t;
ROLLBACK TO s;
CREATE TABLE mine.copy AS EXECUTE q;
ROLLBACK TO s;
SELECT * INTO mine.copy FROM plain;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW mine.copy AS SELECT * FROM plain;
ROLLBACK TO s;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM plain;
ROLLBACK TO s;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q;
ROLLBACK TO s;
DO $$ BEGIN PERFORM count(*) FROM plain; END $$;
ROLLBACK TO s;
DO $$ BEGIN EXECUTE 'SELECT 1'; END $$;
ROLLBACK TO s;
SELECT jit_release(1);
ROLLBACK TO s;
SELECT jit_request('s', 'again');
ROLLBACK TO s;
SELECT jit_active('s'), jit_active('no such');
ROLLBACK TO s;
-- A plan is shown, nothing more; a variable is set, a name is made.
EXPLAIN (COSTS OFF) SELECT * FROM plain;
SET LOCAL work_mem = '1MB';
CLOSE c;
RELEASE s;
ROLLBACK;
SELECT 1 AS fine;

-- Several statements in one message are one transaction.
SELECT jit_request('s', 'test', duration => '3 seconds') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
SELECT ends_at FROM jit.my_grants WHERE id = :r \gset
SELECT count(*) FROM t\; SELECT pg_sleep_until(:'ends_at'::timestamptz + '10 ms')\; SELECT 'went on';
SELECT 1 AS fine;

-- AND CHAIN begins another transaction.
SELECT jit_request('s', 'test') AS r \gset
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
BEGIN;
SELECT count(*) FROM t;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke($R, 'done')"
COMMIT AND CHAIN;
SELECT 1 AS fine, count(*) FROM t;
ROLLBACK;
