"""The reference oracle on contrasts: ratios of unpaired arms, ranks, equivalence, many workloads, means."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.stats.bootstrap import bca_paired_ratio, bca_ratio_of_means, bca_ratio_of_medians, two_level_ratio
from bench.stats.crosscheck import smallest_possible_rank_sum_p
from bench.stats.equivalence import Reproduction, tost_published, tost_unpaired
from bench.stats.interval import geometric_mean_interval, harmonic_mean, mean_interval
from bench.stats.many_workloads import critical_difference, friedman_of_ranks
from bench.stats.ranks import a12, brunner_munzel, brunner_munzel_p, cliffs_delta, hodges_lehmann
from bench.stats.unpaired import fieller_ratio, squared_error, welch_df

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6)


def limits(interval: Any) -> list[float]:
    return [interval.low, interval.high]


def test_fieller_ratio(oracle: Oracle) -> None:
    given, expected = oracle("fieller_ratio")
    a, b = np.array(given["A"]), np.array(given["B"])
    interval = fieller_ratio(a, b)
    assert interval.value == close(expected["ratio"])
    assert limits(interval) == close([expected["low"], expected["high"]])
    assert welch_df([squared_error(a), squared_error(b * interval.value)], [10, 10]) == close(expected["df"])


def test_bca_ratio(oracle: Oracle) -> None:
    given, expected = oracle("bca_ratio")
    medians = bca_ratio_of_medians(given["A"], given["B"])
    means = bca_ratio_of_means(given["A"], given["B"])
    assert medians.value == close(expected["ratio_medians"])
    assert limits(medians) == pytest.approx(expected["ci_medians"], rel=0.002)
    assert means.value == close(expected["ratio_means"])
    assert limits(means) == pytest.approx(expected["ci_means"], rel=0.002)


def test_bca_degenerate(oracle: Oracle) -> None:
    """Where the library warns and answers NaN, the answer is "no variation"."""
    given, expected = oracle("bca_degenerate")
    assert expected["nan"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = bca_paired_ratio(given["x"], [1.0] * len(given["x"]))
    assert interval.no_variation
    assert limits(interval) == close([5.0, 5.0])


def test_hierarchical_vs_flat_bootstrap(oracle: Oracle) -> None:
    given, expected = oracle("hierarchical_vs_flat_bootstrap")
    nested = two_level_ratio(given["B"], given["A"])
    means = [np.mean(given[arm], axis=1) for arm in "BA"]
    assert nested.value == close(expected["ratio"])
    assert limits(nested) == pytest.approx(expected["hierarchical"], rel=0.003)
    assert limits(bca_ratio_of_means(*means)) == pytest.approx(expected["process_means_bca"], rel=0.003)
    assert limits(fieller_ratio(*means)) == pytest.approx(expected["process_means_fieller"], rel=0.003)
    pooled = bca_ratio_of_means(np.ravel(given["B"]), np.ravel(given["A"]))
    assert limits(pooled) == pytest.approx(expected["flat_wrong"], rel=0.003)


def test_hodges_lehmann_hw(oracle: Oracle) -> None:
    given, expected = oracle("hodges_lehmann_hw")
    shift = hodges_lehmann(given["x"], given["y"])
    assert shift.value == close(expected["estimate"])
    assert limits(shift) == close([expected["low"], expected["high"]])
    assert shift.confidence == close(expected["achieved_confidence"])
    assert stats.mannwhitneyu(given["x"], given["y"], alternative="greater").pvalue == close(
        expected["mwu_p_greater"]
    )


def test_cliffs_delta_a12(oracle: Oracle) -> None:
    given, expected = oracle("cliffs_delta_a12")
    share = brunner_munzel(given["x"], given["y"])
    assert share.value == a12(given["x"], given["y"]).value == close(expected["A12"])
    assert cliffs_delta(share.value) == close(expected["cliffs_delta"])
    assert limits(share) == close(expected["A12_ci95"])
    assert brunner_munzel_p(given["x"], given["y"]) == close(expected["bm_p"])


def test_smallest_possible_p_of_unpaired_arms(oracle: Oracle) -> None:
    _, expected = oracle("smallest_possible_p")
    table = expected["mann_whitney_two_sided"]
    assert {key: smallest_possible_rank_sum_p(*map(int, key.split("v"))) for key in table} == close(table)


def test_tost_published_pass(oracle: Oracle) -> None:
    given, expected = oracle("tost_published_pass")
    test = tost_published(given["x"], given["published"], 1 - given["margin_ratio"][0])
    assert (test.p_value, test.p_lower, test.p_upper) == close(
        (expected["p"], expected["p_lower"], expected["p_upper"])
    )
    assert test.interval.ratio == close(expected["ratio"])
    assert limits(test.interval) == close(expected["ci90"])
    assert test.verdict is Reproduction.REPRODUCED_BUT_DIFFERENT


def test_tost_two_sample(oracle: Oracle) -> None:
    given, expected = oracle("tost_two_sample")
    test = tost_unpaired(given["A"], given["B"])
    assert (test.p_value, test.p_lower) == close((expected["p"], expected["p_lower"]))
    assert test.p_upper == close(expected["p_upper"])
    assert test.verdict is Reproduction.NOT_REPRODUCED


def test_friedman_nemenyi(oracle: Oracle) -> None:
    given, expected = oracle("friedman_nemenyi")
    test = friedman_of_ranks(given["avg_ranks"], given["N"])
    assert test.chi_squared == pytest.approx(expected["chi2_F"], rel=0.002)
    assert test.f == pytest.approx(expected["F_F"], rel=0.002)
    assert critical_difference(given["k"], given["N"]) == pytest.approx(expected["CD"], rel=0.002)


def test_means_hpl(oracle: Oracle) -> None:
    given, expected = oracle("means_hpl")
    rates = given["Gflop_each"] / np.array(given["times_s"])
    assert mean_interval(given["times_s"]).value == close(expected["mean_time"])
    assert harmonic_mean(rates) == close(expected["rate_from_totals"]) == close(expected["hmean_of_rates"])
    assert mean_interval(rates).value == close(expected["arith_mean_of_rates"])  # the wrong one
    assert geometric_mean_interval(rates / given["peak"]).value == close(expected["gmean_rel"])
    assert geometric_mean_interval(rates).value == close(expected["gmean_rate"])


def test_small_n_bootstrap_undercoverage(oracle: Oracle) -> None:
    """BCa misses what it promises with few runs, and t does not; drawn in the oracle's order."""
    given, expected = oracle("small_n_bootstrap_undercoverage")
    rng = np.random.default_rng(given["seed"])
    spread = math.sqrt(math.log1p(0.08**2))
    for n in (5, 6):  # `docs/calibration.md` has 10 and 20
        inside: dict[str, list[bool]] = {"t": [], "bca": [], "percentile": []}
        for _ in range(given["sims"]):
            x = np.exp(rng.normal(-(spread**2) / 2, spread, n))
            low, high = limits(mean_interval(x))
            inside["t"].append(low <= 1 <= high)
            low, high = limits(bca_paired_ratio(x, np.ones(n), resamples=given["n_resamples"], seed=rng))
            inside["bca"].append(low <= math.exp(-(spread**2) / 2) <= high)
            resampled = rng.choice(x, (given["n_resamples"], n)).mean(axis=1)
            low, high = np.percentile(resampled, (2.5, 97.5))
            inside["percentile"].append(low <= 1 <= high)
        coverage = {name: np.mean(each) for name, each in inside.items()}
        assert coverage == pytest.approx(expected[f"n{n}"], abs=0.02)
