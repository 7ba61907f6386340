"""The worker: puts on record what ends by itself, announces it, and is nobody's obstacle."""

import json
import os
import signal
import time

import psycopg
import pytest

from harness import wait_until
from workers import SECOND, events, has_worker, workers, works

# ------------------------------------------------------------------ time


def test_expiries_are_on_record_within_a_second(cluster, db):
    cluster.create_scope(db)
    requests = [cluster.grant(db, key=str(n), duration=f"{1 + n * 0.17:.2f} seconds") for n in range(10)]
    wait_until(lambda: events(cluster, db, "expired") == len(requests), "all expiries on record")
    wait_until(lambda: not cluster.value("SELECT count(*) FROM jit.grants WHERE tidied_at IS NULL", dbname=db), "all tidied away")
    with cluster.connect(dbname=db) as session:
        rows = session.execute(
            f"""SELECT e.at >= g.ends_at, e.at - g.ends_at < {SECOND}, n.kind, n.at = g.ends_at, n.login,
                       g.tidied_at - g.ends_at < 2 * {SECOND}, (e.details ->> 'ends_at')::timestamptz = g.ends_at, e.scope
                  FROM jit.grants g JOIN jit.events e ON e.request_id = g.id AND e.kind = 'expired'
                                    JOIN jit.endings n ON n.grant_id = g.id"""
        ).fetchall()
    # Housekeeping is done once a second, so that tidying may come that much later.
    assert rows == [(True, True, "expired", True, None, True, True, "s")] * len(requests)


def test_requests_lapse_within_a_second(cluster, db):
    cluster.create_scope(db, pending_ttl="1 second")
    request = cluster.request(db)
    wait_until(lambda: events(cluster, db, "lapsed") == 1, "lapse on record")
    with cluster.connect(dbname=db) as session:
        row = session.execute(
            f"""SELECT q.state, e.at >= q.lapses_at, e.at - q.lapses_at < {SECOND}, q.decided_at = q.lapses_at, q.decided_by
                  FROM jit.requests q JOIN jit.events e ON e.request_id = q.id AND e.kind = 'lapsed' WHERE q.id = %s""",
            [request],
        ).fetchone()
    assert row == ("lapsed", True, True, True, None)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="lapsed"):
        cluster.approve(db, request)


def test_locked_rows_hold_up_nobody_else(cluster, db):
    """A requester keeps the row of one request; the others lapse, and that one as soon as it is free."""
    cluster.create_scope(db, pending_ttl="1 second")
    held = cluster.request(db, key="1")
    alice = cluster.connect("alice", db, autocommit=False)
    alice.execute("SELECT jit_cancel(%s)", [held])
    cluster.request(db, key="2")
    wait_until(lambda: events(cluster, db, "lapsed") == 1, "the other's lapse on record")
    alice.rollback()
    wait_until(lambda: events(cluster, db, "lapsed") == 2, "its lapse on record")


def test_several_databases(cluster):
    databases = [cluster.new_database() for _ in range(3)]
    without = cluster.new_database(extension=False)
    for db in databases:
        cluster.create_scope(db)
    for db in databases:
        has_worker(cluster, db)
    for db in databases:
        works(cluster, db)
    found = workers(cluster)
    assert {db: found.get(db) for db in databases} == {db: 1 for db in databases}
    wait_until(lambda: without not in workers(cluster), "no worker where the extension is not")


# ------------------------------------------------------------------ NOTIFY


def received(listener, until):
    """The payloads up to the first one of which until() is true."""
    payloads = []
    for notification in listener.notifies(timeout=15):
        assert notification.channel == "jit_rls"
        payloads.append(json.loads(notification.payload))
        if until(payloads[-1]):
            return payloads
    raise AssertionError(f"not announced; received: {payloads}")


