"""Plans that were cached before grants, roles and scopes changed: what they answer is right at once.

Each step of each story is looked at through every way in which a plan can be cached, all in sessions that stay open.
"""

import json
import time

import psycopg
import pytest

from harness import wait_until
from model import Grant, Model, Scope

KEYS, ROWS = range(1, 21), 600
ROLES = """
    CREATE ROLE switcher LOGIN NOINHERIT IN ROLE alice, bob, carol, oncall;
    CREATE ROLE night;
    GRANT night TO oncall;
"""
TABLES = f"""
    CREATE TABLE t (id int PRIMARY KEY, k int, o text);
    INSERT INTO t SELECT i, nullif(i % {len(KEYS) + 1}, 0), CASE WHEN i % 50 = 0 THEN 'alice' END FROM generate_series(1, {ROWS}) i;
    CREATE INDEX ON t (k);
    CREATE TABLE w AS SELECT id, k FROM t;
    CREATE INDEX ON w (k);
    ALTER TABLE t ENABLE ROW LEVEL SECURITY;
    ALTER TABLE w ENABLE ROW LEVEL SECURITY;
    CREATE POLICY keys ON t USING (jit_active('s', k));
    CREATE POLICY whole ON w USING (jit_active('s'));
    GRANT SELECT ON t, w TO PUBLIC;
    ANALYZE t, w;
    -- plpgsql caches the plan of its query.
    CREATE FUNCTION invoker() RETURNS SETOF int LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT id FROM t; END';
    CREATE FUNCTION definer() RETURNS SETOF int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN QUERY SELECT id FROM t; END';
    CREATE FUNCTION definer_in_sql() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER AS 'SELECT id FROM t';
    ALTER FUNCTION definer() OWNER TO alice;
    ALTER FUNCTION definer_in_sql() OWNER TO carol;
"""
# Statement and table, under names that pg_prepared_statements shows.
PREPARED = {
    "ids": ("SELECT id FROM t", "t"),
    "first": ("SELECT id FROM t WHERE id > $1", "t"),
    "joined": ("SELECT x.id FROM t x JOIN t y USING (id)", "t"),
    "whole": ("SELECT id FROM w", "w"),
}
CALLED = {"SELECT invoker()": "t", "SELECT * FROM definer()": "t", "SELECT * FROM definer_in_sql()": "t"}
ACCESS = {
    "index": ["enable_seqscan = off", "enable_bitmapscan = off"],
    "bitmap": ["enable_seqscan = off", "enable_indexscan = off", "enable_indexonlyscan = off"],
    "as it likes": [],
}


SERVER = {"fsync": "off", "jit": "off", "max_prepared_transactions": 5}


@pytest.fixture(scope="module")
def preloaded(new_module_cluster):
    cluster = new_module_cluster().start(settings=SERVER).create_roles()
    cluster.execute(ROLES)
    return cluster


@pytest.fixture(scope="module")
def not_preloaded(new_module_cluster):
    """There the library comes into a session with the first plan that needs it, and there is no worker."""
    cluster = new_module_cluster().start(preload=False, settings=SERVER).create_roles()
    cluster.execute(ROLES)
    return cluster


class Seat:
    """A session with its cached plans, and the role that it acts as."""

    def __init__(self, story, login, plan_cache):
        self.story, self.actor, self.login = story, login, login
        self.session = story.cluster.connect(login, story.db)
        self.session.execute(f"SET plan_cache_mode = {plan_cache}")
        for setting in ACCESS[story.access]:
            self.session.execute(f"SET {setting}")
        for name, (text, _) in PREPARED.items():
            self.session.execute(f"PREPARE {name}{' (int)' if '$1' in text else ''} AS {text}")

    def act_as(self, role):
        self.session.execute(f"SET ROLE {role}")
        self.actor = role

    def ids(self, statement, **how):
        return sorted(id for (id,) in self.session.execute(statement, **how).fetchall())

    def plan(self, name="ids"):
        return "\n".join(line for (line,) in self.session.execute(f"EXPLAIN (COSTS OFF) EXECUTE {name}"))

    def check(self, step):
        story = self.story
        held = story.model.held(self.actor, "s")
        expected = {
            "t": [id for id, k in story.rows if held.sees(k)],
            "w": [id for id, _ in story.rows] if held.all_rows else [],
        }
        for name, (text, table) in PREPARED.items():
            found = self.ids(f"EXECUTE {name}{' (0)' if '$1' in text else ''}")
            assert found == expected[table], f"{step}, as {self.actor}: {text}"
        for statement, table in CALLED.items():
            assert self.ids(statement) == expected[table], f"{step}, as {self.actor}: {statement}"
        # A statement of the wire protocol's.
        assert self.ids("SELECT id FROM t ORDER BY id DESC", prepare=True) == expected["t"], f"{step}, as {self.actor}: by the protocol"


