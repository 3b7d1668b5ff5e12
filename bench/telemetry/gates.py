"""What the device's own counters, and the host's clocks, say against a trial.

Hardware and thermal slowdowns are faults of the instrument: the device was not the one that the mode is judged on.
The software power cap is something that a mode itself can cause (more tenants draw more power), so it is a flag;
and so are a clock lock that the power cap does not let hold, and a host without a core to spare.
Bits of `clocks_event_reasons.active`: nvml.h; the counters of the same reasons are cumulative microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
_IDLE_BIT = 0x01
CLOCK_LOCK_FLAG = "clock_lock_not_held"
HOST_CPU_FLAG = "host_cpu_busy"
MOST_BUSY = 0.9
"""Of the window the host's cores may be busy; beyond that jobs wait for the host, and not for the device alone."""
_CLOCK_STEP_MHZ = 15.0  # the boards' clocks go in steps of 15 MHz; a reading may be one off
_SPARED_SHARE = 0.05  # of the samples may be off: a clock ramps up after the device was idle for a moment
_BLIND_S, _BLIND_PERIODS = 5.0, 10  # a gap of this length, in seconds and in sampling periods, hides a throttle
_WALL_STEP_S = 0.05


@dataclass(frozen=True)
class Gates:
    """Faults make a trial invalid; flags are counted and shown."""

    faults: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def __add__(self, other: "Gates") -> "Gates":
        return Gates((*self.faults, *other.faults), (*self.flags, *other.flags))


def judge_clock(step_s: float) -> Gates:
    """Look at how far the wall clock moved against the monotonic one during the trial, in seconds."""
    if abs(step_s) <= _WALL_STEP_S:
        return Gates()
    return Gates((f"the host's clock was set, or the host slept ({step_s:+.2f} s)",))


def judge_telemetry(
    telemetry: Telemetry, settle_s: float, stop_s: float, locked_mhz: float | None = None
) -> Gates:
    """Look at the window [settle, stop] (CLOCK_MONOTONIC); a column that was not sampled raises nothing.

    `locked_mhz` is where the SM clock was locked, if it was.
    """
    time_s = telemetry.samples["time_s"]
    window = telemetry.samples[(time_s >= settle_s) & (time_s <= stop_s)]
    seen = _event_reasons(window)
    reasons = {reason for reason, bit in _FAULT_BITS.items() if seen & bit}
    reasons |= {reason for reason, counter in _FAULT_COUNTERS.items() if _grew(window, counter)}
    capped = bool(seen & _POWER_CAP_BIT) or _grew(window, "sw_power_cap_us")
    blind = _blind_fault(telemetry, settle_s, stop_s)
    held = locked_mhz is None or _holds(window, locked_mhz)
    flags = [*((POWER_CAP_FLAG,) if capped else ()), *(() if held else (CLOCK_LOCK_FLAG,))]
    return Gates((*sorted(reasons), *blind), tuple(flags))


def judge_host(busy: float | None) -> Gates:
    """Look at the share of the window in which the host's cores were busy; None, unknown, raises nothing."""
    return Gates(flags=(HOST_CPU_FLAG,)) if busy is not None and busy > MOST_BUSY else Gates()


def host_busy(telemetry: Telemetry, settle_s: float, stop_s: float) -> float | None:
    """Return which share of the window [settle, stop] the mean core was busy; None if not seen whole."""
    idle = telemetry.host_idle
    if idle is None or idle["time_s"].iloc[0] > settle_s or idle["time_s"].iloc[-1] < stop_s:
        return None
    from_s, to_s = np.interp([settle_s, stop_s], idle["time_s"], idle["idle_s"])
    return min(max(1 - float(to_s - from_s) / (stop_s - settle_s), 0.0), 1.0)


def _blind_fault(telemetry: Telemetry, settle_s: float, stop_s: float) -> tuple[str, ...]:
    """Tell of a part of the window in which the sampler saw nothing: it died, or the GPU was lost."""
    period_s = telemetry.requested_period_s
    if period_s is None:
        return ()
    told_s = telemetry.samples["time_s"].to_numpy()[_told(telemetry.samples)]
    gap_s = np.diff([settle_s, *told_s[(told_s > settle_s) & (told_s < stop_s)], stop_s]).max()
    if gap_s <= max(_BLIND_S, _BLIND_PERIODS * period_s):
        return ()
    return (f"no telemetry for {gap_s:.0f} s of the window",)


def _told(samples: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each row holds more than its time; mostly one column shows it for all of them."""
    told = np.zeros(len(samples), dtype=bool)
    columns = (samples[name] for name in samples if name != "time_s")
    while not told.all() and (column := next(columns, None)) is not None:
        told |= column.notna().to_numpy()
    return told


def _holds(window: pd.DataFrame, locked_mhz: float) -> bool:
    """Whether the SM clock stayed where it was locked, while the device was not idle; unknown is no proof."""
    if "sm_clock_mhz" not in window:
        return False
    reasons = window["event_reasons"].fillna(0) if "event_reasons" in window else pd.Series(0, window.index)
    at_work = (reasons.astype("uint64") & _IDLE_BIT) == 0
    off = (window["sm_clock_mhz"][at_work].dropna() - locked_mhz).abs() > _CLOCK_STEP_MHZ
    return len(off) > 0 and float(off.mean()) <= _SPARED_SHARE


def _event_reasons(window: pd.DataFrame) -> int:
    """Return all bits that were set at any moment; none where they were not sampled."""
    if "event_reasons" not in window:
        return 0
    return int(np.bitwise_or.reduce(window["event_reasons"].dropna().to_numpy("uint64"), initial=0))


def _grew(window: pd.DataFrame, counter: str) -> bool:
    values = window[counter].dropna() if counter in window else pd.Series(dtype=float)
    return len(values) > 1 and float(values.iloc[-1]) > float(values.iloc[0])
