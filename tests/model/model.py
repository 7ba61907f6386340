"""The reference: scopes, requests and grants as the promises have them, in plain Python and without a database.

It was written from what is promised, not from how it is kept. Time is counted in units; nothing happens between two of them.
Who acts is a pair (login, actor) of numbers. An operation is planned first: either it is refused, by any of some rules, or
there is something to do once the database has done it, too.
"""

import dataclasses
import itertools
from collections.abc import Callable

from roles import PEOPLE, ROOT, Roles
from rules import Refused, refuse

# Those of the database, but for the pause after a denial, a minute: shorter than a unit, it has to be said.
DEFAULTS = {
    "key_type": None,
    "allow_all_rows": False,
    "approvers": (),
    "requesters": None,
    "default_duration": None,
    "max_duration": 48,
    "max_total": None,
    "max_ahead": 4320,
    "pending_ttl": 144,
    "reason_pattern": None,
    "max_pending": 20,
    "max_grants": 200,
    "denial_pause": 0,
    "break_glass": None,
    "break_glass_max": 6,
    "review_within": 144,
    "break_glass_block_overdue": False,
    "enabled": True,
}
ROLE_OPTIONS = ("approvers", "requesters", "break_glass")
PATTERN = "^T-"

# The keys of the rows that everybody tries to see, by scope: one has numbers, one has words, one has no keys at all.
KEYS = {"a": ["1", "2", "3", "4"], "b": ["x", "y", "z"], "w": [None]}
KEY_TYPES = {"a": "int", "b": "text", "w": None}


@dataclasses.dataclass(eq=False)
class Scope:
    name: str
    options: dict
    dropped: bool = False
    has_been_asked: bool = False

    def __getattr__(self, option):
        options = self.__dict__.get("options", {})
        if option not in options:
            raise AttributeError(option)
        return options[option]

    @property
    def total(self):
        return self.max_total or self.max_duration


@dataclasses.dataclass(eq=False)
class Request:
    id: int
    scope: Scope
    key: str | None
    all_rows: bool
    grantee: int
    actor: int
    person: list
    duration: int
    starts: int | None
    lapses: int
    # Of the rules when it was asked: {(stage, role): people}, the longest duration, and with extensions.
    approvers: dict
    longest: int
    total: int
    extends: "Grant | None" = None
    broken: bool = False
    state: str = "pending"
    decided: int | None = None
    yeses: list = dataclasses.field(default_factory=list)
    # What the grantee was called when it was asked.
    called: str = ""
    review_due: int | None = None
    reviewed: bool = False
    escalated: bool = False


@dataclasses.dataclass(eq=False)
class Grant:
    request: Request
    starts: int
    ends: int
    approved_by: set
    # Starts later: who asked must still be allowed to, then.
    scheduled: bool
    grantee: int
    ended: str | None = None


@dataclasses.dataclass
class Yes:
    person: list
    stage: int
    duration: int | None


@dataclasses.dataclass
class Progress:
    stage: int
    stages: int
    filled: int
    needed: int
    # A role that approves no more is a slot that nobody fills; how such slots are counted is nobody's promise.
    hopeless: bool

    @property
    def complete(self):
        return self.stage > self.stages > 0

    def text(self):
        where = f" in stage {self.stage} of {self.stages}" if self.stages > 1 else ""
        needed = r"\d+" if self.hopeless else self.needed
        return f"pending: {self.filled} of {needed}{where}"


@dataclasses.dataclass
class Plan:
    """What the model expects of an operation. `then` is called with what the database returned."""

    refused: set | None = None
    text: str | None = None
    then: Callable = lambda value: None


def most_filled(slots, able):
    """How many slots can be filled by distinct people; few enough to try every way."""
    if not able:
        return 0
    best = most_filled(slots, able[1:])
    for slot in able[0] & slots:
        best = max(best, 1 + most_filled(slots - {slot}, able[1:]))
    return best


