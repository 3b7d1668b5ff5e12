"""What watching a device gives: rows on one clock, energy, and an account of the watching itself."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Energy:
    """Energy of the whole device between two instants, from the driver's cumulative counter."""

    energy_j: float
    from_s: float  # CLOCK_MONOTONIC
    to_s: float
    source: str


@dataclass
class Telemetry:
    """What was seen from the first to the last sample. Missing values are None with a reason, never 0.

    `samples` has `time_s` (CLOCK_MONOTONIC at receipt) and a column per field, unit in its name; a cell the device
    would not tell is missing, and `reasons` says what the driver printed instead.
    """

    samples: pd.DataFrame
    energy: Energy | None = None
    reasons: dict[str, str] = field(default_factory=dict)  # column or "energy" -> why it is missing
    requested_period_s: float | None = None
    achieved_period_s: float | None = None  # median distance of samples
    longest_gap_s: float | None = None
    sampler_cpu_s: float | None = None  # processor time the sampling itself took
    remarks: tuple[str, ...] = ()  # text lines among the rows, frozen columns, an early end of the stream


class Watch(Protocol):
    """A watch in progress."""

    def window(self, settle_s: float, stop_s: float) -> None:
        """Tell where the window lies (CLOCK_MONOTONIC), before the first of the two instants has passed.

        The energy counter is then read at the edges of the window.
        """
        ...

    def result(self) -> Telemetry:
        """Return what was seen; complete once the context has been left."""
        ...


class Sampler(Protocol):
    """A way of watching a device."""

    def watch(self) -> AbstractContextManager[Watch]:
        """Watch the device until the context is left; leaving always ends whatever was started."""
        ...
