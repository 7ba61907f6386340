-- One's own release, not committed, does not hide how the grant ends for everybody: a transaction that has used it and goes on after its
-- end would read with a plan that was decided while it lived.

SELECT jit.create_scope('s', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 100) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s'));
GRANT SELECT ON t TO PUBLIC;
\setenv PGDATABASE :DBNAME
\set VERBOSITY terse
\c - alice
\pset tuples_only on
-- The membership that the grant served by is lost.
SELECT jit_request('s', 'test', grantee => 'support');
\! psql -X -q -At -U bob -c "SELECT jit_approve(1)"
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t;
FETCH 1 FROM c;
SELECT jit_release(1);
FETCH 1 FROM c;
\! psql -X -q -At -U postgres -c "REVOKE support FROM alice"
FETCH 1 FROM c;
ROLLBACK;
\! psql -X -q -At -U postgres -c "GRANT support TO alice"
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(1, 'done')"
-- It expires. Where there is no worker, nobody else puts that on record.
SELECT jit_request('s', 'test', duration => '3 seconds');
\! psql -X -q -At -U bob -c "SELECT jit_approve(2)"
SELECT ends_at FROM jit.my_grants WHERE id = 2 \gset
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t;
FETCH 1 FROM c;
SELECT jit_release(2);
FETCH 1 FROM c;
SELECT pg_sleep_until(:'ends_at'::timestamptz + '10 ms');
FETCH 1 FROM c;
ROLLBACK;
SELECT count(*) FROM t;
