"""Tests that assume less than the headline's t, to stand beside it on the same blocks."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.interval import ROUNDING_NOISE
from bench.stats.ratio import log_ratios

RESAMPLES = 9_999
"""Sign patterns drawn where there are more than that; up to 13 blocks (8,192 patterns) all are enumerated."""


def sign_flip_p(a: ArrayLike, b: ArrayLike, seed: int = 0) -> float | None:
    """Return the two-sided p of the sign-flip permutation test on log-ratios; None below two blocks."""
    logs = log_ratios(a, b)
    if len(logs) < 2:
        return None
    rng = np.random.default_rng(seed)
    test = stats.permutation_test(
        (logs,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=rng
    )
    return float(test.pvalue)


def signed_rank_p(a: ArrayLike, b: ArrayLike) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test on log-ratios, exact up to 50 untied blocks.

    Blocks without any difference are left out, as Wilcoxon (1945) does; None when none is left.
    """
    logs = log_ratios(a, b)
    differing = logs[np.abs(logs) > ROUNDING_NOISE]
    return float(stats.wilcoxon(differing).pvalue) if len(differing) else None


def smallest_possible_p(n: int) -> float:
    """Return the smallest two-sided p that any signed-rank or sign-flip test can reach with `n` blocks.

    All n differences agree in sign: 2 of 2^n patterns. With 5 blocks this is 0.0625, hence the minimum of 6.
    """
    if n < 1:
        raise ValueError(f"a test needs at least one block, not {n}")
    return float(2.0 ** (1 - n))


def smallest_possible_rank_sum_p(m: int, n: int) -> float:
    """Return the smallest two-sided p that any rank or permutation test of two unpaired arms can reach."""
    if min(m, n) < 1:
        raise ValueError(f"both arms need a run, not {m} and {n}")
    return min(1.0, 2 / math.comb(m + n, n))
