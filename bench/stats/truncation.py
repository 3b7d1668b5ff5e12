"""Where a start-up ends in a series of equal units (step durations, one-second bins), in units of the series.

A rate settles after the start; these two rules say where. The declared window of a trial is never moved by
them (`steady_state.judge_window`): they tell whether it was declared late enough.

Sources: White, Simulation 69(6), 1997, and White, Cobb & Spratt, WSC 2000 (MSER-5); Georges, Buytaert &
Eeckhout, OOPSLA 2007, doi:10.1145/1297027.1297033 (the window of low variation).
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from bench.stats.checks import Vector, finite

MSER_BATCH = 5
"""Units averaged before the search, which makes MSER into MSER-5."""
LAST_BATCHES = 5
"""Cuts that leave fewer batches are not tried: their statistic is small by chance."""


@dataclass(frozen=True)
class Truncation:
    """How many units at the beginning MSER-5 calls start-up."""

    units: int
    statistic: float
    """The squared standard error of what is left, as MSER estimates it; in squared units of the series."""
    valid: bool
    """False when more than half of the series would go: it is too short to be judged, extend it."""


def mser5(series: ArrayLike) -> Truncation | None:
    """Return the cut that leaves the most certain mean; None below ten batches of five units."""
    batches = _batch_means(finite("series", series), MSER_BATCH)
    if len(batches) < 2 * LAST_BATCHES:
        return None
    statistics = _squared_errors(batches)[: len(batches) - LAST_BATCHES + 1]
    cut = int(statistics.argmin())
    units = MSER_BATCH * cut
    return Truncation(units, float(statistics[cut]), valid=2 * units <= np.size(series))


@dataclass(frozen=True)
class CalmWindow:
    """The first window whose coefficient of variation is below the threshold, else the calmest one."""

    start: int
    cov: float
    mean: float
    reached: bool
    """Whether the threshold was reached at all."""


def cov_window(series: ArrayLike, k: int = 10, threshold: float = 0.02) -> CalmWindow | None:
    """Return where `k` units in a row first vary by less than `threshold` of their mean; None below `k` units.

    A pre-check only: a slow drift varies little inside a short window and passes.
    """
    values = finite("series", series)
    if len(values) < k or k < 2:
        return None
    windows = sliding_window_view(values, k)
    means = windows.mean(axis=1)
    covs = windows.std(axis=1, ddof=1) / np.abs(means)
    calm = np.flatnonzero(covs < threshold)
    start = int(calm[0]) if len(calm) else int(covs.argmin())
    return CalmWindow(start, float(covs[start]), float(means[start]), reached=bool(len(calm)))


def _batch_means(values: Vector, size: int) -> Vector:
    count = len(values) // size
    means: Vector = values[: count * size].reshape(count, size).mean(axis=1)
    return means


def _squared_errors(batches: Vector) -> Vector:
    """Return, for each cut d, the sum of squares of the batches after it over their squared number."""
    centred = batches - batches.mean()  # keeps the difference of sums below from losing digits
    left = np.arange(len(batches), 0, -1)
    sums, squares = (np.cumsum(power[::-1])[::-1] for power in (centred, centred**2))
    errors: Vector = np.maximum(squares - sums**2 / left, 0) / left**2
    return errors
