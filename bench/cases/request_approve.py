"""Requests and approvals a second, by eight clients, against plain SQL that writes the same rows and checks nothing.

Both sides prepare their statements, and wait for the disk at each commit (fsync and synchronous_commit on). jit_rls's worker is at
work meanwhile, on the same processors, announcing the events; nobody does that for plain SQL. The scope has the limits that every
scope has: nobody holds more than 200 grants, which are counted twice for each. So between two samples all grants are revoked; the
tables of both are vacuumed and analysed then, and the outbox of the plain side is emptied, as the worker empties the other.
"""

import itertools
import time

from bench import plain, world
from bench.lifecycle import JIT, Pair, together
from bench.measure import at_least, interleave, ratio

TITLE = "request + approve, 8 clients, flushed to disk"
DB = "durable"
CLIENTS = 8
JIT_RLS, AGAIN = "jit_rls", "jit_rls, again"
ONE_STATEMENT, BY_STATEMENT = "plain SQL, one statement each", "plain SQL, statement by statement"


def run(bench, result):
    server = bench.server("durable", shared_buffers="512MB", fsync="on", synchronous_commit="on")
    world.create_approver(server)
    world.create_database(server, DB)
    world.create_scope(server, DB, "tenant", "int", limits="")
    people = [(f"bench_requester_{n}", f"bench_approver_{n}") for n in range(CLIENTS)]
    for requester, approver in people:
        server.execute(DB, f"CREATE ROLE {requester} LOGIN; CREATE ROLE {approver} LOGIN IN ROLE bench_approvers")
    keys = itertools.count(1)
    pairs = {JIT_RLS: [Pair(server, DB, JIT, *who) for who in people]}
    for pair in pairs[JIT_RLS]:
        pair.grant(next(keys))
    with server.connect(DB) as connection:
        plain.create(connection)
        statements = [plain.Statements(connection, *who) for who in people]
    pairs[ONE_STATEMENT] = [Pair(server, DB, s.one_statement(), *who) for s, who in zip(statements, people, strict=True)]
    pairs[BY_STATEMENT] = [Pair(server, DB, s.statement_by_statement(), *who) for s, who in zip(statements, people, strict=True)]
    _check_rows(server, pairs, keys)
    each = bench.size.requests // CLIENTS

    def rate(side):
        _tidy(server)

        def work(pair, mine):
            for key in mine:
                pair.grant(key)

        shares = [list(itertools.islice(keys, each)) for _ in range(CLIENTS)]
        seconds = together([lambda p=p, s=s: work(p, s) for p, s in zip(pairs[side], shares, strict=True)])
        return each * CLIENTS / seconds

    samplers = {
        JIT_RLS: lambda: rate(JIT_RLS),
        ONE_STATEMENT: lambda: rate(ONE_STATEMENT),
        BY_STATEMENT: lambda: rate(BY_STATEMENT),
        AGAIN: lambda: rate(JIT_RLS),
    }
    samples = result.add_series(interleave(samplers, bench.size.far), "a second")
    for side, members in pairs.items():
        result.candidates.append(_description(server, side, members[0]))
        for pair in members:
            pair.close()
    control = ratio(samples[AGAIN], samples[JIT_RLS])
    result.checks.append(at_least("rate of jit_rls / plain SQL", ratio(samples[JIT_RLS], samples[ONE_STATEMENT]), 0.5, control))
    result.add_figure(f"rate of jit_rls / {BY_STATEMENT}", ratio(samples[JIT_RLS], samples[BY_STATEMENT]).value, "times")
    server.remove()


def _schema(side):
    return "jit_private" if side == JIT_RLS else "plain"


def _description(server, side, pair):
    indexes = server.rows(
        DB,
        "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = ANY (%s) ORDER BY 1",
        [_schema(side), list(plain.TABLES)],
    )
    return {
        "name": side,
        "statements": [step.statement for person in (pair.requester, pair.approver) for step in person.steps],
        "indexes": [row[0] for row in indexes],
    }


def _tidy(server):
    with server.connect(DB) as connection:
        connection.execute("SELECT jit.revoke_all('tenant', reason => 'benchmark')")
        while connection.execute("SELECT count(*) FROM jit_private.grants WHERE tidied_at IS NULL").fetchone()[0]:
            time.sleep(0.05)
        connection.execute("TRUNCATE plain.outbox")
        connection.execute("VACUUM (ANALYZE)")
    server.settle()


def _check_rows(server, pairs, keys):
    """A request and its approval leave as many rows on each side. The outbox of jit_rls is emptied by its worker."""
    tables = [table for table in plain.TABLES if table != "outbox"]
    for side, members in pairs.items():
        count = "SELECT " + ", ".join(f"(SELECT count(*) FROM {_schema(side)}.{table})" for table in tables)
        before = server.rows(DB, count)[0]
        members[0].grant(next(keys))
        added = [new - old for new, old in zip(server.rows(DB, count)[0], before, strict=True)]
        assert added == [1, 1, 1, 2], f"{side} adds {dict(zip(tables, added, strict=True))}"