class Model:
    def __init__(self):
        self.roles = Roles()
        self.now = 0
        self.scopes = {}
        self.requests = {}
        self.grants = {}
        # Who changed the rules of a scope of that name, and until when: (name, numbers, until)
        self.changes = []
        self.names_used = set()
        # (request or scope, kind) since the last look.
        self.events = []

    # ------------------------------------------------------------------ who may

    def may_ask(self, scope, roles):
        return scope.requesters is None or all(
            any(self.roles.qualifies(role, named) for named in scope.requesters) for role in roles
        )

    def belongs_to_one(self, person, named):
        return bool(person) and all(any(self.roles.qualifies(m, r) for r in named) for m in person)

    def approver_roles(self, scope):
        return {role for stage in scope.approvers for role in stage if self.roles.exists(role)}

    def entitled(self, person, roles):
        """Login and actor both, to one and the same role."""
        return bool(person) and any(all(self.roles.qualifies(m, role) for m in person) for role in roles)

    def has_approved(self, scope, person):
        """An approver, or one of a scope that has been dropped, when it was."""
        return self.entitled(person, self.approver_roles(scope))

    def is_approver(self, scope, person):
        return not scope.dropped and self.has_approved(scope, person)

    def changed_rules(self, scope, roles):
        return any(name == scope.name and until >= self.now and set(roles) & people for name, people, until in self.changes)

    def changers(self, scope):
        return {role for name, people, until in self.changes if name == scope.name and until >= self.now for role in people}

    # ------------------------------------------------------------------ what has been said

    def slots(self, request):
        """In each stage, of each role the greater number of then and now; who approves no more fills nothing."""
        today = {(n, role): people for n, stage in enumerate(request.scope.approvers, 1) for role, people in stage.items()}
        return {slot: max(today.get(slot, 0), request.approvers.get(slot, 0)) for slot in today | request.approvers}

    def counts(self, request, yes):
        """A yes stands while its giver qualifies, would not be served and has not changed the rules."""
        served = any(self.roles.would_serve(member, request.grantee) for member in yes.person)
        return not served and not self.changed_rules(request.scope, yes.person)

    def progress(self, request, yeses):
        slots, present = self.slots(request), self.approver_roles(request.scope)
        stages = max((stage for stage, _ in slots), default=0)
        for stage in range(1, stages + 1):
            asked = {role: people for (at, role), people in slots.items() if at == stage}
            places = {(role, n) for role, people in asked.items() for n in range(people) if role in present}
            able = [
                {(role, n) for role, n in places if self.entitled(yes.person, [role])}
                for yes in yeses
                if yes.stage == stage and self.counts(request, yes)
            ]
            filled, needed = most_filled(places, able), sum(asked.values())
            if filled < needed:
                return Progress(stage, stages, filled, needed, len(places) < needed)
        return Progress(stages + 1, stages, 0, 0, False)

    def refuse_a_yes(self, request, person):
        """What stands in the way of somebody's yes: who they are, and only then what has become of the request."""
        refuse(self.no_decider(request, person) | {
            "grant would serve the approver": any(self.roles.would_serve(m, request.grantee) for m in person)
        })
        refuse({"no longer pending": request.state != "pending" or request.scope.dropped})

    def no_decider(self, request, person):
        return {
            "own request": bool(set(person) & set(request.person)),
            "not an approver": not self.has_approved(request.scope, person),
        }

    def hindrances(self, request, person, at):
        """The same, of a request that is pending and somebody who is entitled."""
        scope = request.scope
        turn = [role for (stage, role) in self.slots(request) if stage == at.stage and role in self.approver_roles(scope)]
        return {
            # Who has said yes can have it concluded when every slot is filled again.
            "has said yes already": not at.complete and self.has_said_yes(request, person),
            "grant has ended": request.extends is not None and self.has_ended(request.extends),
            "grantee is gone": not self.roles.exists(request.grantee),
            "all rows are not given any more": request.all_rows and scope.key_type is not None and not scope.allow_all_rows,
            "may not ask any more": not self.may_ask(scope, [*request.person, request.grantee]),
            "left the grantee": not self.roles.qualifies(request.actor, request.grantee),
            "who changed the rules takes no part": self.changed_rules(scope, [*person, *request.person, request.grantee]),
            # Where every slot is filled again, because somebody has come back to their role, it is anybody's turn.
            "another stage's turn": at.stages > 1 and not at.complete and not self.entitled(person, turn),
        }

    def has_said_yes(self, request, person):
        return any(set(yes.person) & set(person) for yes in request.yeses)

    def could_say_yes(self, request, person):
        """What jit.pending shows."""
        try:
            self.refuse_a_yes(request, person)
            refuse(self.hindrances(request, person, self.progress(request, request.yeses)))
        except Refused:
            return False
        return True

    # ------------------------------------------------------------------ what there is

    def has_ended(self, grant):
        return grant.ended is not None or grant.ends <= self.now

    def held(self, grantee, scope):
        return sum(
            g.grantee == grantee and g.request.scope is scope and not self.has_ended(g) for g in self.grants.values()
        )

    def pending(self, scope=None):
        return [r for r in self.requests.values() if r.state == "pending" and scope in (None, r.scope)]

    def live(self, scope=None):
        return [g for g in self.grants.values() if not self.has_ended(g) and scope in (None, g.request.scope)]

    def sees(self, handle):
        """The rows that somebody sees, as (scope, key)."""
        number = self.roles.numbers[handle]
        serving = self.roles.served_by(number)
        rows = set()
        for grant in self.live():
            request = grant.request
            if grant.starts <= self.now and grant.grantee in serving and number not in grant.approved_by:
                name = request.scope.name
                rows |= {(name, key) for key in KEYS[name] if request.all_rows or key == request.key}
        return rows

    def may_decide(self, handle):
        person = [self.roles.numbers[handle]]
        return {r.id for r in self.pending() if self.could_say_yes(r, person)}

    def may_review(self, handle):
        person = [self.roles.numbers[handle]]
        broken = (r for r in self.requests.values() if r.broken and not r.reviewed and not r.scope.dropped)
        return {r.id for r in broken if not any(self.no_decider(r, person).values())}

    def asked_by(self, handle):
        return {str(r.id): r.state for r in self.requests.values() if self.roles.numbers[handle] in r.person}

    # ------------------------------------------------------------------ asking

    def plan_ask(self, who, scope, key, duration, grantee, starts, all_rows, reason):
        named = self.named(grantee)
        person, actor = self.person(who)
        grantee_number = named or actor
        known = self.open_scope(scope)
        key_type = known.key_type
        refuse({
            "who changed the rules takes no part": self.changed_rules(known, person),
            **self.bad_reason(known, reason),
            **self.may_not_ask(known, person, actor, grantee_number),
            **self.bad_rows(known, key, all_rows),
            **self.bad_duration(duration, known.max_duration),
            "start in the past": starts is not None and starts < 0,
            "start too far ahead": starts is not None and starts > known.max_ahead,
        })
        all_rows = all_rows or key_type is None
        self.refuse_too_much(known, person, actor, grantee_number, key, all_rows, None)
        asked = known.default_duration if duration is None else duration

        def then(id):
            self.requests[id] = self.new_request(
                id, known, key, all_rows, grantee_number, actor, person, asked,
                starts=None if starts is None else self.now + starts,
            )
            self.events.append((id, "requested"))

        return Plan(then=then)

    def plan_extend(self, who, request, duration, reason):
        person, actor = self.person(who)
        asked = self.theirs(request, person)
        scope = asked.scope
        refuse({"lengthened another": asked.extends is not None, "glass does not get longer": asked.broken})
        grant = self.living(asked)
        left = scope.total - (grant.ends - grant.starts)
        refuse({
            "who changed the rules takes no part": self.changed_rules(scope, person),
            **self.bad_reason(scope, reason),
            **self.may_not_ask(scope, person, actor, asked.grantee),
            **self.bad_duration(duration, scope.max_duration),
            "no time left": duration > left,
        })
        self.refuse_too_much(scope, person, actor, asked.grantee, asked.key, asked.all_rows, grant)

        def then(id):
            self.requests[id] = self.new_request(
                id, scope, asked.key, asked.all_rows, asked.grantee, actor, person, duration, extends=grant
            )
            self.events.append((id, "requested"))

        return Plan(then=then)

    def plan_break(self, who, scope, key, duration, reason):
        person, actor = self.person(who)
        known = self.open_scope(scope)
        refuse({
            "may not break the glass": not self.belongs_to_one(person, known.break_glass or ()),
            "who changed the rules takes no part": self.changed_rules(known, person),
            # A role that several people can become would be served as a whole.
            "glass is broken for oneself": len(person) > 1,
        })
        refuse({
            "a reason is needed": not reason,
            **self.bad_rows(known, key, False),
            **self.bad_duration(duration, known.break_glass_max),
            "a review is overdue": known.break_glass_block_overdue
            and any(
                r.broken and not r.reviewed and r.review_due <= self.now and r.scope is known and set(r.person) & set(person)
                for r in self.requests.values()
            ),
        })
        lasts = min(known.default_duration, known.break_glass_max) if duration is None else duration

        def then(id):
            request = self.new_request(id, known, key, known.key_type is None, actor, actor, person, lasts)
            request.broken, request.state, request.review_due = True, "approved", self.now + known.review_within
            self.requests[id] = request
            self.grants[id] = Grant(request, self.now, self.now + lasts, self.changers(known), False, actor)
            self.events.append((id, "break-glass"))

        return Plan(then=then)

    def open_scope(self, name):
        refuse({"no such scope": name not in self.scopes})
        scope = self.scopes[name]
        refuse({"scope is disabled": not scope.enabled})
        return scope

    def bad_reason(self, scope, reason):
        return {
            "a reason is needed": not reason,
            "the reason has no such form": bool(scope.reason_pattern and reason and not reason.startswith("T-")),
        }

    def may_not_ask(self, scope, person, actor, grantee):
        return {
            "grantee is no group of theirs": not self.roles.qualifies(actor, grantee),
            "not one of the requesters": not self.may_ask(scope, [*person, grantee]),
        }

    def bad_rows(self, scope, key, all_rows):
        keyed = scope.key_type is not None
        return {
            "scope has no keys": not keyed and key is not None,
            "key or all rows, not both": keyed and key is not None and all_rows,
            "no key of that type": scope.key_type == "int" and key is not None and not key.isdigit() and not all_rows,
            "all rows are not given": keyed and key is None and all_rows and not scope.allow_all_rows,
            "a key is needed": keyed and key is None and not all_rows,
        }

    def bad_duration(self, duration, most):
        return {
            "longer than the maximum": duration is not None and duration > most,
            "longer than nothing": duration is not None and duration <= 0,
        }

    def refuse_too_much(self, scope, person, actor, grantee, key, all_rows, extends):
        """Requests are counted by the login that made them, or by the actor where the login is a shared one."""
        pending = [r for r in self.pending(scope) if r.person[0] in person]
        same = (grantee, key, all_rows, extends)
        refuse({
            "denied a moment ago": any(
                r.state == "denied" and r.scope is scope and r.person[0] in person
                and (r.key, r.all_rows) == (key, all_rows) and r.decided + scope.denial_pause > self.now
                for r in self.requests.values()
            ),
            "too many pending": len(pending) >= scope.max_pending,
            "too many grants": extends is None and self.held(grantee, scope) >= scope.max_grants,
            "the same is pending": any(
                r.person[0] == person[0] and (r.grantee, r.key, r.all_rows, r.extends) == same for r in pending
            ),
        })

    def new_request(self, id, scope, key, all_rows, grantee, actor, person, duration, starts=None, extends=None):
        scope.has_been_asked = True
        frozen = {(n, role): people for n, stage in enumerate(scope.approvers, 1) for role, people in stage.items()}
        return Request(
            id, scope, key, all_rows, grantee, actor, person, duration, starts, self.now + scope.pending_ttl,
            frozen, scope.max_duration, scope.total, extends, called=self.roles.names[self.roles.handles[grantee]],
        )

    # ------------------------------------------------------------------ deciding

    def plan_approve(self, who, request, duration):
        person, actor = self.person(who)
        asked = self.known(request)
        self.refuse_a_yes(asked, person)
        at = self.progress(asked, asked.yeses)
        refuse(self.hindrances(asked, person, at) | {
            "only shorter": duration is not None and duration > asked.duration,
            "longer than nothing": duration is not None and duration <= 0,
        })
        yes = Yes(person, at.stage, duration)
        yeses = [*asked.yeses] if self.has_said_yes(asked, person) else [*asked.yeses, yes]
        after = self.progress(asked, yeses)
        if not after.complete:
            def then(_):
                asked.yeses = yeses
                self.events.append((asked.id, "approval"))

            return Plan(text=after.text(), then=then)

        scope = asked.scope
        lasts = min([asked.duration, asked.longest, scope.max_duration, *(y.duration for y in [*yeses, yes] if y.duration)])
        by = {role for y in yeses for role in y.person} | self.changers(scope)
        grant = asked.extends
        if grant is None:
            refuse({"too many grants": self.held(asked.grantee, scope) >= scope.max_grants})
            starts = max(self.now, self.now if asked.starts is None else asked.starts)
        else:
            ends = min(grant.ends + lasts, grant.starts + min(asked.total, scope.total))
            refuse({"no longer than that": ends <= grant.ends})

        def then(_):
            asked.yeses, asked.state, asked.decided = yeses, "approved", self.now
            if grant is None:
                self.grants[asked.id] = Grant(asked, starts, starts + lasts, by, starts > self.now, asked.grantee)
                self.events.append((asked.id, "approved"))
            else:
                grant.ends = ends
                grant.approved_by |= by
                self.events.append((asked.id, "extended"))

        return Plan(text="approved", then=then)

    def plan_deny(self, who, request, reason):
        person, _ = self.person(who)
        refuse({"a reason is needed": not reason})
        asked = self.known(request)
        refuse(self.no_decider(asked, person))
        refuse({"no longer pending": asked.state != "pending" or asked.scope.dropped})
        return Plan(then=lambda _: self.decide(asked, "denied"))

    def plan_cancel(self, who, request):
        person, _ = self.person(who)
        asked = self.theirs(request, person)
        refuse({"no longer pending": asked.state != "pending"})
        return Plan(then=lambda _: self.decide(asked, "cancelled"))

    def plan_review(self, who, request, justified, reason):
        person, _ = self.person(who)
        refuse({"a reason is needed": not reason})
        asked = self.known(request)
        # To find it unjustified, everybody else who decides is good enough.
        refuse(self.no_decider(asked, person) | {
            "grant would serve the approver": justified and any(self.roles.would_serve(m, asked.grantee) for m in person)
        })
        refuse({"scope has been dropped": asked.scope.dropped})
        refuse({"who changed the rules takes no part": justified and self.changed_rules(asked.scope, person)})
        refuse({"glass was not broken": not asked.broken})
        refuse({"reviewed already": asked.reviewed})

        def then(_):
            asked.reviewed = True
            self.events.append((asked.id, "reviewed"))
            if not justified and not self.has_ended(self.grants[asked.id]):
                self.end(self.grants[asked.id], "revoked")

        return Plan(then=then)

    def decide(self, request, state):
        request.state, request.decided = state, self.now
        self.events.append((request.id, state))

    # ------------------------------------------------------------------ ending

    def plan_release(self, who, request):
        person, _ = self.person(who)
        grant = self.living(self.theirs(request, person))
        return Plan(then=lambda _: self.end(grant, "released"))

    def plan_revoke(self, who, request, reason):
        person, actor = self.person(who)
        refuse({"a reason is needed": not reason})
        asked = self.known(request)
        refuse({"may not revoke": not self.is_approver(asked.scope, person) and not self.roles.is_admin(actor)})
        grant = self.living(asked)
        return Plan(then=lambda _: self.end(grant, "revoked"))

    def plan_revoke_all(self, who, scope, grantee, reason):
        number = self.named(grantee)
        self.admin(who)
        refuse({"a reason is needed": not reason, "no such scope": scope is not None and scope not in self.scopes})
        ending = [g for g in self.live(self.scopes.get(scope) if scope else None) if number in (None, g.grantee)]
        return Plan(text=str(len(ending)), then=lambda _: [self.end(g, "revoked") for g in ending])

    def end(self, grant, how):
        grant.ended = how
        self.events.append((grant.request.id, how))

    def living(self, request):
        refuse({"no grant": request.id not in self.grants})
        refuse({"grant has ended": self.has_ended(self.grants[request.id])})
        return self.grants[request.id]

    # ------------------------------------------------------------------ rules

    def plan_create_scope(self, who, scope, options):
        self.admin(who)
        merged = DEFAULTS | options
        refuse(self.bad_options(merged, options) | {"scope exists": scope in self.scopes})
        bound = self.bind(merged, options)
        if bound["default_duration"] is None:
            bound["default_duration"] = min(6, bound["max_duration"])

        def then(_):
            # Made anew is changed.
            if scope in self.names_used:
                self.note(who, scope, bound["pending_ttl"])
            self.names_used.add(scope)
            self.scopes[scope] = Scope(scope, bound)
            self.events.append((scope, "scope created"))

        return Plan(then=then)

    def plan_alter_scope(self, who, scope, changes):
        self.admin(who)
        refuse({"no such scope": scope not in self.scopes})
        known = self.scopes[scope]
        # Null is the default.
        changes = {name: DEFAULTS[name] if value is None else value for name, value in changes.items()}
        merged = known.options | changes
        refuse(self.bad_options(merged, changes) | {
            "key type stays": known.has_been_asked and merged["key_type"] != known.key_type
        })
        bound = self.bind(merged, changes)
        if bound["default_duration"] is None:
            bound["default_duration"] = min(6, bound["max_duration"])
        differs = {name for name in bound if bound[name] != known.options[name]}
        again = set(changes) & set(ROLE_OPTIONS)
        stopped = known.enabled and not bound["enabled"]
        longest = max(known.pending_ttl, bound["pending_ttl"])

        def then(_):
            if not differs and not again:
                return
            # To stop a scope is no change of what it takes to get access.
            if again or differs - ({"enabled"} if stopped else set()):
                self.note(who, scope, longest)
                # Nor does what was approved and starts later serve who changes them before that.
                for grant in self.grants.values():
                    if grant.request.scope is known and grant.scheduled:
                        grant.approved_by |= {n for n in who if n not in self.roles.shared}
            known.options = bound
            self.events.append((scope, "scope altered"))
            if stopped:
                self.stop(known, "scope disabled")

        return Plan(then=then)

    def plan_drop_scope(self, who, scope):
        self.admin(who)
        refuse({"no such scope": scope not in self.scopes})
        known = self.scopes[scope]

        def then(_):
            self.note(who, scope, known.pending_ttl)
            self.events.append((scope, "scope dropped"))
            known.dropped = True
            del self.scopes[scope]
            self.stop(known, "scope dropped")

        return Plan(then=then)

    def stop(self, scope, how):
        for grant in self.live(scope):
            self.end(grant, how)
        for request in self.pending(scope):
            self.decide(request, "closed")

    def note(self, who, scope, lasts):
        """For as long as requests may be pending, and a minute more: at the moment itself they still have no part."""
        self.changes.append((scope, {n for n in who if n not in self.roles.shared}, self.now + lasts))

    def bad_options(self, merged, named):
        durations = merged["max_duration"], merged["max_total"], merged["default_duration"]
        handles = [*itertools.chain(*named.get("approvers", ())), *(named.get("requesters") or ()), *(named.get("break_glass") or ())]
        return {
            "option is wrong": (durations[1] is not None and durations[1] < durations[0])
            or (durations[2] is not None and durations[2] > durations[0])
            or not merged["max_pending"] or not merged["max_grants"] or merged["max_duration"] <= 0,
            "option names no role": any(self.roles.numbers[handle] is None for handle in handles),
        }

    def bind(self, merged, named):
        """Rules are about the roles that they name when they name them, whatever those are called later."""
        number = self.roles.numbers.get
        bound = dict(merged)
        if "approvers" in named:
            bound["approvers"] = [{number(handle): people for handle, people in stage.items()} for stage in named["approvers"]]
        for option in ("requesters", "break_glass"):
            if option in named:
                bound[option] = named[option] and [number(handle) for handle in named[option]]
        return bound

    def admin(self, who):
        refuse({"not an admin": not self.roles.is_admin(who[1])})
        refuse({"a shared login does nothing": who[1] in self.roles.shared})

    # ------------------------------------------------------------------ roles

    def join(self, member, group):
        """False: it goes in a circle, or somebody is not there."""
        member, group = self.roles.numbers[member], self.roles.numbers[group]
        if None in (member, group) or member in self.roles.reach(group) or self.roles.has(member, group):
            return False
        self.roles.add(member, group)
        return True

    def leave(self, member, group):
        member, group = self.roles.numbers[member], self.roles.numbers[group]
        if not self.roles.has(member, group):
            return False
        self.roles.remove(member, group)
        return True

    # ------------------------------------------------------------------ time

    def parts(self, units):
        """A wait, cut where a scheduled grant starts that ends in it as well: that it started is known first."""
        cuts = {g.starts - self.now for g in self.live() if g.scheduled and self.now < g.starts and g.ends <= self.now + units}
        moments = sorted({*cuts, units})
        return [b - a for a, b in zip([0, *moments], moments)]

    def wait(self, units):
        # What is not over yet, as time has it.
        alive = self.live()
        self.now += units
        for grant in alive:
            if self.has_ended(grant):
                self.end(grant, "expired")
        for request in self.pending():
            if request.lapses <= self.now:
                self.decide(request, "lapsed")
        for grant in self.live():
            if grant.scheduled and grant.starts <= self.now:
                grant.scheduled = False
                asked = grant.request
                may = self.may_ask(asked.scope, [*asked.person, asked.grantee])
                if not may or not self.roles.qualifies(asked.actor, asked.grantee):
                    self.end(grant, "ineligible")
        for request in self.requests.values():
            if request.broken and not request.reviewed and not request.escalated and request.review_due <= self.now:
                request.escalated = True
                self.events.append((request.id, "review overdue"))

    # ------------------------------------------------------------------ the beginnings

    def person(self, who):
        login, actor = who
        refuse({"a shared login does nothing": actor in self.roles.shared})
        return self.roles.person(login, actor), actor

    def named(self, grantee):
        """A name that is no role's does not come as far as us."""
        number = self.roles.numbers[grantee] if grantee else None
        refuse({"no such role": bool(grantee) and number is None})
        return number

    def known(self, request):
        refuse({"no such request": request not in self.requests})
        return self.requests[request]

    def theirs(self, request, person):
        asked = self.known(request)
        refuse({"somebody else's request": not set(asked.person) & set(person)})
        return asked

    def plan(self, op, arguments):
        """`op`: an Op; `arguments` as it has them, with the request that is meant."""
        login, actor = (self.roles.numbers[handle] for handle in op.who)
        if actor is None:
            return None
        if op.who[0] != ROOT and actor not in self.roles.reach(login):
            return Plan(refused={"cannot become that role"})
        try:
            return getattr(self, f"plan_{op.kind}")((login, actor), **arguments)
        except Refused as refused:
            return Plan(refused=refused.rules)

    def everybody_sees(self):
        return {handle: self.sees(handle) for handle in PEOPLE}
