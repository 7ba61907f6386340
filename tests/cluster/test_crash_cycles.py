"""Crash after crash under load: what was acknowledged is there, and nothing is there that belongs to half a transaction."""

import itertools
import os
import random
import signal
import threading
from collections import Counter, deque, namedtuple
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import psycopg

from harness import wait_until
from test_crash import SETTINGS

# What dies each time: everything at once, or one process, for which the postmaster ends all the others.
CRASHES = (["everything"] * 5 + ["a backend"] + ["everything"] * 4 + ["the worker"]) * 3
# How many transactions are acknowledged before it.
LOADS = [10, 60, 200]
KEYS = itertools.count(1)

ACTS = {
    "requested": "SELECT jit_request('s', 'refund', key => %s, duration => %s)",
    "cancelled": "SELECT jit_cancel(%s)",
    "released": "SELECT jit_release(%s)",
    "approved": "SELECT jit_approve(%s)",
    "denied": "SELECT jit_deny(%s, 'no')",
    "revoked": "SELECT jit_revoke(%s, 'enough')",
}
# What the worker does, which nobody is told of.
BY_ITSELF = {"expired", "lapsed"}


class Act(namedtuple("Act", "kind request text params")):
    """`request` is None for a request, which has no id before it is made."""

    def carry_out(self, session):
        """Returns what the event will say: the request and the kind."""
        [answer] = session.execute(self.text, self.params).fetchone()
        return (answer if self.kind == "requested" else self.request, self.kind)


