"""Queries: random SQL over the tables of a world, with an answer that depends on nothing but the rows."""

import dataclasses
import re

from model import array, literal, predicate
from tables import RANGE

OIDS = {"smallint": 21, "int": 23, "bigint": 20, "uuid": 2950, "text": 25, "varchar": 1043, "bpchar": 1042}
ARRAY_OIDS = {"smallint": 1005, "int": 1007, "bigint": 1016, "uuid": 2951, "text": 1009, "varchar": 1015, "bpchar": 1014}


@dataclasses.dataclass
class Call:
    """Of a function of the extension's that stands in the query itself."""

    what: str
    scope: str
    family: str | None
    # The key, or for jit_keys() its type.
    argument: str | None

    def real(self):
        scope = literal(self.scope)
        match self.what:
            case "active":
                return f"jit_active({scope}, {self.argument})"
            case "whole":
                return f"jit_active({scope})"
            case "keys":
                return f"jit_keys({scope}, NULL::{self.argument})"

    def plain(self, model, role):
        held = model.held(role, self.scope)
        match self.what:
            case "active":
                return predicate(held, self.family, self.argument)
            case "whole":
                return "true" if held.all_rows else "false"
            case "keys":
                bound = RANGE.get(self.argument)
                keys = [key for key in sorted(held.keys) if not bound or -bound <= int(key) < bound]
                return array(keys, self.argument)


@dataclasses.dataclass
class Query:
    kind: str
    # With #1# and so on for the calls.
    pattern: str
    # (value as text, type), for $1, $2, …; some may be used nowhere.
    params: list
    calls: list
    # Protected tables that it reads or writes.
    tables: list
    # The order of rows counts.
    ordered: bool = False
    # The table that it changes.
    target: str | None = None
    # Rows are locked, or are named by where they stand: the views of a superuser do not answer that.
    plain_only: bool = False

    @property
    def text(self):
        return self.with_calls(Call.real)

    def with_calls(self, written):
        return re.sub(r"#(\d+)#", lambda match: written(self.calls[int(match[1]) - 1]), self.pattern)

    def inlined(self, model=None, role=None):
        """The text with literals in place of parameters; with a model, also in place of the extension's functions."""
        def value(match):
            text, sql_type = self.params[int(match[1]) - 1]
            return f"{literal(text)}::{sql_type}"

        text = self.with_calls(lambda call: call.plain(model, role)) if model else self.text
        return re.sub(r"\$(\d+)", value, text)

    def oids(self):
        return [ARRAY_OIDS[t[:-2]] if t.endswith("[]") else OIDS[t] for _, t in self.params]


