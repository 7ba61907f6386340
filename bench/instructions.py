"""Instructions of an execution, counted by callgrind: no noise, where a few percent matter.

A single-user backend (postgres --single) executes a prepared statement for one login after the other, some times to warm up and
many times to be counted. Reading the clock is a system call under valgrind, and takes fewer instructions than it does elsewhere.
"""

import os
import re
import shutil
import subprocess

from bench.server import BIN, cluster
from bench.world import DB

# callgrind writes down what it has counted, and begins anew, whenever this function is called.
MARK = "pg_sleep"
# Enough for the plan cache to settle on a generic plan.
WARM_UP = 10


def report(bench, result, logins, prepare, execute, times, what):
    """Adds a figure for each login, and for how many times the first's are the last's. `execute(n)` is the n-th execution."""
    if not shutil.which("valgrind"):
        result.note("instructions were not counted: there is no valgrind here")
        return
    script = []
    for number, login in enumerate(logins.values()):
        script += _prepared(login, f"s{number}", prepare, execute)
        script += [f"SELECT {MARK}(0)", *(f"EXECUTE s{number}{execute(n)}" for n in range(times)), f"SELECT {MARK}(0)"]
    parts, _ = _count(bench.still_server, script)
    # Before each mark: warming up, the executions, the next one's warming up, …
    counts = dict(zip(logins, (part / times for part in parts[1::2]), strict=True))
    for name, count in counts.items():
        result.add_figure(f"instructions, {what}, {name}", count, "instructions")
    first, last = list(counts)[0], list(counts)[-1]
    result.add_figure(f"instructions, {what}, {last} / {first}", counts[last] / counts[first], "times")


def sample(server, login, prepare, execute, times, afterwards, padding, **settings):
    """Instructions of an execution under such settings, and what the backend has printed; `afterwards` are statements that are not
    counted. Where things come to lie in memory depends on how large the environment is, and moves the count by a per mille or
    two: so let that vary."""
    script = [
        *_prepared(login, "s", prepare, execute), f"SELECT {MARK}(0)", *(f"EXECUTE s{execute(n)}" for n in range(times)),
        f"SELECT {MARK}(0)", *afterwards,
    ]
    parts, output = _count(server, script, settings, "x" * padding)
    return parts[1] / times, output


def _prepared(login, name, prepare, execute):
    return [
        "RESET ROLE", f"SET ROLE {login}", f"PREPARE {name}{prepare}", *(f"EXECUTE {name}{execute(n)}" for n in range(WARM_UP))
    ]


def _count(server, script, settings=None, padding=""):
    """Instructions between marks, and what was printed."""
    out = server.dir / "callgrind"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    done = cluster(
        "as_postgres", "valgrind", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}/part",
        BIN / "postgres", "--single", "-D", server.dir / "data",
        *(f"--{name}={value}" for name, value in (settings or {}).items()), DB,
        env=os.environ | {"PADDING": padding}, input="\n".join(script) + "\n", text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if "ERROR:" in done.stdout:
        raise RuntimeError(f"the single-user backend failed:\n{done.stdout}")
    parts = sorted(out.glob("part.*"), key=lambda path: int(path.suffix[1:]))
    return [int(re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)[1]) for part in parts], done.stdout