class Story:
    def __init__(self, cluster, access, relaxed):
        self.cluster, self.access, self.relaxed = cluster, access, relaxed
        self.db = cluster.new_database()
        self.model = Model()
        self.model.no_inherit = {"switcher"}
        self.model.memberships = {("alice", "support"), ("carol", "support"), ("oncall", "night")}
        self.root = cluster.connect("postgres", self.db)
        # Where it is not preloaded, deciding functions want it loaded before.
        self.has_worker = self.root.execute("SELECT jit.preloaded()").fetchone()[0]
        self.sessions, self.seats = {}, []
        self.root.execute(TABLES)
        self.rows = self.root.execute("SELECT id, k FROM t ORDER BY id").fetchall()

    def scope(self, key_type="int", **options):
        # Nobody is stopped, so that what the next statement does can be seen.
        options = {"key_type": key_type, "allow_all_rows": True, "approvers": {"support_lead": 1}, "on_end": "none"} | options
        self.root.execute("SELECT jit.create_scope('s', %s)", [json.dumps(options)])
        self.model.scopes["s"] = Scope("s", key_type, options["allow_all_rows"])

    def alter(self, **changes):
        self.root.execute("SELECT jit.alter_scope('s', %s)", [json.dumps(changes)])
        if changes.get("enabled") is False:
            self.model.end_all("s")

    def drop_scope(self):
        self.root.execute("SELECT jit.drop_scope('s')")
        self.model.end_all("s")

    def seat(self, login):
        """Two of them: one whose plans are generic, one that finds out by itself."""
        seats = [Seat(self, login, "force_generic_plan"), Seat(self, login, "auto")]
        self.seats += seats
        for _ in range(6):
            # "auto" has seen enough custom plans after five.
            seats[1].check("at first")
        return seats

    def check(self, step):
        # Twice: what the first execution finds out must not only help the second.
        for seat in self.seats:
            seat.check(step)
            seat.check(step)

    def uses_the_condition(self):
        """After a grant for all rows has ended, once the worker has tidied it away."""
        if self.access != "as it likes" and self.has_worker and not self.relaxed:
            for seat in self.seats:
                wait_until(lambda: "jit_keys" in seat.plan(), f"an index condition in {seat.plan()}")

    def session(self, login):
        if login not in self.sessions:
            self.sessions[login] = self.cluster.connect(login, self.db)
            self.sessions[login].execute("SELECT jit.preloaded()")
        return self.sessions[login]

    def grant(self, who, key=None, all_rows=False, group=None, duration="1 hour", starts_at=None):
        grantee = group or who
        [number] = self.session(who).execute(
            "SELECT jit_request('s', 'refund', key => %s, all_rows => %s, grantee => %s::regrole, duration => %s, starts_at => %s)",
            [key and str(key), all_rows, grantee, duration, starts_at],
        ).fetchone()
        assert self.session("dave").execute("SELECT jit_approve(%s)", [number]).fetchone() == ("approved",)
        grant = Grant(number, "s", key and str(key), grantee, who, all_rows, live=starts_at is None)
        self.model.grants.append(grant)
        return grant

    def revoke(self, grant):
        self.session("dave").execute("SELECT jit_revoke(%s, 'done')", [grant.id])
        grant.live = False

    def join(self, member, group):
        self.root.execute(f"GRANT {group} TO {member}")
        self.model.memberships.add((member, group))

    def leave(self, member, group):
        self.root.execute(f"REVOKE {group} FROM {member}")
        self.model.memberships.remove((member, group))

    def time(self, grant, column):
        """Seconds until a grant's start or end, by the server's clock."""
        return self.root.execute(
            f"SELECT extract(epoch FROM {column} - clock_timestamp())::float8 FROM jit.grants WHERE id = %s", [grant.id]
        ).fetchone()[0]

    def reload(self):
        """Until every session has read the settings anew."""
        before = self.root.execute("SELECT current_setting('jit_rls.shared_logins')").fetchone()
        self.root.execute("SELECT pg_reload_conf()")
        for session in [self.root, *(seat.session for seat in self.seats)]:
            wait_until(lambda: session.execute("SELECT current_setting('jit_rls.shared_logins')").fetchone() != before)

    def close(self):
        for session in [self.root, *self.sessions.values(), *(seat.session for seat in self.seats)]:
            session.close()
        # Roles are the whole server's.
        self.cluster.execute("GRANT night TO oncall")
        for member, group in self.model.memberships:
            if group in ("oncall", "night") and member != "oncall":
                self.cluster.execute(f"REVOKE {group} FROM {member}")
        self.cluster.execute(f"DROP DATABASE {self.db} WITH (FORCE)")


