"""What postgres_fdw writes elsewhere it commits there before the transaction here commits: not what was written on a grant that has
ended. The other server is another database of the same one."""

import psycopg
import pytest

from harness import wait_until

FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{socket}', dbname '{elsewhere}');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE copied (k int) SERVER elsewhere;
CREATE TABLE t AS SELECT generate_series(1, 10) AS k;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
CREATE TABLE log (note text);
GRANT ALL ON t, copied, log TO PUBLIC;
"""


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    return new_module_cluster().start(settings={"fsync": "off"}).create_roles()


@pytest.fixture
def dbs(cluster):
    elsewhere = cluster.new_database(extension=False)
    cluster.execute("CREATE TABLE copied (k int)", dbname=elsewhere)
    here = cluster.new_database()
    cluster.create_scope(here, on_end="none")
    cluster.execute(FOREIGN.format(socket=cluster.socket, elsewhere=elsewhere), dbname=here)
    wait_until(lambda: cluster.worker(here), "the worker")
    return here, elsewhere


def copied(cluster, elsewhere):
    return cluster.value("SELECT count(*) FROM copied", dbname=elsewhere)


@pytest.mark.parametrize("copy", ["INSERT INTO copied SELECT k FROM t", "DO $$ BEGIN INSERT INTO copied SELECT k FROM t; END $$"])
@pytest.mark.parametrize("log_first", [True, False])
def test_what_is_written_elsewhere_too_is_not_committed_there(cluster, dbs, copy, log_first):
    here, elsewhere = dbs
    log = "INSERT INTO log VALUES ('copied')"
    statements = [log, copy] if log_first else [copy, log]
    for revoked in (False, True):
        request = cluster.grant(here)
        # The wrapper is loaded, and asks to be told of commits, when it is used for the first time: in the midst of this.
        alice = cluster.connect("alice", here)
        alice.execute("BEGIN")
        for statement in statements:
            alice.execute(statement)
        if not revoked:
            alice.execute("COMMIT")
            assert copied(cluster, elsewhere) == 1
        cluster.execute("SELECT jit_revoke(%s, 'done')", "bob", here, [request])
        if revoked:
            with pytest.raises(psycopg.errors.QueryCanceled, match="has ended"):
                alice.execute("COMMIT")
            assert copied(cluster, elsewhere) == 1
        alice.close()
