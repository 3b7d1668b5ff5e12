"""The headline of every contrast: the ratio of two modes over the blocks in which both succeeded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.checks import Vector, positive, same_length
from bench.stats.interval import ROUNDING_NOISE, exp, t_interval
from bench.stats.planning import stein_interval, stein_plan


@dataclass(frozen=True)
class RatioInterval:
    """A ratio over `n` blocks with its confidence limits and the test of ratio = 1.

    What needs more blocks than there are is None: the ratio needs one, all else needs two.
    """

    ratio: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float
    p_value: float | None
    """Two-sided, before any correction for multiplicity; None also without variation, where no t exists."""
    effect_size: float | None
    """Mean log-ratio in units of its own standard deviation (Cohen's d_z, 1988); None without variation."""
    no_variation: bool = False
    """All blocks give the same ratio to the last digit: the limits are the ratio itself and prove nothing."""

    @property
    def half_width(self) -> float | None:
        """Half the distance between the limits."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def paired_log_ratio(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> RatioInterval:
    """Return a over b, where a[i] and b[i] come from one block, with the t interval on log-ratios.

    This is the paired t test on logarithms, so swapping a and b gives the reciprocal ratio and limits.
    """
    return _log_ratio(log_ratios(a, b), confidence)


def two_stage_log_ratio(a: ArrayLike, b: ArrayLike, pilot_n: int, confidence: float = 0.95) -> RatioInterval:
    """Return a over b with Stein's interval: spread and degrees of freedom are of the first `pilot_n` blocks.

    For studies whose pilot chose the number of blocks. A pilot of one block, or one without variation, chose
    nothing, so there the interval is that of `paired_log_ratio`.
    """
    logs = log_ratios(a, b)
    plan = stein_plan(logs[:pilot_n], half_width=1.0, confidence=confidence)  # for its spread only
    if plan is None or plan.pilot_sd <= ROUNDING_NOISE:
        return _log_ratio(logs, confidence)
    mean = stein_interval(plan, logs)
    effect_size = float(logs.mean()) / plan.pilot_sd
    p_value = 2 * float(stats.t.sf(abs(effect_size) * math.sqrt(mean.n), plan.pilot_n - 1))
    limits = exp(mean.value), exp(mean.low), exp(mean.high)
    return RatioInterval(*limits, mean.n, confidence, p_value, effect_size)


def one_sample_log_ratio(x: ArrayLike, reference: float, confidence: float = 0.95) -> RatioInterval:
    """Return x over a constant that has no error of its own, such as STP = 1 of jobs taking turns."""
    values = positive("x", x)
    return paired_log_ratio(values, np.full(len(values), reference), confidence)


def log_ratios(a: ArrayLike, b: ArrayLike) -> Vector:
    """Return ln(a/b) of each block; raise ValueError where lengths differ or a value is not above zero."""
    numerator, denominator = positive("a", a), positive("b", b)
    same_length(a=numerator, b=denominator)
    return np.log(numerator / denominator)


def _log_ratio(logs: Vector, confidence: float) -> RatioInterval:
    mean = t_interval(logs, confidence, noise=ROUNDING_NOISE)
    effect_size = p_value = None
    if mean.value is not None and mean.n >= 2 and not mean.no_variation:
        effect_size = mean.value / float(logs.std(ddof=1))
        p_value = 2 * float(stats.t.sf(abs(effect_size) * math.sqrt(mean.n), mean.n - 1))
    return RatioInterval(
        exp(mean.value),
        exp(mean.low),
        exp(mean.high),
        mean.n,
        confidence,
        p_value,
        effect_size,
        mean.no_variation,
    )
