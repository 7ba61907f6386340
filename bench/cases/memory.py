"""What a backend keeps for each key that its role holds.

The peak of the process (VmHWM), in fresh backends: before the first check, and after it and five more, each after a grant of
somebody else has changed, so that the old copy and the new one are there at once. What a backend with one key needs for the same
is subtracted. Shared buffers count as memory of a process once it has touched them: each session reads the tables first, and what
it touches later is taken off.
"""

import pathlib

from bench.measure import at_most, interleave, median, ratio
from bench.world import create_approver, create_database, create_scope, insert_grants

TITLE = "memory of a backend for each own key, copies included"
DB = "memory"
RELOADS = 5

# Type of the keys, which is the name of the scope as well: how keys are made of n, the first of them, bytes allowed.
KINDS = {
    "int": ("n::text", "1", 64),
    "text": ("'customer-' || lpad(n::text, 27, '0')", f"'customer-{1:027}'::text", 140),
}


def run(bench, result):
    server = bench.server("memory", shared_buffers="512MB", fsync="off")
    keys = bench.size.memory_keys
    _load(server, keys)
    samplers = {}
    for kind in KINDS:
        samplers[f"{kind}, 1 key"] = lambda kind=kind: _growth(server, kind, "one")
        samplers[f"{kind}, {keys:,} keys"] = lambda kind=kind: _growth(server, kind, "many")
        samplers[f"{kind}, {keys:,} keys, again"] = lambda kind=kind: _growth(server, kind, "many")
    samples = result.add_series(interleave(samplers, bench.size.memory_backends), "bytes")
    for kind, (_, _, allowed) in KINDS.items():
        one, many, again = (samples[f"{kind}, {name}"] for name in ("1 key", f"{keys:,} keys", f"{keys:,} keys, again"))
        measured, control = ([(m - o) / (keys - 1) for m, o in zip(peaks, one, strict=True)] for peaks in (many, again))
        result.checks.append(at_most(f"bytes for each {kind} key", median(measured), allowed, ratio(control, measured), "bytes"))
    server.remove()


def _load(server, keys):
    create_approver(server)
    create_database(server, DB)
    with server.connect(DB) as connection:
        connection.execute("CREATE ROLE bench_other LOGIN")
    for kind, (key, _, _) in KINDS.items():
        create_scope(server, DB, kind, kind)
        with server.connect(DB) as connection:
            # Two roles for each kind, or a role would load the keys of the other kind as well.
            connection.execute(f"CREATE ROLE bench_{kind}_many LOGIN; CREATE ROLE bench_{kind}_one LOGIN")
            insert_grants(connection, kind, f"SELECT 'bench_{kind}_many', {key} FROM generate_series(1, {keys}) n")
            insert_grants(connection, kind, f"SELECT 'bench_{kind}_one', {key} FROM generate_series(1, 1) n")
    server.execute(DB, "VACUUM (FREEZE, ANALYZE)")
    server.settle()


def _growth(server, kind, role):
    _, first_key, _ = KINDS[kind]
    with server.connect(DB) as connection:
        pid = connection.info.backend_pid
        connection.execute("SELECT count(*), max(id), max(key) FROM jit_private.grants")
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        connection.execute("SELECT count(ends_at) FROM jit_private.grants WHERE tidied_at IS NULL AND grantee_id > 0")
        connection.execute("RESET ALL")
        connection.execute(f"SET SESSION AUTHORIZATION bench_{kind}_{role}")
        before = _status(pid)
        for _ in range(RELOADS + 1):
            assert connection.execute(f"SELECT jit_active('{kind}', {first_key})").fetchone()[0]
            with server.connect(DB) as elsewhere:
                insert_grants(elsewhere, "int", "SELECT 'bench_other', '1'")
        after = _status(pid)
        return after["VmHWM"] - before["VmHWM"] - (after["RssShmem"] - before["RssShmem"])


def _status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest.endswith(" kB")}
