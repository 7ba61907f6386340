"""Random histories: what somebody might do next, mostly what works, often what does not, and now and then what is rare."""

from model import KEY_TYPES, KEYS, PATTERN
from ops import Op
from roles import ADMINS, GROUPS, PEOPLE, POOL, ROOT

# How often each is done, of a hundred or so.
WEIGHTS = {
    "ask": 21, "approve": 27, "deny": 5, "cancel": 3, "revoke": 4, "release": 4, "extend": 10, "break": 8, "review": 6,
    "wait": 9, "join": 3, "leave": 5, "rename": 1, "drop_role": 0.7, "create_role": 1.5,
    "alter_scope": 4, "switch": 1.6, "drop_scope": 0.6, "create_scope": 1.2, "revoke_all": 1.2,
}
# Refusals that do not come up by themselves: a try that meets one is taken before others.
RARE = {
    "a review is overdue", "no longer than that", "grantee is gone", "all rows are not given any more", "left the grantee",
    "may not ask any more", "scope has been dropped", "glass was not broken", "glass does not get longer", "lengthened another",
    "too many grants", "too many pending", "denied a moment ago", "no time left", "has said yes already", "reviewed already",
    "grant would serve the approver", "start too far ahead", "key type stays", "another stage's turn", "only shorter",
    "the same is pending", "scope exists", "option names no role", "grant has ended", "no such role", "scope is disabled",
    "who changed the rules takes no part", "not one of the requesters", "cannot become that role",
}
# The rarest of them go first. Most are mistakes in what somebody writes.
RAREST = {
    "longer than nothing", "longer than the maximum", "start in the past", "a key is needed", "key or all rows, not both",
    "no key of that type", "scope has no keys", "all rows are not given", "no such scope", "no such role", "option is wrong",
    "option names no role", "glass is broken for oneself", "who changed the rules takes no part", "a review is overdue",
    "denied a moment ago", "too many pending", "start too far ahead", "no time left", "the same is pending",
    "too many grants", "may not ask any more", "grantee is gone", "left the grantee", "all rows are not given any more",
    "no longer than that", "scope has been dropped", "lengthened another", "the reason has no such form", "only shorter",
}
# What no model has to say anything about before it happens.
OF_ROLES = {"join", "leave", "rename", "drop_role", "create_role"}


