"""Resampled intervals, to stand beside the headline's t, never in its place: with few trials they are too short.

A nominal 95 % interval of a mean covers 86 % at 6 trials and 93 % at 20 (`docs/calibration.md`).

Sources: Efron, JASA 82, 1987 (BCa); Kalibera & Jones, TR 4-12, arXiv:2007.10899 (two levels).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.checks import Vector, positive
from bench.stats.interval import ROUNDING_NOISE, Interval, exp
from bench.stats.ratio import log_ratios

RESAMPLES = 9_999

Seed = int | np.random.Generator


def bca_paired_ratio(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES, seed: Seed = 0
) -> Interval:
    """Return the geometric mean ratio of paired blocks with its BCa interval, beside `paired_log_ratio`."""
    logs = log_ratios(a, b)
    mean = _bca((logs,), _mean, confidence, resamples, seed, noise=ROUNDING_NOISE)
    return Interval(exp(mean.value), exp(mean.low), exp(mean.high), mean.n, confidence, mean.no_variation)


def bca_ratio_of_means(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES, seed: Seed = 0
) -> Interval:
    """Return the ratio of means of two unpaired arms with its BCa interval; `n` counts the smaller arm."""
    arms = positive("a", a), positive("b", b)
    return _bca(arms, lambda x, y, axis: x.mean(axis) / y.mean(axis), confidence, resamples, seed)


def bca_ratio_of_medians(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES, seed: Seed = 0
) -> Interval:
    """Return the ratio of medians likewise; jumpy in small samples, where `hodges_lehmann_ratio` is not."""
    arms = positive("a", a), positive("b", b)
    return _bca(arms, lambda x, y, axis: np.median(x, axis) / np.median(y, axis), confidence, resamples, seed)


def two_level_ratio(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = RESAMPLES, seed: Seed = 0
) -> Interval:
    """Return the ratio of means of nested data with a percentile interval: trials resampled, then units in them.

    Rows are trials, columns their units. Pooling the units instead halves the interval (pseudo-replication).
    """
    arms = [np.asarray(arm, dtype=np.float64) for arm in (a, b)]
    n = min(len(arm) for arm in arms)
    value = float(arms[0].mean() / arms[1].mean()) if n else None
    if n < 2:
        return Interval(value, None, None, n, confidence)
    rng = np.random.default_rng(seed)
    ratios = np.divide(*(_two_level_means(arm, resamples, rng) for arm in arms))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(ratios, (tail, 100 - tail))
    return Interval(value, float(low), float(high), n, confidence)


def _mean(x: Vector, axis: int) -> Any:
    return x.mean(axis)


def _bca(
    arms: tuple[Vector, ...],
    statistic: Callable[..., Any],
    confidence: float,
    resamples: int,
    seed: Seed,
    noise: float | None = None,
) -> Interval:
    n = min(len(arm) for arm in arms)
    if not n:
        return Interval(None, None, None, 0, confidence)
    value = float(statistic(*arms, axis=-1))
    if n < 2:
        return Interval(value, None, None, n, confidence)
    if all(np.ptp(arm) <= (ROUNDING_NOISE * np.abs(arm).max() if noise is None else noise) for arm in arms):
        return Interval(value, value, value, n, confidence, no_variation=True)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the limits say it, too
        test = stats.bootstrap(
            arms,
            statistic,
            n_resamples=resamples,
            confidence_level=confidence,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(limit) for limit in test.confidence_interval)
    if not np.isfinite([low, high]).all():  # almost all resamples agree, so that bias cannot be estimated
        return Interval(value, None, None, n, confidence)
    return Interval(value, low, high, n, confidence)


def _two_level_means(arm: Any, resamples: int, rng: np.random.Generator) -> Vector:
    trials, units = arm.shape
    rows = rng.integers(trials, size=(resamples, trials, 1))
    columns = rng.integers(units, size=(resamples, trials, units))
    means: Vector = arm[rows, columns].mean(axis=(1, 2))
    return means
