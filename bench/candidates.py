"""The ways to write the policy "rows of the tenants that were granted to me, until the grant ends".

Each candidate is a login of its own with a policy of its own on the same tables (CREATE POLICY … TO that login), so that all
can be measured in turn, on the same rows in the same buffers. All hold the same 100 keys; the hand-written policies look them
up in app.grants, which has the same live grants as jit_rls has, and an index made for the look-up.

Where a policy reads the clock it is now(), as people write it: cheaper than clock_timestamp(), which jit_active amounts to, and
blind inside a long transaction. Three candidates look at no clock at all: they are floors, or leave expiry to others.
"""

import dataclasses

GRANTED = "SELECT g.tenant_id FROM app.grants g WHERE g.user_name = current_user AND g.starts_at <= now() AND now() < g.ends_at"


@dataclasses.dataclass(frozen=True)
class Candidate:
    name: str
    login: str
    policy: str | None
    expiry: str
    sees: str = "the keys held"
    # Takes microseconds for each row.
    slow: bool = False


NO_RLS = Candidate("no RLS", "bench_no_rls", None, "none: the login has BYPASSRLS", sees="all rows")
CONSTANT = Candidate("tenant_id = constant", "bench_constant", "tenant_id = {one_key}", "none: a floor", sees="one key")
IN = Candidate("IN (SELECT …)", "bench_in", f"tenant_id IN ({GRANTED})", "now(), once a statement")
ARRAY = Candidate("= ANY (ARRAY(SELECT …))", "bench_array", f"tenant_id = ANY (ARRAY({GRANTED}))", "now(), once a statement")
SQL_FUNCTION = Candidate(
    "SQL function", "bench_sql_function", "app.may_see_sql(tenant_id)", "now(), for each row", slow=True
)
JIT = Candidate("jit_active", "bench_jit", "jit_active('tenant', tenant_id)", "the clock, for each row")

CANDIDATES = [
    NO_RLS,
    CONSTANT,
    Candidate(
        "current_setting, wrapped", "bench_setting_wrapped", "tenant_id = (SELECT current_setting('app.tenant')::int)",
        "none: left to whoever sets it", sees="one key",
    ),
    Candidate(
        "current_setting, bare", "bench_setting_bare", "tenant_id = current_setting('app.tenant')::int",
        "none: left to whoever sets it", sees="one key",
    ),
    JIT,
    IN,
    Candidate(
        "EXISTS (…)", "bench_exists",
        "EXISTS (SELECT FROM app.grants g WHERE g.user_name = current_user AND g.tenant_id = {table}.tenant_id"
        " AND g.starts_at <= now() AND now() < g.ends_at)",
        "now(), once a statement or row, as planned",
    ),
    ARRAY,
    Candidate(
        "pg_has_role", "bench_membership", "pg_has_role(current_user, 'tenant_' || tenant_id, 'member')",
        "none: somebody has to revoke the membership", slow=True,
    ),
    SQL_FUNCTION,
    Candidate(
        "plpgsql function", "bench_plpgsql_function", "app.may_see_plpgsql(tenant_id)", "now(), for each row", slow=True
    ),
]

# As people write them: SECURITY DEFINER, so that nobody needs to read the table of grants; without SET search_path, which would
# cost them more.
FUNCTIONS = """
CREATE FUNCTION app.may_see_sql(wanted int) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT EXISTS (SELECT FROM app.grants g WHERE g.user_name = session_user AND g.tenant_id = wanted
                      AND g.starts_at <= now() AND now() < g.ends_at)
$$;
CREATE FUNCTION app.may_see_plpgsql(wanted int) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
BEGIN
    RETURN EXISTS (SELECT FROM app.grants g WHERE g.user_name = session_user AND g.tenant_id = wanted
                      AND g.starts_at <= now() AND now() < g.ends_at);
END
$$;
"""

# From what jit_rls has: the same population.
HAND_WRITTEN_GRANTS = """
CREATE TABLE app.grants (
    user_name name NOT NULL, tenant_id int NOT NULL, starts_at timestamptz NOT NULL, ends_at timestamptz NOT NULL
);
INSERT INTO app.grants
SELECT g.grantee, g.key::int, g.starts_at, g.ends_at FROM jit_private.grants g WHERE g.scope = 'tenant';
CREATE INDEX grants_user_tenant ON app.grants (user_name, tenant_id);
GRANT SELECT ON app.grants TO PUBLIC;
"""


def create_policies(connection, table, one_key):
    """On a table of the reading cases: one policy for each candidate."""
    for candidate in CANDIDATES:
        if candidate.policy:
            using = candidate.policy.format(table=table, one_key=one_key)
            connection.execute(f"CREATE POLICY {candidate.login} ON {table} FOR SELECT TO {candidate.login} USING ({using})")
