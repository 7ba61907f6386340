"""A policy without a key: without a grant, is the table left alone, however large it is?

"The same time" is a factor of 1.25 at most between the smallest and the largest table, which has 20 times the rows. Less than a
factor is no use at a tenth of a millisecond, and a scan that touched rows would be 20 times slower.
"""

from bench.measure import at_most, interleave, ratio
from bench.server import Session
from bench.world import DB

TITLE = "USING (jit_active('oncall')), denied, at 1, 5 and 20 parts of rows"


def run(bench, result):
    world = bench.world
    rows = world.rows
    tables = {"smallest": (world.orders_small, rows // 5), "middle": (world.orders, rows), "largest": (world.orders_large, rows * 4)}
    with Session(world.server, DB, "bench_oncall") as oncall, Session(world.server, DB, "bench_not_oncall") as stranger:
        samplers = {}
        for size, (table, rows) in tables.items():
            statement = f"SELECT count(*) FROM {table}"
            result.add_candidate(world.server, DB, "bench_not_oncall", statement, [table], name=f"denied, {size}")
            result.add_candidate(world.server, DB, "bench_oncall", statement, [table], name=f"granted, {size}")
            samplers[f"denied, {size}"] = stranger.sampler(statement, 0)
            samplers[f"granted, {size}"] = oncall.sampler(statement, rows)
        samplers["denied, smallest, again"] = stranger.sampler(f"SELECT count(*) FROM {world.orders_small}", 0)
        samples = result.add_series(interleave(samplers, bench.size.near), "seconds")
    control = ratio(samples["denied, smallest, again"], samples["denied, smallest"])
    result.checks.append(
        at_most("denied, largest / smallest table", ratio(samples["denied, largest"], samples["denied, smallest"]), 1.25, control)
    )
    for size in tables:
        share = ratio(samples[f"denied, {size}"], samples[f"granted, {size}"])
        result.checks.append(at_most(f"denied / granted, {size} table", share, 0.01, control))
