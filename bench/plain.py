"""Asking and approving in plain SQL: the same rows in tables and indexes like jit_rls's own, in as many transactions.

It checks nothing: not who asks, not who approves, not whether the request is still wanted. Values that jit_rls finds out are
constants here.
"""

from bench.lifecycle import Step, Way

TABLES = ("requests", "reviews", "grants", "events", "outbox")


def create(connection):
    connection.execute("CREATE SCHEMA plain; GRANT USAGE ON SCHEMA plain TO PUBLIC")
    for table in TABLES:
        connection.execute(f"CREATE TABLE plain.{table} (LIKE jit_private.{table} INCLUDING ALL)")
        connection.execute(f"GRANT ALL ON plain.{table} TO PUBLIC")


class Statements:
    """For one requester and one approver. What jit_rls has written about a request of theirs is the model."""

    def __init__(self, connection, requester, approver):
        self.requester, self.approver = _person(connection, requester), _person(connection, approver)
        self.model = connection.execute(
            """SELECT quote_literal(r.rules), quote_literal(r.origin), quote_literal(a.details), quote_literal(b.details),
                      quote_literal(v.roles), quote_literal(v.paths)
                 FROM jit_private.requests r
                      JOIN jit_private.events a ON a.request_id = r.id AND a.kind = 'requested'
                      JOIN jit_private.events b ON b.request_id = r.id AND b.kind = 'approved'
                      JOIN jit_private.reviews v ON v.request_id = r.id
                WHERE r.login = %s ORDER BY r.id LIMIT 1""",
            [requester],
        ).fetchone()

    def _request(self, key):
        rules, origin, *_ = self.model
        name, oid = self.requester
        return f"""INSERT INTO plain.requests (scope_id, scope, key, all_rows, grantee, grantee_id, login, login_id, actor, actor_id,
                                     person, reason, duration, created_at, lapses_at, epoch, rules, origin)
                   VALUES (1, 'tenant', {key}, false, {name}, {oid}, {name}, {oid}, {name}, {oid}, ARRAY[{oid}]::oid[], 'benchmark',
                           interval '7 days', clock_timestamp(), clock_timestamp() + interval '1 day', 1, {rules}, {origin})
                   RETURNING id"""

    def _review(self, request):
        name, oid = self.approver
        return f"""INSERT INTO plain.reviews (request_id, at, decision, login, login_id, actor, actor_id, person, stage, roles, paths)
                   SELECT {request}, clock_timestamp(), 'approve', {name}, {oid}, {name}, {oid}, ARRAY[{oid}]::oid[],
                          1, {self.model[4]}::text[], {self.model[5]}::text[]"""

    def _decision(self, request):
        return f"""UPDATE plain.requests r SET state = 'approved', decided_at = clock_timestamp(), decided_by = {self.approver[0]}
                    WHERE r.id = {request} AND r.state = 'pending' RETURNING r.*"""

    def _grant(self, source):
        return f"""INSERT INTO plain.grants (id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at,
                                   approved_by, epoch, origin)
                   SELECT r.id, r.scope_id, r.scope, r.key, r.all_rows, r.grantee, r.grantee_id, clock_timestamp(),
                          clock_timestamp() + r.duration, ARRAY[{self.approver[1]}]::oid[], r.epoch, r.origin
                     FROM {source} r"""

    def _event(self, kind, request):
        who, details = (self.requester[0], self.model[2]) if kind == "requested" else (self.approver[0], self.model[3])
        return f"""INSERT INTO plain.events (at, kind, request_id, scope, login, actor, details)
                   SELECT clock_timestamp(), '{kind}', {request}, 'tenant', {who}, {who}, {details}::jsonb"""

    def one_statement(self):
        """One prepared statement for each transaction: as fast as plain SQL can be."""
        return Way(
            [Step(f"""WITH asked AS ({self._request('$1')}),
                           event AS ({self._event('requested', 'a.id')} FROM asked a RETURNING id),
                           out AS (INSERT INTO plain.outbox SELECT e.id FROM event e)
                      SELECT a.id FROM asked a""", "key", "request")],
            [Step(f"""WITH review AS ({self._review('$1::bigint')}),
                           decided AS ({self._decision('$1::bigint')}),
                           granted AS ({self._grant('decided')}),
                           event AS ({self._event('approved', 'd.id')} FROM decided d RETURNING id),
                           out AS (INSERT INTO plain.outbox SELECT e.id FROM event e)
                      SELECT d.state FROM decided d""", "request", "answer")],
        )

    def statement_by_statement(self):
        """As an application would: each statement prepared, one after the other, between BEGIN and COMMIT."""
        outbox = Step("INSERT INTO plain.outbox VALUES ($1::bigint)", "event")
        return Way(
            [
                Step("BEGIN"),
                Step(self._request("$1"), "key", "request"),
                Step(f"{self._event('requested', '$1::bigint')} RETURNING id", "request", "event"),
                outbox,
                Step("COMMIT"),
            ],
            [
                Step("BEGIN"),
                Step("SELECT 1 FROM plain.requests r WHERE r.id = $1::bigint FOR NO KEY UPDATE", "request"),
                Step(self._review("$1::bigint"), "request"),
                Step(f"WITH decided AS ({self._decision('$1::bigint')}) SELECT d.state FROM decided d", "request", "answer"),
                Step(f"{self._grant('plain.requests')} WHERE r.id = $1::bigint", "request"),
                Step(f"{self._event('approved', '$1::bigint')} RETURNING id", "request", "event"),
                outbox,
                Step("COMMIT"),
            ],
        )


def _person(connection, login):
    return connection.execute("SELECT quote_literal(rolname), oid FROM pg_roles WHERE rolname = %s", [login]).fetchone()
