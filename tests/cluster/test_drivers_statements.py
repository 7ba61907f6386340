"""Drivers prepare statements by themselves and use them again: somebody else's function must not get one of them to decide."""

import psycopg
import pytest


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db)
    cluster.execute("CREATE SCHEMA trap AUTHORIZATION alice; GRANT USAGE ON SCHEMA trap TO PUBLIC", dbname=db)
    return db


def undecided(cluster, db, request):
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[request]) == "pending"
    assert cluster.value("SELECT count(*) FROM jit.reviews WHERE request_id = %s", dbname=db, params=[request]) == 0


def tolerant(session, sql, **options):
    """Whether it is refused or does nothing is not what is tested."""
    try:
        session.execute(sql, **options)
    except psycopg.Error:
        pass


def test_a_statement_of_the_same_name(cluster, db):
    """The driver binds what a function has prepared in the place of its own; with another search_path, it is analysed anew."""
    wanted = cluster.request(db)
    cluster.psql(
        f"""
        SET ROLE alice;
        CREATE FUNCTION trap.prepares(name text) RETURNS void LANGUAGE plpgsql SET search_path = trap, public AS $$
        BEGIN EXECUTE format('PREPARE %I AS SELECT jit_approve({wanted})', name); END $$;
        CREATE FUNCTION trap.f() RETURNS text LANGUAGE plpgsql AS $$
        DECLARE n text;
        BEGIN
            SELECT name INTO n FROM pg_prepared_statements WHERE statement ~ 'trap.f' AND NOT from_sql LIMIT 1;
            IF n IS NOT NULL THEN
                EXECUTE format('DEALLOCATE %I', n);
                PERFORM trap.prepares(n);
            END IF;
            RETURN 'harmless';
        END $$;
        """,
        dbname=db,
    )
    bob = cluster.connect("bob", db)
    for _ in range(9):
        tolerant(bob, "SELECT trap.f()", prepare=True)
    # It did get there.
    assert bob.execute("SELECT count(*) FROM pg_prepared_statements WHERE from_sql").fetchone()[0] == 1
    undecided(cluster, db, wanted)


def run_bobs_own(wanted):
    """A function body that runs the decision which bob's driver has prepared, with another request."""
    return f"""
        DECLARE n text;
        BEGIN
            SELECT name INTO n FROM pg_prepared_statements WHERE statement ~ 'jit_approve' AND NOT from_sql LIMIT 1;
            IF n IS NOT NULL THEN
                EXECUTE format('%s EXECUTE %I({wanted})', current_setting('trap.explain', true), n);
            END IF;
        """


@pytest.mark.parametrize("explain", ["", "EXPLAIN ANALYZE"])
def test_a_function_that_is_called(cluster, db, explain):
    wanted, other = cluster.request(db, key="1"), cluster.request(db, key="2")
    cluster.psql(
        f"""
        SET ROLE alice;
        CREATE FUNCTION trap.decides() RETURNS int LANGUAGE plpgsql AS $$ {run_bobs_own(wanted)} RETURN 1; END $$;
        """,
        dbname=db,
    )
    bob = cluster.connect("bob", db, options=f"-c trap.explain={explain.replace(' ', chr(92) + ' ')}")
    assert bob.execute("SELECT jit_approve(%s)", [other], prepare=True).fetchone()[0] == "approved"
    tolerant(bob, "SELECT trap.decides()")
    undecided(cluster, db, wanted)


@pytest.mark.parametrize("explain", ["", "EXPLAIN ANALYZE"])
def test_a_function_that_runs_while_planning(cluster, db, explain):
    wanted, other = cluster.request(db, key="1"), cluster.request(db, key="2")
    cluster.psql(
        f"""
        SET ROLE alice;
        CREATE FUNCTION trap.decides() RETURNS int LANGUAGE plpgsql AS $$ {run_bobs_own(wanted)} RETURN 1; END $$;
        CREATE FUNCTION trap.folded() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
        DECLARE x int; BEGIN x := trap.decides(); RETURN x; END $$;
        CREATE VIEW trap.v AS SELECT trap.folded();
        GRANT SELECT ON trap.v TO PUBLIC;
        """,
        dbname=db,
    )
    bob = cluster.connect("bob", db, options=f"-c trap.explain={explain.replace(' ', chr(92) + ' ')}")
    assert bob.execute("SELECT jit_approve(%s)", [other], prepare=True).fetchone()[0] == "approved"
    tolerant(bob, "SELECT * FROM trap.v")
    undecided(cluster, db, wanted)


@pytest.mark.parametrize("explain", ["", "EXPLAIN ANALYZE"])
def test_a_trigger_at_commit(cluster, db, explain):
    wanted, other = cluster.request(db, key="1"), cluster.request(db, key="2")
    cluster.psql(
        f"""
        SET ROLE alice;
        CREATE TABLE trap.t (a int);
        CREATE FUNCTION trap.decides() RETURNS trigger LANGUAGE plpgsql AS $$ {run_bobs_own(wanted)} RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER t AFTER INSERT ON trap.t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION trap.decides();
        GRANT INSERT ON trap.t TO PUBLIC;
        """,
        dbname=db,
    )
    bob = cluster.connect("bob", db, options=f"-c trap.explain={explain.replace(' ', chr(92) + ' ')}")
    assert bob.execute("SELECT jit_approve(%s)", [other], prepare=True).fetchone()[0] == "approved"
    tolerant(bob, "INSERT INTO trap.t VALUES (1)")
    undecided(cluster, db, wanted)


def test_an_error_in_an_aborted_transaction_is_forgotten(cluster, db):
    """An error inside a utility command of a block that has failed already aborts nothing more."""
    wanted = cluster.request(db)
    bob = cluster.connect("bob", db)
    for sql in ("BEGIN", "SELECT 1 / 0", "ROLLBACK TO nowhere", "ROLLBACK"):
        tolerant(bob, sql)
    assert bob.execute("SELECT jit_approve(%s)", [wanted]).fetchone()[0] == "approved"