class Generator:
    """Makes one query. Tables are named without a schema: search_path says which are meant."""

    def __init__(self, rng, world, version):
        self.rng, self.world, self.version = rng, world, version
        self.params = []
        self.calls = []
        self.used = []

    def query(self):
        make = self.rng.choices(list(KINDS), KINDS.values())[0]
        made = make(self)
        text, options = made if isinstance(made, tuple) else (made, {})
        return Query(make.__name__, text, self.params, self.calls, list(dict.fromkeys(self.used)), **options)

    # ------------------------------------------------------------------ parts

    def param(self, value, sql_type):
        self.params.append((None if value is None else str(value), sql_type))
        return f"${len(self.params)}"

    def int(self, low, high):
        return self.param(self.rng.randrange(low, high), "int")

    def pick(self):
        table = self.rng.choice(self.world.tables)
        self.used.append(table.name)
        return table

    def source(self, table):
        """The table, or a view or function that shows the same."""
        name, chance = table.name, self.rng.random()
        if chance < 0.1:
            return f"v_{name}"
        if chance < 0.14:
            return f"f_{name}()"
        return f"d_{name}()" if chance < 0.17 and table.same_for_everybody else name

    def active(self, a, table):
        """jit_active() of the row that is called `a`, or of a whole scope."""
        call = Call("active", table.key.scope, table.key.family, f"{a}.k") if a else Call("whole", table.whole, None, None)
        return self.call(call)

    def keys(self, a, table):
        sql_type = {"varchar": "text", "bpchar": "text"}.get(table.key.base, table.key.base)
        return self.call(Call("keys", table.key.scope, table.key.family, sql_type))

    def call(self, call):
        self.calls.append(call)
        return f"#{len(self.calls)}#"

    def key(self, column):
        """A key that the column probably has."""
        return self.rng.choice(column.values[:8] if self.rng.random() < 0.6 else column.values)

    def key_param(self, column):
        return self.param(self.key(column), column.param_type)

    def keys_param(self, column, count):
        keys = [self.key(column) for _ in range(count)]
        quoted = ['"' + k.replace("\\", "\\\\").replace('"', '\\"') + '"' for k in keys]
        return self.param("{" + ",".join(quoted) + "}", column.param_type + "[]")

    def condition(self, a, table, depth=0):
        """About the row that is called `a`."""
        rng, key = self.rng, table.key
        rows = table.rows
        simple = [
            lambda: f"{a}.k = {self.key_param(key)}",
            lambda: f"{a}.k IN ({self.key_param(key)}, {self.key_param(key)}, {self.key_param(key)})",
            lambda: f"{a}.k = ANY ({self.keys_param(key, rng.randrange(1, 6))})",
            lambda: f"{a}.k {rng.choice(['<', '<=', '>', '>='])} {self.key_param(key)}",
            lambda: f"{a}.k BETWEEN {self.key_param(key)} AND {self.key_param(key)}",
            lambda: f"{a}.k <> {self.key_param(key)}",
            lambda: f"{a}.k IS {rng.choice(['NULL', 'NOT NULL'])}",
            lambda: f"{a}.k2 = {self.key_param(table.key2)}",
            lambda: f"{a}.a = {self.int(0, 10)}",
            lambda: f"{a}.a < {self.int(1, 10)}",
            lambda: f"{a}.b BETWEEN {self.int(0, 100)} AND {self.int(100, 200)}",
            lambda: f"{a}.n > {self.int(0, rows)}",
            lambda: f"{a}.n < {self.int(0, rows)}",
            lambda: f"{a}.o = {self.param(rng.choice(['ann', 'ben', 'cat', 'root']), 'text')}",
            lambda: f"{a}.s LIKE {self.param(rng.choice(['x1%', 'x%', '%3']), 'text')}",
            lambda: f"{a}.id = {self.int(1, rows)}",
        ]
        if depth < 2:
            simple += [
                lambda: f"({self.condition(a, table, depth + 1)} OR {self.condition(a, table, depth + 1)})",
                lambda: f"({self.condition(a, table, depth + 1)} AND {self.condition(a, table, depth + 1)})",
                lambda: f"NOT ({self.condition(a, table, depth + 1)})",
            ]
        return rng.choice(simple)()

    def where(self, a, table, chance=0.7):
        """A condition, or none: many queries say nothing that an index could use but the policy."""
        return f"WHERE {self.condition(a, table)}" if self.rng.random() < chance else ""

    def also(self, a, table, chance=0.6):
        return f"AND {self.condition(a, table)}" if self.rng.random() < chance else ""

    def narrow(self, a, table):
        """For what would grow with the square of the rows."""
        low = self.rng.randrange(0, max(1, table.rows - 60))
        return f"{a}.n BETWEEN {self.param(low, 'int')} AND {self.param(low + 60, 'int')}"

    def limit(self):
        offset = f" OFFSET {self.int(0, 12)}" if self.rng.random() < 0.3 else ""
        return f"LIMIT {self.int(1, 25)}{offset}"


# ---------------------------------------------------------------------- reading


def rows_of_a_table(g):
    t = g.pick()
    return f"SELECT x.id, x.n, x.k FROM {g.source(t)} x {g.where('x', t)}"


