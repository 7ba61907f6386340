"""What a session does by itself when the time of its grant is up, and what whoever ends a grant does to its users: the worker stands
still meanwhile."""

import contextlib
import os
import signal
import threading

import psycopg
import pytest

from harness import wait_until
from running import Running

UUID = "6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44"
# A plan that decides once, and then reads for a minute.
SLEEP = "SELECT count(pg_sleep(60)) FROM {}"


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    settings = {"fsync": "off", "max_prepared_transactions": "5", "log_min_messages": "log"}
    return new_module_cluster().start(settings=settings).create_roles()


@pytest.fixture
def db(cluster):
    """One table for each kind of grant, let through by a gated plan."""
    db = cluster.new_database()
    cluster.create_scope(db, "i", allow_all_rows=True)
    cluster.create_scope(db, "u", key_type="uuid")
    cluster.create_scope(db, "t", key_type="text")
    cluster.create_scope(db, "whole", key_type=None)
    cluster.create_scope(db, "mild", on_end="none")
    cluster.create_scope(db, "severe", on_end="terminate")
    policies = {
        "i": "'i', 1", "two": "'i', 2", "u": f"'u', '{UUID}'::uuid", "t": "'t', 'it''s'::text", "whole": "'whole'", "mild": "'mild', 1",
        "severe": "'severe', 1",
    }
    for table, asked in policies.items():
        cluster.execute(
            f"""CREATE TABLE {table} AS SELECT i FROM generate_series(1, 100) i;
                ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                CREATE POLICY jit ON {table} USING (jit_active({asked}));
                GRANT SELECT ON {table} TO PUBLIC""",
            dbname=db,
        )
    wait_until(lambda: cluster.worker(db), "the worker")
    return db


@contextlib.contextmanager
def standing_still(cluster, db):
    """Nothing that happens inside is the worker's doing."""
    worker = cluster.worker(db)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def run(cluster, db, table):
    """A statement that uses the table's grant, once the slot says so."""
    running = Running(cluster, cluster.connect("alice", db), SLEEP.format(table))
    assert state(cluster, db, running.session) == "in use", running.error
    return running


def state(cluster, db, session):
    return cluster.value("SELECT max(state) FROM jit.in_use WHERE pid = %s", dbname=db, params=[session.info.backend_pid])


def check_told(running, scope, how, call):
    error = running.outcome()
    assert isinstance(error, psycopg.errors.QueryCanceled), error
    assert error.diag.message_primary.startswith(f'access to scope "{scope}" through request '), error.diag.message_primary
    assert error.diag.message_detail.startswith(how), error.diag.message_detail
    assert error.diag.message_detail.endswith("This transaction has used it and cannot run anything more."), error.diag.message_detail
    assert error.diag.message_hint == f"ROLLBACK, then ask again: SELECT jit_request('{scope}', 'why'{call});", error.diag.message_hint
    # The session is as good as before.
    assert running.session.execute("SELECT count(*) FROM generate_series(1, 3)").fetchone() == (3,)


def test_when_its_time_is_up_a_statement_stops_by_itself(cluster, db):
    calls = {"i": ", key => '1'", "u": f", key => '{UUID}'", "t": ", key => 'it''s'", "whole": ""}
    keys = {"i": "1", "u": UUID, "t": "it's", "whole": None}
    for scope, key in keys.items():
        cluster.grant(db, scope, key=key, duration="3 seconds")
    with standing_still(cluster, db):
        for scope, running in {scope: run(cluster, db, scope) for scope in keys}.items():
            check_told(running, scope, "It expired at ", calls[scope])


def test_all_rows(cluster, db):
    request = cluster.value("SELECT jit_request('i', 'refund', all_rows => true, duration => '2 seconds')", "alice", db)
    cluster.approve(db, request)
    with standing_still(cluster, db):
        check_told(run(cluster, db, "i"), "i", "It expired at ", ", all_rows => true")


def test_only_what_uses_the_grant_stops(cluster, db):
    """The timer is set by one transaction, and goes off in another one."""
    cluster.grant(db, "i", duration="2 seconds")
    cluster.grant(db, "i", key="2", duration="4 seconds")
    cluster.grant(db, "mild", duration="2 seconds")
    with standing_still(cluster, db):
        over, other, mild = (cluster.connect("alice", db) for _ in range(3))
        for session in (over, other):
            assert session.execute("SELECT count(*) FROM i").fetchone() == (100,)
        unrelated = Running(cluster, over, "SELECT pg_sleep(3)")
        # Set anew, for the later one.
        other = Running(cluster, other, SLEEP.format("two"))
        goes_on = Running(cluster, mild, "SELECT count(pg_sleep(3)) FROM (SELECT FROM mild LIMIT 1) m")
        assert unrelated.outcome() is None
        assert goes_on.outcome() is None and goes_on.rows == [(1,)]
        check_told(other, "i", "It expired at ", ", key => '2'")


