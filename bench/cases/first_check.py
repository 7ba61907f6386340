"""The first check of a connection loads the grants of its role: does it matter how many there are of others?

Two databases of one server: one with a thousand live grants, one with a million, of a hundred thousand roles; later a million that
have ended are added to the second, of the same roles, tidied as the worker tidies them and vacuumed as autovacuum would. Fresh
backends connect to one and the other in turn, as roles that have ten grants in both. What is compared is the first call less the
second.
A statement without jit_active comes before them, so that little but the load is in the difference: whatever else it held would be the
same in both databases, and hide what is not.
"""

import itertools

from bench import world
from bench.measure import at_most, interleave, ratio_of_medians
from bench.server import Session

TITLE = "first check of a connection, 10 own grants"
# Roles whose grants are inserted by one statement.
CHUNK = 10_000


def run(bench, result):
    size = bench.size
    server = bench.server("first_check", shared_buffers="2GB", fsync="off")
    world.create_approver(server)
    server.execute(
        "postgres",
        f"""DO $$ BEGIN
                FOR n IN 0..{size.roles - 1} LOOP
                    EXECUTE format('CREATE ROLE bench_role_%s LOGIN', n);
                END LOOP;
            END $$""",
    )
    for dbname, roles in (("few", size.few_roles), ("many", size.roles)):
        world.create_database(server, dbname)
        world.create_scope(server, dbname, "tenant", "int")
        _add_grants(server, dbname, roles, size.grants_per_role, ended=False)
    many, few = size.roles * size.grants_per_role, size.few_roles * size.grants_per_role
    _compare(bench, result, server, f"{many:,} live / {few:,}")
    _add_grants(server, "many", size.roles, size.grants_per_role, ended=True)
    _compare(bench, result, server, f"{many:,} live and {many:,} ended / {few:,}")
    server.remove()


# Grant n of role r.
KEY = f"((r * 31 + n * 997) % {world.TENANTS} + 1)"


def _add_grants(server, dbname, roles, each, ended):
    with server.connect(dbname) as connection:
        for first in range(0, roles, CHUNK):
            last = min(first + CHUNK, roles) - 1
            with connection.transaction():
                newest = connection.execute("SELECT coalesce(max(id), 0) FROM jit_private.grants").fetchone()[0]
                world.insert_grants(
                    connection, "tenant",
                    f"""SELECT 'bench_role_' || r, {KEY}::text
                          FROM generate_series({first}, {last}) r, generate_series(1, {each}) n""",
                )
                if ended:
                    connection.execute(
                        """INSERT INTO jit_private.endings (grant_id, at, kind, login, actor, reason)
                           SELECT g.id, clock_timestamp(), 'revoked', 'bench_approver', 'bench_approver', 'benchmark'
                             FROM jit_private.grants g WHERE g.id > %s""",
                        [newest],
                    )
                    connection.execute("UPDATE jit_private.grants SET tidied_at = clock_timestamp() WHERE id > %s", [newest])
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")
    server.settle()


def _compare(bench, result, server, what):
    numbers = {name: itertools.cycle(range(bench.size.few_roles)) for name in ("few", "many", "few, again")}

    def load(name):
        role = next(numbers[name])
        statement = f"SELECT jit_active('tenant', {KEY}) FROM (SELECT {role} AS r, 1 AS n) own"
        with Session(server, name.split(",")[0], f"bench_role_{role}") as session:
            session.run(f"SELECT {KEY} > 0 FROM (SELECT {role} AS r, 1 AS n) own")
            (first_answer, first), (answer, second) = session.run(statement), session.run(statement)
        assert first_answer == answer == "t"
        return first - second

    samples = result.add_series(
        interleave({name: lambda name=name: load(name) for name in numbers}, bench.size.fresh_backends), "seconds"
    )
    measured, control = (ratio_of_medians(samples[name], samples["few"]) for name in ("many", "few, again"))
    result.checks.append(at_most(what, measured, 1.5, control))
