"""What every mode needs in order to change a device."""

from dataclasses import dataclass, field, replace

from bench.gpu.device import Device
from bench.interrupts import uninterrupted
from bench.modes.helpers import Call, run_helper
from bench.modes.stopwatch import Stopwatch


@dataclass(frozen=True)
class Switch:
    """A device that may be changed, and how far the user lets us go.

    `lock_fd` is the descriptor of the device's lock; helpers inherit it, so that the device stays locked until
    they end even if this runner is killed meanwhile. `notes` keep what a mode must know again at its next visit.
    """

    device: Device
    allow_reset: bool
    lock_fd: int
    sm_clock_mhz: int | None = None  # lock the SM clock here for every visit; None: leave the clocks alone
    notes: dict[str, str] = field(default_factory=dict, compare=False)
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False)

    @property
    def reset_option(self) -> tuple[str, ...]:
        """The helpers' option that allows a GPU reset, where the user allowed it."""
        return ("--allow-reset",) if self.allow_reset else ()

    def run(self, call: Call) -> dict[str, str]:
        """Run one helper on the device, to its end, and return its result."""
        began_s, result = self.stopwatch.clock.monotonic_s(), None
        with uninterrupted():
            try:
                result = run_helper(call, self.device, (self.lock_fd,))
            finally:
                self.stopwatch.note(call, began_s, result)
        return result

    def for_visit(self) -> "Switch":
        """Return the same switch with a stopwatch of its own, for one visit to a mode."""
        return replace(self, stopwatch=Stopwatch())
