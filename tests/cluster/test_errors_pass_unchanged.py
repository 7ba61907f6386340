"""Our hooks sit in everybody's way: errors of statements that are not ours keep every field that applications read."""

import psycopg
import pytest

ORDERS = ["jit_rls", "pg_stat_statements, auto_explain, jit_rls", "jit_rls, pg_stat_statements, auto_explain"]


@pytest.mark.parametrize("libraries", ORDERS)
def test_fields_of_an_error(new_cluster, libraries):
    settings = {"shared_preload_libraries": libraries, "fsync": "off"}
    if "auto_explain" in libraries:
        settings |= {"auto_explain.log_min_duration": 0, "auto_explain.log_nested_statements": "on"}
    cluster = new_cluster().start(preload=False, settings=settings).create_roles()
    db = cluster.new_database()
    connection = cluster.connect(dbname=db)
    connection.execute("CREATE TABLE t (id int CONSTRAINT only_once PRIMARY KEY)")
    connection.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    diag = caught.value.diag
    assert (diag.schema_name, diag.table_name, diag.constraint_name) == ("public", "t", "only_once")
    assert diag.source_function == "_bt_check_unique"

    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        connection.execute("SELECT nothing FROM t")
    assert caught.value.diag.statement_position == "8"

    with pytest.raises(psycopg.errors.DivisionByZero) as caught:
        connection.execute("DO $$ BEGIN PERFORM 1 / 0; END $$")
    assert "inline_code_block line 1 at PERFORM" in caught.value.diag.context

    # And the main job works in this order of libraries.
    cluster.create_scope(db)
    cluster.grant(db)
    assert cluster.active(db)
    if "pg_stat_statements" in libraries:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        cluster.grant(db, key="2")
        assert connection.execute(
            "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%jit_approve(%'"
        ).fetchone()[0]
