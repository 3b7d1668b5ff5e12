"""Ratios of two arms that share no blocks, such as two runs on two machines."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.checks import Vector, finite, positive
from bench.stats.interval import ROUNDING_NOISE, Interval, t_quantile
from bench.stats.ratio import RatioInterval


def welch_log_ratio(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> RatioInterval:
    """Return a over b as the ratio of geometric means, with Welch's t interval on logarithms (Welch, 1947).

    `n` counts the smaller arm, and the effect size is in units of both arms' mean spread. Below two runs in an
    arm there is no interval, and no test.
    """
    logs = [np.log(positive(name, arm)) for name, arm in (("a", a), ("b", b))]
    n = min(len(arm) for arm in logs)
    if not n:
        return RatioInterval(None, None, None, 0, confidence, None, None)
    log = float(logs[0].mean() - logs[1].mean())
    if n < 2:
        return RatioInterval(math.exp(log), None, None, n, confidence, None, None)
    errors = [squared_error(arm) for arm in logs]
    error = math.sqrt(sum(errors))
    if error <= ROUNDING_NOISE:
        return RatioInterval(*3 * (math.exp(log),), n, confidence, None, None, no_variation=True)
    df = welch_df(errors, [len(arm) for arm in logs])
    reach = t_quantile(df, confidence) * error
    p_value = 2 * float(special.stdtr(df, -abs(log) / error))
    spread = math.sqrt(float(np.mean([arm.var(ddof=1) for arm in logs])))
    low, high = math.exp(log - reach), math.exp(log + reach)
    return RatioInterval(math.exp(log), low, high, n, confidence, p_value, log / spread)


def fieller_ratio(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the ratio of arithmetic means with Fieller's interval (1954), in the unequal-spread form.

    `n` counts the smaller arm. The limits are None below two runs in an arm, and where b's mean is not clearly
    different from 0, since the ratio then has no finite interval.
    """
    arms = [finite("a", a), finite("b", b)]
    n = min(len(arm) for arm in arms)
    means = [float(arm.mean()) for arm in arms] if n else [0.0, 0.0]
    if not means[1]:
        return Interval(None, None, None, n, confidence)
    ratio = means[0] / means[1]
    if n < 2:
        return Interval(ratio, None, None, n, confidence)
    errors = [squared_error(arm) for arm in arms]
    if sum(errors) <= (ROUNDING_NOISE * max(map(abs, means))) ** 2:
        return Interval(ratio, ratio, ratio, n, confidence, no_variation=True)
    t = t_quantile(welch_df([errors[0], ratio**2 * errors[1]], [len(arm) for arm in arms]), confidence)
    g = t**2 * errors[1] / means[1] ** 2
    if g >= 1:
        return Interval(ratio, None, None, n, confidence)
    reach = t / abs(means[1]) * math.sqrt((1 - g) * errors[0] + ratio**2 * errors[1])
    return Interval(ratio, (ratio - reach) / (1 - g), (ratio + reach) / (1 - g), n, confidence)


def squared_error(arm: Vector) -> float:
    """Return the squared standard error of the mean of `arm`, which needs two runs."""
    return float(arm.var(ddof=1)) / len(arm)


def welch_df(squared_errors: list[float], counts: list[int]) -> float:
    """Return the degrees of freedom of Welch and Satterthwaite for a difference of two means."""
    parts = zip(squared_errors, counts, strict=True)
    return float(sum(squared_errors) ** 2 / sum(error**2 / (n - 1) for error, n in parts))
