"""Decisions as drivers send them: parameters, prepared statements, pipelines. And a long session does not grow."""

import pathlib

import psycopg
import pytest

Refused = psycopg.errors.InsufficientPrivilege
APPROVE = "SELECT jit_approve(%s)"


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db)
    return db


@pytest.fixture
def bob(cluster, db):
    return cluster.connect("bob", db)


@pytest.fixture
def ask(cluster, db):
    """Requests for keys that nobody has asked for yet."""
    alice = cluster.connect("alice", db)
    keys = iter(range(1_000_000))
    return lambda: alice.execute("SELECT jit_request('s', 'refund', key => %s)", [str(next(keys))]).fetchone()[0]


def test_parameters(bob, ask):
    assert bob.execute(APPROVE, [ask()]).fetchone() == ("approved",)
    assert bob.execute(APPROVE, [ask()], binary=True).fetchone() == ("approved",)
    assert bob.execute("SELECT jit_approve(%(r)s, comment => %(c)s)", {"r": ask(), "c": "fine"}).fetchone() == ("approved",)
    assert bob.execute("SELECT jit_approve(%s, NULL, %s::interval)", [ask(), "5 minutes"]).fetchone() == ("approved",)
    assert bob.execute("SELECT * FROM jit_approve(%s)", [ask()]).fetchone() == ("approved",)
    with psycopg.ClientCursor(bob) as cursor:
        assert cursor.execute(APPROVE, [ask()]).fetchone() == ("approved",)
    with psycopg.RawCursor(bob) as cursor:
        assert cursor.execute("SELECT jit_approve($1)", [ask()]).fetchone() == ("approved",)
    bob.execute("SELECT jit_deny(%s, %s)", [ask(), "no ticket"])


def test_prepared_statements(cluster, db, bob, ask):
    for _ in range(10):
        assert bob.execute(APPROVE, [ask()], prepare=True).fetchone() == ("approved",)
    # Analysed anew, since what it depends on has changed in the meantime.
    for change in ("DISCARD PLANS", "ANALYZE", "SET plan_cache_mode = force_generic_plan", "SET search_path = public, pg_catalog"):
        bob.execute(change)
        assert bob.execute(APPROVE, [ask()], prepare=True).fetchone() == ("approved",)
    cluster.execute("COMMENT ON FUNCTION jit_approve(bigint, text, interval) IS 'changed'", dbname=db)
    cluster.execute("ALTER FUNCTION jit_approve(bigint, text, interval) COST 2", dbname=db)
    for _ in range(3):
        assert bob.execute(APPROVE, [ask()], prepare=True).fetchone() == ("approved",)
    # After an error in it, and inside a transaction with one.
    with pytest.raises(psycopg.errors.UndefinedObject):
        bob.execute(APPROVE, [999_999_999], prepare=True)
    request = ask()
    with bob.transaction():
        with pytest.raises(psycopg.errors.UndefinedObject), bob.transaction():
            bob.execute(APPROVE, [999_999_999], prepare=True)
        assert bob.execute(APPROVE, [request], prepare=True).fetchone() == ("approved",)


def test_named_statements_of_the_protocol(bob, ask):
    """Parsed once, long before; executed many times, with others in between."""
    protocol = bob.pgconn
    protocol.prepare(b"decision", b"SELECT jit_approve($1)")
    protocol.prepare(b"denial", b"SELECT jit_deny($1, 'no ticket')")
    for _ in range(5):
        result = protocol.exec_prepared(b"decision", [str(ask()).encode()])
        assert result.get_value(0, 0) == b"approved", result.error_message
        assert protocol.exec_prepared(b"denial", [str(ask()).encode()]).ntuples == 1
        bob.execute("SELECT 1")


def test_pipelines(bob, ask):
    requests = [ask() for _ in range(20)]
    with bob.pipeline():
        cursors = [bob.execute(APPROVE, [request]) for request in requests]
        assert [cursor.fetchone() for cursor in cursors] == [("approved",)] * len(requests)
    requests = [ask() for _ in range(20)]
    with bob.pipeline() as pipeline:
        cursors = []
        for number, request in enumerate(requests):
            cursors.append(bob.execute(APPROVE, [request], prepare=bool(number % 2)))
            if number % 7 == 0:
                pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [("approved",)] * len(requests)
    # One that fails does not spoil what comes after.
    with pytest.raises(psycopg.errors.UndefinedObject), bob.pipeline():
        bob.execute(APPROVE, [999_999_999])
    assert bob.execute(APPROVE, [ask()]).fetchone() == ("approved",)


def test_several_statements_in_one_message(bob, ask):
    first, second = ask(), ask()
    cursor = bob.execute(f"BEGIN; SELECT jit_approve({first}); SELECT jit_approve({second}); COMMIT")
    results = [cursor.fetchone() for _ in iter(lambda: cursor.nextset(), None) if cursor.description]
    assert results == [("approved",), ("approved",)]
    with bob.cursor() as many:
        many.executemany(APPROVE, [[ask()], [ask()]], returning=True)
        assert many.fetchone() == ("approved",)


