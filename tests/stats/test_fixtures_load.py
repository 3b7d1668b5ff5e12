"""The reference oracle on tails, early stopping, queues and arrivals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.stats.early_stopping import (
    fixed_query_count,
    percentile_estimate,
    queries_needed,
    rounded_query_count,
    server_passes,
)
from bench.stats.interval import geometric_mean_interval
from bench.stats.quantile import design_effect, harrell_davis, nearest_rank, quantile_interval
from bench.stats.queueing import (
    exponential_gaps,
    fifo_departures,
    filled_omissions,
    littles_law_residual,
    mm1_attainment,
    mm1_highest_rate,
    mm1_mean,
    mm1_percentile,
    poisson_counts,
)

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6)


def test_quantile_ci_of_samples(oracle: Oracle) -> None:
    _, expected = oracle("quantile_ci_ranks")
    interval = quantile_interval(np.arange(1, 1001), 0.99)
    assert [interval.low, interval.high] == expected["scipy_quantile_test_1..1000_p.99"]


def test_harrell_davis_smooths(oracle: Oracle) -> None:
    given, expected = oracle("harrell_davis")
    assert [harrell_davis(given["x"], p) for p in given["p"]] == close(expected["hd"])


def test_mlperf_early_stopping_n(oracle: Oracle) -> None:
    _, expected = oracle("mlperf_early_stopping_n")
    cells = [(float(p), int(t), n) for p, row in expected.items() for t, n in row.items()]
    assert len(cells) == 78
    assert [queries_needed(t, p) for p, t, _ in cells] == [n for _, _, n in cells]


def test_mlperf_percentile_estimate(oracle: Oracle) -> None:
    _, expected = oracle("mlperf_percentile_estimate")
    assert len(expected) == 16
    for key, value in expected.items():
        p, n = key.removeprefix("p").split("_n")
        estimate = percentile_estimate(int(n), float(p))
        if estimate is None:
            assert queries_needed(1, float(p)) == value["need"], key
        else:
            assert (estimate.over_limit, estimate.rank) == (value["t"], value["rank_from_bottom_1based"]), key


def test_mlperf_query_count_table(oracle: Oracle) -> None:
    given, expected = oracle("mlperf_query_count_table")
    assert [fixed_query_count(p) for p in given["p"]] == expected["n"]
    assert [rounded_query_count(p) for p in given["p"]] == expected["rounded_up_to_8192"]


def test_mm1_theory(oracle: Oracle) -> None:
    given, expected = oracle("mm1_theory")
    rates = given["lambda"], given["mu"]
    assert 1e3 * mm1_mean(*rates) == close(expected["mean_ms"])
    assert 1e3 * mm1_percentile(*rates, 0.5) == close(expected["p50_ms"])
    assert 1e3 * mm1_percentile(*rates, 0.99) == close(expected["p99_ms"])
    assert 1e3 * mm1_mean(0, given["mu"]) == close(expected["closed_loop_1_client_mean_ms"])
    assert 1e3 * mm1_percentile(0, given["mu"], 0.99) == close(expected["closed_loop_1_client_p99_ms"])


def test_slo_max_rate_mm1(oracle: Oracle) -> None:
    given, expected = oracle("slo_max_rate_mm1")
    assert mm1_highest_rate(given["mu"], given["p"], given["slo_s"]) == close(expected["lambda_max"])
    assert mm1_attainment(60, given["mu"], given["slo_s"]) == close(expected["attainment_at_60"])
    assert mm1_attainment(50, given["mu"], given["slo_s"]) == close(expected["attainment_at_50"])


def test_littles_law(oracle: Oracle) -> None:
    given, expected = oracle("littles_law")
    in_flight = expected["mean_in_flight"]
    assert littles_law_residual(in_flight, given["X_rps"], given["R_s"]) == pytest.approx(0, abs=1e-6)
    closed = given["closed"]
    cycle_s = closed["R_s"] + closed["Z_s"]
    assert littles_law_residual(closed["N"], expected["closed_X"], cycle_s) == pytest.approx(0, abs=1e-6)


def test_poisson_gaps_ks(oracle: Oracle) -> None:
    given, expected = oracle("poisson_gaps_ks")
    check = exponential_gaps(given["gaps_s"], given["rate"])
    assert check is not None
    assert (check.statistic, check.p_value) == close((expected["D"], expected["p"]))
    constant = exponential_gaps([0.995 / given["rate"]] * len(given["gaps_s"]), given["rate"])
    assert constant is not None
    assert constant.statistic == close(expected["constant_rate_D"])


def test_poisson_dispersion(oracle: Oracle) -> None:
    given, expected = oracle("poisson_dispersion")
    check, paced = poisson_counts(given["counts"]), poisson_counts([10] * 20)
    assert check is not None
    assert paced is not None
    assert check.statistic == close(expected["D"])
    assert check.statistic / (len(given["counts"]) - 1) == close(expected["index"])
    assert check.p_value == close(expected["p_two_sided"])
    assert (paced.statistic, paced.p_value) == (0, 0)


def test_coordinated_omission_stall(oracle: Oracle) -> None:
    """From the scheduled instant the stall shows in p99; a client that skips what it missed hides it."""
    given, expected = oracle("coordinated_omission_stall")
    scheduled = given["interval_ms"] * np.arange(given["n_scheduled"])
    begin, end = given["stall_ms"]
    service = np.full(len(scheduled), given["service_ms"])
    service[scheduled == begin] += end - begin
    latencies = fifo_departures(scheduled, service) - scheduled
    sent_on_time = latencies[(scheduled <= begin) | (scheduled > end)]
    omitting = np.where(sent_on_time > 201, 0, np.where(sent_on_time == 201, 201, given["service_ms"]))
    for name, measured in (("correct", latencies), ("omitting", omitting)):
        wanted = expected[name]
        assert len(measured) == wanted["n"]
        for percentile in ("p50", "p90", "p99"):
            assert nearest_rank(measured, int(percentile[1:]) / 100) == close(wanted[percentile]), name
        assert (measured.max(), measured.mean()) == close((wanted["max"], wanted["mean"]))


def test_hdr_corrected(oracle: Oracle) -> None:
    given, expected = oracle("hdr_corrected")
    raw = np.repeat(*np.transpose(given["values"]))
    filled = filled_omissions(raw, given["interval_us"])
    for name, latencies in (("raw", raw), ("corrected", filled)):
        assert len(latencies) == expected[f"{name}_total"]
        for percentile, value in expected[name].items():
            measured = nearest_rank(latencies, float(percentile) / 100)
            assert measured == pytest.approx(value, rel=0.001), (name, percentile)


@pytest.mark.parametrize("load", ["0.3", "0.8"])
def test_queue_breaks_iid_quantile_ci(oracle: Oracle, load: str) -> None:
    """Neighbours in a queue share their fate: intervals and pass rules for independent requests fail."""
    given, expected = oracle("queue_breaks_iid_quantile_ci")
    mu, n, runs = given["mu"], given["n"], 300
    rate = float(load) * mu
    rng = np.random.default_rng(given["seed"])
    arrivals = np.cumsum(rng.exponential(1 / rate, (runs, n)), axis=1)
    latencies = fifo_departures(arrivals, rng.exponential(1 / mu, (runs, n))) - arrivals
    truth = mm1_percentile(rate, mu, 0.99)
    wanted = expected[load]

    inside = [i.low <= truth <= i.high for i in (quantile_interval(run, 0.99) for run in latencies)]  # type: ignore[operator]
    assert np.mean(inside) == pytest.approx(wanted["iid_order_statistic_ci_coverage"], abs=0.06)
    late = latencies > truth
    passes = [server_passes(n, int(run.sum()), 0.99) for run in late]
    assert np.mean(passes) == pytest.approx(
        wanted["mlperf_rule_false_pass_rate_at_exactly_failing_system"], abs=0.06
    )
    assert design_effect(late.ravel(), runs) == pytest.approx(
        wanted["design_effect_of_overlatency_count"], rel=0.2
    )

    tails = np.sort(latencies, axis=1)[:, 9899].reshape(-1, 10)
    covered = [i.low <= truth <= i.high for i in map(geometric_mean_interval, tails)]  # type: ignore[operator]
    at_least = stats.binomtest(sum(covered), len(covered)).proportion_ci(0.99)
    assert at_least.low <= wanted["replicate_level_t_ci_coverage_10_runs"] <= at_least.high
