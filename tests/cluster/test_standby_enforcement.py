"""A streaming hot standby: what runs there on a grant that has ended is stopped, and while it cannot be known what has ended,
nobody is let through."""

import psycopg
import pytest

from harness import wait_until
from running import Running, wait_until_terminated

SLOW = "SELECT count(pg_sleep(60)) FROM t WHERE k = 1"
COUNT = "SELECT count(*) FROM t"
# The primary commits each second then.
STALENESS = 4
SETTINGS = {"fsync": "off", "autovacuum": "off", "jit_rls.max_replica_staleness": STALENESS}
# A standby that would rather be late than cancel a query by itself.
PATIENT = SETTINGS | {"max_standby_streaming_delay": -1}


@pytest.fixture(scope="module")
def pair(new_module_cluster):
    primary = new_module_cluster().start(settings=SETTINGS).create_roles()
    standby = new_module_cluster.standby(primary, settings=PATIENT)
    return primary, standby


@pytest.fixture
def db(pair):
    primary, standby = pair
    db = primary.new_database()
    for name, on_end in (("s", "cancel"), ("severe", "terminate"), ("left", "none")):
        primary.create_scope(db, name, on_end=on_end)
    primary.psql(
        """CREATE TABLE t AS SELECT k FROM generate_series(1, 1000) k;
           CREATE TABLE v AS SELECT k FROM generate_series(1, 1000) k;
           CREATE TABLE l AS SELECT k FROM generate_series(1, 1000) k;
           CREATE TABLE free AS SELECT k FROM generate_series(1, 1000) k;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           ALTER TABLE v ENABLE ROW LEVEL SECURITY;
           ALTER TABLE l ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k));
           CREATE POLICY jit ON v USING (jit_active('severe', k));
           CREATE POLICY jit ON l USING (jit_active('left', k));
           GRANT SELECT ON t, v, l, free TO PUBLIC""",
        dbname=db,
    )
    primary.wait_for_replay(standby)
    # No wait for its worker: that of the first use comes by itself.
    return db


def grant(pair, db, **options):
    primary, standby = pair
    request = primary.grant(db, **options)
    primary.wait_for_replay(standby)
    return request


def revoke(primary, db, request):
    primary.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [request])


def test_what_has_been_replayed_stops_what_runs(pair, db):
    primary, standby = pair
    endings = {
        "revoked by bob": lambda request: revoke(primary, db, request),
        "released by alice": lambda request: primary.execute("SELECT jit_release(%s)", "alice", db, [request]),
        "postgres stopped the scope": lambda _: primary.execute("SELECT jit.alter_scope('s', '{\"enabled\": false}')", dbname=db),
    }
    for how, end in endings.items():
        request = grant(pair, db)
        running = Running(standby, standby.connect("alice", db), SLOW)
        others = Running(standby, standby.connect("bob", db), "SELECT count(pg_sleep(0.5)) FROM free WHERE k = 1")
        end(request)
        assert isinstance(running.outcome(), psycopg.errors.QueryCanceled), how
        assert how in running.error.diag.message_detail
        assert "jit_request('s', 'why', key => '1')" in running.error.diag.message_hint
        assert others.outcome() is None and others.rows == [(1,)]
        assert running.session.execute(COUNT).fetchone() == (0,)


def test_what_expires_is_stopped_by_the_standbys_own_clock(pair, db):
    primary, standby = pair
    grant(pair, db, duration="3 seconds")
    running = Running(standby, standby.connect("alice", db), SLOW)
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    assert "It expired at " in running.error.diag.message_detail


def test_losing_the_membership_stops_it(pair, db):
    primary, standby = pair
    primary.execute("GRANT oncall TO alice")
    request = primary.value("SELECT jit_request('s', 'refund', key => '1', grantee => 'oncall')", "alice", db)
    primary.approve(db, request)
    primary.wait_for_replay(standby)
    running = Running(standby, standby.connect("alice", db), SLOW)
    primary.execute("REVOKE oncall FROM alice")
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    assert "is served by it no more" in running.error.diag.message_detail


