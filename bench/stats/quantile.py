"""Percentiles by nearest rank, and how many samples one needs before saying them.

Nearest rank, because then "at most 1 % took longer than p99" is exact. Counts and ranks assume independent
samples; queueing breaks that, so they are gates, and the interval of a percentile comes from trials.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from bench.stats.checks import finite, fraction
from bench.stats.interval import Interval


@dataclass(frozen=True)
class Ranks:
    """Ranks (from 1) of the sorted samples that bound a quantile; None where the sample is too small."""

    low: int | None
    high: int | None


def nearest_rank(x: ArrayLike, p: float) -> float:
    """Return the smallest sample of `x` that at least the fraction `p` of samples do not exceed.

    It equals `numpy.quantile(method="inverted_cdf")`. Infinite samples (never answered) are allowed.
    """
    samples = np.asarray(x, dtype=np.float64)
    if samples.size == 0 or np.isnan(samples).any():
        raise ValueError("a percentile needs samples, none of them missing")
    # 0.07 * 100 is a hair above 7: without the allowance binary fractions would skip a rank
    index = max(math.ceil(len(samples) * fraction("p", p) - 1e-8), 1) - 1
    return float(np.partition(samples, index)[index])


def percentile_or_none(x: ArrayLike, p: float, confidence: float = 0.95) -> float | None:
    """Return the nearest-rank percentile `p` (0.99 for p99), or None below `minimum_count(p, confidence)`."""
    samples = np.asarray(x, dtype=np.float64)
    return nearest_rank(samples, p) if len(samples) >= minimum_count(p, confidence) else None


def minimum_count(p: float, confidence: float = 0.95, *, two_sided: bool = True) -> int:
    """Return the fewest samples whose extreme bounds the quantile `p` (Wilks, 1941).

    p99 at 95 %: 368 two-sided, 299 one-sided. Below the median the smallest sample binds, by symmetry.
    """
    fraction("p", p)
    miss = (1 - fraction("confidence", confidence)) / (2 if two_sided else 1)
    return math.ceil(math.log(miss) / math.log(max(p, 1 - p)) - 1e-9)


def bounding_ranks(n: int, p: float, confidence: float = 0.95) -> Ranks:
    """Return the ranks of `n` independent samples between which the quantile `p` lies (Conover, 1999)."""
    fraction("p", p)
    miss = (1 - fraction("confidence", confidence)) / 2
    low, high = (int(stats.binom.ppf(tail, n, p)) for tail in (miss, 1 - miss))
    return Ranks(low if low >= 1 else None, high + 1 if high < n else None)


def quantile_interval(x: ArrayLike, p: float, confidence: float = 0.95) -> Interval:
    """Return the nearest-rank quantile `p` of independent samples between the samples of `bounding_ranks`.

    A limit is None where the sample is too small for that side. Latencies behind a queue are not independent:
    with 10,000 of them at 80 % load this 95 % interval covers 17 % (simulated).
    """
    samples = np.sort(np.asarray(x, dtype=np.float64))
    n = len(samples)
    if not n:
        return Interval(None, None, None, 0, confidence)
    ranks = bounding_ranks(n, p, confidence)
    low, high = (None if rank is None else float(samples[rank - 1]) for rank in (ranks.low, ranks.high))
    return Interval(nearest_rank(samples, p), low, high, n, confidence)


def harrell_davis(x: ArrayLike, p: float) -> float | None:
    """Return a smooth quantile of a small sample (Harrell & Davis, Biometrika 69, 1982); None without samples.

    Not for tails: at p99 with fewer than about 500 samples it is mostly the maximum.
    """
    samples = np.sort(finite("x", x))
    n = len(samples)
    if not n:
        return None
    edges = special.betainc((n + 1) * fraction("p", p), (n + 1) * (1 - p), np.arange(n + 1) / n)
    return float(np.diff(edges) @ samples)


def design_effect(over_limit: ArrayLike, batches: int = 20) -> float | None:
    """Return how many times more samples are needed because neighbours share their fate.

    `over_limit` says of each request in order whether it was too slow. The result is the variance of the count
    over `batches` stretches, divided by that of independent requests; None with fewer requests than batches,
    or where all of them or none was too slow.
    """
    late = np.asarray(over_limit, dtype=bool)
    length = len(late) // batches
    counts = late[: length * batches].reshape(batches, length).sum(axis=1)
    share = counts.mean() / length if length else 0.0
    return float(counts.var(ddof=1) / (length * share * (1 - share))) if 0 < share < 1 else None
