"""The people, grants and tables that are measured on. Everything is the same in every run: whatever is random is seeded."""

import functools
import random

from bench import candidates
from bench.server import Server

DB = "bench"
TENANTS = 10_000
HELD = 100
OTHER_PEOPLE = 100
WINDOW = "7 days"

random.seed(3)
HELD_KEYS = sorted(random.sample(range(1, TENANTS + 1), HELD))
OTHER_KEYS = sorted(set(range(1, TENANTS + 1)) - set(HELD_KEYS))
ONE_KEY = HELD_KEYS[42]

# Grants by the hundred thousand. What a request and its approval leave behind, but for the review and the events, which no check
# reads; {wishes} is a query for (grantee, key), {ends_at} an expression.
INSERT_GRANTS = """
WITH wishes (grantee, key) AS ({wishes}),
asked AS (
    INSERT INTO jit_private.requests (
        scope_id, scope, key, all_rows, grantee, grantee_id, login, login_id, actor, actor_id, person, reason, duration, state,
        created_at, lapses_at, decided_at, decided_by, epoch, rules, origin)
    SELECT s.id, s.name, w.key, false, r.rolname, r.oid, r.rolname, r.oid, r.rolname, r.oid, ARRAY[r.oid], 'bench', interval '7 days',
           'approved', now(), now() + interval '1 day', now(), 'bench_approver', s.epoch, '{{}}', (SELECT jit.origin())
      FROM wishes w JOIN pg_roles r ON r.rolname = w.grantee JOIN jit_private.scopes s ON s.name = '{scope}'
    RETURNING *)
INSERT INTO jit_private.grants (
    id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at, approved_by, epoch, origin)
SELECT a.id, a.scope_id, a.scope, a.key, a.all_rows, a.grantee, a.grantee_id, a.created_at, {ends_at},
       ARRAY['bench_approver'::regrole::oid], a.epoch, a.origin
  FROM asked a
"""

# One row in a hundred, at a random place of its hundred, belongs to a tenant that is held, and these have the ids that are
# multiples of 100, so that a look-up can pick one. Narrow rows, and no index beyond what a case asks for: the wider the row,
# the less a check would weigh.
INSERT_ORDERS = """
INSERT INTO {table} (id, tenant_id, amount)
SELECT CASE o.place WHEN o.held THEN o.hundred * 100 + 100 WHEN 99 THEN o.hundred * 100 + o.held + 1 ELSE o.n + 1 END,
       CASE o.place WHEN o.held THEN (%(held)s::int[])[o.dice %% {held} + 1] ELSE (%(others)s::int[])[o.dice %% {others} + 1] END,
       o.dice %% 1000
  FROM (SELECT n, n / 100 AS hundred, n %% 100 AS place, (hashint8extended(n / 100, 1) & 2147483647) %% 100 AS held,
               hashint8extended(n, 2) & 2147483647 AS dice
          FROM generate_series(0, {rows} - 1) n) o
"""


def create_database(server, name):
    server.execute("postgres", f"CREATE DATABASE {name}")
    server.execute(name, "CREATE EXTENSION jit_rls")


def create_scope(server, dbname, name, key_type, limits='"max_pending": 1000000, "max_grants": 1000000, '):
    keys = f'"key_type": "{key_type}", ' if key_type else ""
    server.execute(
        dbname,
        f"""SELECT jit.create_scope('{name}', '{{{keys}{limits}"approvers": {{"bench_approvers": 1}},
                                                "default_duration": "{WINDOW}", "max_duration": "{WINDOW}"}}')""",
    )


def create_approver(server):
    server.execute("postgres", "CREATE ROLE bench_approvers; CREATE ROLE bench_approver LOGIN IN ROLE bench_approvers")


def insert_grants(connection, scope, wishes, ends_at="a.created_at + a.duration"):
    connection.execute(INSERT_GRANTS.format(scope=scope, wishes=wishes, ends_at=ends_at))


def ask_and_approve(server, dbname, login, scope, keys=(None,)):
    """Grants as people get them."""
    with server.connect(dbname, login) as requester, server.connect(dbname, "bench_approver") as approver:
        for key in keys:
            request = requester.execute(
                "SELECT jit_request(%s, 'benchmark', key => %s)", [scope, None if key is None else str(key)]
            ).fetchone()[0]
            answer = approver.execute("SELECT jit_approve(%s)", [request]).fetchone()[0]
            assert answer == "approved", answer


def insert_orders(connection, table, rows):
    sql = INSERT_ORDERS.format(table=table, rows=rows, held=len(HELD_KEYS), others=len(OTHER_KEYS))
    connection.execute(sql, {"held": HELD_KEYS, "others": OTHER_KEYS})