def test_notifications(cluster, db):
    cluster.create_scope(db, pending_ttl="2 seconds")
    listener = cluster.connect("frank", db)
    listener.execute("LISTEN jit_rls")
    alice = cluster.connect("alice", db, autocommit=False)
    [held] = alice.execute("SELECT jit_request('s', 'secret reason', key => '1')").fetchone()
    alice2 = cluster.connect("alice", db, autocommit=False)
    [undone] = alice2.execute("SELECT jit_request('s', 'secret reason', key => '2')").fetchone()
    alice2.rollback()
    # What is announced after something later is not held back any more: the open one has not been announced.
    other = cluster.request(db, key="3")
    before = received(listener, lambda p: p["request"] == other)
    assert {p["request"] for p in before if p["kind"] == "requested"} == {other}
    alice.commit()
    received(listener, lambda p: p["request"] == held and p["kind"] == "requested")
    cluster.approve(db, held)
    bob = cluster.connect("bob", db)
    bob.execute("SELECT jit_revoke(%s, 'secret reason')", [held])
    short = cluster.grant(db, key="4", duration="1 second")
    received(listener, lambda p: p["request"] == short and p["kind"] == "expired")
    rest = received(listener, lambda p: p["kind"] == "lapsed")
    assert rest[-1]["request"] == other
    assert undone not in [p["request"] for p in before + rest]


def test_notifications_tell_what_the_events_tell(cluster, db):
    listener = cluster.connect("frank", db)
    listener.execute("LISTEN jit_rls")
    cluster.create_scope(db)
    first = cluster.grant(db, key="1")
    bob = cluster.connect("bob", db)
    bob.execute("SELECT jit_revoke(%s, 'secret reason')", [first])
    denied = cluster.request(db, key="2")
    bob.execute("SELECT jit_deny(%s, 'secret reason')", [denied])
    cancelled = cluster.request(db, key="3")
    cluster.execute("SELECT jit_cancel(%s)", "alice", db, [cancelled])
    released = cluster.grant(db, key="4")
    cluster.execute("SELECT jit_release(%s)", "alice", db, [released])
    cluster.grant(db, key="5")
    cluster.request(db, key="6")
    cluster.execute("SELECT jit.drop_scope('s')", dbname=db)
    payloads = received(listener, lambda p: p["kind"] == "closed")
    with cluster.connect(dbname=db) as session:
        rows = session.execute("SELECT id, kind, request_id, scope FROM jit.events ORDER BY id").fetchall()
    expected = [{"v": 1, "event": i, "kind": kind, "request": request, "scope": scope} for i, kind, request, scope in rows]
    assert sorted(payloads, key=lambda p: p["event"]) == expected
    assert "secret" not in json.dumps(payloads)
    # They tell the whole story in its order, and the outbox is empty.
    assert [p["event"] for p in payloads] == [i for i, *_ in rows]


# ------------------------------------------------------------------ coming and going


def test_leaves_with_the_extension_and_comes_back(cluster, db):
    for number in range(2):
        pid = has_worker(cluster, db)
        # A transaction that thinks better of it.
        session = cluster.connect(dbname=db, autocommit=False)
        session.execute("DROP EXTENSION jit_rls")
        session.rollback()
        cluster.create_scope(db)
        works(cluster, db)
        cluster.execute("DROP EXTENSION jit_rls", dbname=db)
        wait_until(lambda: cluster.worker(db) is None, "the worker has left")
        cluster.execute("CREATE EXTENSION jit_rls", dbname=db)
        assert has_worker(cluster, db) != pid
    cluster.create_scope(db)
    works(cluster, db)


def test_drop_database_works_without_force(cluster):
    for _ in range(5):
        db = cluster.new_database()
        cluster.create_scope(db)
        has_worker(cluster, db)
        started = time.monotonic()
        cluster.execute(f"DROP DATABASE {db}")
        assert time.monotonic() - started < 4
    # Before the worker has even started.
    db = cluster.new_database()
    cluster.execute(f"DROP DATABASE {db}")


def test_other_commands_that_need_the_database_to_themselves(cluster, db):
    cluster.create_scope(db)
    has_worker(cluster, db)
    cluster.execute(f"ALTER DATABASE {db} RENAME TO renamed")
    has_worker(cluster, "renamed")
    works(cluster, "renamed")
    cluster.execute("CREATE DATABASE copied TEMPLATE renamed")
    has_worker(cluster, "renamed")
    works(cluster, "renamed", key="2")
    has_worker(cluster, "copied")
    works(cluster, "copied", key="3")