def test_who_idles_in_a_transaction_is_ended(pair, db):
    primary, standby = pair
    request = grant(pair, db)
    alice = standby.connect("alice", db)
    alice.execute("BEGIN")
    assert alice.execute(COUNT).fetchone() == (1,)
    revoke(primary, db, request)
    wait_until_terminated(standby, alice)


def test_on_end(pair, db):
    primary, standby = pair
    severe, left = grant(pair, db, scope="severe"), grant(pair, db, scope="left")
    strict = Running(standby, standby.connect("alice", db), SLOW.replace("FROM t", "FROM v"))
    lax = Running(standby, standby.connect("alice", db), "SELECT count(pg_sleep(2)) FROM l WHERE k = 1")
    revoke(primary, db, severe)
    revoke(primary, db, left)
    assert isinstance(strict.outcome(), psycopg.errors.AdminShutdown)
    assert lax.outcome() is None and lax.rows == [(1,)]


def test_more_uses_than_a_slot_names(pair, db):
    primary, standby = pair
    requests = [primary.grant(db, key=str(key)) for key in range(1, 71)]
    primary.wait_for_replay(standby)
    running = Running(standby, standby.connect("alice", db), "SELECT count(*), pg_sleep(60) FROM t")
    revoke(primary, db, requests[-1])
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)


def test_a_holder_who_holds_up_the_replay_is_stopped(pair, db):
    """Replay waits for the holder's own statement, and with it the revocation: all looks well, apart from the standby's age."""
    primary, standby = pair
    request = grant(pair, db)
    running = Running(standby, standby.connect("alice", db), SLOW)
    other = standby.connect("alice", db)
    assert other.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
    # Its replay needs the table to itself.
    primary.execute("ALTER TABLE t ADD COLUMN note text", dbname=db)
    revoke(primary, db, request)
    assert standby.value("SELECT status FROM pg_stat_wal_receiver") == "streaming"
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    diag = running.error.diag
    assert "is suspended: this standby is behind" in diag.message_primary
    assert f"jit_rls.max_replica_staleness is {STALENESS} s" in diag.message_detail
    # With the statement out of the way, the revocation arrives.
    primary.wait_for_replay(standby)
    assert other.execute("SELECT jit_active('s', 1)").fetchone() == (False,)
    assert standby.value("SELECT count(*) FROM jit.endings WHERE grant_id = %s", dbname=db, params=[request]) == 1


def test_nobody_is_let_through_while_replay_stands_still(pair, db):
    primary, standby = pair
    grant(pair, db)
    alice, inside = standby.connect("alice", db), standby.connect("alice", db)
    inside.execute("BEGIN")
    inside.execute("DECLARE c CURSOR FOR SELECT k FROM l")
    assert inside.execute(COUNT).fetchone() == (1,)
    assert alice.execute(COUNT).fetchone() == (1,)
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        wait_until(lambda: alice.execute(COUNT).fetchone() == (0,), "denied")
        assert alice.execute("SELECT jit_active('s', 1), jit_keys('s', NULL::int)").fetchone() == (False, [])
        # Who idles in a transaction that has used the grant has rows in hand.
        wait_until_terminated(standby, inside)
        standby.reload({"jit_rls.max_replica_staleness": 0})
        wait_until(lambda: alice.execute(COUNT).fetchone() == (1,), "let through whatever its age")
        standby.reload({"jit_rls.max_replica_staleness": STALENESS})
        wait_until(lambda: alice.execute(COUNT).fetchone() == (0,), "denied again")
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")
    wait_until(lambda: alice.execute(COUNT).fetchone() == (1,), "let through once it has caught up")


