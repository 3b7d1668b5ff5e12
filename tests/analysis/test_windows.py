import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bench.analysis.windows import (
    CURVE_PROBABILITIES,
    energy_j,
    flag_of,
    judged,
    latency,
    mean_of,
    rate,
    waiting,
    why_starved,
)
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
    durations = np.random.default_rng(5).uniform(0.001, 0.002, 40_000)
    work = Steps(10.5 + np.arange(40_000) / 5000, durations, np.ones(40_000))
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


def noisy(level: Callable[[np.ndarray], np.ndarray], count: int = 1000, seed: int = 1) -> Steps:
    """Return steps over the window, with 2 % of noise; `level` maps the part that has passed to a duration."""
    noise = np.random.default_rng(seed).normal(1, 0.02, count)
    duration = noise * level(np.linspace(0, 1, count)) * 10 / count
    return Steps(WINDOW.start_s + np.cumsum(duration), duration, np.ones(count))


@pytest.mark.parametrize(
    ("level", "flag"),
    [
        (np.ones_like, None),
        (lambda at: 0.9925 + 0.015 * at, "drift"),
        (lambda at: 0.98 + 0.04 * at, "no_steady_state"),  # so much drift that it looks like levels
        (lambda at: np.where(at < 0.3, 1.2, 0.9), "no_steady_state"),  # a warm-up longer than the settling
        (lambda at: np.where(at < 0.3, 0.9, 1.05), "no_steady_state"),  # a slowdown, as by heat
        (lambda at: np.where(at % 0.4 < 0.2, 0.9, 1.1), "no_steady_state"),
    ],
)
def test_windows_that_do_not_hold_one_level_are_flagged(
    level: Callable[[np.ndarray], np.ndarray], flag: str | None
) -> None:
    assert flag_of(judged(WINDOW, noisy(level))) == flag


def test_plain_noise_is_seldom_flagged_at_any_number_of_steps() -> None:
    for count in (60, 151, 1000, 20_000):
        flags = [flag_of(judged(WINDOW, noisy(np.ones_like, count, seed))) for seed in range(40)]
        assert sum(flag is not None for flag in flags) <= 4, count


def test_what_lies_outside_the_window_is_not_judged() -> None:
    end = np.arange(0.05, 30, 0.05)
    inside = (end > 10) & (end <= 20)
    wild = Steps(end, np.where(inside, 0.05, 0.5 * end), np.ones(len(end)))
    verdict = judged(WINDOW, wild)
    assert (verdict.steady, verdict.units) == (True, 100)  # 200 steps in means of two


def test_few_steps_are_neither_steady_nor_flagged() -> None:
    verdict = judged(WINDOW, steps(duration_s=1.0, first_end_s=0.5, count=40))
    assert (verdict.steady, flag_of(verdict)) == (None, None)
    assert verdict.reasons == ("10 units, 30 are needed",)


def test_waiting_is_the_share_of_the_time_of_the_steps_in_the_window_that_told() -> None:
    end_s, nan = np.array([10.0, 11.0, 13.0, 14.0, 21.0]), math.nan
    duration_s, wait_s = np.array([1.0, 1.0, 2.0, 1.0, 7.0]), np.array([1.0, 0.1, 0.2, nan, 7.0])
    assert waiting(WINDOW, Steps(end_s, duration_s, np.ones(5), wait_s)) == pytest.approx(0.3 / 3.0)
    assert waiting(WINDOW, Steps(end_s, duration_s, np.ones(5), np.full(5, nan))) is None
    assert waiting(WINDOW, Steps(end_s, duration_s, np.ones(5))) is None


@pytest.mark.parametrize(("share", "starved"), [(None, False), (0.0, False), (0.05, False), (0.051, True)])
def test_a_job_that_waits_for_more_than_a_twentieth_of_its_time_is_starved(
    share: float | None, starved: bool
) -> None:
    assert (why_starved(share) is not None) == starved
