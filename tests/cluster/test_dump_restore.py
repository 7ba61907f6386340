"""pg_dump carries the rules and the record; grants and requests that come out of a dump are void."""

import re

import psycopg
import pytest

from harness import BIN, run_as_postgres, wait_until

WrongState = psycopg.errors.ObjectNotInPrerequisiteState
EVENTS = "SELECT id, at::text, kind, request_id, scope, login, actor, details FROM jit.events WHERE id <= %s ORDER BY id"


class Source:
    """A database with a bit of everything, and a role that exists only here."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.db = cluster.new_database()
        cluster.psql(
            """DO $$BEGIN CREATE ROLE extra; CREATE ROLE hugo LOGIN IN ROLE support; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
               CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
               ALTER TABLE t ENABLE ROW LEVEL SECURITY;
               CREATE POLICY jit ON t USING (jit_active('s', k));
               GRANT SELECT ON t TO PUBLIC;""",
            dbname=self.db,
        )
        cluster.create_scope(self.db, "s", requesters=["support", "extra"], description="as it was", break_glass=["support"])
        cluster.create_scope(self.db, "many", approvers={"support_lead": 1, "extra": 1})
        cluster.create_scope(self.db, "dropped")
        cluster.execute("SELECT jit.drop_scope('dropped')", dbname=self.db)
        self.live = cluster.grant(self.db, key="1")
        self.pending = cluster.request(self.db, key="2")
        self.revoked = cluster.grant(self.db, key="3")
        cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", self.db, [self.revoked])
        self.half = cluster.request(self.db, "many", key="4")
        assert cluster.approve(self.db, self.half) == "pending: 1 of 2"
        self.broken = cluster.value("SELECT jit_break_glass('s', 'emergency', '6')", "alice", self.db)
        hugos = cluster.request(self.db, key="5", user="hugo")
        assert cluster.approve(self.db, hugos) == "approved"
        assert cluster.active(self.db) and cluster.active(self.db, key=5, user="hugo")
        self.last_event = cluster.value("SELECT max(id) FROM jit.events", dbname=self.db)
        self.last_request = cluster.value("SELECT max(id) FROM jit.requests", dbname=self.db)
        self.events = self.read_events(cluster, self.db)

    def read_events(self, cluster, db):
        with psycopg.connect(cluster.conninfo(dbname=db)) as session:
            return session.execute(EVENTS, [self.last_event]).fetchall()

    def dump(self, *args):
        path = self.cluster.dir / f"dump{abs(hash(args))}"
        run_as_postgres(BIN / "pg_dump", *args, "-f", path, "-d", self.cluster.conninfo(dbname=self.db))
        return path


def restore(cluster, db, path):
    """With psql, where the first error is the end; returns its output."""
    return cluster.psql(file=path, dbname=db)


def check_void(source, cluster, db):
    """Nobody gained anything by the restore, and everything can go on."""
    # The copies are complete, and void.
    assert cluster.value("SELECT count(*) FROM jit.grants WHERE id = ANY(%s)", dbname=db, params=[[source.live, source.revoked]]) == 2
    assert [cluster.active(db, key=key) for key in (1, 2, 3)] == [False, False, False]
    assert cluster.value("SELECT count(*) FROM t", "alice", db) == 0
    assert cluster.value("SELECT count(*) FROM jit.active_grants", dbname=db) == 0
    assert cluster.value("SELECT count(*) FROM jit.pending", "bob", db) == 0
    for request in (source.pending, source.half):
        for user in ("bob", "dave"):
            with pytest.raises(WrongState):
                cluster.approve(db, request, user)
    with pytest.raises(WrongState):
        cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", db, [source.live])
    # Who has broken the glass could not be told from who reviews it.
    with pytest.raises(WrongState) as refusal:
        cluster.execute("SELECT jit_review(%s, false, 'was nothing')", "bob", db, [source.broken])
    assert refusal.value.diag.message_primary == f"request {source.broken} was made in another database"
    for view in ("pending_reviews", "overdue_reviews"):
        assert cluster.value(f"SELECT count(*) FROM jit.{view}", "bob", db) == 0
    # The record is as it was, and numbers go on where they stopped.
    assert source.read_events(cluster, db) == source.events
    again = cluster.request(db, key="2")
    assert again > source.last_request
    assert cluster.value("SELECT min(id) FROM jit.events WHERE request_id = %s", dbname=db, params=[again]) > source.last_event
    # The rules hold: who may ask, who decides, for how long.
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        cluster.request(db, user="frank")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        cluster.approve(db, again, "erin")
    assert cluster.approve(db, again) == "approved"
    assert [cluster.active(db, key=key) for key in (1, 2)] == [False, True]
    assert cluster.value("SELECT description FROM jit.scopes WHERE name = 's'", dbname=db) == "as it was"
    # The worker works.
    short = cluster.grant(db, key="8", duration="1 second")
    expired = "SELECT count(*) FROM jit.events WHERE kind = 'expired' AND request_id = %s"
    wait_until(lambda: cluster.value(expired, dbname=db, params=[short]) == 1, "expiry on record")
    assert cluster.value("SELECT count(*) = count(DISTINCT id) FROM jit.events", dbname=db)


def bound(cluster, db):
    """{(table, scope, role): the role it is bound to}"""
    sql = """SELECT 'approvers', s.name, a.role, a.role_id::regrole::text FROM jit.approvers a JOIN jit.scopes s ON s.id = a.scope_id
             UNION ALL
             SELECT 'requesters', s.name, a.role, a.role_id::regrole::text FROM jit.requesters a JOIN jit.scopes s ON s.id = a.scope_id"""
    with psycopg.connect(cluster.conninfo(dbname=db)) as session:
        return {row[:3]: row[3] for row in session.execute(sql).fetchall()}


RULES = {
    ("approvers", "s", "support_lead"): "support_lead",
    ("approvers", "many", "support_lead"): "support_lead",
    ("approvers", "many", "extra"): "extra",
    ("approvers", "dropped", "support_lead"): "support_lead",
    ("requesters", "s", "support"): "support",
    ("requesters", "s", "extra"): "extra",
}


@pytest.fixture(scope="module")
def source(cluster):
    return Source(cluster)


@pytest.fixture(scope="module")
def elsewhere(new_module_cluster):
    """Another cluster, where the roles have other OIDs, and one is missing, and one login."""
    other = new_module_cluster().start(settings={"fsync": "off"})
    # By which the OIDs of the source's roles belong to others here.
    other.psql("CREATE ROLE in_the_way_1; CREATE ROLE in_the_way_2; CREATE ROLE in_the_way_3;")
    return other.create_roles()


def test_restore_into_another_cluster(source, elsewhere):
    db = elsewhere.new_database(extension=False)
    output = restore(elsewhere, db, source.dump())
    warnings = [line for line in output.splitlines() if "WARNING" in line]
    assert len(warnings) == 2 and all('"extra"' in line for line in warnings), output
    missing = {("approvers", "many", "extra"): "-", ("requesters", "s", "extra"): "-"}
    assert bound(elsewhere, db) == RULES | missing
    check_void(source, elsewhere, db)
    # The void row stands in nobody's stead: the slot cannot be filled, and a role that gets the name later is not meant.
    request = elsewhere.request(db, "many", key="6")
    assert elsewhere.approve(db, request) == "pending: 1 of 2"
    elsewhere.psql("CREATE ROLE extra; GRANT extra TO dave, frank;")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            elsewhere.approve(db, request, "frank")
        assert elsewhere.approve(db, request, "dave") == "pending: 1 of 2"
        assert not elsewhere.active(db, "many", key=6)
        # Until an admin says so.
        elsewhere.decide("SELECT jit.alter_scope('many', %s)", "postgres", db, ['{"approvers": {"support_lead": 1, "extra": 1}}'])
        request = elsewhere.request(db, "many", key="7")
        assert elsewhere.approve(db, request, "frank") == "pending: 1 of 2"
        assert elsewhere.approve(db, request) == "approved"
    finally:
        elsewhere.psql("DROP ROLE extra")


def test_restore_with_pg_restore(source, elsewhere):
    """Several tables at a time, in no particular order."""
    db = elsewhere.new_database(extension=False)
    run_as_postgres(BIN / "pg_restore", "--exit-on-error", "-j", "4", "-d", elsewhere.conninfo(dbname=db), source.dump("-Fc"))
    assert bound(elsewhere, db) == RULES | {("approvers", "many", "extra"): "-", ("requesters", "s", "extra"): "-"}
    check_void(source, elsewhere, db)


def test_restore_of_a_restore(source, elsewhere):
    """A row that was voided once stays so, without failing the others."""
    first, second = (elsewhere.new_database(extension=False) for _ in range(2))
    restore(elsewhere, first, source.dump())
    path = elsewhere.dir / "again"
    run_as_postgres(BIN / "pg_dump", "-f", path, "-d", elsewhere.conninfo(dbname=first))
    restore(elsewhere, second, path)
    assert bound(elsewhere, second) == RULES | {("approvers", "many", "extra"): "-", ("requesters", "s", "extra"): "-"}
    check_void(source, elsewhere, second)


# Until a worker that has just started has looked at everything once.
LET_THE_WORKER_LOOK = """
DO $$
DECLARE
    old int; new int;
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT pid INTO old FROM pg_stat_activity WHERE backend_type ILIKE 'jit_rls%worker%' AND datname = current_database();
        EXIT WHEN old IS NOT NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;
    PERFORM pg_terminate_backend(old);
    LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT pid INTO new FROM pg_stat_activity
         WHERE backend_type ILIKE 'jit_rls%worker%' AND datname = current_database() AND pid <> old AND state = 'idle';
        EXIT WHEN new IS NOT NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
