import math

import numpy as np
import pytest
from scipy import optimize

from bench.stats.early_stopping import percentile_estimate, queries_needed, server_passes
from bench.stats.efficiency import (
    Energy,
    cost_per_million,
    counted_energy_j,
    makespan_gain,
    rate_per_gib,
    sampled_energy_j,
)
from bench.stats.quantile import design_effect, harrell_davis, nearest_rank, quantile_interval
from bench.stats.queueing import (
    exponential_gaps,
    fifo_departures,
    littles_law_residual,
    md1_mean,
    md1_percentile,
    mm1_highest_rate,
    mm1_mean,
    mm1_percentile,
    poisson_counts,
)
from bench.stats.scaling import amdahl_fit, usl_fit
from bench.stats.tails import amplification, attainment, goodput, inflation, krebs_isolation


def test_a_never_answered_request_is_late_and_counts() -> None:
    latencies = [0.01, 0.05, math.inf, 0.2]
    assert attainment(latencies, 0.1) == 0.5
    assert goodput(latencies, 0.1, window_s=2.0) == 1.0
    assert attainment([], 0.1) is None
    assert goodput([], 0.1, window_s=2.0) == 0
    with pytest.raises(ValueError, match="not below zero"):
        attainment([math.nan], 0.1)
    with pytest.raises(ValueError, match="longer than 0 s"):
        goodput([], 0.1, window_s=0)


def test_the_tail_stretches_more_than_the_median() -> None:
    assert amplification(inflation(60.0, 10.0), inflation(10.0, 5.0)) == 3
    assert inflation(None, 10.0) is None
    assert inflation(math.inf, 10.0) is None
    assert amplification(None, 2.0) is None
    assert krebs_isolation(20, 26, 100, 100) is None
    assert krebs_isolation(20, 20, 100, 150) == 0


def test_energy() -> None:
    assert counted_energy_j(5_000, 2_000) is None
    assert Energy(10.0, 2.0).per_unit_j(0) is None
    assert Energy(10.0, 2.0).above_idle(50.0).energy_j == 0
    assert sampled_energy_j([0.0], [100.0]) is None
    assert sampled_energy_j([0.0, 1.0, 3.0], [100.0, 200.0, 200.0]) == 550
    with pytest.raises(ValueError, match="no measurement of energy"):
        Energy(10.0, 0.0)
    with pytest.raises(ValueError, match="must increase"):
        sampled_energy_j([1.0, 1.0], [1.0, 1.0])


def test_costs_of_nothing() -> None:
    assert cost_per_million(4.0, 0.0) is None
    assert rate_per_gib(100.0, None) is None
    assert makespan_gain([10.0, 20.0], 25.0) == pytest.approx(1.2)


def test_usl_recovers_its_own_law_and_refuses_few_counts() -> None:
    n = np.array([1, 2, 4, 8, 16, 32])
    x = 3 * n / (1 + 0.05 * (n - 1) + 0.001 * n * (n - 1))
    fit = usl_fit(n, x)
    assert fit is not None
    assert (fit.gamma, fit.alpha, fit.beta) == pytest.approx((3, 0.05, 0.001), rel=1e-4)
    assert fit.peak_clients == pytest.approx(math.sqrt(0.95 / 0.001), rel=1e-4)
    assert usl_fit(n[:5], x[:5]) is None
    assert usl_fit(n + 1, x) is None
    assert amdahl_fit([1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3]) is None


def test_what_only_grows_has_neither_peak_nor_limit() -> None:
    n = np.arange(1, 9)
    fit = usl_fit(n, 2 * n * np.tile([1.01, 0.99], 4))
    assert fit is not None
    assert (fit.peak_clients, fit.limit) == (None, None)


def test_amdahl_has_no_peak() -> None:
    n = np.arange(1, 9)
    fit = amdahl_fit(n, 2 * n / (1 + 0.1 * (n - 1)) * np.tile([1.01, 0.99], 4))
    assert fit is not None
    assert fit.peak_clients is None
    assert fit.beta_error is None
    assert fit.limit == pytest.approx(20, rel=0.1)


