import math
import warnings

import numpy as np
import pytest
from scipy import stats

from bench.stats.bootstrap import bca_paired_ratio, bca_ratio_of_means, bca_ratio_of_medians, two_level_ratio
from bench.stats.equivalence import Reproduction, tost_paired, tost_published, tost_unpaired
from bench.stats.many_workloads import critical_difference, friedman, friedman_of_ranks
from bench.stats.ranks import (
    a12,
    brunner_munzel,
    brunner_munzel_p,
    cliffs_delta,
    hodges_lehmann,
    hodges_lehmann_ratio,
)
from bench.stats.unpaired import fieller_ratio, welch_log_ratio

A = [612.4, 607.9, 618.3, 601.2, 615.8, 609.7, 611.1, 620.5, 605.6, 613.3]
B = [655.1, 649.8, 661.7, 652.4, 640.9, 658.3, 651.6, 647.2, 663.0, 654.4]


def test_welch_is_the_welch_test_on_logarithms() -> None:
    contrast = welch_log_ratio(A, B[:7])
    test = stats.ttest_ind(np.log(A), np.log(B[:7]), equal_var=False)
    low, high = test.confidence_interval()
    assert contrast.p_value == pytest.approx(test.pvalue)
    assert (contrast.low, contrast.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert contrast.n == 7


def test_swapping_the_arms_gives_the_reciprocal() -> None:
    there, back = welch_log_ratio(A, B), welch_log_ratio(B, A)
    assert back.low is not None
    assert there.high == pytest.approx(1 / back.low)
    assert there.effect_size == pytest.approx(-(back.effect_size or 0))


def test_fieller_reproduces_the_reference() -> None:
    interval = fieller_ratio(A, B)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (0.9359390304, 0.9272849144, 0.944679384), rel=1e-9
    )


def test_a_denominator_that_may_be_zero_has_no_finite_interval() -> None:
    interval = fieller_ratio([5.0, 6.0, 7.0], [-1.0, 0.1, 1.5])
    assert interval.value is not None
    assert (interval.low, interval.high) == (None, None)
    assert fieller_ratio([1.0, 2.0], [-1.0, 1.0]).value is None
    barely = stats.ttest_1samp([0.3, 0.9, 1.4, 0.2], 0).pvalue
    assert 0.05 < barely < 0.1
    assert fieller_ratio([5.0, 5.1, 4.9, 5.0], [0.3, 0.9, 1.4, 0.2]).low is None


@pytest.mark.parametrize("ratio", [fieller_ratio, bca_ratio_of_means, bca_ratio_of_medians, hodges_lehmann_ratio])
def test_few_runs_give_a_value_without_limits(ratio: object) -> None:
    one = ratio([2.0], [1.0])  # type: ignore[operator]
    none = ratio([], [1.0])  # type: ignore[operator]
    assert (one.value, one.low, one.high, one.n) == (2.0, None, None, 1)
    assert (none.value, none.low, none.n) == (None, None, 0)


def test_few_runs_are_not_tested() -> None:
    assert welch_log_ratio([], [1.0]).ratio is None
    one = welch_log_ratio([2.0], [1.0, 1.1])
    assert (one.low, one.p_value) == (None, None)
    assert a12([], [1.0]).value is None
    assert a12([2.0], [1.0, 3.0]).low is None
    assert brunner_munzel([], [1.0]).value is None
    assert brunner_munzel_p([2.0], [1.0]) is None
    assert two_level_ratio([[2.0, 2.0]], [[1.0, 1.0]]).low is None


