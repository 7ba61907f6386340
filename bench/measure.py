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
# Pairs: for bars near 1, where a few percent decide, and for others; of a percentile, so many samples beyond it.
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


def percentile(samples, percent):
    """The least sample that so many percent do not exceed.

    >>> percentile([4, 1, 3, 2], 50), percentile(range(1, 1001), 99), percentile([7], 99)
    (2, 990, 7)
    """
    return sorted(samples)[-(-len(samples) * percent // 100) - 1]


def difference_of_percentiles(over, under, percent):
    """For bars that allow for so much more, and not for so many times as much.

    >>> str(difference_of_percentiles([5.0] * 50 + [99.0], [-7.0] + [2.0] * 50, 50))
    '3.00 [3.00, 3.00]'
    """

    def statistic(pairs):
        above, below = zip(*pairs, strict=True)
        return percentile(above, percent) - percentile(below, percent)

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
    control: Estimate | None
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

    def _too_few(self):
        fewest = FEWEST_NEAR_ONE if self._near_one else FEWEST
        return f"{self.measured.samples} pairs, {fewest} are needed" if self.measured.samples < fewest else ""

    def _too_noisy(self):
        if min(self.measured.low, self.control.value) <= 0:
            return "noise is larger than what is measured"
        noise, half = distance(self.control.value, 1), self._margin() / 2
        return f"A/A differs by {digits(100 * noise)} %, half the margin is {digits(100 * half)} %" if noise > half else ""

    @property
    def why(self):
        """What keeps this from being a verdict; empty when nothing does."""
        if few := self._too_few():
            return few
        if self._holds(self.measured.low) != self._holds(self.measured.high):
            return "the interval reaches over the bar"
        return self._too_noisy()

    @property
    def verdict(self):
        if self.why:
            return INCONCLUSIVE
        return PASSED if self._holds(self.measured.value) else MISSED

    def record(self):
        return dataclasses.asdict(self) | {"verdict": self.verdict, "why": self.why}


@dataclasses.dataclass(frozen=True)
class PercentileCheck(Check):
    """Of a difference of percentiles: less than nothing is as good as anything, and the A/A pair's noise is a difference, too."""

    percent: int = 50

    def _too_few(self):
        fewest = FEWEST * 100 // (100 - self.percent)
        return f"{self.measured.samples} pairs, {fewest} are needed" if self.measured.samples < fewest else ""

    def _margin(self):
        way = abs(self.bar - self.measured.value)
        return min(way, abs(self.bar)) if self._holds(self.measured.value) else way

    def _too_noisy(self):
        noise, half = abs(self.control.value), self._margin() / 2
        return f"A/A differs by {digits(noise)} {self.unit}, half the margin is {digits(half)} {self.unit}" if noise > half else ""


@dataclasses.dataclass(frozen=True)
class CountCheck(Check):
    """Of what must hardly ever happen: counted, not estimated, among so many that the bar means something."""

    fewest: int = 0

    def _too_few(self):
        tried = self.measured.samples
        return f"{tried:,} {self.unit}, {self.fewest:,} are needed" if tried < self.fewest else ""

    def _too_noisy(self):
        return ""


def at_most(what, measured, bar, control, unit="times"):
    return Check(what, measured, bar, True, control, unit)


def at_least(what, measured, bar, control, unit="times"):
    return Check(what, measured, bar, False, control, unit)


def percentile_at_most(what, over, under, again, percent, bar, unit):
    """`under` and `again` are the same thing."""
    measured, control = (difference_of_percentiles(samples, under, percent) for samples in (over, again))
    return PercentileCheck(what, measured, bar, True, control, unit, percent)


def count_at_most(what, count, tried, bar, fewest, unit):
    return CountCheck(what, Estimate(count, count, count, tried), bar, True, None, unit, fewest)
