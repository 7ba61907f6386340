"""Requests and approvals, through jit_rls and in plain SQL, by ordinary logins: requester and approver have a connection each."""

import concurrent.futures
import dataclasses
import functools
import itertools
import threading
import time

import psycopg

OK = {psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK}


@dataclasses.dataclass(frozen=True)
class Step:
    """A statement that both sides prepare once. It takes one of the values known so far, and its result becomes another."""

    statement: str
    takes: str | None = None
    gives: str | None = None


@dataclasses.dataclass(frozen=True)
class Way:
    """How to ask and how to approve. `ask` knows "key" and gives "request", which `approve` knows."""

    ask: list
    approve: list


JIT = Way(
    [Step("SELECT jit_request('tenant', 'benchmark', key => $1)", "key", "request")],
    [Step("SELECT jit_approve($1::bigint)", "request", "answer")],
)
REVOKE = [Step("SELECT jit_revoke($1::bigint, 'benchmark')", "request")]


def jit_for(duration):
    """JIT, for so long."""
    return Way(
        [Step(f"SELECT jit_request('tenant', 'benchmark', key => $1, duration => '{duration}')", "key", "request")], JIT.approve
    )


class Person:
    def __init__(self, server, dbname, login, steps):
        self.connection = server.connect(dbname, login)
        self.steps = steps
        for number, step in enumerate(steps):
            self._checked(self.connection.pgconn.prepare(f"step{number}".encode(), step.statement.encode()), step)

    def perform(self, **known):
        for number, step in enumerate(self.steps):
            arguments = [known[step.takes].encode()] if step.takes else []
            result = self._checked(self.connection.pgconn.exec_prepared(f"step{number}".encode(), arguments), step)
            if step.gives:
                known[step.gives] = result.get_value(0, 0).decode()
        return known

    @staticmethod
    def _checked(result, step):
        if result.status not in OK:
            raise RuntimeError(f"{step.statement}: {result.error_message.decode()}")
        return result


class Pair:
    """A requester and an approver."""

    def __init__(self, server, dbname, way, requester, approver="bench_approver"):
        self.requester = Person(server, dbname, requester, way.ask)
        self.approver = Person(server, dbname, approver, way.approve)

    def grant(self, key):
        request = self.requester.perform(key=str(key))["request"]
        answer = self.approver.perform(request=request)["answer"]
        if answer != "approved":
            raise RuntimeError(f"request {request}: {answer}")
        return request

    def close(self):
        self.requester.connection.close()
        self.approver.connection.close()


def together(works):
    """Calls all of them at once, in a thread each, for libpq waits without the interpreter's lock; returns the seconds until the
    last is done."""
    with concurrent.futures.ThreadPoolExecutor(len(works)) as executor:
        begun = time.perf_counter()
        for done in [executor.submit(work) for work in works]:
            done.result()
        return time.perf_counter() - begun


class Pacer:
    """Grants in the background, at a steady pace, while its block runs."""

    def __init__(self, pairs, rate, keys):
        self.pairs = pairs
        self.pause = len(pairs) / rate
        self.keys = keys
        self.paces = []
        # When each was due and how long it took from then on: who falls behind is slow.
        self.cycles = []

    def _walk(self, pair, delay):
        due = time.perf_counter() + delay
        while not self._stop.wait(max(0, due - time.perf_counter())):
            pair.grant(next(self.keys))
            next(self._done)
            self.cycles.append((due, time.perf_counter() - due))
            due += self.pause

    def __enter__(self):
        self._stop = threading.Event()
        self._done = itertools.count()
        works = [functools.partial(self._walk, pair, n * self.pause / len(self.pairs)) for n, pair in enumerate(self.pairs)]
        self._executor = concurrent.futures.ThreadPoolExecutor(1)
        self._seconds = self._executor.submit(together, works)

    def __exit__(self, *_):
        self._stop.set()
        self.paces.append(next(self._done) / self._seconds.result())
        self._executor.shutdown()