class Generator:
    def __init__(self, rng, model, labels):
        # `labels`: {label: id} of what has been asked for in this history.
        self.scheme = iter(())
        self.rng, self.model, self.labels = rng, model, labels
        self.kinds, self.weights = list(WEIGHTS), list(WEIGHTS.values())

    # ------------------------------------------------------------------ one operation

    def next(self, label):
        """Something that is begun is mostly gone on with."""
        if self.rng.random() < 0.9:
            op = next(self.scheme, None)
            if op:
                op.label = label
                return op
        if self.rng.random() < 0.05:
            self.scheme = self.rng.choice(SCHEMES)(self)
        return self.anything(label)

    def anything(self, label):
        kind = self.rng.choices(self.kinds, self.weights)[0]
        if kind == "wait":
            return Op("wait", {"units": self.rng.choice([1, 1, 2, 2, 3, 4, 6, 9])}, label=label)
        if kind in OF_ROLES:
            return getattr(self, kind)(label)
        tries = [self.attempt(kind, label) for _ in range(8)]
        judged = [(op, self.judge(op)) for op in tries if op]
        chance = self.rng.random()
        if chance < 0.35:
            rare = [op for op, rules in judged if rules and rules & RARE]
            rarest = [op for op, rules in judged if rules and rules <= RAREST]
            if rare or rarest:
                return self.rng.choice(rarest or rare)
        if chance < 0.85:
            good = [op for op, rules in judged if not rules]
            if good:
                return good[0]
        return judged[0][0] if judged else self.anything(label)

    def judge(self, op):
        plan = self.model.plan(op, self.arguments(op))
        return plan and plan.refused or set()

    def arguments(self, op):
        if "request" not in op.arguments:
            return op.arguments
        return op.arguments | {"request": self.labels.get(op.arguments["request"], 0)}

    def attempt(self, kind, label):
        make = getattr(self, f"make_{kind}")
        made = make()
        if made is None:
            return None
        kind, who, arguments = made
        return Op(kind, arguments, who, label)

    # ------------------------------------------------------------------ who

    def somebody(self):
        login = POOL if self.rng.random() < 0.05 else self.rng.choice(PEOPLE)
        return self.acting(login)

    def acting(self, login):
        """Mostly as oneself, now and then as what one may become, rarely as what one may not."""
        roles, chance = self.model.roles, self.rng.random()
        if login == POOL and chance < 0.8 or chance < 0.12:
            may = sorted({roles.handles[n] for n in roles.reach(roles.numbers[login])} - {login})
            if may:
                return login, self.rng.choice(may)
        if chance > 0.99:
            return login, self.rng.choice([h for h in GROUPS if roles.numbers[h] is not None] or [login])
        return login, login

    def decider(self, request):
        """Who qualifies by some membership, mostly; whether they may is for the model to say."""
        roles, scope = self.model.roles, request and request.scope
        if scope and self.rng.random() < 0.75:
            approvers = [h for h in PEOPLE if self.model.has_approved(scope, [roles.numbers[h]]) and roles.numbers[h] not in request.person]
            if approvers:
                return self.acting(self.rng.choice(approvers))
        return self.somebody()

    def asker(self, scope):
        """Who is one of the requesters, mostly."""
        known = self.model.scopes.get(scope)
        if known and known.requesters is not None and self.rng.random() < 0.8:
            may = [h for h in PEOPLE if self.model.may_ask(known, [self.model.roles.numbers[h]])]
            if may:
                return self.acting(self.rng.choice(may))
        return self.somebody()

    def admin(self):
        return (ROOT, ROOT) if self.rng.random() < 0.7 else self.somebody()

    def requester(self, request):
        """Who has asked for it, mostly."""
        if request and self.rng.random() < 0.8:
            handle = self.model.roles.handles[request.person[0]]
            if handle in PEOPLE:
                return self.acting(handle)
        return self.somebody()

    # ------------------------------------------------------------------ what

    def reason(self):
        return self.rng.choices(["T-1", "because", ""], [12, 1, 0.4])[0]

    def duration(self, most, none=0.4):
        return None if self.rng.random() < none else self.rng.choices([self.rng.randrange(1, most + 1), most + 1, 0], [14, 1, 0.4])[0]

    def scope(self):
        names = sorted(self.model.scopes)
        return self.rng.choice(list(KEYS)) if not names or self.rng.random() < 0.08 else self.rng.choice(names)

    def rows(self, scope):
        known = self.model.scopes.get(scope)
        if self.rng.random() < 0.08:
            return self.rng.choice([("1", True), (None, False), ("nought", False), ("1", False)])
        if known is None or known.key_type is None:
            return None, False
        if self.rng.random() < (0.2 if known.allow_all_rows else 0.03):
            return None, True
        return self.rng.choice(KEYS[scope]), False

    def pick(self, wanted, chance=0.9):
        """A request that is as wanted, mostly; its label and itself."""
        rng = self.rng
        if rng.random() < 0.008:
            return -1, None
        found = {id: label for label, id in self.labels.items()}
        every = [(found[id], request) for id, request in self.model.requests.items() if id in found]
        some = [one for one in every if wanted(one[1])] if rng.random() < chance else every
        return rng.choice(some or every) if every else None

    def is_pending(self, request):
        return request.state == "pending"

    def is_live(self, request):
        grant = self.model.grants.get(request.id)
        return grant is not None and not self.model.has_ended(grant)

    def make_ask(self):
        scope = self.scope()
        who = self.asker(scope)
        key, all_rows = self.rows(scope)
        known = self.model.scopes.get(scope)
        grantee = None
        if self.rng.random() < 0.4:
            number = self.model.roles.numbers[who[1]]
            groups = sorted(self.model.roles.handles[n] for n in self.model.roles.reach(number)) if number is not None else []
            groups = [handle for handle in groups if handle in GROUPS]
            grantee = self.rng.choice(groups if groups and self.rng.random() < 0.85 else [*GROUPS, *PEOPLE])
        starts = None
        if self.rng.random() < 0.2:
            starts = self.rng.choices([self.rng.randrange(1, 10), 25, 40, -1], [10, 0.5, 0.5, 0.8])[0]
        duration = self.duration(known.max_duration if known else 6)
        return "ask", who, {
            "scope": scope, "key": key, "duration": duration, "grantee": grantee, "starts": starts, "all_rows": all_rows,
            "reason": self.reason(),
        }

    def make_break(self):
        scope = self.scope()
        key, _ = self.rows(scope)
        known = self.model.scopes.get(scope)
        duration = self.duration(known.break_glass_max if known else 6)
        return "break", self.somebody(), {"scope": scope, "key": key, "duration": duration, "reason": self.reason()}

    def make_approve(self):
        picked = self.pick(self.is_pending)
        if not picked:
            return None
        label, request = picked
        duration = self.duration(request.duration, 0.8) if request else None
        return "approve", self.decider(request), {"request": label, "duration": duration}

    def make_deny(self):
        picked = self.pick(self.is_pending)
        return picked and ("deny", self.decider(picked[1]), {"request": picked[0], "reason": self.reason()})

    def make_cancel(self):
        picked = self.pick(self.is_pending)
        return picked and ("cancel", self.requester(picked[1]), {"request": picked[0]})

    def make_release(self):
        picked = self.pick(self.is_live)
        return picked and ("release", self.requester(picked[1]), {"request": picked[0]})

    def make_revoke(self):
        picked = self.pick(self.is_live)
        return picked and ("revoke", self.decider(picked[1]), {"request": picked[0], "reason": self.reason()})

    def make_extend(self):
        picked = self.pick(self.is_live)
        if not picked:
            return None
        label, request = picked
        duration = self.duration(max(1, min(request.scope.max_duration, 6)) if request else 3, 0)
        return "extend", self.requester(request), {"request": label, "duration": duration, "reason": self.reason()}

    def make_review(self):
        picked = self.pick(lambda request: request.broken and (not request.reviewed or self.rng.random() < 0.2))
        justified = self.rng.random() < 0.5
        return picked and ("review", self.decider(picked[1]), {"request": picked[0], "justified": justified, "reason": self.reason()})

    # ------------------------------------------------------------------ rules

    def some_roles(self, most=2):
        return sorted(self.rng.sample([*GROUPS, *GROUPS, *PEOPLE], self.rng.randrange(1, most + 1)))

    def approvers(self):
        stages = self.rng.choices([0, 1, 2, 3], [0.5, 6, 3, 1])[0]
        return [
            {handle: self.rng.choices([1, 2], [4, 1])[0] for handle in self.rng.sample(["lead", "sec", "sup", "ops", "team"], self.rng.choices([1, 2], [3, 1])[0])}
            for _ in range(stages)
        ]

    def values(self, scope):
        """Of every option."""
        rng = self.rng
        longest = rng.randrange(4, 13)
        total = rng.choice([None, longest + rng.randrange(0, 9), longest + rng.randrange(0, 9)])
        return {
            "key_type": KEY_TYPES[scope],
            "allow_all_rows": scope == "a" and rng.random() < 0.7,
            "approvers": self.approvers(),
            "requesters": rng.choice([None, None, None, ["crew", "sup"], ["team"], self.some_roles(3)]),
            "default_duration": rng.randrange(2, longest + 1),
            "max_duration": longest,
            "max_total": total if rng.random() < 0.95 else longest - 1,
            "max_ahead": 24,
            "pending_ttl": rng.randrange(3, 20),
            "reason_pattern": rng.choice([None, None, PATTERN]),
            "max_pending": rng.choice([1, 2, 3, 20, 20]) if rng.random() < 0.97 else 0,
            "max_grants": rng.choice([1, 1, 2, 200, 200]) if rng.random() < 0.97 else 0,
            "denial_pause": rng.choice([0, 3, 9]),
            "break_glass": rng.choice([None, ["sup"], ["crew", "lead"], self.some_roles(3)]),
            "break_glass_max": rng.randrange(2, 7),
            "review_within": rng.randrange(1, 9),
            "break_glass_block_overdue": rng.random() < 0.6,
        }

    def make_create_scope(self):
        absent = [name for name in KEYS if name not in self.model.scopes]
        scope = self.rng.choice(absent if absent and self.rng.random() < 0.8 else list(KEYS))
        return "create_scope", self.admin(), {"scope": scope, "options": self.values(scope)}

    def make_alter_scope(self):
        scope = self.scope()
        values = self.values(scope)
        known = self.model.scopes.get(scope)
        chosen = self.rng.sample(sorted(values), self.rng.randrange(1, 4))
        changes = {name: values[name] for name in chosen}
        if "max_duration" in changes and self.rng.random() < 0.8:
            changes |= {name: values[name] for name in ("default_duration", "max_total")}
        # Only where it is refused: the rows that everybody tries to see have keys of one type.
        if "key_type" in changes and known and known.has_been_asked:
            changes["key_type"] = "bigint"
        else:
            changes.pop("key_type", None)
        return "alter_scope", self.admin(), {"scope": scope, "changes": changes or {"pending_ttl": values["pending_ttl"]}}

    def make_switch(self):
        """Off, and on again."""
        scope = self.scope()
        known = self.model.scopes.get(scope)
        enabled = not known.enabled if known and self.rng.random() < 0.95 else self.rng.random() < 0.5
        return "alter_scope", self.admin(), {"scope": scope, "changes": {"enabled": enabled}}

    def make_drop_scope(self):
        return "drop_scope", self.admin(), {"scope": self.scope()}

    def make_revoke_all(self):
        grantee = self.rng.choice([None, *GROUPS, *PEOPLE]) if self.rng.random() < 0.7 else None
        scope = None if self.rng.random() < 0.3 else self.scope()
        return "revoke_all", self.admin(), {"scope": scope, "grantee": grantee, "reason": self.reason()}

    # ------------------------------------------------------------------ roles

    def pair(self):
        member = self.rng.choice([*PEOPLE, *PEOPLE, *GROUPS, POOL])
        # A person's own role can be another's as well.
        others = PEOPLE if self.rng.random() < 0.1 or member == POOL else [*GROUPS, *GROUPS, *GROUPS, ADMINS]
        return member, self.rng.choice(others)

    def join(self, label):
        member, group = self.pair()
        return Op("join", {"member": member, "group": group}, label=label)

    def leave(self, label):
        roles = self.model.roles
        there = sorted((roles.handles[m], roles.handles[g]) for m, groups in roles.groups.items() for g in groups)
        member, group = self.rng.choice(there) if there else self.pair()
        return Op("leave", {"member": member, "group": group}, label=label)

    def rename(self, label):
        handle = self.rng.choice([*PEOPLE, *GROUPS])
        return Op("rename", {"role": handle, "name": f"{handle}_{label}"}, label=label)

    def drop_role(self, label):
        return Op("drop_role", {"role": self.rng.choice(GROUPS)}, label=label)

    def create_role(self, label):
        gone = [handle for handle in GROUPS if self.model.roles.numbers[handle] is None]
        return Op("create_role", {"role": self.rng.choice(gone or GROUPS)}, label=label)

    def beginning(self):
        """Who belongs to whom, and the scopes."""
        rng = self.rng
        usual = [
            ("ann", "crew"), ("ben", "crew"), ("cat", "lead"), ("dan", "lead"), ("eve", "sec"), ("fay", "team"), ("gus", "sup"),
            ("hal", "sup"), ("gus", "lead"), ("fay", "sec"), ("team", "crew"), ("ben", "team"), ("hal", "ops"), ("ops", "sec"),
            (POOL, "ann"), (POOL, "cat"), ("hal", ADMINS), ("crew", "sup"), ("eve", "ops"), ("dan", "crew"), ("cat", "ops"),
        ]
        pairs = [pair for pair in usual if rng.random() < 0.7] + [self.pair() for _ in range(rng.randrange(0, 6))]
        ops = [Op("join", {"member": member, "group": group}) for member, group in pairs]
        for scope in KEYS:
            values = self.values(scope)
            if not values["approvers"] and rng.random() < 0.8:
                values["approvers"] = [{"lead": 1}]
            if values["max_total"] is not None and values["max_total"] < values["max_duration"]:
                values["max_total"] = None
            values |= {limit: values[limit] or 2 for limit in ("max_pending", "max_grants")}
            ops.append(Op("create_scope", {"scope": scope, "options": values}))
        return ops




