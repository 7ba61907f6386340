"""The worker sleeps until something is due, is woken by whoever changes what that is, and waits for nobody's rows."""

import json
import time

import psycopg
import pytest

from harness import wait_until
from workers import events, has_worker, put_on_record, works

ENDS_AT = "SELECT ends_at FROM jit.grants WHERE id = %s"
# Housekeeping follows whatever happens within a second.
ASLEEP = "SELECT last_pass FROM jit.worker_status WHERE last_pass < clock_timestamp() - interval '1.5 seconds'"


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db)
    has_worker(cluster, db)
    return db


def asleep(root):
    """Waits until the worker has not looked around for a while; returns when it did so last."""
    return wait_until(lambda: root.execute(ASLEEP).fetchone(), "the worker sleeps")[0]


def last_pass(root):
    return root.execute("SELECT last_pass FROM jit.worker_status").fetchone()[0]


def waits_for(root, moment):
    """Until the worker says that this is its next deadline, or None. It reckons from its own clock."""
    near = "SELECT coalesce(abs(extract(epoch FROM next_deadline - %s)) < 1, %s) FROM jit.worker_status"
    params = [moment, moment is None]
    wait_until(lambda: root.execute(near, params).fetchone()[0], f"deadline {moment}")


def ends_at(root, request):
    return root.execute(ENDS_AT, [request]).fetchone()[0]


# ------------------------------------------------------------------ sleeping and waking


def test_it_sleeps_until_the_next_deadline(cluster, db):
    root = cluster.connect(dbname=db)
    request = cluster.grant(db, duration="6 seconds")
    moment = ends_at(root, request)
    before = asleep(root)
    waits_for(root, moment)
    wait_until(lambda: last_pass(root) != before, "the worker wakes up")
    assert before < moment <= last_pass(root)
    assert put_on_record(cluster, db, request) < 1


def test_it_sleeps_when_nothing_is_due_ever(cluster, db):
    root = cluster.connect(dbname=db)
    asleep(root)
    waits_for(root, None)


def test_an_earlier_deadline_wakes_it(cluster, db):
    root = cluster.connect(dbname=db)
    late = cluster.grant(db, key="1", duration="1 hour")
    waits_for(root, ends_at(root, late))
    asleep(root)
    early = cluster.grant(db, key="2", duration="3 seconds")
    waits_for(root, ends_at(root, early))
    assert put_on_record(cluster, db, early) < 1
    waits_for(root, ends_at(root, late))


def test_an_earlier_lapse_wakes_it(cluster, db):
    cluster.create_scope(db, "hasty", pending_ttl="3 seconds")
    root = cluster.connect(dbname=db)
    cluster.grant(db, duration="1 hour")
    asleep(root)
    request = cluster.request(db, "hasty")
    [lapses_at] = root.execute("SELECT lapses_at FROM jit.requests WHERE id = %s", [request]).fetchone()
    waits_for(root, lapses_at)
    wait_until(lambda: events(cluster, db, "lapsed") == 1, "lapse on record")
    late = root.execute("SELECT e.at - %s FROM jit.events e WHERE e.kind = 'lapsed'", [lapses_at]).fetchone()[0]
    assert 0 <= late.total_seconds() < 1


def test_a_deadline_that_has_gone_is_not_waited_for(cluster, db):
    root, bob = cluster.connect(dbname=db), cluster.connect("bob", db)
    first, second = cluster.grant(db, key="1", duration="1 hour"), cluster.grant(db, key="2", duration="2 hours")
    waits_for(root, ends_at(root, first))
    asleep(root)
    bob.execute("SELECT jit_revoke(%s, 'enough')", [first])
    waits_for(root, ends_at(root, second))
    cluster.execute("SELECT jit_release(%s)", "alice", db, [second])
    # The requests were decided long ago.
    waits_for(root, None)


def test_a_commit_wakes_it_and_a_rollback_does_not(cluster, db):
    root, bob = cluster.connect(dbname=db), cluster.connect("bob", db, autocommit=False)
    request = cluster.request(db)
    before = asleep(root)
    bob.execute("SELECT jit_approve(%s)", [request])
    bob.rollback()
    # Time enough to be wrong.
    root.execute("SELECT pg_sleep(0.5)")
    assert last_pass(root) == before
    bob.execute("SELECT jit_approve(%s)", [request])
    assert last_pass(root) == before
    bob.commit()
    wait_until(lambda: last_pass(root) != before, "the worker wakes up")
    waits_for(root, ends_at(root, request))