def keys_only(g):
    t = g.pick()
    return f"SELECT x.k FROM {g.source(t)} x {g.where('x', t, 0.3)}"


def counts(g):
    t = g.pick()
    return f"SELECT count(*), sum(x.n), count(x.k), count(DISTINCT x.b) FROM {g.source(t)} x {g.where('x', t)}"


def least_and_greatest(g):
    """min() and max() become ORDER BY ... LIMIT 1 on an index."""
    t = g.pick()
    columns = ["x.n", "x.a"] + (["x.k"] if t.key.has_min else [])
    picked = g.rng.choice(columns)
    return f"SELECT min({picked}), max({picked}), min(x.n) FROM {g.source(t)} x {g.where('x', t, 0.4)}"


def groups(g):
    t = g.pick()
    by = t.key.exact("x.k") if g.rng.random() < 0.6 else "x.a"
    having = f"HAVING count(*) > {g.int(0, 5)}" if g.rng.random() < 0.4 else ""
    return f"SELECT {by}, count(*), min(x.n) FROM {g.source(t)} x {g.where('x', t, 0.5)} GROUP BY {by} {having}"


def grouping_sets(g):
    t = g.pick()
    return (
        f"SELECT x.a, x.o, count(*), max(x.n) FROM {g.source(t)} x {g.where('x', t, 0.5)}"
        " GROUP BY GROUPING SETS ((x.a), (x.o), ())"
    )


def first_rows(g):
    """The first column of an index in whose second place the key is."""
    t = g.pick()
    direction = g.rng.choice(["", "DESC"])
    return f"SELECT x.n, x.id, x.k FROM {g.source(t)} x {g.where('x', t, 0.35)} ORDER BY x.n {direction} {g.limit()}", {"ordered": True}


def first_rows_within(g):
    t = g.pick()
    return f"SELECT x.a, x.n, x.k FROM {g.source(t)} x {g.where('x', t, 0.3)} ORDER BY x.a, x.n {g.limit()}", {"ordered": True}


def first_rows_by_key(g):
    t = g.pick()
    order = g.rng.choice(["x.k", "x.k DESC", "x.k DESC NULLS LAST", "x.k NULLS FIRST"])
    return f"SELECT x.k, x.n FROM {g.source(t)} x {g.where('x', t, 0.3)} ORDER BY {order}, x.n {g.limit()}", {"ordered": True}


def all_rows_in_order(g):
    t = g.pick()
    order = g.rng.choice(["x.n", "x.k, x.n", "x.o, x.n", "x.n DESC"])
    return f"SELECT x.n, x.k, x.o FROM {g.source(t)} x {g.where('x', t, 0.5)} ORDER BY {order}", {"ordered": True}


def distinct(g):
    t = g.pick()
    what = g.rng.choice([t.key.exact("x.k"), "x.a", f"x.a, {t.key.exact('x.k')}"])
    return f"SELECT DISTINCT {what} FROM {g.source(t)} x {g.where('x', t, 0.5)}"


def distinct_on(g):
    t = g.pick()
    return (
        f"SELECT DISTINCT ON (x.a) x.a, x.n, x.k FROM {g.source(t)} x {g.where('x', t, 0.5)} ORDER BY x.a, x.n DESC",
        {"ordered": True},
    )


def join_unprotected(g):
    t, u = g.pick(), g.rng.choice(["u0", "u1"])
    column = g.rng.choice(["id", "b"])
    return f"SELECT x.id, x.k, y.s FROM {g.source(t)} x JOIN {u} y ON x.{column} = y.id {g.where('x', t)}"


def join_protected(g):
    t, t2 = g.pick(), g.pick()
    on = g.rng.choice(["x.n = y.n", "x.id = y.id", "x.n = y.id", "x.b = y.n", "x.id = y.id AND x.a = y.a"])
    return (
        f"SELECT count(*), sum(x.n), sum(y.n), count(x.k), count(y.k) FROM {g.source(t)} x JOIN {g.source(t2)} y ON {on} {g.where('x', t)}"
    )


