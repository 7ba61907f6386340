"""Is anybody stopped who has not used what ended?

Sessions run short statements as fast as they can: one after the other that uses a grant about to end, by a revocation or by its
time, and then some that use another grant, or none. The former may be cancelled, or their transactions ended, and must be told by
which grant. The latter are innocent, and so is whoever is told of a grant whose end everybody could know when the statement was
sent: the danger is a signal that comes late, or for somebody who held that place before.
"""

import concurrent.futures
import functools
import random
import re
import threading
import time

from psycopg.pq import ConnStatus

from bench import endings, lifecycle, world
from bench.endings import DB, Running
from bench.lifecycle import Pair, Person, together
from bench.measure import count_at_most

TITLE = "statements that used nothing that had ended"
ROLES = 4
SESSIONS = 8
LIVE, REVOKED, EXPIRED = 1, 2, 3
# How long grants live that expire, and how long at most those that are revoked, in seconds.
SHORT = 0.01
# Part of the doomed statements that have a transaction around them, which idles now and then.
IN_TRANSACTION = 0.2
# Between two doomed ones there is at least one innocent, and at most so many.
MOST_INNOCENT = 6
# One in so many of the doomed must meet its end, or nobody else is in danger.
MET = 50
# Of those that are hit, in the notes.
SHOWN = 5

INNOCENT = [
    ["SELECT n FROM orders WHERE key = 1 AND n = 17"],
    ["SELECT count(*) FROM orders WHERE key = 1"],
    ["SELECT count(*) FROM free"],
    ["SELECT 1"],
    ["BEGIN", "SELECT n FROM orders WHERE key = 1 AND n = 17", "SELECT count(*) FROM free", "COMMIT"],
]
# They are met at work and asleep; some end by themselves at the very moment.
DOOMED = [
    "SELECT count(*) FROM orders a, orders b WHERE a.key = {key} AND b.key = {key} AND a.n <= {length}",
    "SELECT pg_sleep({length} * 0.0001) FROM orders WHERE key = {key} AND n = 17",
]
LONGEST = 200
NAMED = re.compile(r"through request (\d+) has ended")
CANCELLED, ENDED = "57014", "57P01"


def run(bench, result):
    logins = [f"bench_holder_{n}" for n in range(ROLES)]
    server = endings.create(bench, "innocents", logins)
    endings.table(
        server, "orders", "SELECT key, n FROM generate_series(1, 3) key, generate_series(1, 1000) n", "jit_active('tenant', key)"
    )
    server.execute(DB, "CREATE INDEX ON orders (key, n)")
    endings.table(server, "free", "SELECT n FROM generate_series(1, 100) n")
    for login in logins:
        world.ask_and_approve(server, DB, login, "tenant", [LIVE])
    result.add_candidate(server, DB, logins[0], INNOCENT[0][0], ["orders"], statements=INNOCENT, doomed=DOOMED)
    enders = {(login, key): Ender(server, login, key) for login in logins for key in (REVOKED, EXPIRED)}
    each = bench.size.innocents // SESSIONS
    sessions = [Session(server, logins[n % ROLES], enders, random.Random(n), each) for n in range(SESSIONS)]
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        ending = executor.submit(together, [functools.partial(ender.run, stop) for ender in enders.values()])
        try:
            seconds = together([session.run for session in sessions])
        finally:
            stop.set()
        ending.result()
    innocent, doomed, cancelled, ended = (
        sum(getattr(session, what) for session in sessions) for what in ("innocent", "doomed", "cancelled", "ended")
    )
    untold = [message for session in sessions for message in session.untold]
    assert cancelled + ended >= doomed / MET, f"{cancelled + ended} of {doomed} met their end: nobody else was in danger"
    hits = [hit for session in sessions for hit in session.hits]
    for name, value, unit in (
        ("endings a second", sum(ender.endings for ender in enders.values()) / seconds, "a second"),
        ("statements that used what ended, and were cancelled", cancelled, "statements"),
        ("sessions that were ended in their transactions", ended, "sessions"),
        ("statements that had not used it", innocent, "statements"),
    ):
        result.add_figure(name, value, unit)
    for message in hits[:SHOWN] + untold[:SHOWN]:
        result.note(message)
    if not hits:
        # The rule of three.
        result.note(f"of {innocent:,}, none was hit: with a confidence of 95 % fewer than {300_000 / innocent:.1f} in 100,000 are")
    what, allowed = "stopped without having used what ended; 1 in 100,000", innocent // 100_000
    result.checks += [
        count_at_most(what, len(hits), innocent, allowed, 100_000, "statements"),
        count_at_most("cancelled by an end, and not told by which", len(untold), cancelled + len(untold), 0, 1_000, "statements"),
    ]
    server.remove()


class Ender:
    """Gives a login a grant of one key, and ends it, again and again."""

    def __init__(self, server, login, key):
        self.key = key
        self.pair = Pair(server, DB, lifecycle.jit_for(f"{SHORT} seconds") if key == EXPIRED else lifecycle.JIT, login)
        self.revoker = Person(server, DB, "bench_approver", lifecycle.REVOKE)
        self.dice = random.Random(login)
        # The last request whose end everybody can know of.
        self.known = 0
        self.endings = 0

    def run(self, stop):
        while not stop.is_set():
            request = self.pair.grant(self.key)
            if self.key == EXPIRED:
                time.sleep(SHORT)
            else:
                time.sleep(self.dice.uniform(0, SHORT))
                self.revoker.perform(request=request)
            self.known = int(request)
            self.endings += 1


class Session:
    """Runs statements, and keeps account of who was stopped."""

    def __init__(self, server, login, enders, dice, wanted):
        self.open = functools.partial(Running, server, login)
        self.running = self.open()
        self.login = login
        self.enders = enders
        self.dice = dice
        self.wanted = wanted
        self.innocent = self.doomed = self.cancelled = self.ended = 0
        self.hits, self.untold = [], []

    def run(self):
        while self.innocent < self.wanted:
            key = self.dice.choice([REVOKED, EXPIRED])
            doomed = self.dice.choice(DOOMED).format(key=key, length=self.dice.randint(1, LONGEST))
            self.doomed += 1
            in_transaction = self.dice.random() < IN_TRANSACTION
            self._perform(["BEGIN", doomed, "COMMIT"] if in_transaction else [doomed], self.enders[self.login, key].known)
            for _ in range(self.dice.randint(1, MOST_INNOCENT)):
                statements = self.dice.choice(INNOCENT)
                self.innocent += len(statements)
                self._perform(statements)

    def _perform(self, statements, known=None):
        """`known` is the last request whose end was known beforehand; None for the innocent."""
        for statement in statements:
            self.running.send(statement)
            result, state, message = self.running.outcome()
            if state:
                self._account(state, f"{statement}: {state} {message}", known)
                self._recover()
                return
            assert known is not None or not statement.startswith("SELECT") or result.ntuples == 1, f"no row: {statement}"

    def _account(self, state, message, known):
        named = NAMED.search(message)
        if known is not None and named and int(named[1]) > known:
            self.cancelled += state == CANCELLED
            self.ended += state == ENDED
        elif known is not None and state == CANCELLED and not named:
            # The innocent statements after it would be hit by what was meant for an earlier one.
            self.untold.append(message)
        elif state in (CANCELLED, ENDED, endings.LOST):
            self.hits.append(message)
        else:
            raise RuntimeError(message)

    def _recover(self):
        if self.running.pq.status == ConnStatus.OK:
            self.running.send("ROLLBACK")
            self.running.outcome()
        else:
            self.running = self.open()
