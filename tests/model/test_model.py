"""Random histories against the reference: what is told, what is on record and what everybody sees agree after each operation."""

import runner
from rules import RULES

# Every transition.
TRANSITIONS = [
    "approved", "denied", "cancelled", "lapsed", "closed", "expired", "revoked", "released", "scope disabled", "scope dropped",
    "ineligible", "extended", "break-glass", "reviewed", "review overdue",
]
AT_LEAST = 100


def test_random_histories(new_module_cluster, request, capsys):
    option = request.config.getoption
    seed, histories = option("--seed") or runner.SEED, option("--histories") or runner.HISTORIES
    counts, failures, seconds = runner.run(new_module_cluster.new_directory, seed, histories, option("--history"))
    with capsys.disabled():
        print(f"\n{summary(counts, seconds)}")
        print("\n".join(failures))
    assert not failures, f"{len(failures)} disagreements, see the output above"
    if option("--history") is None and not option("--relaxed"):
        wanted = [f"event: {kind}" for kind in TRANSITIONS] + ["reviewed: justified", "reviewed: unjustified"]
        wanted += [f"refusal: {rule}" for rule in RULES]
        too_few = [f"{what} {counts[what]}" for what in wanted if counts[what] < AT_LEAST]
        assert not too_few, too_few


def summary(counts, seconds):
    lines = [f"{counts['histories']} histories, {counts['steps']} operations, {seconds:.0f} s"]
    lines += [f"  {counts[what]:7} {what}" for what in sorted(counts) if ":" in what]
    return "\n".join(lines)
