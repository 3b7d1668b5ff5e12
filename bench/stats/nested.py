"""Where the variance of nested repetitions sits (blocks, processes, iterations), and where to spend the next one.

Balanced data: every level repeats equally often. Level 1 is the lowest (iterations).

Source: Kalibera & Jones, ISMM 2013, doi:10.1145/2464157.2464160, in the corrected form of TR 4-12
(arXiv:2007.10899).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.interval import Interval, mean_interval


@dataclass(frozen=True)
class VarianceComponents:
    """Variances by level, lowest level first, in squared units of the values."""

    biased: tuple[float, ...]
    """S²: the spread of a level's means, which contains that of the levels below it."""
    unbiased: tuple[float, ...]
    """T²: the level's own share. Below zero, no variance was detected there: one repetition is enough."""


def variance_components(values: ArrayLike) -> VarianceComponents | None:
    """Return the components of an array whose axes are the levels, highest first; None where a level has one."""
    array = np.asarray(values, dtype=np.float64)
    if min(array.shape, default=0) < 2:
        return None
    biased = []
    for level in range(array.ndim, 0, -1):
        biased.append(float(array.var(axis=level - 1, ddof=1).mean()))
        array = array.mean(axis=level - 1)
    repeats = np.shape(values)[::-1]
    below = zip(biased[1:], biased, repeats, strict=False)
    return VarianceComponents(tuple(biased), (biased[0], *(s - lower / r for s, lower, r in below)))


def nested_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean with its t interval: only the repetitions of the top level count as degrees of freedom."""
    array = np.asarray(values, dtype=np.float64)
    return mean_interval(array.reshape(len(array), -1).mean(axis=1), confidence)


def best_repetitions(components: VarianceComponents, costs: Sequence[float]) -> tuple[float | None, ...]:
    """Return the repetitions of each level below the top, lowest first, not yet rounded up.

    `costs` is the price of one repetition at each level, lowest first, in any one unit. A level without variance
    of its own asks for 1; None where only the level above has none, so that more there never helps.
    """
    if len(costs) != len(components.unbiased):
        raise ValueError(f"{len(components.unbiased)} levels need as many costs, not {len(costs)}")
    levels = list(zip(costs, components.unbiased, strict=True))
    return tuple(_repetitions(lower, upper) for lower, upper in pairwise(levels))


def _repetitions(lower: tuple[float, float], upper: tuple[float, float]) -> float | None:
    (cost, variance), (cost_above, variance_above) = lower, upper
    if variance <= 0:
        return 1.0
    return math.sqrt(cost_above / cost * variance / variance_above) if variance_above > 0 else None
