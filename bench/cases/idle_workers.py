"""What the worker of a database does when there is nothing to do.

Each time that it wakes up and goes to sleep again is a voluntary context switch, which the kernel counts. By itself it looks around
once a minute. Nobody is connected meanwhile.
"""

import pathlib
import re
import statistics
import time

from bench import world
from bench.measure import count_at_most

TITLE = "idle databases, no standby"
# Of a worker, in a minute; and over how many seconds it takes to say so.
MOST, FEWEST_SECONDS = 1, 180
# Seconds: for all of them to be there, and in which none wakes up once they have come to rest.
PATIENCE, REST = 300, 3


def run(bench, result):
    server = bench.server("idle_workers", shared_buffers="512MB", fsync="off")
    world.create_approver(server)
    databases = [f"idle_{number}" for number in range(bench.size.idle_databases)]
    for database in databases:
        world.create_database(server, database)
        world.create_scope(server, database, "tenant", "int")
    workers, launcher = _processes(server, databases)
    _come_to_rest(workers)
    processes = [*workers, launcher]
    before = _switches(processes)
    time.sleep(bench.size.idle_seconds)
    *of_workers, of_launcher = (now - then for now, then in zip(_switches(processes), before, strict=True))
    minutes = bench.size.idle_seconds / 60
    for what, switches in (
        ("a worker's", statistics.mean(of_workers)), ("the busiest worker's", max(of_workers)), ("the launcher's", of_launcher)
    ):
        result.add_figure(f"voluntary context switches a minute, {what}", switches / minutes, "a minute")
    what = f"voluntary context switches of the busiest of {len(workers)} workers, in {bench.size.idle_seconds} s"
    result.checks.append(
        count_at_most(what, max(of_workers), bench.size.idle_seconds, MOST * minutes, FEWEST_SECONDS, "seconds")
    )
    server.remove()


def _processes(server, databases):
    """The process ids of all workers and of the launcher."""
    deadline = time.monotonic() + PATIENCE
    while True:
        rows = server.rows("postgres", "SELECT backend_type, datname, pid FROM pg_stat_activity")
        workers = {dbname: pid for kind, dbname, pid in rows if kind == "jit_rls worker"}
        if all(database in workers for database in databases):
            launcher = next(pid for kind, _, pid in rows if kind == "jit_rls launcher")
            return [workers[database] for database in databases], launcher
        assert time.monotonic() < deadline, f"{len(workers)} of {len(databases)} databases have a worker"
        time.sleep(0.5)


def _come_to_rest(pids):
    deadline, last = time.monotonic() + PATIENCE, None
    while (now := _switches(pids)) != last:
        assert time.monotonic() < deadline, "the workers do not come to rest"
        last = now
        time.sleep(REST)


def _switches(pids):
    texts = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return [int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]) for text in texts]
