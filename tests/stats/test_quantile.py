import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.quantile import Ranks, bounding_ranks, minimum_count, nearest_rank, percentile_or_none

samples = st.lists(st.floats(allow_nan=False), min_size=1, max_size=200)
percents = st.integers(1, 99)


def test_p99_of_a_hundred_is_the_second_largest() -> None:
    assert nearest_rank(range(1, 101), 0.99) == 99
    assert nearest_rank(range(1, 21), 0.99) == 20
    assert nearest_rank([3, 1, 2], 0.5) == 2


def test_binary_fractions_do_not_skip_a_rank() -> None:
    assert 0.07 * 100 > 7
    assert nearest_rank(range(1, 101), 0.07) == 7


@given(samples, percents)
def test_it_is_the_smallest_sample_that_covers_its_share(x: list[float], percent: int) -> None:
    value = nearest_rank(x, percent / 100)
    share, below = (Fraction(sum(test), len(x)) for test in ([s <= value for s in x], [s < value for s in x]))
    assert value in x
    assert below < Fraction(percent, 100) <= share


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_it_equals_the_inverted_cdf_of_numpy(p: float) -> None:
    x = np.random.default_rng(7).exponential(size=2000)
    assert nearest_rank(x, p) == np.quantile(x, p, method="inverted_cdf")


def test_a_request_never_answered_is_the_longest() -> None:
    assert nearest_rank([1, math.inf, 2, 3], 0.99) == math.inf
    assert nearest_rank([1, math.inf, 2, 3], 0.5) == 2


def test_too_few_samples_have_no_percentile() -> None:
    assert percentile_or_none(range(367), 0.99) is None
    assert percentile_or_none(range(368), 0.99) == 364
    assert percentile_or_none(range(71), 0.95) is None
    assert percentile_or_none(range(72), 0.95) == 68
    assert percentile_or_none([1, 2, 3, 4, 5], 0.5) is None
    assert percentile_or_none([1, 2, 3, 4, 5, 6], 0.5) == 3
    assert percentile_or_none([], 0.5) is None


def test_published_minimum_counts() -> None:
    # Wilks (1941): 59 for 95/95; 299 and 459 are the standard values for p99
    assert minimum_count(0.95, two_sided=False) == 59
    assert minimum_count(0.99, two_sided=False) == 299
    assert minimum_count(0.99, 0.99, two_sided=False) == 459


@given(st.sampled_from([0.01, 0.05, 0.5, 0.9, 0.95, 0.99, 0.999]), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_minimum_is_the_first_count_with_both_bounds(p: float, confidence: float) -> None:
    enough = minimum_count(p, confidence)
    few, many = bounding_ranks(enough - 1, p, confidence), bounding_ranks(enough, p, confidence)
    assert None in (few.low, few.high)
    assert None not in (many.low, many.high)


def test_bounding_ranks_agree_with_r() -> None:
    # R 4.2.2: qbinom(c(.025, .975), n, p) + c(0, 1)
    assert bounding_ranks(100, 0.5) == Ranks(40, 61)
    assert bounding_ranks(1000, 0.99) == Ranks(983, 997)
    assert bounding_ranks(100, 0.99) == Ranks(97, None)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="needs samples"):
        nearest_rank([], 0.5)
    with pytest.raises(ValueError, match="none of them missing"):
        nearest_rank([1, math.nan], 0.5)
    with pytest.raises(ValueError, match="p must lie"):
        percentile_or_none(range(1000), 99)
