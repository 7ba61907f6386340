"""Does anybody get a row by a statement that is sent after jit_revoke has returned?

In sessions that are open already and have just read that row by the same statement: between transactions and inside of one, in
words and prepared, under an old snapshot as well. All of them are sent the statement at once, by whose turn it is first. A
transaction that has used the grant would be refused anything: those here have begun after the row was read, and have their
snapshots and locks by something else.
"""

import itertools

from bench import endings, lifecycle
from bench.endings import DB, Running
from bench.lifecycle import Pair, Person
from bench.measure import count_at_most

TITLE = "rows read by statements that were sent after jit_revoke had returned"
LOGIN = "bench_holder"
STATEMENT = "SELECT id FROM orders WHERE id = $1"
KEYS = 10_000
EACH = 4
# How a session prepares for a statement that it will be sent after the revocation.
OPENINGS = {
    "between transactions": None,
    "in a transaction": "BEGIN",
    "in a transaction with an old snapshot": "BEGIN ISOLATION LEVEL REPEATABLE READ",
}


def run(bench, result):
    server = endings.create(bench, "after_revoke", [LOGIN])
    endings.table(server, "orders", f"SELECT id FROM generate_series(1, {KEYS}) id", "jit_active('tenant', id)")
    server.execute(DB, "CREATE UNIQUE INDEX ON orders (id)")
    endings.table(server, "free", "SELECT 1 AS n")
    result.add_candidate(server, DB, LOGIN, STATEMENT.replace("$1", "1"), ["orders"], openings=OPENINGS)
    pair, revoker = Pair(server, DB, lifecycle.JIT, LOGIN), Person(server, DB, "bench_approver", lifecycle.REVOKE)
    readers = [
        Reader(server, opening, prepared)
        for opening in OPENINGS.values() for prepared in (False, True) for _ in range(EACH)
    ]
    keys = itertools.cycle(range(1, KEYS + 1))
    rows = tried = 0
    while tried < bench.size.after_revoke:
        key = next(keys)
        request = pair.grant(key)
        seen = _read(readers, key)
        assert seen == len(readers), f"{seen} of {len(readers)} sessions see the row that has been granted"
        for reader in readers:
            reader.open()
        revoker.perform(request=request)
        rows += _read(readers, key)
        tried += len(readers)
        for reader in readers:
            reader.close()
        readers.append(readers.pop(0))
    result.checks.append(count_at_most("rows, of 100,000 statements", rows, tried, 0, 100_000, "statements"))
    server.remove()


def _read(readers, key):
    """How many rows they get all together."""
    for reader in readers:
        reader.ask(key)
    return sum(reader.answer() for reader in readers)


class Reader:
    def __init__(self, server, opening, prepared):
        self.running = Running(server, LOGIN)
        self.opening = opening
        self.prepared = prepared
        if prepared:
            self._done("SET plan_cache_mode = force_generic_plan")
            self.running.pq.prepare(b"read", STATEMENT.encode())

    def open(self):
        if self.opening:
            self._done(self.opening)
            self._done("SELECT count(*) FROM free")

    def close(self):
        if self.opening:
            self._done("ROLLBACK")

    def ask(self, key):
        if self.prepared:
            self.running.pq.send_query_prepared(b"read", [str(key).encode()])
            self.running.pq.flush()
        else:
            self.running.send(STATEMENT.replace("$1", str(key)))

    def answer(self):
        result, state, message = self.running.outcome()
        assert state is None, f"{state} {message}"
        return result.ntuples

    def _done(self, statement):
        self.running.send(statement)
        self.answer()
