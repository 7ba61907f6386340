"""Statements that begin to use a grant in the very moment in which it ends: either the check sees the ending, or the worker sees the use."""

import time

import psycopg
import pytest

from harness import wait_until
from running import Started

ROUNDS, MOST_ROUNDS = 60, 600
# Whoever slips through reads on for this long.
STATEMENT = "SELECT count(pg_sleep(3)) FROM t WHERE k = 1"


# Who revokes signals the users as well; of what is written behind the functions' back, only the worker can know.
REVOKED = ("bob", "SELECT jit_revoke({}, 'enough')")
WRITTEN = ("postgres", "INSERT INTO jit_private.endings (grant_id, at, kind) VALUES ({}, clock_timestamp(), 'revoked') RETURNING 1")


@pytest.mark.parametrize("ending", [REVOKED, WRITTEN], ids=["revoked", "written"])
def test_nobody_slips_through_between_check_and_ending(cluster, db, ending):
    who, how = ending
    cluster.create_scope(db)
    cluster.psql(
        """CREATE TABLE t AS SELECT 1 AS k; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
           CREATE POLICY jit ON t USING (jit_active('s', k)); GRANT SELECT ON t TO PUBLIC""",
        dbname=db,
    )
    wait_until(lambda: cluster.worker(db), "the worker")
    alice, ender = cluster.connect("alice", db), cluster.connect(who, db)
    outcomes = {"denied": 0, "cancelled": 0}
    # From well before the use to well after it; further apart where the machine is slow.
    furthest = 0.01
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and min(outcomes.values()) > 5:
            break
        request = cluster.grant(db)
        if number // 21 % 2:
            # The session has its copy already, and learns of the ending by a message only.
            assert alice.execute("SELECT jit_active('s', 1)").fetchone() == (True,)
        both = [(alice, STATEMENT), (ender, how.format(request))]
        apart = furthest * (number % 21 - 10) / 10
        first, second = both if apart > 0 else reversed(both)
        begun = [Started(*first)]
        time.sleep(abs(apart))
        begun.append(Started(*second))
        started, revoked = begun if apart > 0 else reversed(begun)
        assert revoked.outcome() is None
        error = started.outcome()
        if error is None:
            assert started.rows == [(0,)], f"round {number}: it went on for 3 seconds after the end"
            outcomes["denied"] += 1
        else:
            assert isinstance(error, psycopg.errors.QueryCanceled), error
            outcomes["cancelled"] += 1
        if number % 21 == 20 and not all(outcomes.values()):
            furthest *= 2
    # The moments were well chosen.
    assert min(outcomes.values()) > 5, outcomes
