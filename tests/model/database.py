"""The real thing: a server, a database with the extension, and sessions in which the operations happen."""

import json

import psycopg
from psycopg import pq

import ops
from harness import Cluster, wait_until
from model import KEYS
from roles import ADMINS, HANDLES, PEOPLE, POOL, ROOT

SETTINGS = {
    "fsync": "off",
    "jit": "off",
    "autovacuum": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "statement_timeout": "30s",
    "jit_rls.shared_logins": POOL,
}
OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)

# What is kept on record is not deleted, by nobody: here it is, between two histories.
APPEND_ONLY = ["reviews", "endings", "events", "rule_changes"]
EMPTIED = ["outbox", "requests", "reviews", "grants", "endings", "events", "rule_changes", "approvers", "requesters", "break_glass", "scopes"]

# A person at a time, each with statements of their own, so that plans stay: they are made for a role.
LOOK_AS = """
    PERFORM set_config('session_authorization', names[{n}], true);
    SELECT string_agg(t.s || ' ' || coalesce(t.k::text, t.x, ''), ',') INTO rows FROM public.t;
    seen := seen || coalesce(rows, '');
    IF with_views THEN
        views := views || jsonb_build_array(jsonb_build_array(
            (SELECT jsonb_agg(p.id ORDER BY p.id) FROM jit.pending p), (SELECT jsonb_agg(p.id ORDER BY p.id) FROM jit.pending_reviews p),
            (SELECT jsonb_object_agg(r.id, r.state) FROM jit.my_requests r)));
    END IF;
"""
LOOK = """
CREATE FUNCTION public.look(names text[], last bigint, with_views boolean) RETURNS jsonb LANGUAGE plpgsql AS $look$
DECLARE
    rows text;
    seen text[];
    views jsonb := '[]';
BEGIN
    {as_everybody}
    PERFORM set_config('session_authorization', 'postgres', true);
    RETURN jsonb_build_object('seen', seen, 'views', views,
        'requests', (SELECT jsonb_agg(jsonb_build_array(r.id, r.state, r.reviewed_at IS NOT NULL, r.escalated_at IS NOT NULL))
                       FROM jit_private.requests r),
        'grants', (SELECT jsonb_agg(jsonb_build_array(g.id, floor(extract(epoch FROM clock_timestamp() - g.starts_at) / {unit}),
                                                      extract(epoch FROM g.ends_at - g.starts_at) / {unit},
                                                      (SELECT string_agg(e.kind, ',') FROM jit_private.endings e WHERE e.grant_id = g.id)))
                     FROM jit_private.grants g),
        'events', (SELECT jsonb_agg(jsonb_build_array(e.id, coalesce(e.request_id::text, e.scope), e.kind) ORDER BY e.id)
                     FROM jit_private.events e WHERE e.id > last));
END
$look$;
"""
# Time goes on because everything on record moves into the past. Then the worker has its turn, which nobody has woken: a
# revocation of nothing does that.
SHIFT = """
CREATE FUNCTION public.shift(by interval) RETURNS void LANGUAGE plpgsql AS $shift$
BEGIN
    UPDATE jit_private.requests
       SET created_at = created_at - by, lapses_at = lapses_at - by, decided_at = decided_at - by, starts_at = starts_at - by,
           review_due = review_due - by;
    UPDATE jit_private.grants SET starts_at = starts_at - by, ends_at = ends_at - by;
    UPDATE jit_private.rule_changes SET at = at - by, until = until - by;
    PERFORM jit.revoke_all(grantee => '{pool}', reason => 'wake up');
END
$shift$;
CREATE FUNCTION public.settle() RETURNS void LANGUAGE plpgsql AS $settle$
DECLARE
    until timestamptz := clock_timestamp() + interval '20 seconds';
BEGIN
    WHILE EXISTS (SELECT FROM jit_private.grants g
                   WHERE g.tidied_at IS NULL AND g.ends_at <= clock_timestamp()
                     AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id))
          OR EXISTS (SELECT FROM jit_private.grants g
                      WHERE g.tidied_at IS NULL AND g.asked_by IS NOT NULL AND g.starts_at <= clock_timestamp())
          OR EXISTS (SELECT FROM jit_private.requests r WHERE r.state = 'pending' AND r.lapses_at <= clock_timestamp())
          OR EXISTS (SELECT FROM jit_private.requests r
                      WHERE r.review_due <= clock_timestamp() AND r.reviewed_at IS NULL AND r.escalated_at IS NULL) LOOP
        IF clock_timestamp() > until THEN
            RAISE 'the worker does not catch up';
        END IF;
        PERFORM pg_sleep(0.001);
    END LOOP;
END
$settle$;
"""


