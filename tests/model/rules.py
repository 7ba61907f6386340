"""What the model knows of refusals: each rule by its name, with the SQLSTATE and the words that it is refused with."""

import re

DENIED, BAD, UNKNOWN, STATE = "42501", "22023", "42704", "55000"

_RULES = {
    # Whoever asks.
    "no such scope": (UNKNOWN, "there is no scope"),
    "no such role": (UNKNOWN, r'role ".*" does not exist'),
    "no such request": (UNKNOWN, "there is no request"),
    "cannot become that role": (DENIED, "permission denied to set role"),
    "a shared login does nothing": (DENIED, "is a login that many people share"),
    "scope is disabled": (STATE, 'scope ".*" is disabled'),
    "who changed the rules takes no part": (DENIED, "has changed the rules of scope"),
    "a reason is needed": (BAD, "(a reason|a comment) is needed"),
    "the reason has no such form": (BAD, "the reason is not of the form"),
    "grantee is no group of theirs": (DENIED, 'does not belong to "[^"]*"$'),
    "not one of the requesters": (DENIED, "may not ask for scope"),
    "scope has no keys": (BAD, "has no keys"),
    "key or all rows, not both": (BAD, "key and all_rows exclude each other"),
    "no key of that type": (BAD, "is not a key of type"),
    "all rows are not given": (BAD, "gives no access to all rows"),
    "a key is needed": (BAD, "needs a key"),
    "longer than the maximum": (BAD, "the duration is longer than the maximum"),
    "longer than nothing": (BAD, "must be longer than nothing"),
    "start in the past": (BAD, "starts_at lies in the past"),
    "start too far ahead": (BAD, "starts_at lies more than"),
    "denied a moment ago": (STATE, "this has been denied a moment ago"),
    "too many pending": (STATE, "requests pending in scope"),
    "too many grants": (STATE, "serve that role already"),
    "the same is pending": (STATE, "asks for the same and is pending|the same has been asked for at this moment"),
    # Whoever decides.
    "own request": (DENIED, "is your own"),
    "not an approver": (DENIED, "you may not decide on request"),
    "grant would serve the approver": (DENIED, "could serve yourself"),
    "no longer pending": (STATE, r"request \d+ (is|has) (approved|denied|cancelled|closed|lapsed)"),
    "has said yes already": (STATE, "you have approved request"),
    "only shorter": (BAD, "the approver's duration is longer"),
    "grantee is gone": (STATE, "is for a role that does not exist any more"),
    "all rows are not given any more": (STATE, "asks for all rows, which"),
    "may not ask any more": (STATE, 'may not ask for scope ".*" any more'),
    "left the grantee": (STATE, 'does not belong to ".*" any more'),
    "another stage's turn": (STATE, "waits for stage"),
    "no longer than that": (STATE, "cannot get any longer"),
    # Whoever ends or lengthens.
    "somebody else's request": (DENIED, r"request \d+ is not yours"),
    "may not revoke": (DENIED, "you may not revoke"),
    "no grant": (STATE, "has no grant"),
    "grant has ended": (STATE, r"the grant of request \d+ has ended"),
    "lengthened another": (STATE, "has lengthened the grant of request"),
    "glass does not get longer": (STATE, r"request \d+ was made by breaking the glass"),
    "no time left": (BAD, "may last .* altogether"),
    # Break-glass.
    "may not break the glass": (DENIED, "may not break the glass"),
    "glass is broken for oneself": (DENIED, "the glass is broken for oneself"),
    "a review is overdue": (STATE, "has not been reviewed"),
    "glass was not broken": (STATE, "was not made by breaking the glass"),
    "reviewed already": (STATE, r"request \d+ has been reviewed"),
    "scope has been dropped": (STATE, 'scope ".*" has been dropped'),
    # Admins.
    "not an admin": (DENIED, "permission denied for function"),
    "scope exists": ("42710", "there is a scope"),
    "option names no role": (UNKNOWN, "wrong option"),
    "option is wrong": (BAD, 'wrong option|option "'),
    "key type stays": (STATE, "key_type of scope"),
}
RULES = {name: (sqlstate, re.compile(words)) for name, (sqlstate, words) in _RULES.items()}


class Refused(Exception):
    """The model refuses; by any of these rules, for which of several is told first is nobody's promise."""

    def __init__(self, rules):
        super().__init__(", ".join(sorted(rules)))
        self.rules = set(rules)


def refuse(violated):
    """`violated`: {rule: whether it is}"""
    rules = {rule for rule, is_violated in violated.items() if is_violated}
    if rules:
        raise Refused(rules)


def told(rules, sqlstate, message):
    """The one of the rules that this error tells of, if it is one."""
    for rule in rules:
        code, words = RULES[rule]
        if code == sqlstate and words.search(message):
            return rule
    return None