# ---------------------------------------------------------------------- what takes several steps


def found(generator, wanted):
    """The label of such a request, and the request."""
    labels = {id: label for label, id in generator.labels.items()}
    some = [(labels[id], r) for id, r in generator.model.requests.items() if id in labels and wanted(r)]
    return generator.rng.choice(some) if some else (None, None)


def for_a_group(generator, request):
    handle = generator.model.roles.handles[request.grantee]
    return request.state == "pending" and handle in GROUPS and request.actor != request.grantee


def approvals(generator, label, request, most=2):
    for _ in range(most):
        yield Op("approve", {"request": label, "duration": None}, generator.decider(request))


def ask_for_a_group(generator, **more):
    """By somebody who is asked for nothing but time; then the request, if it came to one."""
    model, rng = generator.model, generator.rng
    pairs = []
    for name, scope in model.scopes.items():
        if scope.enabled and scope.approvers:
            for handle in PEOPLE:
                number = model.roles.numbers[handle]
                for group in model.roles.reach(number) - {number}:
                    if model.roles.handles[group] in GROUPS and model.may_ask(scope, [number, group]):
                        pairs.append((name, handle, model.roles.handles[group]))
    if not pairs:
        return
    name, handle, group = rng.choice(sorted(pairs))
    arguments = {
        "scope": name, "key": rng.choice(KEYS[name]), "duration": None, "grantee": group, "starts": None, "all_rows": False,
        "reason": "T-1",
    }
    yield Op("ask", arguments | more, (handle, handle))