def test_an_error_before_takes_nothing_away(cluster, db):
    cluster.grant(db, "i", duration="3 seconds")
    with standing_still(cluster, db):
        session = cluster.connect("alice", db)
        assert session.execute("SELECT count(*) FROM i").fetchone() == (100,)
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute("SELECT 1 / 0")
        check_told(Running(cluster, session, SLEEP.format("i")), "i", "It expired at ", ", key => '1'")


def test_an_error_behind_a_savepoint_takes_nothing_away(cluster, db):
    """What the transaction has used before ends in the same transaction, whatever it uses afterwards."""
    cluster.grant(db, "whole", key=None, duration="1 hour")
    for later in (None, "SELECT count(*) FROM whole"):
        cluster.grant(db, "i", duration="3 seconds")
        with standing_still(cluster, db):
            session = cluster.connect("alice", db)
            session.execute("BEGIN")
            assert session.execute("SELECT count(*) FROM i").fetchone() == (100,)
            session.execute("SAVEPOINT a")
            with pytest.raises(psycopg.errors.DivisionByZero):
                session.execute("SELECT 1 / 0")
            session.execute("ROLLBACK TO a")
            if later:
                assert session.execute(later).fetchone() == (100,)
            sleeps = Running(cluster, session, "SELECT pg_sleep(60)")
            assert isinstance(sleeps.outcome(), psycopg.errors.QueryCanceled)
            assert sleeps.error.diag.message_primary.startswith('access to scope "i" '), sleeps.error
            session.execute("ROLLBACK")


def test_on_end_can_change_meanwhile(cluster, db):
    cluster.grant(db, "i", duration="3 seconds")
    running = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(4)) FROM (SELECT FROM i LIMIT 1) i")
    cluster.execute("SELECT jit.alter_scope('i', '{\"on_end\": \"none\"}')", dbname=db)
    assert running.outcome() is None and running.rows == [(1,)]


def test_the_strictest_scope_decides(cluster, db):
    cluster.grant(db, "severe", duration="2 seconds")
    cluster.grant(db, "i", duration="2 seconds")
    with standing_still(cluster, db):
        session = cluster.connect("alice", db)
        running = Running(cluster, session, "SELECT count(pg_sleep(30)) FROM i WHERE EXISTS (SELECT FROM severe)")
        over = "SELECT max(ends_at) + interval '100 ms' < clock_timestamp() FROM jit.grants"
        wait_until(lambda: cluster.value(over, dbname=db), "the end of both")
        assert state(cluster, db, session) == "in use", running.error
    assert isinstance(running.outcome(), psycopg.errors.AdminShutdown), running.error


def test_time_is_up_in_between(cluster, db):
    """The cancel meets nobody; the transaction is stopped all the same, and then it is gone."""
    cluster.grant(db, "i", duration="2 seconds")
    with standing_still(cluster, db):
        session = cluster.connect("alice", db)
        session.execute("BEGIN")
        assert session.execute("SELECT count(*) FROM i").fetchone() == (100,)
        wait_until(lambda: cluster.value("SELECT max(ends_at) < clock_timestamp() FROM jit.grants", dbname=db), "the end")
        with pytest.raises(psycopg.errors.QueryCanceled, match='access to scope "i"'):
            session.execute("COMMIT")
        assert session.execute("SELECT count(*) FROM i").fetchone() == (0,)
        assert session.execute("SELECT count(*) FROM generate_series(1, 3)").fetchone() == (3,)


def test_a_grant_that_was_lengthened_goes_on(cluster, db):
    """Whoever lengthens it tells its users."""
    request = cluster.grant(db, "i", duration="3 seconds")
    with standing_still(cluster, db):
        running = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(5)) FROM (SELECT FROM i LIMIT 1) i")
        more = cluster.value("SELECT jit_extend(%s, '1 hour', 'takes longer')", "alice", db, [request])
        assert cluster.approve(db, more) == "approved"
        assert running.outcome() is None and running.rows == [(1,)]


def test_who_ends_a_grant_stops_its_users(cluster, db):
    endings = {
        "It was revoked by bob at ": ("bob", "SELECT jit_revoke({}, 'enough')"),
        "It was released by alice at ": ("alice", "SELECT jit_release({})"),
        "It was revoked by postgres at ": ("postgres", "SELECT jit.revoke_all('i', reason => 'enough')"),
    }
    for how, (who, end) in endings.items():
        request = cluster.grant(db, "i")
        cluster.grant(db, "whole", key=None)
        with standing_still(cluster, db):
            running, other = run(cluster, db, "i"), run(cluster, db, "whole")
            cluster.execute(end.format(request), who, db)
            check_told(running, "i", how, ", key => '1'")
            assert state(cluster, db, other.session) == "in use"
            cluster.execute("SELECT jit.revoke_all('whole', reason => 'enough')", dbname=db)
            check_told(other, "whole", "It was revoked by postgres at ", "")


