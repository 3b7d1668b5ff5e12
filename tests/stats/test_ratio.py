import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.interval import geometric_mean_interval
from bench.stats.ratio import RatioInterval, one_sample_log_ratio, paired_log_ratio

A = [612.4, 607.9, 618.3, 601.2, 615.8, 609.7, 611.1, 620.5, 605.6, 613.3]
B = [655.1, 649.8, 661.7, 652.4, 640.9, 658.3, 651.6, 647.2, 663.0, 654.4]

rates = st.floats(1e-3, 1e6)
blocks = st.lists(st.tuples(rates, rates), min_size=2, max_size=12)


def limits(interval: RatioInterval) -> tuple[float, float, float]:
    assert interval.ratio is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.ratio, interval.high


def test_ten_blocks_agree_with_r() -> None:
    # R 4.2.2: t.test(log(A), log(B), paired = TRUE)
    interval = paired_log_ratio(A, B)
    assert limits(interval) == pytest.approx((0.9254807278, 0.9359445938, 0.9465267686), rel=1e-9)
    assert interval.p_value == pytest.approx(3.15127258e-07, rel=1e-8)
    assert interval.half_width == pytest.approx(0.0105230204, rel=1e-6)
    assert interval.n == 10


def test_effect_size_is_the_standardised_mean_log_ratio() -> None:
    # logs 0, 1, 2: mean 1, sd 1
    assert paired_log_ratio([1, math.e, math.e**2], [1, 1, 1]).effect_size == pytest.approx(1)


def test_ratio_is_that_of_the_geometric_means_beside_it() -> None:
    top, bottom = geometric_mean_interval(A).value, geometric_mean_interval(B).value
    assert top is not None
    assert bottom is not None
    assert paired_log_ratio(A, B).ratio == pytest.approx(top / bottom)


@given(blocks)
def test_swapping_the_sides_gives_the_reciprocal(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    low, ratio, high = limits(paired_log_ratio(a, b))
    if high < 1e100:
        assert limits(paired_log_ratio(b, a)) == pytest.approx((1 / high, 1 / ratio, 1 / low), rel=1e-9)


@given(blocks, st.floats(0.01, 100))
def test_the_unit_of_measure_does_not_matter(pairs: list[tuple[float, float]], unit: float) -> None:
    a, b = zip(*pairs, strict=True)
    rescaled = paired_log_ratio([unit * x for x in a], [unit * y for y in b])
    assert rescaled.ratio == pytest.approx(paired_log_ratio(a, b).ratio, rel=1e-9)


@given(blocks)
def test_interval_excludes_one_exactly_when_p_is_below_its_level(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    interval = paired_log_ratio(a, b)
    low, _, high = limits(interval)
    if interval.p_value is not None and abs(interval.p_value - 0.05) > 1e-6:
        assert (interval.p_value < 0.05) == (not low <= 1 <= high)


def test_against_a_constant() -> None:
    against_one, paired = one_sample_log_ratio(A, 600), paired_log_ratio(A, [600.0] * 10)
    assert against_one == paired
    assert one_sample_log_ratio([1.1, 1.2, 1.3], 1).ratio == pytest.approx((1.1 * 1.2 * 1.3) ** (1 / 3))


def test_one_block_has_a_ratio_and_nothing_else() -> None:
    interval = paired_log_ratio([3], [2])
    assert interval.ratio == pytest.approx(1.5)
    assert (interval.low, interval.high, interval.half_width) == (None, None, None)
    assert (interval.p_value, interval.effect_size, interval.n) == (None, None, 1)


def test_no_block_has_nothing() -> None:
    interval = paired_log_ratio([], [])
    assert (interval.ratio, interval.low, interval.p_value, interval.n) == (None, None, None, 0)


@pytest.mark.parametrize("factor", [1.0, 1.3, 0.1])
def test_blocks_without_variation_prove_nothing(factor: float) -> None:
    # rounding leaves the quotients a hair apart, which must not become a tiny p
    interval = paired_log_ratio([factor * b for b in B], B)
    assert interval.no_variation
    assert limits(interval) == pytest.approx((factor, factor, factor))
    assert (interval.p_value, interval.effect_size) == (None, None)


def test_unequal_or_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="a 2, b 3"):
        paired_log_ratio([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="a must be finite"):
        paired_log_ratio([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="b must be above zero"):
        paired_log_ratio([1, 2], [1, 0])
    with pytest.raises(ValueError, match="above zero"):
        one_sample_log_ratio([1, 2], 0)