def cut_off(generator, request):
    """Every way from who asked to the group."""
    roles = generator.model.roles
    for group in sorted(roles.groups.get(request.actor, ())):
        if request.grantee in roles.reach(group):
            yield Op("leave", {"member": roles.handles[request.actor], "group": roles.handles[group]})


def group_goes(generator):
    yield from ask_for_a_group(generator)
    label, request = found(generator, lambda r: for_a_group(generator, r))
    if request:
        yield Op("drop_role", {"role": generator.model.roles.handles[request.grantee]})
        yield from approvals(generator, label, request)


def member_leaves(generator):
    yield from ask_for_a_group(generator)
    label, request = found(generator, lambda r: for_a_group(generator, r))
    if request:
        yield from cut_off(generator, request)
        yield from approvals(generator, label, request)


def member_leaves_before_the_start(generator):
    yield from ask_for_a_group(generator, starts=generator.rng.randrange(1, 5))
    label, request = found(generator, lambda r: for_a_group(generator, r) and r.starts and r.starts > generator.model.now)
    if not request:
        return
    for _ in range(6):
        if request.state != "pending":
            break
        op = Op("approve", {"request": label, "duration": None}, generator.decider(request))
        if generator.judge(op):
            continue
        yield op
    if request.state == "approved":
        if generator.rng.random() < 0.7:
            yield from cut_off(generator, request)
        else:
            yield Op("alter_scope", {"scope": request.scope.name, "changes": {"requesters": [generator.rng.choice(PEOPLE)]}})
        yield Op("wait", {"units": max(1, request.starts - generator.model.now)})


