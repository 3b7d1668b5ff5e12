"""The dial of a probe: it works, then rests, so that working takes a given share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from workloads.job import now_s


class DutyCycle:
    """Runs work and rests after it, in proportion; a rest that came out long is made up for by the next ones.

    The period is that of one piece of work: `intensity` 0.25 rests three times as long as it worked. Work that
    neighbours slow down is thus followed by longer rest: the share of time stays, the rate does not.
    """

    def __init__(self, intensity: float, work: Callable[[], None]) -> None:
        """Take the share of time to work, above 0 and at most 1, and work that ends with the device idle."""
        self.worked_s = self.rested_s = 0.0
        self._rest_for_work = (1 - intensity) / intensity
        self._work = work

    def __call__(self) -> None:
        """Work once, then rest as long as is owed."""
        began_s = now_s()
        self._work()
        ended_s = now_s()
        self.worked_s += ended_s - began_s
        owed_s = self.worked_s * self._rest_for_work - self.rested_s
        if owed_s > 0:
            time.sleep(owed_s)
            self.rested_s += now_s() - ended_s

    def restart(self) -> None:
        """Forget what was worked and rested so far."""
        self.worked_s = self.rested_s = 0.0

    @property
    def achieved(self) -> float | None:
        """Share of its time that it worked; None before any work."""
        spent_s = self.worked_s + self.rested_s
        return self.worked_s / spent_s if spent_s else None
