"""Throwaway servers, made by scripts/cluster.sh, and the sessions that are timed on them."""

import os
import pathlib
import re
import shutil
import subprocess
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[1]
PG_CONFIG = os.environ["PG_CONFIG"]
BIN = pathlib.Path(subprocess.check_output([PG_CONFIG, "--bindir"], text=True).strip())

# A sample takes at least this long: a shorter one would measure the clock and the scheduler.
SHORTEST_SAMPLE = 0.01

# Nothing runs beside what is measured that would not run beside its rival: no vacuum, no checkpoint, no compilation.
SETTINGS = {
    "shared_preload_libraries": "jit_rls",
    "jit": "off",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": 0,
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1d",
    "max_connections": 100,
    "max_locks_per_transaction": 1024,
}


def cluster(function, *args, **run):
    """Calls a function of scripts/cluster.sh."""
    command = ["bash", "-c", 'set -euo pipefail; source scripts/cluster.sh; "$@"', "bench", function, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, check=True, **run)


class Server:
    """One cluster, in a directory of its own."""

    def __init__(self, directory, **settings):
        self.dir = pathlib.Path(directory)
        self.settings = SETTINGS | settings
        cluster("cluster_init", self.dir)
        self.start()

    def start(self):
        cluster("cluster_start", self.dir, *(f"{name}={value}" for name, value in self.settings.items()))

    def stop(self):
        """With a checkpoint, so that nothing has to be recovered."""
        cluster("as_postgres", BIN / "pg_ctl", "-D", self.dir / "data", "-m", "fast", "-w", "stop", stdout=subprocess.DEVNULL)

    def remove(self):
        cluster("cluster_stop", self.dir)
        shutil.rmtree(self.dir)

    def connect(self, dbname, user="postgres"):
        return psycopg.connect(host=str(self.dir / "socket"), port=5432, user=user, dbname=dbname, autocommit=True)

    def execute(self, dbname, sql, params=None):
        """As the superuser, in a session that exists only for this."""
        with self.connect(dbname) as connection:
            connection.execute(sql, params)

    def rows(self, dbname, sql, params=None, user="postgres"):
        with self.connect(dbname, user) as connection:
            return connection.execute(sql, params).fetchall()

    def value(self, dbname, sql, params=None, user="postgres"):
        return self.rows(dbname, sql, params, user)[0][0]

    def settle(self):
        """Until nobody but us does anything: after a load, the extension's workers may be busy for a while."""
        deadline, quiet = time.monotonic() + 300, 0
        with self.connect("postgres") as connection:
            while quiet < 3:
                busy = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL"
                ).fetchone()[0]
                quiet = 0 if busy else quiet + 1
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the server in {self.dir} does not come to rest")
                time.sleep(0.05)

    def pgbench(self, dbname, user, script, transactions, **variables):
        """Runs a script that often, in one client that prepares its statements; returns how many a second, connecting apart."""
        command = [BIN / "pgbench", "-n", "-M", "prepared", "-c", "1", "-j", "1", "-t", transactions, "-f", script]
        for name, value in variables.items():
            command += ["-D", f"{name}={value}"]
        command += ["-h", self.dir / "socket", "-p", "5432", "-U", user, dbname]
        done = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        rate = re.search(r"^tps = ([0-9.]+) ", done.stdout, re.MULTILINE)
        if done.returncode or not rate:
            raise RuntimeError(f"pgbench failed:\n{done.stdout}")
        return float(rate[1])


class Session:
    """A connection whose statements are sent and timed at the level of libpq: Python adds a few microseconds."""

    def __init__(self, server, dbname, user):
        self.connection = server.connect(dbname, user)
        self.pq = self.connection.pgconn

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def run(self, statement, times=1):
        """The first value that comes back, and the seconds it takes, planning included: the mean of some executions in a row."""
        text = statement.encode()
        begun = time.perf_counter()
        for _ in range(times):
            result = self.pq.exec_(text)
        seconds = (time.perf_counter() - begun) / times
        if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise RuntimeError(f"{statement}: {result.error_message.decode()}")
        return result.get_value(0, 0).decode(), seconds

    def sampler(self, statement, expected):
        """Something to be interleaved: seconds for the statement, which must bring that value. What is short is repeated until a
        sample is long enough."""
        value, seconds = self.run(statement)
        assert value == str(expected), f"{self.connection.info.user} got {value}, not {expected}: {statement}"
        if seconds < 10 * SHORTEST_SAMPLE:
            # The first time was spent on filling caches.
            seconds = self.run(statement)[1]
        times = max(1, round(SHORTEST_SAMPLE / seconds))
        return lambda: self.run(statement, times)[1]