def requesters_change(generator):
    label, request = found(generator, lambda r: r.state == "pending" and not r.scope.dropped)
    if request:
        yield Op("alter_scope", {"scope": request.scope.name, "changes": {"requesters": [generator.rng.choice(PEOPLE)]}})
        yield from approvals(generator, label, request)


def all_rows_go(generator):
    scope = generator.model.scopes.get("a")
    if not scope or not scope.enabled:
        return
    if not scope.allow_all_rows:
        yield Op("alter_scope", {"scope": "a", "changes": {"allow_all_rows": True}})
    arguments = {"scope": "a", "key": None, "duration": None, "grantee": None, "starts": None, "all_rows": True, "reason": "T-1"}
    yield Op("ask", arguments, generator.asker("a"))
    label, request = found(generator, lambda r: r.state == "pending" and r.all_rows and r.scope.name == "a" and not r.scope.dropped)
    if request:
        yield Op("alter_scope", {"scope": "a", "changes": {"allow_all_rows": False}})
        yield from approvals(generator, label, request)


def total_shrinks(generator):
    """An extension that was possible when it was asked for."""
    label, request = found(generator, lambda r: generator.is_live(r) and not r.broken)
    if not request:
        return
    handle = generator.model.roles.handles[request.person[0]]
    if handle not in PEOPLE or request.scope.dropped:
        return
    grant = generator.model.grants[request.id]
    length = grant.ends - grant.starts
    if request.scope.total <= length:
        yield Op("alter_scope", {"scope": request.scope.name, "changes": {"max_total": max(length + 3, request.scope.max_duration)}})
    yield Op("extend", {"request": label, "duration": 1, "reason": "T-1"}, (handle, handle))
    label, extension = found(generator, lambda r: r.state == "pending" and r.extends is grant)
    if extension and not request.scope.dropped:
        shorter = {"default_duration": 1, "max_duration": 1, "max_total": None}
        yield Op("alter_scope", {"scope": request.scope.name, "changes": shorter})
        yield from approvals(generator, label, extension, 3)


