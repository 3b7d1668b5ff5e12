"""The only place that reads time or sleeps, so that a simulated run can live in virtual time."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the rooms above may know of time."""

    def monotonic_s(self) -> float:
        """Seconds on CLOCK_MONOTONIC; containers of one host share it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...

    def wall_offset_s(self) -> float:
        """Seconds of the wall clock less those on CLOCK_MONOTONIC; only a step or a suspended host moves it."""
        ...


class SystemClock:
    """The host's own time."""

    def monotonic_s(self) -> float:
        """Seconds on CLOCK_MONOTONIC."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` of real time pass."""
        time.sleep(seconds)

    def wall_offset_s(self) -> float:
        """Seconds of the wall clock less those on CLOCK_MONOTONIC; slewing moves both alike."""
        return time.clock_gettime(time.CLOCK_REALTIME) - self.monotonic_s()


def utc_now() -> datetime:
    """Return the wall-clock instant, for the labels of records only; intervals never use it."""
    return datetime.now(UTC)
