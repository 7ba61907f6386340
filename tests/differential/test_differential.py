"""Random worlds and queries under every combination of settings: no answer differs from the reference.

run.py says how to see one case again.
"""

from runner import CASES, SEED, SERVER, Runner


def test_random_worlds(new_module_cluster, request, relaxed, capsys):
    server = new_module_cluster().start(settings=SERVER)
    seed, cases = request.config.getoption("--seed") or SEED, request.config.getoption("--cases") or CASES
    runner = Runner(server, seed, cases).run()
    with capsys.disabled():
        print(f"\n{runner.summary()}")
    assert not runner.differences, f"{len(runner.differences)} differences, see the output above"
    assert runner.counts["cases"] >= cases
    assert relaxed or not runner.too_few()