class World:
    """One server for the cases that read. Tables are made when they are first asked for."""

    def __init__(self, directory, rows, **settings):
        self.rows = rows
        # Everything stays in shared buffers, and no table is so large that a scan goes around them (a quarter, see
        # GetAccessStrategy() in freelist.c).
        megabytes = max(256, rows * 800 // 1_000_000)
        self.server = Server(directory, shared_buffers=f"{megabytes}MB", fsync="off", **settings)
        create_approver(self.server)
        create_database(self.server, DB)
        create_scope(self.server, DB, "tenant", "int")
        create_scope(self.server, DB, "oncall", None)
        with self.server.connect(DB) as connection:
            connection.execute("CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC")
            self._create_people(connection)
        ask_and_approve(self.server, DB, candidates.JIT.login, "tenant", HELD_KEYS)
        ask_and_approve(self.server, DB, "bench_oncall", "oncall")
        with self.server.connect(DB) as connection:
            self._spread_grants(connection)

    def _create_people(self, connection):
        for candidate in candidates.CANDIDATES:
            bypass = "BYPASSRLS" if candidate.policy is None else ""
            connection.execute(f"CREATE ROLE {candidate.login} LOGIN {bypass}")
            if "current_setting" in (candidate.policy or ""):
                connection.execute(f"ALTER ROLE {candidate.login} SET app.tenant = {ONE_KEY}")
        connection.execute("CREATE ROLE bench_oncall LOGIN; CREATE ROLE bench_not_oncall LOGIN")
        for number in range(OTHER_PEOPLE):
            connection.execute(f"CREATE ROLE bench_other_{number} LOGIN")

    def _spread_grants(self, connection):
        """The same keys for the rivals as for jit_active's login, and as many for each of the other people."""
        rivals = [c.login for c in candidates.CANDIDATES if c is not candidates.JIT]
        connection.execute("CREATE TABLE app.wishes (grantee text, key int)")
        with connection.cursor().copy("COPY app.wishes FROM STDIN") as copy:
            for login in rivals:
                for key in HELD_KEYS:
                    copy.write_row((login, key))
            dice = random.Random(4)
            for number in range(OTHER_PEOPLE):
                for key in dice.sample(range(1, TENANTS + 1), HELD):
                    copy.write_row((f"bench_other_{number}", key))
        insert_grants(connection, "tenant", "SELECT w.grantee, w.key::text FROM app.wishes w")
        connection.execute("DROP TABLE app.wishes")
        connection.execute(candidates.HAND_WRITTEN_GRANTS)
        connection.execute(candidates.FUNCTIONS)
        self._create_memberships(connection)
        connection.execute("VACUUM (FREEZE, ANALYZE)")

    def _create_memberships(self, connection):
        """A role for each tenant; whoever holds its key is a member."""
        connection.execute(
            f"""DO $$ DECLARE g record; BEGIN
                    FOR n IN 1..{TENANTS} LOOP
                        EXECUTE format('CREATE ROLE tenant_%s', n);
                    END LOOP;
                    FOR g IN SELECT * FROM app.grants WHERE user_name = 'bench_membership' OR user_name LIKE 'bench_other%' LOOP
                        EXECUTE format('GRANT tenant_%s TO %I', g.tenant_id, g.user_name);
                    END LOOP;
                END $$"""
        )

    def _table(self, name, rows, *indexes):
        with self.server.connect(DB) as connection:
            connection.execute(f"CREATE TABLE {name} (id bigint NOT NULL, tenant_id int NOT NULL, amount int NOT NULL)")
            insert_orders(connection, name, rows)
            for index in indexes:
                connection.execute(index)
            connection.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; GRANT SELECT ON {name} TO PUBLIC")
            connection.execute(
                f"CREATE POLICY whole_scope ON {name} FOR SELECT TO bench_oncall, bench_not_oncall USING (jit_active('oncall'))"
            )
            candidates.create_policies(connection, name, ONE_KEY)
            connection.execute(f"VACUUM (FREEZE, ANALYZE) {name}")
            connection.execute("CHECKPOINT")
        return name

    @functools.cached_property
    def orders(self):
        """No index at all."""
        return self._table("orders", self.rows)

    @functools.cached_property
    def orders_indexed(self):
        """The same rows in the same order; a primary key, and an index on the key of the policies."""
        return self._table(
            "orders_indexed", self.rows,
            "ALTER TABLE orders_indexed ADD PRIMARY KEY (id)", "CREATE INDEX orders_indexed_tenant ON orders_indexed (tenant_id)",
        )

    @functools.cached_property
    def orders_small(self):
        """A fifth of the rows."""
        return self._table("orders_small", self.rows // 5)

    @functools.cached_property
    def orders_large(self):
        """Four times the rows."""
        return self._table("orders_large", self.rows * 4)