def test_what_others_may_have_written_is_refused(cluster, db, bob, ask):
    """The same ways of sending, with the decision inside of something else."""
    cluster.psql("CREATE FUNCTION decide(r bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN jit_approve(r); END'", dbname=db)
    request = ask()
    for how in ({}, {"prepare": True}, {"binary": True}):
        with pytest.raises(Refused):
            bob.execute("SELECT decide(%s)", [request], **how)
    with pytest.raises(Refused), bob.pipeline():
        bob.execute("SELECT decide(%s)", [request])
    bob.execute("PREPARE p (bigint) AS SELECT jit_approve($1)")
    with pytest.raises(Refused):
        bob.execute(f"EXECUTE p ({request})")
    with pytest.raises(Refused), bob.transaction(), bob.cursor("held") as cursor:
        cursor.execute(APPROVE, [request])
        cursor.fetchone()
    with pytest.raises(Refused):
        bob.execute(f"DO $$BEGIN PERFORM jit_approve({request}); END$$")
    # And none of it spoils what is one's own.
    assert bob.execute(APPROVE, [request], prepare=True).fetchone() == ("approved",)


def test_checks_with_parameters(cluster, db, ask, bob):
    """Scope and key as drivers send them: as text, as integers of each width."""
    bob.execute(APPROVE, [ask()])
    alice = cluster.connect("alice", db)
    for number in range(12):
        how = {"prepare": bool(number % 2), "binary": bool(number % 3)}
        assert alice.execute("SELECT jit_active(%s, %s)", ["s", 0], **how).fetchone() == (True,)
        assert alice.execute("SELECT jit_active(%s, %s::bigint)", ["s", 0], **how).fetchone() == (True,)
        assert alice.execute("SELECT jit_active(%s, %s)", ["s", 5_000_000_000], **how).fetchone() == (False,)
        # The same prepared statement with another scope.
        assert alice.execute("SELECT jit_active(%s, %s)", ["other", 0], **how).fetchone() == (False,)


def test_statement_analysed_again_after_ddl(cluster, db, bob, ask):
    cluster.execute("CREATE TABLE t (id bigint); GRANT SELECT ON t TO PUBLIC", dbname=db)
    cluster.execute("INSERT INTO t VALUES (%s)", dbname=db, params=[ask()])
    approve = "SELECT jit_approve(id) FROM t"
    assert bob.execute(approve, prepare=True).fetchone()[0] == "approved"
    cluster.execute("ALTER TABLE t ADD note text", dbname=db)
    cluster.execute("UPDATE t SET id = %s", dbname=db, params=[ask()])
    assert bob.execute(approve, prepare=True).fetchone()[0] == "approved"


def test_a_portal_reopened_by_somebody_elses_function(cluster, db, bob, ask):
    """A driver that fetches in batches keeps a named portal; a function may close it and open another of that name."""
    request = ask()
    cluster.psql(
        f"""
        CREATE SCHEMA trap AUTHORIZATION alice;
        SET ROLE alice;
        GRANT USAGE ON SCHEMA trap TO PUBLIC;
        CREATE FUNCTION trap.f() RETURNS int LANGUAGE plpgsql AS $$
        DECLARE c refcursor := 'batch';
        BEGIN
            CLOSE c;
            OPEN c FOR SELECT public.jit_approve({request});
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


def test_a_session_can_decide_after_errors(cluster, db, bob, ask):
    """Errors leave nested statements and code blocks at any depth: what was counted must be forgotten."""
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
    assert bob.execute("SELECT jit_approve(%s)", [ask()]).fetchone()[0] == "approved"


# ------------------------------------------------------------------ memory


def anonymous_memory(session):
    """Of the session's process, in bytes; shared memory apart."""
    status = pathlib.Path(f"/proc/{session.info.backend_pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def test_a_session_that_checks_and_reloads_does_not_grow(cluster, db, bob, ask):
    for _ in range(50):
        bob.execute(APPROVE, [ask()])
    alice, admin = cluster.connect("alice", db), cluster.connect(dbname=db)
    read = "SELECT count(*) FROM generate_series(0, 9) k WHERE jit_active('s', k)"
    # Different call sites, and one that has its scope from a column.
    others = "SELECT count(*) FILTER (WHERE jit_active(v.scope, 3)), jit_keys('s', NULL::int) FROM (VALUES ('s'), ('none'), (NULL)) v (scope)"

    def round_(number):
        # Every backend's copy becomes stale.
        admin.execute("UPDATE jit_private.scopes SET description = %s", [str(number)])
        assert alice.execute(read, prepare=bool(number % 2)).fetchone() == (10,)
        if number % 10 == 0:
            assert alice.execute(others).fetchone()[0] == 1

    for number in range(300):
        round_(number)
    before = anonymous_memory(alice)
    for number in range(2_000):
        round_(number)
    grown = anonymous_memory(alice) - before
    assert grown < 1_000_000, f"{grown} bytes in 20,000 checks with 2,000 reloads"


def test_a_session_that_decides_does_not_grow(cluster, db, bob, ask):
    def round_():
        request = ask()
        bob.execute(APPROVE, [request])
        bob.execute("SELECT jit_revoke(%s, 'done')", [request])
        with pytest.raises(psycopg.Error):
            bob.execute(APPROVE, [request])
        bob.execute("SELECT count(*) FROM jit.pending")

    for _ in range(100):
        round_()
    before = anonymous_memory(bob)
    for _ in range(500):
        round_()
    grown = anonymous_memory(bob) - before
    assert grown < 2_000_000, f"{grown} bytes in 500 rounds"
