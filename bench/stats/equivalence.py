"""Does a measurement reproduce a number? Two one-sided tests on logarithms (TOST), and four verdicts.

The margin is fixed for each claim before measuring. Absence of a significant difference is no equivalence.

Sources: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987; Lakens, Soc. Psych. Pers. Sci. 8, 2017.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.checks import Vector, fraction, positive
from bench.stats.ratio import RatioInterval, log_ratios, one_sample_log_ratio, paired_log_ratio
from bench.stats.unpaired import squared_error, welch_df, welch_log_ratio

ALPHA = 0.05
"""The chance of calling two things equivalent that differ by the margin."""
THROUGHPUT_MARGIN = 0.05
"""Default margin of a throughput."""
TAIL_MARGIN = 0.10
"""Default margin of a p99 latency."""


class Reproduction(StrEnum):
    """What two one-sided tests and the test of a difference say together."""

    REPRODUCED = "reproduced"
    REPRODUCED_BUT_DIFFERENT = "reproduced within the margin but different"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    """Too few trials, or too noisy, to say any of the others."""


@dataclass(frozen=True)
class Equivalence:
    """A ratio against the band from 1 - margin to its reciprocal."""

    interval: RatioInterval
    """At 90 %: equivalence at the 5 % level is this interval inside the band."""
    margin: float
    p_lower: float | None
    """Of a ratio at or below the band; None, like `p_upper`, below two trials and without variation."""
    p_upper: float | None
    """Of a ratio at or above the band."""

    @property
    def p_value(self) -> float | None:
        """The p of not being equivalent: the larger of the two."""
        return None if self.p_lower is None or self.p_upper is None else max(self.p_lower, self.p_upper)

    @property
    def verdict(self) -> Reproduction:
        """The one of four; without a test it is inconclusive."""
        if self.p_value is None:
            return Reproduction.INCONCLUSIVE
        return verdict_of(self.interval, self.margin, self.interval.p_value)


def verdict_of(interval: RatioInterval, margin: float, p_different: float | None) -> Reproduction:
    """Return what an interval at 90 % says of a band: both one-sided tests reject where it lies inside.

    `p_different` is of ratio = 1, after correction where there is one; without it nothing can be told.
    """
    low, high = interval.low, interval.high
    if low is None or high is None or p_different is None:
        return Reproduction.INCONCLUSIVE
    lowest, highest = 1 - margin, 1 / (1 - margin)
    if lowest < low and high < highest:
        different = p_different < ALPHA
        return Reproduction.REPRODUCED_BUT_DIFFERENT if different else Reproduction.REPRODUCED
    outside = high < lowest or low > highest
    return Reproduction.NOT_REPRODUCED if outside and p_different < ALPHA else Reproduction.INCONCLUSIVE


def tost_published(x: ArrayLike, published: float, margin: float = THROUGHPUT_MARGIN) -> Equivalence:
    """Test trials against a published number, which is taken as exact."""
    return _tost(one_sample_log_ratio(x, published, 1 - 2 * ALPHA), [np.log(positive("x", x))], margin)


def tost_paired(a: ArrayLike, b: ArrayLike, margin: float = THROUGHPUT_MARGIN) -> Equivalence:
    """Test a over b, where a[i] and b[i] come from one block."""
    return _tost(paired_log_ratio(a, b, 1 - 2 * ALPHA), [log_ratios(a, b)], margin)


def tost_unpaired(a: ArrayLike, b: ArrayLike, margin: float = THROUGHPUT_MARGIN) -> Equivalence:
    """Test a over b of two arms that share no blocks, with Welch's degrees of freedom."""
    logs = [np.log(positive(name, arm)) for name, arm in (("a", a), ("b", b))]
    return _tost(welch_log_ratio(a, b, 1 - 2 * ALPHA), logs, margin)


def _tost(interval: RatioInterval, logs: list[Vector], margin: float) -> Equivalence:
    bound = -math.log(1 - fraction("margin", margin))
    if interval.p_value is None or interval.ratio is None:
        return Equivalence(interval, margin, None, None)
    errors = [squared_error(arm) for arm in logs]
    df, error = welch_df(errors, [len(arm) for arm in logs]), math.sqrt(sum(errors))
    above, below = math.log(interval.ratio) + bound, math.log(interval.ratio) - bound
    p_lower, p_upper = special.stdtr(df, -above / error), special.stdtr(df, below / error)
    return Equivalence(interval, margin, float(p_lower), float(p_upper))
