"""Promise 3: what runs on a grant when it ends is cancelled, who idles in a transaction that has used it is terminated, and nothing is
carried past the end."""

import contextlib

import psycopg
import pytest

from harness import wait_until
from running import Running, wait_until_terminated

# Each row of t that is let through is worth a minute.
SLOW = "SELECT count(pg_sleep(60)) FROM t WHERE k = 1"


@pytest.fixture(scope="module", params=["jit_rls", "pg_stat_statements, jit_rls, auto_explain", "auto_explain, jit_rls, pg_stat_statements"])
def cluster(new_module_cluster, request):
    settings = {
        "fsync": "off",
        "max_prepared_transactions": "5",
        "shared_preload_libraries": request.param,
        "auto_explain.log_min_duration": "0",
    }
    return new_module_cluster().start(preload=False, settings=settings).create_roles()


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db, allow_all_rows=True)
    cluster.create_scope(db, "whole", key_type=None)
    cluster.create_scope(db, "left", on_end="none")
    cluster.create_scope(db, "severe", on_end="terminate")
    cluster.execute(
        """CREATE TABLE t (k int, scope text DEFAULT 's');
           INSERT INTO t SELECT i FROM generate_series(1, 1000) i;
           CREATE TABLE w AS SELECT i FROM generate_series(1, 1000) i;
           CREATE TABLE l AS SELECT i AS k FROM generate_series(1, 1000) i;
           CREATE TABLE v AS SELECT i AS k FROM generate_series(1, 1000) i;
           CREATE TABLE free AS SELECT i AS k FROM generate_series(1, 1000) i;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           ALTER TABLE w ENABLE ROW LEVEL SECURITY;
           ALTER TABLE l ENABLE ROW LEVEL SECURITY;
           ALTER TABLE v ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k));
           CREATE POLICY jit ON w USING (jit_active('whole'));
           CREATE POLICY jit ON l USING (jit_active('left', k));
           CREATE POLICY jit ON v USING (jit_active('severe', k));
           GRANT ALL ON t, w, l, v, free TO PUBLIC;
           GRANT CREATE ON SCHEMA public TO alice""",
        dbname=db,
    )
    wait_until(lambda: cluster.worker(db), "the worker")
    return db


def told(error, how, key=", key => '1'", scope="s"):
    """Our message in the place of PostgreSQL's."""
    diag = error.diag
    assert f'access to scope "{scope}" through request ' in diag.message_primary and "has ended" in diag.message_primary, diag.message_primary
    assert how in diag.message_detail, diag.message_detail
    assert f"jit_request('{scope}', 'why'{key})" in diag.message_hint, diag.message_hint


def gone(session):
    return psycopg.errors.AdminShutdown, lambda: session.execute("SELECT 1")


def revoke(cluster, db, request):
    cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [request])


def test_every_ending_cancels_what_runs(cluster, db):
    endings = {
        "revoked by bob": lambda request: revoke(cluster, db, request),
        "released by alice": lambda request: cluster.execute("SELECT jit_release(%s)", "alice", db, [request]),
        "postgres stopped the scope": lambda _: cluster.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')", dbname=db),
    }
    for how, end in endings.items():
        request = cluster.grant(db)
        running = Running(cluster, cluster.connect("alice", db), SLOW)
        end(request)
        assert isinstance(running.outcome(), psycopg.errors.QueryCanceled), how
        told(running.error, how)
        # The session is as good as before.
        assert running.session.execute("SELECT count(*) FROM free").fetchone() == (1000,)
    cluster.execute("SELECT jit.alter_scope('s', '{\"enabled\": true}')", dbname=db)

    cluster.grant(db, duration="3 seconds")
    running = Running(cluster, cluster.connect("alice", db), SLOW)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "It expired at ")

    cluster.grant(db)
    running = Running(cluster, cluster.connect("alice", db), SLOW)
    cluster.execute("SELECT jit.drop_scope('s')", dbname=db)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "postgres stopped the scope")


def test_a_gated_plan_is_cancelled(cluster, db):
    request = cluster.grant(db, "whole", key=None)
    running = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(60)) FROM w")
    revoke(cluster, db, request)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "revoked by bob", key="", scope="whole")


def test_losing_the_membership_ends_it(cluster, db):
    cluster.execute("CREATE ROLE team; GRANT team TO alice")
    try:
        request = cluster.value("SELECT jit_request('s', 'refund', key => '1', grantee => 'team')", "alice", db)
        cluster.approve(db, request)
        running = Running(cluster, cluster.connect("alice", db), SLOW)
        idle = cluster.connect("alice", db, autocommit=False)
        assert idle.execute("SELECT count(*) FROM t").fetchone() == (1,)
        # In another database: roles are everybody's.
        cluster.execute("REVOKE team FROM alice")
        assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
        told(running.error, "The role that acts here is served by it no more")
        wait_until_terminated(cluster, idle)
    finally:
        cluster.execute("DROP OWNED BY team; DROP ROLE team")