@pytest.fixture(params=[*ACCESS, "index, not preloaded"])
def story(request, relaxed):
    access, _, elsewhere = request.param.partition(", ")
    cluster = request.getfixturevalue("not_preloaded" if elsewhere else "preloaded")
    story = Story(cluster, access, relaxed)
    yield story
    story.close()


def test_all_rows_are_approved_and_revoked(story):
    story.scope()
    story.seat("alice")
    story.check("nothing yet")
    keyed = story.grant("alice", 3)
    story.check("one key")
    story.uses_the_condition()
    everything = story.grant("alice", all_rows=True)
    story.check("all rows")
    story.revoke(everything)
    story.check("all rows no more")
    story.uses_the_condition()
    first, second = story.grant("alice", all_rows=True), story.grant("alice", all_rows=True)
    story.revoke(first)
    story.check("all rows by one of two")
    story.revoke(keyed)
    story.revoke(second)
    story.check("nothing any more")
    story.grant("alice", 5)
    story.grant("alice", 6)
    story.check("two keys")
    story.uses_the_condition()


def test_somebody_elses_grants_change_nothing(story):
    story.scope()
    story.seat("alice")
    story.grant("alice", 3)
    story.check("one key")
    everything = story.grant("carol", all_rows=True)
    story.check("carol has all rows")
    story.uses_the_condition()
    story.revoke(everything)
    story.check("carol has nothing")


@pytest.mark.parametrize("all_rows", [True, False])
def test_expiry_needs_no_message(story, all_rows):
    story.scope()
    story.seat("alice")
    story.grant("alice", 3)
    for seconds in (2, 6, 20):
        grant = story.grant("alice", None if all_rows else 4, all_rows=all_rows, duration=f"{seconds} seconds")
        try:
            story.check("before the end")
            began_late = False
        except AssertionError:
            began_late = story.time(grant, "ends_at") < 0
            if not began_late:
                raise
        # Else the machine was too slow for a look before the end.
        if not began_late and (left := story.time(grant, "ends_at")) > 0:
            time.sleep(left + 0.005)
            grant.live = False
            story.check("after the end")
            return
        grant.live = False
    pytest.fail("no look before the end")


@pytest.mark.parametrize("all_rows", [True, False])
def test_a_scheduled_grant_starts_under_a_cached_plan(story, all_rows):
    story.scope()
    story.seat("alice")
    story.grant("alice", 3)
    for seconds in (2, 6, 20):
        [at] = story.root.execute(f"SELECT clock_timestamp() + interval '{seconds} seconds'").fetchone()
        grant = story.grant("alice", None if all_rows else 4, all_rows=all_rows, starts_at=at)
        try:
            story.check("before the start")
        except AssertionError:
            if story.time(grant, "starts_at") > 0:
                raise
        left = story.time(grant, "starts_at")
        if left > 0:
            time.sleep(left + 0.005)
        grant.live = True
        story.check("after the start")
        if left > 0:
            story.revoke(grant)
            story.check("revoked")
            return
        story.revoke(grant)
    pytest.fail("no look before the start")


