"""The results as a picture: what each policy takes, and how far every measurement is from its bar."""

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same results give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "jit_rls", "font.size": 9})
import matplotlib.pyplot as plt  # noqa: E402

from bench.measure import MISSED, PASSED, digits  # noqa: E402
from bench.report import times  # noqa: E402

COLOURS = {PASSED: "#2a7f3f", MISSED: "#b3261e"}


def write(path, head, results):
    races = [result for result in results if result.name in ("row_check", "index")]
    checks = [(result, check) for result in results for check in result.checks]
    figure, panels = plt.subplots(
        len(races) + 1, 1, figsize=(9, 3.2 * len(races) + 0.35 * len(checks) + 1.2), squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": [3.2] * len(races) + [0.35 * len(checks) + 0.8]},
    )
    for axes, result in zip(panels[:, 0], races, strict=False):
        _race(axes, result)
    _bars(panels[-1, 0], checks)
    figure.suptitle(f"jit_rls {head['versions']['jit_rls']}, {head['size']['rows']:,} rows, {head['date']}")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _race(axes, result):
    rows = sorted(times(result).items(), key=lambda item: -item[1])
    colours = ["#1f5fa8" if name == "jit_active" else "#b8bec6" for name, _ in rows]
    drawn = axes.barh([name for name, _ in rows], [value for _, value in rows], color=colours)
    axes.bar_label(drawn, [f"{digits(value)} ms" for _, value in rows], padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_title(result.title, loc="left")


def _bars(axes, checks):
    """Everything as a part of its bar; the other way round where the bar is a least, so that less than 1 is always good. What is
    nothing, or less, is beyond the left edge."""
    for row, (_, check) in enumerate(reversed(checks)):
        measured = check.measured
        colour = COLOURS.get(check.verdict, "#8a6d00")
        # Nothing is a part of a bar of nothing.
        if check.bar:
            part = [number / check.bar for number in (measured.low, measured.value, measured.high)]
            if not check.at_most:
                part = [1 / number for number in reversed(part)]
            axes.plot([part[0], part[2]], [row, row], color=colour, linewidth=3)
            axes.plot(part[1], row, "o", color=colour)
        axes.annotate(check.verdict, (1, row), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      color=colour, va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(checks)), [f"{result.name}: {check.what}" for result, check in reversed(checks)])
    axes.set_xscale("log")
    axes.set_title("measured, as a part of the bar: left of the line is good", loc="left")
