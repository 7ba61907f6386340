"""A policy without a key: with a grant, does the scan cost what it costs without a policy?"""

from bench import instructions
from bench.candidates import NO_RLS
from bench.measure import at_most, interleave, ratio
from bench.server import Session
from bench.world import DB

TITLE = "USING (jit_active('oncall')), granted"


def run(bench, result):
    world = bench.world
    table = world.orders
    statement = f"SELECT count(*) FROM {table}"
    logins = {"no RLS": NO_RLS.login, "granted": "bench_oncall"}
    for name, login in logins.items():
        result.add_candidate(world.server, DB, login, statement, [table], name=name)
    with Session(world.server, DB, NO_RLS.login) as plain, Session(world.server, DB, NO_RLS.login) as twin, \
            Session(world.server, DB, "bench_oncall") as granted:
        sessions = {"no RLS": plain, "granted": granted, "no RLS, again": twin}
        samplers = {name: session.sampler(statement, world.rows) for name, session in sessions.items()}
        samples = result.add_series(interleave(samplers, bench.size.near), "seconds")
    control = ratio(samples["no RLS, again"], samples["no RLS"])
    result.checks.append(at_most("granted / no RLS", ratio(samples["granted"], samples["no RLS"]), 1.05, control))
    instructions.report(bench, result, logins, " AS SELECT count(*) FROM orders", lambda n: "", 20, "a scan of 20,000 rows")
