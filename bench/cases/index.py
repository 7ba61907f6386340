"""The key has an index: is it used?"""

from bench.candidates import ARRAY, IN, JIT
from bench.contest import AGAIN, contest
from bench.measure import at_least, at_most, ratio

TITLE = "the same with an index on the key"


def run(bench, result):
    # No bar is about the slow ones here.
    quick, _ = contest(bench.world, result, bench.world.orders_indexed, bench.size.near, min(2, bench.size.slow))
    control = ratio(quick[AGAIN], quick[JIT.name])
    result.checks += [
        at_most(f"jit_active / {ARRAY.name}", ratio(quick[JIT.name], quick[ARRAY.name]), 2.2, control),
        at_least(f"{IN.name} / jit_active", ratio(quick[IN.name], quick[JIT.name]), 50, control),
    ]