class Ledger:
    """What clients have been told, as {(request, kind): how often}, and what they wait to be told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.known = Counter()
        self.transactions = 0
        self.kinds = Counter()
        # Transactions whose COMMIT was sent and not answered, each with all that it did; requests by themselves have no id there.
        self.under_way = []
        self.nameless = 0
        # How many of those were sent before the crash began, and what became of them all.
        self.in_flight, self.done, self.not_done = 0, 0, 0

    def acknowledged(self, events):
        with self.lock:
            self.transactions += 1
            self.known.update(events)
            self.kinds.update(kind for _, kind in events)

    def unanswered(self, events, in_flight):
        with self.lock:
            self.in_flight += in_flight
            if events == [(None, "requested")]:
                self.nameless += 1
            else:
                self.under_way.append(events)

    def compare(self, log):
        """After a crash; from here on, what the log says is known."""
        lost = self.known - log
        assert not lost, f"acknowledged and lost: {lost}"
        for events in self.under_way:
            there = {log[event] > self.known[event] for event in events}
            assert len(there) == 1, f"half a transaction is there: {events}"
            self._count(there.pop())
        more = log - self.known - Counter(itertools.chain(*self.under_way))
        found = [event for event in more.elements() if event[1] not in BY_ITSELF]
        new = [request for request, kind in found if kind == "requested"]
        assert len(new) == len(found) <= self.nameless, f"nobody has done this, or not committed it: {found}"
        self._count(True, len(new))
        self._count(False, self.nameless - len(new))
        self.known, self.under_way, self.nameless = log, [], 0

    def _count(self, done, times=1):
        self.done, self.not_done = self.done + times * done, self.not_done + times * (not done)


class Load:
    """Clients at work, a thread for each, until the server dies."""

    def __init__(self, cluster, db, ledger, written, seed):
        self.cluster, self.db, self.ledger, self.written = cluster, db, ledger, written
        self.random = random.Random(seed)
        self.dying = False
        self.pending, self.live, self.whose, self.pids = deque(), deque(), {}, []
        clients = [(self.decide_and_undo, asker, decider) for asker in ("alice", "carol") for decider in ("bob", "dave")]
        clients.append((self.throw_the_switch, "alice", "bob"))
        self.pool = ThreadPoolExecutor(len(clients))
        self.threads = [self.pool.submit(self.work, *client) for client in clients]

    def wait_for(self, transactions):
        target = self.ledger.transactions + transactions

        def reached():
            assert not any(thread.done() for thread in self.threads), [t.exception() for t in self.threads if t.done()]
            return self.ledger.transactions >= target

        wait_until(reached, f"{transactions} transactions", timeout=60)

    def join(self):
        self.pool.shutdown()
        for thread in self.threads:
            thread.result()

    def work(self, what, asker, decider):
        connect = lambda user: psycopg.connect(self.cluster.conninfo(user, self.db), autocommit=True)
        try:
            with connect(asker) as asks, connect(decider) as decides, connect("postgres") as root:
                self.pids.append(asks.info.backend_pid)
                while True:
                    what(asker, asks, decides, root)
        except psycopg.OperationalError as error:
            # Whoever gives a reason lives.
            if error.sqlstate:
                raise

    def alone(self, session, act, also=()):
        """`also`: the other events of the act."""
        in_flight = not self.dying
        try:
            events = [act.carry_out(session), *also]
        except psycopg.OperationalError:
            self.ledger.unanswered([(act.request, act.kind), *also], in_flight)
            raise
        self.ledger.acknowledged(events)
        return events

    def together(self, session, acts, end):
        session.execute("BEGIN")
        try:
            events = [act.carry_out(session) for act in acts]
        except psycopg.errors.ObjectNotInPrerequisiteState:
            session.execute("ROLLBACK")
            raise
        in_flight = not self.dying
        try:
            session.execute(end)
        except psycopg.OperationalError:
            if end == "COMMIT":
                self.ledger.unanswered(events, in_flight)
            raise
        if end == "ROLLBACK":
            return []
        self.ledger.acknowledged(events)
        return events

    def decide_and_undo(self, asker, asks, decides, root):
        asking, deciding = ["requested"] * 4 + ["cancelled", "released"], ["approved"] * 4 + ["denied", "revoked"]
        session, kinds = self.random.choice([(asks, asking), (decides, deciding)])
        acts = [self.choose(self.random.choice(kinds), asker) for _ in range(self.random.choice([1, 1, 1, 2, 3]))]
        acts = [act for act in acts if act]
        if not acts:
            return
        try:
            if len(acts) == 1:
                events = self.alone(session, *acts)
            else:
                events = self.together(session, acts, self.random.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        except psycopg.errors.ObjectNotInPrerequisiteState:
            # It has lapsed or expired.
            return
        # Some are left for the worker.
        requested = [request for request, kind in events if kind == "requested"]
        self.whose.update(dict.fromkeys(requested, asker))
        self.pending.extend(request for request in requested if self.random.random() < 0.8)
        self.live.extend(request for request, kind in events if kind == "approved" and self.random.random() < 0.5)
        # And something of which nobody takes care.
        number = next(KEYS)
        root.execute("INSERT INTO control VALUES (%s)", [number])
        self.written.append(number)

    def choose(self, kind, asker):
        if kind == "requested":
            duration = f"{self.random.uniform(0.2, 3):.3f} seconds"
            return Act(kind, None, ACTS[kind], [str(next(KEYS)), duration])
        queue = self.live if kind in ("released", "revoked") else self.pending
        try:
            request = queue.popleft()
        except IndexError:
            return None
        if kind in ("cancelled", "released") and self.whose[request] != asker:
            queue.append(request)
            return None
        return Act(kind, request, ACTS[kind], [request])

    def throw_the_switch(self, asker, asks, decides, root):
        switch = lambda on: Act("scope altered", None, "SELECT jit.alter_scope('t', jsonb_build_object('enabled', %s::bool))", [on])
        if not root.execute("SELECT enabled FROM jit.scopes WHERE name = 't'").fetchone()[0]:
            self.alone(root, switch(True))
        for _ in range(3):
            request = Act("requested", None, "SELECT jit_request('t', 'refund', key => %s)", [str(next(KEYS))])
            [(request, _)] = self.alone(asks, request)
            if self.random.random() < 0.7:
                self.alone(decides, Act("approved", request, ACTS["approved"], [request]))
        # Also what earlier crashes have left.
        live = root.execute("SELECT id, 'scope disabled' FROM jit_private.live_grants WHERE scope = 't'").fetchall()
        pending = root.execute("SELECT id, 'closed' FROM jit.requests WHERE scope = 't' AND state = 'pending'").fetchall()
        self.alone(root, switch(False), also=live + pending)


class Books:
    """Requests, grants, endings and events, at one moment."""

    def __init__(self, cluster, db):
        with psycopg.connect(cluster.conninfo(dbname=db)) as session:
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            rows = lambda sql: session.execute(sql).fetchall()
            self.requests = {request: state for request, state in rows("SELECT id, state FROM jit.requests")}
            self.grants = {grant: rest for grant, *rest in rows("SELECT id, scope, key, ends_at FROM jit.grants")}
            self.endings = self._counted(rows("SELECT grant_id, kind, count(*) FROM jit.endings GROUP BY 1, 2"))
            self.log = self._counted(rows("SELECT request_id, kind, count(*) FROM jit.events WHERE kind <> 'scope created' GROUP BY 1, 2"))

    @staticmethod
    def _counted(rows):
        return Counter({(request, kind): times for request, kind, times in rows})

    def check(self):
        """Each state has its event, once, and each event its state."""
        assert {request for request, state in self.requests.items() if state == "approved"} == set(self.grants)
        expected = Counter((request, "requested") for request in self.requests)
        expected.update((request, state) for request, state in self.requests.items() if state != "pending")
        expected.update(self.endings)
        log = Counter({event: times for event, times in self.log.items() if event[0] is not None})
        assert not log - expected, f"events without their change: {log - expected}"
        assert not expected - log, f"changes without their event: {expected - log}"
        assert {grant for grant, _ in self.endings} <= set(self.grants)


class Access:
    """What is open, as the checks say, as jit.active_grants says, and as the tables have it."""

    TABLES = """SELECT g.scope, g.key FROM jit.grants g JOIN jit.scopes s ON s.id = g.scope_id AND s.enabled AND s.epoch = g.epoch
                 WHERE g.grantee = %s AND g.starts_at <= clock_timestamp() AND clock_timestamp() < g.ends_at
                   AND NOT EXISTS (SELECT FROM jit.endings n WHERE n.grant_id = g.id)"""
    CHECKS = "SELECT q.scope, q.key::text FROM unnest(%s::text[], %s::int[]) AS q (scope, key) WHERE jit_active(q.scope, q.key)"
    VIEW = "SELECT scope, key FROM jit.active_grants"

    def __init__(self, cluster, db):
        self.cluster, self.db = cluster, db
        self.over = set()

    def check(self):
        root = self.cluster.connect(dbname=self.db)
        asked_for = set(root.execute("SELECT scope, key FROM jit.requests").fetchall())
        scopes, keys = zip(*asked_for)
        everybodys = set()
        for user in ("alice", "carol"):
            session = self.cluster.connect(user, self.db)
            before = set(root.execute(self.TABLES, [user]).fetchall())
            checks = self._ask(session, [list(scopes), list(map(int, keys))])
            view = set(session.execute(self.VIEW).fetchall())
            after = set(root.execute(self.TABLES, [user]).fetchall())
            # Nobody asks or decides now: with time, there can only be less.
            assert after <= view <= checks <= before, (before - checks, checks - before, view - checks, after - view)
            everybodys |= checks
        assert not everybodys & self.over, "it was over, and is active again"
        granted = set(root.execute("SELECT scope, key FROM jit.grants").fetchall())
        self.over |= granted - everybodys
        return everybodys

    def _ask(self, session, rows):
        while True:
            try:
                return set(session.execute(self.CHECKS, rows).fetchall())
            except psycopg.errors.QueryCanceled as error:
                # As it should be, where one of them expires meanwhile.
                assert "has ended" in error.diag.message_primary


def leave_open(cluster, db, ledger):
    """Transactions that have done something and will not commit. Returns the key of a grant that stays, for one of them only."""
    key = str(next(KEYS))
    live, pending = cluster.grant(db, key=key), cluster.request(db, key=str(next(KEYS)))
    ledger.acknowledged([(live, "requested"), (live, "approved"), (pending, "requested")])
    ask, approve = ("alice", "requested", [str(next(KEYS)), "1 hour"]), ("bob", "approved", [pending])
    release, revoke = ("alice", "released", [live]), ("dave", "revoked", [live])
    for user, kind, params in (ask, approve, release, revoke):
        cluster.connect(user, db, autocommit=False).execute(ACTS[kind], params)
    return ("s", key)


def crash(cluster, db, load, what):
    """Returns when it was; the server is running again."""
    if what == "everything":
        load.dying = True
        cluster.kill9()
        at = datetime.now(timezone.utc)
        load.join()
        cluster.start(settings=SETTINGS)
        return at
    again = "all server processes terminated; reinitializing"
    before = cluster.log().count(again)
    pid = wait_until(lambda: cluster.worker(db), "the worker") if what == "the worker" else load.random.choice(load.pids)
    load.dying = True
    os.kill(pid, signal.SIGKILL)
    at = datetime.now(timezone.utc)
    wait_until(lambda: cluster.log().count(again) > before, "the postmaster starts everything anew")
    load.join()
    cluster.close_connections()
    wait_until(cluster._accepts, "server accepts connections again")
    return at


DUE = """SELECT (SELECT count(*) FROM jit.grants g WHERE g.ends_at <= %(at)s AND NOT EXISTS (SELECT FROM jit.endings n WHERE n.grant_id = g.id))
              + (SELECT count(*) FROM jit.requests q WHERE q.state = 'pending' AND q.lapses_at <= %(at)s)"""


def test_nothing_is_lost_in_crash_after_crash(new_cluster):
    cluster = new_cluster().start(settings=SETTINGS).create_roles()
    db = cluster.new_database()
    cluster.create_scope(db, pending_ttl="4 seconds")
    cluster.create_scope(db, "t")
    cluster.execute("CREATE TABLE control (n int)", dbname=db)
    ledger, access, written, survivors = Ledger(), Access(cluster, db), [], set()
    came_due, control_lost = 0, 0
    for cycle, what in enumerate(CRASHES):
        load = Load(cluster, db, ledger, written, seed=cycle)
        survivors.add(leave_open(cluster, db, ledger))
        load.wait_for(LOADS[cycle % len(LOADS)])
        died = crash(cluster, db, load, what)
        # Deadlines that passed meanwhile count before anybody has put them on record.
        assert survivors <= access.check()
        started = cluster.value("SELECT clock_timestamp()")
        wait_until(lambda: cluster.value(DUE, dbname=db, params={"at": started}) == 0, "what is due is on record")
        books = Books(cluster, db)
        books.check()
        ledger.compare(books.log)
        assert survivors <= access.check()
        came_due += sum(died < ends_at <= started for *_, ends_at in books.grants.values())
        left = cluster.value("SELECT array_agg(n) FROM control", dbname=db)
        control_lost += len(set(written) - set(left or []))
        written.clear()
    # Else it would be a test of nothing.
    assert set(ACTS) <= set(ledger.kinds) and BY_ITSELF <= {kind for _, kind in books.log}
    assert control_lost > 0 and came_due > 0 and ledger.in_flight > 0 and ledger.not_done > 0
    # And it goes on.
    cluster.grant(db, key="1000000")
    assert cluster.active(db, key=1000000)
