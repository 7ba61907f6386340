"""Point reads while grants of other people change: every change makes the reader load its own grants again.

The machine has the same to do in both: 200 requests a second are made and approved, in the reader's database or in another one of
the same server. What is sent at commit goes to all backends, but concerns those of its own database only. So the two differ by
what the reader does about it, and by nothing else. The rate without any such work is reported as well.
"""

import itertools
import statistics

from bench import world
from bench.candidates import JIT
from bench.lifecycle import JIT as THROUGH_JIT
from bench.lifecycle import Pacer, Pair
from bench.measure import at_least, interleave, ratio
from bench.reader import EXAMPLE, Reader
from bench.world import DB

TITLE = "point reads while 200 grants a second change elsewhere"
ELSEWHERE = "elsewhere"
RATE = 200
PAIRS = 4


def run(bench, result):
    server = bench.world.server
    world.create_database(server, ELSEWHERE)
    world.create_scope(server, ELSEWHERE, "tenant", "int")
    server.execute(DB, ";".join(f"CREATE ROLE bench_churn_{n} LOGIN" for n in range(PAIRS)))
    reader = Reader(bench)
    result.add_candidate(server, DB, JIT.login, EXAMPLE, [bench.world.orders_indexed])
    keys = itertools.cycle(range(1, world.TENANTS + 1))
    pairs = {dbname: [Pair(server, dbname, THROUGH_JIT, f"bench_churn_{n}") for n in range(PAIRS)] for dbname in (DB, ELSEWHERE)}
    pacers = {dbname: Pacer(pairs[dbname], RATE, keys) for dbname in pairs}
    read = reader.sampler(JIT.login)

    def reads_beside(pacer):
        with pacer:
            return read()

    samples = result.add_series(
        interleave(
            {
                "quiet": lambda: reads_beside(pacers[ELSEWHERE]),
                "churn": lambda: reads_beside(pacers[DB]),
                "quiet, again": lambda: reads_beside(pacers[ELSEWHERE]),
                "nothing else": read,
            },
            bench.size.near,
        ),
        "a second",
    )
    for dbname in pairs:
        for pair in pairs[dbname]:
            pair.close()
    for what, dbname in (("changes a second, churn", DB), ("changes a second, quiet", ELSEWHERE)):
        result.add_figure(what, statistics.median(pacers[dbname].paces), "a second")
    if min(pacers[DB].paces) < 0.95 * RATE:
        result.note(f"the pace of {RATE} a second was not kept throughout: {min(pacers[DB].paces):.0f} at the slowest")
    control = ratio(samples["quiet, again"], samples["quiet"])
    result.checks.append(at_least("rate in churn / quiet", ratio(samples["churn"], samples["quiet"]), 0.9, control))
