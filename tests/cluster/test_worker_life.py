"""Workers come, go and come back: with the extension, with their databases, with the server, and with room for them."""

import os
import signal

import psycopg
import pytest

from harness import wait_until
from workers import has_worker, launchers, put_on_record, workers, works

FAST = {"fsync": "off"}


def one_of_each(cluster, databases):
    """One launcher, and one worker for each of these databases at least."""
    assert launchers(cluster) == 1
    found = workers(cluster)
    assert set(databases) <= set(found) and set(found.values()) == {1}, found


# ------------------------------------------------------------------ with the extension


def test_drop_and_create_extension_over_and_over(cluster, db):
    for number in range(20):
        cluster.create_scope(db)
        request = cluster.grant(db, duration="1 hour")
        assert cluster.active(db)
        if number % 2:
            # Else the worker may be on its way still.
            cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [request])
            has_worker(cluster, db)
        cluster.execute("DROP EXTENSION jit_rls", dbname=db)
        cluster.execute("CREATE EXTENSION jit_rls", dbname=db)
        # What the old one has granted is of no use.
        cluster.create_scope(db)
        assert not cluster.active(db)
        cluster.execute("SELECT jit.drop_scope('s')", dbname=db)
    has_worker(cluster, db)
    cluster.create_scope(db)
    works(cluster, db)
    one_of_each(cluster, [db])


def test_drop_and_create_in_one_transaction(cluster, db):
    cluster.create_scope(db)
    works(cluster, db)
    for _ in range(5):
        cluster.psql("BEGIN; DROP EXTENSION jit_rls; CREATE EXTENSION jit_rls; COMMIT", dbname=db)
    has_worker(cluster, db)
    cluster.create_scope(db)
    works(cluster, db)
    one_of_each(cluster, [db])


def test_the_extension_in_template1(new_cluster):
    """A template has no worker, which would be in the way of CREATE DATABASE; what is made from it has one."""
    cluster = new_cluster().start(settings=FAST).create_roles()
    cluster.execute("CREATE EXTENSION jit_rls", dbname="template1")
    cluster.create_scope("template1")
    cluster.execute("CREATE DATABASE made")
    works(cluster, "made")
    cluster.execute("CREATE DATABASE another")
    works(cluster, "another")
    assert workers(cluster) == {"made": 1, "another": 1}


# ------------------------------------------------------------------ with the database


def test_set_tablespace(cluster, db):
    cluster.create_scope(db)
    live = cluster.grant(db, key="7")
    with cluster.connect() as session:
        session.execute("SET allow_in_place_tablespaces = on")
        session.execute("CREATE TABLESPACE elsewhere LOCATION ''")
    for number, tablespace in enumerate(["elsewhere", "pg_default", "elsewhere"]):
        has_worker(cluster, db)
        cluster.execute(f"ALTER DATABASE {db} SET TABLESPACE {tablespace}")
        has_worker(cluster, db)
        works(cluster, db, key=str(number))
    assert cluster.active(db, key=7)
    cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", db, [live])
    cluster.execute(f"DROP DATABASE {db}")
    cluster.execute("DROP TABLESPACE elsewhere")


def test_a_database_that_is_in_use_keeps_its_worker(cluster, db):
    """The command fails because of somebody else, and the worker that has made room for it comes back."""
    cluster.create_scope(db)
    has_worker(cluster, db)
    session = cluster.connect("frank", db)
    with pytest.raises(psycopg.errors.ObjectInUse, match="being accessed by other users") as error:
        cluster.execute(f"DROP DATABASE {db}")
    # Only frank was in the way.
    assert "There is 1 other session" in error.value.diag.message_detail
    session.close()
    put_on_record(cluster, db, cluster.grant(db, duration="1 second"))
    works(cluster, db, key="2")
    one_of_each(cluster, [db])


