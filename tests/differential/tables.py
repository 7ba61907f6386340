"""Tables as people make them: what their keys are, how they are indexed and partitioned, what their policies say."""

import dataclasses
import unicodedata
import uuid

from model import FAMILY, literal, predicate

OWNERS = ["ann", "ben", "cat", "dan", "eve", "team_b", "nobody", "root"]

# Made in each database. The nondeterministic collation takes ACME for acme; the check, which compares bytes, does not.
TYPES = """
    CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE COLLATION phonebook (provider = icu, locale = 'de-u-co-phonebk');
    CREATE DOMAIN small_domain AS smallint;
    CREATE DOMAIN int_domain AS int CHECK (VALUE IS NULL OR VALUE > -2147483648);
    CREATE DOMAIN text_domain AS text;
    CREATE DOMAIN icu_domain AS varchar COLLATE "und-x-icu";
"""

# What columns keys of a scope are compared with: base type and declaration.
COLUMNS = {
    "smallint": [("smallint", "smallint"), ("int", "int"), ("smallint", "small_domain")],
    "int": [("int", "int"), ("bigint", "bigint"), ("smallint", "smallint"), ("int", "int_domain"), ("int", "int")],
    "bigint": [("bigint", "bigint"), ("int", "int"), ("bigint", "bigint")],
    "uuid": [("uuid", "uuid")],
    "text": [
        ("text", "text"),
        ("text", 'text COLLATE "C"'),
        ("text", 'text COLLATE "und-x-icu"'),
        ("text", "text COLLATE nd"),
        ("text", "text COLLATE phonebook"),
        ("varchar", "varchar(60)"),
        ("varchar", "varchar COLLATE nd"),
        ("text", "text_domain"),
        ("varchar", "icu_domain"),
        ("bpchar", "char(24)"),
    ],
}
RANGE = {"smallint": 2**15, "int": 2**31, "bigint": 2**63}
WORDS = ["acme", "zebra", "öl", "e\u0301clair", "éclair", "o'neil", "back\\slash", "{a,b}", "NULL", "50%", "x y", "日本", "ß"]


def key_pool(rng, key_type):
    """Forty keys, as grants name them."""
    if key_type == "uuid":
        return [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(40)]
    if key_type == "text":
        variants = [v for w in WORDS for v in (w, w.upper(), w.capitalize(), w + " ", w + w)]
        pool = list(dict.fromkeys(variants))
        rng.shuffle(pool)
        return pool[:40]
    bound = RANGE[key_type]
    edges = [-bound, bound - 1, 0, 1, -1]
    # Keys of the wider types that the narrower columns cannot hold.
    more = {rng.randrange(-300, 300) for _ in range(40)} | {rng.randrange(-bound, bound) for _ in range(8)}
    return [str(n) for n in dict.fromkeys(edges + sorted(more))][:40]


@dataclasses.dataclass
class Column:
    scope: str
    key_type: str
    base: str
    declared: str
    # What is in the column, most frequent first; most of it can be asked for.
    values: list

    @property
    def family(self):
        return FAMILY[self.key_type]

    @property
    def nondeterministic(self):
        return self.declared.endswith(" nd")

    @property
    def param_type(self):
        return self.base

    @property
    def has_min(self):
        """min() and max(): not for uuid before 18, nor where equal values differ."""
        return self.base != "uuid" and not self.nondeterministic

    def exact(self, expression):
        """The expression such that equal values are the same: for GROUP BY, DISTINCT, UNION."""
        return f'({expression} COLLATE "C")' if self.nondeterministic else expression


def key_column(rng, scope, pool, declared=None):
    base, sql = declared or rng.choice(COLUMNS[scope.key_type])
    values = [v for v in pool if FAMILY[scope.key_type] != "int" or -RANGE[base] < int(v) < RANGE[base]]
    rng.shuffle(values)
    return Column(scope.name, scope.key_type, base, sql, values[: rng.randrange(12, 34)])


