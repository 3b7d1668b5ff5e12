"""MLPerf's rules for how many queries a percentile needs, and when a run may stop early.

They assume independent queries. Behind a queue at 80 % load a system that misses p99 passes in half of all runs
instead of 1 % (simulated): necessary, not sufficient. Multiply the number by `quantile.design_effect`.

Source: MLPerf Inference rules, appendix "Early Stopping Criterion", with confidence 99 % and tolerance 0.
"""

import bisect
import math
from dataclasses import dataclass

from scipy import special

from bench.stats.checks import fraction

CONFIDENCE = 0.99
ROUNDED_TO = 2**13
"""The rules round a fixed number of queries up to a multiple of this."""


def queries_needed(over_limit: int, p: float, confidence: float = CONFIDENCE) -> int:
    """Return how many queries prove percentile `p` within the limit when `over_limit` of them were over it.

    It is h + t: the smallest h with I_p(h, t + 1) ≤ 1 - confidence, in t over-limit queries.
    """
    fraction("p", p)
    miss = 1 - fraction("confidence", confidence)

    def proves(within: int) -> bool:
        return bool(special.betainc(within, over_limit + 1, p) <= miss)

    enough = 1
    while not proves(enough):
        enough *= 2
    return bisect.bisect_left(range(enough + 1), True, lo=1, key=proves) + over_limit


def server_passes(queries: int, over_limit: int, p: float, confidence: float = CONFIDENCE) -> bool:
    """Return whether a run of `queries` proves that percentile `p` meets the limit (Server scenario)."""
    return queries >= queries_needed(over_limit, p, confidence)


@dataclass(frozen=True)
class PercentileEstimate:
    """Which of the sorted latencies stands for the percentile (SingleStream and MultiStream scenarios)."""

    over_limit: int
    """t: the largest number of queries that may lie at or above the estimate."""
    rank: int
    """From the bottom, beginning with 1: the t - 1 highest are left out, the highest of the rest is it."""


def percentile_estimate(queries: int, p: float, confidence: float = CONFIDENCE) -> PercentileEstimate | None:
    """Return which latency to report; None below `queries_needed(1, p)`, 64 for p90 and 662 for p99."""

    def too_many(over_limit: int) -> bool:
        return queries_needed(over_limit, p, confidence) > queries

    largest = bisect.bisect_left(range(queries + 1), True, lo=1, key=too_many) - 1
    return PercentileEstimate(largest, queries - largest + 1) if largest else None


def fixed_query_count(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the number of queries that estimates `p` within a twentieth of 1 - p, before rounding up."""
    margin = (1 - fraction("p", p)) / 20
    z = float(special.ndtri((1 + confidence) / 2))
    return round(z**2 * p * (1 - p) / margin**2)


def rounded_query_count(p: float, confidence: float = CONFIDENCE) -> int:
    """Return it as the rules print it, rounded up to a multiple of 2^13."""
    return math.ceil(fixed_query_count(p, confidence) / ROUNDED_TO) * ROUNDED_TO