def test_who_idles_in_a_transaction_is_terminated(cluster, db):
    request = cluster.grant(db)
    idle, aborted, beyond = (cluster.connect("alice", db, autocommit=False) for _ in range(3))
    assert idle.execute("SELECT count(*) FROM t").fetchone() == (1,)
    aborted.execute("SAVEPOINT s")
    assert aborted.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with contextlib.suppress(psycopg.errors.DivisionByZero):
        aborted.execute("SELECT 1 / 0")
    # Marks are not washed off by a savepoint.
    beyond.execute("SAVEPOINT s")
    assert beyond.execute("SELECT count(*) FROM t").fetchone() == (1,)
    beyond.execute("ROLLBACK TO s")
    revoke(cluster, db, request)
    for session in (idle, aborted, beyond):
        wait_until_terminated(cluster, session)
        with pytest.raises(psycopg.errors.AdminShutdown) as error:
            session.execute("SELECT 1")
        told(error.value, "revoked by bob")


def test_nobody_else_is_hit(cluster, db):
    request, other = cluster.grant(db), cluster.grant(db, key="2")
    elsewhere = cluster.new_database()
    cluster.create_scope(elsewhere)
    uses_other = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(3)) FROM t WHERE k = 2")
    idle = cluster.connect("alice", db, autocommit=False)
    assert idle.execute("SELECT count(*) FROM t WHERE k = 2").fetchone() == (1,)
    finished = cluster.connect("alice", db, autocommit=False)
    assert finished.execute("SELECT count(*) FROM t").fetchone() == (2,)
    finished.commit()
    finished.execute("SELECT count(*) FROM free")
    cluster.grant(elsewhere)
    # Of the same number.
    foreign = cluster.connect("alice", elsewhere, autocommit=False)
    assert foreign.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    victim = Running(cluster, cluster.connect("alice", db), SLOW)
    revoke(cluster, db, request)
    assert isinstance(victim.outcome(), psycopg.errors.QueryCanceled)
    assert uses_other.outcome() is None and uses_other.rows == [(1,)]
    for session in (idle, finished, foreign):
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert other != request


def test_on_end(cluster, db):
    left, severe = cluster.grant(db, "left"), cluster.grant(db, "severe")
    goes_on = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(3)) FROM l WHERE k = 1")
    idle = cluster.connect("alice", db, autocommit=False)
    assert idle.execute("SELECT count(*) FROM l").fetchone() == (1,)
    ended = Running(cluster, cluster.connect("alice", db), "SELECT count(pg_sleep(60)) FROM v WHERE k = 1")
    revoke(cluster, db, left)
    revoke(cluster, db, severe)
    assert isinstance(ended.outcome(), psycopg.errors.AdminShutdown)
    told(ended.error, "revoked by bob", scope="severe")
    assert goes_on.outcome() is None and goes_on.rows == [(1,)]
    # Left alone is not let through.
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        idle.execute("SELECT count(*) FROM free")
    told(error.value, "revoked by bob", scope="left")


def test_the_strictest_scope_decides(cluster, db):
    """A grant that ends in a scope that leaves people alone shields no other."""
    left, request = cluster.grant(db, "left"), cluster.grant(db)
    session = cluster.connect("alice", db)
    statement = "SELECT count(*), (SELECT count(pg_sleep(60)) FROM t WHERE k = 1) FROM l HAVING count(*) = 1"
    running = Running(cluster, session, statement)
    revoke(cluster, db, left)
    wait_until(lambda: cluster.value("SELECT count(*) FROM jit.endings WHERE grant_id = %s", dbname=db, params=[left]), "the first end")
    revoke(cluster, db, request)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "revoked by bob")


def test_a_cancel_that_is_swallowed_is_followed(cluster, db):
    request = cluster.grant(db)
    session = cluster.connect("alice", db)
    session.execute(
        """CREATE FUNCTION deaf() RETURNS void LANGUAGE plpgsql AS $$
           BEGIN
               PERFORM count(*) FROM t;
               LOOP
                   BEGIN
                       PERFORM pg_sleep(60);
                   EXCEPTION WHEN query_canceled THEN
                       NULL;
                   END;
               END LOOP;
           END $$"""
    )
    running = Running(cluster, session, "SELECT deaf()")
    revoke(cluster, db, request)
    # Either way is good: the next statement is refused, or the session ended.
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled | psycopg.errors.AdminShutdown)
    told(running.error, "revoked by bob")