def test_it_holds_nothing_while_it_sleeps(cluster, db):
    works(cluster, db)
    root = cluster.connect(dbname=db)
    asleep(root)
    holds = "SELECT backend_xmin, backend_xid, xact_start FROM pg_stat_activity WHERE pid = ANY (%s)"
    locks = "SELECT count(*) FROM pg_locks WHERE pid = ANY (%s)"
    pids = [cluster.worker(db), wait_until(cluster.launcher)]
    assert root.execute(holds, [pids]).fetchall() == [(None, None, None)] * 2
    assert root.execute(locks, [pids]).fetchone() == (0,)
    state = "SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = %s"
    assert root.execute(state, [cluster.worker(db)]).fetchone() == ("idle", "Extension")


# ------------------------------------------------------------------ thousands

MANY = 12_000


def multiply(cluster, db, due_in):
    """As many grants of one alice's, and as many requests, that are all due at the same moment."""
    cluster.grant(db, key="0")
    cluster.request(db, key="-1")
    with cluster.connect(dbname=db) as root:
        root.execute("CREATE TABLE due AS SELECT clock_timestamp() + %s::interval AS at", [due_in])
        root.execute(
            f"""INSERT INTO jit_private.requests (scope_id, scope, key, all_rows, grantee, grantee_id, login, login_id, actor, actor_id, person,
                                                  reason, duration, created_at, lapses_at, epoch, rules, origin)
                SELECT scope_id, scope, n::text, all_rows, grantee, grantee_id, login, login_id, actor, actor_id, person,
                       reason, duration, created_at, at, epoch, rules, origin
                  FROM jit_private.requests, due, generate_series(1, {MANY}) n WHERE state = 'pending'"""
        )
        root.execute(
            f"""INSERT INTO jit_private.grants (id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at,
                                                approved_by, epoch, origin)
                SELECT 1000000 + n, scope_id, scope, n::text, all_rows, grantee, grantee_id, starts_at, at, approved_by, epoch, origin
                  FROM jit_private.grants, due, generate_series(1, {MANY}) n"""
        )


def all_on_record(cluster, db):
    """Each with one ending or state, and one event, which is announced once; and tidied away."""
    wait_until(lambda: events(cluster, db, "expired") >= MANY, "all expiries on record", timeout=60)
    wait_until(lambda: events(cluster, db, "lapsed") >= MANY, "all lapses on record", timeout=60)
    root = cluster.connect(dbname=db)
    nothing = {
        "grants without one ending": """SELECT g.id FROM jit.grants g LEFT JOIN jit.endings n ON n.grant_id = g.id
                                         WHERE g.key::int > 0 GROUP BY 1 HAVING count(n) <> 1""",
        "grants without one event": """SELECT g.id FROM jit.grants g LEFT JOIN jit.events e ON e.request_id = g.id AND e.kind = 'expired'
                                        WHERE g.key::int > 0 GROUP BY 1 HAVING count(e) <> 1""",
        "requests without one event": """SELECT q.id FROM jit.requests q LEFT JOIN jit.events e ON e.request_id = q.id AND e.kind = 'lapsed'
                                          WHERE q.state = 'lapsed' GROUP BY 1 HAVING count(e) <> 1""",
        "requests that did not lapse": "SELECT id FROM jit.requests WHERE state = 'pending' AND key::int > 0",
        "events before their time": "SELECT e.id FROM jit.events e, due WHERE e.kind IN ('expired', 'lapsed') AND e.at < due.at",
    }
    for what, query in nothing.items():
        assert root.execute(f"SELECT count(*) FROM ({query}) q").fetchone() == (0,), what
    wait_until(lambda: root.execute("SELECT count(*) FROM jit_private.outbox").fetchone() == (0,), "all announced", timeout=60)
    untidied = "SELECT count(*) FROM jit.grants WHERE tidied_at IS NULL AND key::int > 0"
    wait_until(lambda: root.execute(untidied).fetchone() == (0,), "all tidied away", timeout=60)


def test_thousands_at_once(cluster, db):
    multiply(cluster, db, due_in="2 seconds")
    with psycopg.connect(cluster.conninfo("frank", db), autocommit=True) as listener:
        listener.execute("LISTEN jit_rls")
        # Nobody told the worker of them; whatever comes next does.
        cluster.request(db, key="-2")
        told = {"expired": set(), "lapsed": set()}
        # Whoever listens must read, or other people wait.
        for notification in listener.notifies(timeout=60):
            payload = json.loads(notification.payload)
            told.get(payload["kind"], set()).add(payload["request"])
            if all(len(requests) == MANY for requests in told.values()):
                break
    assert {kind: len(requests) for kind, requests in told.items()} == {"expired": MANY, "lapsed": MANY}
    all_on_record(cluster, db)