def joined_rows(g):
    t, t2 = g.pick(), g.pick()
    return f"SELECT x.n, x.k, y.k FROM {g.source(t)} x JOIN {g.source(t2)} y USING (id) WHERE {g.condition('x', t)} {g.also('y', t2)}"


def join_on_the_key(g):
    """Both conditions on one index: the key of the other side, and the keys held."""
    t = g.pick()
    return (
        f"SELECT count(*), sum(x.n + y.n) FROM {g.source(t)} x JOIN {g.source(t)} y ON x.k = y.k AND x.a = y.a"
        f" WHERE {g.narrow('x', t)} {g.also('y', t)}"
    )


def left_join(g):
    t, t2 = g.pick(), g.pick()
    on = g.rng.choice(["x.id = y.id", "x.n = y.n", "x.b = y.id"])
    return f"SELECT x.n, y.n, y.k FROM {g.source(t)} x LEFT JOIN {g.source(t2)} y ON {on} {g.also('y', t2)} {g.where('x', t)}"


def nullable_side(g):
    t, u = g.pick(), g.rng.choice(["u0", "u1"])
    kind = g.rng.choice(["LEFT", "LEFT", "FULL"])
    extra = g.also("x", t) if kind == "LEFT" else ""
    return f"SELECT y.id, x.n, x.k FROM {u} y {kind} JOIN {g.source(t)} x ON x.id = y.id {extra}"


def semi_join(g):
    t, t2 = g.pick(), g.pick()
    inner = g.rng.choice(
        [
            f"x.id IN (SELECT y.id FROM {g.source(t2)} y {g.where('y', t2)})",
            f"EXISTS (SELECT FROM {g.source(t2)} y WHERE y.n = x.n {g.also('y', t2)})",
            f"x.b = ANY (SELECT y.n FROM {g.source(t2)} y {g.where('y', t2)})",
        ]
    )
    return f"SELECT x.n, x.k FROM {g.source(t)} x WHERE {inner} {g.also('x', t)}"


def anti_join(g):
    t, t2 = g.pick(), g.pick()
    if g.rng.random() < 0.5:
        return f"SELECT x.n, x.k FROM {g.source(t)} x WHERE NOT EXISTS (SELECT FROM {g.source(t2)} y WHERE y.n = x.n {g.also('y', t2)})"
    return f"SELECT y.id FROM u0 y WHERE y.id NOT IN (SELECT x.id FROM {g.source(t)} x {g.where('x', t)})"


def scalar_subquery(g):
    t, t2 = g.pick(), g.pick()
    return (
        f"SELECT x.n, x.k, (SELECT y.k FROM {g.source(t2)} y WHERE y.id = x.id) FROM {g.source(t)} x"
        f" WHERE x.n > (SELECT avg(z.n) FROM {g.source(t2)} z) {g.also('x', t)}"
    )


def first_of_each(g):
    t = g.pick()
    return (
        f"SELECT y.id, l.n, l.k FROM u1 y CROSS JOIN LATERAL"
        f" (SELECT x.n, x.k FROM {g.source(t)} x WHERE x.a = y.a {g.also('x', t, 0.3)} ORDER BY x.n LIMIT 2) l"
        f" WHERE y.a < {g.int(3, 10)}"
    )


def union_all_in_order(g):
    t, t2 = g.pick(), g.pick()
    return (
        f"SELECT * FROM (SELECT x.n, 1 AS side, x.a FROM {g.source(t)} x {g.where('x', t, 0.4)}"
        f" UNION ALL SELECT y.n, 2, y.a FROM {g.source(t2)} y {g.where('y', t2, 0.4)}) z ORDER BY n, side {g.limit()}",
        {"ordered": True},
    )


def set_operation(g):
    t, t2 = g.pick(), g.pick()
    operation = g.rng.choice(["UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL"])
    return (
        f"SELECT x.a, x.o FROM {g.source(t)} x {g.where('x', t)} {operation} SELECT y.a, y.o FROM {g.source(t2)} y {g.where('y', t2)}"
    )


