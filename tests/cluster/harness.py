"""Throwaway PostgreSQL servers for the cluster tests; conftest.py hands them out."""

import ctypes
import itertools
import json
import os
import pathlib
import pwd
import signal
import subprocess
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[2]
PG_CONFIG = os.environ.get("PG_CONFIG") or "/usr/lib/postgresql/15/bin/pg_config"
BIN = pathlib.Path(subprocess.check_output([PG_CONFIG, "--bindir"], text=True).strip())
ROLES = ROOT / "tests/pg_regress/roles.sql"
SETUP = ROOT / "tests/pg_regress/setup.sql"

# PostgreSQL refuses to run as root.
OS_USER = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
ENV = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def wait_until(condition, message="", timeout=15.0):
    """Polls until condition() is true and returns what it returned: tests wait for a state, never for a time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} seconds: {message or condition}")
        time.sleep(0.01)
    return value


def run_as_postgres(*command):
    """Runs a program of PostgreSQL's as the user whom the server runs as; returns its output."""
    done = subprocess.run(
        [str(part) for part in command], cwd="/", env=ENV, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **_identity(),
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"
    return done.stdout


def _identity():
    return {} if os.geteuid() else {"user": OS_USER.pw_uid, "group": OS_USER.pw_gid, "extra_groups": []}


def _die_with_us():
    """A server does not outlive a test run that was killed: SIGQUIT is PostgreSQL's immediate shutdown.

    It is sent when the *thread* ends that started the server: start servers in the main thread.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _children(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold anything; state and parent follow it.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def _state(pid):
    """The letter that ps shows, or None."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _is_running(pid):
    return _state(pid) not in (None, "Z")


# Of a scope.
NO_LIMITS = {"max_pending": 1_000_000, "max_grants": 1_000_000, "denial_pause": "0"}


class Cluster:
    """One server: a data directory and a directory for its socket, both its own. No TCP."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.data = self.dir / "data"
        self.socket = self.dir / "socket"
        self.logfile = self.dir / "log"
        self.process = None
        self._connections = []
        self._databases = itertools.count(1)
        self.dir.mkdir(parents=True)
        self.socket.mkdir(mode=0o700)
        if os.geteuid() == 0:
            for path in (self.dir, self.socket):
                os.chown(path, OS_USER.pw_uid, OS_USER.pw_gid)

    def init(self):
        """initdb. "trust" is for whoever gets through the socket's directory, which is closed to others."""
        run_as_postgres(
            BIN / "initdb", "-D", self.data, "-U", "postgres", "--encoding=UTF8", "--no-locale", "--no-sync",
            "--auth-local=trust", "--auth-host=reject",
        )
        self._include_settings()
        return self

    def _include_settings(self):
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("include = 'test.conf'\n")

    def start(self, preload=True, settings=None, wait=True):
        """Starts with exactly these settings; those of an earlier start are forgotten."""
        values = {
            "listen_addresses": "",
            "unix_socket_directories": self.socket,
            "unix_socket_permissions": "0700",
            "max_worker_processes": 32,
            "log_line_prefix": "%m [%p] %q%u@%d ",
        }
        if preload:
            values["shared_preload_libraries"] = "jit_rls"
        self.configure(values | (settings or {}))
        with open(self.logfile, "ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "postgres"), "-D", str(self.data)], cwd="/", env=ENV, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, preexec_fn=_die_with_us, **_identity(),
            )
        if wait:
            wait_until(self._accepts, f"server in {self.dir} accepts connections", timeout=60)
        return self

    def configure(self, values):
        lines = [f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in values.items()]
        (self.data / "test.conf").write_text("".join(lines))

    def reload(self, settings):
        """Adds settings to the running server and sends SIGHUP."""
        with open(self.data / "test.conf", "a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        os.kill(self.process.pid, signal.SIGHUP)

    def _accepts(self):
        status = self.process.poll()
        assert status is None, f"server ended with {status}:\n{self.log()[-4000:]}"
        try:
            psycopg.connect(self.conninfo()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode="fast", timeout=30):
        """A shutdown that is not through in time is a failure, not something to wait out."""
        if self.process is None:
            return
        self.close_connections()
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            left = _children(self.process.pid)
            self.kill9()
            raise AssertionError(f"{mode} shutdown took over {timeout} seconds; still there: {left}") from None
        self.process = None
        return status

    def restart(self, **start):
        self.stop()
        return self.start(**start)

    def kill9(self):
        """A crash: the postmaster and all its children die at once. Data files are as the kernel has them."""
        postmaster = self.process.pid
        # Stopped, it starts no more children; and killed last, it is not missed by those that live for a moment longer.
        os.kill(postmaster, signal.SIGSTOP)
        wait_until(lambda: _state(postmaster) in (None, "T", "Z"), "the postmaster is stopped")
        everybody = _children(postmaster)
        for pid in [*everybody, postmaster]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        # Until the last one is gone the shared memory is in use, and a new server refuses to start.
        wait_until(lambda: not any(map(_is_running, everybody)), "all server processes are gone")
        self.close_connections()

    def conninfo(self, user="postgres", dbname="postgres", **options):
        return psycopg.conninfo.make_conninfo(
            host=str(self.socket), port=5432, user=user, dbname=dbname, connect_timeout=10, **options
        )

    def connect(self, user="postgres", dbname="postgres", autocommit=True, **options):
        """A session that is closed with the cluster at the latest."""
        connection = psycopg.connect(self.conninfo(user, dbname, **options), autocommit=autocommit)
        self._connections.append(connection)
        return connection

    def close_connections(self):
        for connection in self._connections:
            # close() from here could wait for a statement that another thread still runs.
            connection.close()
        self._connections.clear()

    def value(self, sql, user="postgres", dbname="postgres", params=None):
        """The first column of the first row, from a session that exists only for this."""
        with psycopg.connect(self.conninfo(user, dbname), autocommit=True) as connection:
            row = connection.execute(sql, params).fetchone()
            return row and row[0]

    def execute(self, sql, user="postgres", dbname="postgres", params=None):
        """Like value(), for statements that return nothing."""
        with psycopg.connect(self.conninfo(user, dbname), autocommit=True) as connection:
            connection.execute(sql, params)

    def psql(self, sql=None, user="postgres", dbname="postgres", file=None, check=True, args=()):
        """What psql prints (unaligned, tuples only), for what only psql does. Errors fail unless check=False."""
        command = [BIN / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(user, dbname), *args]
        if file:
            command += ["-f", file]
        done = subprocess.run(
            [str(part) for part in command], env=ENV, input=sql or "", text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, f"psql failed:\n{done.stdout}"
        return done.stdout

    def log(self):
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def create_roles(self):
        self.psql(file=ROLES)
        return self

    def new_database(self, name=None, extension=True):
        name = name or f"db{next(self._databases)}"
        self.execute(f'CREATE DATABASE "{name}"')
        if extension:
            self.psql(file=SETUP, dbname=name)
        return name

    def worker(self, dbname):
        """The process id of the database's worker, or None."""
        return self.value(
            "SELECT pid FROM pg_stat_activity WHERE backend_type ILIKE 'jit_rls%%worker%%' AND datname = %s", params=[dbname]
        )

    def launcher(self):
        """The process id of the launcher, or None."""
        return self.value("SELECT pid FROM pg_stat_activity WHERE backend_type ILIKE 'jit_rls%%launcher%%'")

    def create_scope(self, dbname, name="s", **options):
        """By default: keys of type int, one support_lead says yes, and nobody is in the way of who asks a thousand times."""
        options = {"key_type": "int", "approvers": {"support_lead": 1}} | NO_LIMITS | options
        self.decide("SELECT jit.create_scope(%s, %s)", "postgres", dbname, [name, json.dumps(options)])

    def request(self, dbname, scope="s", key="1", duration=None, user="alice"):
        return self.value(
            "SELECT jit_request(%s, 'refund', key => %s, duration => %s)", user, dbname, [scope, key, duration]
        )

    def approve(self, dbname, request, user="bob"):
        return self.decide("SELECT jit_approve(%s)", user, dbname, [request])

    def decide(self, sql, user, dbname, params):
        """Like value(), in a session that has loaded the library, which matters where it was not preloaded."""
        with psycopg.connect(self.conninfo(user, dbname), autocommit=True) as connection:
            connection.execute("SELECT jit.preloaded()")
            return connection.execute(sql, params).fetchone()[0]

    def grant(self, dbname, scope="s", key="1", duration=None):
        """Asked for by alice and approved by bob; returns the id."""
        request = self.request(dbname, scope, key, duration)
        assert self.approve(dbname, request) == "approved"
        return request

    def active(self, dbname, scope="s", key=1, user="alice"):
        return self.value("SELECT jit_active(%s, %s)", user, dbname, [scope, key])

    def waits_for_lock(self, connection):
        """Whether the session of this connection is waiting for another one's lock."""
        return self.value(
            "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", params=[connection.info.backend_pid]
        )

    def standby(self, directory, **start):
        """A streaming hot standby of this server, started."""
        standby = Cluster(directory)
        run_as_postgres(
            BIN / "pg_basebackup", "-D", standby.data, "-d", self.conninfo(), "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        # test.conf came along, and start() writes it anew.
        return standby.start(**start)

    def wait_for_replay(self, standby):
        """Until the standby has replayed all that is written here now."""
        target = self.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", params=[target]), f"replay of {target}")


class OpenSessions:
    """alice's sessions that are open all the time: one between transactions, two inside of one with an old snapshot.

    A call asks all of them and returns the set of their answers, None for who is denied. Of the two inside, one has used no grant
    in its transaction so far: what has ended must be denied by the check itself. The other goes on in a transaction that has
    used what it could, and must be refused once that has ended.
    """

    def __init__(self, cluster, db, query, beforehand):
        """`beforehand` gives a transaction its snapshot, its locks and a copy of the grants, and uses none of them."""
        self.query, self.beforehand = query, beforehand
        self.plain, self.unused, self.using = (cluster.connect("alice", db) for _ in range(3))
        self.has_used = False
        for session in (self.unused, self.using):
            session.execute(f"PREPARE q AS {query}")
            self._begin(session)

    def __call__(self):
        asked = [(self.plain, self.query), (self.unused, "EXECUTE q"), (self.unused, self.query)]
        answers = {session.execute(query).fetchone()[0] or None for session, query in asked}
        if answers != {None}:
            self.unused.execute("ROLLBACK")
            self._begin(self.unused)
        return answers | {self._ask_using()}

    def _ask_using(self):
        try:
            answer = self.using.execute("EXECUTE q").fetchone()[0] or None
        except psycopg.errors.QueryCanceled as error:
            assert self.has_used and "has ended" in error.diag.message_primary, error
            assert "jit_request" in error.diag.message_hint, error
            self.has_used = False
            self.using.execute("ROLLBACK")
            self._begin(self.using)
            return None
        assert answer or not self.has_used, "the transaction has used what has ended, and goes on"
        self.has_used = answer is not None
        return answer

    def _begin(self, session):
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        for statement in self.beforehand:
            session.execute(statement)