def test_thousands_that_came_due_while_the_server_was_down(new_cluster):
    cluster = new_cluster().start(settings={"fsync": "off"}).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    multiply(cluster, db, due_in="2 seconds")
    due_at = cluster.value("SELECT extract(epoch FROM at)::float8 FROM due", dbname=db)
    cluster.kill9()
    wait_until(lambda: time.time() > due_at, "they are due")
    cluster.start(settings={"fsync": "off"})
    assert not cluster.active(db, key=1) and cluster.active(db, key=0)
    all_on_record(cluster, db)


def test_thousands_of_which_the_first_is_locked(cluster, db):
    """The batches go on behind it; it comes once it is free."""
    multiply(cluster, db, due_in="6 seconds")
    with cluster.connect(dbname=db, autocommit=False) as blocker:
        blocker.execute("SELECT FROM jit_private.grants WHERE id = 1000001 FOR UPDATE")
        assert blocker.execute("SELECT at > clock_timestamp() FROM due").fetchone() == (True,), "locked too late"
        cluster.request(db, key="-2")
        wait_until(lambda: events(cluster, db, "expired") == MANY - 1, "all others on record", timeout=60)
    all_on_record(cluster, db)


def test_a_database_can_be_dropped_while_thousands_are_due(cluster, db):
    multiply(cluster, db, due_in="0 seconds")
    cluster.request(db, key="-2")
    wait_until(lambda: events(cluster, db, "expired"), "the worker is at it")
    cluster.execute(f"DROP DATABASE {db}")


# ------------------------------------------------------------------ other people's locks


def test_it_waits_for_nobodys_rows(cluster, db):
    cluster.create_scope(db, "hasty", pending_ttl="3 seconds")
    cluster.execute("CREATE ROLE lead")
    try:
        cluster.create_scope(db, "led", approvers={"lead": 1})
        held, lapsing = cluster.grant(db, duration="3 seconds"), cluster.request(db, "hasty", key="1")
        blocker = cluster.connect(dbname=db, autocommit=False)
        for table in ("scopes", "approvers", "requesters", "requests", "reviews", "grants", "endings", "events", "outbox"):
            blocker.execute(f"SELECT FROM jit_private.{table} FOR UPDATE")
        cluster.execute("ALTER ROLE lead RENAME TO leader")
        cluster.request(db, "hasty", key="2")
        works(cluster, db, key="2")
        wait_until(lambda: events(cluster, db, "lapsed") == 1, "the other's lapse on record")
        on_record = "SELECT count(*) FROM jit.events WHERE request_id = ANY (%s) AND kind IN ('expired', 'lapsed')"
        assert cluster.value(on_record, dbname=db, params=[[held, lapsing]]) == 0
        blocker.rollback()
        wait_until(lambda: cluster.value(on_record, dbname=db, params=[[held, lapsing]]) == 2, "those that were held")
        cluster.request(db, key="3")
        renamed = "SELECT count(*) FROM jit.approvers WHERE role = 'leader'"
        wait_until(lambda: cluster.value(renamed, dbname=db) == 1, "the rule has followed the role")
        assert cluster.value("SELECT last_error FROM jit.worker_status", dbname=db) is None
    finally:
        cluster.execute("DROP ROLE IF EXISTS lead, leader")


@pytest.mark.parametrize("user, end", [("alice", "SELECT jit_release(%s)"), ("bob", "SELECT jit_revoke(%s, 'enough')")])
def test_an_ending_that_is_left_open_does_not_hold_up_the_expiry(cluster, db, user, end):
    request = cluster.grant(db, duration="3 seconds")
    session = cluster.connect(user, db, autocommit=False)
    session.execute(end, [request])
    assert put_on_record(cluster, db, request) < 1
    # Both are true, and either has its event.
    session.commit()
    both = ["expired", "released" if user == "alice" else "revoked"]
    endings = "SELECT array_agg(kind ORDER BY kind) FROM jit.endings WHERE grant_id = %s"
    told = "SELECT array_agg(kind ORDER BY kind) FROM jit.events WHERE request_id = %s AND kind NOT IN ('requested', 'approved')"
    assert [cluster.value(kinds, dbname=db, params=[request]) for kinds in (endings, told)] == [both, both]
    assert not cluster.active(db)
