"""The reference oracle on planning: repetitions, variance components, stopping rules, power, order."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.stats.interval import t_quantile
from bench.stats.nested import best_repetitions, nested_interval, variance_components
from bench.stats.planning import blocks_to_see, fixed_n, order_drift_bias, stein_interval, stein_plan

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6)


def by_level(values: dict[str, float]) -> Any:
    return close([values[level] for level in sorted(values)])


def test_kalibera_3level(oracle: Oracle) -> None:
    given, expected = oracle("kalibera_3level")
    components = variance_components(given["y"])
    assert components is not None
    assert components.biased == by_level(expected["S2"])
    assert components.unbiased == by_level(expected["T2"])
    assert nested_interval(given["y"]).value == close(expected["mean"])


def test_kalibera_optimal_reps(oracle: Oracle) -> None:
    given, expected = oracle("kalibera_optimal_reps")
    components = variance_components(given["y"])
    assert components is not None
    assert components.unbiased == by_level(expected["T2"])
    repetitions = best_repetitions(components, given["costs_high_to_low"][::-1])
    assert repetitions == by_level(expected["r"])
    assert [math.ceil(r) for r in repetitions if r is not None] == expected["rounded_up"]


def test_mixed_model_dyestuff(oracle: Oracle) -> None:
    given, expected = oracle("mixed_model_dyestuff")
    components, interval = variance_components(given["y"]), nested_interval(given["y"])
    assert components is not None
    within, between = components.unbiased
    assert (between, within) == close((expected["between"], expected["within"]))
    assert between / (between + within) == close(expected["icc"])
    assert (interval.value, interval.half_width) == close((expected["mean"], expected["ci95_half_width"]))


def test_reps_hoefler(oracle: Oracle) -> None:
    given, expected = oracle("reps_hoefler")
    n = fixed_n(given["mean"], given["sd"], given["n_pilot"], given["rel_half_width"], given["conf"])
    assert n == close(expected["n_real"])


def test_power_paired(oracle: Oracle) -> None:
    given, expected = oracle("power_paired")
    ratio = math.exp(given["delta"])
    n = [blocks_to_see(ratio, sd, given["power"], given["alpha"]) for sd in given["sd"]]
    assert n == pytest.approx(expected["n_real"], rel=1e-4)
    assert [math.ceil(blocks) for blocks in n if blocks] == expected["n"]


def test_order_drift_bias(oracle: Oracle) -> None:
    given, expected = oracle("order_drift_bias")
    for shape, exponent in (("linear", 1), ("quadratic", 2)):
        for order in given["orders"]:
            drift = given["drift_per_slot"] * np.arange(len(order), dtype=float) ** exponent
            assert order_drift_bias(order, drift) == pytest.approx(expected[shape][order], abs=1e-12)


def runs(given: dict[str, Any]) -> Any:
    """Return simulated runs, one study a row: log-normal with mean 1 and the given variation."""
    sims = 4 * given["sims"]  # the oracle's own error is a quarter of its tolerance: leave it the rest
    spread = math.sqrt(math.log1p(given["cv"] ** 2))
    rng = np.random.default_rng(given["seed"])
    return rng.lognormal(-(spread**2) / 2, spread, size=(sims, 40))


def test_optional_stopping_coverage_of_peeking(oracle: Oracle) -> None:
    """Whoever stops when the interval is narrow enough misses the truth too often; a fixed number does not."""
    given, expected = oracle("optional_stopping_coverage")
    x = runs(given)
    n = np.arange(1, x.shape[1] + 1)
    mean = np.cumsum(x, axis=1) / n
    sd = np.sqrt((np.cumsum(x**2, axis=1) - n * mean**2).clip(0) / np.maximum(n - 1, 1))
    half = np.array([0, *(t_quantile(k - 1, 0.95) / math.sqrt(k) for k in n[1:])]) * sd
    half[:, 0] = math.inf
    covered = np.abs(mean - 1) <= half
    assert covered[:, 12].mean() == pytest.approx(expected["fixed_n13"]["coverage"], abs=0.006)
    for first in (2, 3, 5, 10):
        stop = np.argmax((half <= given["target"] * mean) & (n >= first), axis=1)
        peek = expected[f"peek_from_{first}"]
        assert covered[np.arange(len(x)), stop].mean() == pytest.approx(peek["coverage"], abs=0.006)
        assert (stop + 1).mean() == pytest.approx(peek["mean_n"], rel=0.02)


@pytest.mark.parametrize("pilot_n", [6, 10])
def test_optional_stopping_coverage_of_stein(oracle: Oracle, pilot_n: int) -> None:
    given, expected = oracle("optional_stopping_coverage")
    covered, sizes = [], []
    for x in runs(given)[:10_000]:
        plan = stein_plan(
            x[:pilot_n], given["target"] * x[:pilot_n].mean(), cap=len(x)
        )  # the cap binds in 1 of 1,000
        assert plan is not None
        interval = stein_interval(plan, x[: plan.n])
        assert interval.low is not None
        assert interval.high is not None
        covered.append(interval.low <= 1 <= interval.high)
        sizes.append(plan.n)
    stein = expected[f"stein_n0_{pilot_n}"]
    assert np.mean(covered) == pytest.approx(stein["coverage"], abs=0.006)
    assert np.mean(sizes) == pytest.approx(stein["mean_n"], rel=0.02)