@dataclasses.dataclass
class Policy:
    """Texts with {key}, {me} and the like, see Table.real() and Table.plain()."""

    using: str | None
    check: str | None = None
    command: str = "ALL"
    permissive: bool = True
    to: str = "PUBLIC"


POLICIES = {
    "alone": lambda rng: [Policy("{key}")],
    "select only": lambda rng: [Policy("{key}", command="SELECT")],
    "owner or key": lambda rng: [Policy(rng.choice(["o = {me} OR {key}", "{key} OR o = {me}"]))],
    "restrictive beside": lambda rng: [Policy("{key}"), Policy("a < 7", permissive=False)],
    "restrictive key": lambda rng: [Policy("true"), Policy("{key}", permissive=False)],
    "two permissive": lambda rng: [Policy("o = {me}"), Policy("{key}")],
    "whole": lambda rng: [Policy("{whole}")],
    "whole in a subselect": lambda rng: [Policy("(SELECT {whole})")],
    "whole or key": lambda rng: [Policy(rng.choice(["{whole} OR {key}", "{key} OR (SELECT {whole})"]))],
    "whole and key": lambda rng: [Policy(rng.choice(["{whole} AND {key}", "(SELECT {whole}) AND {key}"]))],
    "whole restrictive": lambda rng: [Policy("o = {me} OR {key}"), Policy("{whole}", permissive=False)],
    "whole or owner": lambda rng: [Policy("{whole}"), Policy("o = {me}")],
    "two keys, either": lambda rng: [Policy("{key} OR {key2}")],
    "two keys, both": lambda rng: [Policy("{key} AND {key2}")],
    "by command": lambda rng: [
        Policy(rng.choice(["true", "{key}"]), command="SELECT"),
        Policy("{key}", command="UPDATE", check=rng.choice([None, "{key}", "a < 8"])),
        Policy(None, command="INSERT", check="{key}"),
        Policy("{key} AND a > 2", command="DELETE"),
    ],
    "check of the owner": lambda rng: [Policy("{key}", check="o = {me}")],
    "check of the key": lambda rng: [Policy("a < 8", check="{key}")],
    "negated": lambda rng: [Policy("NOT {key}")],
    "without the key": lambda rng: [Policy("{bare} OR o = {me}")],
    "odd forms": lambda rng: [
        Policy(
            rng.choice(
                [
                    "{key} IS TRUE",
                    "{key} = true",
                    "{key} = (a < 5)",
                    "CASE WHEN a < 5 THEN {key} ELSE false END",
                    "(SELECT {key})",
                    "a < 5 AND ({key} OR (b < 100 AND {key2}))",
                    "coalesce({key}, true)",
                ]
            )
        )
    ],
    "through a parent": lambda rng: [
        Policy(rng.choice(["EXISTS (SELECT FROM {parent} p WHERE p.id = {table}.b)", "b IN (SELECT p.id FROM {parent} p) OR {key}"]))
    ],
    "to a group": lambda rng: [Policy("{key}", to="team_a"), Policy("a = 1 OR {key2}", to="team_b"), Policy("o = {me}")],
    "scope in a column": lambda rng: [Policy("jit_active({table}.sc, {table}.k)")],
    "key not of the row": lambda rng: [Policy(rng.choice(["{fixed}", "{setting}", "{fixed} OR {key}", "{setting} AND {key2}"]))],
    "expression": lambda rng: [Policy("{expression}")],
}
# Policies that are written most are tried most.
WEIGHTS = {
    "alone": 30, "owner or key": 8, "restrictive beside": 5, "select only": 5, "expression": 2, "two keys, either": 3,
    "by command": 3, "check of the key": 2, "check of the owner": 2,
}