def test_a_queue_by_hand() -> None:
    departures = fifo_departures([0.0, 1.0, 10.0], [3.0, 2.0, 1.0])
    assert departures.tolist() == [3, 5, 11]


@pytest.mark.parametrize("rate", [30.0, 80.0])
def test_theory_is_what_a_simulated_queue_does(rate: float) -> None:
    rng = np.random.default_rng(6)
    arrivals = np.cumsum(rng.exponential(1 / rate, 200_000))
    constant = fifo_departures(arrivals, np.full(len(arrivals), 0.01)) - arrivals
    random = fifo_departures(arrivals, rng.exponential(0.01, len(arrivals))) - arrivals
    assert constant.mean() == pytest.approx(md1_mean(rate, 0.01), rel=0.05)
    assert random.mean() == pytest.approx(mm1_mean(rate, 100.0), rel=0.05)
    for p in (0.5, 0.9, 0.99):
        assert nearest_rank(constant, p) == pytest.approx(md1_percentile(rate, 0.01, p), rel=0.1)
        assert nearest_rank(random, p) == pytest.approx(mm1_percentile(rate, 100.0, p), rel=0.1)


def test_a_nearly_full_queue_keeps_its_digits() -> None:
    """Beyond the mean the wait falls off exponentially, at the rate that Erlang's equation gives."""
    slow, slower = (md1_percentile(97.0, 0.01, p) for p in (0.99, 0.999))
    decay = optimize.brentq(lambda rate: 97 * math.expm1(0.01 * rate) - rate, 1, 20)
    assert slower - slow == pytest.approx(math.log(10) / decay, rel=1e-4)


def test_an_overloaded_queue_is_refused() -> None:
    with pytest.raises(ValueError, match="no steady state"):
        mm1_mean(100.0, 100.0)
    with pytest.raises(ValueError, match="no steady state"):
        md1_percentile(101.0, 0.01, 0.99)
    assert mm1_highest_rate(100.0, 0.99, 0.01) == 0


def test_checks_of_arrivals_without_any() -> None:
    assert exponential_gaps([], 50.0) is None
    assert poisson_counts([3]) is None
    assert poisson_counts([0, 0, 0]) is None
    assert littles_law_residual(1.0, 0.0, 0.1) is None
    assert littles_law_residual(9.9, 200.0, 0.045) == pytest.approx(0.1)


def test_early_stopping() -> None:
    assert queries_needed(0, 0.99) == 459
    assert queries_needed(1, 0.99) == 662
    assert server_passes(662, 1, 0.99)
    assert not server_passes(661, 1, 0.99)
    assert percentile_estimate(661, 0.99) is None
    estimate = percentile_estimate(1_000, 0.99)
    assert estimate is not None
    assert estimate.rank == 999


def test_quantiles_of_little_data() -> None:
    assert quantile_interval([], 0.99).value is None
    few = quantile_interval(range(1, 101), 0.99)
    assert (few.value, few.low, few.high) == (99, 97, None)
    assert harrell_davis([], 0.5) is None
    assert harrell_davis([3.0], 0.5) == pytest.approx(3)


def test_design_effect_counts_clumps() -> None:
    rng = np.random.default_rng(3)
    apart = rng.random(20_000) < 0.05
    clumped = np.repeat(rng.random(2_000) < 0.05, 10)
    assert design_effect(apart, batches=100) == pytest.approx(1, abs=0.4)
    assert design_effect(clumped, batches=100) == pytest.approx(10, rel=0.4)
    assert design_effect([True] * 100) is None
    assert design_effect([True] * 5) is None


def test_usl_of_specsdm91() -> None:
    """R, package usl: alpha 2.773e-02 (9.122e-03), beta 1.044e-04 (1.988e-05), gamma 90.0 (14.21), peak 96.52."""
    fit = usl_fit([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    assert fit is not None
    assert (fit.alpha, fit.beta, fit.gamma) == pytest.approx((2.773e-2, 1.044e-4, 90.0), rel=1e-3)
    assert (fit.alpha_error, fit.beta_error) == pytest.approx((9.122e-3, 1.988e-5), rel=1e-3)
    assert (fit.gamma_error, fit.peak_clients) == pytest.approx((14.21, 96.52), rel=1e-3)
