"""Level shifts in a series of equal units: where they are, and what they make of the series.

Change points are the exact optimum of the Gaussian cost in mean and variance, which PELT (Killick, Fearnhead
& Eckley, JASA 107, 2012) finds too, with the penalty and the classes of Barrett et al., OOPSLA 2017,
doi:10.1145/3133876. The plain recursion in numpy takes milliseconds where the library `ruptures` takes
seconds, since its cost is computed segment by segment in Python.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from bench.stats.autocorrelation import autocorrelations
from bench.stats.checks import Vector, finite

PENALTY_PER_LOG_UNIT = 15.0
"""A change costs 15 ln n: no false alarm up to a lag-1 correlation of 0.6, where 3 ln n has 97 % (simulated)."""
MAX_CORRELATION = 0.6
"""Above this correlation of neighbours around their segment's level, units are averaged in pairs first."""
MIN_UNITS = 30
"""Below this many units no class is given, and no further averaging is done."""
MAX_UNITS = 2_000
"""Longer series are averaged down to this many bins: the search takes quadratic time."""
EQUIVALENT = 0.01
"""Segments whose means differ by less than this share of the last one's are one level."""
VARIANCE_FLOOR = 1e-9
"""Added to the variance of the standardised series, so that equal neighbours do not look infinitely certain."""


class Behaviour(StrEnum):
    """What a series of costs (durations, latencies) does; `warm-up` starts slower, `slowdown` starts faster."""

    FLAT = "flat"
    WARM_UP = "warm-up"
    SLOWDOWN = "slowdown"
    NO_STEADY_STATE = "no steady state"


@dataclass(frozen=True)
class Segments:
    """A series cut into levels; positions and lengths are units of the original series."""

    starts: tuple[int, ...]
    means: tuple[float, ...]
    units: int
    bin_units: int
    """How many units were averaged into one point before the search."""
    correlation: float
    """Of neighbouring points around their level; above `MAX_CORRELATION` there were too few to average."""

    @property
    def steady_start(self) -> int:
        """The first unit from which every segment has the last one's level."""
        others = [i for i, mean in enumerate(self.means) if not self._equivalent(mean)]
        return self.starts[others[-1] + 1] if others else 0

    @property
    def behaviour(self) -> Behaviour:
        """The class after Barrett et al.: a steady level must fill at least the last half of the series."""
        before = [mean for mean in self.means if not self._equivalent(mean)]
        if not before:
            return Behaviour.FLAT
        if 2 * self.steady_start > self.units:
            return Behaviour.NO_STEADY_STATE
        slower = [abs(mean) > abs(self.means[-1]) for mean in before]
        if all(slower):
            return Behaviour.WARM_UP
        return Behaviour.NO_STEADY_STATE if any(slower) else Behaviour.SLOWDOWN

    def _equivalent(self, mean: float) -> bool:
        return abs(mean - self.means[-1]) <= EQUIVALENT * abs(self.means[-1])


def segments(series: ArrayLike) -> Segments | None:
    """Return the levels of `series`, in bins where neighbours correlate; None below `MIN_UNITS` units.

    The scale of the input does not matter: it is standardised by median and median absolute deviation.
    Correlation is that of neighbours around their segment's level, since a level shift alone correlates them.
    """
    values = finite("series", series)
    if len(values) < MIN_UNITS:
        return None
    bin_units = math.ceil(len(values) / MAX_UNITS)
    while True:
        bins = binned(values, bin_units)
        starts = change_points(bins)
        correlation = _residual_correlation(bins, starts)
        if len(bins) < 2 * MIN_UNITS or correlation <= MAX_CORRELATION:
            means = tuple(float(part.mean()) for part in np.split(bins, starts[1:]))
            return Segments(tuple(bin_units * s for s in starts), means, len(values), bin_units, correlation)
        bin_units *= 2


def change_points(series: ArrayLike, penalty: float | None = None) -> list[int]:
    """Return the first index of each segment, 0 included; segments have two points or more.

    `penalty` is what one more segment costs in minus twice the log-likelihood; 15 ln n by default.
    """
    values = finite("series", series)
    n = len(values)
    if n < 2:
        return [0]
    z = _standardised(values)
    each = PENALTY_PER_LOG_UNIT * math.log(n) if penalty is None else penalty
    sums, squares = (np.concatenate(([0.0], np.cumsum(power))) for power in (z, z**2))
    best = np.full(n + 1, np.inf)
    best[0] = -each
    origin = np.zeros(n + 1, dtype=np.intp)
    for stop in range(2, n + 1):
        lengths = stop - np.arange(stop - 1)
        means = (sums[stop] - sums[: stop - 1]) / lengths
        variances = (squares[stop] - squares[: stop - 1]) / lengths - means**2
        costs = best[: stop - 1] + lengths * np.log(np.maximum(variances, 0) + VARIANCE_FLOOR) + each
        origin[stop] = costs.argmin()
        best[stop] = costs[origin[stop]]
    return _trace(origin, n)


def outliers(series: ArrayLike, window: int = 200) -> list[int]:
    """Return the indices of units far from the `window` around them, after Barrett et al.

    Far is beyond median ± 3 (P90 - P10). Labels only: they stay in every rate and percentile. The first half
    window is not judged, since start-up makes its limits meaningless; below 60 units nothing is.
    """
    values = finite("series", series)
    size = min(window, len(values) // 2)
    if size < MIN_UNITS:
        return []
    around = sliding_window_view(values, size)
    middle, low, high = np.percentile(around, (50, 10, 90), axis=1)
    # the last half window is judged by the last full one
    which = np.minimum(np.arange(len(values)) - size // 2, len(around) - 1)
    far = np.abs(values - middle[which]) > 3 * (high - low)[which]
    return [int(i) for i in np.flatnonzero(far & (which >= 0))]


def binned(values: Vector, size: int) -> Vector:
    """Return means of `size` units in a row; a last incomplete bin is left out."""
    count = len(values) // size
    means: Vector = values[: count * size].reshape(count, size).mean(axis=1)
    return means


def _standardised(values: Vector) -> Vector:
    centred = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(centred)) or values.std()
    # the spread of equal values is the rounding of their mean
    noise = 1e-12 * float(np.abs(values).max(initial=0))
    scaled: Vector = centred / spread if spread > noise else np.zeros_like(values)
    return scaled


def _residual_correlation(bins: Vector, starts: list[int]) -> float:
    levels = [part - part.mean() for part in np.split(bins, starts[1:])]
    correlation = autocorrelations(np.concatenate(levels), 1)
    return correlation[0] if correlation else 0.0


def _trace(origin: np.ndarray[tuple[int], np.dtype[np.intp]], n: int) -> list[int]:
    starts: list[int] = []
    stop = n
    while stop > 0:
        stop = int(origin[stop])
        starts.append(stop)
    return starts[::-1]
