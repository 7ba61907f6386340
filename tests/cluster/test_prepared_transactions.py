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


def test_a_yes_is_not_prepared(cluster, db, readers):
    """It would wait for as long as somebody likes: past the time when the request lapses, with everybody's no behind it."""
    request = cluster.request(db)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="approved a request"):
        prepare(cluster, "bob", db, APPROVE, [request])
    assert readers() == {None}
    cluster.execute("SELECT jit_deny(%s, 'no')", "dave", db, [request])
    # The first of two as well.
    cluster.create_scope(db, "two", approvers={"support_lead": 2})
    request = cluster.request(db, "two")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="approved a request"):
        prepare(cluster, "bob", db, APPROVE, [request])
    cluster.execute("SELECT jit_deny(%s, 'no')", "dave", db, [request])


def test_revoke(cluster, db, readers):
    request = cluster.grant(db)
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
    """Endings, and a no."""
    granted = [cluster.grant(db), cluster.grant(db, key="5")]
    denied = cluster.request(db, key="3")
    with cluster.connect("bob", db) as bob:
        bob.execute("BEGIN")
        for request in granted:
            bob.execute(REVOKE, [request])
        bob.execute("SELECT jit_deny(%s, 'no')", [denied])
        bob.execute("PREPARE TRANSACTION 'x'")
        # What comes after it in the same session is a transaction of its own.
        assert bob.execute("SELECT count(*) FROM jit.pending").fetchone() == (1,)
    assert readers() == {True}
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    assert readers() == {None}
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[denied]) == "denied"


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


def test_worker_learns_of_it(cluster, db):
    """Notifications come, and who uses what has ended like this is stopped."""
    cluster.create_scope(db, "severe", on_end="terminate")
    cluster.execute("CREATE TABLE t AS SELECT 1 AS k", dbname=db)
    cluster.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY", dbname=db)
    cluster.execute("CREATE POLICY jit ON t USING (jit_active('severe', k)); GRANT SELECT ON t TO PUBLIC", dbname=db)
    request = cluster.grant(db, "severe")
    listener = cluster.connect("frank", db)
    listener.execute("LISTEN jit_rls")
    alice = cluster.connect("alice", db)
    alice.execute("BEGIN")
    assert alice.execute("SELECT count(*) FROM t").fetchone() == (1,)
    prepare(cluster, "bob", db, REVOKE, [request])
    assert alice.execute("SELECT count(*) FROM t").fetchone() == (1,)
    cluster.execute("COMMIT PREPARED 'x'", dbname=db)
    told = (json.loads(n.payload) for n in listener.notifies(timeout=15))
    assert any(n["kind"] == "revoked" and n["request"] == request for n in told)
    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: cluster.value(gone, params=[alice.info.backend_pid]) == 0, "her session is ended")


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
