import math

import numpy as np
import pytest

from bench.stats.nested import best_repetitions, nested_interval, variance_components
from bench.stats.planning import (
    FIRST_LOOK,
    blocks_to_see,
    fixed_n,
    next_look,
    order_drift_bias,
    power,
    relative_to_true_mean,
    stein_interval,
    stein_plan,
    visible_ratio,
)


def test_stein_plans_from_the_pilot_and_keeps_its_spread() -> None:
    plan = stein_plan([0.9, 1.0, 1.1, 1.0, 0.95, 1.05], half_width=0.05)
    assert plan is not None
    assert plan.n == math.ceil((2.5705818366 * plan.pilot_sd / 0.05) ** 2)
    interval = stein_interval(plan, [1.0, 5.0] * (plan.n // 2) + [1.0] * (plan.n % 2))
    assert interval.half_width is not None
    assert interval.half_width <= 0.05
    assert interval.half_width == pytest.approx(2.5705818366 * plan.pilot_sd / math.sqrt(plan.n))


def test_stein_never_plans_fewer_than_the_pilot_nor_more_than_the_cap() -> None:
    calm = stein_plan([1.0, 1.0, 1.0], half_width=0.01)
    wild = stein_plan([1.0, 2.0, 3.0], half_width=0.01, cap=40)
    assert calm is not None
    assert wild is not None
    assert (calm.n, calm.capped) == (3, False)
    assert (wild.n, wild.capped) == (40, True)
    assert stein_interval(calm, [1.0] * 3).no_variation


def test_too_small_a_pilot_plans_nothing() -> None:
    assert stein_plan([1.0], half_width=0.05) is None
    assert fixed_n(1.0, 0.1, 1, 0.05) is None
    assert fixed_n(0.0, 0.1, 6, 0.05) is None
    plan = stein_plan([1.0, 1.1], half_width=0.05)
    assert plan is not None
    assert stein_interval(plan, [1.0]).low is None
    assert stein_interval(plan, []).value is None


def test_a_sequential_study_looks_late_and_in_batches() -> None:
    assert next_look(3, 0.0, 0.05, cap=40) == FIRST_LOOK
    assert next_look(10, 0.06, 0.05, cap=40) == 15
    assert next_look(10, None, 0.05, cap=40) == 15
    assert next_look(38, 0.06, 0.05, cap=40) == 40
    assert next_look(10, 0.05, 0.05, cap=40) is None
    assert next_look(40, 0.06, 0.05, cap=40) is None
    assert next_look(0, None, 0.05, cap=6) == 6


def test_relative_precision_against_the_true_mean() -> None:
    assert relative_to_true_mean(0.05) == pytest.approx(0.047619, rel=1e-5)


def test_power_and_its_inverses_agree() -> None:
    n = blocks_to_see(1.02, 0.02)
    ratio = visible_ratio(13, 0.02)
    assert n is not None
    assert ratio is not None
    assert power(1.02, 0.02, n) == pytest.approx(0.9)
    assert power(ratio, 0.02, 13) == pytest.approx(0.9)
    assert power(1 / 1.02, 0.02, 13) == pytest.approx(power(1.02, 0.02, 13))
    assert power(1.0, 0.02, 13) == pytest.approx(0.05)


def test_power_by_simulation() -> None:
    logs = np.random.default_rng(2).normal(math.log(1.02), 0.02, (4_000, 10))
    t = np.abs(logs.mean(axis=1)) / (logs.std(axis=1, ddof=1) / math.sqrt(10))
    assert power(1.02, 0.02, 10) == pytest.approx(np.mean(t > 2.262157), abs=0.02)


def test_what_no_study_can_see() -> None:
    assert blocks_to_see(1.0, 0.02) is None
    assert blocks_to_see(1.000001, 0.5) is None
    assert blocks_to_see(100.0, 0.001) == 2
    assert visible_ratio(1, 0.02) is None
    assert visible_ratio(10, 0.0) is None
    assert blocks_to_see(1.02, 0.0) is None
    assert power(1.02, 0.02, 1) == 0
    assert visible_ratio(2, 0.02) == pytest.approx(1.345, abs=0.001)


def test_order() -> None:
    assert order_drift_bias("ABBA", [0.0, 1.0, 2.0, 3.0]) == 0
    with pytest.raises(ValueError, match="two modes"):
        order_drift_bias("AAA", [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="lengths differ"):
        order_drift_bias("ABBA", [0.0, 1.0])


def test_nested_repetitions() -> None:
    assert variance_components([[1.0, 2.0]]) is None
    assert variance_components([1.0]) is None
    assert nested_interval([[1.0, 2.0]]).low is None
    components = variance_components([[9.0, 5.0], [10.0, 6.0]])
    assert components is not None
    assert components.unbiased[1] < 0
    assert best_repetitions(components, (1, 10)) == (None,)
    with pytest.raises(ValueError, match="2 levels need as many costs"):
        best_repetitions(components, (1,))
    steady = variance_components([[1.0, 1.0], [2.0, 2.0]])
    assert steady is not None
    assert best_repetitions(steady, (1, 10)) == (1.0,)


def test_the_worked_example_of_kalibera_and_jones() -> None:
    components = variance_components([[[9, 5], [8, 3]], [[10, 6], [7, 11]], [[1, 12], [2, 4]]])
    assert components is not None
    assert components.biased == pytest.approx((16.5, 2.583333, 3.5625), rel=1e-6)
    assert components.unbiased == pytest.approx((16.5, -5.666667, 2.270833), rel=1e-6)
    nested = variance_components([[[3, 4, 3], [1.2, 3.1, 3]], [[0.2, 1, 1.5], [1, 2, 3]]])
    assert nested is not None
    assert best_repetitions(nested, (3, 20, 100)) == pytest.approx((4.293660, 1.302286), rel=1e-6)
