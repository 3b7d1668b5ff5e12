"""MLPerf's rule, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from workloads.inference.load.early_stopping import binomial_cdf, minimum_count, passes, percentile_estimate


def test_the_table_of_counts(expected: Any) -> None:
    for percentile, row in expected("mlperf_early_stopping_n")["expected"].items():
        found = {over: minimum_count(float(percentile), int(over)) for over in row}
        assert found == row


def test_a_count_passes_from_the_minimum_on() -> None:
    assert [passes(count, 1, 0.99) for count in (661, 662, 663)] == [False, True, True]
    assert not passes(10_000, 10_000, 0.99)
    assert not passes(10_000, 5_000, 0.99)


def test_the_percentile_estimates(expected: Any) -> None:
    for name, cell in expected("mlperf_percentile_estimate")["expected"].items():
        percentile, count = (part[1:] for part in name.split("_"))
        estimate = percentile_estimate(range(int(count), 0, -1), float(percentile))
        assert estimate == cell.get("rank_from_bottom_1based")


@pytest.mark.parametrize(("n", "p"), [(10, 0.3), (1000, 0.01), (270_336, 0.01), (2000, 0.9)])
def test_the_binomial_is_exact(n: int, p: float) -> None:
    for k in {0, 1, int(n * p / 2), int(n * p), int(2 * n * p) % n, n - 1, n}:
        assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-7, abs=1e-300)
