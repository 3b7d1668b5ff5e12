"""Gates: what the device's counters say against a trial."""

import pandas as pd
import pytest

from bench.telemetry.contract import Telemetry
from bench.telemetry.gates import (
    CLOCK_LOCK_FLAG,
    HOST_CPU_FLAG,
    POWER_CAP_FLAG,
    Gates,
    host_busy,
    judge_clock,
    judge_host,
    judge_telemetry,
)

SETTLE_S, STOP_S = 10.0, 20.0
QUIET = {
    "event_reasons": [0x1, 0x0, 0x0, 0x0, 0x1],
    "sw_power_cap_us": [7.0] * 5,
    "sw_thermal_slowdown_us": [0.0] * 5,
    "hw_thermal_slowdown_us": [3.0] * 5,
    "hw_power_brake_us": [0.0] * 5,
}


def telemetry(**columns: list[float | None]) -> Telemetry:
    """Five samples: one before the window, three in it, one after."""
    table = pd.DataFrame({"time_s": [5.0, 10.0, 15.0, 20.0, 25.0], **QUIET, **columns})
    return Telemetry(table.astype({"event_reasons": "UInt64"}))


def judge(**columns: list[float | None]) -> Gates:
    return judge_telemetry(telemetry(**columns), SETTLE_S, STOP_S)


def test_a_quiet_device_passes():
    assert judge() == Gates()


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (0x08, "hardware slowdown"),
        (0x20, "software thermal slowdown"),
        (0x40, "hardware thermal slowdown"),
        (0x80, "hardware power brake"),
    ],
)
def test_a_slowdown_in_the_window_is_a_fault(mask, fault):
    assert judge(event_reasons=[0, 0, mask | 0x1, 0, 0]) == Gates(faults=(fault,))


def test_a_slowdown_between_two_samples_shows_in_the_counter():
    assert judge(hw_thermal_slowdown_us=[3.0, 3.0, 3.0, 90.0, 90.0]).faults == ("hardware thermal slowdown",)


def test_what_happened_outside_the_window_does_not_count():
    outside = judge(event_reasons=[0x40, 0, 0, 0, 0x40], hw_thermal_slowdown_us=[0.0, 3.0, 3.0, 3.0, 99.0])
    assert outside == Gates()


@pytest.mark.parametrize(
    "sign", [{"event_reasons": [0, 0, 0x4, 0, 0]}, {"sw_power_cap_us": [7.0, 7.0, 8.0, 9.0, 9.0]}]
)
def test_the_power_cap_is_a_flag_because_a_mode_can_cause_it(sign):
    assert judge(**sign) == Gates(flags=(POWER_CAP_FLAG,))


def test_what_was_not_sampled_raises_nothing():
    assert judge(event_reasons=[None] * 5, hw_thermal_slowdown_us=[None] * 5) == Gates()
    assert judge_telemetry(Telemetry(pd.DataFrame({"time_s": []})), SETTLE_S, STOP_S) == Gates()


def judge_lock(clocks: list[float | None], reasons: list[int] | None = None) -> Gates:
    table = pd.DataFrame({
        "time_s": [10.0 + second / 2 for second in range(len(clocks))],
        "sm_clock_mhz": clocks,
        "event_reasons": pd.array(reasons or [0] * len(clocks), dtype="UInt64"),
    })  # fmt: skip
    return judge_telemetry(Telemetry(table), SETTLE_S, STOP_S, locked_mhz=1395)


@pytest.mark.parametrize(
    "clocks", [[1395.0] * 20, [1395.0, 1380.0, 1410.0, None] * 5, [1395.0] * 19 + [1200.0]], ids=str
)
def test_a_clock_that_stays_where_it_was_locked_passes(clocks):
    assert judge_lock(clocks) == Gates()


@pytest.mark.parametrize(
    "clocks", [[1365.0] * 20, [1395.0] * 18 + [1200.0] * 2, [1410.5] * 20, [None] * 20], ids=str
)
def test_a_clock_that_does_not_stay_or_is_not_told_is_a_flag(clocks):
    """The power cap, and so a mode, can be the reason."""
    assert judge_lock(clocks) == Gates(flags=(CLOCK_LOCK_FLAG,))


def test_the_clock_of_an_idle_moment_does_not_count():
    assert judge_lock([1395.0] * 10 + [210.0] * 10, [0] * 10 + [1] * 10) == Gates()


def sampled(stamps_s: list[float], period_s: float | None = 0.2) -> Gates:
    table = pd.DataFrame({"time_s": stamps_s, "power_w": [100.0] * len(stamps_s)})
    return judge_telemetry(Telemetry(table, requested_period_s=period_s), SETTLE_S, STOP_S)


def test_a_sampler_that_saw_nothing_of_a_part_of_the_window_is_a_fault():
    died = [9.0, 10.0, 11.0, 12.0, 13.0]
    assert sampled(died).faults == ("no telemetry for 7 s of the window",)
    assert sampled([9.0, 21.0]).faults == ("no telemetry for 10 s of the window",)
    assert sampled([*died, 18.0, 22.0]) == Gates()
    assert sampled(died, period_s=1.0) == Gates()


def test_without_a_sampler_nothing_is_missed():
    assert sampled([], period_s=None) == Gates()


def test_rows_in_which_a_lost_gpu_tells_nothing_are_no_samples():
    table = pd.DataFrame({"time_s": [10.0, 15.0, 20.0], "power_w": [100.0, None, None]})
    assert judge_telemetry(Telemetry(table, requested_period_s=0.2), SETTLE_S, STOP_S).faults


@pytest.mark.parametrize(("step_s", "fault"), [(0.0, False), (0.04, False), (-0.06, True), (3600.0, True)])
def test_a_clock_that_was_set_or_a_host_that_slept_is_a_fault(step_s, fault):
    assert bool(judge_clock(step_s).faults) == fault


def host(*idle_s: float) -> Telemetry:
    """Idle time of the mean core at 5, 10, 15, 20 and 25 s; the window is 10 to 20 s."""
    return Telemetry(pd.DataFrame(), host_idle=pd.DataFrame({"time_s": [5.0, 10, 15, 20, 25], "idle_s": idle_s}))


def test_how_busy_the_host_was_in_the_window():
    assert host_busy(host(100, 105, 106, 107, 112), SETTLE_S, STOP_S) == pytest.approx(0.8)
    assert host_busy(host(100, 105, 106, 107, 112), 12.5, 17.5) == pytest.approx(0.8)
    assert host_busy(host(100, 105, 110, 115, 120), SETTLE_S, STOP_S) == pytest.approx(0.0)


def test_a_host_that_was_not_watched_throughout_is_unknown():
    assert host_busy(Telemetry(pd.DataFrame()), SETTLE_S, STOP_S) is None
    assert host_busy(host(0, 1, 2, 3, 4), SETTLE_S, 26.0) is None
    assert host_busy(host(0, 1, 2, 3, 4), 4.0, STOP_S) is None


def test_a_host_without_a_core_to_spare_is_a_flag_because_a_mode_can_cause_it():
    assert judge_host(0.91) == Gates(flags=(HOST_CPU_FLAG,))
    assert judge_host(0.9) == judge_host(None) == Gates()
