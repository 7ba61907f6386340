"""Without shared_preload_libraries: the worker is missing, and CREATE EXTENSION says so; all else works."""

import psycopg
import pytest

from harness import wait_until

Refused = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    return new_module_cluster().start(preload=False, settings={"fsync": "off"}).create_roles()


@pytest.fixture
def db(cluster):
    db = cluster.new_database()
    cluster.create_scope(db)
    return db


def decide(session, statement, *params, **how):
    """The library may have to be loaded first; then the HINT says to send it again."""
    try:
        return session.execute(statement, params, **how).fetchone()
    except Refused as refusal:
        assert "send it again" in refusal.diag.message_hint
        return session.execute(statement, params, **how).fetchone()


def test_create_extension_names_the_line_to_add(cluster):
    db = cluster.new_database(extension=False)
    session = cluster.connect(dbname=db)
    notices = []
    session.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary, diag.message_hint)))
    session.execute("CREATE EXTENSION jit_rls")
    [(severity, message, hint)] = notices
    assert severity == "WARNING" and "worker" in message
    assert "shared_preload_libraries = 'jit_rls'" in hint
    assert session.execute("SELECT jit.preloaded()").fetchone() == (False,)
    advice = session.execute("SELECT remedy FROM jit.advice WHERE about = 'shared_preload_libraries'").fetchone()
    assert "shared_preload_libraries = 'jit_rls'" in advice[0]


def test_all_else_works(cluster, db):
    alice, bob = cluster.connect("alice", db), cluster.connect("bob", db)
    cluster.psql(
        """CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k));
           GRANT SELECT ON t TO PUBLIC;""",
        dbname=db,
    )
    ask = "SELECT jit_request('s', 'refund', key => %s, duration => %s)"
    rows = "SELECT array_agg(k) FROM t"
    assert alice.execute(rows).fetchone() == (None,)
    [first] = alice.execute(ask, ["1", "1 hour"]).fetchone()
    assert decide(bob, "SELECT jit_approve(%s)", first) == ("approved",)
    # In the session that is open, inside a transaction that has not used it, and in another one, which has.
    using = cluster.connect("alice", db)
    with alice.transaction(), using.transaction(force_rollback=True):
        alice.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert alice.execute("SELECT jit_active('s', 2)").fetchone() == (False,)
        using.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert using.execute(rows).fetchone() == ([1],)
        bob.execute("SELECT jit_revoke(%s, 'done')", [first])
        assert alice.execute(rows).fetchone() == (None,)
        with pytest.raises(psycopg.errors.QueryCanceled, match=f"through request {first} has ended"):
            using.execute(rows)
    assert using.execute(rows).fetchone() == (None,)
    # The end comes by the clock. Nobody puts it on record, and the views know it all the same.
    [second] = alice.execute(ask, ["2", "1 second"]).fetchone()
    assert decide(bob, "SELECT jit_approve(%s)", second) == ("approved",)
    assert alice.execute("SELECT state FROM jit.my_grants WHERE id = %s", [second]).fetchone() == ("active",)
    wait_until(lambda: alice.execute(rows).fetchone() == (None,), "expiry")
    assert alice.execute("SELECT ends_at <= clock_timestamp(), state FROM jit.my_grants WHERE id = %s", [second]).fetchone() == (True, "ended")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        bob.execute("SELECT jit_revoke(%s, 'done')", [second])
    assert cluster.value("SELECT count(*) FROM jit.events WHERE kind = 'expired'", dbname=db) == 0
    # A request that has lapsed, too.
    admin = cluster.connect(dbname=db)
    decide(admin, "SELECT jit.alter_scope('s', %s)", '{"pending_ttl": "1 second"}')
    [third] = alice.execute(ask, ["3", "1 hour"]).fetchone()
    wait_until(lambda: alice.execute("SELECT state FROM jit.my_requests WHERE id = %s", [third]).fetchone() == ("lapsed",), "lapse")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="lapsed"):
        decide(bob, "SELECT jit_approve(%s)", third)
    # The kill switch.
    [fourth] = alice.execute(ask, ["4", "1 hour"]).fetchone()
    assert decide(bob, "SELECT jit_approve(%s)", fourth) == ("approved",)
    assert alice.execute(rows).fetchone() == ([4],)
    decide(admin, "SELECT jit.alter_scope('s', %s)", '{"enabled": false}')
    assert alice.execute(rows).fetchone() == (None,)


@pytest.mark.parametrize("how", [{}, {"prepare": True}, {"binary": True}], ids=str)
@pytest.mark.parametrize("function", ["jit_approve(%s)", "jit_deny(%s, 'no ticket')"])
def test_first_use_in_a_session_is_a_decision(cluster, db, function, how):
    """It may take a second try in the same session, as the HINT says; whichever way the driver sends it."""
    wanted = cluster.request(db)
    bob = cluster.connect("bob", db)
    decide(bob, f"SELECT {function}", wanted, **how)
    state = cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[wanted])
    assert state == ("approved" if "approve" in function else "denied")


