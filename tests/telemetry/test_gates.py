"""Gates: what the device's counters say against a trial."""

import pandas as pd
import pytest

from bench.telemetry.contract import Telemetry
from bench.telemetry.gates import POWER_CAP_FLAG, Gates, judge_telemetry

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
