"""Every row is looked at: what does looking at it cost?"""

from bench.candidates import CONSTANT, IN, JIT, SQL_FUNCTION
from bench.contest import AGAIN, contest
from bench.measure import at_least, at_most, ratio

TITLE = "count(*), key without index, 100 keys held of 10,000, one process"


def run(bench, result):
    quick, slow = contest(bench.world, result, bench.world.orders, bench.size.near, bench.size.slow)
    control = ratio(quick[AGAIN], quick[JIT.name])
    result.checks += [
        at_most(f"jit_active / {IN.name}", ratio(quick[JIT.name], quick[IN.name]), 0.9, control),
        at_most(f"jit_active / {CONSTANT.name}", ratio(quick[JIT.name], quick[CONSTANT.name]), 1.8, control),
        at_least(
            f"{SQL_FUNCTION.name} / jit_active", ratio(slow[SQL_FUNCTION.name], slow[JIT.name]), 80, ratio(slow[AGAIN], slow[JIT.name])
        ),
    ]
