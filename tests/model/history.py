"""A history: operations in the database and in the model, compared after each; and how a long one becomes a short one."""

import collections
import dataclasses
import random
import re

import psycopg

import ops
from generator import Generator
from model import Model
from ops import Op
from roles import PEOPLE
from rules import told

OF_ROLES = {"join", "leave", "rename", "drop_role", "create_role"}
MAKES_REQUEST = {"ask", "break", "extend"}


class Disagreement(Exception):
    """Database and model, after an operation."""

    def __init__(self, text, recorded):
        super().__init__(text)
        self.recorded = recorded


class History:
    def __init__(self, database, counts, real=False):
        self.database, self.counts, self.real = database, counts, real
        self.model = Model()
        self.labels = {}
        # What is expected of all events since the last look.
        self.last_event = 0
        self.recorded, self.lines = [], []

    # ------------------------------------------------------------------ running

    def generate(self, seed, length, restarts=False):
        rng = random.Random(seed)
        generator = Generator(rng, self.model, self.labels)
        for op in generator.beginning():
            self.perform(op)
        self.compare(False)
        restart_at = rng.randrange(1, length) if restarts else None
        done, label = 0, 0
        while done < length:
            label += 1
            if done == restart_at:
                op, restart_at = Op("restart", {}, label=label), None
            else:
                op = generator.next(label)
            done += self.step(op, rng.random() < 0.08 or done == length - 1)

    def replay(self, recorded):
        """The same operations, of which some may have been left out; what has lost its sense is passed over."""
        beginning = [op for op in recorded if op.label == 0]
        for op in beginning:
            self.perform(op)
        self.compare(False)
        for op in recorded[len(beginning):]:
            self.step(op, True)

    def step(self, op, views):
        """Whether it made sense."""
        if not self.perform(op):
            return False
        self.counts["steps"] += 1
        self.compare(views)
        return True

    def fail(self, text):
        raise Disagreement(text, self.recorded)

    def perform(self, op):
        """False: it makes no sense here."""
        self.recorded.append(op)
        if op.kind == "restart":
            self.say("-- the server is restarted")
            self.database.restart()
            self.counts["restart"] += 1
            return True
        if op.kind == "wait":
            self.say(f"-- {ops.interval(op.arguments['units'])} pass")
            for part in self.model.parts(op.arguments["units"]):
                self.database.wait(part)
                self.model.wait(part)
            return True
        if op.kind in OF_ROLES:
            return self.change_roles(op)
        return self.act(op)

    def say(self, line):
        self.lines.append(line)

    def act(self, op):
        label = op.arguments.get("request")
        request = 0 if label == -1 else self.labels.get(label)
        if label is not None and request is None:
            return False
        arguments = op.arguments | ({"request": request} if label is not None else {})
        plan = self.model.plan(op, arguments)
        names = self.model.roles.names
        if plan is None:
            return False
        statement = ops.call(op, names, request)
        outcome = self.database.act(names, op.who, statement, self.real)
        actor = f" as {names[op.who[1]]}" if op.who[1] != op.who[0] else ""
        self.say(f"{names[op.who[0]]}{actor}: {statement};  -- {outcome}")
        if outcome.failed:
            rule = told(plan.refused or (), outcome.sqlstate, outcome.message)
            if rule is None:
                self.fail(f"refused with {outcome}; the model " + self.expects(plan))
            self.counts["refusal: " + rule] += 1
            return True
        if plan.refused:
            self.fail(f"done with {outcome}; the model {self.expects(plan)}")
        if plan.text is not None and not re.fullmatch(plan.text, outcome.value):
            self.fail(f"returned {outcome}; the model {self.expects(plan)}")
        self.counts[f"done: {op.kind}"] += 1
        if op.kind == "review":
            self.counts["reviewed: " + ("justified" if op.arguments["justified"] else "unjustified")] += 1
        if op.kind in MAKES_REQUEST:
            self.labels[op.label] = int(outcome.value)
        plan.then(outcome.value and op.kind in MAKES_REQUEST and int(outcome.value))
        return True

    def expects(self, plan):
        return f"refuses: {', '.join(sorted(plan.refused))}" if plan.refused else f"says {plan.text or 'yes'}"

    def change_roles(self, op):
        roles, a = self.model.roles, op.arguments
        statement = ops.role_statement(op, roles.names)
        match op.kind:
            case "join":
                sense = self.model.join(a["member"], a["group"])
            case "leave":
                sense = self.model.leave(a["member"], a["group"])
            case "rename":
                sense = roles.numbers[a["role"]] is not None
                if sense:
                    roles.names[a["role"]] = a["name"]
            case "drop_role":
                sense = roles.numbers[a["role"]] is not None
                if sense:
                    roles.drop(a["role"])
            case "create_role":
                sense = roles.numbers[a["role"]] is None
                if sense:
                    roles.create(a["role"])
        if sense:
            self.say(f"{statement};")
            self.database.must(statement)
            self.counts[f"done: {op.kind}"] += 1
        return sense

    # ------------------------------------------------------------------ comparing

    def compare(self, views):
        model = self.model
        sight = self.database.look(model.roles.names, self.last_event, views)
        self.last_event = sight.last or self.last_event
        self.same("requests", sight.requests, {r.id: (r.state, r.reviewed, r.escalated) for r in model.requests.values()})
        grants = {
            g.request.id: (model.now - g.starts, g.ends - g.starts, g.ended) for g in model.grants.values()
        }
        self.same("grants (units since the start, length, ending)", sight.grants, grants)
        self.same("rows seen", sight.seen, model.everybody_sees())
        if views:
            views = {handle: [model.may_decide(handle), model.may_review(handle), model.asked_by(handle)] for handle in PEOPLE}
            self.same("jit.pending, jit.pending_reviews, jit.my_requests", sight.views, views)
        if self.real and views:
            handle = PEOPLE[model.now % len(PEOPLE)]
            self.same(f"rows seen by {handle}'s login", self.database.sees(model.roles.names, handle), model.sees(handle))
        self.compare_events(sight)

    def compare_events(self, sight):
        expected = {}
        for about, kind in self.model.events:
            expected.setdefault(str(about), []).append(kind)
            self.counts[f"event: {kind}"] += 1
        self.model.events.clear()
        found = sight.events
        # What comes due at one moment is put on record in any order.
        waited = self.recorded and self.recorded[-1].kind == "wait"
        order = sorted if waited else list
        self.same("events", {k: order(v) for k, v in found.items()}, {k: order(v) for k, v in expected.items()})

    def same(self, what, found, expected):
        if found == expected:
            return
        differing = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        lines = [f"  {key}: database {found.get(key)}, model {expected.get(key)}" for key in differing]
        self.fail(f"{what} differ:\n" + "\n".join(lines))