def test_who_stops_a_scope_stops_its_users(cluster, db):
    cluster.grant(db, "i")
    cluster.grant(db, "whole", key=None)
    with standing_still(cluster, db):
        running, other = run(cluster, db, "i"), run(cluster, db, "whole")
        cluster.execute("SELECT jit.alter_scope('i', '{\"enabled\": false}')", dbname=db)
        cluster.execute("SELECT jit.drop_scope('whole')", dbname=db)
        for statement in (running, other):
            assert isinstance(statement.outcome(), psycopg.errors.QueryCanceled)
            assert statement.error.diag.message_detail.startswith("postgres stopped the scope at "), statement.error.diag.message_detail


def test_on_end(cluster, db):
    mild, severe = cluster.grant(db, "mild"), cluster.grant(db, "severe")
    with standing_still(cluster, db):
        goes_on, ended = run(cluster, db, "mild"), run(cluster, db, "severe")
        for request in (mild, severe):
            cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [request])
        assert isinstance(ended.outcome(), psycopg.errors.AdminShutdown)
        assert "It was revoked by bob at " in ended.error.diag.message_detail
        assert state(cluster, db, goes_on.session) == "in use"
        goes_on.session.cancel()
        goes_on.outcome()


def test_what_is_taken_back_stops_nobody(cluster, db):
    request = cluster.grant(db, "i")
    revoke = f"SELECT jit_revoke({request}, 'enough')"
    with standing_still(cluster, db):
        running = run(cluster, db, "i")
        session = cluster.connect("bob", db)
        for statements in (
            ["BEGIN", revoke, "ROLLBACK"],
            ["BEGIN", "SAVEPOINT a", revoke, "ROLLBACK TO a", "COMMIT"],
            ["BEGIN", "SAVEPOINT a", "SAVEPOINT b", revoke, "RELEASE b", "ROLLBACK TO a", "SELECT 1", "COMMIT"],
            ["BEGIN", revoke, "PREPARE TRANSACTION 'end'", "ROLLBACK PREPARED 'end'", "BEGIN", "COMMIT"],
        ):
            for statement in statements:
                session.execute(statement)
            assert state(cluster, db, running.session) == "in use", statements
        for statement in ["BEGIN", "SAVEPOINT a", "ROLLBACK TO a", "SAVEPOINT b", revoke, "RELEASE b", "COMMIT"]:
            assert state(cluster, db, running.session) == "in use", statement
            session.execute(statement)
        check_told(running, "i", "It was revoked by bob at ", ", key => '1'")


def test_in_the_midst_of_everything(cluster, db):
    """Short grants end wherever their users are just then, the commit included: each gets an answer, or is told."""
    cluster.execute("CREATE TABLE r AS SELECT i FROM generate_series(1, 10) i", dbname=db)
    cluster.execute("ALTER TABLE r ENABLE ROW LEVEL SECURITY; CREATE POLICY jit ON r USING (jit_active('i', i))", dbname=db)
    cluster.execute("GRANT SELECT ON r TO PUBLIC", dbname=db)
    stop, strange, cancelled = threading.Event(), [], []

    def hold():
        with cluster.connect("alice", db) as session:
            while not stop.is_set():
                try:
                    session.execute("SELECT count(*), count(pg_sleep(0.0001)) FROM r WHERE i <= 5")
                except psycopg.errors.QueryCanceled as error:
                    cancelled.append(error)
                    if not error.diag.message_primary.startswith('access to scope "i" through request '):
                        strange.append(error)

    holders = [threading.Thread(target=hold) for _ in range(8)]
    for holder in holders:
        holder.start()
    try:
        with cluster.connect("alice", db) as alice, cluster.connect("bob", db) as bob:
            ask = "SELECT jit_request('i', 'refund', key => %s, duration => %s)"
            for number in range(2500):
                duration = ["3 ms", "8 ms", "20 ms", "1 hour"][number % 4]
                [request] = alice.execute(ask, [str(number % 5 + 1), duration]).fetchone()
                bob.execute("SELECT jit_approve(%s)", [request])
                if duration == "1 hour":
                    bob.execute("SELECT jit_revoke(%s, 'enough')", [request])
    finally:
        stop.set()
        for holder in holders:
            holder.join()
    assert cancelled and not strange, strange[:3]
    assert "signal 11" not in cluster.log()
