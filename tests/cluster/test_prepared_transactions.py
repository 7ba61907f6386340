"""Two-phase commit: what was prepared counts from COMMIT PREPARED on, in every session that is open."""

import json

import psycopg
import pytest

from harness import OpenSessions, wait_until


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    settings = {"fsync": "off", "max_prepared_transactions": "10"}
    return new_module_cluster().start(settings=settings).create_roles()


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db, on_end="none")
    return db


@pytest.fixture
def readers(cluster, db):
    return OpenSessions(cluster, db, "SELECT jit_active('s', 1)", beforehand=["SELECT jit_active('s', 2)"])


def prepare(cluster, user, db, statement, params):
    """In a session that then goes away."""
    with psycopg.connect(cluster.conninfo(user, db), autocommit=True) as session:
        session.execute("BEGIN")
        result = session.execute(statement, params).fetchone()[0]
        session.execute("PREPARE TRANSACTION 'x'")
        return result


APPROVE, REVOKE = "SELECT jit_approve(%s)", "SELECT jit_revoke(%s, 'done')"


def test_approve_and_revoke(cluster, db, readers):
    for finish in ("ROLLBACK PREPARED 'x'", "COMMIT PREPARED 'x'"):
        request = cluster.request(db)
        assert prepare(cluster, "bob", db, APPROVE, [request]) == "approved"
        assert readers() == {None}
        cluster.execute(finish, dbname=db)
        assert readers() == {True if finish.startswith("COMMIT") else None}
        if finish.startswith("ROLLBACK"):
            cluster.execute("SELECT jit_cancel(%s)", "alice", db, [request])
    for finish in ("ROLLBACK PREPARED 'x'", "COMMIT PREPARED 'x'"):
        prepare(cluster, "bob", db, REVOKE, [request])
        assert readers() == {True}
        cluster.execute(finish, dbname=db)
        assert readers() == {True if finish.startswith("ROLLBACK") else None}
    kinds = "SELECT array_agg(kind ORDER BY id) FROM jit.events WHERE request_id = %s"
    assert cluster.value(kinds, dbname=db, params=[request]) == ["requested", "approved", "revoked"]


def test_request(cluster, db, readers):
    request = prepare(cluster, "alice", db, "SELECT jit_request('s', 'refund', key => '1')", [])
    assert cluster.value("SELECT count(*) FROM jit.pending", "bob", db) == 0
    with pytest.raises(psycopg.errors.UndefinedObject):
        cluster.approve(db, request)
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert cluster.value("SELECT count(*) FROM jit.pending", "bob", db) == 1
    assert cluster.approve(db, request) == "approved"
    assert readers() == {True}


def test_disabling_a_scope_does_not_wait_for_a_prepared_request(cluster, db):
    request = prepare(cluster, "alice", db, "SELECT jit_request('s', 'refund', key => '1')", [])
    admin = cluster.connect(dbname=db, options="-c lock_timeout=1s")
    admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')")
    admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": true}')")
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="closed"):
        cluster.approve(db, request)
    # Made in an epoch that is over: the worker closes it.
    state = "SELECT state FROM jit.requests WHERE id = %s"
    wait_until(lambda: cluster.value(state, dbname=db, params=[request]) == "closed", "closed by the worker")


def test_a_prepared_revocation_holds_up_nobody_elses(cluster, db, readers):
    request = cluster.grant(db)
    prepare(cluster, "bob", db, REVOKE, [request])
    assert readers() == {True}
    dave = cluster.connect("dave", db, options="-c lock_timeout=1s")
    dave.execute(REVOKE, [request])
    assert readers() == {None}
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert readers() == {None}


def test_several_acts_in_one_transaction(cluster, db, readers):
    """A grant and its ending: it never serves."""
    request = cluster.request(db)
    with cluster.connect("bob", db) as bob:
        bob.execute("BEGIN")
        bob.execute(APPROVE, [request])
        bob.execute(REVOKE, [request])
        bob.execute("PREPARE TRANSACTION 'x'")
        # What comes after it in the same session is a transaction of its own.
        assert bob.execute("SELECT count(*) FROM jit.pending").fetchone() == (1,)
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert readers() == {None}


def test_a_prepared_release_holds_up_nobody(cluster, db, readers):
    """Left behind for good: no lock of it is in the way of a revocation, a kill switch or the worker."""
    first = cluster.grant(db)
    prepare(cluster, "alice", db, "SELECT jit_release(%s)", [first])
    assert readers() == {True}
    quick = cluster.connect("bob", db, options="-c lock_timeout=1s")
    quick.execute(REVOKE, [first])
    assert readers() == {None}
    tidied = "SELECT tidied_at IS NOT NULL FROM jit.grants WHERE id = %s"
    wait_until(lambda: cluster.value(tidied, dbname=db, params=[first]), "the worker has tidied it away")
    admin = cluster.connect(dbname=db, options="-c lock_timeout=1s")
    admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')")
    admin.execute("SELECT jit.drop_scope('s')")
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert readers() == {None}


def test_approval_prepared_while_the_scope_is_disabled(cluster, db, readers):
    request = cluster.request(db)
    prepare(cluster, "bob", db, APPROVE, [request])
    admin = cluster.connect(dbname=db, options="-c lock_timeout=1s")
    admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')")
    admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": true}')")
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert readers() == {None}
    ended = "SELECT kind FROM jit.endings WHERE grant_id = %s"
    wait_until(lambda: cluster.value(ended, dbname=db, params=[request]) == "scope disabled", "its ending is on record")


def test_worker_learns_of_it(cluster, db):
    """Notifications, and the end of a grant that was made like this, come in time."""
    listener = cluster.connect("frank", db)
    listener.execute("LISTEN jit_rls")
    request = cluster.request(db, duration="1 second")
    prepare(cluster, "bob", db, APPROVE, [request])
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    kinds = []
    for notification in listener.notifies(timeout=15):
        kinds.append(json.loads(notification.payload)["kind"])
        if kinds[-1] == "expired":
            break
    assert kinds[-2:] == ["approved", "expired"]
    late = cluster.value(
        "SELECT e.at - g.ends_at FROM jit.events e JOIN jit.grants g ON g.id = e.request_id WHERE e.kind = 'expired'", dbname=db
    )
    assert late.total_seconds() < 1


def test_prepared_before_a_restart(new_cluster):
    cluster = new_cluster().start(settings={"max_prepared_transactions": "10"}).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    live = cluster.grant(db)
    prepare(cluster, "bob", db, REVOKE, [live])
    cluster.kill9()
    cluster.start(settings={"max_prepared_transactions": "10"})
    alice = cluster.connect("alice", db)
    assert alice.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert alice.execute("SELECT jit_active('s', 1)").fetchone() == (False,)
