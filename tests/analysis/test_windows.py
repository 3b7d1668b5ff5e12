import math

import numpy as np
import pandas as pd
import pytest

from bench.analysis.windows import CURVE_PROBABILITIES, energy_j, latency, mean_of, rate
from bench.launch.events import Steps
from bench.stats.quantile import nearest_rank
from bench.stats.window import Window

WINDOW = Window(10.0, 20.0)


def steps(duration_s: float, first_end_s: float, count: int, items: float = 4.0) -> Steps:
    end = first_end_s + duration_s * np.arange(count)
    return Steps(end, np.full(count, duration_s), np.full(count, items))


def test_rate_credits_steps_across_the_edges_by_their_part_inside() -> None:
    assert rate(WINDOW, steps(duration_s=3.0, first_end_s=3.0, count=10)) == pytest.approx(4.0 / 3.0)
    assert rate(WINDOW, steps(duration_s=1.0, first_end_s=30.0, count=5)) == 0


def test_latency_counts_the_steps_that_end_in_the_window_and_no_others() -> None:
    seen = latency(WINDOW, steps(duration_s=0.5, first_end_s=0.5, count=100))
    assert seen.count == 20
    assert seen.p50_s == pytest.approx(0.5)


def test_a_percentile_without_enough_steps_is_absent_and_says_so() -> None:
    seen = latency(WINDOW, steps(duration_s=0.1, first_end_s=0.05, count=500))
    assert seen.p99_s is None
    reading = seen.reading(0.99)
    assert reading.value is None
    assert "100 steps" in str(reading.reason)
    assert "368" in str(reading.reason)
    assert math.isnan(seen.curve_s[-1])


def test_the_curve_is_nearest_rank_at_every_probability() -> None:
    durations = np.random.default_rng(5).uniform(0.001, 0.002, 6000)
    work = Steps(10.5 + np.arange(6000) / 1000, durations, np.ones(6000))
    curve = latency(WINDOW, work).curve_s
    for p, value in zip(CURVE_PROBABILITIES, curve, strict=True):
        assert value == nearest_rank(durations, float(p))


def test_mean_power_weighs_by_time_not_by_sample() -> None:
    samples = pd.DataFrame(
        {"time_s": [0.0, 10.0, 11.0, 12.0, 20.0, 30.0], "power_w": [100.0] * 3 + [100.0, 200.0, 200.0]}
    )
    assert mean_of(WINDOW, samples, "power_w", {}).value == pytest.approx((2 * 100 + 8 * 150) / 10)


def test_a_column_the_device_would_not_tell_gives_the_devices_reason() -> None:
    samples = pd.DataFrame({"time_s": [9.0, 12.0, 15.0, 21.0], "utilization_gpu_pct": [None] * 4})
    reading = mean_of(WINDOW, samples, "utilization_gpu_pct", {"utilization_gpu_pct": "[N/A]: not here"})
    assert reading.value is None
    assert reading.reason == "[N/A]: not here"


def test_energy_is_interpolated_at_the_edges_of_the_window() -> None:
    counter = pd.DataFrame({"time_s": [9.0, 11.0, 19.0, 21.0], "energy_j": [0.0, 200.0, 1000.0, 1400.0]})
    assert energy_j(WINDOW, counter, {}).value == pytest.approx(1200.0 - 100.0)


@pytest.mark.parametrize("times", [[11.0, 25.0], [5.0, 19.0], []])
def test_a_counter_that_does_not_span_the_window_gives_no_energy(times: list[float]) -> None:
    counter = pd.DataFrame({"time_s": times, "energy_j": [100.0 * t for t in times]}, dtype=float)
    assert energy_j(WINDOW, counter, {}).value is None
    assert energy_j(WINDOW, None, {"energy": "not supported"}).reason == "not supported"
