"""How far units inside one trial depend on their neighbours, and what an honest interval inside it is.

For diagnostics and for previews of a single trial only, always labelled "within-run": the interval that counts
comes from trials (`interval.py`).

Sources: Ljung & Box, Biometrika 65, 1978; Newey & West, Econometrica 55, 1987; Politis & Romano, JASA 89, 1994
(stationary bootstrap); Politis & White, Econometric Reviews 23, 2004, with the correction of Patton, Politis &
White, 2009 (block length); Law, Simulation Modeling and Analysis, ch. 9 (batch means).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.checks import Vector, finite
from bench.stats.interval import Interval, mean_interval

BATCHES = 20
"""Batch means are taken over this many batches; with 20 to 30 the interval hardly depends on the number."""
MIN_UNITS = 2 * BATCHES
"""Below this many units dependence is not estimated."""


def autocorrelations(series: ArrayLike, lags: int) -> list[float]:
    """Return the correlations at lag 1 to `lags`; empty for a constant or a series of `lags` units or fewer."""
    values = finite("series", series)
    covariances = _autocovariances(values, lags)
    if len(values) <= lags or covariances[0] <= (1e-12 * np.abs(values).max()) ** 2:
        return []
    return [float(c) for c in covariances[1:] / covariances[0]]


@dataclass(frozen=True)
class Dependence:
    """How strongly units depend on each other."""

    tau: float
    """Integrated autocorrelation time in units: so many of them are worth one independent unit."""
    effective_n: float
    """How many independent units tell as much about the mean."""


def dependence(series: ArrayLike) -> Dependence | None:
    """Return tau, summed up to the first correlation that is not positive; None below 40 units or if constant."""
    n = np.size(series)
    correlations = autocorrelations(series, n - 1) if n >= MIN_UNITS else []
    if not correlations:
        return None
    ends = np.flatnonzero(np.asarray(correlations) <= 0)
    tau = 1 + 2 * sum(correlations[: ends[0]] if len(ends) else correlations)
    return Dependence(tau, n / tau)


def ljung_box_p(series: ArrayLike, lags: int) -> float | None:
    """Return the p of the Ljung-Box test that no lag up to `lags` correlates; None where there is no correlation.

    A small p says that units are not independent, as units of one trial rarely are.
    """
    correlations = autocorrelations(series, lags)
    if not correlations:
        return None
    return float(special.chdtrc(lags, ljung_box_statistic(correlations, np.size(series))))


def ljung_box_statistic(correlations: list[float], n: int) -> float:
    """Return Q, which is chi-squared with as many degrees of freedom as there are lags."""
    return n * (n + 2) * sum(r**2 / (n - lag) for lag, r in enumerate(correlations, start=1))


def batch_means_interval(series: ArrayLike, batches: int = BATCHES, confidence: float = 0.95) -> Interval:
    """Return the mean with a t interval over `batches` stretches of equal length; None limits with too few units.

    The batches should be at least 5 tau long. Units left over at the end count nowhere.
    """
    values = finite("series", series)
    length = len(values) // batches
    means = values[: length * batches].reshape(batches, length).mean(axis=1) if length else values[:0]
    return mean_interval(means, confidence)


def hac_half_width(series: ArrayLike, lags: int, confidence: float = 0.95) -> float | None:
    """Return half the mean's normal interval with Bartlett weights; None with `lags` units or fewer."""
    values = finite("series", series)
    n = len(values)
    if n <= max(lags, 1):
        return None
    covariances = _autocovariances(values, lags)
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    long_run = covariances[0] + 2 * float(weights @ covariances[1:])
    return float(special.ndtri((1 + confidence) / 2)) * math.sqrt(max(long_run, 0.0) / (n - 1))


@dataclass(frozen=True)
class BlockLength:
    """Mean length of a resampled stretch, in units, for the stationary and the circular bootstrap."""

    stationary: float
    circular: float


def block_length(series: ArrayLike) -> BlockLength | None:
    """Return the lengths with the least error of the mean's variance; None below 40 units or if constant."""
    values = finite("series", series)
    n = len(values)
    if n < MIN_UNITS or not autocorrelations(values, 1):
        return None
    run = max(5, int(math.log10(n)))
    covariances = _autocovariances(values, math.ceil(math.sqrt(n)) + run)
    reach = _reach(values, run)
    lags = np.arange(1, reach + 1)
    weighted = 2 * np.clip(2 * (1 - lags / reach), 0, 1) * covariances[1 : reach + 1]
    long_run = covariances[0] + float(weighted.sum())
    bias = float(lags @ weighted)
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    lengths = ((2 * bias**2 * n / (c * long_run**2)) ** (1 / 3) for c in (2, 4 / 3))
    return BlockLength(*(float(min(length, longest)) for length in lengths))


def stationary_bootstrap_half_width(
    series: ArrayLike, resamples: int = 1_999, confidence: float = 0.95, seed: int = 0
) -> float | None:
    """Return half the mean's percentile interval from resampled stretches; None like `block_length`."""
    values, length = finite("series", series), block_length(series)
    if length is None:
        return None
    rng = np.random.default_rng(seed)
    tail = 50 * (1 - confidence)
    means = [values[_stretches(len(values), max(length.stationary, 1), rng)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(high - low) / 2


def _autocovariances(values: Vector, lags: int) -> Vector:
    """Return those at lag 0 to `lags`, each over n, by Fourier transform: all lags in n log n."""
    n = len(values)
    if not n:
        return np.zeros(lags + 1)
    spectrum = np.fft.rfft(values - values.mean(), 2 * n)
    covariances: Vector = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n)[: lags + 1] / n
    return covariances


def _reach(values: Vector, run: int) -> int:
    """Return up to which lag correlation counts: twice the last lag before `run` negligible ones in a row."""
    n = len(values)
    longest = math.ceil(math.sqrt(n)) + run
    negligible = 2 * math.sqrt(math.log10(n) / n)
    quiet = np.array([abs(_correlation(values, lag)) < negligible for lag in range(longest)])
    first = next((lag for lag in range(longest - run + 1) if quiet[lag : lag + run].all()), None)
    return longest if first is None else min(2 * max(first, 1), longest)


def _correlation(values: Vector, lag: int) -> float:
    """Return the correlation at `lag` in the form of the block length's source, which norms both ends apart."""
    centred = values - values.mean()
    ends = centred[lag + 1 :] @ centred[lag + 1 :] * (centred[: -(lag + 1)] @ centred[: -(lag + 1)])
    return float(centred[lag:] @ centred[: len(values) - lag] / math.sqrt(ends))


def _stretches(n: int, mean_length: float, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return n indices: stretches of geometric length from random places, round the end to the beginning."""
    begins = rng.random(n) < 1 / mean_length
    begins[0] = True
    origins = np.flatnonzero(begins)
    which = np.cumsum(begins) - 1
    places = rng.integers(n, size=len(origins))[which] + np.arange(n) - origins[which]
    indices: np.ndarray[tuple[int], np.dtype[np.intp]] = places % n
    return indices
