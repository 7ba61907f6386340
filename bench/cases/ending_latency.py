"""From the end of a grant to the error that its user gets.

Two sessions scan, one with a check for each row and one that was let through once by a gated plan; 48 others wait. All scans use
one grant, and the later of the two errors counts. A grant that is revoked ends when jit_revoke has returned to the revoker, one
that expires at its ends_at: client and server read the same clock. The measure is pg_cancel_backend, called by somebody who knows
whom to stop: from its return to the errors of the same scans.

One thread sends, ends and waits: an error that is there before the revoker has its answer counts as there at once.
"""

import random
import time

from bench import endings, lifecycle, world
from bench.endings import DB, Running
from bench.lifecycle import Pair, Person, Step
from bench.measure import interleave, percentile, percentile_at_most

TITLE = "from the end of a grant until both of its users have their errors"
CANCELLED = "canceling statement due to user request"
# The grants that expire; long enough for both scans to begin.
SHORT = "200 ms"
SCANS = [
    """SELECT sum(c.seen) FROM (SELECT generate_series(1, 2000000000) AS n OFFSET 0) s,
                            LATERAL (SELECT count(*) AS seen FROM checked WHERE tenant_id + s.n > 0) c""",
    "SELECT count(*) FROM gated a, gated b, gated c",
]
WAITING = 48


def run(bench, result):
    server = endings.create(bench, "ending_latency", ["bench_holder", "bench_waiting"])
    endings.table(server, "checked", "SELECT 1 AS tenant_id FROM generate_series(1, 100)", "jit_active('tenant', tenant_id)")
    # Hours of work, for whoever is let through.
    endings.table(server, "gated", "SELECT n FROM generate_series(1, 5000) n", "jit_active('tenant', 1)")
    waiting = _wait(server)
    stage = Stage(server)
    for name, scan in zip(("a check for each row", "let through once"), SCANS, strict=True):
        result.add_candidate(server, DB, "bench_holder", scan, ["checked", "gated"], name=name)
    samples = result.add_series(
        interleave(
            {
                "revoked": stage.revoke, "pg_cancel_backend": stage.cancel,
                "expired": stage.expire, "pg_cancel_backend, again": stage.cancel,
            },
            bench.size.endings // 2,
        ),
        "ms",
    )
    for name, latencies in samples.items():
        for what, value in (("p50", percentile(latencies, 50)), ("p99", percentile(latencies, 99)), ("max", max(latencies))):
            result.add_figure(f"{name}, {what}", value, "ms")
    cancelled, again = samples["pg_cancel_backend"], samples["pg_cancel_backend, again"]
    for name in ("revoked", "expired"):
        for percent, bar in ((50, 2), (99, 5)):
            what = f"p{percent}, {name} - pg_cancel_backend, ms"
            result.checks.append(percentile_at_most(what, samples[name], cancelled, again, percent, bar, "ms"))
    if stage.late:
        result.note(f"{stage.late} grants expired before both scans had begun, and were left out")
    _still_wait(waiting)
    server.remove()


def _wait(server):
    """A third each: asleep in a statement, idle after a check, and idle in a transaction that has used nothing."""
    world.ask_and_approve(server, DB, "bench_waiting", "tenant", [2])
    waiting = [Running(server, "bench_waiting") for _ in range(WAITING)]
    for number, session in enumerate(waiting):
        for statement in [["SELECT pg_sleep(86400)"], ["SELECT jit_active('tenant', 2)"], ["BEGIN", "SELECT 1"]][number % 3]:
            session.send(statement)
            if "sleep" not in statement:
                assert session.outcome()[1] is None
    return waiting


def _still_wait(waiting):
    """Nobody but the users has been stopped."""
    for number, session in enumerate(waiting):
        if number % 3 == 0:
            assert session.is_running(), "a session that slept has been stopped"
        else:
            session.send("SELECT 1")
            _, state, message = session.outcome()
            assert state is None, f"a session that waited has been stopped: {message}"


class Stage:
    """Gives a grant, has both scans use it, and ends it, or them. Each returns milliseconds."""

    def __init__(self, server):
        self.scans = [Running(server, "bench_holder") for _ in SCANS]
        self.root = server.connect(DB)
        self.long, self.short = (Pair(server, DB, way, "bench_holder") for way in (lifecycle.JIT, lifecycle.jit_for(SHORT)))
        self.revoker = Person(server, DB, "bench_approver", lifecycle.REVOKE)
        both = ", ".join(f"pg_cancel_backend({scan.pid})" for scan in self.scans)
        self.canceller = Person(server, DB, "postgres", [Step(f"SELECT {both}")])
        self.dice = random.Random(5)
        self.late = 0

    def revoke(self):
        request, _ = self._begin(self.long)
        self._pause()
        self.revoker.perform(request=request)
        return self._latency(time.time(), f"through request {request} has ended", "revoked by bench_approver")

    def cancel(self):
        request, _ = self._begin(self.long)
        self._pause()
        self.canceller.perform()
        latency = self._latency(time.time(), CANCELLED)
        self.revoker.perform(request=request)
        return latency

    def expire(self):
        request, end = self._begin(self.short)
        return self._latency(end, f"through request {request} has ended", "It expired at")

    def _begin(self, pair):
        """A new grant that both scans use: its request, and its end."""
        while True:
            request, sent = pair.grant(1), time.time()
            end = self._value("SELECT extract(epoch FROM ends_at)::float8 FROM jit.grants WHERE id = %s", request)
            for scan, statement in zip(self.scans, SCANS, strict=True):
                scan.send(statement)
            while time.time() < min(end, sent + endings.PATIENCE):
                if self._value("SELECT count(*) FROM jit.in_use WHERE grant_id = %s", request) == len(SCANS):
                    return request, end
                time.sleep(0.001)
            assert time.time() >= end, "the scans do not use the grant"
            self.late += 1
            self.canceller.perform()
            for scan in self.scans:
                scan.outcome()

    def _value(self, query, request):
        return self.root.execute(query, [request]).fetchone()[0]

    def _pause(self):
        """So that the worker is met at everything that it does about the new grant, and after it."""
        time.sleep(self.dice.uniform(0, 0.01))

    def _latency(self, end, *told):
        """Both scans fail, and say why."""
        for scan in self.scans:
            _, state, message = scan.outcome()
            assert state == "57014" and all(text in message for text in told), f"{state} {message}"
        return 1000 * (time.time() - end)
