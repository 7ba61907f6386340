"""jit.worker_status: what the worker tells of itself, above all when something is wrong."""

import psycopg
import pytest

from harness import wait_until
from workers import events, has_worker, put_on_record

ENDED = "SELECT ended FROM jit.worker_status"


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db)
    has_worker(cluster, db)
    return db


def status(cluster, db, columns):
    with psycopg.connect(cluster.conninfo(dbname=db), autocommit=True) as session:
        return session.execute(f"SELECT {columns} FROM jit.worker_status").fetchone()


def test_it_tells_of_the_worker_and_its_passes(cluster, db):
    pid = cluster.worker(db)
    wait_until(lambda: status(cluster, db, "last_pass")[0], "a pass")
    columns = "running, pid, since <= last_pass, last_pass <= clock_timestamp(), next_deadline, ended, last_error_at, last_error"
    assert status(cluster, db, columns) == (True, pid, True, True, None, 0, None, None)
    # As pg_stat_activity has it, which is told a little later.
    since, last_pass = status(cluster, db, "since, last_pass")
    started = cluster.value("SELECT backend_start FROM pg_stat_activity WHERE pid = %s", params=[pid])
    assert abs((started - since).total_seconds()) < 5
    cluster.grant(db, duration="1 hour")
    wait_until(lambda: status(cluster, db, "last_pass")[0] > last_pass, "another pass")
    wait_until(lambda: status(cluster, db, "next_deadline > clock_timestamp() + interval '50 minutes'")[0], "the deadline")
    cluster.execute("SELECT pg_terminate_backend(%s)", params=[pid])
    wait_until(lambda: cluster.worker(db) not in (None, pid), "another worker")
    wait_until(lambda: status(cluster, db, "running AND pid <> %s AND since > '%s'" % (pid, since))[0], "it tells of the new one")


def test_ended_counts_what_workers_have_put_on_record(cluster, db):
    other = cluster.new_database()
    for key in ("1", "2"):
        put_on_record(cluster, db, cluster.grant(db, key=key, duration="500 milliseconds"))
    # Not what other people end.
    revoked = cluster.grant(db, key="3")
    cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [revoked])
    wait_until(lambda: status(cluster, db, "ended") == (2,), "two")
    # Each database has its own.
    has_worker(cluster, other)
    wait_until(lambda: status(cluster, other, "running, ended") == (True, 0), "none there")


def test_what_it_has_counted_outlives_the_worker(cluster, db):
    """Since the server started, whichever worker it was."""
    put_on_record(cluster, db, cluster.grant(db, key="1", duration="500 milliseconds"))
    wait_until(lambda: status(cluster, db, "ended") == (1,), "one")
    pid = cluster.worker(db)
    cluster.execute("SELECT pg_terminate_backend(%s)", params=[pid])
    wait_until(lambda: cluster.worker(db) not in (None, pid), "another worker")
    put_on_record(cluster, db, cluster.grant(db, key="2", duration="500 milliseconds"))
    wait_until(lambda: status(cluster, db, "ended") == (2,), "two")


def test_an_error_of_one_step_is_told_and_stops_no_other(cluster, db):
    cluster.create_scope(db, "hasty", pending_ttl="1 second")
    root = cluster.connect(dbname=db)
    # Of two bytes each: 200 are kept, and no half of one.
    root.execute(
        """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE '%', 'no' || repeat('é', 150); END$$;
           CREATE TRIGGER fail BEFORE INSERT ON jit_private.endings FOR EACH ROW WHEN (NEW.kind = 'expired') EXECUTE FUNCTION fail()"""
    )
    told = "no" + "é" * 99
    request = cluster.grant(db, duration="1 second")
    wait_until(lambda: status(cluster, db, "last_error") == (told,), "the error")
    # Nobody's access depends on it, nor does what else there is to do.
    assert not cluster.active(db)
    cluster.request(db, "hasty")
    wait_until(lambda: events(cluster, db, "lapsed") == 1, "lapse on record")
    assert events(cluster, db, "expired") == 0
    # It tries again, after longer and longer, and holds on to nothing meanwhile.
    first = status(cluster, db, "last_error_at")
    wait_until(lambda: status(cluster, db, "last_error_at") > first, "another try")
    held = "SELECT backend_xmin, backend_xid, xact_start FROM pg_stat_activity WHERE pid = %s AND state = 'idle'"
    wait_until(lambda: root.execute(held, [cluster.worker(db)]).fetchone() == (None, None, None), "nothing is held")
    root.execute("DROP TRIGGER fail ON jit_private.endings")
    put_on_record(cluster, db, request)
    # What it was can still be read, and the log has it once, not each time.
    assert status(cluster, db, "last_error, last_error_at < clock_timestamp()") == (told, True)
    lines = [line for line in cluster.log().splitlines() if f"could not put expired grants on record: {told}" in line]
    assert len(lines) == 1
    assert "Until then access ends as it should; only the record of it is late." in cluster.log()


def test_a_standstill_of_a_table_is_told(cluster, db):
    """Nobody's rows hold the worker up, but a lock on a whole table does: for 10 seconds, then the other steps have their turn."""
    cluster.create_scope(db, "hasty", pending_ttl="1 second")
    cluster.grant(db, duration="1 second")
    cluster.request(db, "hasty")
    admin = cluster.connect(dbname=db, autocommit=False)
    admin.execute("LOCK TABLE jit_private.endings IN SHARE MODE")
    wait_until(lambda: status(cluster, db, "last_error") == ("canceling statement due to lock timeout",), "the error", timeout=30)
    wait_until(lambda: events(cluster, db, "lapsed") == 1, "lapse on record")
    assert events(cluster, db, "expired") == 0
    admin.rollback()
    wait_until(lambda: events(cluster, db, "expired") == 1, "expiry on record")


def test_who_may_see_it(cluster, db):
    for user in ("alice", "bob"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cluster.execute("SELECT * FROM jit.worker_status", user, db)
    cluster.execute("GRANT SELECT ON jit.worker_status TO frank", dbname=db)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        cluster.execute("SELECT * FROM jit.worker_status", "frank", db)
    cluster.execute("GRANT EXECUTE ON FUNCTION jit.worker() TO frank", dbname=db)
    # Nobody needs more than the two; whether USAGE on the schema is everybody's is another test's.
    wait_until(lambda: cluster.value("SELECT running FROM jit.worker_status", "frank", db), "running")


def test_without_a_worker(new_cluster):
    cluster = new_cluster().start(preload=False, settings={"fsync": "off"}).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    columns = "running, pid, since, last_pass, next_deadline, ended, last_error_at, last_error"
    assert status(cluster, db, columns) == (False, *[None] * 7)
    # And with one again.
    cluster.restart(settings={"fsync": "off"})
    has_worker(cluster, db)
    wait_until(lambda: status(cluster, db, "running, ended") == (True, 0), "running")
