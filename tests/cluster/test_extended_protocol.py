"""Decisions through drivers: parameters bound by the server, prepared statements, pipelines, portals."""

import psycopg
import pytest


@pytest.fixture
def asked(cluster, db):
    cluster.create_scope(db)
    return [cluster.request(db, key=str(key)) for key in range(1, 9)]


def test_parameters_and_prepared_statements(cluster, db, asked):
    bob = cluster.connect("bob", db)
    approve = "SELECT jit_approve(%s::bigint, %s)"
    # Unprepared; then a named statement, which is planned for each run and at last generically.
    assert bob.execute(approve, [asked[0], "ok"], prepare=False).fetchone()[0] == "approved"
    for request in asked[1:]:
        assert bob.execute(approve, [request, "ok"], prepare=True).fetchone()[0] == "approved"


def test_statement_analysed_again_after_ddl(cluster, db, asked):
    bob = cluster.connect("bob", db)
    cluster.execute("CREATE TABLE t (id bigint); GRANT SELECT ON t TO PUBLIC", dbname=db)
    cluster.execute("INSERT INTO t VALUES (%s)", dbname=db, params=[asked[0]])
    approve = "SELECT jit_approve(id) FROM t"
    assert bob.execute(approve, prepare=True).fetchone()[0] == "approved"
    cluster.execute("ALTER TABLE t ADD note text", dbname=db)
    cluster.execute("UPDATE t SET id = %s", dbname=db, params=[asked[1]])
    assert bob.execute(approve, prepare=True).fetchone()[0] == "approved"


def test_pipeline(cluster, db, asked):
    bob = cluster.connect("bob", db)
    with bob.pipeline():
        answers = [bob.execute("SELECT jit_approve(%s)", [request]) for request in asked[:4]]
    assert [answer.fetchone()[0] for answer in answers] == ["approved"] * 4


def test_a_portal_reopened_by_somebody_elses_function(cluster, db, asked):
    """A driver that fetches in batches keeps a named portal; a function may close it and open another of that name."""
    cluster.psql(
        f"""
        CREATE SCHEMA trap AUTHORIZATION alice;
        SET ROLE alice;
        GRANT USAGE ON SCHEMA trap TO PUBLIC;
        CREATE FUNCTION trap.f() RETURNS int LANGUAGE plpgsql AS $$
        DECLARE c refcursor := 'batch';
        BEGIN
            CLOSE c;
            OPEN c FOR SELECT public.jit_approve({asked[0]});
            RETURN 1;
        END $$;
        """,
        dbname=db,
    )
    bob = cluster.connect("bob", db, autocommit=False)
    bob.execute("DECLARE batch CURSOR FOR SELECT generate_series(1, 10)::text")
    bob.execute("FETCH 2 FROM batch")
    bob.execute("SELECT trap.f()")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bob.execute("FETCH 2 FROM batch")
    bob.rollback()
    assert cluster.value("SELECT count(*) FROM jit.reviews", dbname=db) == 0


def test_a_session_can_decide_after_errors(cluster, db, asked):
    """Errors leave nested statements and code blocks at any depth: what was counted must be forgotten."""
    bob = cluster.connect("bob", db)
    cluster.execute(
        "CREATE FUNCTION fails(n int) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN IF n = 0 THEN RAISE 'no'; END IF; PERFORM fails(n - 1); RETURN 0; END $$",
        dbname=db,
    )
    for sql in (
        "SELECT fails(5)",
        "DO $$ BEGIN PERFORM fails(3); END $$",
        "DO $$ BEGIN BEGIN PERFORM fails(3); EXCEPTION WHEN others THEN NULL; END; PERFORM 1 / 0; END $$",
        "SELECT 1 / 0",
    ):
        with pytest.raises(psycopg.Error):
            bob.execute(sql)
    bob.execute("DO $$ BEGIN BEGIN PERFORM fails(3); EXCEPTION WHEN others THEN NULL; END; END $$")
    bob.execute("DO $$ BEGIN PERFORM 1; ROLLBACK; PERFORM 2; COMMIT; END $$")
    assert bob.execute("SELECT jit_approve(%s)", [asked[0]]).fetchone()[0] == "approved"