def rules_are_bent(generator):
    """An admin changes the rules, then tries to have a part in what they allow."""
    model = generator.model
    admins = [handle for handle in PEOPLE if model.roles.is_admin(model.roles.numbers[handle])]
    if not admins:
        yield Op("join", {"member": generator.rng.choice(PEOPLE), "group": ADMINS})
    admins = [handle for handle in PEOPLE if model.roles.is_admin(model.roles.numbers[handle])]
    if not admins or not model.scopes:
        return
    admin, scope = generator.rng.choice(admins), generator.rng.choice(sorted(model.scopes))
    yield Op("alter_scope", {"scope": scope, "changes": {"pending_ttl": generator.rng.randrange(3, 20), "requesters": None}}, (admin, admin))
    arguments = {"scope": scope, "key": generator.rng.choice(KEYS[scope]), "duration": None, "grantee": None, "starts": None,
                 "all_rows": False, "reason": "T-1"}
    yield Op("ask", arguments, (admin, admin))
    label, request = found(generator, lambda r: r.state == "pending" and r.scope.name == scope and not r.scope.dropped)
    if request:
        yield Op("approve", {"request": label, "duration": None}, (admin, admin))


def glass_is_broken_late(generator):
    """Again, with the last time unreviewed."""
    for name, scope in sorted(generator.model.scopes.items()):
        able = [h for h in PEOPLE if generator.model.belongs_to_one([generator.model.roles.numbers[h]], scope.break_glass or ())]
        if scope.enabled and able:
            who = generator.rng.choice(able)
            arguments = {"scope": name, "key": generator.rng.choice(KEYS[name]), "duration": None, "reason": "T-1"}
            yield Op("break", arguments, (who, who))
            if not scope.break_glass_block_overdue:
                yield Op("alter_scope", {"scope": name, "changes": {"break_glass_block_overdue": True}})
            yield Op("wait", {"units": scope.review_within})
            yield Op("break", dict(arguments), (who, who))
            return


