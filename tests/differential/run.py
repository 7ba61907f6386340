#!/usr/bin/env python3
"""The differential test: random worlds and queries, each answer against a plain reference.

    tests/differential/run.py                          20,000 cases with the seed that the tests use
    tests/differential/run.py --cases 100000 --seed 7  more, others
    tests/differential/run.py --world 3 --query 12     one query of those, as a difference says

Against the extension that is installed in the server of PG_CONFIG, in a throwaway cluster. Run it with target/venv/bin/python.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))

from harness import Cluster  # noqa: E402

from runner import CASES, SEED, SERVER, Runner  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=str(SEED))
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--world", type=int, help="only this world")
    parser.add_argument("--query", type=int, help="only this query of it")
    parser.add_argument("--relaxed", action="store_true", help="do not ask for enough cases of each kind")
    parser.add_argument("--most", type=int, default=5, help="stop after so many differences")
    arguments = parser.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="jit_rls."))
    base.chmod(0o755)
    server = Cluster(base / "1")
    try:
        server.init().start(settings=SERVER)
        runner = Runner(
            server, arguments.seed, arguments.cases, arguments.world, arguments.query, most_differences=arguments.most
        ).run()
        print(runner.summary())
        relaxed = arguments.relaxed or arguments.world is not None
        if runner.too_few() and not relaxed:
            print("too few: " + "; ".join(runner.too_few()))
        return 1 if runner.differences or (runner.too_few() and not relaxed) else 0
    finally:
        server.stop("immediate")
        shutil.rmtree(base)


if __name__ == "__main__":
    sys.exit(main())
