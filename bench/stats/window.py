"""The span of a trial that counts, and how much work falls into it; instants are of one monotonic clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.checks import Vector, finite, not_negative, same_length


@dataclass(frozen=True)
class Window:
    """A span of time, open at `start_s` and closed at `stop_s`."""

    start_s: float
    stop_s: float

    def __post_init__(self) -> None:
        if not self.start_s < self.stop_s:
            raise ValueError(f"a window must stop after it starts, not at {self.stop_s} from {self.start_s}")

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return self.stop_s - self.start_s


def overlap_s(spans: Sequence[Window]) -> float:
    """Return for how long all spans run at once; 0 when they never do."""
    if not spans:
        raise ValueError("an overlap needs at least one span")
    return max(0.0, min(span.stop_s for span in spans) - max(span.start_s for span in spans))


def credited_items(window: Window, end_s: ArrayLike, duration_s: ArrayLike, items: ArrayLike) -> float:
    """Return the items completed inside `window`, one entry per unit of work (step, batch).

    A unit that straddles an edge counts by the part of its duration inside, so that windows that touch share
    it without loss and one long step does not make the rate jump. A unit without duration counts at its end.
    """
    end, duration = finite("end_s", end_s), not_negative("duration_s", duration_s)
    work = not_negative("items", items)
    same_length(end_s=end, duration_s=duration, items=work)
    return float(np.dot(work, _share_inside(window, end, duration)))


def _share_inside(window: Window, end: Vector, duration: Vector) -> Vector:
    """Return the fraction of each unit inside; by what lies outside, so that a whole unit is exactly 1."""
    begin = end - duration
    resolved = end - begin  # 0 where the clock cannot tell the two apart: then the end alone decides
    outside = np.maximum(window.start_s - begin, 0) + np.maximum(end - window.stop_s, 0)
    at_end = ((end > window.start_s) & (end <= window.stop_s)).astype(np.float64)
    share: Vector = 1 - np.divide(np.minimum(outside, resolved), resolved, out=1 - at_end, where=resolved > 0)
    return share