def test_who_may_not_drop_a_database_does_not_send_its_worker_away(cluster, db):
    pid = has_worker(cluster, db)
    for command in ("DROP DATABASE {}", "ALTER DATABASE {} RENAME TO mine", "CREATE DATABASE mine TEMPLATE {}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cluster.execute(command.format(db), "frank")
    cluster.create_scope(db)
    works(cluster, db)
    assert cluster.worker(db) == pid


def test_a_command_that_fails_does_not_keep_the_worker_away(cluster, db):
    """Its owner may send the worker away, for the moment that a command takes which works."""
    cluster.execute(f"GRANT CREATE ON DATABASE {db} TO frank; ALTER DATABASE {db} OWNER TO frank")
    pid = has_worker(cluster, db)
    elsewhere = cluster.connect("frank")
    for command in (f"DROP DATABASE {db}", f"ALTER DATABASE {db} SET TABLESPACE pg_default", f"CREATE DATABASE mine TEMPLATE {db}"):
        elsewhere.execute("BEGIN")
        with pytest.raises(psycopg.Error):
            elsewhere.execute(command)
        elsewhere.execute("ROLLBACK")
    assert cluster.worker(db) == pid
    # Of those that fail later, the worker is back long before the ten seconds are over that it stays out otherwise.
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        elsewhere.execute(f"ALTER DATABASE {db} RENAME TO mine")
    started = time.monotonic()
    wait_until(lambda: cluster.worker(db), "the worker is back")
    assert time.monotonic() - started < 5


def test_who_locks_the_extension_is_told_of(cluster, db):
    """A superuser can do so. Nothing waits for that, and it does not go unnoticed."""
    cluster.create_scope(db)
    has_worker(cluster, db)
    locking = cluster.connect(dbname=db)
    locking.execute("BEGIN")
    locking.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    locking.execute("ALTER FUNCTION f() DEPENDS ON EXTENSION jit_rls")
    request = cluster.grant(db, duration="1 second")
    last_error = "SELECT last_error FROM jit.worker_status"
    wait_until(lambda: "keeps the extension jit_rls locked" in (cluster.value(last_error, dbname=db) or ""), "the status tells of it")
    locking.execute("ROLLBACK")
    ended = "SELECT count(*) FROM jit.endings WHERE grant_id = %s"
    wait_until(lambda: cluster.value(ended, dbname=db, params=[request]) == 1, "the ending is on record")


def test_reload(cluster, db):
    pid = has_worker(cluster, db)
    launcher = cluster.launcher()
    state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
    try:
        # The one setting whose effect on a worker others can see.
        cluster.reload({"track_activities": "off"})
        wait_until(lambda: cluster.value(state, params=[pid]) == "disabled", "the worker has read its configuration")
    finally:
        cluster.reload({"track_activities": "on"})
    wait_until(lambda: cluster.value(state, params=[pid]) == "idle", "the worker has read its configuration again")
    assert (cluster.worker(db), cluster.launcher()) == (pid, launcher)
    cluster.create_scope(db)
    works(cluster, db)


def test_terminated_processes_come_back_and_are_not_doubled(cluster, db):
    cluster.create_scope(db)
    worker, launcher = has_worker(cluster, db), wait_until(cluster.launcher)
    served = workers(cluster)
    # The launcher alone: its workers live on.
    cluster.execute("SELECT pg_terminate_backend(%s)", params=[launcher])
    wait_until(lambda: cluster.launcher() not in (None, launcher), "another launcher")
    # It is at work once it has given a new database its worker.
    another = cluster.new_database()
    has_worker(cluster, another)
    assert cluster.worker(db) == worker
    assert workers(cluster) == served | {another: 1}
    # The worker alone.
    cluster.execute("SELECT pg_terminate_backend(%s)", params=[worker])
    wait_until(lambda: cluster.worker(db) not in (None, worker), "another worker")
    works(cluster, db)
    # Both at once, and the launcher first.
    for pid in (cluster.launcher(), cluster.worker(db)):
        cluster.execute("SELECT pg_terminate_backend(%s)", params=[pid])
    has_worker(cluster, db)
    wait_until(cluster.launcher)
    works(cluster, db, key="2")
    assert workers(cluster) == served | {another: 1}
    # A cancel is for a statement, and there is none.
    worker = cluster.worker(db)
    cluster.execute("SELECT pg_cancel_backend(%s)", params=[worker])
    works(cluster, db, key="3")
    assert cluster.worker(db) == worker


@pytest.mark.parametrize("victim", ["worker", "launcher"])
def test_killed_processes_come_back_and_are_not_doubled(new_cluster, victim):
    """After a kill -9 the postmaster starts everything anew."""
    cluster = new_cluster().start().create_roles()
    databases = [cluster.new_database() for _ in range(2)]
    for db in databases:
        cluster.create_scope(db)
        has_worker(cluster, db)
    live = cluster.grant(databases[0], key="7")
    before = {db: cluster.worker(db) for db in databases}
    pid = before[databases[0]] if victim == "worker" else wait_until(cluster.launcher)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "all server processes terminated; reinitializing" in cluster.log(), "crash restart")
    wait_until(cluster._accepts, "server accepts connections again")
    for db in databases:
        wait_until(lambda: cluster.worker(db) not in (None, before[db]), "another worker")
        works(cluster, db)
    assert workers(cluster) == {db: 1 for db in databases}
    assert cluster.active(databases[0], key=7)
    cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", databases[0], [live])
    assert not cluster.active(databases[0], key=7)


