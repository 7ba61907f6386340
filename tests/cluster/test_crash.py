"""What was acknowledged is there after a crash, whatever synchronous_commit says."""

from concurrent.futures import ThreadPoolExecutor

ROUNDS = 6
# Nobody else writes out the WAL meanwhile: what is not flushed by the commit itself is lost with the server's memory.
SETTINGS = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "bgwriter_delay": "10s",
    "fsync": "off",
    "autovacuum": "off",
}
# Nor does the worker, whose own commits would flush what others have left; test_crash_cycles.py is with one.
START = {"preload": False, "settings": SETTINGS | {"session_preload_libraries": "jit_rls"}}


class Crash:
    """kill -9 right after an acknowledgement."""

    def __init__(self, cluster, db):
        self.cluster, self.db = cluster, db
        self.crashes = 0
        cluster.execute("CREATE TABLE control (n int)", dbname=db)

    def after(self, act):
        self.crashes += 1
        control = self.cluster.connect(dbname=self.db)
        result = act()
        # A change of somebody else's, acknowledged even later, and without our care.
        control.execute("INSERT INTO control VALUES (%s)", [self.crashes])
        self.cluster.kill9()
        self.cluster.start(**START)
        return result

    def lost(self):
        """How often a crash took something away: else the test would be of nothing."""
        return self.crashes - self.cluster.value("SELECT count(*) FROM control", dbname=self.db)


def test_acknowledged_changes_survive(new_cluster):
    cluster = new_cluster().start(**START).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    crash = Crash(cluster, db)
    state = "SELECT state FROM jit.requests WHERE id = %s"
    for number in range(ROUNDS):
        alice = cluster.connect("alice", db)
        key = str(number)
        [request] = crash.after(lambda: alice.execute("SELECT jit_request('s', 'refund', key => %s)", [key]).fetchone())
        assert cluster.value(state, dbname=db, params=[request]) == "pending"
        bob = cluster.connect("bob", db)
        crash.after(lambda: bob.execute("SELECT jit_approve(%s)", [request]))
        assert cluster.active(db, key=number)
        bob = cluster.connect("bob", db)
        crash.after(lambda: bob.execute("SELECT jit_revoke(%s, 'done')", [request]))
        assert not cluster.active(db, key=number)
        kinds = "SELECT array_agg(kind ORDER BY id) FROM jit.events WHERE request_id = %s"
        assert cluster.value(kinds, dbname=db, params=[request]) == ["requested", "approved", "revoked"]
    assert crash.lost() > 0


def test_kill_switch_survives(new_cluster):
    cluster = new_cluster().start(**START).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    cluster.grant(db)
    crash = Crash(cluster, db)
    admin = cluster.connect(dbname=db)
    crash.after(lambda: admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')"))
    assert not cluster.active(db)
    assert cluster.value("SELECT enabled FROM jit.scopes", dbname=db) is False
    admin = cluster.connect(dbname=db)
    crash.after(lambda: admin.execute("SELECT jit.alter_scope('s', '{\"enabled\": true}')"))
    assert not cluster.active(db)


def test_crash_in_the_middle(new_cluster):
    """Under load: each revocation that a client has been told of is there, and each grant has its events."""
    cluster = new_cluster().start(**START).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    acknowledged = []

    def revoke_until_the_end(number):
        alice, bob = cluster.connect("alice", db), cluster.connect("bob", db)
        try:
            for key in range(number * 1_000, number * 1_000 + 1_000):
                [request] = alice.execute("SELECT jit_request('s', 'refund', key => %s)", [str(key)]).fetchone()
                bob.execute("SELECT jit_approve(%s)", [request])
                bob.execute("SELECT jit_revoke(%s, 'done')", [request])
                acknowledged.append(request)
                if len(acknowledged) == 100:
                    cluster.kill9()
        except Exception:
            # The server is gone.
            return

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(revoke_until_the_end, range(3)))
    assert len(acknowledged) >= 100
    cluster.start(**START)
    lost = "SELECT count(*) FROM unnest(%s::bigint[]) q WHERE NOT EXISTS (SELECT FROM jit.endings n WHERE n.grant_id = q AND n.kind = 'revoked')"
    assert cluster.value(lost, dbname=db, params=[acknowledged]) == 0
    approved = "SELECT count(*) FROM jit.events WHERE kind = 'approved'"
    assert cluster.value("SELECT count(*) FROM jit.grants", dbname=db) == cluster.value(approved, dbname=db)
    torn = """SELECT count(*) FROM jit.endings n
               WHERE (SELECT count(*) FROM jit.events e WHERE e.request_id = n.grant_id AND e.kind = n.kind) <> 1"""
    assert cluster.value(torn, dbname=db) == 0
    # And it goes on.
    cluster.grant(db, key="999999")
    assert cluster.active(db, key=999999)