# ---------------------------------------------------------------------- shorter ones


def attempt(database, recorded, real):
    """The history that disagrees as well, if it does."""
    history = History(database, collections.Counter(), real)
    try:
        history.replay(recorded)
    except Disagreement as found:
        return history, found
    except (AssertionError, psycopg.Error):
        # What is left makes no sense, or is known.
        return None
    finally:
        database.reset(history.model.roles)
    return None


def shrink(database, recorded, real, most=200):
    """Leaves out what the disagreement does not need: halves first, then smaller and smaller parts."""
    best = attempt(database, recorded, real)
    if best is None:
        return None
    recorded = best[1].recorded
    size, tries = max(1, len(recorded) // 2), 0
    while tries < most:
        at, shorter = 0, False
        while at < len(recorded) and tries < most:
            tries += 1
            found = attempt(database, recorded[:at] + recorded[at + size:], real)
            if found:
                best, recorded, shorter = found, found[1].recorded, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return simplify(database, best, real)


def simplify(database, best, real):
    """Leaves out options of scopes that play no part."""
    for at, op in enumerate(best[1].recorded):
        for where in ("options", "changes"):
            # The type of the keys is that of the rows to be seen; for the pause see DEFAULTS.
            for option in sorted(set(op.arguments.get(where, ())) - {"key_type", "denial_pause"}):
                recorded = list(best[1].recorded)
                given = {name: value for name, value in best[1].recorded[at].arguments[where].items() if name != option}
                if not given and where == "changes":
                    continue
                recorded[at] = dataclasses.replace(op, arguments=recorded[at].arguments | {where: given})
                found = attempt(database, recorded, real)
                if found and len(found[1].recorded) == len(recorded):
                    best = found
    return best
