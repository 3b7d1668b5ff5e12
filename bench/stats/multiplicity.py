"""Correction for asking several questions at once.

A family is declared before the run. A member without a p-value (not enough data) keeps its seat: it counts in
the size of the family and is answered with None.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from bench.stats.checks import Vector


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted by Holm's step-down (1979), for the declared primary family."""
    p = _family(p_values)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return _seated(p_values, adjusted)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for the false discovery rate (Benjamini & Hochberg, 1995), for exploration."""
    p = _family(p_values)
    return _seated(p_values, stats.false_discovery_control(p) if len(p) else p)


def _family(p_values: Sequence[float | None]) -> Vector:
    p = np.array([1.0 if value is None else value for value in p_values], dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1]; where there is none, say None: {list(p_values)}")
    return p


def _seated(p_values: Sequence[float | None], adjusted: Vector) -> list[float | None]:
    return [None if p is None else float(q) for p, q in zip(p_values, adjusted, strict=True)]
