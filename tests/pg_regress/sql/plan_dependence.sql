-- A plan that is kept is made anew when it was made on what is no longer so: each time exactly the rows that are to be seen.
-- One session keeps its plans, in a prepared statement and in functions; everything else happens in others.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, nullif(i / 10, 9) AS k FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
CREATE TABLE later (LIKE t INCLUDING ALL);
INSERT INTO later TABLE t;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
ALTER TABLE later ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON later USING (jit_active('later', k));
GRANT SELECT ON t, later TO PUBLIC;
VACUUM ANALYZE t, later;
CREATE FUNCTION invoker() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
CREATE FUNCTION in_sql() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM t';
CREATE FUNCTION definer() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE jit_active(''s'', k)); END';
CREATE FUNCTION wait_until(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() < at LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
CREATE FUNCTION wait_until_tidied(request bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM jit_private.grants WHERE id = request AND tidied_at IS NULL) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 'tidied';
END $$;
\setenv PGDATABASE :DBNAME

\c - alice
SET plan_cache_mode = force_generic_plan;
PREPARE t AS SELECT count(*) FROM t;
PREPARE point (int) AS SELECT count(*) FROM t WHERE k = $1;
PREPARE later AS SELECT count(*) FROM later;
\set look 'EXECUTE t; EXECUTE point (500); SELECT invoker(), in_sql(), definer();'
\pset tuples_only on
SELECT jit_request('s', 'test', key => '7');
\! psql -X -q -At -U bob -c "SELECT jit_approve(1)"
:look
EXPLAIN (COSTS OFF) EXECUTE t;

-- A grant for all rows: approved, …
SELECT jit_request('s', 'test', all_rows => true);
\! psql -X -q -At -U bob -c "SELECT jit_approve(2)"
:look
-- … and revoked; when that is tidied away, the index is used again.
\! psql -X -q -At -U bob -c "SELECT jit_revoke(2, 'done')"
:look
\! psql -X -q -At -U postgres -c "SELECT wait_until_tidied(2)"
:look
EXPLAIN (COSTS OFF) EXECUTE t;

-- Approved, and expired.
SELECT jit_request('s', 'test', all_rows => true, duration => '3 seconds');
\! psql -X -q -At -U bob -c "SELECT jit_approve(3)"
:look
SELECT wait_until(ends_at) FROM jit.my_grants WHERE id = 3;
:look

-- Scheduled: not before its start.
SELECT jit_request('s', 'test', all_rows => true, starts_at => clock_timestamp() + '3 seconds');
\! psql -X -q -At -U bob -c "SELECT jit_approve(4)"
:look
SELECT wait_until(starts_at) FROM jit.my_grants WHERE id = 4;
:look
SELECT jit_release(4);
:look

-- Somebody else's.
\! psql -X -q -At -U carol -c "SELECT jit_request('s', 'test', all_rows => true)"
\! psql -X -q -At -U bob -c "SELECT jit_approve(5)"
:look
EXPLAIN (COSTS OFF) EXECUTE t;
\! psql -X -q -At -U carol -c "SELECT count(*) FROM t"
\! psql -X -q -At -U carol -c "SELECT jit_release(5)"

-- Another key, and that gone again.
SELECT jit_request('s', 'test', key => '500');
\! psql -X -q -At -U bob -c "SELECT jit_approve(6)"
:look
\! psql -X -q -At -U bob -c "SELECT jit_revoke(6, 'done')"
:look

-- A group's, which one leaves and joins.
SELECT jit_request('s', 'test', all_rows => true, grantee => 'support');
\! psql -X -q -At -U bob -c "SELECT jit_approve(7)"
:look
\! psql -X -q -At -U postgres -c "REVOKE support FROM alice"
:look
\! psql -X -q -At -U postgres -c "GRANT support TO alice"
:look
-- Rules that are changed leave it alone.
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"allow_all_rows\": false}')"
:look
\! psql -X -q -At -U bob -c "SELECT jit_revoke(7, 'done')"
:look
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"allow_all_rows\": true}')"
:look

-- In an open transaction, which needs no new locks, the first execution may still use the old plan: rows missing once, none too many.
BEGIN;
EXECUTE t;
SELECT jit_request('s', 'test', all_rows => true) AS r \gset
COMMIT;
BEGIN;
EXECUTE t;
\setenv R :r
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
EXECUTE t \gset first_
SELECT :first_count IN (10, 10000);
EXECUTE t;
COMMIT;
:look
\! psql -X -q -At -U bob -c "SELECT jit_revoke($R, 'done')"
:look

-- The scope is disabled, enabled, dropped, made again: with a grant for all rows; with other keys; without any.
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"enabled\": false}')"
:look
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"enabled\": true}')"
:look
\! psql -X -q -At -U postgres -c "SELECT FROM jit.drop_scope('s')"
:look
\! psql -X -q -At -U postgres -c "SELECT FROM jit.create_scope('s', '{\"key_type\": \"int\", \"allow_all_rows\": true, \"approvers\": {\"support_lead\": 1}}')"
SELECT jit_request('s', 'test', key => '8') AS a, jit_request('s', 'test', all_rows => true) AS b \gset
:look
\setenv R :b
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
:look
\! psql -X -q -At -U postgres -c "SELECT FROM jit.drop_scope('s')"
\! psql -X -q -At -U postgres -c "SELECT FROM jit.create_scope('s', '{\"key_type\": \"bigint\", \"approvers\": {\"support_lead\": 1}}')"
SELECT jit_request('s', 'test', key => '9') AS r, jit_request('s', 'test', key => '10') AS r2 \gset
\setenv R :r
\setenv R2 :r2
\! psql -X -q -At -U bob -c "SELECT jit_approve($R), jit_approve($R2)"
:look
\set VERBOSITY terse
\! psql -X -q -At -U postgres -c "SELECT FROM jit.drop_scope('s')"
\! psql -X -q -At -U postgres -c "SELECT FROM jit.create_scope('s', '{\"key_type\": \"uuid\", \"approvers\": {\"support_lead\": 1}}')"
EXECUTE t;
SELECT invoker();
\! psql -X -q -At -U postgres -c "SELECT FROM jit.drop_scope('s')"
\! psql -X -q -At -U postgres -c "SELECT FROM jit.create_scope('s', '{\"approvers\": {\"support_lead\": 1}}')"
EXECUTE t;
SELECT invoker();

-- A scope that comes after the plan.
EXECUTE later;
\! psql -X -q -At -U postgres -c "SELECT FROM jit.create_scope('later', '{\"key_type\": \"int\", \"allow_all_rows\": true, \"approvers\": {\"support_lead\": 1}}')"
SELECT jit_request('later', 'test', all_rows => true) AS r \gset
\setenv R :r
EXECUTE later;
\! psql -X -q -At -U bob -c "SELECT jit_approve($R)"
EXECUTE later;
