"""Several modes over many workloads: do their ranks differ at all, and which pairs of them.

Ten workloads are the least for the critical difference. With ties the statistic is not corrected.

Source: Demšar, JMLR 7, 2006; Iman & Davenport, Commun. Stat. A9, 1980; Nemenyi, 1963.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

MIN_WORKLOADS = 10


@dataclass(frozen=True)
class Friedman:
    """Average ranks of modes (1 is best) with the tests that all are equal."""

    average_ranks: tuple[float, ...]
    workloads: int
    chi_squared: float
    f: float | None
    """Iman and Davenport's form, less conservative; None where all workloads rank the modes alike (no bound)."""
    p_value: float
    """Of F, but never below k!^(1-n): the chance that n workloads rank k modes alike without any difference."""


def friedman(values: ArrayLike, *, higher_is_better: bool) -> Friedman | None:
    """Rank modes (columns) within each workload (row); None below two workloads or two modes."""
    table = np.asarray(values, dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("every workload needs a value in every mode; leave out those that miss one")
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    ranks = stats.rankdata(-table if higher_is_better else table, axis=1)
    return friedman_of_ranks(ranks.mean(axis=0), len(table))


def friedman_of_ranks(average_ranks: ArrayLike, workloads: int) -> Friedman:
    """Test average ranks over `workloads`, two at least."""
    ranks = np.asarray(average_ranks, dtype=np.float64)
    k, n = len(ranks), workloads
    chi_squared = 12 * n / (k * (k + 1)) * (float(ranks @ ranks) - k * (k + 1) ** 2 / 4)
    left = n * (k - 1) - chi_squared
    f = (n - 1) * chi_squared / left if left > 1e-9 else None
    tail = 0.0 if f is None else float(special.fdtrc(k - 1, (k - 1) * (n - 1), max(f, 0.0)))
    return Friedman(tuple(map(float, ranks)), n, chi_squared, f, max(tail, math.factorial(k) ** (1.0 - n)))


def critical_difference(modes: int, workloads: int, alpha: float = 0.05) -> float | None:
    """Return by how much two average ranks must differ (Nemenyi); None below ten workloads."""
    if workloads < MIN_WORKLOADS:
        return None
    q = float(stats.studentized_range.ppf(1 - alpha, modes, np.inf)) / math.sqrt(2)
    return q * math.sqrt(modes * (modes + 1) / (6 * workloads))