def test_set_role_between_executions(story):
    """The plan of one who holds keys is not that of one who holds all rows."""
    story.scope()
    story.grant("bob", all_rows=True)
    story.grant("alice", 3)
    story.grant("carol", 7)
    story.seat("switcher")
    story.check("the pooler's login")
    for role in ["alice", "bob", "alice", "carol", "bob", "bob", "carol", "alice", "switcher", "alice"]:
        for seat in story.seats:
            seat.act_as(role)
        story.check("SET ROLE")


def test_set_role_while_grants_change(story):
    story.scope()
    everything = story.grant("bob", all_rows=True)
    story.grant("alice", 3)
    story.seat("switcher")
    for step, role in enumerate(["alice", "bob", "alice", "bob", "alice", "bob"]):
        for seat in story.seats:
            seat.act_as(role)
        story.check(f"before change {step}")
        if everything.live:
            story.revoke(everything)
        else:
            everything = story.grant("bob" if step % 4 == 3 else "alice", all_rows=True)
        story.check(f"after change {step}")


def test_set_role_by_set_local_and_rollback(story):
    """The role goes back without a statement that says so."""
    story.scope()
    story.grant("bob", all_rows=True)
    story.grant("alice", 3)
    story.seat("switcher")
    for seat in story.seats:
        seat.act_as("alice")
    story.check("alice")
    for seat in story.seats:
        for end in ("ROLLBACK", "COMMIT"):
            seat.session.execute("BEGIN")
            seat.session.execute(f"SET {'LOCAL' if end == 'COMMIT' else ''} ROLE bob")
            seat.actor = "bob"
            seat.check("bob, in a transaction")
            # Past psycopg, which would forget what is prepared.
            seat.session.pgconn.exec_(end.encode())
            seat.actor = "alice"
            seat.check(f"alice again, after {end}")


@pytest.mark.parametrize("all_rows", [True, False])
def test_a_group_is_joined_and_left(story, all_rows):
    story.scope()
    story.join("carol", "oncall")
    story.grant("carol", None if all_rows else 9, all_rows=all_rows, group="oncall")
    story.grant("alice", 3)
    story.seat("alice")
    story.check("not in the group")
    story.uses_the_condition()
    for _ in range(2):
        story.join("alice", "oncall")
        story.check("joined")
        story.leave("alice", "oncall")
        story.check("left")
    story.join("alice", "oncall")
    story.check("joined once more")


def test_a_group_belongs_to_a_group(story):
    story.scope()
    story.join("carol", "night")
    story.grant("alice", 3)
    story.seat("alice")
    story.join("alice", "oncall")
    story.check("in a group that belongs to a group")
    everything = story.grant("carol", all_rows=True, group="night")
    story.check("which is given all rows")
    story.root.execute("REVOKE night FROM oncall")
    story.model.memberships.remove(("oncall", "night"))
    story.check("and left by the group")
    story.root.execute("GRANT night TO oncall")
    story.model.memberships.add(("oncall", "night"))
    story.check("and joined by it again")
    story.revoke(everything)
    story.check("and had its grant revoked")


def test_inheritance_is_switched(story):
    """The member stays a member."""
    version = story.root.info.server_version
    story.scope()
    story.join("carol", "oncall")
    story.join("alice", "oncall")
    story.grant("carol", all_rows=True, group="oncall")
    story.grant("alice", 3)
    story.seat("alice")
    story.check("inherits")
    for inherits in (False, True, False, True):
        if version >= 160000:
            story.root.execute(f"GRANT oncall TO alice WITH INHERIT {inherits}")
        else:
            story.root.execute(f"ALTER ROLE alice {'INHERIT' if inherits else 'NOINHERIT'}")
        story.model.no_inherit = {"switcher"} | (set() if inherits else {"alice"})
        story.check(f"inherits: {inherits}")


