"""Two-phase commit: what was prepared counts from COMMIT PREPARED on, in sessions that are already open."""

import pytest

from harness import wait_until


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    settings = {"fsync": "off", "max_prepared_transactions": 10}
    return new_module_cluster().start(settings=settings).create_roles()


def prepare(cluster, db, user, name, sql, params):
    """Leaves a prepared transaction behind, whose session is gone."""
    connection = cluster.connect(user, db)
    connection.execute("BEGIN")
    connection.execute(sql, params)
    connection.execute(f"PREPARE TRANSACTION '{name}'")
    connection.close()


def test_approval_and_revocation(cluster, db):
    cluster.create_scope(db)
    reader = cluster.connect("alice", db)

    def sees():
        return reader.execute("SELECT jit_active('s', 1)").fetchone()[0]

    request = cluster.request(db)
    prepare(cluster, db, "bob", "yes", "SELECT jit_approve(%s)", [request])
    assert not sees()
    cluster.execute("COMMIT PREPARED 'yes'", "bob", db)
    assert sees()

    prepare(cluster, db, "bob", "no", "SELECT jit_revoke(%s, 'enough')", [request])
    assert sees()
    # A prepared revocation holds up nobody else's.
    cluster.execute("SELECT jit_revoke(%s, 'now')", "dave", db, [request])
    assert not sees()
    cluster.execute("COMMIT PREPARED 'no'", "bob", db)
    assert not sees()


def test_rolled_back(cluster, db):
    cluster.create_scope(db)
    request = cluster.request(db)
    prepare(cluster, db, "bob", "never", "SELECT jit_approve(%s)", [request])
    cluster.execute("ROLLBACK PREPARED 'never'", "bob", db)
    assert not cluster.active(db)
    assert cluster.value("SELECT state FROM jit.requests", dbname=db) == "pending"
    assert cluster.approve(db, request) == "approved"


def test_disabling_a_scope_does_not_wait_for_a_prepared_request(cluster, db):
    cluster.create_scope(db)
    prepare(cluster, db, "alice", "asked", "SELECT jit_request('s', 'refund', key => %s)", ["1"])
    admin = cluster.connect("postgres", db, options="-c statement_timeout=10s")
    admin.execute("""SELECT jit.alter_scope('s', '{"enabled": false}')""")
    admin.execute("""SELECT jit.alter_scope('s', '{"enabled": true}')""")
    cluster.execute("COMMIT PREPARED 'asked'", "alice", db)
    # Made in an epoch that is over: the worker closes it.
    wait_until(lambda: cluster.value("SELECT state FROM jit.requests", dbname=db) == "closed", "closed by the worker")


def test_worker_hears_of_commit_prepared(cluster, db):
    cluster.create_scope(db)
    request = cluster.request(db, duration="1 second")
    prepare(cluster, db, "bob", "short", "SELECT jit_approve(%s)", [request])
    cluster.execute("COMMIT PREPARED 'short'", "bob", db)
    wait_until(lambda: cluster.value("SELECT count(*) FROM jit.events WHERE kind = 'expired'", dbname=db), "expired")
    late = cluster.value(
        "SELECT e.at - g.ends_at < interval '1 second' FROM jit.events e JOIN jit.grants g ON g.id = e.request_id"
        " WHERE e.kind = 'expired'",
        dbname=db,
    )
    assert late
