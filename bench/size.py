"""How much of everything."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """`near`, `far` and `slow` are numbers of pairs: for ratios near 1, for those further off, and for what takes half a minute a
    go."""

    rows: int
    quick: bool
    near: int = 30
    far: int = 20
    slow: int = 5
    pgbench_seconds: float = 1.5
    fresh_backends: int = 200
    roles: int = 100_000
    grants_per_role: int = 10
    few_roles: int = 100
    memory_keys: int = 100_000
    memory_backends: int = 8
    requests: int = 1_000
    endings: int = 2_000
    innocents: int = 400_000
    after_revoke: int = 100_000
    due: int = 100_000
    due_rounds: int = 8
    due_quiet_seconds: float = 5
    idle_databases: int = 20
    idle_seconds: int = 180

    @classmethod
    def of(cls, rows, quick):
        # One row in a hundred belongs to a key that is held.
        rows = max(10_000, round(rows, -3))
        if not quick:
            return cls(rows, quick)
        return cls(
            rows, quick, near=4, far=3, slow=1, pgbench_seconds=0.2, fresh_backends=20, roles=1_000, few_roles=20,
            memory_keys=5_000, memory_backends=2, requests=200, endings=16, innocents=4_000, after_revoke=2_000,
            due=20_000, due_rounds=2, due_quiet_seconds=1, idle_databases=4, idle_seconds=20,
        )