def asked_again(generator):
    """What was denied a moment ago."""
    label, request = found(generator, lambda r: r.state == "pending" and not r.extends and r.starts is None and not r.scope.dropped)
    if not request or request.scope.name not in generator.model.scopes:
        return
    handles = generator.model.roles.handles
    who, grantee = handles[request.person[0]], handles[request.grantee]
    if who not in PEOPLE:
        return
    if not request.scope.denial_pause:
        yield Op("alter_scope", {"scope": request.scope.name, "changes": {"denial_pause": 6}})
    yield Op("deny", {"request": label, "reason": "no"}, generator.decider(request))
    yield Op("wait", {"units": generator.rng.choice([1, 5, 6, 7])})
    arguments = {"scope": request.scope.name, "key": request.key, "duration": None, "starts": None, "reason": "T-1",
                 "grantee": None if grantee == who else grantee, "all_rows": request.all_rows and request.scope.key_type is not None}
    yield Op("ask", arguments, (who, who))


def lengthened(generator):
    """Asked for, allowed, and asked for again."""
    label, request = found(generator, lambda r: generator.is_live(r) and not r.broken and not r.scope.dropped)
    if not request or generator.model.roles.handles[request.person[0]] not in PEOPLE:
        return
    who = generator.model.roles.handles[request.person[0]]
    for _ in range(2):
        yield Op("extend", {"request": label, "duration": generator.rng.randrange(1, 4), "reason": "T-1"}, (who, who))
        extension_label, extension = found(generator, lambda r: r.state == "pending" and r.extends)
        if extension:
            yield from approvals(generator, extension_label, extension, 3)


def namesake_comes(generator):
    """A role of the rules goes; what names it is refused; another one of that name is somebody else."""
    rng, model = generator.rng, generator.model
    present = [handle for handle in GROUPS if model.roles.numbers[handle] is not None]
    if not present or not model.scopes:
        return
    gone, scope = rng.choice(present), rng.choice(sorted(model.scopes))
    yield Op("drop_role", {"role": gone})
    option = rng.choice(["requesters", "break_glass", "approvers"])
    yield Op("alter_scope", {"scope": scope, "changes": {option: [{gone: 1}] if option == "approvers" else [gone]}})
    arguments = {"scope": scope, "key": rng.choice(KEYS[scope]), "duration": None, "starts": None, "reason": "T-1", "all_rows": False}
    yield Op("ask", arguments | {"grantee": gone}, generator.acting(rng.choice(PEOPLE)))
    yield Op("create_role", {"role": gone})
    yield Op("join", {"member": rng.choice(PEOPLE), "group": gone})


def too_much_is_held(generator):
    rng, model = generator.rng, generator.model
    open_ones = sorted(name for name, scope in model.scopes.items() if scope.enabled and scope.approvers and name != "w")
    if not open_ones:
        return
    scope = rng.choice(open_ones)
    yield Op("alter_scope", {"scope": scope, "changes": {"max_grants": 1, "max_pending": 20, "requesters": None}})
    who = rng.choice(PEOPLE)
    for key in KEYS[scope][:2]:
        arguments = {"scope": scope, "key": key, "duration": None, "grantee": None, "starts": None, "reason": "T-1", "all_rows": False}
        yield Op("ask", arguments, (who, who))
    waiting = [label for label, id in generator.labels.items() if generator.is_pending(r := model.requests[id])
               and r.scope.name == scope and not r.extends and r.person == [model.roles.numbers[who]]]
    for label in waiting[-2:]:
        yield from approvals(generator, label, model.requests[generator.labels[label]])
    yield Op("ask", arguments | {"key": KEYS[scope][2]}, (who, who))


SCHEMES = [
    group_goes, member_leaves, member_leaves_before_the_start, member_leaves_before_the_start, requesters_change, all_rows_go,
    all_rows_go, total_shrinks, total_shrinks, rules_are_bent, glass_is_broken_late,
    member_leaves_before_the_start, asked_again, asked_again, lengthened, lengthened, lengthened, namesake_comes, namesake_comes,
    too_much_is_held,
]
