-- No handler of PL/pgSQL's washes the use of a grant off, or gains anything by swallowing the refusal.

CREATE EXTENSION dblink;
SELECT jit.create_scope('s', '{"approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 200) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s'));
CREATE TABLE plain AS SELECT 1 AS id;
GRANT ALL ON t, plain TO PUBLIC;
GRANT CREATE ON SCHEMA public TO alice;
ANALYZE t;
-- Somebody else in another session, in the middle of a statement.
CREATE FUNCTION elsewhere(who text, statement text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    RETURN (SELECT r FROM dblink(format('host=%s port=%s dbname=%I user=%s', split_part(current_setting('unix_socket_directories'), ',', 1),
                                        current_setting('port'), current_database(), who), statement) AS x (r text));
END $$;
\set VERBOSITY terse

\c - alice
CREATE FUNCTION granted() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE r bigint;
BEGIN
    SELECT q INTO r FROM elsewhere('alice', $q$ SELECT jit_request('s', 'test') $q$) q;
    PERFORM elsewhere('bob', format('SELECT jit_approve(%s)', r));
    RETURN r;
END $$;
CREATE FUNCTION revoke(r bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM elsewhere('bob', format('SELECT jit_revoke(%s, %L)::text', r, 'done'));
END $$;

-- OTHERS does not catch it.
SELECT granted() AS r \gset
DO $$
DECLARE r bigint := max(id) FROM jit.my_grants WHERE state = 'active'; n bigint;
BEGIN
    BEGIN
        n := (SELECT count(*) FROM t);
        RAISE NOTICE '% rows', n;
        PERFORM revoke(r);
        n := (SELECT count(*) FROM plain);
        RAISE NOTICE 'went on';
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE 'caught %', SQLSTATE;
    END;
    RAISE NOTICE 'went on';
END $$;
-- By its name it is caught; then the next statement is refused, in the handler and after it.
SELECT granted() AS r \gset
DO $$
DECLARE r bigint := max(id) FROM jit.my_grants WHERE state = 'active'; n bigint;
BEGIN
    FOR i IN 1..3 LOOP
        BEGIN
            n := (SELECT count(*) FROM t);
            RAISE NOTICE '% rows', n;
            PERFORM revoke(r);
            PERFORM 1 FROM plain;
            RAISE NOTICE 'went on';
        EXCEPTION WHEN query_canceled THEN
            RAISE NOTICE 'caught % %', SQLSTATE, SQLERRM;
        END;
    END LOOP;
    BEGIN
        PERFORM 1 FROM plain;
    EXCEPTION WHEN query_canceled THEN
        PERFORM 1 FROM plain;
        RAISE NOTICE 'went on';
    END;
END $$;
SELECT 1 AS fine;
-- What was used in a block that has been rolled back has been used.
SELECT granted() AS r \gset
DO $$
DECLARE r bigint := max(id) FROM jit.my_grants WHERE state = 'active'; n bigint;
BEGIN
    BEGIN
        n := (SELECT count(*) FROM t);
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE '% rows', n;
    END;
    PERFORM revoke(r);
    PERFORM 1 FROM plain;
    RAISE NOTICE 'went on';
END $$;
-- At a savepoint as well.
SELECT granted() AS r \gset
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM t;
ROLLBACK TO a;
SELECT revoke(:r);
SELECT 1;
ROLLBACK TO a;
SELECT 1;
ROLLBACK;
-- A loop over a query reads ahead in a function, ten rows at first, and not in DO: what it has read it has, the next it does not get.
CREATE FUNCTION loops(r bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE n int := 0; x record;
BEGIN
    FOR x IN SELECT id FROM t LOOP
        n := n + 1;
        IF n = 5 THEN PERFORM revoke(r); END IF;
    END LOOP;
    RETURN format('all %s rows', n);
EXCEPTION WHEN query_canceled THEN
    RETURN format('%s rows, then %s', n, SQLERRM);
END $$;
SELECT granted() AS r \gset
SELECT loops(:r);
SELECT granted() AS r \gset
DO $$
DECLARE r bigint := max(id) FROM jit.my_grants WHERE state = 'active'; n int := 0; x record;
BEGIN
    FOR x IN SELECT id FROM t LOOP
        n := n + 1;
        IF n = 5 THEN PERFORM revoke(r); END IF;
    END LOOP;
    RAISE NOTICE 'all % rows', n;
EXCEPTION WHEN query_canceled THEN
    RAISE NOTICE '% rows, then %', n, SQLERRM;
END $$;
-- Likewise with a cursor.
SELECT granted() AS r \gset
DO $$
DECLARE r bigint := max(id) FROM jit.my_grants WHERE state = 'active'; c refcursor; x int;
BEGIN
    OPEN c FOR SELECT id FROM t;
    FETCH c INTO x;
    RAISE NOTICE 'row %', x;
    PERFORM revoke(r);
    FETCH c INTO x;
    RAISE NOTICE 'row %', x;
END $$;
-- A function that returns rows, and one inside another.
CREATE FUNCTION rows_of_t(r bigint) RETURNS SETOF int LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT id FROM t WHERE id < 3;
    PERFORM revoke(r);
    RETURN QUERY SELECT id FROM plain;
END $$;
CREATE FUNCTION around(r bigint) RETURNS SETOF int LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT * FROM rows_of_t(r); EXCEPTION WHEN OTHERS THEN RETURN; END';
SELECT granted() AS r \gset
SELECT * FROM around(:r);
-- A function of SQL, whose second statement comes too late.
CREATE FUNCTION in_sql(r bigint) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t; SELECT revoke(r); SELECT count(*) FROM plain';
SELECT granted() AS r \gset
SELECT in_sql(:r);
-- In the midst of one statement, the rest of its rows is denied by the check; what it calls is refused.
SELECT granted() AS r \gset
CREATE FUNCTION lookup(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT id FROM plain LIMIT 1); END';
SELECT id, lookup(id), CASE id WHEN 2 THEN revoke(:r) END FROM t LIMIT 5;
-- A trigger.
CREATE TABLE mine (id int);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM plain; RETURN NEW; EXCEPTION WHEN OTHERS THEN RETURN NEW; END';
CREATE TRIGGER look BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION look();
CREATE FUNCTION revokes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM revoke(NEW.id); RETURN NEW; END';
CREATE TRIGGER a_revoke BEFORE INSERT ON mine FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION revokes();
SELECT granted() AS r \gset
BEGIN;
SELECT count(*) FROM t;
INSERT INTO mine VALUES (:r);
ROLLBACK;
SELECT count(*) FROM mine;
-- A trigger that is put off to the commit: then the commit fails.
\c - postgres
CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM plain; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON plain DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION counts();
\c - alice
SELECT granted() AS r \gset
BEGIN;
INSERT INTO plain VALUES (2);
SELECT count(*) FROM t;
SELECT revoke(:r);
COMMIT;
SELECT count(*) FROM plain;
-- A procedure begins another transaction when it commits.
CREATE PROCEDURE two(r bigint) LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    n := (SELECT count(*) FROM t);
    RAISE NOTICE '% rows', n;
    PERFORM revoke(r);
    COMMIT;
    n := (SELECT count(*) FROM t);
    RAISE NOTICE '% rows', n;
END $$;
SELECT granted() AS r \gset
CALL two(:r);
