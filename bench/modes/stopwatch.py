"""What switching takes, in the host's own time: each helper call, and entering and leaving a mode as a whole.

A simulated GPU lives in virtual time, but its driver's tools are real programs: they, too, are timed for real.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from bench.clock import Clock, SystemClock, utc_now
from bench.modes.helpers import Call

Phase = Literal["enter", "prepare", "leave"]
"""Entering a mode, preparing it for a mix (MIG instances are cut then), and leaving it."""


@dataclass(frozen=True)
class TimedCall:
    """One helper call; `result` holds the pairs of its RESULT line, None where it failed."""

    phase: Phase
    call: Call
    duration_s: float
    result: Mapping[str, str] | None


@dataclass
class Stopwatch:
    """Times one visit to a mode. What did not end well has no duration."""

    clock: Clock = field(default_factory=SystemClock)
    began_at: datetime = field(default_factory=utc_now)
    enter_s: float | None = None
    leave_s: float | None = None
    calls: list[TimedCall] = field(default_factory=list)
    _phase: Phase | None = None
    _began_s: float = 0.0

    def entering(self) -> None:
        """Begin to time how the mode is entered."""
        self._phase, self._began_s = "enter", self.clock.monotonic_s()

    def entered(self) -> None:
        """Keep how long it took until the mode was there, and proven."""
        self._phase, self.enter_s = "prepare", self.clock.monotonic_s() - self._began_s

    def leaving(self) -> None:
        """Begin to time how the mode is left."""
        self._phase, self._began_s = "leave", self.clock.monotonic_s()

    def left(self) -> None:
        """Keep how long it took until the device was as before, and read back."""
        self._phase, self.leave_s = None, self.clock.monotonic_s() - self._began_s

    def note(self, call: Call, began_s: float, result: Mapping[str, str] | None) -> None:
        """Keep a call that ends now; what undoes an earlier run's traces belongs to no visit."""
        if self._phase is not None:
            self.calls.append(TimedCall(self._phase, call, self.clock.monotonic_s() - began_s, result))
