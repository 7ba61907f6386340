"""Plans and the refusal where the library comes with the session, or with its first check: nothing of them needs the postmaster."""

import psycopg
import pytest

from harness import wait_until

Ended = psycopg.errors.QueryCanceled
GATED = "One-Time Filter: jit_active('whole'::text)"
BY_INDEX = "Index Cond: (k = ANY (jit_keys('s'::text, NULL::integer)))"


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    return new_module_cluster().start(preload=False, settings={"fsync": "off"}).create_roles()


@pytest.fixture(params=["session_preload_libraries", "nothing preloaded"])
def loaded_early(request):
    return request.param == "session_preload_libraries"


@pytest.fixture
def db(cluster, loaded_early):
    db = cluster.new_database()
    cluster.create_scope(db)
    cluster.create_scope(db, "whole", key_type=None)
    cluster.psql(
        """CREATE TABLE gated AS SELECT i AS id FROM generate_series(1, 1000) i;
           CREATE TABLE keyed AS SELECT i AS id, i / 10 AS k FROM generate_series(10, 10009) i;
           CREATE INDEX keyed_k ON keyed (k);
           ANALYZE gated, keyed;
           ALTER TABLE gated ENABLE ROW LEVEL SECURITY;
           ALTER TABLE keyed ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON gated USING (jit_active('whole'));
           CREATE POLICY jit ON keyed USING (jit_active('s', k));
           GRANT SELECT ON gated, keyed TO PUBLIC;""",
        dbname=db,
    )
    if loaded_early:
        cluster.execute(f"ALTER DATABASE {db} SET session_preload_libraries = 'jit_rls'")
    return db


def plan(session, query):
    return "\n".join(line for [line] in session.execute(f"EXPLAIN (COSTS OFF) {query}").fetchall())


def count(session, table):
    return session.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def revoke(cluster, db, request):
    cluster.value("SELECT jit_revoke(%s, 'done')", "bob", db, [request])


def test_plans(cluster, db, loaded_early):
    """Without any preload the first plan of a session may lack the gate."""
    alice = cluster.connect("alice", db)
    first = plan(alice, "SELECT * FROM gated")
    assert "jit_active" in first and (GATED in first or not loaded_early)
    assert GATED in plan(alice, "SELECT * FROM gated")
    assert BY_INDEX in plan(alice, "SELECT * FROM keyed")
    # In a session that begins with the index.
    assert BY_INDEX in plan(cluster.connect("alice", db), "SELECT * FROM keyed")


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_rows_from_the_first_statement_on(cluster, db, generic):
    options = {"options": "-c plan_cache_mode=force_generic_plan"} if generic else {}
    denied = [cluster.connect("alice", db, **options) for _ in range(2)]
    assert [count(denied[0], "gated"), count(denied[1], "keyed")] == [0, 0]
    whole, key = cluster.grant(db, "whole", key=None), cluster.grant(db, "s", key="7")
    granted = [cluster.connect("alice", db, **options) for _ in range(2)]
    for session in denied + granted:
        session.prepare_threshold = 0
        for _ in range(3):
            assert [count(session, "gated"), count(session, "keyed")] == [1000, 10]
    revoke(cluster, db, whole)
    revoke(cluster, db, key)
    for session in denied + granted + [cluster.connect("alice", db)]:
        assert [count(session, "gated"), count(session, "keyed")] == [0, 0]


@pytest.mark.parametrize("table", ["gated", "keyed"])
@pytest.mark.parametrize("first", ["statement", "cursor", "savepoint"])
def test_a_transaction_that_has_used_the_grant_is_stopped(cluster, db, table, first):
    """Also when its use was the first thing that the session has done."""
    request = cluster.grant(db, "whole", key=None) if table == "gated" else cluster.grant(db, "s", key="7")
    alice = cluster.connect("alice", db, autocommit=False)
    if first == "statement":
        assert count(alice, table) > 0
    elif first == "cursor":
        alice.execute(f"DECLARE c CURSOR FOR SELECT * FROM {table}")
        assert len(alice.execute("FETCH 2 FROM c").fetchall()) == 2
    else:
        alice.execute("SAVEPOINT s")
        assert count(alice, table) > 0
        alice.execute("ROLLBACK TO s")
    revoke(cluster, db, request)
    with pytest.raises(Ended) as refused:
        alice.execute("FETCH 1 FROM c" if first == "cursor" else "SELECT 1")
    assert f"through request {request} has ended" in refused.value.diag.message_primary
    assert "revoked by bob" in refused.value.diag.message_detail
    assert "jit_request" in refused.value.diag.message_hint
    alice.rollback()
    assert count(alice, table) == 0


def test_expiry_stops_it_without_a_worker(cluster, db):
    request = cluster.grant(db, "whole", key=None, duration="3 seconds")
    alice = cluster.connect("alice", db, autocommit=False)
    alice.execute("DECLARE c CURSOR FOR SELECT * FROM gated")
    assert len(alice.execute("FETCH 2 FROM c").fetchall()) == 2
    over = "SELECT ends_at < clock_timestamp() FROM jit.grants WHERE id = %s"
    wait_until(lambda: cluster.value(over, dbname=db, params=[request]), "expiry")
    with pytest.raises(Ended, match="has ended") as refused:
        alice.execute("FETCH 1 FROM c")
    assert "expired" in refused.value.diag.message_detail


def test_a_release_that_is_not_committed_does_not_outlast_the_end(cluster, db):
    """Nobody else records that the grant has expired: where there is no worker, its holder's release is the only ending there is."""
    request = cluster.grant(db, "whole", key=None, duration="3 seconds")
    alice = cluster.connect("alice", db, autocommit=False)
    alice.execute("DECLARE c CURSOR FOR SELECT * FROM gated")
    assert len(alice.execute("FETCH 2 FROM c").fetchall()) == 2
    alice.execute("SELECT jit_release(%s)", [request])
    over = "SELECT ends_at < clock_timestamp() FROM jit.grants WHERE id = %s"
    wait_until(lambda: cluster.value(over, dbname=db, params=[request]), "expiry")
    with pytest.raises(Ended, match="has ended"):
        alice.execute("FETCH 1 FROM c")


def test_all_rows_come_and_go_under_a_kept_plan(cluster, db):
    cluster.decide("SELECT jit.alter_scope('s', %s)", "postgres", db, ['{"allow_all_rows": true}'])
    cluster.grant(db, "s", key="7")
    alice = cluster.connect("alice", db, options="-c plan_cache_mode=force_generic_plan")
    alice.execute("PREPARE q AS SELECT count(*) FROM keyed")
    assert alice.execute("EXECUTE q").fetchone() == (10,)
    request = cluster.value("SELECT jit_request('s', 'incident', all_rows => true)", "alice", db)
    cluster.approve(db, request)
    assert alice.execute("EXECUTE q").fetchone() == (10000,)
    revoke(cluster, db, request)
    assert alice.execute("EXECUTE q").fetchone() == (10,)