"""


def test_worker_looks_in_the_middle_of_a_restore(cluster):
    """Each table is loaded in a transaction of its own, in whatever order, and the worker comes with CREATE EXTENSION.

    What it sees then is half of the record, and the sequences stand at 1: nothing of that is a reason to put anything on record.
    """
    source = Source(cluster)
    # One whose time is up, and which was given back before.
    short = cluster.grant(source.db, key="9", duration="1 second")
    cluster.execute("SELECT jit_release(%s)", "alice", source.db, [short])
    wait_until(lambda: cluster.value("SELECT ends_at < now() FROM jit.grants WHERE id = %s", dbname=source.db, params=[short]))
    # As if the dump had been made before the worker tidied it away.
    tidied = "SELECT tidied_at IS NOT NULL FROM jit.grants WHERE id = %s"
    wait_until(lambda: cluster.value(tidied, dbname=source.db, params=[short]), "tidied away")
    cluster.execute("UPDATE jit_private.grants SET tidied_at = NULL WHERE id = %s", dbname=source.db, params=[short])
    source.last_event = cluster.value("SELECT max(id) FROM jit.events", dbname=source.db)
    source.last_request = short
    source.events = source.read_events(cluster, source.db)
    text = source.dump().read_text()
    # Endings and events come last, and just before them the worker has its turn.
    late = re.findall(r"^COPY \S+\.(?:endings|events) .*?^\\\.$", text, flags=re.S | re.M)
    assert len(late) == 2
    for block in late:
        text = text.replace(block, "")
    before, setval, after = text.partition("SELECT pg_catalog.setval(")
    path = cluster.dir / "reordered"
    path.write_text("\n".join([before, LET_THE_WORKER_LOOK, *late, setval + after]))
    db = cluster.new_database(extension=False)
    restore(cluster, db, path)
    endings = "SELECT string_agg(n::text, ' ' ORDER BY n::text) FROM jit.endings n"
    assert cluster.value(endings, dbname=db) == cluster.value(endings, dbname=source.db)
    check_void(source, cluster, db)


def test_oids_that_mean_somebody_else(source, elsewhere):
    """Nobody gets what a dump says of a number that is theirs here."""
    db = elsewhere.new_database(extension=False)
    restore(elsewhere, db, source.dump())
    sql = """SELECT count(*) FROM jit.grants g LEFT JOIN pg_roles r ON r.oid = g.grantee_id
              WHERE g.grantee_id <> 0 AND g.grantee IS DISTINCT FROM r.rolname"""
    assert elsewhere.value(sql, dbname=db) == 0
    sql = "SELECT count(*) FROM jit.requests WHERE id <= %s AND person <> '{}'"
    assert elsewhere.value(sql, dbname=db, params=[source.last_request]) == 0


def test_restore_into_another_database_of_the_cluster(source, cluster):
    db = cluster.new_database(extension=False)
    assert "WARNING" not in restore(cluster, db, source.dump())
    assert bound(cluster, db) == RULES
    check_void(source, cluster, db)
    # The original is untouched.
    assert cluster.active(source.db) and cluster.active(source.db, key=5, user="hugo")


def test_restore_into_the_same_database(cluster):
    source = Source(cluster)
    path = source.dump()
    cluster.psql("DROP EXTENSION jit_rls CASCADE; DROP TABLE t;", dbname=source.db)
    assert "WARNING" not in restore(cluster, source.db, path)
    assert bound(cluster, source.db) == RULES
    check_void(source, cluster, source.db)


def test_roles_of_the_same_name_made_anew_before_the_restore(cluster):
    source = Source(cluster)
    path = source.dump()
    cluster.psql("DROP ROLE extra; CREATE ROLE extra; DROP ROLE hugo; CREATE ROLE hugo LOGIN IN ROLE support; GRANT extra TO erin;")
    try:
        # Where it was not restored: rules bind by OID, and the new role is not the one that was named.
        assert not cluster.active(source.db, key=5, user="hugo")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cluster.approve(source.db, source.half, "erin")
        # Where it was: rules bind by name.
        db = cluster.new_database(extension=False)
        restore(cluster, db, path)
        assert bound(cluster, db) == RULES
        assert not cluster.active(db, key=5, user="hugo")
        check_void(source, cluster, db)
        request = cluster.request(db, "many", key="6")
        assert cluster.approve(db, request, "erin") == "pending: 1 of 2"
        assert cluster.approve(db, request) == "approved"
    finally:
        cluster.psql("REVOKE extra FROM erin")


def test_copy_by_template(cluster):
    source = Source(cluster)
    cluster.execute(f"CREATE DATABASE copied TEMPLATE {source.db}")
    check_void(source, cluster, "copied")
    assert cluster.active(source.db)
    assert cluster.approve(source.db, source.pending) == "approved"


def test_a_copy_tells_that_it_was_made_in_another_database(cluster):
    source = Source(cluster)
    db = f"{source.db}_copy"
    cluster.execute(f"CREATE DATABASE {db} TEMPLATE {source.db}")
    pending = f"request {source.pending} was made in another database", "Ask again with jit_request()."
    live = (
        f"the grant of request {source.live} was made in another database and is void",
        "It needs no ending. To ask again, use jit_request().",
    )
    refused = [
        ("bob", f"jit_approve({source.pending})", pending),
        ("bob", f"jit_deny({source.pending}, 'no ticket')", pending),
        ("alice", f"jit_cancel({source.pending})", pending),
        ("bob", f"jit_revoke({source.live}, 'done')", live),
        ("alice", f"jit_extend({source.live}, '1 hour', 'takes longer')", live),
        ("alice", f"jit_release({source.live})", live),
    ]
    for user, call, expected in refused:
        with pytest.raises(WrongState) as refusal:
            cluster.execute(f"SELECT {call}", user, db)
        assert (refusal.value.diag.message_primary, refusal.value.diag.message_hint) == expected, call
    # None of all this has left a trace; where they were made, they are what they were.
    assert cluster.value("SELECT max(id) FROM jit.events", dbname=db) == source.last_event
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[source.pending]) == "pending"
    cluster.execute("SELECT jit_release(%s)", "alice", source.db, [source.live])
    assert cluster.approve(source.db, source.pending) == "approved"


def test_nothing_of_the_installation_is_dumped(source):
    """What grants are bound to must not travel along."""
    text = source.dump().read_text()
    for table in ("installation", "outbox", "marker"):
        assert f".{table} (" not in text
    for table in ("scopes", "approvers", "requesters", "requests", "reviews", "grants", "endings", "events"):
        assert f".{table} (" in text
