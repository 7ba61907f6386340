"""All candidates in one run, on one table."""

from bench.candidates import CANDIDATES, FUNCTIONS, HAND_WRITTEN_GRANTS, JIT
from bench.measure import interleave
from bench.server import Session
from bench.world import DB, HELD_KEYS, ONE_KEY

AGAIN = "jit_active, again"


def contest(world, result, table, near, slow):
    """Times `SELECT count(*)` for every candidate. Returns two series, of the quick ones and of those that take microseconds a row;
    jit_active is in both, twice."""
    statement = f"SELECT count(*) FROM {table}"
    world.server.settle()
    sessions = {candidate: Session(world.server, DB, candidate.login) for candidate in CANDIDATES}
    twin = Session(world.server, DB, JIT.login)
    try:
        # Who sees the same by design must count the same.
        expected = _expected(world, table)
        for candidate in CANDIDATES:
            result.add_candidate(
                world.server, DB, candidate.login, statement, [table, "grants"], name=candidate.name, expiry=candidate.expiry,
                sees=candidate.sees, needs=_needs(candidate),
            )
        samplers = {candidate.name: sessions[candidate].sampler(statement, expected[candidate.sees]) for candidate in CANDIDATES}
        samplers[AGAIN] = twin.sampler(statement, expected[JIT.sees])
        slow_names = {candidate.name for candidate in CANDIDATES if candidate.slow}
        quick_ones = {name: sampler for name, sampler in samplers.items() if name not in slow_names}
        slow_ones = {name: samplers[name] for name in [JIT.name, *slow_names, AGAIN]}
        return (
            result.add_series(interleave(quick_ones, near), "seconds"),
            result.add_series(interleave(slow_ones, slow), "seconds"),
        )
    finally:
        for session in [*sessions.values(), twin]:
            session.connection.close()


def _expected(world, table):
    total, held, one = world.server.rows(
        DB,
        f"SELECT count(*), count(*) FILTER (WHERE tenant_id = ANY (%s)), count(*) FILTER (WHERE tenant_id = %s) FROM {table}",
        [HELD_KEYS, ONE_KEY],
    )[0]
    return {"all rows": total, "the keys held": held, "one key": one}


def _needs(candidate):
    """What a policy is written upon."""
    policy = candidate.policy or ""
    return (HAND_WRITTEN_GRANTS if "app.grants" in policy or "app.may" in policy else "") + (FUNCTIONS if "app.may" in policy else "")
