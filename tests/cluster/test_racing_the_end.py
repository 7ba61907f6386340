"""Statements that begin to use a grant in the very moment in which it ends: either the check sees the ending, or the worker sees the use."""

import time

import psycopg

from harness import wait_until
from running import Started

ROUNDS = 60
# Whoever slips through reads on for this long.
STATEMENT = "SELECT count(pg_sleep(3)) FROM t WHERE k = 1"


def test_nobody_slips_through_between_check_and_ending(cluster, db):
    cluster.create_scope(db)
    cluster.psql(
        """CREATE TABLE t AS SELECT 1 AS k; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k)); GRANT SELECT ON t TO PUBLIC""",
        dbname=db,
    )
    wait_until(lambda: cluster.worker(db), "the worker")
    alice, bob = cluster.connect("alice", db), cluster.connect("bob", db)
    outcomes = {"denied": 0, "cancelled": 0}
    for number in range(ROUNDS):
        request = cluster.grant(db)
        started = Started(alice, STATEMENT)
        # From before the check to well after the use.
        time.sleep(number % 20 / 2000)
        bob.execute("SELECT jit_revoke(%s, 'enough')", [request])
        error = started.outcome()
        if error is None:
            assert started.rows == [(0,)], f"round {number}: it went on for 3 seconds after the end"
            outcomes["denied"] += 1
        else:
            assert isinstance(error, psycopg.errors.QueryCanceled), error
            outcomes["cancelled"] += 1
    # The moments were well chosen.
    assert min(outcomes.values()) > 0, outcomes