def test_a_statement_that_was_prepared_before_can_be_sent_again(cluster, db):
    """As drivers do that keep their prepared statements, and do not prepare anew after an error."""
    wanted = cluster.request(db)
    bob = cluster.connect("bob", db).pgconn
    bob.prepare(b"decision", b"SELECT jit_approve($1)")
    results = [bob.exec_prepared(b"decision", [str(wanted).encode()]) for _ in range(2)]
    assert b"approved" in [result.get_value(0, 0) for result in results if result.ntuples], results[-1].error_message.decode()


@pytest.mark.parametrize("how", [{}, {"prepare": True}, {"binary": True}], ids=str)
def test_first_use_in_a_session_is_a_request_that_a_function_approves(cluster, db, how):
    """Not left to people, who would have to be found: refused, and approved when it is sent again."""
    cluster.execute("CREATE FUNCTION public.yes(jit.requests) RETURNS boolean LANGUAGE sql AS 'SELECT true'", dbname=db)
    cluster.create_scope(db, "auto", auto_approve="public.yes", max_total="9 hours")
    alice = cluster.connect("alice", db)
    [request] = decide(alice, "SELECT jit_request('auto', 'refund', key => '1')", **how)
    state = "SELECT state FROM jit.requests WHERE id = %s"
    assert cluster.value(state, dbname=db, params=[request]) == "approved"
    alice = cluster.connect("alice", db)
    [extension] = decide(alice, "SELECT jit_extend(%s, '1 hour', 'longer')", request, **how)
    assert cluster.value(state, dbname=db, params=[extension]) == "approved"
    # Where people decide, nobody is asked to send anything again.
    assert cluster.connect("alice", db).execute("SELECT jit_request('s', 'refund', key => '1') > 0").fetchone() == (True,)


def test_session_preload_libraries_load_it_in_time(cluster, db):
    cluster.execute("ALTER ROLE bob SET session_preload_libraries = 'jit_rls'")
    try:
        wanted = cluster.request(db)
        assert cluster.value("SELECT jit_approve(%s)", "bob", db, [wanted]) == "approved"
    finally:
        cluster.execute("ALTER ROLE bob RESET session_preload_libraries")


INDIRECT = {
    "plpgsql": """CREATE FUNCTION trap(r bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN jit_approve(r); END'""",
    "dynamic": """CREATE FUNCTION trap(r bigint) RETURNS text LANGUAGE plpgsql AS
                  'DECLARE t text; BEGIN EXECUTE ''SELECT jit_approve($1)'' INTO t USING r; RETURN t; END'""",
    "sql": "CREATE FUNCTION trap(r bigint) RETURNS text LANGUAGE sql AS 'SELECT jit_approve(r)'",
    "inlined": "CREATE FUNCTION trap(r bigint) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT jit_approve($1, NULL, NULL)'",
    "view": "CREATE VIEW trap_view AS SELECT jit_approve(id) AS t FROM wanted",
}


@pytest.mark.parametrize("kind", INDIRECT)
@pytest.mark.parametrize("times", ["first", "later"])
def test_first_use_from_inside_something_else_is_refused(cluster, db, kind, times):
    cluster.psql(f"CREATE TABLE wanted (id bigint); GRANT SELECT ON wanted TO PUBLIC; {INDIRECT[kind]};", dbname=db)
    if kind == "view":
        cluster.execute("GRANT SELECT ON trap_view TO PUBLIC", dbname=db)
    wanted = cluster.request(db)
    cluster.execute("INSERT INTO wanted VALUES (%s)", dbname=db, params=[wanted])
    bob = cluster.connect("bob", db)
    if times == "later":
        bob.execute("SELECT jit_whoami()")
    call = "SELECT t FROM trap_view" if kind == "view" else f"SELECT trap({wanted})"
    for _ in range(3):
        with pytest.raises(Refused):
            bob.execute(call)
        with pytest.raises(Refused):
            bob.execute("DO $$BEGIN PERFORM jit_approve(id) FROM wanted; END$$")
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[wanted]) == "pending"


def settings_of(session):
    return session.execute(
        "SELECT current_setting('jit_rls.allow_indirect_decisions'), current_setting('jit_rls.shared_logins')"
    ).fetchone()


