"""The demo is a promise too: it checks each of its results itself."""

import os
import subprocess

from harness import ROOT


def test_demo_keeps_its_promises():
    # A folder of its own: somebody may have "make demo" running.
    name = os.environ.get("JIT_TEST_NAME", "test") + "/demo"
    demo = subprocess.run(
        ["scripts/demo.sh", "--no-build", "--stop-at-end", "--name", name], cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )
    assert demo.returncode == 0, demo.stdout
    assert "All as promised." in demo.stdout