def test_what_computes_without_statements_is_ended(cluster, db):
    request = cluster.grant(db)
    session = cluster.connect("alice", db)
    session.execute(
        """CREATE FUNCTION deaf() RETURNS void LANGUAGE plpgsql AS $$
           DECLARE n int; i bigint := 0;
           BEGIN
               SELECT count(*) INTO n FROM t;
               PERFORM pg_sleep(2);
               LOOP
                   BEGIN
                       LOOP i := i + n; END LOOP;
                   EXCEPTION WHEN query_canceled THEN
                       NULL;
                   END;
               END LOOP;
           END $$"""
    )
    running = Running(cluster, session, "SELECT deaf()")
    state = "SELECT wait_event IS NULL FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: cluster.value(state, params=[session.info.backend_pid]), "it computes")
    revoke(cluster, db, request)
    assert isinstance(running.outcome(), psycopg.errors.AdminShutdown)


def test_a_held_cursor_carries_nothing_out(cluster, db):
    cluster.grant(db)
    session = cluster.connect("alice", db)
    session.execute("BEGIN")
    session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t")
    assert session.execute("FETCH 1 FROM c").fetchall() == [(1, "s")]
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot be held"):
        session.execute("COMMIT")
    with pytest.raises(psycopg.errors.InvalidCursorName):
        session.execute("FETCH 1 FROM c")
    # One that nobody has read from yet is filled at the commit, and uses the grant then.
    session.execute("BEGIN")
    session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot be held"):
        session.execute("COMMIT")
    with pytest.raises(psycopg.errors.InvalidCursorName):
        session.execute("FETCH 1 FROM c")
    # Closed in time, and where no grant is used, everything is as ever.
    session.execute("BEGIN")
    session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t")
    assert len(session.execute("FETCH ALL FROM c").fetchall()) == 1
    session.execute("CLOSE c")
    session.execute("COMMIT")
    session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM free")
    assert len(session.execute("FETCH ALL FROM c").fetchall()) == 1000
    # A loop that commits keeps the rows in a held portal.
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot be held"):
        session.execute("DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM t LOOP COMMIT; END LOOP; END $$")


def test_a_transaction_that_has_used_a_grant_is_not_prepared(cluster, db):
    cluster.grant(db)
    session = cluster.connect("alice", db)
    session.execute("BEGIN")
    session.execute("INSERT INTO free SELECT k FROM t")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="PREPARE a transaction that has used a grant"):
        session.execute("PREPARE TRANSACTION 'x'")
    assert cluster.value("SELECT count(*) FROM pg_prepared_xacts") == 0
    assert session.execute("SELECT count(*) FROM free").fetchone() == (1000,)


def test_writes_are_not_committed_after_the_end(cluster, db):
    """Where the session is left alone; a deferred trigger gives the commit something to do."""
    request = cluster.grant(db, "left")
    writes, reads = (cluster.connect("alice", db) for _ in range(2))
    writes.execute("BEGIN")
    writes.execute("CREATE TABLE copied AS SELECT k FROM l")
    reads.execute("BEGIN")
    assert reads.execute("SELECT count(*) FROM l").fetchone() == (1,)
    revoke(cluster, db, request)
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        writes.execute("COMMIT")
    told(error.value, "revoked by bob", scope="left")
    assert cluster.value("SELECT to_regclass('copied') IS NULL", dbname=db)
    reads.execute("COMMIT")
    assert reads.execute("SELECT count(*) FROM l").fetchone() == (0,)


def test_a_commit_that_is_held_up_is_stopped(cluster, db):
    """The statement is through; a deferred trigger runs on the grant's time."""
    request = cluster.grant(db)
    session = cluster.connect("alice", db)
    session.execute("CREATE TABLE kept (k int)")
    session.execute("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$")
    session.execute("CREATE CONSTRAINT TRIGGER w AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()")
    running = Running(cluster, session, "INSERT INTO kept SELECT k FROM t")
    revoke(cluster, db, request)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "revoked by bob")
    assert cluster.value("SELECT count(*) FROM kept", dbname=db) == 0


def parallel(session):
    for setting in (
        "parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0", "enable_indexscan = off",
        "enable_bitmapscan = off", "parallel_leader_participation = off",
    ):
        session.execute(f"SET {setting}")
    return session


