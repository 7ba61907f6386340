"""Worlds: databases with scopes, people, grants and tables, made up from a seed."""

import json
import random

import psycopg
from psycopg import sql

import tables
from harness import NO_LIMITS
from model import Grant, Model, Scope

PEOPLE = ["ann", "ben", "cat", "dan", "eve"]
# dan does not inherit; team_a's members have what dept holds as well.
MEMBERSHIPS = {("ann", "team_a"), ("ben", "team_a"), ("cat", "team_b"), ("dan", "team_b"), ("team_a", "dept")}
GROUPS = ["team_a", "team_b", "dept"]
# Whom queries are run as; team_b by SET ROLE only. eve holds little, ever.
ACTORS = ["ann", "ann", "ben", "ben", "cat", "cat", "dan", "team_b", "eve"]

ROLES = f"""
    CREATE ROLE leads;
    CREATE ROLE lead LOGIN IN ROLE leads;
    CREATE ROLE root LOGIN SUPERUSER;
    {" ".join(f"CREATE ROLE {group};" for group in GROUPS)}
    {" ".join(f"CREATE ROLE {person} LOGIN {'NOINHERIT' if person == 'dan' else 'INHERIT'};" for person in PEOPLE)}
    {" ".join(f"GRANT {group} TO {member};" for member, group in sorted(MEMBERSHIPS))}
    -- A pooler's login: it is nobody until it says SET ROLE.
    CREATE ROLE app LOGIN NOINHERIT IN ROLE {", ".join(PEOPLE)};
"""

# The whole table, whatever the caller may see of it.
STATE = """
    CREATE FUNCTION state(schema text, name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE answer text;
    BEGIN
        EXECUTE format('SELECT count(*) || '':'' || coalesce(sum(hashtext(x::text)::bigint), 0) FROM %I.%I x', schema, name)
           INTO answer;
        RETURN answer;
    END $$;
"""

KEY_TYPES = ["int", "text", "bigint", "uuid", "smallint"]


