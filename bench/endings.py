"""What the cases about the end of access share: a server, and statements that are watched while they run."""

import select
import time

import psycopg
from psycopg.pq import DiagnosticField

from bench import world
from bench.lifecycle import OK

DB = "ending"
# Whoever is not stopped within this time, in seconds, is not stopped at all.
PATIENCE = 30
# In the place of an SQLSTATE: the connection is gone, and nobody has said why.
LOST = "lost"


def create(bench, name, logins):
    """A server with people and the scope "tenant". Commits are flushed, as they are where endings matter."""
    server = bench.server(name, shared_buffers="512MB", fsync="on")
    world.create_approver(server)
    world.create_database(server, DB)
    world.create_scope(server, DB, "tenant", "int")
    server.execute(DB, ";".join(f"CREATE ROLE {login} LOGIN" for login in logins))
    return server


def table(server, name, query, policy=None):
    """A table of what the query brings, for everybody to read, as far as the policy allows."""
    with server.connect(DB) as connection:
        connection.execute(f"CREATE TABLE {name} AS {query}; GRANT SELECT ON {name} TO PUBLIC")
        if policy:
            connection.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; CREATE POLICY jit ON {name} USING ({policy})")
        connection.execute(f"VACUUM (ANALYZE) {name}")


class Running:
    """A session whose statement is sent, and waited for later."""

    def __init__(self, server, login):
        self.connection = server.connect(DB, login)
        self.pid = self.connection.info.backend_pid
        self.pq = self.connection.pgconn
        self.last_words = None
        self.connection.add_notice_handler(self._hear)

    def _hear(self, notice):
        """What comes before the next statement is sent is a notice to libpq, also why the session is ended."""
        if notice.severity_nonlocalized == "FATAL":
            self.last_words = (notice.sqlstate, f"{notice.message_primary}: {notice.message_detail}")

    def send(self, statement):
        self.pq.send_query(statement.encode())
        self.pq.flush()

    def outcome(self):
        """What came of the statement, and SQLSTATE, message and detail if it failed."""
        deadline = time.monotonic() + PATIENCE
        while self.pq.is_busy():
            if not select.select([self.pq.socket], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"the statement runs on, {PATIENCE} seconds after it should have ended")
            try:
                self.pq.consume_input()
            except psycopg.OperationalError:
                # The connection is gone, and the result says so.
                break
        # Of a session that was ended, the first says why, and the second that the connection is gone.
        result = self.pq.get_result()
        while self.pq.get_result():
            pass
        return result, *self._error(result)

    def _error(self, result):
        if result.status in OK:
            return None, ""
        fields = (DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY, DiagnosticField.MESSAGE_DETAIL)
        state, *texts = ((result.error_field(field) or b"").decode() for field in fields)
        if state:
            return state, ": ".join(texts)
        return self.last_words or (LOST, result.error_message.decode())

    def is_running(self):
        self.pq.consume_input()
        return bool(self.pq.is_busy())