def test_a_session_that_is_refused_is_told_why(pair, db):
    """Without the worker's help: `on_end` is none."""
    primary, standby = pair
    grant(pair, db, scope="left")
    alice = standby.connect("alice", db)
    alice.execute("BEGIN")
    assert alice.execute("SELECT count(*) FROM l").fetchone() == (1,)
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        with pytest.raises(psycopg.errors.QueryCanceled, match="is suspended: this standby is behind"):
            wait_until(lambda: alice.execute("SELECT count(*) FROM free") is None, "refused")
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")


def test_a_primary_on_which_nothing_happens_is_trusted(pair, db):
    primary, standby = pair
    grant(pair, db)
    alice = standby.connect("alice", db)
    begun = standby.value("SELECT clock_timestamp()")
    written = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    before = primary.value(written)
    while True:
        assert alice.execute(COUNT).fetchone() == (1,)
        if standby.value("SELECT clock_timestamp() - %s > make_interval(secs => %s)", params=[begun, 2 * STALENESS]):
            break
    # Nothing but commits, and what checkpoints need.
    assert primary.value(written) - before < 10_000


def test_nobody_may_say_for_himself_how_old_is_too_old(pair, db):
    primary, standby = pair
    alice = standby.connect("alice", db)
    for setting in ("SET jit_rls.max_replica_staleness = 0", "SET jit_rls.max_replica_staleness = 86400"):
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            alice.execute(setting)
    with pytest.raises(psycopg.OperationalError, match="cannot be changed"):
        standby.connect("alice", db, options="-c jit_rls.max_replica_staleness=0")


def test_the_worker_says_that_it_is_there(pair, db):
    primary, standby = pair
    grant(pair, db)
    assert standby.value(COUNT, "alice", db) == 1
    wait_until(lambda: standby.worker(db), "the standby's worker")
    status = standby.connect(dbname=db).execute("SELECT running, last_error FROM jit.worker_status").fetchone()
    assert status == (True, None)


def test_the_same_workers_go_on_after_promotion(new_cluster):
    primary = new_cluster().start(settings=SETTINGS).create_roles()
    db = primary.new_database()
    primary.create_scope(db)
    primary.psql("CREATE TABLE t AS SELECT 1 AS k; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY jit ON t USING (jit_active('s', k)); GRANT SELECT ON t TO PUBLIC", dbname=db)
    standby = new_cluster.standby(primary, settings=SETTINGS)
    request = primary.grant(db)
    primary.wait_for_replay(standby)
    assert standby.value("SELECT count(*) FROM t", "alice", db) == 1
    wait_until(lambda: standby.worker(db), "the standby's worker")
    worker, launcher = standby.worker(db), standby.launcher()
    running = Running(standby, standby.connect("alice", db), SLOW)
    primary.kill9()
    assert standby.value("SELECT pg_promote()")
    # A primary is trusted however long nobody commits, and what has run goes on.
    standby.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [request])
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    assert "revoked by bob" in running.error.diag.message_detail
    short = standby.grant(db, duration="1 second")
    expired = "SELECT count(*) FROM jit.events WHERE kind = 'expired' AND request_id = %s"
    wait_until(lambda: standby.value(expired, dbname=db, params=[short]) == 1, "expiry on record")
    assert (standby.worker(db), standby.launcher()) == (worker, launcher)


def test_without_preload_the_checks_deny_all_the_same(pair, db, new_cluster):
    primary, _ = pair
    standby = new_cluster.standby(primary, preload=False, settings=PATIENT)
    request = primary.grant(db)
    primary.wait_for_replay(standby)
    alice = standby.connect("alice", db)
    wait_until(lambda: alice.execute(COUNT).fetchone() == (1,), "let through")
    standby.execute("SELECT pg_wal_replay_pause()")
    wait_until(lambda: alice.execute(COUNT).fetchone() == (0,), "denied")
    standby.execute("SELECT pg_wal_replay_resume()")
    wait_until(lambda: alice.execute(COUNT).fetchone() == (1,), "let through again")
    revoke(primary, db, request)
    primary.wait_for_replay(standby)
    assert alice.execute(COUNT).fetchone() == (0,)


