"""What the device's own counters say against a trial.

Hardware and thermal slowdowns are faults of the instrument: the device was not the one that the mode is judged on.
The software power cap is something that a mode itself can cause (more tenants draw more power), so it is a flag.
Bits of `clocks_event_reasons.active`: nvml.h; the counters of the same reasons are cumulative microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.telemetry.contract import Telemetry

_FAULT_BITS: Mapping[str, int] = {
    "hardware slowdown": 0x08,
    "software thermal slowdown": 0x20,
    "hardware thermal slowdown": 0x40,
    "hardware power brake": 0x80,
}
_FAULT_COUNTERS: Mapping[str, str] = {
    "software thermal slowdown": "sw_thermal_slowdown_us",
    "hardware thermal slowdown": "hw_thermal_slowdown_us",
    "hardware power brake": "hw_power_brake_us",
}
_POWER_CAP_BIT = 0x04
POWER_CAP_FLAG = "software_power_cap"


@dataclass(frozen=True)
class Gates:
    """Faults make a trial invalid; flags are counted and shown."""

    faults: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def judge_telemetry(telemetry: Telemetry, settle_s: float, stop_s: float) -> Gates:
    """Look at the window [settle, stop] (CLOCK_MONOTONIC); what was not sampled raises nothing."""
    time_s = telemetry.samples["time_s"]
    window = telemetry.samples[(time_s >= settle_s) & (time_s <= stop_s)]
    reasons = {reason for reason, bit in _FAULT_BITS.items() if _was_set(window, bit)}
    reasons |= {reason for reason, counter in _FAULT_COUNTERS.items() if _grew(window, counter)}
    capped = _was_set(window, _POWER_CAP_BIT) or _grew(window, "sw_power_cap_us")
    return Gates(tuple(sorted(reasons)), (POWER_CAP_FLAG,) if capped else ())


def _was_set(window: pd.DataFrame, bit: int) -> bool:
    if "event_reasons" not in window:
        return False
    return any(int(mask) & bit for mask in window["event_reasons"].dropna())


def _grew(window: pd.DataFrame, counter: str) -> bool:
    values = window[counter].dropna() if counter in window else pd.Series(dtype=float)
    return len(values) > 1 and float(values.iloc[-1]) > float(values.iloc[0])
