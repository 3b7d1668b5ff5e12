"""What watching a device gives: rows on one clock, energy, and an account of the watching itself."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd


@dataclass
class Telemetry:
    """What was seen from the first to the last sample. Missing values are None with a reason, never 0.

    `samples` has `time_s` (CLOCK_MONOTONIC at receipt) and a column per field, unit in its name; a cell the device
    would not tell is missing. `energy` has `time_s` and `energy_j`, the driver's cumulative counter for the whole
    device, so that energy between any two instants is a difference; it is None where there is no counter.
    `host_idle` has `time_s` and `idle_s`, the idle time of the mean core that we may use, likewise.
    `reasons` says for each column without a single value, and for `energy`, what the device answered instead;
    `sources` names the driver's field behind each column, because several can give the power.
    """

    samples: pd.DataFrame
    energy: pd.DataFrame | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    requested_period_s: float | None = None
    achieved_period_s: float | None = None  # median distance between samples
    longest_gap_s: float | None = None
    sampler_cpu_s: float | None = None  # processor time that the sampling itself took
    host_idle: pd.DataFrame | None = None
    remarks: tuple[str, ...] = ()  # text lines among the rows, frozen columns, an early end of the stream


class Watch(Protocol):
    """A watch on the device."""

    def result(self) -> Telemetry:
        """Return what was seen; whole once the context of the watch has been left."""
        ...


class Sampler(Protocol):
    """A way of watching a device: `nvidia-smi` and NVML, their simulated twin, or nothing on a CPU."""

    def watch(self) -> AbstractContextManager[Watch]:
        """Watch the device until the context is left; leaving always ends whatever was started."""
        ...
