"""Statements that are under way while something else happens."""

import threading

import psycopg

from harness import wait_until


class Started:
    """A statement in a session of its own, begun and not waited for."""

    def __init__(self, session, statement):
        self.session, self.error, self.rows = session, None, None
        self.thread = threading.Thread(target=self._run, args=(statement,))
        self.thread.start()

    def _run(self, statement):
        try:
            self.rows = self.session.execute(statement).fetchall()
        except psycopg.Error as error:
            self.error = error

    def outcome(self):
        """The error it ended with, None for a result."""
        self.thread.join(30)
        assert not self.thread.is_alive(), "it runs on"
        return self.error


class Running(Started):
    """One that sleeps by now, in pg_sleep(), or has failed."""

    def __init__(self, cluster, session, statement):
        super().__init__(session, statement)
        pid = session.info.backend_pid
        sleeps = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: self.error or cluster.value(sleeps, params=[pid]), "the statement runs")


def wait_until_terminated(cluster, session):
    pid = session.info.backend_pid
    wait_until(lambda: not cluster.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", params=[pid]), "the session is ended")
