"""A grant that starts later: whoever asked must still be allowed to ask then."""

import pytest

from harness import wait_until

SOON = "SELECT jit_request('s', 'maintenance', key => '1', grantee => %s, starts_at => clock_timestamp() + interval '1 second')"
STARTED = "SELECT clock_timestamp() >= starts_at FROM jit.grants WHERE id = %s"


def schedule(cluster, db, grantee=None):
    request = cluster.value(SOON, "alice", db, [grantee])
    assert cluster.approve(db, request) == "approved"
    assert not cluster.active(db)
    return request


def started(cluster, db, request):
    wait_until(lambda: cluster.value(STARTED, dbname=db, params=[request]), "the start")


def confirmed(cluster, db, request):
    wait_until(
        lambda: cluster.value("SELECT asked_by IS NULL FROM jit_private.grants WHERE id = %s", dbname=db, params=[request]),
        "the worker has looked at it",
    )


@pytest.fixture
def roles(cluster):
    yield
    cluster.execute("GRANT support TO alice; REVOKE oncall FROM alice, carol")


def test_it_starts_by_itself_and_stays(cluster, db, roles):
    cluster.create_scope(db, requesters=["support"])
    request = schedule(cluster, db)
    wait_until(lambda: cluster.active(db), "it serves")
    confirmed(cluster, db, request)
    # From then on it is a grant like any other.
    cluster.execute("REVOKE support FROM alice")
    assert cluster.active(db)


def test_who_may_not_ask_any_more_gets_nothing(cluster, db, roles):
    cluster.create_scope(db, requesters=["support"])
    request = schedule(cluster, db)
    cluster.execute("REVOKE support FROM alice")
    started(cluster, db, request)
    assert not cluster.active(db)
    events = "SELECT array_agg(kind ORDER BY id) FROM jit.events WHERE request_id = %s"
    wait_until(lambda: cluster.value(events, dbname=db, params=[request]) == ["requested", "approved", "ineligible"], "the event")
    assert cluster.value("SELECT kind FROM jit.endings WHERE grant_id = %s", dbname=db, params=[request]) == "ineligible"
    # It never comes back.
    cluster.execute("GRANT support TO alice")
    assert not cluster.active(db)


def test_who_belongs_to_the_group_no_more_has_asked_for_nobody(cluster, db, roles):
    cluster.create_scope(db)
    cluster.execute("GRANT oncall TO alice, carol")
    request = schedule(cluster, db, "oncall")
    cluster.execute("REVOKE oncall FROM alice")
    started(cluster, db, request)
    assert not cluster.active(db, user="carol")
    ending = "SELECT kind FROM jit.endings WHERE grant_id = %s"
    wait_until(lambda: cluster.value(ending, dbname=db, params=[request]) == "ineligible", "the ending")
    assert not cluster.active(db, user="carol")


def test_the_rules_of_the_start_count(cluster, db, roles):
    cluster.create_scope(db)
    request = schedule(cluster, db)
    cluster.execute("SELECT jit.alter_scope('s', '{\"requesters\": [\"security\"]}')", dbname=db)
    started(cluster, db, request)
    assert not cluster.active(db)


def test_without_a_worker_the_check_asks_itself(new_cluster):
    cluster = new_cluster().start(preload=False, settings={"fsync": "off"}).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db, requesters=["support"])
    request = schedule(cluster, db)
    session = cluster.connect("alice", db)
    active = "SELECT jit_active('s', 1)"
    assert session.execute(active).fetchone() == (False,)
    cluster.execute("REVOKE support FROM alice")
    started(cluster, db, request)
    assert session.execute(active).fetchone() == (False,)
    cluster.execute("GRANT support TO alice")
    assert session.execute(active).fetchone() == (True,)
    cluster.decide("SELECT jit.alter_scope('s', %s)", "postgres", db, ['{"requesters": ["security"]}'])
    assert session.execute(active).fetchone() == (False,)


def test_overdue_reviews_escalate(cluster, db):
    cluster.create_scope(db, break_glass=["support"], review_within="1 second")
    alice = cluster.connect("alice", db)
    [request] = alice.execute("SELECT jit_break_glass('s', 'patient is bleeding', '1')").fetchone()
    overdue = "SELECT count(*) FROM jit.events WHERE request_id = %s AND kind = 'review overdue'"
    wait_until(lambda: cluster.value(overdue, dbname=db, params=[request]) == 1, "the event")
    assert cluster.value("SELECT id FROM jit.overdue_reviews", "bob", db) == request
    # Once; and a review comes late rather than never.
    bob = cluster.connect("bob", db)
    bob.execute("SELECT jit_review(%s, true, 'she was right')", [request])
    assert cluster.value("SELECT count(*) FROM jit.overdue_reviews", "bob", db) == 0
    [reviewed] = alice.execute("SELECT jit_break_glass('s', 'patient is bleeding', '2')").fetchone()
    bob.execute("SELECT jit_review(%s, true, 'and again')", [reviewed])
    again = cluster.grant(db, key="3", duration="1 second")
    expired = "SELECT count(*) FROM jit.events WHERE request_id = %s AND kind = 'expired'"
    wait_until(lambda: cluster.value(expired, dbname=db, params=[again]) == 1, "a later pass of the worker")
    assert cluster.value(overdue, dbname=db, params=[reviewed]) == 0
    assert cluster.value(overdue, dbname=db, params=[request]) == 1


def test_an_extension_that_is_committed_too_late_revives_nothing(cluster, db):
    cluster.create_scope(db)
    request = cluster.grant(db, duration="2 seconds")
    more = cluster.value("SELECT jit_extend(%s, '1 hour', 'takes longer')", "alice", db, [request])
    bob = cluster.connect("bob", db, autocommit=False)
    assert bob.execute("SELECT jit_approve(%s)", [more]).fetchone() == ("approved",)
    # Nobody else sees it before it is committed.
    wait_until(lambda: not cluster.active(db), "the old end")
    with pytest.raises(Exception, match="is committed too late"):
        bob.commit()
    assert not cluster.active(db)
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[more]) == "pending"
    kinds = "SELECT array_agg(kind ORDER BY id) FROM jit.events WHERE request_id IN (%s, %s)"
    wait_until(
        lambda: cluster.value(kinds, dbname=db, params=[request, more]) == ["requested", "approved", "requested", "expired"], "its end"
    )


def test_an_extension_reaches_open_sessions(cluster, db):
    cluster.create_scope(db)
    request = cluster.grant(db, duration="3 seconds")
    session = cluster.connect("alice", db)
    assert session.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    more = cluster.value("SELECT jit_extend(%s, '1 hour', 'takes longer')", "alice", db, [request])
    session.execute("BEGIN")
    assert session.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    assert cluster.approve(db, more) == "approved"
    ended = "SELECT clock_timestamp() > starts_at + interval '3 seconds' FROM jit.grants WHERE id = %s"
    wait_until(lambda: cluster.value(ended, dbname=db, params=[request]), "what was its end")
    # The transaction that has used it goes on.
    assert session.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    assert cluster.value("SELECT count(*) FROM jit.endings", dbname=db) == 0
