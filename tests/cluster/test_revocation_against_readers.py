"""Promise 2 under load: a check that begins after a revocation has returned is denied, whatever the reader's session is like."""

import threading
import time

ROWS = 1_000
# Rounds by kind of reader: 10,000 altogether. Starting parallel workers takes its time.
READERS = {
    "plain": 2_400,
    "repeatable_read": 2_400,
    "prepared": 2_400,
    "by_index": 2_300,
    "parallel": 500,
}
# An open transaction sees this many revocations before it gives way to the next.
ROUNDS_IN_TRANSACTION = 50
SETTINGS = {
    "prepared": ["SET plan_cache_mode = force_generic_plan"],
    "by_index": ["SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET enable_indexonlyscan = off"],
    "parallel": [
        "SET parallel_setup_cost = 0",
        "SET parallel_tuple_cost = 0",
        "SET min_parallel_table_scan_size = 0",
        "SET enable_indexscan = off",
        "SET enable_bitmapscan = off",
        # Rows come from workers only.
        "SET parallel_leader_participation = off",
    ],
}
BEGIN = {"repeatable_read": "BEGIN ISOLATION LEVEL REPEATABLE READ", "prepared": "BEGIN"}
PLAN = {"plain": "Seq Scan", "by_index": "Index Scan", "parallel": "Gather"}


class Reader:
    """Reads one row, over and over, while an approver of its own grants and revokes access to it."""

    def __init__(self, cluster, db, kind, key):
        self.kind, self.key = kind, key
        self.session = cluster.connect("alice", db)
        for setting in SETTINGS.get(kind, []):
            self.session.execute(setting)
        self.asker = cluster.connect("alice", db)
        self.approver = cluster.connect("bob", db)
        self.column = "k" if kind == "by_index" else "n"
        self.query = f"SELECT count(*) FROM t WHERE {self.column} = %s"
        self.revoked = threading.Event()
        self.seen = threading.Event()
        self.rounds = 0
        self.idle = threading.Event()
        self.idle.set()
        self.failure = None

    def plan(self):
        lines = self.session.execute(f"EXPLAIN (COSTS OFF) SELECT count(*) FROM t WHERE {self.column} = {self.key}").fetchall()
        return "\n".join(line for (line,) in lines)

    def read(self):
        return self.session.execute(self.query, [self.key], prepare=self.kind == "prepared").fetchone()[0]

    def run_reader(self):
        begin = BEGIN.get(self.kind)
        for number in range(READERS[self.kind]):
            if begin and number % ROUNDS_IN_TRANSACTION == 0:
                if number:
                    self.session.execute("COMMIT")
                self.session.execute(begin)
            while True:
                # Asked before the read begins: from then on nothing may be seen.
                over = self.revoked.is_set()
                rows = self.read()
                if rows and over:
                    raise AssertionError(f"{self.kind}, round {number}: {rows} rows after the revocation had returned")
                if rows:
                    self.seen.set()
                elif over:
                    break
            self.rounds += 1
            self.revoked.clear()
            self.idle.set()

    def run_approver(self):
        for _ in range(READERS[self.kind]):
            self.idle.wait()
            self.idle.clear()
            self.seen.clear()
            [request] = self.asker.execute("SELECT jit_request('s', 'refund', key => %s)", [str(self.key)]).fetchone()
            self.approver.execute("SELECT jit_approve(%s)", [request])
            # The positive control: access was there, and was used.
            while not self.seen.wait(1):
                if self.failure:
                    return
            if self.failure:
                return
            self.approver.execute("SELECT jit_revoke(%s, 'done')", [request])
            self.revoked.set()

    def guarded(self, run):
        try:
            run()
        except Exception as error:
            self.failure = self.failure or error
            for event in (self.seen, self.revoked, self.idle):
                event.set()


def test_nothing_is_seen_after_a_revocation(cluster, db):
    cluster.create_scope(db)
    cluster.psql(
        f"""CREATE TABLE t AS SELECT k, k AS n FROM generate_series(1, {ROWS}) k;
            ALTER TABLE t ADD PRIMARY KEY (k);
            ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            CREATE POLICY jit ON t USING (jit_active('s', k));
            GRANT SELECT ON t TO PUBLIC;
            ANALYZE t;""",
        dbname=db,
    )
    readers = [Reader(cluster, db, kind, key) for key, kind in enumerate(READERS, start=1)]
    for reader in readers:
        assert PLAN.get(reader.kind, "") in reader.plan(), reader.plan()
    threads = [
        threading.Thread(target=reader.guarded, args=[run], daemon=True)
        for reader in readers
        for run in (reader.run_reader, reader.run_approver)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 240
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert [reader.failure for reader in readers if reader.failure] == []
    assert {reader.kind: reader.rounds for reader in readers} == READERS
    assert sum(READERS.values()) == 10_000
    revoked = cluster.value("SELECT count(*) FROM jit.endings WHERE kind = 'revoked'", dbname=db)
    assert revoked == 10_000
