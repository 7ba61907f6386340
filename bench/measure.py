"""How samples become verdicts. Nothing here knows of a database or a clock.

Machines are noisy: they slow down for a second, and drift over minutes. Therefore

- candidates take turns, in an order that is reversed each time (A B, B A, A B, …): what drifts slowly hits all alike, and
  nobody always runs first;
- a ratio is the median of the ratios of neighbours, not the ratio of two medians: neighbours had the same machine, and a
  disturbance that hits a few pairs moves a median little;
- its interval is the bootstrap's: the pairs are drawn again and again with replacement, and the middle 95 % of what their
  medians come to is the interval;
- one candidate takes part twice, under two names (A/A). What those two differ by is what the machine makes up.
"""

import dataclasses
import math
import random
import statistics

PASSED = "passed"
MISSED = "MISSED"
INCONCLUSIVE = "INCONCLUSIVE"

RESAMPLES = 4000
# Pairs: for bars near 1, where a few percent decide, and for others.
FEWEST_NEAR_ONE, FEWEST = 20, 5


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float
    samples: int

    def __str__(self):
        return f"{digits(self.value)} [{digits(self.low)}, {digits(self.high)}]"


def digits(number):
    """Three digits that count, four above 1 up to 2, where a few per mille matter.

    >>> [digits(number) for number in (0.000123, 0.98765, 1.0023, 12.345, 31415.9, 0, math.inf)]
    ['0.000123', '0.988', '1.002', '12.3', '31,416', '0', 'inf']
    """
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    if 1 <= number < 2:
        return f"{number:.3f}"
    places = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(places, 9)}f}"


def interleave(samplers, rounds):
    """Lets each sampler measure once a round, in an order that turns round by round; returns the samples by name.

    >>> order = []
    >>> interleave({"A": lambda: order.append("A"), "B": lambda: order.append("B")}, 4)["A"]
    [None, None, None, None]
    >>> "".join(order)
    'ABBAABBA'
    """
    samples = {name: [] for name in samplers}
    for number in range(rounds):
        names = list(samplers) if number % 2 == 0 else list(reversed(samplers))
        for name in names:
            samples[name].append(samplers[name]())
    return samples


def _estimate(samples, statistic):
    # Seeded: the same samples give the same interval.
    dice = random.Random(len(samples))
    drawn = sorted(statistic(dice.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    return Estimate(statistic(samples), drawn[int(RESAMPLES * 0.025)], drawn[int(RESAMPLES * 0.975) - 1], len(samples))


def median(samples):
    """The median with its interval.

    >>> median([3.0, 1.0, 2.0]).value
    2.0
    """
    return _estimate(samples, statistics.median)


def ratio(over, under):
    """The median of the ratios of neighbours.

    >>> str(ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]))
    '2.00 [2.00, 2.00]'
    """
    return median([above / below for above, below in zip(over, under, strict=True)])


def ratio_of_medians(over, under):
    """For single events that cannot be repeated within a sample, hundreds of them: there one disturbance is as large as what is
    measured, a ratio of two neighbours says nothing, and only the medians do.

    >>> str(ratio_of_medians([2.0] * 50 + [99.0], [-7.0] + [1.0] * 50))
    '2.00 [2.00, 2.00]'
    """

    def statistic(pairs):
        above, below = zip(*pairs, strict=True)
        return statistics.median(above) / statistics.median(below)

    return _estimate(list(zip(over, under, strict=True)), statistic)


def distance(one, other):
    """How far two ratios are apart: 2 and 1/2 are equally far from 1."""
    return abs(math.log(one / other)) if one > 0 and other > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class Check:
    """One bar, and what came of it."""

    what: str
    measured: Estimate
    bar: float
    at_most: bool
    control: Estimate
    unit: str = "times"

    def _holds(self, value):
        return value <= self.bar if self.at_most else value >= self.bar

    @property
    def _near_one(self):
        return self.unit == "times" and 0.75 <= self.bar <= 1.34

    def _margin(self):
        """How much the A/A pair may use half of: the way to the bar. For a bar near 1 that was reached, no more than the few
        percent that the bar allows for, lest a measurement that is too good to be true vouches for itself."""
        way = distance(self.measured.value, self.bar)
        return min(way, distance(self.bar, 1)) if self._near_one and self._holds(self.measured.value) else way

    @property
    def why(self):
        """What keeps this from being a verdict; empty when nothing does."""
        measured, fewest = self.measured, FEWEST_NEAR_ONE if self._near_one else FEWEST
        if measured.samples < fewest:
            return f"{measured.samples} pairs, {fewest} are needed"
        if min(measured.low, self.control.value) <= 0:
            return "noise is larger than what is measured"
        if self._holds(measured.low) != self._holds(measured.high):
            return "the interval reaches over the bar"
        noise, half = distance(self.control.value, 1), self._margin() / 2
        return f"A/A differs by {digits(100 * noise)} %, half the margin is {digits(100 * half)} %" if noise > half else ""

    @property
    def verdict(self):
        if self.why:
            return INCONCLUSIVE
        return PASSED if self._holds(self.measured.value) else MISSED

    def record(self):
        return dataclasses.asdict(self) | {"verdict": self.verdict, "why": self.why}


def at_most(what, measured, bar, control, unit="times"):
    return Check(what, measured, bar, True, control, unit)


def at_least(what, measured, bar, control, unit="times"):
    return Check(what, measured, bar, False, control, unit)