def test_revoked_in_two_phases(story):
    story.scope()
    story.grant("alice", 3)
    story.seat("alice")
    [request] = story.session("alice").execute("SELECT jit_request('s', 'refund', all_rows => true)").fetchone()
    story.session("dave").execute("BEGIN")
    story.session("dave").execute("SELECT jit_approve(%s)", [request])
    story.check("approved, not committed")
    story.session("dave").execute("COMMIT")
    everything = Grant(request, "s", None, "alice", "alice", all_rows=True)
    story.model.grants.append(everything)
    story.check("approved")
    for number, end in enumerate(["ROLLBACK", "COMMIT"]):
        story.session("dave").execute("BEGIN")
        story.session("dave").execute("SELECT jit_revoke(%s, 'done')", [everything.id])
        story.session("dave").execute(f"PREPARE TRANSACTION 'revocation {number}'")
        story.check("revocation prepared")
        story.session("dave").execute(f"{end} PREPARED 'revocation {number}'")
        everything.live = end == "ROLLBACK"
        story.check(end)


def test_a_scope_is_dropped_and_made_again(story):
    story.scope(allow_all_rows=False)
    story.grant("alice", 3)
    story.seat("alice")
    story.check("no grants for all rows in this one")
    story.uses_the_condition()
    story.drop_scope()
    story.check("no scope")
    story.scope(allow_all_rows=True)
    story.check("a new one")
    everything = story.grant("alice", all_rows=True)
    story.check("with all rows")
    story.drop_scope()
    story.check("no scope once more")
    story.scope(key_type="bigint", allow_all_rows=False)
    story.grant("alice", 4)
    story.check("with keys of a wider type")
    assert everything.live is False


def test_all_rows_are_allowed_and_no_longer(story):
    story.scope(allow_all_rows=False)
    story.grant("alice", 3)
    story.seat("alice")
    story.check("not allowed")
    story.alter(allow_all_rows=True)
    story.check("allowed")
    everything = story.grant("alice", all_rows=True)
    story.check("given")
    story.alter(allow_all_rows=False)
    story.check("not allowed any more, but what lives keeps its window")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        story.grant("alice", all_rows=True)
    story.check("refused")
    story.revoke(everything)
    story.check("revoked")
    story.uses_the_condition()
    story.alter(allow_all_rows=True)
    story.grant("alice", all_rows=True)
    story.check("given again")


def test_a_scope_is_disabled(story):
    story.scope()
    story.grant("alice", 3)
    story.grant("alice", all_rows=True)
    story.seat("alice")
    story.check("all rows")
    story.alter(enabled=False)
    story.check("disabled")
    story.alter(enabled=True)
    story.check("enabled, which revives nothing")
    story.grant("alice", 4)
    story.check("a new grant")


def test_plans_made_before_there_was_a_scope(story):
    story.seat("alice")
    story.check("no scope")
    story.scope()
    story.grant("alice", 3)
    story.check("one key")
    story.grant("alice", all_rows=True)
    story.check("all rows")


def test_superusers_hands(story):
    """Rows written, changed and deleted by hand are changes as well."""
    story.scope()
    story.grant("alice", 3)
    everything = story.grant("alice", all_rows=True)
    story.seat("alice")
    story.check("all rows")
    for change, live, key in [
        ("UPDATE jit_private.grants SET starts_at = starts_at + interval '1 hour', ends_at = ends_at + interval '1 hour'", False, None),
        ("UPDATE jit_private.grants SET starts_at = now() - interval '1 minute'", True, None),
        ("UPDATE jit_private.grants SET key = '8', all_rows = false", True, "8"),
        ("UPDATE jit_private.grants SET key = NULL, all_rows = true", True, None),
        ("DELETE FROM jit_private.grants", False, None),
    ]:
        story.root.execute(f"{change} WHERE id = %s", [everything.id])
        everything.live, everything.key, everything.all_rows = live, key, key is None
        story.check(change)


