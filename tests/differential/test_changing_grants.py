"""Grants that change while statements run: no row twice, no row too many, none missing of what was held throughout."""

import collections
import random
import threading
import time

import psycopg
import pytest

from harness import wait_until
from settings import PARALLEL

ROWS, KEYS = 20_000, 40
# Held throughout, and by turns.
STAYING, CHANGING = [5, 20, 35], [1, 4, 6, 19, 21, 34, 36, 40]
SCANS = ["enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"]
ACCESS = {
    "index scan": ["enable_indexscan"],
    "index only scan": ["enable_indexscan", "enable_indexonlyscan"],
    "bitmap heap scan": ["enable_bitmapscan"],
    "seq scan": ["enable_seqscan"],
}
SECONDS = 3


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    return new_module_cluster().start(settings={"fsync": "off", "jit": "off", "max_parallel_workers": 8}).create_roles()


@pytest.fixture(params=list(ACCESS))
def reader(request, cluster, db, relaxed):
    """alice's session, which reads table t in one way only."""
    cluster.create_scope(db, on_end="none")
    cluster.psql(
        f"""CREATE TABLE t AS SELECT i AS id, (i * 7) % {KEYS} + 1 AS k FROM generate_series(1, {ROWS}) i;
            CREATE INDEX ON t (k) INCLUDE (id);
            ALTER TABLE t SET (parallel_workers = 3);
            VACUUM ANALYZE t;
            ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            CREATE POLICY jit ON t USING (jit_active('s', k));
            GRANT SELECT ON t TO PUBLIC;""",
        dbname=db,
    )
    session = cluster.connect("alice", db)
    for scan in SCANS:
        session.execute(f"SET {scan} = {'on' if scan in ACCESS[request.param] else 'off'}")
    cluster.grant(db, key=str(STAYING[0]))
    plan = "\n".join(line for (line,) in session.execute("EXPLAIN (COSTS OFF) SELECT id, k FROM t"))
    assert request.param in plan.lower(), plan
    assert relaxed or request.param == "seq scan" or "jit_keys" in plan, plan
    return session


class Changer(threading.Thread):
    """Gives and ends grants as fast as it can."""

    def __init__(self, cluster, db):
        super().__init__(daemon=True)
        self.asker, self.approver = cluster.connect("alice", db), cluster.connect("bob", db)
        self.over, self.changes, self.failure = threading.Event(), 0, None

    def run(self):
        rng, live = random.Random(1), {}
        try:
            while not self.over.is_set():
                key = rng.choice(CHANGING)
                if key in live:
                    self.approver.execute("SELECT jit_revoke(%s, 'done')", [live.pop(key)])
                else:
                    [live[key]] = self.asker.execute("SELECT jit_request('s', 'refund', key => %s)", [str(key)]).fetchone()
                    self.approver.execute("SELECT jit_approve(%s)", [live[key]])
                self.changes += 1
        except Exception as error:
            self.failure = error


@pytest.mark.parametrize("leader", ["on", "off"])
def test_parallel_scans_while_grants_change(cluster, db, reader, leader):
    """Each process of a parallel scan asks for itself which keys it may see, and at another time."""
    for key in STAYING[1:]:
        cluster.grant(db, key=str(key))
    for name, value in (PARALLEL | {"parallel_leader_participation": leader}).items():
        reader.execute(f"SET {name} = {value}")
    each = ROWS // KEYS
    changer = Changer(cluster, db)
    changer.start()
    reads, changed_within, deadline = 0, 0, time.monotonic() + SECONDS
    while time.monotonic() < deadline or reads < 50:
        before = changer.changes
        rows = reader.execute("SELECT id, k FROM t").fetchall()
        changed_within += changer.changes > before
        reads += 1
        twice = [row for row, count in collections.Counter(rows).items() if count > 1]
        assert twice == [], f"after {reads} reads, {len(twice)} rows came twice"
        of_key = collections.Counter(k for _, k in rows)
        assert {k: of_key[k] for k in STAYING} == dict.fromkeys(STAYING, each), f"after {reads} reads"
        assert set(of_key) <= set(STAYING + CHANGING)
        assert changer.failure is None
    changer.over.set()
    changer.join(60)
    assert changer.failure is None
    assert changed_within > reads / 10, f"grants changed in {changed_within} of {reads} reads only"


def in_the_background(run):
    answer = []

    def guarded():
        try:
            answer.append(run())
        except psycopg.Error as error:
            answer.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread, answer


def check_the_rest(rows, seen_of_ending, ending, staying):
    """Of the grant that ended nothing came after what had come before; the other one's rows all came."""
    each, of_key = ROWS // KEYS, collections.Counter(rows)
    assert of_key[ending] == seen_of_ending, f"{of_key[ending]} rows, where the grant ended after {seen_of_ending}"
    assert of_key[staying] == each


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_grant_ends_within_a_statement(cluster, db, reader, how):
    """The statement stops at its tenth row until the grant has ended: whichever way rows are found, each is checked when it is read."""
    ending, staying = STAYING[0] - 1, STAYING[0]
    grant = cluster.grant(db, key=str(ending), duration="2 seconds" if how == "expired" else None)
    gate = cluster.connect("postgres", db)
    gate.execute("SELECT pg_advisory_lock(1)")
    ids = [id for (id,) in cluster.connect("postgres", db).execute("SELECT id FROM t WHERE k = %s ORDER BY ctid", [ending])]
    thread, answer = in_the_background(
        lambda: reader.execute(
            "SELECT k, CASE WHEN id = %s THEN pg_advisory_lock_shared(1)::text END FROM t", [ids[9]]
        ).fetchall()
    )
    wait_until(lambda: cluster.waits_for_lock(reader), "the statement waits", timeout=30)
    end(cluster, db, grant, how)
    gate.execute("SELECT pg_advisory_unlock(1)")
    thread.join(60)
    [rows] = answer
    if isinstance(rows, psycopg.Error):
        assert rows.sqlstate == "57014", rows
        return
    check_the_rest([k for k, _ in rows], 10, ending, staying)


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_grant_ends_between_fetches(cluster, db, reader, how):
    ending, staying = STAYING[0] - 1, STAYING[0]
    grant = cluster.grant(db, key=str(ending), duration="2 seconds" if how == "expired" else None)
    reader.execute("BEGIN")
    reader.execute("DECLARE c NO SCROLL CURSOR FOR SELECT k FROM t")
    # Enough to have rows of it on the first page already, however they are found.
    first = [k for (k,) in reader.execute(f"FETCH {KEYS} FROM c").fetchall()]
    assert ending in first
    end(cluster, db, grant, how)
    try:
        rest = [k for (k,) in reader.execute("FETCH ALL FROM c").fetchall()]
    except psycopg.errors.QueryCanceled as error:
        assert "has ended" in error.diag.message_primary
    else:
        check_the_rest(first + rest, first.count(ending), ending, staying)
    reader.execute("ROLLBACK")


def end(cluster, db, grant, how):
    if how == "revoked":
        cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", db, [grant])
    else:
        left = cluster.value(
            "SELECT greatest(0, extract(epoch FROM ends_at - clock_timestamp()))::float8 FROM jit.grants WHERE id = %s", dbname=db, params=[grant]
        )
        time.sleep(left + 0.01)
