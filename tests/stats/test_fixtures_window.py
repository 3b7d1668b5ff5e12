"""The reference oracle on judging a window: start-up, change points, drift, dependence of neighbours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.stats.autocorrelation import (
    autocorrelations,
    batch_means_interval,
    block_length,
    dependence,
    hac_half_width,
    ljung_box_p,
    ljung_box_statistic,
    stationary_bootstrap_half_width,
)
from bench.stats.changepoint import Behaviour, change_points, outliers, segments
from bench.stats.interval import mean_interval
from bench.stats.steady_state import theil_sen_drift
from bench.stats.truncation import cov_window, mser5

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6)


def test_ss_cov_window(oracle: Oracle) -> None:
    given, expected = oracle("ss_cov_window")
    window = cov_window(given["x"], given["k"], given["threshold"])
    assert window is not None
    assert (window.start, window.reached) == (expected["start"], expected["reached"])
    assert window.cov == close(expected["cov"])
    assert window.mean == close(expected["mean_of_window"])


def test_mser5_valid(oracle: Oracle) -> None:
    given, expected = oracle("mser5_valid")
    cut = mser5(given["x"])
    assert cut is not None
    assert (cut.units, cut.valid) == (expected["truncate"], expected["valid"])
    assert cut.statistic == close(expected["g_min"])
    assert np.mean(given["x"][cut.units :]) == close(expected["mean_after"])


def test_pelt_meanvar(oracle: Oracle) -> None:
    given, expected = oracle("pelt_meanvar")
    starts = change_points(given["x_ms"], given["penalty"])
    assert [*starts[1:], len(given["x_ms"])] == expected["breakpoints"]
    found = segments(given["x_ms"])
    assert found is not None
    assert found.means == close(expected["segment_means"])
    parts = np.split(np.asarray(given["x_ms"]), starts[1:])
    assert [part.var() for part in parts] == close(expected["segment_vars"])
    assert found.behaviour is Behaviour.WARM_UP


def test_pelt_units_trap(oracle: Oracle) -> None:
    """Seconds, which lose a change point in the library's call, give what milliseconds give."""
    given, expected = oracle("pelt_units_trap")
    starts = change_points(given["x_s"], given["penalty"])
    assert [*starts[1:], len(given["x_s"])] == expected["breakpoints_in_ms_units"]


def test_tukey_window_outliers(oracle: Oracle) -> None:
    given, expected = oracle("tukey_window_outliers")
    assert outliers(given["x"], given["window"]) == expected["indices"]


def test_drift_theil_sen(oracle: Oracle) -> None:
    given, expected = oracle("drift_theil_sen")
    drift = theil_sen_drift(given["y"], given["t"])
    assert drift is not None
    assert (drift.slope, drift.low, drift.high) == close((expected["slope"], expected["low"], expected["high"]))
    assert drift.relative == close(expected["relative_drift_over_window"])


def test_autocorrelation_ci(oracle: Oracle) -> None:
    given, expected = oracle("autocorrelation_ci")
    x = given["x"]
    effect, blocks = dependence(x), block_length(x)
    assert effect is not None
    assert blocks is not None
    assert autocorrelations(x, 1) == close([expected["acf1"]])
    assert ljung_box_p(x, 10) == close(expected["ljungbox10_p"])
    assert (effect.tau, effect.effective_n) == close((expected["tau_int"], expected["n_eff"]))
    assert mean_interval(x).half_width == close(expected["half_width_naive"])
    assert batch_means_interval(x, 20).half_width == close(expected["half_width_batch_means_20"])
    assert hac_half_width(x, 12) == close(expected["half_width_hac12_z"])
    assert blocks.stationary == close(expected["optimal_block_stationary"])
    assert blocks.circular == close(expected["optimal_block_circular"])
    bootstrapped = stationary_bootstrap_half_width(x)
    assert bootstrapped == pytest.approx(expected["half_width_stationary_bootstrap"], rel=0.03)


def test_ljung_box(oracle: Oracle) -> None:
    given, expected = oracle("ljung_box")
    correlations = autocorrelations(given["x"], given["lags"])
    assert ljung_box_statistic(correlations, len(given["x"])) == close(expected["stat"])
    assert ljung_box_p(given["x"], given["lags"]) == close(expected["p"])
    assert correlations[:3] == close(expected["acf1_3"])


@pytest.mark.parametrize("phi", [0, 0.3, 0.6, 0.9])
def test_pelt_false_positive_rate(oracle: Oracle, phi: float) -> None:
    given, expected = oracle("pelt_false_positive_rate")
    rng = np.random.default_rng(given["seed"])
    n, sims = given["n"], given["sims"] // 2  # half of them, for speed
    series = np.zeros((sims, n + 100))
    for i in range(1, n + 100):
        series[:, i] = phi * series[:, i - 1] + rng.normal(size=sims)
    for name, penalty in (("pen3ln_n", 3 * np.log(n)), ("pen15ln_n", 15 * np.log(n))):
        alarms = np.mean([len(change_points(x[100:], penalty)) > 1 for x in series])
        assert alarms == pytest.approx(expected[f"phi{phi:g}_{name}"], abs=0.1)
