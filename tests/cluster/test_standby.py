"""A streaming hot standby: access follows the primary through replay, and ends there by its own clock as well."""

import psycopg
import pytest

from harness import OpenSessions, wait_until

WRITING = [
    "SELECT jit_request('s', 'refund', key => '9')",
    "SELECT jit_approve({pending})",
    "SELECT jit_deny({pending}, 'no ticket')",
    "SELECT jit_cancel({pending})",
    "SELECT jit_release({live})",
    "SELECT jit_revoke({live}, 'done')",
]
ADMIN = [
    "SELECT jit.create_scope('other')",
    "SELECT jit.alter_scope('s', '{\"enabled\": false}')",
    "SELECT jit.drop_scope('s')",
]


@pytest.fixture
def pair(new_cluster):
    primary = new_cluster().start(settings={"fsync": "off"}).create_roles()
    db = primary.new_database()
    primary.create_scope(db, on_end="none")
    primary.psql(
        """CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k));
           GRANT SELECT ON t TO PUBLIC;""",
        dbname=db,
    )
    standby = new_cluster.standby(primary, settings={"fsync": "off"})
    return primary, standby, db


def test_access_follows_the_primary(pair):
    primary, standby, db = pair
    assert standby.value("SELECT pg_is_in_recovery()")
    seen = OpenSessions(
        standby, db, "SELECT string_agg(k::text, ',') FROM t",
        beforehand=["LOCK TABLE t IN ACCESS SHARE MODE", "SELECT jit_active('s', 10)"],
    )
    assert seen() == {None}
    for _ in range(3):
        live = primary.grant(db, key="1")
        primary.wait_for_replay(standby)
        assert seen() == {"1"}
        primary.execute("SELECT jit_revoke(%s, 'done')", "bob", db, [live])
        primary.wait_for_replay(standby)
        assert seen() == {None}
    primary.grant(db, key="2")
    primary.wait_for_replay(standby)
    assert seen() == {"2"}
    primary.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')", dbname=db)
    primary.wait_for_replay(standby)
    assert seen() == {None}
    # Memberships, too.
    primary.execute("SELECT jit.alter_scope('s', '{\"enabled\": true}')", dbname=db)
    primary.execute("GRANT oncall TO alice", dbname=db)
    request = primary.value("SELECT jit_request('s', 'refund', key => '3', grantee => 'oncall')", "alice", db)
    primary.approve(db, request)
    primary.wait_for_replay(standby)
    assert seen() == {"3"}
    primary.execute("REVOKE oncall FROM alice", dbname=db)
    primary.wait_for_replay(standby)
    assert seen() == {None}


def test_functions_that_write_are_refused(pair):
    primary, standby, db = pair
    live, pending = primary.grant(db, key="1"), primary.request(db, key="2")
    primary.wait_for_replay(standby)
    for user, statements in (("alice", WRITING), ("bob", WRITING), ("postgres", ADMIN)):
        session = standby.connect(user, db)
        for statement in statements:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                session.execute(statement.replace("{live}", str(live)).replace("{pending}", str(pending)))
    # What only looks works.
    assert standby.connect("alice", db).execute("SELECT id, state FROM jit.my_grants").fetchall() == [(live, "active")]
    assert standby.connect("bob", db).execute("SELECT id FROM jit.pending").fetchall() == [(pending,)]
    assert standby.connect("alice", db).execute("SELECT login, actor FROM jit_whoami()").fetchall() == [("alice", "alice")]


def test_expiry_by_its_own_clock_and_life_after_promotion(pair):
    primary, standby, db = pair
    short, long = primary.grant(db, key="1", duration="3 seconds"), primary.grant(db, key="2")
    primary.wait_for_replay(standby)
    alice = standby.connect("alice", db)
    assert alice.execute("SELECT array_agg(k) FROM t").fetchone()[0] == [1, 2]
    # The primary's worker cannot end it any more.
    primary.kill9()
    wait_until(lambda: alice.execute("SELECT array_agg(k) FROM t").fetchone()[0] == [2], "expiry")
    over = "SELECT ends_at <= clock_timestamp(), (SELECT count(*) FROM jit.endings) FROM jit.grants WHERE id = %s"
    assert standby.connect(dbname=db).execute(over, [short]).fetchone() == (True, 0)
    # It becomes the primary: its worker puts on record what the other could not, and access goes on.
    assert standby.value("SELECT pg_promote()")
    events = "SELECT count(*) FROM jit.events WHERE kind = 'expired' AND request_id = %s"
    wait_until(lambda: standby.value(events, dbname=db, params=[short]) == 1, "expiry on record", timeout=30)
    assert alice.execute("SELECT array_agg(k) FROM t").fetchone()[0] == [2]
    standby.execute("SELECT jit_revoke(%s, 'done')", "bob", db, [long])
    assert alice.execute("SELECT array_agg(k) FROM t").fetchone()[0] is None
    assert standby.grant(db, key="4") > long
    assert alice.execute("SELECT array_agg(k) FROM t").fetchone()[0] == [4]