def test_parallel_workers_use_for_their_leader(cluster, db):
    request, left = cluster.grant(db), cluster.grant(db, "left")
    session = parallel(cluster.connect("alice", db))
    plan = session.execute("EXPLAIN (COSTS OFF) SELECT count(*) FROM t WHERE pg_sleep(0) IS NOT NULL").fetchall()
    assert any("Gather" in line for (line,) in plan), plan
    session.execute("BEGIN")
    assert session.execute("SELECT count(*) FROM l").fetchone() == (1,)
    revoke(cluster, db, left)
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        session.execute("SELECT count(*) FROM free")
    told(error.value, "revoked by bob", scope="left")
    session.execute("ROLLBACK")
    # The workers are gone, and the leader runs on with what they have found.
    running = Running(cluster, session, "SELECT pg_sleep(60) FROM (SELECT count(*) FROM t) q WHERE count = 1")
    revoke(cluster, db, request)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    told(running.error, "revoked by bob")
    request = cluster.grant(db)
    session.execute("BEGIN")
    assert session.execute("SELECT count(*) FROM t").fetchone() == (1,)
    revoke(cluster, db, request)
    wait_until_terminated(cluster, session)


def test_a_parallel_statement_does_not_wash_uses_off(cluster, db):
    """Parallel workers have transactions of their own before they get to work."""
    request = cluster.grant(db)
    idle = parallel(cluster.connect("alice", db))
    idle.execute("SET parallel_leader_participation = on")
    plan = idle.execute("EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM free").fetchall()
    assert any("Workers Launched" in line for (line,) in plan), plan
    idle.execute("BEGIN")
    assert idle.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    assert idle.execute("SELECT count(*) FROM free").fetchone() == (1000,)
    assert cluster.value("SELECT count(*) FROM jit.in_use", dbname=db) == 1
    revoke(cluster, db, request)
    wait_until_terminated(cluster, idle)


def test_a_use_of_the_leaders_does_not_vouch_for_its_workers(cluster, db):
    """What only workers have used must be looked at again after each change, also when the leader uses something for the first time
    in an expression of PL/pgSQL, which is no statement."""
    left = cluster.grant(db, "left")
    cluster.grant(db)
    session = parallel(cluster.connect("alice", db))
    session.execute("BEGIN")
    assert session.execute("SELECT count(*) FROM l").fetchone() == (1,)
    session.execute("SELECT 1")
    revoke(cluster, db, left)
    session.execute("DO $$ BEGIN ASSERT jit_active('s', 1); END $$")
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        session.execute("SELECT count(*) FROM free")
    told(error.value, "revoked by bob", scope="left")


def test_worker_status(cluster, db):
    look = "SELECT running, pid, since <= clock_timestamp(), last_pass >= since, next_deadline > clock_timestamp(), ended, last_error FROM jit.worker_status"
    root = cluster.connect("postgres", db)
    wait_until(lambda: root.execute("SELECT last_pass FROM jit.worker_status").fetchone()[0], "a pass")
    assert root.execute(look).fetchone() == (True, cluster.worker(db), True, True, None, 0, None)
    cluster.grant(db, duration="2 seconds")
    wait_until(lambda: root.execute("SELECT next_deadline FROM jit.worker_status").fetchone()[0], "a deadline")
    wait_until(lambda: root.execute("SELECT ended FROM jit.worker_status").fetchone() == (1,), "the expiry")
    for who in ("alice", "bob"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cluster.execute(look, who, db)


def test_in_use(cluster, db):
    request = cluster.grant(db)
    session = cluster.connect("alice", db, autocommit=False)
    look = "SELECT pid, login, actor, grant_id, scope, since <= clock_timestamp(), state FROM jit.in_use"
    root = cluster.connect("postgres", db)
    assert root.execute(look).fetchall() == []
    session.execute("SELECT count(*) FROM t")
    session.execute("SELECT count(*) FROM t")
    pid = session.info.backend_pid
    assert root.execute(look).fetchall() == [(pid, "alice", "alice", request, "s", True, "in use")]
    session.commit()
    assert root.execute(look).fetchall() == []
    session.execute("SELECT count(*) FROM t")
    session.rollback()
    assert root.execute(look).fetchall() == []
    session.execute("SELECT count(*) FROM t")
    session.close()
    wait_until(lambda: root.execute(look).fetchall() == [], "the slot is empty")
    for who in ("alice", "bob"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cluster.execute(look, who, db)


def test_more_uses_than_a_slot_names(cluster, db):
    requests = [cluster.grant(db, key=str(key)) for key in range(1, 81)]
    session, other = cluster.connect("alice", db, autocommit=False), cluster.connect("alice", db, autocommit=False)
    assert session.execute("SELECT count(*) FROM t").fetchone() == (80,)
    assert other.execute("SELECT count(*) FROM t WHERE k < 5").fetchone() == (4,)
    uses = "SELECT count(grant_id), count(*) FROM jit.in_use WHERE pid = %s"
    assert cluster.connect("postgres", db).execute(uses, [session.info.backend_pid]).fetchone() == (64, 65)
    # Which of them are not named depends on the order of the table.
    revoke(cluster, db, requests[79])
    wait_until_terminated(cluster, session)
    assert other.execute("SELECT 1").fetchone() == (1,)
