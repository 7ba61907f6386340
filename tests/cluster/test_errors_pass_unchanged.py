"""Everybody's statements pass through our hooks: what applications read from an error must come out as it went in."""

import psycopg
import pytest

SCHEMA = """
CREATE SCHEMA shop;
CREATE DOMAIN shop.amount AS int CONSTRAINT amount_is_positive CHECK (VALUE > 0);
CREATE TABLE shop.customers (id int PRIMARY KEY, email text NOT NULL CONSTRAINT email_once UNIQUE);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int CONSTRAINT of_customer REFERENCES shop.customers DEFERRABLE,
    amount shop.amount, note text CONSTRAINT short_note CHECK (length(note) < 10));
INSERT INTO shop.customers VALUES (1, 'a@example.com');
CREATE FUNCTION shop.fails(deep int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF deep > 0 THEN RETURN shop.fails(deep - 1); END IF;
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = 'm', DETAIL = 'd', HINT = 'h', COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'y',
        TABLE = 't', SCHEMA = 's';
END$$;
CREATE FUNCTION shop.caught() RETURNS text LANGUAGE plpgsql AS $$
DECLARE c text; t text;
BEGIN
    INSERT INTO shop.customers VALUES (2, 'a@example.com');
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS c = CONSTRAINT_NAME, t = TABLE_NAME;
    RETURN c || ' ' || t;
END$$;
CREATE FUNCTION shop.on_insert() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM 1 / (NEW.id - 7); RETURN NULL; END$$;
CREATE TRIGGER on_insert AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.on_insert();
INSERT INTO shop.orders VALUES (5, 1, 1, '');
CREATE PROCEDURE shop.calls() LANGUAGE plpgsql AS $$BEGIN COMMIT; PERFORM shop.fails(1); END$$;
"""
STATEMENTS = [
    "INSERT INTO shop.customers VALUES (1, 'b@example.com')",
    "INSERT INTO shop.customers VALUES (2, 'a@example.com')",
    "INSERT INTO shop.customers VALUES (2, NULL)",
    "INSERT INTO shop.orders VALUES (1, 99, 1, '')",
    "INSERT INTO shop.orders VALUES (1, 1, 1, 'far too long a note')",
    "INSERT INTO shop.orders VALUES (1, 1, -1, '')",
    "INSERT INTO shop.orders VALUES (7, 1, 1, '')",
    "DELETE FROM shop.customers",
    "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO shop.orders VALUES (2, 99, 1, ''); COMMIT",
    "SELECT shop.fails(2)",
    "SELECT count(*) FROM shop.customers WHERE shop.fails(1) = 1",
    "DO $$BEGIN PERFORM shop.fails(0); END$$",
    "CALL shop.calls()",
    "SELECT no_such_column FROM shop.orders",
    "SELEC 1",
    "SELECT 1 / 0",
    "SELECT 'x'::int",
    "EXPLAIN ANALYZE SELECT shop.fails(0)",
    "CREATE TABLE shop.orders ()",
    "DROP TABLE shop.customers",
    "DROP TABLE shop.nothing",
    "ALTER TABLE shop.customers ADD CONSTRAINT odd CHECK (id > 5)",
    "CREATE UNIQUE INDEX ON shop.customers ((1)); INSERT INTO shop.customers VALUES (3, 'c@example.com')",
    "EXECUTE nothing",
    "SET statement_timeout = '1ms'; SELECT pg_sleep(5)",
    "COPY shop.customers FROM PROGRAM 'echo x'",
    "SELECT * FROM shop.customers FOR UPDATE NOWAIT",
]
FIELDS = [
    "severity", "severity_nonlocalized", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position",
    "internal_position", "internal_query", "context", "schema_name", "table_name", "column_name", "datatype_name",
    "constraint_name", "source_file", "source_function",
]
LIBRARIES = {
    "alone": "jit_rls",
    "after": "pg_stat_statements,auto_explain,jit_rls",
    "before": "jit_rls,pg_stat_statements,auto_explain",
    "between": "pg_stat_statements,jit_rls,auto_explain",
}
AUTO_EXPLAIN = {"auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on", "auto_explain.log_analyze": "on"}


def diagnose(cluster, db):
    """What each statement's error says, by both protocols."""
    found = {}
    for statement in STATEMENTS:
        for how in ("simple", "extended"):
            if how == "extended" and ";" in statement.replace("; END", ""):
                continue
            session = cluster.connect("owner", db)
            try:
                if how == "simple":
                    session.execute(statement)
                else:
                    session.execute(statement, prepare=True)
                found[statement, how] = None
            except psycopg.Error as error:
                found[statement, how] = {field: getattr(error.diag, field) for field in FIELDS}
            session.close()
    return found


def serve(new_module_cluster, libraries):
    settings = {"fsync": "off"}
    if libraries:
        settings |= {"shared_preload_libraries": libraries}
        if "auto_explain" in libraries:
            settings |= AUTO_EXPLAIN
    cluster = new_module_cluster().start(preload=False, settings=settings).create_roles()
    cluster.psql("CREATE ROLE owner LOGIN")
    db = cluster.new_database("shop", extension=False)
    cluster.psql(f"GRANT CREATE ON DATABASE {db} TO owner", dbname=db)
    cluster.psql("CREATE EXTENSION pg_stat_statements", dbname=db)
    cluster.psql(SCHEMA, user="owner", dbname=db)
    return cluster, db


@pytest.fixture(scope="module")
def expected(new_module_cluster):
    """What a server without us says."""
    cluster, db = serve(new_module_cluster, "")
    found = diagnose(cluster, db)
    cluster.stop()
    return found


@pytest.mark.parametrize("libraries", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_errors_pass_unchanged(new_module_cluster, expected, libraries):
    cluster, db = serve(new_module_cluster, libraries)
    cluster.execute("CREATE EXTENSION jit_rls", dbname=db)
    found = diagnose(cluster, db)
    assert found == expected
    # The comparison is of something.
    unique = found["INSERT INTO shop.customers VALUES (2, 'a@example.com')", "extended"]
    assert (unique["schema_name"], unique["table_name"], unique["constraint_name"]) == ("shop", "customers", "email_once")
    assert found["SELECT no_such_column FROM shop.orders", "simple"]["statement_position"] == "8"
    assert "PL/pgSQL function shop.fails(integer) line" in found["SELECT shop.fails(2)", "simple"]["context"]
    assert cluster.value("SELECT shop.caught()", "owner", db) == "email_once customers"
    # And with them loaded around us, we work.
    cluster.create_scope(db)
    cluster.psql(
        """CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k));
           GRANT SELECT ON t TO PUBLIC;
           CREATE FUNCTION decide(r bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN jit_approve(r); END';""",
        dbname=db,
    )
    request = cluster.request(db)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="your own statement"):
        cluster.execute("SELECT decide(%s)", "bob", db, [request])
    assert cluster.value("SELECT jit_approve(%s)", "bob", db, [request]) == "approved"
    assert cluster.value("SELECT count(*) FROM t", "alice", db) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        cluster.execute("SELECT jit_revoke(%s, 'x')", "frank", db, [request])
    assert refused.value.diag.message_detail and refused.value.diag.message_hint
    if "pg_stat_statements" in libraries:
        calls = "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE 'SELECT shop.caught()%%'"
        assert cluster.value(calls, dbname=db) >= 1
        calls = "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%%jit_approve(%%'"
        assert cluster.value(calls, dbname=db) >= 1
    if "auto_explain" in libraries:
        assert "Query Text: SELECT shop.caught()" in cluster.log()
    cluster.stop()
