import math
from dataclasses import replace

import numpy as np
import pytest

from bench.stats.interval import geometric_mean_interval, harmonic_mean, mean_interval

COVERED_LEAST, COVERED_MOST = 1862, 1937
"""Binomial(2000, 0.95) leaves this span with a chance of 0.01 %."""


def test_mean_of_a_textbook_sample() -> None:
    # t(0.975, 4 df) = 2.776445, sd = sqrt(2.5), n = 5
    interval = mean_interval([1, 2, 3, 4, 5])
    assert interval.value == 3
    half_width = 2.776445 * math.sqrt(2.5 / 5)
    assert interval.half_width == pytest.approx(half_width, rel=1e-6)
    assert (interval.low, interval.high) == pytest.approx((3 - half_width, 3 + half_width), rel=1e-6)
    assert (interval.n, interval.confidence, interval.no_variation) == (5, 0.95, False)


def test_more_confidence_is_wider() -> None:
    narrow, wide = mean_interval([1, 2, 3], 0.90).half_width, mean_interval([1, 2, 3], 0.99).half_width
    assert narrow is not None
    assert wide is not None
    assert wide > 2 * narrow


def test_geometric_mean_is_symmetric_in_factors() -> None:
    interval = geometric_mean_interval([1, 10, 100])
    assert interval.value == pytest.approx(10)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.high / 10 == pytest.approx(10 / interval.low)


def test_limits_go_no_further_than_the_quantity() -> None:
    shares = mean_interval([0.9, 1.0, 1.0, 1.0])
    assert shares.low is not None
    assert shares.high is not None
    assert shares.high > 1
    assert shares.within(0, 1) == replace(shares, high=1)
    assert shares.within(0.9, 2) == replace(shares, low=0.9)
    assert mean_interval([1.0]).within(0, 1) == mean_interval([1.0])


def test_one_trial_has_a_value_and_no_interval() -> None:
    interval = mean_interval([7.0])
    assert (interval.value, interval.low, interval.high, interval.half_width) == (7, None, None, None)


def test_no_trial_has_nothing() -> None:
    for interval in (mean_interval([]), geometric_mean_interval([])):
        assert (interval.value, interval.low, interval.high, interval.n) == (None, None, None, 0)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e-9, 123456.789])
def test_identical_trials_say_that_nothing_varied(level: float) -> None:
    interval = mean_interval([level] * 6)
    assert interval.no_variation
    assert interval.low == interval.high == interval.value == pytest.approx(level)


def test_small_numbers_are_not_mistaken_for_constant_ones() -> None:
    assert not mean_interval([1e-15, 2e-15, 3e-15]).no_variation


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1, math.nan])
    with pytest.raises(ValueError, match="above zero"):
        geometric_mean_interval([1, 0])
    with pytest.raises(ValueError, match="confidence must lie"):
        mean_interval([1, 2], 95)
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_interval([[1, 2], [3, 4]])


@pytest.mark.parametrize("n", [6, 10, 20])
def test_coverage_over_seeded_lognormal_trials(n: int) -> None:
    campaigns = np.random.default_rng(20_080_528).lognormal(math.log(100), 0.08, size=(2000, n))
    intervals = [geometric_mean_interval(trials) for trials in campaigns]
    covered = sum(i.low <= 100 <= i.high for i in intervals if i.low is not None and i.high is not None)
    assert COVERED_LEAST <= covered <= COVERED_MOST


def test_rates_over_equal_work_have_the_harmonic_mean() -> None:
    """Three runs of 100 Gflop in 10, 100 and 40 s are 2 Gflop/s, not 4.5 (Hoefler & Belli, 2015)."""
    assert harmonic_mean([10.0, 1.0, 2.5]) == pytest.approx(2.0)
    assert harmonic_mean([]) is None
