"""Instructions of an execution, counted by callgrind: no noise, where a few percent matter.

A single-user backend (postgres --single) executes a prepared statement for one login after the other, some times to warm up and
many times to be counted. Reading the clock is a system call under valgrind, and takes fewer instructions than it does elsewhere.
"""

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
        script += ["RESET ROLE", f"SET ROLE {login}", f"PREPARE s{number}{prepare}"]
        script += [f"EXECUTE s{number}{execute(n)}" for n in range(WARM_UP)]
        script += [f"SELECT {MARK}(0)", *(f"EXECUTE s{number}{execute(n)}" for n in range(times)), f"SELECT {MARK}(0)"]
    parts = _count(bench.still_server, script)
    # Before each mark: warming up, the executions, the next one's warming up, …
    counts = dict(zip(logins, (part / times for part in parts[1::2]), strict=True))
    for name, count in counts.items():
        result.add_figure(f"instructions, {what}, {name}", count, "instructions")
    first, last = list(counts)[0], list(counts)[-1]
    result.add_figure(f"instructions, {what}, {last} / {first}", counts[last] / counts[first], "times")


def _count(server, script):
    """Instructions between marks."""
    out = server.dir / "callgrind"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    done = cluster(
        "as_postgres", "valgrind", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}/part",
        BIN / "postgres", "--single", "-D", server.dir / "data", DB,
        input="\n".join(script) + "\n", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if "ERROR:" in done.stdout:
        raise RuntimeError(f"the single-user backend failed:\n{done.stdout}")
    parts = sorted(out.glob("part.*"), key=lambda path: int(path.suffix[1:]))
    return [int(re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)[1]) for part in parts]