def test_rename_copy_and_drop_in_a_row(cluster, db):
    """Each while the worker may still be on its way back."""
    cluster.create_scope(db)
    cluster.grant(db, duration="1 second")
    for _ in range(5):
        cluster.execute(f"ALTER DATABASE {db} RENAME TO renamed")
        cluster.execute("CREATE DATABASE copied TEMPLATE renamed")
        cluster.execute(f"ALTER DATABASE renamed RENAME TO {db}")
        cluster.execute("DROP DATABASE copied")
    works(cluster, db, key="2")
    one_of_each(cluster, [db])


# ------------------------------------------------------------------ with the server


def test_a_killed_backend_takes_everybody_along_and_they_come_back(new_cluster):
    cluster = new_cluster().start(settings=FAST).create_roles()
    databases = [cluster.new_database() for _ in range(2)]
    for db in databases:
        cluster.create_scope(db)
        has_worker(cluster, db)
    live = cluster.grant(databases[0], key="7")
    before = {db: cluster.worker(db) for db in databases}
    victim = cluster.connect("alice", databases[0], autocommit=False)
    assert victim.execute("SELECT jit_active('s', 7)").fetchone() == (True,)
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    wait_until(lambda: "all server processes terminated; reinitializing" in cluster.log(), "crash restart")
    wait_until(cluster._accepts, "server accepts connections again")
    for db in databases:
        wait_until(lambda: cluster.worker(db) not in (None, before[db]), "another worker")
        works(cluster, db)
    one_of_each(cluster, databases)
    assert cluster.active(databases[0], key=7)
    # Nobody is left in the list of those who use it.
    assert cluster.value("SELECT count(*) FROM jit.in_use", dbname=databases[0]) == 0
    cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", databases[0], [live])
    assert not cluster.active(databases[0], key=7)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_shutdown_while_there_is_work(new_cluster, mode):
    """Nothing is lost, nobody has to be killed, and what came due meanwhile is put on record."""
    cluster = new_cluster().start(settings=FAST).create_roles()
    databases = [cluster.new_database() for _ in range(3)]
    for db in databases:
        cluster.create_scope(db)
        has_worker(cluster, db)
    short = {db: [cluster.grant(db, key=str(key), duration=f"{key * 0.1:.1f} seconds") for key in range(1, 11)] for db in databases}
    assert cluster.stop(mode, timeout=20) == 0
    assert "SIGKILL" not in cluster.log()
    cluster.start(settings=FAST)
    for db in databases:
        for request in short[db]:
            put_on_record(cluster, db, request)
        once = "SELECT count(*) = count(DISTINCT request_id) FROM jit.events WHERE kind = 'expired'"
        assert cluster.value(once, dbname=db)
        works(cluster, db, key="100")
    one_of_each(cluster, databases)


def test_shutdown_right_after_the_start(new_cluster):
    """While databases are being looked at, and workers are on their way."""
    cluster = new_cluster().start(settings=FAST).create_roles()
    databases = [cluster.new_database() for _ in range(3)]
    for mode in ("fast", "immediate", "fast", "smart"):
        assert cluster.stop(mode, timeout=20) == 0
        cluster.start(settings=FAST)
    assert "SIGKILL" not in cluster.log()
    for db in databases:
        cluster.create_scope(db)
        works(cluster, db)
    one_of_each(cluster, databases)