class World:
    TABLES = 6

    def __init__(self, server, seed, number):
        self.server, self.seed, self.number = server, seed, number
        self.rng = random.Random(f"{seed}/{number}")
        self.db = f"world{number}"
        self.model = Model()
        self.model.no_inherit = {"dan", "app"}
        self.model.memberships = set(MEMBERSHIPS) | {("app", person) for person in PEOPLE}
        self.sessions = {}
        self.tables = []
        self.pools = {}

    # ------------------------------------------------------------------ building

    def build(self):
        # Every other world compares text as ICU does where nothing else is said.
        locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if self.number % 2 else ""
        self.server.execute(f"CREATE DATABASE {self.db} TEMPLATE template0 {locale}")
        self.root = self.connect("root")
        self.root.execute("CREATE EXTENSION jit_rls")
        self.root.execute(tables.TYPES)
        self.root.execute(STATE)
        self.root.execute("CREATE SCHEMA plain; GRANT USAGE ON SCHEMA plain TO PUBLIC")
        for actor in set(ACTORS):
            self.root.execute(f"CREATE SCHEMA as_{actor}")
        self.make_scopes()
        self.give_access(1, most=9)
        self.make_tables()
        self.say_plainly()
        # Settings of the database's take effect in new sessions.
        self.close_sessions()
        return self

    def connect(self, login):
        connection = psycopg.connect(self.server.conninfo(login, self.db), autocommit=True)
        connection.prepare_threshold = None
        return connection

    def session(self, login):
        """One session for each login, which lasts as long as the world."""
        if login not in self.sessions:
            self.sessions[login] = self.connect(login)
        return self.sessions[login]

    def close_sessions(self):
        for connection in self.sessions.values():
            connection.close()
        self.sessions.clear()

    def drop(self):
        self.close_sessions()
        for member, group in self.model.memberships ^ set(MEMBERSHIPS):
            if member != "app":
                verb = "GRANT" if (member, group) in MEMBERSHIPS else "REVOKE"
                self.root.execute(f"{verb} {group} {'TO' if verb == 'GRANT' else 'FROM'} {member}")
        self.root.close()
        self.server.execute(f"DROP DATABASE {self.db} WITH (FORCE)")

    def make_scopes(self):
        rng = self.rng
        types = [KEY_TYPES[(self.number + i) % len(KEY_TYPES)] for i in range(3)]
        for i, key_type in enumerate(types):
            self.make_scope(f"k{i}", key_type, allow_all_rows=rng.random() < 0.5)
            self.pools[f"k{i}"] = tables.key_pool(rng, key_type)
        for name in ("w0", "w1"):
            self.make_scope(name, None, False)

    def make_scope(self, name, key_type, allow_all_rows):
        # Nobody is stopped: what the check says of each row is what is compared.
        options = {"approvers": {"leads": 1}, "on_end": "none", "max_duration": "8 hours", "allow_all_rows": allow_all_rows} | NO_LIMITS
        if key_type:
            options["key_type"] = key_type
        self.root.execute("SELECT jit.create_scope(%s, %s)", [name, json.dumps(options)])
        self.model.scopes[name] = Scope(name, key_type, allow_all_rows)

    # ------------------------------------------------------------------ grants

    def request(self, scope, grantee, key=None, all_rows=False, starts_at=None):
        """Asked for by the role itself or by a member, sometimes through the pooler's login."""
        requester = self.members(grantee)[-1]
        session = self.session("app" if self.rng.random() < 0.2 else requester)
        if session is self.session("app"):
            session.execute(f"SET ROLE {requester}")
        [number] = session.execute(
            "SELECT jit_request(%s, 'refund', key => %s, grantee => %s::regrole, all_rows => %s, starts_at => %s::timestamptz)",
            [scope, key, grantee, all_rows, starts_at],
        ).fetchone()
        if session is self.session("app"):
            session.execute("RESET ROLE")
        grant = Grant(number, scope, key, grantee, requester, all_rows, live=False)
        # A scope without keys has grants for all of it only.
        grant.all_rows = all_rows or not self.model.scopes[scope].key_type
        self.model.grants.append(grant)
        return grant

    def approve(self, grant, serves=True):
        answer = self.session("lead").execute("SELECT jit_approve(%s)", [grant.id]).fetchone()[0]
        assert answer == "approved", answer
        grant.live = serves

    def grant(self, scope, grantee, key=None, all_rows=False):
        grant = self.request(scope, grantee, key, all_rows)
        self.approve(grant)
        return grant

    def end(self, grant, how):
        if how == "release":
            self.session(grant.requester).execute("SELECT jit_release(%s)", [grant.id])
        elif how == "expire":
            self.root.execute(
                "UPDATE jit_private.grants SET starts_at = now() - interval '2 hours', ends_at = now() - interval '1 hour' WHERE id = %s",
                [grant.id],
            )
        else:
            self.session("lead").execute("SELECT jit_revoke(%s, 'done')", [grant.id])
        grant.live = False

    def members(self, role):
        """The role itself if it is a person, else the people who belong to it, inheriting or not."""
        if role in PEOPLE:
            return [role]
        direct = [member for member, group in sorted(self.model.memberships) if group == role]
        return [person for member in direct if member != "app" for person in self.members(member)]

    def keyed_scopes(self):
        return [s for s in self.model.scopes.values() if s.key_type]

    def pick_key(self, scope):
        # The first of a pool are as frequent as the last: which keys a table has most of is its own choice.
        return self.rng.choice(self.pools[scope])

    def give_access(self, chance, most):
        """Grants of every kind, most of them of few keys."""
        rng = self.rng
        for scope in self.keyed_scopes():
            for grantee in ["ann", "ben", "cat", "dan", "team_a", "team_b", "dept"]:
                if rng.random() < chance:
                    for _ in range(rng.choice([0, 1, 1, 2, 3, most])):
                        self.one_grant(scope, grantee, self.pick_key(scope.name))
            if scope.allow_all_rows:
                for grantee in rng.sample(["ann", "ben", "cat", "dan", "team_b"], rng.choice([1, 1, 2])):
                    self.one_grant(scope, grantee, None)
        for grantee in rng.sample(["ann", "ben", "cat", "dan", "team_a", "team_b"], 3):
            if self.members(grantee):
                self.grant("w0", grantee)
        self.one_grant(self.model.scopes["w1"], "cat", None)
        self.one_grant(self.keyed_scopes()[0], "eve", self.pick_key("k0"))

    def one_grant(self, scope, grantee, key):
        rng = self.rng
        what = {"key": key} if key is not None else {"all_rows": bool(scope.key_type)}
        kind = rng.choices(["live", "ended", "twice", "scheduled", "pending", "denied", "again"], [60, 12, 6, 6, 5, 4, 7])[0]
        if self.is_pending(scope.name, grantee, key) or not self.members(grantee):
            return
        if kind == "scheduled":
            tomorrow = self.root.execute("SELECT now() + interval '1 day'").fetchone()[0]
            return self.approve(self.request(scope.name, grantee, starts_at=tomorrow, **what), serves=False)
        request = self.request(scope.name, grantee, **what)
        if kind == "pending":
            request.pending = True
            return
        if kind == "denied":
            self.session("lead").execute("SELECT jit_deny(%s, 'no')", [request.id])
            return
        self.approve(request)
        if kind != "live":
            if kind == "twice":
                self.grant(scope.name, grantee, **what)
            self.end(request, rng.choice(["revoke", "release", "expire"]))
            if kind == "again":
                self.grant(scope.name, grantee, **what)

    def is_pending(self, scope, grantee, key):
        return any(
            g.pending and (g.scope, g.grantee, g.key) == (scope, grantee, key) for g in self.model.grants
        )

    def change_access(self, change):
        """Between queries, while sessions and their cached plans stay.

        First nothing but grants, which have to make plans stale by themselves; later memberships and scopes as well.
        """
        rng = self.rng
        for grant in self.model.live():
            if rng.random() < 0.3:
                self.end(grant, rng.choice(["revoke", "release", "expire"]))
        for _ in range(rng.randrange(1, 4) if change > 1 else 0):
            member, group = rng.choice(PEOPLE[:3] + ["eve"]), rng.choice(["team_a", "team_b"])
            self.toggle_membership(member, group)
        scope = rng.choice(self.keyed_scopes())
        match rng.choice(["nothing", "switch all rows", "disable", "create again"]) if change > 1 else "nothing":
            case "switch all rows":
                # Grants that live keep their window.
                scope.allow_all_rows = not scope.allow_all_rows
                self.alter(scope.name, allow_all_rows=scope.allow_all_rows)
            case "disable":
                self.alter(scope.name, enabled=False)
                self.alter(scope.name, enabled=True)
                self.model.end_all(scope.name)
                self.forget_pending(scope.name)
            case "create again":
                self.root.execute("SELECT jit.drop_scope(%s)", [scope.name])
                self.model.end_all(scope.name)
                self.forget_pending(scope.name)
                self.make_scope(scope.name, scope.key_type, rng.random() < 0.7)
        self.give_access(0.4, most=4)
        self.say_plainly()

    def alter(self, scope, **changes):
        self.root.execute("SELECT jit.alter_scope(%s, %s)", [scope, json.dumps(changes)])

    def forget_pending(self, scope):
        for grant in self.model.grants:
            if grant.scope == scope:
                grant.pending = False

    def toggle_membership(self, member, group):
        if (member, group) in self.model.memberships:
            self.root.execute(f"REVOKE {group} FROM {member}")
        else:
            self.root.execute(f"GRANT {group} TO {member}")
        self.model.memberships ^= {(member, group)}

    # ------------------------------------------------------------------ tables

    def make_tables(self):
        shapes = self.deal("shapes", tables.SHAPES, tables.SHAPE_WEIGHTS)
        policies = self.deal("policies", tables.POLICIES, tables.WEIGHTS)
        for i, (shape, policy) in enumerate(zip(shapes, policies)):
            self.tables.append(self.make_table(f"t{i}", shape, policy))
        for name in ("u0", "u1"):
            self.make_unprotected(name)
        for table in self.tables:
            if table.analyzed:
                self.root.execute(f"VACUUM ANALYZE {table.name}")

    def deal(self, what, names, weights):
        """This world's share of cards that are dealt to all worlds, so that a few worlds have every kind."""
        dealer = random.Random(f"{self.seed}/{what}")
        first = self.number * self.TABLES
        dealt = []
        while len(dealt) < first + self.TABLES:
            deck = [name for name in names for _ in range(weights.get(name, 1))]
            dealer.shuffle(deck)
            dealt += deck
        return dealt[first : first + self.TABLES]

    def make_table(self, name, shape, policy):
        rng = self.rng
        scope, scope2 = rng.sample(self.keyed_scopes(), 2)
        if policy == "expression" and shape not in ("unique", "none"):
            shape = "expression"
        if policy == "through a parent" and not self.tables:
            policy = "alone"
        declared = None
        if shape.startswith("partitioned by list") and scope.key_type == "text":
            # Other values are equal in other collations.
            declared = ("text", "text")
        table = tables.Table(
            name=name,
            key=tables.key_column(rng, scope, self.pools[scope.name], declared),
            key2=tables.key_column(rng, scope2, self.pools[scope2.name], tables.COLUMNS[scope2.key_type][0]),
            shape=shape,
            policy=policy,
            policies=tables.POLICIES[policy](rng),
            rows=rng.choice([150, 500, 1000, 1800]),
            whole=rng.choice(["w0", "w0", "w1"]),
            parent=rng.choice(self.tables).name if self.tables else None,
            analyzed=self.number % 4 != 3 and rng.random() < 0.9,
            owner=rng.choice(["ann", "ben"]) if rng.random() < 0.1 else None,
            fixed=self.pick_key(scope.name),
        )
        for statement in table.ddl(rng):
            self.root.execute(statement)
        self.fill(table)
        self.root.execute(f"CREATE TABLE plain.{name} ({table.columns()})")
        self.root.execute(f"INSERT INTO plain.{name} SELECT * FROM public.{name}")
        if table.has_id_key:
            self.root.execute(f"ALTER TABLE plain.{name} ADD PRIMARY KEY (id)")
        if shape == "unique":
            self.root.execute(f"ALTER TABLE plain.{name} ADD UNIQUE (k)")
        self.root.execute(f"ALTER TABLE plain.{name} ENABLE ROW LEVEL SECURITY; GRANT ALL ON plain.{name} TO PUBLIC")
        self.root.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(self.db), sql.Identifier("app", name), sql.Literal(table.fixed)
            )
        )
        for statement in table.secure():
            self.root.execute(statement)
        self.make_views(table)
        return table

    def make_views(self, table):
        """Views and functions that show what the table shows, by the rights of the caller or of somebody else:
        grants are the caller's all the same."""
        name = table.name
        owner = self.rng.choice([None, "ann", "eve"]) if table.same_for_everybody else None
        options = ["security_barrier"] if self.rng.random() < 0.3 else []
        options += [] if owner else ["security_invoker"]
        statements = [f"CREATE VIEW v_{name} {f'WITH ({chr(44).join(options)})' if options else ''} AS SELECT * FROM {name}"]
        if owner:
            statements.append(f"ALTER VIEW v_{name} OWNER TO {owner}")
        # The planner puts the first in the function's place; plpgsql caches the plan of the second.
        statements += [
            f"CREATE FUNCTION f_{name}() RETURNS SETOF {name} LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT * FROM public.{name}'",
            f"CREATE FUNCTION d_{name}() RETURNS SETOF {name} LANGUAGE plpgsql SECURITY DEFINER"
            f" AS 'BEGIN RETURN QUERY SELECT * FROM public.{name}; END'",
            f"ALTER FUNCTION d_{name}() OWNER TO {self.rng.choice(PEOPLE)}",
            f"CREATE VIEW plain.v_{name} WITH (security_invoker) AS SELECT * FROM plain.{name}",
        ]
        for letter in "fd":
            statements.append(
                f"CREATE FUNCTION plain.{letter}_{name}() RETURNS SETOF plain.{name} LANGUAGE sql STABLE AS 'SELECT * FROM plain.{name}'"
            )
        statements.append(f"GRANT SELECT ON v_{name}, plain.v_{name} TO PUBLIC")
        self.root.execute("; ".join(statements))

    def fill(self, table):
        by_table = {}
        for row in tables.rows(self.rng, table):
            target = table.name
            if table.shape == "inherited":
                target = self.rng.choice([table.name, f"{table.name}_1", f"{table.name}_2"])
            by_table.setdefault(target, []).append(row)
        for target, rows in by_table.items():
            with self.root.cursor().copy(f"COPY {target} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def make_unprotected(self, name):
        """What protected tables are joined with: each id once, each key of some tables once."""
        self.root.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, a int, b int, s text)")
        with self.root.cursor().copy(f"COPY {name} FROM STDIN") as copy:
            for i in self.rng.sample(range(1, 900), 120):
                copy.write_row((i, self.rng.randrange(10), self.rng.randrange(200), f"x{self.rng.randrange(50)}"))
        self.root.execute(f"GRANT ALL ON {name} TO PUBLIC")

    def say_plainly(self):
        """The policies of today with literals in place of the extension's functions: as views that a superuser
        reads, one schema for each actor, and as policies of copies in schema plain, for what changes rows."""
        statements = []
        for table in self.tables:
            for actor in sorted(set(ACTORS)):
                schema = f"as_{actor}"
                statements.append(
                    f"CREATE OR REPLACE VIEW {schema}.{table.name} AS"
                    f" SELECT * FROM public.{table.name} WHERE {table.visible(self.model, actor, schema)}"
                )
                shown = f"SELECT * FROM {schema}.{table.name}"
                statements.append(f"CREATE OR REPLACE VIEW {schema}.v_{table.name} AS {shown}")
                statements += [
                    f"CREATE OR REPLACE FUNCTION {schema}.{letter}_{table.name}() RETURNS SETOF {schema}.{table.name}"
                    f" LANGUAGE sql STABLE AS '{shown}'"
                    for letter in "fd"
                ]
                statements += table.secure_plainly(self.model, actor)
        with self.root.transaction():
            for statement in statements:
                self.root.execute(statement)
        counts = "SELECT " + ", ".join(
            f"(SELECT count(*) FROM {schema}.{table.name})"
            for table in self.tables
            for schema in ["public"] + [f"as_{actor}" for actor in sorted(set(ACTORS))]
        )
        row = iter(self.root.execute(counts).fetchone())
        self.visible = {}
        for table in self.tables:
            everything = next(row)
            for actor in sorted(set(ACTORS)):
                self.visible[table.name, actor] = (next(row), everything)

    def sees_a_part(self, names, actor):
        """Whether of one of these tables the actor sees some rows, but not all."""
        return any(0 < seen < everything for seen, everything in (self.visible[name, actor] for name in names))

    def table(self, name):
        return next(table for table in self.tables if table.name == name)