def test_a_login_is_named_as_shared(story):
    """Such a login holds nothing, whatever it has been granted."""
    story.scope()
    story.grant("alice", 3)
    everything = story.grant("alice", all_rows=True)
    story.seat("alice")
    story.check("all rows")
    held = story.model.grants
    for step in range(2):
        story.root.execute("ALTER SYSTEM SET jit_rls.shared_logins = 'alice'")
        story.reload()
        story.model.grants = []
        for seat in story.seats if step else []:
            seat.session.execute("DISCARD PLANS")
        story.check(f"shared {step}")
        story.root.execute("ALTER SYSTEM RESET jit_rls.shared_logins")
        story.reload()
        story.model.grants = held
        story.check(f"not shared {step}")
    story.revoke(everything)
    story.check("one key")


def test_indexes_come_and_go(story):
    story.scope(allow_all_rows=False)
    story.grant("alice", 3)
    story.seat("alice")
    story.check("with an index")
    story.root.execute("DROP INDEX t_k_idx")
    story.check("without")
    story.root.execute("CREATE INDEX t_k_idx ON t (k)")
    story.check("with one again")
    story.uses_the_condition()
    story.root.execute("ALTER POLICY keys ON t USING (jit_active('s', k) OR o = current_user)")
    story.root.execute("CREATE INDEX ON t (o)")
    for seat in story.seats:
        ids = {id for id, k in story.rows if k == 3} | {id for id, _ in story.rows if id % 50 == 0}
        assert seat.ids("EXECUTE ids") == sorted(ids)


def test_in_an_open_transaction_rows_may_be_missing_once(story):
    """The locks that the plan needs are held already: nothing makes PostgreSQL look before it takes the plan that it has."""
    story.scope()
    story.grant("alice", 3)
    story.seat("alice")
    for seat in story.seats:
        few = seat.ids("EXECUTE ids")
        seat.session.execute("BEGIN")
        assert seat.ids("EXECUTE ids") == few
        everything = story.grant("alice", all_rows=True)
        every = [id for id, _ in story.rows]
        assert seat.ids("EXECUTE ids") in (few, every)
        assert seat.ids("EXECUTE ids") == every
        seat.session.execute("COMMIT")
        story.revoke(everything)
        assert seat.ids("EXECUTE ids") == few


def test_plans_of_a_standby(new_module_cluster, relaxed):
    primary = new_module_cluster().start(settings=SERVER).create_roles()
    primary.execute(ROLES)
    story = Story(primary, "index", relaxed)
    story.scope()
    story.grant("alice", 3)
    standby = new_module_cluster.standby(primary, settings=SERVER)
    # Before it has replayed a commit, it lets nobody through. One that has only an id would be flushed some time later.
    primary.execute("SELECT pg_logical_emit_message(true, 'test', 'a commit')")
    writer, story.cluster = story.cluster, standby
    story.seat("switcher")
    story.cluster = writer

    def check(step):
        primary.wait_for_replay(standby)
        story.check(step)

    for seat in story.seats:
        seat.act_as("alice")
    check("one key")
    story.uses_the_condition()
    everything = story.grant("alice", all_rows=True)
    check("all rows")
    story.revoke(everything)
    check("one key again")
    story.grant("bob", all_rows=True)
    check("bob has all rows")
    for role in ("bob", "alice", "bob", "alice"):
        for seat in story.seats:
            seat.act_as(role)
        check("SET ROLE")
    story.join("alice", "oncall")
    story.join("carol", "oncall")
    story.grant("carol", all_rows=True, group="oncall")
    check("a group's")
    story.leave("alice", "oncall")
    check("left")


def test_after_a_revocation_in_an_open_transaction_nothing_is_seen(story):
    story.scope()
    everything = story.grant("alice", all_rows=True)
    story.seat("alice")
    story.check("all rows")
    for seat in story.seats:
        seat.session.execute("BEGIN")
        # Planned, not used: the transaction may go on.
        seat.plan()
    story.revoke(everything)
    for seat in story.seats:
        assert seat.ids("EXECUTE ids") == []
        assert seat.ids("EXECUTE whole") == []
        seat.session.execute("COMMIT")
    story.grant("alice", 3)
    story.check("one key")
