"""Run with the doctests of measure.py before anything is measured."""

import random

from bench.measure import (
    INCONCLUSIVE, MISSED, PASSED, Estimate, at_least, at_most, count_at_most, difference_of_percentiles, interleave, median,
    percentile, percentile_at_most, ratio,
)

QUIET = Estimate(1.0, 0.999, 1.001, 20)


def near(value, width=0.001):
    return Estimate(value, value - width, value + width, 20)


def test_a_drifting_machine_does_not_show():
    clock = iter(range(1, 1000))

    def sampler(cost):
        # Each measurement is slower than the one before, by the same step.
        return lambda: cost * (1 + next(clock) / 100)

    samples = interleave({"A": sampler(1.0), "B": sampler(2.0)}, 40)
    assert abs(ratio(samples["B"], samples["A"]).value - 2) < 0.02


def test_a_disturbed_pair_does_not_move_the_ratio():
    over, under = [2.0] * 20, [1.0] * 20
    over[3] = 50.0
    under[7] = 30.0
    estimate = ratio(over, under)
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 2.0, 2.0)


def test_the_interval_holds_the_median_of_most_runs():
    dice = random.Random(1)
    covered = 0
    for _ in range(60):
        estimate = median([dice.gauss(10, 1) for _ in range(20)])
        covered += estimate.low <= 10 <= estimate.high
    assert covered >= 50


def test_verdicts_need_the_whole_interval():
    assert at_most("", near(0.8), 0.9, QUIET).verdict == PASSED
    assert at_most("", near(1.0), 0.9, QUIET).verdict == MISSED
    assert at_most("", near(0.9, 0.05), 0.9, QUIET).verdict == INCONCLUSIVE
    assert at_least("", near(100, 5), 80, QUIET).verdict == PASSED
    assert at_least("", near(60, 5), 80, QUIET).verdict == MISSED
    assert at_least("", near(80, 5), 80, QUIET).verdict == INCONCLUSIVE


def test_noise_of_half_the_margin_is_too_much():
    # The bar is 4 % away: an A/A pair may differ by 2 %.
    measured = near(1.01)
    assert at_most("", measured, 1.05, near(1.015)).verdict == PASSED
    noisy = at_most("", measured, 1.05, near(1.025))
    assert noisy.verdict == INCONCLUSIVE
    assert "A/A" in noisy.why
    # So it is with what was missed by little, and with a control on the other side of 1.
    assert at_most("", near(1.06), 1.05, near(1.03)).verdict == INCONCLUSIVE
    assert at_most("", measured, 1.05, near(0.97)).verdict == INCONCLUSIVE


def test_far_from_the_bar_noise_matters_less():
    assert at_least("", near(160, 5), 80, near(1.1)).verdict == PASSED
    assert at_most("", near(30, 1), 1.05, near(1.1)).verdict == MISSED


def test_too_good_to_be_true_is_no_margin():
    assert at_most("", near(0.7), 1.05, near(1.1)).verdict == INCONCLUSIVE


def test_few_pairs_are_no_evidence():
    assert at_most("", Estimate(0.5, 0.5, 0.5, 19), 0.9, QUIET).verdict == INCONCLUSIVE
    assert at_least("", Estimate(200, 200, 200, 4), 80, QUIET).verdict == INCONCLUSIVE
    assert at_least("", Estimate(200, 200, 200, 5), 80, QUIET).verdict == PASSED


def test_less_than_nothing_is_noise():
    assert at_most("", Estimate(-0.2, -1.4, 1.0, 200), 1.5, QUIET).verdict == INCONCLUSIVE
    assert at_most("", near(1.0), 1.5, near(-0.1)).verdict == INCONCLUSIVE


def gauss(seed, mean, width=1.0, count=100):
    dice = random.Random(seed)
    return [dice.gauss(mean, width) for _ in range(count)]


def test_a_percentile_leaves_one_in_a_hundred_out():
    assert percentile([10.0] * 990 + [99.0] * 10, 99) == 10
    assert percentile([10.0] * 989 + [99.0] * 11, 99) == 99


def test_the_interval_holds_the_difference_of_percentiles():
    covered = 0
    for seed in range(20):
        # The 90th percentile of a normal distribution is 1.282 deviations from its mean.
        estimate = difference_of_percentiles(gauss(seed, 10, 2), gauss(seed + 100, 3, 1), 90)
        covered += estimate.low <= 7 + 1.282 <= estimate.high
    assert covered >= 16


def test_a_difference_may_be_less_than_nothing():
    def verdict(over, under, again):
        return percentile_at_most("", over, under, again, 50, 2, "ms").verdict

    assert verdict(gauss(1, 9), gauss(2, 10), gauss(3, 10)) == PASSED
    assert verdict(gauss(1, 11), gauss(2, 10), gauss(3, 10)) == PASSED
    assert verdict(gauss(1, 13), gauss(2, 10), gauss(3, 10)) == MISSED
    assert verdict(gauss(1, 12, 10), gauss(2, 10, 10), gauss(3, 10)) == INCONCLUSIVE
    # Half the margin is 1 ms at most, however good it looks.
    assert verdict(gauss(1, 5), gauss(2, 10), gauss(3, 11.5)) == INCONCLUSIVE


def test_a_percentile_needs_samples_beyond_it():
    def why(count, percent):
        samples = [10.0] * count
        return percentile_at_most("", samples, samples, samples, percent, 5, "ms").why

    assert "499 pairs, 500 are needed" in why(499, 99) and not why(500, 99)
    assert "9 pairs, 10 are needed" in why(9, 50) and not why(10, 50)


def test_counts_need_no_control():
    assert count_at_most("", 0, 1000, 0, 1000, "statements").verdict == PASSED
    assert count_at_most("", 1, 1000, 0, 1000, "statements").verdict == MISSED
    assert count_at_most("", 1, 1000, 1, 1000, "statements").verdict == PASSED
    assert count_at_most("", 0, 999, 0, 1000, "statements").verdict == INCONCLUSIVE
