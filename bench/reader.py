"""pgbench as the reader of rows by primary key."""

from bench.candidates import JIT, NO_RLS
from bench.world import DB

SCRIPT = "\\set id random(1, :held) * 100\nSELECT amount FROM orders_indexed WHERE id = :id;\n"
EXAMPLE = "SELECT amount FROM orders_indexed WHERE id = 100"


class Reader:
    def __init__(self, bench):
        world = bench.world
        self.server = world.server
        # Every hundredth id belongs to a tenant that is held.
        self.held = world.rows // 100
        self.script = self.server.dir / "point.sql"
        self.script.write_text(SCRIPT)
        visible = self.server.value(
            DB, f"SELECT count(*) FROM {world.orders_indexed} WHERE id %% 100 = %s", [0], user=JIT.login
        )
        assert visible == self.held, f"{visible} of {self.held} rows are visible"
        self.server.settle()
        # Once through all of it, and to learn how many make a run of the wished length.
        rate = self._run(NO_RLS.login, 3 * self.held)
        self.transactions = max(100, round(rate * bench.size.pgbench_seconds))

    def _run(self, login, transactions):
        return self.server.pgbench(DB, login, self.script, transactions, held=self.held)

    def sampler(self, login):
        return lambda: self._run(login, self.transactions)
