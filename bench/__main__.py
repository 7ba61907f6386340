"""Runs the cases and writes what they found. bench/run.sh prepares the ground."""

import argparse
import dataclasses
import datetime
import importlib
import pathlib
import time

from bench import machine, plot, report
from bench.cases import CASES
from bench.context import Bench
from bench.result import Result
from bench.size import Size


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("base", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=5_000_000, help="in the table that is scanned (5,000,000)")
    parser.add_argument("--quick", action="store_true", help="few repetitions and small populations")
    parser.add_argument("--only", metavar="CASE[,CASE]", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = [name for name in given.only if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return given


def main():
    given = arguments()
    head = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "size": dataclasses.asdict(Size.of(given.rows, given.quick)),
    }
    bench = Bench(given.base, Size.of(given.rows, given.quick))
    results = []
    for name in (name for name in CASES if name in given.only):
        case = importlib.import_module(f"bench.cases.{name}")
        begun = time.monotonic()
        print(f"\n== {name}: {case.TITLE}")
        result = Result(name, case.TITLE)
        case.run(bench, result)
        result.add_figure("the case took", time.monotonic() - begun, "s")
        report.print_case(result)
        results.append(result)
        # After each case: what has been measured is not lost with what comes after it.
        report.write_json(given.base / "results.json", head, results)
        (given.base / "results.md").write_text(report.markdown(head, results))
        plot.write(given.base / "results.svg", head, results)
    print("\n" + report.markdown(head, results))
    print(f"All of it: {given.base}/results.json, results.md, results.svg")


if __name__ == "__main__":
    main()
