-- FETCH reads nothing from what a cursor has stored before: a PL/pgSQL function can open one on a statement that is carried out to its end
-- at the first FETCH, and later ones no longer pass through the executor.

SELECT jit.create_scope('s', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 100) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s'));
GRANT ALL ON t TO PUBLIC;
GRANT CREATE ON SCHEMA public TO alice;
\setenv PGDATABASE :DBNAME
\set VERBOSITY terse
\c - alice
\pset tuples_only on
CREATE TABLE mine (i int);
CREATE FUNCTION writing_cte(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS $$
BEGIN
    OPEN c FOR WITH x AS (INSERT INTO mine VALUES (1)) SELECT id FROM t;
    RETURN c;
END $$;
CREATE FUNCTION returning_rows(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS $$
BEGIN
    OPEN c FOR INSERT INTO mine SELECT id FROM t RETURNING i;
    RETURN c;
END $$;
CREATE FUNCTION of_execute(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS $$
BEGIN
    OPEN c FOR EXECUTE 'EXECUTE q';
    RETURN c;
END $$;
CREATE PROCEDURE reads(c refcursor) LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FETCH c INTO r; RAISE NOTICE 'read %', r; END $$;
PREPARE q AS SELECT id FROM t;
SELECT jit_request('s', 'test');
\! psql -X -q -At -U bob -c "SELECT jit_approve(1)"
BEGIN;
SELECT writing_cte('a'), returning_rows('b'), of_execute('c');
FETCH 1 FROM a;
FETCH 1 FROM b;
FETCH 1 FROM c;
SAVEPOINT s;
\! psql -X -q -At -U bob -c "SELECT FROM jit_revoke(1, 'done')"
FETCH 1 FROM a;
ROLLBACK TO s;
FETCH 1 FROM b;
ROLLBACK TO s;
FETCH 1 FROM c;
ROLLBACK TO s;
MOVE 1 IN c;
ROLLBACK TO s;
-- PL/pgSQL's own FETCH comes by no hook: what would run it does not.
DO $$ DECLARE c refcursor := 'b'; r record; BEGIN FETCH c INTO r; RAISE NOTICE 'read %', r; END $$;
ROLLBACK TO s;
CALL reads('a');
ROLLBACK;