def window(g):
    t = g.pick()
    partition = g.rng.choice(["x.a", t.key.exact("x.k"), "x.o"])
    return (
        f"SELECT x.n, x.k, row_number() OVER (PARTITION BY {partition} ORDER BY x.n), sum(x.a) OVER (PARTITION BY {partition})"
        f" FROM {g.source(t)} x {g.where('x', t)}"
    )


def common_table(g):
    t = g.pick()
    how = g.rng.choice(["MATERIALIZED", "NOT MATERIALIZED", ""])
    return (
        f"WITH c AS {how} (SELECT x.* FROM {g.source(t)} x {g.where('x', t, 0.5)})"
        f" SELECT p.n, q.a FROM c p JOIN c q ON p.id = q.id WHERE q.a < {g.int(2, 10)}"
    )


def recursive(g):
    t = g.pick()
    return (
        f"WITH RECURSIVE r AS (SELECT x.n, 0 AS d FROM {g.source(t)} x WHERE x.n < {g.int(1, 40)}"
        f" UNION SELECT x.n, r.d + 1 FROM r JOIN {g.source(t)} x ON x.n = r.n + 1 WHERE r.d < {g.int(1, 20)})"
        " SELECT count(*), sum(n), max(d) FROM r"
    )


def locked_rows(g):
    t = g.pick()
    how = g.rng.choice(["FOR UPDATE", "FOR SHARE", "FOR NO KEY UPDATE"])
    return f"SELECT x.n, x.k FROM {t.name} x {g.where('x', t)} ORDER BY x.n {how}", {"ordered": True, "plain_only": True}


def by_place(g):
    t = g.pick()
    ids = f"ARRAY(SELECT y.ctid FROM {t.name} y {g.where('y', t, 0.5)})"
    if t.is_partitioned or t.shape == "inherited":
        return rows_of_a_table(g)
    return f"SELECT x.n, x.k FROM {t.name} x WHERE x.ctid = ANY ({ids})", {"plain_only": True}


def sampled(g):
    t = g.pick()
    return f"SELECT count(*), sum(x.n) FROM {t.name} x TABLESAMPLE BERNOULLI (100) {g.where('x', t)}", {"plain_only": True}


def asked_by_the_query(g):
    """The query itself asks who may see what, in places where no policy stands."""
    t, t2 = g.pick(), g.pick()
    ask, whole = g.active("x", t), g.active(None, t)
    other = g.active("y", t2)
    return g.rng.choice(
        [
            f"SELECT x.n, x.k FROM {g.source(t)} x WHERE {ask} {g.also('x', t)}",
            f"SELECT x.n, x.k FROM {g.source(t)} x WHERE NOT {ask} {g.also('x', t)}",
            f"SELECT x.n FROM {g.source(t)} x WHERE {ask} OR {g.condition('x', t)}",
            f"SELECT x.n FROM {g.source(t)} x WHERE {whole} {g.also('x', t)}",
            f"SELECT x.n, {ask}, {whole} FROM {g.source(t)} x {g.where('x', t)}",
            f"SELECT count(*) FILTER (WHERE {ask}), count(*) FROM {g.source(t)} x",
            f"SELECT y.id, x.n FROM u0 y LEFT JOIN {g.source(t)} x ON x.id = y.id AND {ask}",
            f"SELECT y.id, x.n FROM u1 y LEFT JOIN {g.source(t)} x ON x.id = y.id AND {whole}",
            f"SELECT y.id, x.n FROM u1 y LEFT JOIN {g.source(t)} x ON x.id = y.id WHERE {ask} OR y.a < {g.int(1, 10)}",
            f"SELECT x.n, y.n FROM {g.source(t)} x LEFT JOIN {g.source(t2)} y ON x.n = y.n AND {other} WHERE {ask}",
            f"SELECT x.n FROM {g.source(t)} x WHERE EXISTS (SELECT FROM {g.source(t2)} y WHERE y.id = x.id AND {other})",
            f"SELECT x.a, count(*) FROM {g.source(t)} x GROUP BY x.a HAVING {whole} OR count(*) > {g.int(1, 20)}",
        ]
    )