def test_arms_without_variation() -> None:
    same = [2.0, 2.0, 2.0]
    contrast = welch_log_ratio(same, [1.0, 1.0])
    assert (contrast.low, contrast.high, contrast.p_value, contrast.no_variation) == (2, 2, None, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fieller_ratio(same, [1.0, 1.0]).no_variation
        assert bca_ratio_of_means(same, [1.0, 1.0]).no_variation
        hardly = bca_ratio_of_medians([1.0, 1.0, 1.0, 1.0, 5.0], [1.0, 1.0, 1.0, 1.0, 2.0])
    assert (hardly.value, hardly.low, hardly.no_variation) == (1.0, None, False)


def test_bca_of_pairs_stands_beside_t() -> None:
    interval = bca_paired_ratio(A, B)
    assert interval.value == pytest.approx(0.9359445938)
    assert interval.low == pytest.approx(0.9282, abs=5e-4)
    assert interval.high == pytest.approx(0.9453, abs=5e-4)


def test_hodges_lehmann_reproduces_hollander_and_wolfe() -> None:
    """R: wilcox.test(x, y, conf.int=TRUE) says 0.305 (-0.15, 0.76)."""
    x = [0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    shift = hodges_lehmann(x, [1.15, 0.88, 0.9, 0.74, 1.21])
    assert (shift.value, shift.low, shift.high) == pytest.approx((0.305, -0.15, 0.76))
    assert shift.confidence == pytest.approx(0.96003996)


def test_hodges_lehmann_does_not_follow_an_outlier() -> None:
    wild = hodges_lehmann_ratio([*A[:9], 60_000.0], B)
    assert wild.value == pytest.approx(0.936, abs=0.002)
    assert wild.low is not None
    assert wild.low > 0.92


def test_three_against_three_reach_no_level() -> None:
    assert hodges_lehmann([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).low is None
    assert hodges_lehmann([1.0, 2.0, 3.0, 3.5], [4.0, 5.0, 6.0, 7.0]).low == -6.0


def test_a12_counts_wins_and_half_the_ties() -> None:
    share = a12([10, 10, 20, 20, 20, 30, 30, 30, 40, 50], [10, 20, 30, 40, 40, 50])
    assert share.value == pytest.approx(0.375)
    assert cliffs_delta(0.375) == -0.25


def test_limits_of_a12_are_where_the_observed_is_just_within_reach() -> None:
    """With A the truth, two against two have V = A (1 - A) (1 + (1 - A) / (2 - A) + A / (1 + A)) / 4."""
    share = a12([1.0, 3.0], [2.0, 4.0])
    assert share.value == 0.25
    for limit in (share.low, share.high):
        assert limit is not None
        variance = limit * (1 - limit) * (1 + (1 - limit) / (2 - limit) + limit / (1 + limit)) / 4
        assert abs(share.value - limit) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    mirrored = a12([2.0, 4.0], [1.0, 3.0])
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - share.high, 1 - share.low))  # type: ignore[operator]


def test_arms_that_do_not_overlap() -> None:
    never, always = a12(A, B), a12(B, A)
    assert (never.value, never.low, always.value, always.high) == (0, 0, 1, 1)
    assert never.high is not None
    assert 0.05 < never.high < 0.5
    assert a12(list(A) * 4, list(B) * 4).high < never.high / 2  # type: ignore[operator]
    assert brunner_munzel(A, B).low is None
    assert brunner_munzel_p(A, B) is None


def test_the_four_verdicts() -> None:
    assert tost_paired([1.0, 1.01, 0.99, 1.005, 0.995], [1.0] * 5).verdict is Reproduction.REPRODUCED
    assert tost_published(B, 640).verdict is Reproduction.REPRODUCED_BUT_DIFFERENT
    assert tost_unpaired(A, B).verdict is Reproduction.NOT_REPRODUCED
    assert tost_paired([0.8, 1.2, 1.0], [1.0] * 3).verdict is Reproduction.INCONCLUSIVE


def test_equivalence_is_the_90_percent_interval_inside_the_band() -> None:
    for margin in (0.055, 0.06, 0.065, 0.072, 0.075):
        test = tost_unpaired(A, B, margin)
        assert test.p_value is not None
        assert test.interval.low is not None
        assert (test.p_value < 0.05) == (test.interval.low > 1 - margin)
    assert tost_unpaired(A, B, 0.065).verdict is Reproduction.INCONCLUSIVE
    assert tost_unpaired(A, B, 0.072).verdict is Reproduction.REPRODUCED_BUT_DIFFERENT


def test_equivalence_of_too_little_data_is_inconclusive() -> None:
    for test in (tost_published([1.0], 1.0), tost_paired([], []), tost_unpaired([1.0], [1.0, 1.1])):
        assert test.p_value is None
        assert test.verdict is Reproduction.INCONCLUSIVE
    assert tost_published([1.0, 1.0, 1.0], 1.0).verdict is Reproduction.INCONCLUSIVE


def test_friedman_ranks_modes_within_workloads() -> None:
    table = np.random.default_rng(1).normal([0.0, 0.5, 2.0], 1.0, (12, 3))
    result = friedman(table, higher_is_better=True)
    assert result is not None
    assert result.chi_squared == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    assert result.average_ranks[2] == min(result.average_ranks)
    assert result.p_value < 0.05


def test_friedman_on_two_workloads_claims_nothing() -> None:
    """They agree by chance in one of six: without that floor the unbounded F would say p = 0."""
    result = friedman([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], higher_is_better=False)
    assert result is not None
    assert result.f is None
    assert result.p_value == pytest.approx(1 / 6)
    assert friedman([[1.0, 2.0]], higher_is_better=False) is None
    assert critical_difference(4, 9) is None


def test_friedman_of_demsar() -> None:
    result = friedman_of_ranks([3.143, 2.0, 2.893, 1.964], 14)
    assert (result.chi_squared, result.f) == pytest.approx((9.28, 3.69), abs=0.005)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_equivalence_with_a_published_number() -> None:
    """R: one-sided t tests on logarithms give 1.7554e-09 and 2.86418e-06; 90 % interval 1.014917 to 1.027023."""
    test = tost_published(B, 640)
    assert (test.p_lower, test.p_upper) == pytest.approx((1.7554e-9, 2.86418e-6), rel=1e-4)
    assert (test.interval.low, test.interval.high) == pytest.approx((1.014917, 1.027023), abs=1e-6)
