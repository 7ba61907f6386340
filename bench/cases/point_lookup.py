"""Point look-ups by primary key, prepared: how many a second, and how many instructions each?

pgbench is the client, for one in Python would take longer than the server. Only rows that the grants open are looked up, so that
both sides return a row each time.
"""

from bench import instructions
from bench.candidates import JIT, NO_RLS
from bench.measure import at_least, interleave, ratio
from bench.reader import EXAMPLE, Reader
from bench.world import DB

TITLE = "SELECT … WHERE id = $1, prepared, one client"


def run(bench, result):
    world = bench.world
    logins = {"no RLS": NO_RLS.login, "jit_active": JIT.login}
    for name, login in logins.items():
        result.add_candidate(world.server, DB, login, EXAMPLE, [world.orders_indexed], name=name)
    reader = Reader(bench)
    samplers = {name: reader.sampler(login) for name, login in logins.items()}
    samplers["jit_active, again"] = reader.sampler(JIT.login)
    samples = result.add_series(interleave(samplers, bench.size.near), "a second")
    control = ratio(samples["jit_active, again"], samples["jit_active"])
    result.checks.append(
        at_least("rate with jit_active / without RLS", ratio(samples["jit_active"], samples["no RLS"]), 0.95, control)
    )
    instructions.report(
        bench, result, logins, "(bigint) AS SELECT amount FROM orders_indexed WHERE id = $1",
        lambda n: f"({100 * (n % 10 + 1)})", 500, "a look-up",
    )
