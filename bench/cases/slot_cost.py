"""What it costs to write down in shared memory who uses what, in instructions of a point look-up.

The same look-up by the same login, which gets its row through a grant: with the library in shared_preload_libraries, which brings
the slots, and with the library loaded by each session for itself, which has everything but them.
"""

import random
import re
import shutil

from bench import instructions
from bench.candidates import JIT, NO_RLS
from bench.measure import at_most, interleave, ratio

TITLE = "SELECT … WHERE id = $1, instructions"
PREPARE = "(bigint) AS SELECT amount FROM orders_indexed WHERE id = $1"
TIMES = 100
PADDING = 4096
# The look-up uses one grant: is it in a slot?
USES = ["BEGIN", "EXECUTE s(100)", "RESET ROLE", "SELECT count(*) AS uses FROM jit.uses()", "COMMIT"]
SLOTS = {"shared_preload_libraries": "jit_rls"}
NO_SLOTS = {"shared_preload_libraries": "", "session_preload_libraries": "jit_rls"}
NO_LIBRARY = {"shared_preload_libraries": ""}


def run(bench, result):
    if not shutil.which("valgrind"):
        result.note("instructions were not counted: there is no valgrind here")
        return
    server, dice = bench.still_server, random.Random(6)

    def count(login, settings, uses):
        instructions_each, output = instructions.sample(
            server, login, PREPARE, lambda n: f"({100 * (n % 10 + 1)})", TIMES, USES, dice.randrange(PADDING), **settings
        )
        found = re.search(r'uses = "(\d+)"', output)
        assert found and int(found[1]) == uses, f"{found and found[1]} uses are in slots, not {uses}"
        return instructions_each

    samples = result.add_series(
        interleave(
            {
                "with slots": lambda: count(JIT.login, SLOTS, 1),
                "without slots": lambda: count(JIT.login, NO_SLOTS, 0),
                "with slots, again": lambda: count(JIT.login, SLOTS, 1),
            },
            bench.size.far,
        ),
        "instructions",
    )
    control = ratio(samples["with slots, again"], samples["with slots"])
    result.checks.append(at_most("with slots / without", ratio(samples["with slots"], samples["without slots"]), 1.02, control))
    # Everybody's statements pass through the hooks.
    hooks = count(NO_RLS.login, SLOTS, 0) / count(NO_RLS.login, NO_LIBRARY, 0)
    result.add_figure("no RLS, with the library / without it", hooks, "times")
