"""Operations: what happens in a history, and how each is written in SQL."""

import dataclasses
import json

from roles import LOGINS, NOINHERIT, ROOT

# One unit of the model's time. A history takes less than that, so that two moments of the model never come together.
MINUTES = 10
DURATIONS = {
    "default_duration", "max_duration", "max_total", "max_ahead", "pending_ttl", "denial_pause", "break_glass_max", "review_within",
}


@dataclasses.dataclass
class Op:
    kind: str
    arguments: dict
    # Login and actor, by handle.
    who: tuple = (ROOT, ROOT)
    # By which later operations name the request that this one makes.
    label: int = 0

    def without(self, name):
        """Arguments but the request's label, which the model and the database know by its id."""
        return {key: value for key, value in self.arguments.items() if key != name}


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def interval(units):
    return f"{units * MINUTES} minutes"


def options(names, given):
    """As an admin writes them."""
    written = dict(given)
    for option in written.keys() & DURATIONS:
        if written[option] is not None:
            written[option] = interval(written[option])
    if "approvers" in written:
        stages = [{names[handle]: people for handle, people in stage.items()} for stage in written["approvers"]]
        written["approvers"] = stages[0] if len(stages) == 1 else stages
    for option in ("requesters", "break_glass"):
        if written.get(option) is not None:
            written[option] = [names[handle] for handle in written[option]]
    return json.dumps(written)


def call(op, names, request):
    """The statement itself; `request`: the id."""
    a = op.arguments
    named = []

    def maybe(argument, value, cast=""):
        if value is not None:
            named.append(f"{argument} => {literal(value)}{cast}")

    match op.kind:
        case "ask":
            maybe("key", a["key"])
            maybe("duration", a["duration"] if a["duration"] is None else interval(a["duration"]))
            maybe("grantee", a["grantee"] and names[a["grantee"]])
            if a["starts"] is not None:
                named.append(f"starts_at => clock_timestamp() + interval '{interval(a['starts'])}'")
            maybe("all_rows", a["all_rows"] or None)
            return f"SELECT jit_request({', '.join([literal(a['scope']), literal(a['reason']), *named])})"
        case "break":
            maybe("key", a["key"])
            maybe("duration", a["duration"] if a["duration"] is None else interval(a["duration"]))
            return f"SELECT jit_break_glass({', '.join([literal(a['scope']), literal(a['reason']), *named])})"
        case "extend":
            return f"SELECT jit_extend({request}, {literal(interval(a['duration']))}, {literal(a['reason'])})"
        case "approve":
            maybe("duration", a["duration"] if a["duration"] is None else interval(a["duration"]))
            return f"SELECT jit_approve({', '.join([str(request), *named])})"
        case "deny" | "revoke":
            return f"SELECT jit_{op.kind}({request}, {literal(a['reason'])})"
        case "cancel" | "release":
            return f"SELECT jit_{op.kind}({request})"
        case "review":
            return f"SELECT jit_review({request}, {literal(a['justified'])}, {literal(a['reason'])})"
        case "revoke_all":
            maybe("scope", a["scope"])
            maybe("grantee", a["grantee"] and names[a["grantee"]])
            maybe("reason", a["reason"])
            return f"SELECT jit.revoke_all({', '.join(named)})"
        case "create_scope":
            return f"SELECT jit.create_scope({literal(a['scope'])}, {literal(options(names, a['options']))})"
        case "alter_scope":
            return f"SELECT jit.alter_scope({literal(a['scope'])}, {literal(options(names, a['changes']))})"
        case "drop_scope":
            return f"SELECT jit.drop_scope({literal(a['scope'])})"
    raise AssertionError(op.kind)


def role_statement(op, names):
    a = op.arguments
    match op.kind:
        case "join":
            return f"GRANT {names[a['group']]} TO {names[a['member']]}"
        case "leave":
            return f"REVOKE {names[a['group']]} FROM {names[a['member']]}"
        case "rename":
            return f"ALTER ROLE {names[a['role']]} RENAME TO {a['name']}"
        case "drop_role":
            return f"DROP ROLE {names[a['role']]}"
        case "create_role":
            return create_role(a["role"], names[a["role"]])
    raise AssertionError(op.kind)


def create_role(handle, name):
    login = "LOGIN" if handle in LOGINS else "NOLOGIN"
    return f"CREATE ROLE {name} {login} {'NOINHERIT' if handle in NOINHERIT else 'INHERIT'}"


def as_somebody(names, who, statement):
    """In the session of a superuser, who may be anybody. All of it is one transaction."""
    login, actor = (names[handle] for handle in who)
    become = f"SET LOCAL SESSION AUTHORIZATION {login}; "
    return become + (f"SET LOCAL ROLE {actor}; " if actor != login else "") + statement