@dataclasses.dataclass
class Table:
    name: str
    key: Column
    key2: Column
    shape: str
    policy: str
    policies: list
    rows: int
    whole: str
    parent: str | None
    analyzed: bool
    # An ordinary role whom row-level security is forced upon.
    owner: str | None
    # The key of the policies that name one, and of the setting app.NAME.
    fixed: str

    @property
    def expression(self):
        """What the expression policy and the expression index are about."""
        return {"int": "k / 2", "text": "lower(k)", "uuid": "k"}[self.key.family]

    @property
    def same_for_everybody(self):
        """Whether the policies ask for nothing but grants: then whose rights they are read with makes no difference."""
        texts = " ".join(str(policy.using) for policy in self.policies)
        return "{me}" not in texts and "{parent}" not in texts and all(policy.to == "PUBLIC" for policy in self.policies)

    @property
    def is_partitioned(self):
        return self.shape.startswith("partitioned")

    def real(self):
        scope = literal(self.key.scope)
        return {
            "table": self.name,
            "parent": self.parent,
            "me": "current_user::text",
            "key": f"jit_active({scope}, k)",
            "key2": f"jit_active({literal(self.key2.scope)}, k2)",
            "whole": f"jit_active({literal(self.whole)})",
            "bare": f"jit_active({scope})",
            "fixed": f"jit_active({scope}, {literal(self.fixed)}::{self.key.key_type})",
            "setting": f"jit_active({scope}, current_setting('app.{self.name}')::{self.key.key_type})",
            "expression": f"jit_active({scope}, {self.expression})",
        }

    def plain(self, model, role, schema):
        held, family = model.held(role, self.key.scope), self.key.family
        key = predicate(held, family, f"{self.name}.k")
        fixed = "true" if held.sees(self.fixed) else "false"
        return {
            "table": self.name,
            "parent": self.parent and f"{schema}.{self.parent}",
            "me": literal(role),
            "key": key,
            "key2": predicate(model.held(role, self.key2.scope), self.key2.family, f"{self.name}.k2"),
            "whole": "true" if model.held(role, self.whole).all_rows else "false",
            "bare": "true" if held.all_rows else "false",
            "fixed": fixed,
            "setting": fixed,
            "expression": predicate(held, family, self.expression),
            "by column": f"(coalesce({self.name}.sc, '') = {literal(self.key.scope)} AND {key})",
        }

    def texts(self, policy, names):
        """USING and WITH CHECK with the names filled in."""
        def fill(text):
            if text == "jit_active({table}.sc, {table}.k)" and "by column" in names:
                text = "{by column}"
            return text and text.format_map(names)

        return fill(policy.using), fill(policy.check)

    def visible(self, model, role, schema):
        """What a SELECT of the role's sees, as a condition in plain SQL."""
        names, roles = self.plain(model, role, schema), model.inherited(role) | {"PUBLIC"}
        permissive, restrictive = ["false"], ["true"]
        for policy in self.policies:
            if policy.command in ("ALL", "SELECT") and policy.to in roles:
                (permissive if policy.permissive else restrictive).append(f"({self.texts(policy, names)[0]})")
        return f"({' OR '.join(permissive)}) AND {' AND '.join(restrictive)}"

    def columns(self):
        return f"""id int NOT NULL, n int NOT NULL, k {self.key.declared}, k2 {self.key2.declared}, o text, a int, b int,
                   s text, sc text"""

    def ddl(self, rng):
        name, create = self.name, f"CREATE TABLE {self.name} ({self.columns()})"
        statements = []
        if self.is_partitioned:
            statements += partitions(rng, self)
        else:
            statements.append(create)
        if self.shape == "inherited":
            statements += [f"CREATE TABLE {name}_{i} () INHERITS ({name})" for i in (1, 2)]
        for table in [name] + ([f"{name}_1", f"{name}_2"] if self.shape == "inherited" else []):
            indexes = SHAPES[self.shape](rng, self)
            if self.shape != "none":
                # For the other side of an OR in the policy.
                text = " ".join(str(policy.using) for policy in self.policies)
                indexes += [index for part, index in (("{me}", "(o)"), ("{key2}", "(k2)")) if part in text]
            statements += [f"CREATE INDEX ON {table} {index}" for index in indexes]
        if self.has_id_key:
            statements.append(f"ALTER TABLE {name} ADD PRIMARY KEY (id)")
        if self.shape == "unique":
            statements.append(f"ALTER TABLE {name} ADD UNIQUE (k)")
        return statements

    @property
    def has_id_key(self):
        """Whether ON CONFLICT (id) is possible."""
        return not self.is_partitioned and self.shape not in ("inherited", "none")

    def secure(self):
        """Row-level security, as the extension's users write it."""
        name, names = self.name, self.real()
        statements = [f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY", f"GRANT ALL ON {name} TO PUBLIC"]
        if self.owner:
            statements += [f"ALTER TABLE {name} OWNER TO {self.owner}", f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY"]
        statements += [
            create_policy(f"p{i}", name, policy, policy.to, *self.texts(policy, names)) for i, policy in enumerate(self.policies)
        ]
        return statements

    def secure_plainly(self, model, role):
        """The same for one role on the copy in schema plain, with literals in place of the extension's functions."""
        names, roles = self.plain(model, role, "plain"), model.inherited(role) | {"PUBLIC"}
        # A policy TO the role would bind those who inherit it as well.
        for i, policy in enumerate(self.policies):
            yield f"DROP POLICY IF EXISTS p{i}_{role} ON plain.{self.name}"
            if policy.to in roles:
                about = f"current_user = '{role}' AND" if policy.permissive else f"current_user <> '{role}' OR"
                texts = [text and f"{about} ({text})" for text in self.texts(policy, names)]
                yield create_policy(f"p{i}_{role}", f"plain.{self.name}", policy, "PUBLIC", *texts)


def create_policy(name, table, policy, to, using, check):
    kind = "PERMISSIVE" if policy.permissive else "RESTRICTIVE"
    return (
        f"CREATE POLICY {name} ON {table} AS {kind} FOR {policy.command} TO {to}"
        + (f" USING ({using})" if using else "")
        + (f" WITH CHECK ({check})" if check else "")
    )


def expression_index(rng, table):
    return [f"(({table.expression}))", f"(a, ({table.expression}))"]


def other_collation(rng, table):
    """An index that sorts otherwise than the column."""
    if table.key.family != "text" or table.key.base == "bpchar":
        return ["(k)"]
    ways = ['(k COLLATE "C")', '(k COLLATE "und-x-icu")', "(k COLLATE nd)"]
    if not table.key.nondeterministic:
        ways.append("(k text_pattern_ops)" if table.key.base == "text" else "(k varchar_pattern_ops)")
    return rng.sample(ways, 2)


SHAPES = {
    "key": lambda rng, table: ["(k)"],
    "key second": lambda rng, table: ["(n, k)", "(a, k)"],
    "key first": lambda rng, table: ["(k, n)", "(k, a, id)"],
    "covering": lambda rng, table: ["(k) INCLUDE (id, n, a, o)", "(n, k) INCLUDE (id, a)"],
    "descending": lambda rng, table: ["(k DESC NULLS LAST)", "(n DESC, k)"],
    "owner too": lambda rng, table: ["(k)", "(o)", "(k2)"],
    "hash": lambda rng, table: ["USING hash (k)", "USING hash (o)"],
    "brin": lambda rng, table: ["USING brin (k)"],
    "partial": lambda rng, table: ["(k) WHERE a < 5", "(n, k) WHERE a >= 5", "(k2) WHERE k IS NOT NULL"],
    "expression": expression_index,
    "other collation": other_collation,
    "unique": lambda rng, table: [],
    "none": lambda rng, table: [],
    "inherited": lambda rng, table: ["(k)", "(n, k)"],
    "partitioned by hash of the key": lambda rng, table: ["(k)"],
    "partitioned by range of the key": lambda rng, table: ["(k, n)"],
    "partitioned by list of the key": lambda rng, table: ["(k)", "(n)"],
    "partitioned by another": lambda rng, table: ["(n, k)", "(k)"],
    "partitioned twice": lambda rng, table: ["(k)", "(n, k)"],
}
SHAPE_WEIGHTS = {"key": 8, "key first": 6, "key second": 4, "covering": 4, "owner too": 5}


def partitions(rng, table):
    name, create = table.name, f"CREATE TABLE {table.name} ({table.columns()}) PARTITION BY"
    default = f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT"
    if table.shape == "partitioned by hash of the key":
        return [f"{create} HASH (k)"] + [
            f"CREATE TABLE {name}_{i} PARTITION OF {name} FOR VALUES WITH (MODULUS 3, REMAINDER {i})" for i in range(3)
        ]
    if table.shape == "partitioned by range of the key":
        # In this order whatever the collation.
        cuts = {"uuid": ["40000000-0000-0000-0000-000000000000", "a0000000-0000-0000-0000-000000000000"], "text": ["d", "p"]}
        low, high = map(literal, cuts.get(table.key.family, ["-20", "90"]))
        return [
            f"{create} RANGE (k)",
            f"CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO ({low})",
            f"CREATE TABLE {name}_2 PARTITION OF {name} FOR VALUES FROM ({low}) TO ({high})",
            default,
        ]
    if table.shape == "partitioned by list of the key":
        # Of values that are equal in some collation, only one.
        values = unique(table.key)
        first, second = values[:4], values[4:8]
        return [
            f"{create} LIST (k)",
            f"CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES IN ({', '.join(map(literal, first))}, NULL)",
            f"CREATE TABLE {name}_2 PARTITION OF {name} FOR VALUES IN ({', '.join(map(literal, second))})",
            default,
        ]
    middle = table.rows // 2
    cut = [
        f"{create} RANGE (n)",
        f"CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO ({middle})",
    ]
    if table.shape == "partitioned twice":
        return cut + [
            f"CREATE TABLE {name}_2 PARTITION OF {name} FOR VALUES FROM ({middle}) TO (MAXVALUE) PARTITION BY HASH (k)",
            f"CREATE TABLE {name}_2_0 PARTITION OF {name}_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            f"CREATE TABLE {name}_2_1 PARTITION OF {name}_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        ]
    return cut + [f"CREATE TABLE {name}_2 PARTITION OF {name} FOR VALUES FROM ({middle}) TO (MAXVALUE)"]


def rows(rng, table):
    """What is in a table: few keys have most rows, some rows have none."""
    ids, ns = list(range(1, table.rows + 1)), list(range(1, table.rows + 1))
    rng.shuffle(ids)
    rng.shuffle(ns)

    def skewed(values):
        return rng.choices(values, weights=[1 / (i + 1) for i in range(len(values))], k=table.rows)

    keys = skewed(table.key.values)
    if table.shape == "unique":
        keys = unique(table.key)[: table.rows]
        keys += [None] * (table.rows - len(keys))
        rng.shuffle(keys)
    keys2 = skewed(table.key2.values)
    for i in range(table.rows):
        yield (
            ids[i],
            ns[i],
            None if rng.random() < 0.06 else keys[i],
            None if rng.random() < 0.1 else keys2[i],
            rng.choice(OWNERS) if rng.random() < 0.95 else None,
            min(rng.randrange(10), rng.randrange(10)),
            rng.randrange(200),
            f"x{rng.randrange(50)}",
            rng.choice([table.key.scope, table.key.scope, "no_such_scope", None]),
        )


def unique(column):
    """As many keys as differ in the column's collation."""
    if column.family != "text":
        return list(column.values)
    return list({unicodedata.normalize("NFC", v.strip()).casefold(): v for v in column.values}.values())
