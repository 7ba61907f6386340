"""A hundred thousand grants that are due at the same moment.

How long from then on until all of them have ended on record, with their events: until the worker's own count has reached them,
which it raises after each commit; the records are counted afterwards. People go on asking and approving meanwhile, at a steady
pace and in the same database: how much longer has the slowest in a hundred to wait than just before? Before that they go on for
another span of time, which tells how much the machine makes up.
"""

import itertools
import math
import statistics
import time

from bench import endings, world
from bench.endings import DB
from bench.lifecycle import JIT, Pacer, Pair
from bench.measure import at_least, at_most, median, percentile, ratio

TITLE = "grants that are due at the same moment, 200 requests a second meanwhile"
PEOPLE = 100
RATE = 200
PAIRS = 4
# Seconds, for what comes before the spans that are measured; loading has a second for so many grants, and two to begin with.
WARMING_UP, LOADED_A_SECOND = 1, 20_000
BEFORE, BEFORE_THAT, MEANWHILE = "just before", "before that", "meanwhile"


def run(bench, result):
    requesters = [f"bench_requester_{n}" for n in range(PAIRS)]
    server = endings.create(bench, "mass_expiry", requesters + [f"bench_holder_{n}" for n in range(PEOPLE)])
    pairs = [Pair(server, DB, JIT, requester) for requester in requesters]
    pacer = Pacer(pairs, RATE, itertools.count(1))
    rates, waits = [], {BEFORE_THAT: [], BEFORE: [], MEANWHILE: []}
    quiet = bench.size.due_quiet_seconds
    for number in range(bench.size.due_rounds):
        due, done = _end_all(server, pacer, bench.size)
        _check_records(server, bench.size.due * (number + 1))
        rates.append(bench.size.due / (done - due))
        # By when a request was through: what was under way at the moment is not quiet any more. The pacer stops at the end.
        for name, since, until in (
            (BEFORE_THAT, due - 2 * quiet, due - quiet), (BEFORE, due - quiet, due), (MEANWHILE, due, math.inf)
        ):
            waits[name].append(percentile([wait for begun, wait in pacer.cycles if since <= begun + wait < until], 99))
    result.add_series({"endings": rates}, "a second")
    result.add_series(waits, "seconds")
    result.add_figure("requests a second", statistics.median(pacer.paces), "a second")
    # Rounds are compared with each other.
    among_rounds = ratio(rates[1::2], rates[::2])
    result.checks += [
        at_least(f"endings a second, of {bench.size.due:,}", median(rates), 20_000, among_rounds, "a second"),
        at_most(
            "p99 of request + approve, meanwhile / before", ratio(waits[MEANWHILE], waits[BEFORE]), 3,
            ratio(waits[BEFORE], waits[BEFORE_THAT]),
        ),
    ]
    for pair in pairs:
        pair.close()
    server.remove()


def _end_all(server, pacer, size):
    """When they were due, and when the last had ended, by the clock of Pacer."""
    server.execute(DB, "VACUUM (ANALYZE)")
    server.settle()
    loading = 2 + size.due / LOADED_A_SECOND
    begin = time.time() + loading
    due = begin + WARMING_UP + 2 * size.due_quiet_seconds
    with server.connect(DB) as connection:
        world.insert_grants(
            connection, "tenant", f"SELECT 'bench_holder_' || n % {PEOPLE}, n::text FROM generate_series(1, {size.due}) n",
            f"to_timestamp({due!r})",
        )
        connection.execute("VACUUM (ANALYZE)")
        assert time.time() < begin, f"loading took over {loading} seconds"
        time.sleep(begin - time.time())
        before = _ended(connection)
        pacer.cycles.clear()
        with pacer:
            time.sleep(due - time.time())
            while (ended := _ended(connection) - before) < size.due:
                assert time.time() < due + endings.PATIENCE, f"after {endings.PATIENCE} seconds, {ended:,} have ended"
                time.sleep(0.005)
            done = time.perf_counter()
    return due - time.time() + time.perf_counter(), done


def _ended(connection):
    return connection.execute("SELECT ended FROM jit.worker_status").fetchone()[0]


def _check_records(server, count):
    """Each grant that was due has ended once, at its time, with an event."""
    found = server.rows(
        DB,
        """SELECT count(*), count(DISTINCT e.grant_id), count(*) FILTER (WHERE e.at = g.ends_at),
                  (SELECT count(DISTINCT v.request_id) FROM jit.events v WHERE v.kind = 'expired')
             FROM jit.endings e JOIN jit.grants g ON g.id = e.grant_id WHERE e.kind = 'expired'""",
    )[0]
    assert found == (count,) * 4, f"endings, grants, at their time, events: {found}, not {count} each"
