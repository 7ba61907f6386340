"""An index that the key is the second column of has its rows in the order of the first, and an answer may rely on that."""

import pytest

KEYS, ROWS = 12, 1_200
HELD = [2, 5, 11]
# Rows in the order of n only if the index is read as one.
READ = "enable_seqscan = off", "enable_bitmapscan = off", "enable_sort = off", "enable_incremental_sort = off", "enable_hashjoin = off"


@pytest.fixture
def reader(cluster, db):
    cluster.create_scope(db)
    cluster.psql(
        f"""CREATE TABLE t AS SELECT i AS n, (i * 7919) % {KEYS} AS k, i % 10 AS a FROM generate_series(1, {ROWS}) i;
            CREATE INDEX ON t (n, k);
            CREATE INDEX ON t (a, k, n);
            VACUUM ANALYZE t;
            ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            CREATE POLICY jit ON t USING (jit_active('s', k));
            GRANT SELECT ON t TO PUBLIC;""",
        dbname=db,
    )
    for key in HELD:
        cluster.grant(db, key=str(key))
    session = cluster.connect("alice", db)
    for setting in READ:
        session.execute(f"SET {setting}")
    return session


# PostgreSQL answers with the policy written out, as a superuser.
VISIBLE = f"(SELECT * FROM t WHERE k IN ({', '.join(map(str, HELD))}) OFFSET 0)"


@pytest.mark.parametrize("index_only", ["on", "off"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT n, k FROM {t} x ORDER BY n LIMIT 10",
        "SELECT n, k FROM {t} x ORDER BY n DESC LIMIT 10",
        "SELECT n, k FROM {t} x ORDER BY n",
        "SELECT min(n), max(n) FROM {t} x",
        "SELECT n, k FROM {t} x WHERE n > 700 ORDER BY n LIMIT 5",
        "SELECT a, k, n FROM {t} x ORDER BY a, k, n LIMIT 30",
        "SELECT DISTINCT ON (a) a, k, n FROM {t} x ORDER BY a, k, n",
        "SELECT count(*), sum(x.k) FROM {t} x JOIN {t} y USING (n)",
        "SELECT n, row_number() OVER (ORDER BY n) FROM {t} x",
    ],
)
def test_the_order_of_the_first_column(cluster, db, reader, query, index_only):
    reader.execute(f"SET enable_indexonlyscan = {index_only}")
    expected = cluster.connect("postgres", db).execute(query.format(t=VISIBLE)).fetchall()
    assert reader.execute(query.format(t="t")).fetchall() == expected
