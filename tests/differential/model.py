"""What the tests believe: who belongs to whom, which grants live, and so which keys a role may see.

Nothing here asks the extension; it is what the extension is compared with.
"""

import dataclasses


@dataclasses.dataclass
class Scope:
    name: str
    key_type: str | None
    allow_all_rows: bool
    enabled: bool = True


@dataclasses.dataclass
class Grant:
    id: int
    scope: str
    key: str | None
    grantee: str
    requester: str
    all_rows: bool = False
    # Pending, denied, scheduled and ended ones serve nobody.
    live: bool = True
    pending: bool = False


@dataclasses.dataclass(frozen=True)
class Held:
    """What an actor may see of a scope."""

    all_rows: bool
    keys: frozenset

    def sees(self, key):
        """Whether a row of that key is seen; a NULL key is seen by all-rows grants alone."""
        return self.all_rows or (key is not None and str(key) in self.keys)


class Model:
    def __init__(self):
        self.memberships = set()
        # Roles that do not inherit what they are members of.
        self.no_inherit = set()
        self.scopes = {}
        self.grants = []

    def inherited(self, role):
        """The role and all whose grants serve it."""
        reached, todo = set(), [role]
        while todo:
            role = todo.pop()
            if role not in reached:
                reached.add(role)
                if role not in self.no_inherit:
                    todo += [group for member, group in self.memberships if member == role]
        return reached

    def held(self, role, scope):
        serving = self.inherited(role)
        known = self.scopes.get(scope)
        grants = [g for g in self.grants if g.scope == scope and g.live and g.grantee in serving]
        if not known or not known.enabled:
            grants = []
        return Held(
            any(g.all_rows for g in grants), frozenset(g.key for g in grants if not g.all_rows and g.key is not None)
        )

    def end_all(self, scope):
        """What disabling and dropping do; enabling revives nothing."""
        for grant in self.grants:
            if grant.scope == scope:
                grant.live = False

    def live(self, scope=None):
        return [g for g in self.grants if g.live and scope in (None, g.scope)]


def literal(text):
    """An SQL literal of any value; NULL for None."""
    if text is None:
        return "NULL"
    text = str(text)
    escape = "E" if "\\" in text else ""
    return f"{escape}'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def array(values, sql_type):
    return "ARRAY[" + ", ".join(map(literal, values)) + f"]::{sql_type}[]"


def predicate(held, family, expression):
    """In plain SQL, never NULL: is the row of that key seen?"""
    if held.all_rows:
        return "true"
    if not held.keys or expression is None:
        return "false"
    keys = sorted(held.keys)
    match family:
        case "int":
            return f"coalesce(({expression})::bigint = ANY ({array(keys, 'bigint')}), false)"
        case "uuid":
            return f"coalesce(({expression}) = ANY ({array(keys, 'uuid')}), false)"
        case "text":
            # By bytes, whatever the collation of the column.
            return f"""coalesce((({expression})::text COLLATE "C") = ANY ({array(keys, 'text')}), false)"""
    raise AssertionError(family)


FAMILY = {"smallint": "int", "int": "int", "bigint": "int", "uuid": "uuid", "text": "text"}
