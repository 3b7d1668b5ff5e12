"""Two arms compared by ranks: a shift that outliers do not move, and how often one run beats another.

With the low noise of GPU runs A12 is 0 or 1 almost always: it says how often, the ratio says how much.

Sources: Hodges & Lehmann, Ann. Math. Stat. 34, 1963; Bauer, JASA 67, 1972 (its exact interval); Vargha & Delaney,
J. Educ. Behav. Stat. 25, 2000 (A12); Cliff, 1993; Newcombe, Stat. Med. 25, 2006, 559-573; Brunner & Munzel,
Biometrical J. 42, 2000.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from bench.stats.checks import Vector, finite, fraction, positive
from bench.stats.interval import Interval, exp, t_quantile
from bench.stats.unpaired import squared_error, welch_df

_EDGE = 1e-9  # how near to 0 and 1 a limit is looked for


def hodges_lehmann(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the median of all differences x - y, with the interval from the exact distribution of U.

    `confidence` of the result is what the limits achieve, at least what was asked for; `n` counts the smaller
    arm. The limits are None where no two differences reach it (3 against 3 at 95 %). With ties across the arms
    it is approximate.
    """
    a, b = finite("x", x), finite("y", y)
    n = min(len(a), len(b))
    differences = np.sort(np.subtract.outer(a, b).ravel())
    if not n:
        return Interval(None, None, None, n, confidence)
    shift = float(np.median(differences))
    below = np.cumsum(_u_probabilities(len(a), len(b)))
    miss = (1 - fraction("confidence", confidence)) / 2
    rank = int(np.searchsorted(below, miss * (1 - 1e-12)))  # differences that lie outside on either side, plus one
    if not rank:
        return Interval(shift, None, None, n, confidence)
    achieved = float(1 - 2 * below[rank - 1])
    return Interval(shift, float(differences[rank - 1]), float(differences[-rank]), n, achieved)


def hodges_lehmann_ratio(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the median of all ratios a over b, with the same interval."""
    logs = hodges_lehmann(np.log(positive("a", a)), np.log(positive("b", b)), confidence)
    return Interval(exp(logs.value), exp(logs.low), exp(logs.high), logs.n, logs.confidence)


def a12(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return how often a run of x exceeds one of y, ties counting half, with Newcombe's interval (his method 5).

    It is there also where every run of one arm beats all of the other, and says how much of that so few can show.
    The limits are None below two runs in an arm.
    """
    a, b = finite("x", x), finite("y", y)
    m, n = len(a), len(b)
    if not m or not n:
        return Interval(None, None, None, 0, confidence)
    share = float(_placements(a, b).mean())
    if min(m, n) < 2:
        return Interval(share, None, None, 1, confidence)
    reach = float(special.ndtri((1 + fraction("confidence", confidence)) / 2))

    def beyond(true: float) -> float:
        return (share - true) ** 2 - reach**2 * _a12_variance(true, m, n)

    low = optimize.brentq(beyond, 0, min(share, 1 - _EDGE)) if share > 0 else 0.0
    high = optimize.brentq(beyond, max(share, _EDGE), 1) if share < 1 else 1.0
    return Interval(share, float(low), float(high), min(m, n), confidence)


def brunner_munzel(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the same share with the interval of its estimated error: too short for few runs.

    The limits are None below two runs in an arm, and where every run of one arm beats all of the other: then the
    spread of the ranks is 0, which no interval can be made of.
    """
    a, b = finite("x", x), finite("y", y)
    n = min(len(a), len(b))
    if not n:
        return Interval(None, None, None, 0, confidence)
    placements = [_placements(a, b), _placements(b, a)]
    share = float(placements[0].mean())
    errors = [squared_error(each) for each in placements] if n > 1 else [0.0]
    error = math.sqrt(sum(errors))
    if not error:
        return Interval(share, None, None, n, confidence)
    reach = t_quantile(welch_df(errors, [len(a), len(b)]), confidence) * error
    return Interval(share, share - reach, share + reach, n, confidence).within(0, 1)


def cliffs_delta(share: float) -> float:
    """Return Cliff's delta of an A12, in [-1, 1]; 0 means that neither side wins more often."""
    return 2 * share - 1


def brunner_munzel_p(x: ArrayLike, y: ArrayLike) -> float | None:
    """Return its two-sided p of A12 = 1/2, with unequal spreads allowed; None where it has no interval."""
    if brunner_munzel(x, y).low is None:
        return None
    return float(stats.brunnermunzel(finite("x", x), finite("y", y)).pvalue)


def _a12_variance(true: float, m: int, n: int) -> float:
    """Return the variance of an observed A12 in samples of these sizes (Hanley & McNeil's, sizes averaged)."""
    others = (m + n) / 2 - 1
    return true * (1 - true) * (1 + others * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)


def _placements(a: Vector, b: Vector) -> Vector:
    """Return, for each value of a, the share of b below it, ties counting half."""
    ordered = np.sort(b)
    below, not_above = (np.searchsorted(ordered, a, side) for side in ("left", "right"))
    shares: Vector = (below + not_above) / (2 * len(b))
    return shares


def _u_probabilities(m: int, n: int) -> Vector:
    """Return P(U = u) under the null hypothesis, from the generating function of U (Mann & Whitney, 1947)."""
    counts = np.zeros(m * n + 1)
    counts[0] = 1
    for i in range(1, m + 1):  # times (1 - q^(n + i)) / (1 - q^i), a share of the outcomes each
        counts[n + i :] -= counts[: -(n + i)].copy() if n + i <= m * n else 0
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    probabilities: Vector = counts / counts.sum()
    return probabilities