@pytest.mark.parametrize("mode", ["fast", "smart"])
def test_shutdown_is_quick(new_cluster, mode):
    cluster = new_cluster().start(settings={"fsync": "off"}).create_roles()
    databases = [cluster.new_database() for _ in range(3)]
    for db in databases:
        cluster.create_scope(db)
        cluster.grant(db)
        has_worker(cluster, db)
    if mode == "fast":
        # One that waits for a lock.
        admin = cluster.connect(dbname=databases[0], autocommit=False)
        admin.execute("LOCK TABLE jit_private.grants IN ACCESS EXCLUSIVE MODE")
        pid = cluster.worker(databases[0])
        wait_for_lock = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        cluster.create_scope(databases[0], "other")
        wait_until(lambda: cluster.value(wait_for_lock, params=[pid]), "the worker waits for the table")
    started = time.monotonic()
    assert cluster.stop(mode, timeout=20) == 0
    assert time.monotonic() - started < 5
    assert "PANIC" not in cluster.log()


# ------------------------------------------------------------------ hostile surroundings

# What the owner of a database can do to whoever connects to it.
DATABASE_SETTINGS = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "session_replication_role": "replica",
    "search_path": "elsewhere",
    "role": "frank",
    "row_security": "off",
    "enable_indexscan": "off",
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
}


def test_settings_of_the_database_do_not_stop_it(cluster, db):
    cluster.create_scope(db)
    for name, value in DATABASE_SETTINGS.items():
        cluster.execute(f"ALTER DATABASE {db} SET {name} = '{value}'")
    old = has_worker(cluster, db)
    cluster.execute("SELECT pg_terminate_backend(%s)", params=[old])
    wait_until(lambda: cluster.worker(db) not in (None, old), "another worker")
    sane = "-c default_transaction_read_only=off -c statement_timeout=0 -c search_path=public -c lock_timeout=0"
    sane += " -c default_transaction_isolation=read\\ committed"
    alice = cluster.connect("alice", db, options=sane + " -c role=none")
    bob = cluster.connect("bob", db, options=sane + " -c role=none")
    [request] = alice.execute("SELECT jit_request('s', 'refund', key => '1', duration => '1 second')").fetchone()
    assert bob.execute("SELECT jit_approve(%s)", [request]).fetchone() == ("approved",)
    admin = cluster.connect(dbname=db, options=sane + " -c role=none")
    late = wait_until(
        lambda: admin.execute(
            "SELECT e.at - g.ends_at FROM jit.events e JOIN jit.grants g ON g.id = e.request_id WHERE e.kind = 'expired'"
        ).fetchone(),
        "expiry on record",
    )
    assert late[0].total_seconds() < 1