def keys_asked_by_the_query(g):
    t = g.pick()
    keys = g.keys("x", t)
    return g.rng.choice(
        [
            f"SELECT x.n, x.k FROM {g.source(t)} x WHERE x.k = ANY ({keys}) {g.also('x', t)}",
            f"SELECT count(*), sum(x.n) FROM {g.source(t)} x WHERE NOT x.k = ANY ({keys})",
            f"SELECT x.n FROM {g.source(t)} x WHERE x.k = ANY ({keys}) ORDER BY x.n LIMIT 5",
        ]
    )


# ---------------------------------------------------------------------- writing


def update(g):
    t = g.pick()
    return (
        f"UPDATE {t.name} x SET a = (x.a + {g.int(1, 4)}) % 10, s = 'new' WHERE {g.condition('x', t)} RETURNING x.id, x.n, x.k, x.a",
        {"target": t.name},
    )


def update_key(g):
    """WITH CHECK says whether rows may get that key; in partitioned tables they move."""
    t = g.pick()
    if t.shape == "unique":
        return f"UPDATE {t.name} x SET k = x.k WHERE {g.condition('x', t)}", {"target": t.name}
    return (
        f"UPDATE {t.name} x SET k = {g.key_param(t.key)} WHERE {g.narrow('x', t)} {g.also('x', t)} RETURNING x.id, x.k",
        {"target": t.name},
    )


def update_without_returning(g):
    t = g.pick()
    return f"UPDATE {t.name} x SET o = {g.param('ann', 'text')}, b = x.b + 1 {g.where('x', t)}", {"target": t.name}


def update_everything(g):
    """No column is read: only what the policies of UPDATE say counts."""
    t = g.pick()
    return f"UPDATE {t.name} SET s = 'all'", {"target": t.name}


def update_from(g):
    t, t2 = g.pick(), g.pick()
    return (
        f"UPDATE {t.name} x SET b = y.n, s = y.s FROM {g.source(t2)} y WHERE x.n = y.n {g.also('y', t2)} RETURNING x.id, x.b",
        {"target": t.name},
    )


def update_the_first(g):
    t = g.pick()
    return (
        f"UPDATE {t.name} x SET a = 3 WHERE x.n IN (SELECT y.n FROM {t.name} y ORDER BY y.n LIMIT {g.int(1, 12)}) RETURNING x.n",
        {"target": t.name},
    )


def delete(g):
    t = g.pick()
    return f"DELETE FROM {t.name} x WHERE {g.condition('x', t)} RETURNING x.id, x.k", {"target": t.name}


def delete_using(g):
    t, t2 = g.pick(), g.pick()
    returning = g.rng.choice(["", "RETURNING x.id, y.k"])
    return f"DELETE FROM {t.name} x USING {g.source(t2)} y WHERE x.id = y.id {g.also('x', t)} {returning}", {"target": t.name}


def delete_everything(g):
    t = g.pick()
    return f"DELETE FROM {t.name}", {"target": t.name}


def insert_values(g):
    t = g.pick()
    owner = g.param(g.rng.choice(["ann", "ben", "cat", "dan"]), "text")
    key = "NULL" if t.shape == "unique" else g.key_param(t.key)
    returning = g.rng.choice(["", "RETURNING id, k"])
    return (
        f"INSERT INTO {t.name} (id, n, k, k2, o, a, b, s, sc) VALUES"
        f" (100001, 100001, {key}, {g.key_param(t.key2)}, {owner}, {g.int(0, 10)}, 5, 'new', {g.param(t.key.scope, 'text')}) {returning}",
        {"target": t.name},
    )