def test_settings_made_before_the_library_is_loaded_take_no_effect(cluster, db):
    """Until the library is loaded, jit_rls.anything is a placeholder that everybody may set."""
    cluster.psql(f"{INDIRECT['plpgsql']};", dbname=db)
    wanted = cluster.request(db)
    bob = cluster.connect("bob", db)
    bob.execute("SET jit_rls.allow_indirect_decisions = on")
    bob.execute("SET jit_rls.shared_logins = 'bob'")
    for _ in range(2):
        with pytest.raises(Refused):
            bob.execute("SELECT trap(%s)", [wanted])
    assert settings_of(bob) == ("off", "")
    # As an option of the connection, inside a transaction, and in a function's own settings.
    bob = cluster.connect("bob", db, options="-c jit_rls.allow_indirect_decisions=on")
    for _ in range(2):
        with pytest.raises(Refused):
            bob.execute("SELECT trap(%s)", [wanted])
    assert settings_of(bob) == ("off", "")
    bob = cluster.connect("bob", db)
    bob.execute("BEGIN; SET LOCAL jit_rls.allow_indirect_decisions = on")
    with pytest.raises(Refused):
        bob.execute("SELECT trap(%s)", [wanted])
    bob.execute("ROLLBACK")
    assert settings_of(bob) == ("off", "")
    assert cluster.value("SELECT state FROM jit.requests WHERE id = %s", dbname=db, params=[wanted]) == "pending"


@pytest.mark.parametrize(
    "name, value", [("jit_rls.shared_logins", "''"), ("jit_rls.shared_logins", "'bob'"), ("jit_rls.allow_indirect_decisions", "on")]
)
def test_settings_of_a_role_made_by_itself_take_no_effect(cluster, db, name, value):
    cluster.psql(f"{INDIRECT['plpgsql']};", dbname=db)
    wanted = cluster.request(db)
    cluster.execute("ALTER ROLE bob CREATEROLE")
    try:
        for target in ("ROLE bob", "ROLE carol"):
            try:
                cluster.execute(f"ALTER {target} SET {name} = {value}", "bob")
            except Refused:
                # That is one way to take no effect.
                pass
        bob = cluster.connect("bob", db)
        for _ in range(2):
            with pytest.raises(Refused):
                bob.execute("SELECT trap(%s)", [wanted])
        assert settings_of(bob) == ("off", "")
    finally:
        cluster.psql("ALTER ROLE bob RESET ALL; ALTER ROLE carol RESET ALL; ALTER ROLE bob NOCREATEROLE;")


@pytest.fixture(params=["role", "database", "server", "session_preload_libraries"])
def pooler_is_shared(request, cluster, db):
    """jit_rls.shared_logins, where a superuser can set it."""
    command = {
        "role": "ALTER ROLE pooler SET jit_rls.shared_logins = 'pooler'",
        "database": f"ALTER DATABASE {db} SET jit_rls.shared_logins = 'pooler'",
        "server": "ALTER SYSTEM SET jit_rls.shared_logins = 'pooler'",
        "session_preload_libraries": "ALTER ROLE pooler SET jit_rls.shared_logins = 'pooler'",
    }
    # Outside a session that has loaded the library, it is a placeholder.
    cluster.psql(f"SELECT jit.preloaded(); {command[request.param]};", dbname=db)
    if request.param == "session_preload_libraries":
        cluster.execute("ALTER ROLE pooler SET session_preload_libraries = 'jit_rls'")
    if request.param == "server":
        cluster.execute("SELECT pg_reload_conf()")
        in_effect = "SELECT current_setting('jit_rls.shared_logins', true)"
        wait_until(lambda: cluster.value(in_effect, dbname=db) == "pooler", "reload")
    yield
    cluster.execute("ALTER ROLE pooler RESET ALL")
    cluster.psql("ALTER SYSTEM RESET ALL; SELECT pg_reload_conf();")


@pytest.mark.parametrize("attempt", ["nothing", "SET", "options", "options of another name"])
def test_settings_of_a_superuser_take_effect(cluster, db, pooler_is_shared, attempt):
    """And the shared login cannot undo them for itself, whenever it tries."""
    options = {"options": "-c jit_rls.shared_logins=", "options of another name": "-c jit_rls.shared_logins=nobody"}.get(attempt)
    try:
        pooler = cluster.connect("pooler", db, **({"options": options} if options else {}))
        if attempt == "SET":
            pooler.execute("SET jit_rls.shared_logins = ''")
    except (Refused, psycopg.OperationalError):
        return
    for _ in range(2):
        with pytest.raises(psycopg.Error):
            pooler.execute("SELECT jit_request('s', 'refund', key => '1')")
    assert cluster.value("SELECT count(*) FROM jit.requests", dbname=db) == 0


def test_misspelt_settings_are_errors_once_it_is_loaded(cluster, db):
    session = cluster.connect("bob", db)
    session.execute("SELECT jit_whoami()")
    with pytest.raises(psycopg.errors.InvalidName):
        session.execute("SET jit_rls.shared_login = 'pooler'")


def test_grants_of_a_copied_database_are_void_without_a_worker(cluster, db):
    """Where a worker runs it would take them out of the index of live grants, too."""
    cluster.grant(db, key="77")
    assert cluster.active(db, key=77)
    cluster.execute(f"CREATE DATABASE {db}_copy TEMPLATE {db}")
    assert not cluster.active(f"{db}_copy", key=77)
    assert cluster.value("SELECT count(*) FROM jit.grants WHERE tidied_at IS NULL", dbname=f"{db}_copy") > 0
