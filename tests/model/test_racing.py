"""Several sessions at once on the same requests: what came of it is what some order, one after another, would have come to.

That says as well that there are never two grants for a request, nor one without the approvals that its rules asked for then.
"""

import collections
import copy
import random
import re

import pytest
from psycopg import pq

import ops
from database import Database, Outcome
from history import History
from model import Model
from ops import Op
from roles import ROOT
from rules import Refused, told

ROUNDS = 600
SEED = 1
STOPS = {"scope disabled", "scope dropped"}
ENDINGS = {"revoked", "released"} | STOPS
AT_LEAST = {"approved": 60, "denied": 20, "cancelled": 20, "revoked": 20, "released": 20, "scope disabled": 20, "extended": 10}


class Racing(Model):
    """What is promised of several at once beyond an order.

    Two endings of one grant never wait for each other: both are told that it is done. And what is under way while its scope is
    stopped is dead when it commits, as is who asks again for what the stop is just closing.
    """

    # The database has done it; somebody stops the scope.
    indulgent = stopping = False

    def living(self, request):
        grant = self.grants.get(request.id)
        if self.indulgent and grant and grant.ended in ENDINGS:
            return grant
        return super().living(request)

    def refuse_too_much(self, *what):
        try:
            super().refuse_too_much(*what)
        except Refused as refused:
            if not (self.indulgent and self.stopping and refused.rules == {"the same is pending"}):
                raise

    def end(self, grant, how):
        if grant.ended is None:
            super().end(grant, how)

    def __deepcopy__(self, memo):
        twin = copy.copy(self)
        memo[id(self)] = twin
        memo[id(self.roles)] = roles = copy.copy(self.roles)
        roles.groups = {member: set(groups) for member, groups in self.roles.groups.items()}
        roles.reached = {}
        twin.roles = roles
        for name in ("scopes", "requests", "grants", "events", "changes"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        return twin


class Round:
    def __init__(self, database, rng):
        self.database, self.rng = database, rng
        self.history = History(database, collections.Counter())
        self.history.model = Racing()
        self.model = self.history.model

    def do(self, kind, who=ROOT, label=0, **arguments):
        assert self.history.perform(Op(kind, arguments, (who, who), label))

    def prepare(self):
        """One scope, three requests of ann's and ben's, of which one is a grant, which somebody wants longer."""
        for member, group in [("cat", "lead"), ("dan", "lead"), ("eve", "lead"), ("eve", "sec"), ("fay", "sec"), ("hal", "adm")]:
            self.do("join", member=member, group=group)
        approvers = self.rng.choice([[{"lead": 1}], [{"lead": 2}], [{"lead": 1}, {"sec": 1}], [{"lead": 1, "sec": 1}]])
        options = {"key_type": "int", "approvers": [{"lead": 1}], "max_total": 48, "max_duration": 12, "denial_pause": 0, "max_grants": self.rng.choice([2, 200])}
        self.do("create_scope", scope="a", options=options)
        ask = {"scope": "a", "duration": None, "grantee": None, "starts": None, "all_rows": False, "reason": "T-1"}
        self.do("ask", "ann", 1, key="1", **ask)
        self.do("approve", "cat", request=1, duration=None)
        self.do("extend", "ann", 2, request=1, duration=2, reason="T-1")
        self.do("alter_scope", scope="a", changes={"approvers": approvers})
        self.do("ask", "ann", 3, key="2", **ask)
        self.do("ask", "ben", 4, key="3", **ask)

    def acts(self):
        rng = self.rng
        label = rng.choice([1, 2, 3, 3, 4])
        possible = [
            *[Op("approve", {"request": label, "duration": rng.choice([None, 1])}, (who, who)) for who in ("cat", "dan", "eve", "fay", "eve", "cat")],
            Op("deny", {"request": label, "reason": "no"}, ("dan", "dan")),
            Op("cancel", {"request": label}, ("ben", "ben") if label == 4 else ("ann", "ann")),
            Op("revoke", {"request": rng.choice([1, label]), "reason": "enough"}, ("cat", "cat")),
            Op("revoke", {"request": rng.choice([1, label]), "reason": "enough"}, ("hal", "hal")),
            Op("release", {"request": rng.choice([1, label])}, ("ann", "ann")),
            Op("extend", {"request": 1, "duration": 3, "reason": "T-1"}, ("ann", "ann")),
            Op("approve", {"request": 2, "duration": None}, ("dan", "dan")),
            Op("alter_scope", {"scope": "a", "changes": {"enabled": False}}, (ROOT, ROOT)),
            Op("alter_scope", {"scope": "a", "changes": {"approvers": [{"lead": 2}]}}, (ROOT, ROOT)),
            Op("revoke_all", {"scope": "a", "grantee": None, "reason": "breach"}, ("hal", "hal")),
            Op("drop_scope", {"scope": "a"}, ("hal", "hal")),
            Op("ask", {"scope": "a", "key": "4", "duration": None, "grantee": None, "starts": None, "all_rows": False, "reason": "T-1"}, ("gus", "gus"), 9),
        ]
        weights = [3] * 6 + [2, 2, 2, 1, 2, 1, 3, 1, 1, 0.5, 0.3, 0.3]
        # Each in a session of its own, and a session does one thing at a time.
        chosen = {}
        for op in rng.choices(possible, weights, k=rng.randrange(2, 6)):
            chosen.setdefault(op.who[0], op)
        return list(chosen.values())

    # ------------------------------------------------------------------ at once

    def race(self, acts):
        sent = []
        for op in acts:
            statement = ops.call(op, self.model.roles.names, self.history.labels.get(op.arguments.get("request")))
            # Now and then it is left open for a moment.
            if self.rng.random() < 0.3:
                statement = f"BEGIN; {statement}; SELECT pg_sleep({self.rng.random() * 0.004:.4f}); COMMIT"
            connection = self.database.login(op.who[0])
            connection.pgconn.send_query(statement.encode())
            sent.append((op, connection))
        return [(op, answer(connection)) for op, connection in sent]

    # ------------------------------------------------------------------ afterwards

    def explain(self, answers):
        """Whether some order explains it; tries one after another, and no further where it does not fit."""
        self.database.settle_scope()
        sight = self.database.look(self.model.roles.names, self.history.last_event, False)
        self.model.stopping = any(
            op.kind == "drop_scope" or op.arguments.get("changes") == {"enabled": False} for op, outcome in answers if not outcome.failed
        )
        done = [(op, outcome) for op, outcome in answers if not outcome.failed]
        refused = [(op, outcome) for op, outcome in answers if outcome.failed]
        return self.search([self.model], done, refused, sight), sight

    def search(self, states, left, refused, sight):
        """`states`: from the first to the last, as far as an order has come."""
        if not left:
            return self.fits(states[-1], sight) and all(self.is_reasonable(states, op, outcome) for op, outcome in refused)
        for at, (op, outcome) in enumerate(left):
            twin = copy.deepcopy(states[-1])
            rest = left[:at] + left[at + 1:]
            if self.follow(twin, op, outcome) and self.search([*states, twin], rest, refused, sight):
                return True
        return False

    def plan(self, model, op):
        arguments = dict(op.arguments)
        if "request" in arguments:
            arguments["request"] = self.history.labels[arguments["request"]]
        return model.plan(op, arguments)

    def follow(self, model, op, outcome):
        """Does it in the model, if the model says the same of it."""
        model.indulgent = True
        plan = self.plan(model, op)
        model.indulgent = False
        # How many are left to end depends on who else ends them.
        if plan.refused or not (plan.text is None or op.kind == "revoke_all" or re.fullmatch(plan.text, outcome.value)):
            return False
        plan.then(int(outcome.value) if op.kind in ("ask", "extend") else None)
        return True

    def is_reasonable(self, states, op, outcome):
        """At some moment it is refused like that. Or somebody was entitled at one moment, and at a later one it was over."""
        plans = [self.plan(model, op) for model in states]
        if any(plan.refused and told(plan.refused, outcome.sqlstate, outcome.message) for plan in plans):
            return True
        late = told(("grant has ended", "no longer pending"), outcome.sqlstate, outcome.message)
        return late is not None and plans[-1].refused is not None

    def fits(self, model, sight):
        if sight.requests != {r.id: (r.state, r.reviewed, r.escalated) for r in model.requests.values()}:
            return False
        if sight.seen != model.everybody_sees() or sight.grants.keys() != model.grants.keys():
            return False
        for id, grant in model.grants.items():
            since, lasts, endings = sight.grants[id]
            endings = endings.split(",") if endings else []
            told_of = [kind for kind in sight.events.get(str(id), ()) if kind in ENDINGS]
            if (since, lasts) != (model.now - grant.starts, grant.ends - grant.starts) or sorted(endings) != sorted(told_of):
                return False
            # By which of two stops of its scope it ended is not told apart.
            stopped = grant.ended in STOPS and STOPS & set(endings)
            if (grant.ended is None) != (not endings) or (grant.ended and grant.ended not in endings and not stopped):
                return False
        expected = collections.Counter((str(about), kind) for about, kind in model.events if kind not in ENDINGS or not str(about).isdigit())
        found = collections.Counter((about, kind) for about, kinds in sight.events.items() for kind in kinds)
        return expected == collections.Counter({one: n for one, n in found.items() if one[1] not in ENDINGS or not one[0].isdigit()})


def answer(connection):
    """The statement's own, or the first error; COMMIT may fail as well."""
    outcomes = []
    while (result := connection.pgconn.get_result()) is not None:
        outcomes.append((result.status, Outcome(result)))
    if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
        connection.pgconn.exec_(b"ROLLBACK")
    failed = [outcome for _, outcome in outcomes if outcome.failed]
    return failed[0] if failed else next(outcome for status, outcome in outcomes if status == pq.ExecStatus.TUPLES_OK)


@pytest.fixture(scope="module")
def database(new_module_cluster):
    database = Database(new_module_cluster.new_directory())
    yield database
    database.close()


def test_some_order_explains_it(database, request, capsys):
    seed = request.config.getoption("--seed") or SEED
    kinds, rounds = collections.Counter(), request.config.getoption("--rounds") or ROUNDS
    for number in range(rounds):
        race = Round(database, random.Random(f"{seed}/{number}"))
        race.prepare()
        race.history.compare(False)
        acts = race.acts()
        answers = race.race(acts)
        explained, sight = race.explain(answers)
        if not explained:
            with capsys.disabled():
                print("\n" + story(race, answers, sight))
        assert explained, f"round {seed}/{number}: no order explains what came of it, see the output above"
        kinds.update(kind for all_kinds in sight.events.values() for kind in all_kinds)
        kinds["refused"] += sum(outcome.failed for _, outcome in answers)
        database.reset(race.model.roles, keep_logins=True)
    with capsys.disabled():
        print(f"\n{rounds} rounds: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    too_few = {kind: kinds[kind] for kind, least in AT_LEAST.items() if kinds[kind] < least * rounds // ROUNDS}
    assert not too_few, too_few


def story(race, answers, sight):
    """What was done one after another, what at once, and what is on record."""
    names = race.model.roles.names
    lines = list(race.history.lines) + ["-- at once:"]
    for op, outcome in answers:
        statement = ops.call(op, names, race.history.labels.get(op.arguments.get("request")))
        lines.append(f"{op.who[0]}: {statement};  -- {outcome}")
    return "\n".join([*lines, f"requests {sight.requests}", f"grants {sight.grants}", f"events {sight.events}"])