def insert_select(g):
    t = g.pick()
    key = "NULL" if t.shape == "unique" else "x.k"
    return (
        f"INSERT INTO {t.name} (id, n, k, k2, o, a, b, s, sc)"
        f" SELECT x.id + 100000, x.n + 100000, {key}, x.k2, x.o, x.a, x.b, x.s, x.sc FROM {t.name} x"
        f" WHERE {g.condition('x', t)} RETURNING id, k",
        {"target": t.name},
    )


def upsert(g):
    t = g.pick()
    if not t.has_id_key or t.shape == "unique":
        return update(g)
    action = g.rng.choice(["DO NOTHING", "DO UPDATE SET s = 'conflict', a = excluded.a"])
    key = g.key_param(t.key)
    return (
        f"INSERT INTO {t.name} (id, n, k, k2, o, a, b, s, sc)"
        f" VALUES ({g.int(1, 200)}, 100001, {key}, NULL, 'ann', 1, 1, 'new', NULL)"
        f" ON CONFLICT (id) {action} RETURNING id, k, a",
        {"target": t.name},
    )


def writing_cte(g):
    t, t2 = g.pick(), g.pick()
    return (
        f"WITH d AS (DELETE FROM {t.name} x WHERE {g.condition('x', t)} RETURNING x.*)"
        f" SELECT d.n, d.k, y.n FROM d LEFT JOIN {g.source(t2)} y ON y.id = d.id AND y.a < {g.int(3, 10)}",
        {"target": t.name},
    )


def merge(g):
    t, t2 = g.pick(), g.pick()
    key = "NULL" if t.shape == "unique" else g.key_param(t.key)
    matched = g.rng.choice(
        [
            f"WHEN MATCHED AND x.a < {g.int(1, 9)} THEN UPDATE SET s = y.s, a = (x.a + 1) % 10",
            f"WHEN MATCHED AND y.a < {g.int(1, 9)} THEN DELETE WHEN MATCHED THEN UPDATE SET b = y.b",
            "WHEN MATCHED THEN DO NOTHING",
        ]
    )
    missing = g.rng.choice(
        [
            "",
            f"WHEN NOT MATCHED AND y.a < 2 THEN INSERT (id, n, k, k2, o, a, b, s, sc)"
            f" VALUES (y.id + 100000, y.n + 100000, {key}, NULL, y.o, y.a, y.b, y.s, NULL)",
        ]
    )
    returning = "RETURNING merge_action(), x.id, x.k" if g.version >= 170000 else ""
    return (
        f"MERGE INTO {t.name} x USING {g.source(t2)} y ON x.n = y.id {g.also('y', t2, 0.4)} {matched} {missing} {returning}",
        {"target": t.name},
    )


KINDS = {
    rows_of_a_table: 6,
    keys_only: 3,
    counts: 4,
    least_and_greatest: 4,
    groups: 4,
    grouping_sets: 2,
    first_rows: 7,
    first_rows_within: 4,
    first_rows_by_key: 4,
    all_rows_in_order: 3,
    distinct: 3,
    distinct_on: 2,
    join_unprotected: 4,
    join_protected: 4,
    joined_rows: 3,
    join_on_the_key: 3,
    left_join: 4,
    nullable_side: 3,
    semi_join: 4,
    anti_join: 3,
    scalar_subquery: 2,
    first_of_each: 3,
    union_all_in_order: 3,
    set_operation: 2,
    window: 2,
    common_table: 2,
    recursive: 1,
    locked_rows: 2,
    by_place: 1,
    sampled: 1,
    asked_by_the_query: 5,
    keys_asked_by_the_query: 1,
    update: 3,
    update_key: 2,
    update_without_returning: 1,
    update_everything: 1,
    update_from: 2,
    update_the_first: 1,
    delete: 2,
    delete_using: 1,
    delete_everything: 1,
    insert_values: 2,
    insert_select: 2,
    upsert: 1,
    writing_cte: 1,
    merge: 3,
}
