"""Published and computed numbers of the reference oracle (`conftest.py`); the other files have the rest of it."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.stats.colocation import (
    antt,
    jain,
    min_max_fairness,
    normalised_progress,
    slowdown,
    split_slowdown,
    stp,
)
from bench.stats.crosscheck import sign_flip_p, signed_rank_p, smallest_possible_p
from bench.stats.multiplicity import benjamini_hochberg, holm
from bench.stats.quantile import bounding_ranks, minimum_count, nearest_rank
from bench.stats.ratio import paired_log_ratio
from bench.stats.rounding import with_half_width

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6)


def test_colocation_basic(oracle: Oracle) -> None:
    given, expected = oracle("colocation_basic")
    progress = [
        normalised_progress(shared, solo) for shared, solo in zip(given["coloc"], given["solo"], strict=True)
    ]
    mean_slowdown = antt(progress)
    assert mean_slowdown is not None
    assert progress == close(expected["NP"])
    assert [slowdown(job) for job in progress] == close(expected["slowdown"])
    assert stp(progress) == close(expected["STP"])
    assert mean_slowdown == close(expected["ANTT"])
    assert 1 / mean_slowdown == close(expected["HM_speedup"])
    assert min_max_fairness(progress) == close(expected["fairness_min_max"])
    assert jain(progress) == close(expected["jain"])


def test_slowdown_decomposition(oracle: Oracle) -> None:
    given, expected = oracle("slowdown_decomposition")
    split = split_slowdown(given["full_gpu_solo"], given["slice_solo"], given["slice_coloc"])
    assert split.partition == close(expected["S_partition"])
    assert split.interference == close(expected["S_interference"])
    assert split.total == close(expected["S_total"])
    assert split.isolation == close(expected["isolation_index"])


def test_paired_log_ratio(oracle: Oracle) -> None:
    given, expected = oracle("paired_log_ratio")
    interval = paired_log_ratio(given["A"], given["B"])
    assert interval.ratio == close(expected["gm_ratio"])
    assert [interval.low, interval.high] == close(expected["ci"])
    assert interval.p_value == close(expected["p_t"])
    assert signed_rank_p(given["A"], given["B"]) == close(expected["wilcoxon_p"])
    assert sign_flip_p(given["A"], given["B"]) == close(expected["signflip_p"])


def test_smallest_possible_p(oracle: Oracle) -> None:
    _, expected = oracle("smallest_possible_p")
    signed_rank = expected["wilcoxon_signed_rank_two_sided"]
    assert {n: smallest_possible_p(int(n)) for n in signed_rank} == close(signed_rank)


def test_holm(oracle: Oracle) -> None:
    given, expected = oracle("holm")
    adjusted = holm(given["p"])
    assert adjusted == close(expected["holm"])
    assert [p is not None and p < 0.05 for p in adjusted] == expected["reject_holm"]
    assert benjamini_hochberg(given["p"]) == close(expected["bh"])


def test_min_n_for_quantile_bound(oracle: Oracle) -> None:
    _, expected = oracle("min_n_for_quantile_bound")
    counts = {
        "p95_c95": minimum_count(0.95, two_sided=False),
        "p99_c95": minimum_count(0.99, two_sided=False),
        "p99_c99": minimum_count(0.99, confidence=0.99, two_sided=False),
        "p99_two_sided95": minimum_count(0.99),
        "p999_c95": minimum_count(0.999, two_sided=False),
        "p999_c99": minimum_count(0.999, confidence=0.99, two_sided=False),
    }
    assert counts == expected


def test_harrell_davis(oracle: Oracle) -> None:
    given, expected = oracle("harrell_davis")
    assert [nearest_rank(given["x"], p) for p in given["p"]] == close(expected["inverted_cdf"])


def test_quantile_ci_ranks(oracle: Oracle) -> None:
    _, expected = oracle("quantile_ci_ranks")
    table = {key: value for key, value in expected.items() if key.startswith("n")}
    assert len(table) == 16
    for key, value in table.items():
        n, p = key.removeprefix("n").split("_p")
        ranks = bounding_ranks(int(n), float(p))
        assert (ranks.low, ranks.high) == (value["l"], value["u"]), key


def test_rounding(oracle: Oracle) -> None:
    given, expected = oracle("rounding")
    assert [with_half_width(*pair) for pair in given["pairs"]] == expected["text"]