def test_a_worker_that_has_just_started_listens(pair, db):
    """Its first user may be gone before it has looked at anything."""
    primary, standby = pair
    request = grant(pair, db)
    alice = standby.connect("alice", db)
    assert alice.execute(COUNT).fetchone() == (1,)
    for _ in range(3):
        before = wait_until(lambda: standby.worker(db), "the standby's worker")
        standby.execute("SELECT pg_terminate_backend(%s)", params=[before])
        wait_until(lambda: standby.worker(db) not in (None, before), "another worker", timeout=30)
        assert alice.execute(COUNT).fetchone() == (1,)
        running = Running(standby, alice, SLOW)
        revoke(primary, db, request)
        assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
        request = grant(pair, db)


def test_what_has_got_longer_is_stopped_at_its_new_end(pair, db):
    primary, standby = pair
    request = grant(pair, db, duration="3 seconds")
    alice = standby.connect("alice", db)
    alice.execute("BEGIN")
    assert alice.execute(COUNT).fetchone() == (1,)
    primary.approve(db, primary.value("SELECT jit_extend(%s, '4 seconds', 'longer')", "alice", db, [request]))
    past = "SELECT clock_timestamp() > starts_at + interval '3500 milliseconds' FROM jit.grants WHERE id = %s"
    wait_until(lambda: primary.value(past, dbname=db, params=[request]), "what was its end")
    assert alice.execute(COUNT).fetchone() == (1,)
    wait_until_terminated(standby, alice)
    assert primary.value("SELECT ends_at <= clock_timestamp() FROM jit.grants WHERE id = %s", dbname=db, params=[request])


def test_more_uses_than_a_slot_names_end_late_and_by_the_clock(pair, db):
    primary, standby = pair
    requests = [primary.grant(db, key=str(key)) for key in range(1, 70)]
    short = primary.grant(db, key="70", duration="4 seconds")
    primary.wait_for_replay(standby)
    running = Running(standby, standby.connect("alice", db), "SELECT count(*), pg_sleep(60) FROM t")
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)
    assert primary.value("SELECT ends_at <= clock_timestamp() FROM jit.grants WHERE id = %s", dbname=db, params=[short])
    # An ending that was made before the statement began, and that has come since.
    standby.execute("SELECT pg_wal_replay_pause()")
    revoke(primary, db, requests[-1])
    running = Running(standby, standby.connect("alice", db), "SELECT count(*), pg_sleep(60) FROM t")
    standby.execute("SELECT pg_wal_replay_resume()")
    assert isinstance(running.outcome(), psycopg.errors.QueryCanceled)


def test_whoever_holds_up_the_worker_with_the_replay_is_stopped_all_the_same(pair, db):
    """Replay waits for a lock on what the worker reads, and so does the worker."""
    primary, standby = pair
    request = grant(pair, db)
    running = Running(standby, standby.connect("alice", db), SLOW)
    holder = standby.connect("bob", db)
    holder.execute("BEGIN; SELECT count(*) FROM jit.my_grants")
    primary.execute("VACUUM FULL jit_private.grants", dbname=db)
    revoke(primary, db, request)
    assert isinstance(running.outcome(), (psycopg.errors.QueryCanceled, psycopg.errors.AdminShutdown))
    assert "is suspended: this standby is behind" in running.error.diag.message_primary
    holder.execute("ROLLBACK")
    primary.wait_for_replay(standby)


def test_without_preload_nobody_loosens_the_setting(pair, db, new_cluster):
    primary, _ = pair
    standby = new_cluster.standby(primary, preload=False, settings=PATIENT)
    grant((primary, standby), db)
    honest, forger = standby.connect("alice", db), standby.connect("alice", db, options="-c jit_rls.max_replica_staleness=86400")
    wait_until(lambda: honest.execute(COUNT).fetchone() == (1,), "let through")
    assert forger.execute(COUNT).fetchone() == (0,)