def test_a_reload_changes_nothing_that_it_depends_on(new_cluster):
    cluster = new_cluster().start(settings=FAST).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db)
    pid = has_worker(cluster, db)
    settings = {
        "default_transaction_read_only": ("off", "on"),
        "default_transaction_isolation": ("read\\ committed", "serializable"),
        "statement_timeout": ("0", "1ms"),
        "lock_timeout": ("0", "1ms"),
        "idle_in_transaction_session_timeout": ("0", "1ms"),
        "search_path": ("public", "elsewhere"),
        "enable_indexscan": ("on", "off"),
        # Whose effect others can see.
        "track_activities": ("on", "off"),
    }
    # These sessions keep what they have said themselves; superusers only may say the last one.
    ours = " ".join(f"-c {name}={value}" for name, (value, _) in settings.items() if name != "track_activities")
    alice, bob, root = (cluster.connect(user, db, options=ours) for user in ("alice", "bob", "postgres"))
    cluster.reload({name: value for name, (_, value) in settings.items()})
    state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: root.execute(state, [pid]).fetchone() == ("disabled",), "the worker has read its configuration")
    [request] = alice.execute("SELECT jit_request('s', 'refund', key => '1', duration => '1 second')").fetchone()
    assert bob.execute("SELECT jit_approve(%s)", [request]).fetchone() == ("approved",)
    late = "SELECT e.at - g.ends_at FROM jit.events e JOIN jit.grants g ON g.id = e.request_id WHERE e.kind = 'expired'"
    [late] = wait_until(lambda: root.execute(late).fetchone(), "expiry on record")
    assert late.total_seconds() < 1
    assert root.execute("SELECT pid, last_error FROM jit.worker_status").fetchone() == (pid, None)


# ------------------------------------------------------------------ with room for them

# The launcher and one more; without the one of logical replication, which would take its place.
FULL = FAST | {"max_worker_processes": "2", "max_logical_replication_workers": "0"}


@pytest.fixture
def full(new_cluster):
    """A server with two databases that need a worker, and room for one: (server, who has it, who has not)."""
    cluster = new_cluster().start(settings=FULL).create_roles()
    served = cluster.new_database()
    cluster.create_scope(served)
    has_worker(cluster, served)
    unserved = cluster.new_database()
    cluster.create_scope(unserved)
    oid = cluster.value("SELECT oid FROM pg_database WHERE datname = %s", params=[unserved])
    said = f"jit_rls cannot start a worker for database {oid}: out of background worker slots"
    wait_until(lambda: said in cluster.log(), "it says so in the log")
    assert "HINT:  Raise max_worker_processes: one for the launcher, and one for each database with the extension." in cluster.log()
    return cluster, served, unserved


def test_no_room_for_a_worker_and_access_ends_all_the_same(full):
    cluster, served, unserved = full
    assert workers(cluster) == {served: 1}
    assert cluster.value("SELECT running FROM jit.worker_status", dbname=unserved) is False
    request = cluster.grant(unserved, key="1")
    short = cluster.grant(unserved, key="2", duration="1 second")
    alice = cluster.connect("alice", unserved)
    check = "SELECT jit_active('s', 1), jit_active('s', 2)"
    wait_until(lambda: alice.execute(check).fetchone() == (True, False), "the short one is over")
    cluster.execute("SELECT jit_revoke(%s, 'enough')", "bob", unserved, [request])
    assert alice.execute(check).fetchone() == (False, False)
    events = "SELECT array_agg(kind ORDER BY id) FROM jit.events WHERE request_id = %s"
    assert cluster.value(events, dbname=unserved, params=[request]) == ["requested", "approved", "revoked"]
    # The other is served as ever.
    works(cluster, served)
    # Once there is room, what is missing is made up for.
    cluster.restart(settings=FULL | {"max_worker_processes": "3"})
    put_on_record(cluster, unserved, short)
    assert cluster.value(events, dbname=unserved, params=[short]) == ["requested", "approved", "expired"]


@pytest.mark.parametrize("leave", ["DROP DATABASE {}", "DROP EXTENSION jit_rls"])
def test_a_place_that_becomes_free_is_taken(full, leave):
    cluster, served, unserved = full
    short = cluster.grant(unserved, duration="1 second")
    cluster.execute(leave.format(served), dbname=served if "EXTENSION" in leave else "postgres")
    has_worker(cluster, unserved)
    put_on_record(cluster, unserved, short)
    works(cluster, unserved, key="2")
    assert workers(cluster) == {unserved: 1}


def test_it_complains_of_no_room_once_and_not_each_time(full):
    cluster, served, unserved = full
    for number in range(10):
        # Each of them wakes the launcher, in vain.
        cluster.request(unserved, key=str(number))
    works(cluster, served)
    assert cluster.log().count("out of background worker slots") == 1