class Outcome:
    """Of one statement: a value, or an error."""

    def __init__(self, result):
        self.failed = result.status not in OK
        field = result.error_field
        self.sqlstate = (field(pq.DiagnosticField.SQLSTATE) or b"none").decode() if self.failed else None
        self.message = (field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode() if self.failed else None
        value = None if self.failed or not result.ntuples else result.get_value(0, 0)
        self.value = None if value is None else value.decode()

    def __str__(self):
        return f"{self.sqlstate}: {self.message}" if self.failed else f"{self.value!r}"


class Database:
    def __init__(self, directory):
        self.server = Cluster(directory)
        self.server.init().start(settings=SETTINGS)
        for handle in HANDLES:
            self.server.execute(ops.create_role(handle, handle))
        self.name = self.server.new_database()
        self.logins = {}
        self.connect()
        self.set_up()

    def connect(self):
        self.root = self.server.connect(ROOT, self.name)
        wait_until(lambda: self.server.worker(self.name), "the worker runs", 30)

    def restart(self):
        self.logins.clear()
        self.server.restart(settings=SETTINGS)
        self.connect()

    def set_up(self):
        as_everybody = "".join(LOOK_AS.format(n=n) for n in range(1, len(PEOPLE) + 1))
        statements = [
            *(f"ALTER TABLE jit_private.{table} DISABLE TRIGGER append_only" for table in APPEND_ONLY),
            "GRANT EXECUTE ON FUNCTION jit.create_scope(text, jsonb), jit.alter_scope(text, jsonb), jit.drop_scope(text),"
            f" jit.revoke_all(text, regrole, text) TO {ADMINS}",
            "CREATE TABLE public.t (s text, k int, x text)",
            "ALTER TABLE public.t ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY a ON public.t USING (s = 'a' AND jit_active('a', k))",
            "CREATE POLICY b ON public.t USING (s = 'b' AND jit_active('b', x))",
            "CREATE POLICY w ON public.t USING (s = 'w' AND jit_active('w'))",
            "GRANT SELECT ON public.t TO PUBLIC",
            LOOK.format(as_everybody=as_everybody, unit=60 * ops.MINUTES),
            SHIFT.format(pool=POOL),
        ]
        for scope, keys in KEYS.items():
            for key in keys:
                k, x = (key, None) if scope == "a" else (None, key)
                statements.append(f"INSERT INTO public.t VALUES ('{scope}', {ops.literal(k)}, {ops.literal(x)})")
        for statement in statements:
            self.root.execute(statement)

    # ------------------------------------------------------------------ statements

    def run(self, text, connection=None):
        return Outcome((connection or self.root).pgconn.exec_(text.encode()))

    def must(self, text):
        outcome = self.run(text)
        assert not outcome.failed, f"{text}\n{outcome}"
        return outcome.value

    def act(self, names, who, statement, real):
        """As somebody: in a login of theirs, or in a superuser's session that is theirs for one transaction."""
        login = who[0]
        if not real or login == ROOT:
            return self.run(ops.as_somebody(names, who, statement))
        become = f"SET LOCAL ROLE {names[who[1]]}; " if who[1] != login else ""
        return self.run(become + statement, self.login(login, names[login]))

    def login(self, handle, name=None):
        """A session of theirs, which stays open."""
        if handle not in self.logins:
            self.logins[handle] = self.server.connect(name or handle, self.name)
        return self.logins[handle]

    def sees(self, names, handle):
        """By a real login, the rows."""
        outcome = self.act(names, (handle, handle), "SELECT string_agg(s || ' ' || coalesce(k::text, x, ''), ',') FROM t", True)
        assert not outcome.failed, outcome
        return rows(outcome.value)

    def look(self, names, last, views):
        people = "{" + ",".join(names[handle] for handle in PEOPLE) + "}"
        return Sight(json.loads(self.must(f"SELECT look('{people}', {last}, {ops.literal(views)})")))

    def wait(self, units):
        self.must(f"SELECT shift('{ops.interval(units)}')")
        self.must("SELECT settle()")

    def settle_scope(self):
        """What was under way while its scope was stopped is put on record by the worker, once a second."""
        left = """SELECT count(*) FROM jit_private.scopes s
                   WHERE EXISTS (SELECT FROM jit_private.grants g
                                  WHERE g.scope_id = s.id AND g.epoch < s.epoch
                                    AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id))
                      OR EXISTS (SELECT FROM jit_private.requests r WHERE r.scope_id = s.id AND r.epoch < s.epoch AND r.state = 'pending')"""
        wait_until(lambda: self.must(left) == "0", "the worker closes what is left open")

    # ------------------------------------------------------------------ between histories

    def reset(self, roles, keep_logins=False):
        """`roles`: as the last history has left them."""
        if not keep_logins:
            for connection in self.logins.values():
                connection.close()
            self.logins.clear()
        statements = [f"DELETE FROM jit_private.{table}" for table in EMPTIED]
        for member, groups in roles.groups.items():
            names = [roles.names[roles.handles[group]] for group in groups]
            if names:
                statements.append(f"REVOKE {', '.join(sorted(names))} FROM {roles.names[roles.handles[member]]}")
        for handle in HANDLES:
            if roles.numbers[handle] is None:
                statements.append(ops.create_role(handle, handle))
            elif roles.names[handle] != handle:
                statements.append(f"ALTER ROLE {roles.names[handle]} RENAME TO {handle}")
        self.must("; ".join(statements))

    def tidy(self):
        self.run("VACUUM")

    def close(self):
        self.server.stop("immediate")


def rows(text):
    return {(scope, key or None) for scope, _, key in (row.partition(" ") for row in text.split(","))} if text else set()


class Sight:
    """What can be seen of the database at one moment."""

    def __init__(self, found):
        self.seen = dict(zip(PEOPLE, map(rows, found["seen"])))
        # What jit.pending, jit.pending_reviews and jit.my_requests show everybody.
        self.views = dict(zip(PEOPLE, ([set(a or ()), set(b or ()), c or {}] for a, b, c in found["views"])))
        requests, grants = found["requests"] or (), found["grants"] or ()
        self.requests = {id: (state, reviewed, escalated) for id, state, reviewed, escalated in requests}
        self.grants = {id: (int(since), lasts, how) for id, since, lasts, how in grants}
        events = found["events"] or []
        self.last = events[-1][0] if events else None
        # By what they are about, in order.
        self.events = {}
        for _, about, kind in events:
            self.events.setdefault(about, []).append(kind)
