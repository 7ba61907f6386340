"""Promise 2 under load: a check that begins after a revocation has returned is denied, whatever the reader's session is like.

And of promise 3: a transaction that has used the grant is refused from then on, and none is before.
"""

import threading
import time

import psycopg

ROWS = 1_000
# Nobody ever asks for it.
ELSEWHERE = ROWS
# Rounds by kind of reader: 10,000 altogether. Starting parallel workers takes its time.
READERS = {
    "plain": 1_800,
    "repeatable_read": 1_800,
    "repeatable_read_used": 1_500,
    "prepared": 1_500,
    "prepared_used": 800,
    "by_index": 1_100,
    "by_keys": 1_000,
    "parallel": 500,
}
# Inside a transaction. Those that have used the grant cannot go on in it; the others use none, and see this many
# revocations before they begin the next.
BEGIN = {
    "repeatable_read": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "repeatable_read_used": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "prepared": "BEGIN",
    "prepared_used": "BEGIN",
}
USED = {"repeatable_read_used", "prepared_used"}
ROUNDS_IN_TRANSACTION = 50
GENERIC_PLAN = ["SET plan_cache_mode = force_generic_plan"]
INDEX_SCAN = ["SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET enable_indexonlyscan = off"]
SETTINGS = {
    "prepared": GENERIC_PLAN,
    "prepared_used": GENERIC_PLAN,
    "by_index": INDEX_SCAN,
    "by_keys": INDEX_SCAN,
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
# The table, and the column that the row is looked for by. Of t the check has only the rows to go by, of u it has an index.
READS = {"repeatable_read": ("t", "k"), "prepared": ("t", "k"), "by_index": ("t", "k"), "by_keys": ("u", "n")}
PLAN = {
    "plain": "Seq Scan",
    "repeatable_read": "Index Scan",
    "prepared": "Index Scan",
    "by_index": "Index Scan",
    "by_keys": "jit_keys",
    "parallel": "Gather",
}


class Reader:
    """Reads one row, over and over, while an approver of its own grants and revokes access to it."""

    def __init__(self, cluster, db, kind, key):
        self.kind, self.key = kind, key
        self.session = cluster.connect("alice", db)
        for setting in SETTINGS.get(kind, []):
            self.session.execute(setting)
        self.asker = cluster.connect("alice", db)
        self.approver = cluster.connect("bob", db)
        table, column = READS.get(kind, ("t", "n"))
        self.query = f"SELECT count(*) FROM {table} WHERE {column} = %s"
        # The approver's steps in a round, then the reader's.
        self.approved, self.revoking, self.revoked = (threading.Event() for _ in range(3))
        self.seen, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.rounds = 0
        self.failure = None

    def plan(self):
        lines = self.session.execute("EXPLAIN (COSTS OFF) " + self.query.replace("%s", str(self.key))).fetchall()
        return "\n".join(line for (line,) in lines)

    def read(self, key):
        self.must(not self.failure, "the approver has failed")
        return self.session.execute(self.query, [key], prepare=self.kind.startswith("prepared")).fetchone()[0]

    def begin(self):
        self.session.execute("ROLLBACK")
        self.session.execute(BEGIN[self.kind])

    def run_reader(self):
        if self.kind not in BEGIN:
            one_round = self.round_between_transactions
        elif self.kind in USED:
            one_round = self.round_that_uses
        else:
            one_round = self.round_that_does_not_use
        for number in range(READERS[self.kind]):
            if self.kind in BEGIN and (self.kind in USED or number % ROUNDS_IN_TRANSACTION == 0):
                self.begin()
            one_round()
            self.rounds += 1
            for event in (self.approved, self.revoking, self.revoked):
                event.clear()
            self.idle.set()

    def round_between_transactions(self):
        while True:
            # Asked before the read begins: from then on nothing may be seen.
            over = self.revoked.is_set()
            rows = self.read(self.key)
            self.must(not (rows and over), f"{rows} rows after the revocation had returned")
            if rows:
                self.seen.set()
            elif over:
                return

    def round_that_does_not_use(self):
        """Its copy of the grants has the grant in it, which opens the row to another session. The check has the last word."""
        while not self.revoked.is_set():
            approved = self.approved.is_set()
            self.must(self.read(ELSEWHERE) == 0, "a row that nobody was given")
            if approved and not self.seen.is_set():
                rows = self.asker.execute(self.query, [self.key]).fetchone()[0]
                self.must(rows == 1, "access that was given is not there")
                self.seen.set()
        self.must(self.read(self.key) == 0, "rows after the revocation had returned")

    def round_that_uses(self):
        used = False
        while True:
            over = self.revoked.is_set()
            try:
                rows = self.read(self.key)
            except psycopg.errors.QueryCanceled as error:
                self.must(used and "has ended" in error.diag.message_primary, error)
                self.must(self.revoking.is_set(), "refused before anybody has revoked it")
                break
            self.must(not (over and used), f"{rows} rows, not refused, after the revocation had returned")
            if rows:
                used = True
                self.seen.set()
        self.revoked.wait()
        self.begin()
        self.must(self.read(self.key) == 0, "rows after the revocation had returned")

    def must(self, kept, message):
        if not kept:
            raise AssertionError(f"{self.kind}, round {self.rounds}: {message}")

    def run_approver(self):
        for _ in range(READERS[self.kind]):
            self.idle.wait()
            self.idle.clear()
            if self.failure:
                return
            self.seen.clear()
            [request] = self.asker.execute("SELECT jit_request('s', 'refund', key => %s)", [str(self.key)]).fetchone()
            self.approver.execute("SELECT jit_approve(%s)", [request])
            self.approved.set()
            # The positive control: access was there, and was used.
            self.seen.wait()
            if self.failure:
                return
            self.revoking.set()
            self.approver.execute("SELECT jit_revoke(%s, 'done')", [request])
            self.revoked.set()

    def guarded(self, run):
        try:
            run()
        except Exception as error:
            self.failure = self.failure or error
            for event in (self.approved, self.revoking, self.seen, self.revoked, self.idle):
                event.set()


def test_nothing_is_seen_after_a_revocation(cluster, db):
    cluster.create_scope(db, on_end="none")
    cluster.psql(
        f"""CREATE TABLE t AS SELECT k, k AS n FROM generate_series(1, {ROWS}) k;
            ALTER TABLE t ADD PRIMARY KEY (k);
            ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            CREATE POLICY jit ON t USING (jit_active('s', n));
            CREATE TABLE u AS TABLE t;
            ALTER TABLE u ADD PRIMARY KEY (k);
            ALTER TABLE u ENABLE ROW LEVEL SECURITY;
            CREATE POLICY jit ON u USING (jit_active('s', k));
            GRANT SELECT ON t, u TO PUBLIC;
            ANALYZE t, u;""",
        dbname=db,
    )
    readers = [Reader(cluster, db, kind, key) for key, kind in enumerate(READERS, start=1)]
    for reader in readers:
        assert PLAN.get(reader.kind, "") in reader.plan(), reader.plan()
        assert (reader.kind == "by_keys") == ("jit_keys" in reader.plan()), reader.plan()
    threads = [
        threading.Thread(target=reader.guarded, args=[run], daemon=True)
        for reader in readers
        for run in (reader.run_reader, reader.run_approver)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 360
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert [reader.failure for reader in readers if reader.failure] == []
    assert {reader.kind: reader.rounds for reader in readers} == READERS
    assert sum(READERS.values()) == 10_000
    revoked = cluster.value("SELECT count(*) FROM jit.endings WHERE kind = 'revoked'", dbname=db)
    assert revoked == 10_000
