"""Who belongs to whom, as the model believes it.

A role is known by a handle that stays ("lead"); what it is called now, and whether it is still the same role, changes.
"""

PEOPLE = ["ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal"]
# One that does not inherit what it belongs to, and must SET ROLE.
NOINHERIT = {"dan", "ops"}
GROUPS = ["lead", "sec", "sup", "ops", "team", "crew"]
# May execute the functions of schema jit. Never dropped: privileges depend on it.
ADMINS = "adm"
# A login that many people share; named in jit_rls.shared_logins.
POOL = "pool"
LOGINS = {*PEOPLE, POOL}
HANDLES = [*PEOPLE, *GROUPS, ADMINS, POOL]
ROOT = "postgres"


class Roles:
    def __init__(self):
        # By handle; a role that has been dropped has no number.
        self.numbers = {handle: number for number, handle in enumerate([ROOT, *HANDLES])}
        self.names = {handle: handle for handle in self.numbers}
        self.handles = {number: handle for handle, number in self.numbers.items()}
        self.logins = {self.numbers[handle] for handle in LOGINS}
        self.lazy = {self.numbers[handle] for handle in NOINHERIT}
        self.shared = {self.numbers[POOL]}
        # {member: groups}
        self.groups = {}
        self.reached = {}

    # ------------------------------------------------------------------ changes

    def add(self, member, group):
        self.groups.setdefault(member, set()).add(group)
        self.reached.clear()

    def remove(self, member, group):
        self.groups.get(member, set()).discard(group)
        self.reached.clear()

    def drop(self, handle):
        number = self.numbers[handle]
        self.numbers[handle] = None
        self.groups.pop(number, None)
        for groups in self.groups.values():
            groups.discard(number)
        self.reached.clear()

    def create(self, handle):
        number = max(self.handles) + 1
        self.numbers[handle], self.handles[number] = number, handle
        if handle in NOINHERIT:
            self.lazy.add(number)
        if handle in LOGINS:
            self.logins.add(number)
        self.reached.clear()

    def exists(self, number):
        return self.numbers.get(self.handles[number]) == number

    def has(self, member, group):
        return group in self.groups.get(member, ())

    # ------------------------------------------------------------------ questions

    def reach(self, start, inheriting=False, past_logins=True):
        """What a role is a member of, directly or through others, itself included."""
        key = (start, inheriting, past_logins)
        if key not in self.reached:
            found, todo = set(), [start] if self.exists(start) else []
            while todo:
                role = todo.pop()
                if role in found:
                    continue
                found.add(role)
                if inheriting and role in self.lazy:
                    continue
                if not past_logins and role != start and role in self.logins:
                    continue
                todo += self.groups.get(role, ())
            self.reached[key] = found
        return self.reached[key]

    def qualifies(self, member, role):
        """Inherits the role, or may become it or one that inherits it; what is another person's does not count."""
        may_become = self.reach(member, past_logins=False)
        return role in may_become or any(
            role in self.reach(via, inheriting=True, past_logins=False)
            for via in may_become
            if via == member or via not in self.logins
        )

    def would_serve(self, member, grantee):
        """Any kind of membership."""
        return grantee in self.reach(member)

    def served_by(self, actor):
        return self.reach(actor, inheriting=True)

    def is_admin(self, actor):
        return actor == self.numbers[ROOT] or self.numbers[ADMINS] in self.served_by(actor)

    def person(self, login, actor):
        """Two acts are one person's when these sets share a role."""
        return [role for role in dict.fromkeys([login, actor]) if role not in self.shared]