def test_somebody_elses_schema_of_that_name_is_left_alone(new_cluster):
    """The worker is superuser: what somebody has prepared in a database without the extension must not run."""
    cluster = new_cluster().start(preload=False).create_roles()
    cluster.execute("CREATE DATABASE trap OWNER frank")
    for schema in ("jit", "jit_private"):
        cluster.psql(
            f"""CREATE SCHEMA {schema};
            SET search_path = {schema};
            CREATE TABLE caught (who text, super text);
            CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN INSERT INTO {schema}.caught VALUES (current_user, current_setting('is_superuser')); RETURN NULL; END$$;
            CREATE FUNCTION origin() RETURNS text LANGUAGE plpgsql AS
                $$BEGIN INSERT INTO {schema}.caught VALUES (current_user, 'origin'); RETURN 'x'; END$$;
            CREATE TABLE grants (id bigint, scope_id int, scope text, ends_at timestamptz, epoch bigint, origin text, tidied_at timestamptz);
            CREATE TABLE endings (grant_id bigint, at timestamptz, kind text, login text, actor text, reason text);
            CREATE TABLE events (id bigserial, at timestamptz, kind text, request_id bigint, scope text, details jsonb);
            CREATE TABLE outbox (event_id bigint);
            CREATE TABLE scopes (id int, enabled bool, dropped_at timestamptz, epoch bigint);
            CREATE TABLE requests (id bigint, scope_id int, scope text, state text, lapses_at timestamptz, decided_at timestamptz, epoch bigint, origin text);
            INSERT INTO grants VALUES (1, 1, 's', now() - interval '1 hour', 1, 'x', NULL);
            INSERT INTO requests VALUES (1, 1, 's', 'pending', now() - interval '1 hour', NULL, 1, 'x');
            INSERT INTO scopes VALUES (1, true, NULL, 2);
            INSERT INTO outbox VALUES (1);
            CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE ON grants FOR EACH STATEMENT EXECUTE FUNCTION trap();
            CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE ON requests FOR EACH STATEMENT EXECUTE FUNCTION trap();
            CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE ON endings FOR EACH STATEMENT EXECUTE FUNCTION trap();
            CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION trap();
            CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH STATEMENT EXECUTE FUNCTION trap();""",
            user="frank",
            dbname="trap",
        )
    oid = cluster.value("SELECT oid FROM pg_database WHERE datname = 'trap'")
    # So that the postmaster tells of workers that it starts, and of those that leave.
    cluster.restart(settings={"log_min_messages": "debug1"})
    left = f'unregistering background worker "jit_rls worker for database {oid}"'
    wait_until(lambda: left in cluster.log(), "the worker has looked and left")
    for schema in ("jit", "jit_private"):
        assert cluster.value(f"SELECT count(*) FROM {schema}.caught", dbname="trap") == 0
        assert cluster.value(f"SELECT count(*) FROM {schema}.events", dbname="trap") == 0
        assert cluster.value(f"SELECT state FROM {schema}.requests", dbname="trap") == "pending"


def test_without_notify_access_ends_all_the_same(new_cluster):
    """The queue of notifications can be full (8 GB, too large for a test), and its lock can be held.

    Whoever commits a NOTIFY holds a lock of the whole cluster until the commit is done, and here it never is: it waits for a
    standby that does not exist. Every other NOTIFY fails or waits.
    """
    cluster = new_cluster().start(settings={"fsync": "off"}).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    has_worker(cluster, db)
    listener = cluster.connect("frank", db)
    listener.execute("LISTEN jit_rls")
    local = {"options": "-c synchronous_commit=local"}
    alice, bob, admin = (cluster.connect(user, db, **local) for user in ("alice", "bob", "postgres"))
    cluster.execute("CREATE TABLE written (n int); GRANT INSERT ON written TO frank", dbname=db)
    blocker = cluster.connect("frank", db)
    pid = blocker.info.backend_pid
    cluster.reload({"synchronous_standby_names": "nobody"})
    waits = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s"

    def blocked():
        # Until the server has taken in the setting, a NOTIFY goes through.
        blocker.pgconn.consume_input()
        if not blocker.pgconn.is_busy():
            while blocker.pgconn.get_result():
                pass
            # Only what writes something waits for a standby.
            blocker.pgconn.send_query(b"INSERT INTO written VALUES (1); NOTIFY other")
        return admin.execute(waits, [pid]).fetchone()[0]

    wait_until(blocked, "a NOTIFY that never ends")
    [revoked] = alice.execute("SELECT jit_request('s', 'refund', key => '1')").fetchone()
    [expired] = alice.execute("SELECT jit_request('s', 'refund', key => '2', duration => '1 second')").fetchone()
    for request in (revoked, expired):
        assert bob.execute("SELECT jit_approve(%s)", [request]).fetchone() == ("approved",)
    check = "SELECT jit_active('s', 1)"
    assert alice.execute(check).fetchone() == (True,)
    bob.execute("SELECT jit_revoke(%s, 'done')", [revoked])
    assert alice.execute(check).fetchone() == (False,)
    late = wait_until(
        lambda: admin.execute(
            "SELECT e.at - g.ends_at FROM jit.events e JOIN jit.grants g ON g.id = e.request_id WHERE e.kind = 'expired'"
        ).fetchone(),
        "expiry on record",
    )
    assert late[0].total_seconds() < 1
    assert admin.execute(waits, [pid]).fetchone()[0], "the lock was held all the time"
    # And once NOTIFY can be had again, it is told.
    cluster.reload({"synchronous_standby_names": ""})
    received(listener, lambda p: p["request"] == expired and p["kind"] == "expired")
