"""The results as a table to look at, as Markdown and as JSON."""

import json
import statistics

from bench.measure import digits

SIDES = {True: "≤", False: "≥"}
# Load average; others at work take time from one side of a pair as well as from the other, but not equally.
IDLE = 0.7


def print_case(result):
    """As soon as a case is through."""
    for series in result.series:
        for name, samples in series["samples"].items():
            print(f"    {name:<28} {_amount(statistics.median(samples), series['unit']):>16}   (of {len(samples)})")
    for figure in result.figures:
        print(f"    {figure['what']}: {_amount(figure['value'], figure['unit'])}")
    for check in result.checks:
        print(f"  {check.verdict:<13} {check.what}: {check.measured}, bar {SIDES[check.at_most]} {digits(check.bar)}{_reason(check)}")
    for note in result.notes:
        print(f"    {note}")


def _reason(check):
    if check.why:
        return f" ({check.why})"
    return f" (A/A {digits(check.control.value)})" if check.control else f" (of {check.measured.samples:,} {check.unit})"


def _amount(value, unit):
    if unit == "seconds":
        return f"{digits(value * 1000)} ms"
    return f"{digits(value)} {unit}"


def write_json(path, head, results):
    path.write_text(json.dumps(head | {"cases": [result.record() for result in results]}, indent=1, ensure_ascii=False) + "\n")


def markdown(head, results):
    """What the README shows."""
    machine, versions = head["machine"], head["versions"]
    lines = [
        f"{head['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}; "
        f"PostgreSQL {versions['postgresql']}, jit_rls {versions['jit_rls']} ({versions['commit']}); {head['size']['rows']:,} rows.",
        "",
    ]
    if head["size"]["quick"]:
        lines += ["**A quick run, to see whether it runs: these figures are no evidence.**", ""]
    load = machine["load_before"][0]
    if load > IDLE:
        lines += [f"**The machine was not idle when this began (load average {load:.1f}): measure again.**", ""]
    lines += ["| case | measured | 95 % interval | bar | |", "|---|--:|:-:|--:|---|"]
    for result in results:
        for check in result.checks:
            measured = check.measured
            lines.append(
                f"| {result.title}: {check.what} | {digits(measured.value)} | {digits(measured.low)} to {digits(measured.high)} "
                f"| {SIDES[check.at_most]} {digits(check.bar)} | {check.verdict}{': ' + check.why if check.why else ''} |"
            )
    for result in results:
        if result.name in ("row_check", "index"):
            lines += ["", f"{result.title}:", "", *_candidates(result)]
    figures = [(result, figure) for result in results for figure in result.figures]
    if figures:
        lines += ["", "| figure | |", "|---|--:|"]
        lines += [f"| {result.name}: {figure['what']} | {_amount(figure['value'], figure['unit'])} |" for result, figure in figures]
    return "\n".join(lines) + "\n"


def times(result):
    """Milliseconds of each candidate, in the order in which they are described; a candidate of two series by the first."""
    found = {}
    for series in result.series:
        for name, samples in series["samples"].items():
            found.setdefault(name, statistics.median(samples) * 1000)
    return {candidate["name"]: found[candidate["name"]] for candidate in result.candidates}


def _candidates(result):
    milliseconds = times(result)
    expiry = {candidate["name"]: candidate["expiry"] for candidate in result.candidates}
    rows = sorted(milliseconds.items(), key=lambda item: item[1])
    return [
        "| policy | ms | looks at the clock |", "|---|--:|---|",
        *(f"| {'**' + name + '**' if name == 'jit_active' else name} | {digits(value)} | {expiry[name]} |" for name, value in rows),
    ]
