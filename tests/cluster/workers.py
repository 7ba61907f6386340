"""What the tests of the worker ask of it."""

import psycopg

from harness import wait_until

SECOND = "interval '1 second'"


def events(cluster, db, kind):
    return cluster.value("SELECT count(*) FROM jit.events WHERE kind = %s", dbname=db, params=[kind])


def workers(cluster):
    """{database: how many workers}."""
    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        found = connection.execute(
            "SELECT datname, count(*) FROM pg_stat_activity WHERE backend_type ILIKE 'jit_rls%worker%' GROUP BY 1"
        )
        return dict(found.fetchall())


def launchers(cluster):
    return cluster.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type ILIKE 'jit_rls%launcher%'")


def has_worker(cluster, db):
    return wait_until(lambda: cluster.worker(db), f"worker in {db}")


def put_on_record(cluster, db, request):
    """Waits for the event of a grant's expiry; returns how late it was."""
    with psycopg.connect(cluster.conninfo(dbname=db), autocommit=True) as session:
        late = "SELECT e.at - g.ends_at FROM jit.events e JOIN jit.grants g ON g.id = e.request_id WHERE e.kind = 'expired' AND g.id = %s"
        [late] = wait_until(lambda: session.execute(late, [request]).fetchone(), f"expiry of {request} on record in {db}", timeout=30)
        return late.total_seconds()


def works(cluster, db, key="1"):
    """A grant that expires is put on record, within a second."""
    late = put_on_record(cluster, db, cluster.grant(db, key=key, duration="1 second"))
    assert late < 1, f"{late} seconds late"
