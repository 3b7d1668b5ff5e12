"""MLPerf's rule of how many queries are enough (inference_rules.adoc, "Early Stopping Criterion").

It takes queries as independent. Queueing makes slow ones clump, so a pass is necessary and not sufficient: at a
utilisation of 0.8 a system that just misses p99 passes every second time. Hence the confirmation runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.99


def passes(count: int, over: int, percentile: float) -> bool:
    """Tell whether `count` queries, `over` of them too slow, show that the percentile is fast enough."""
    return binomial_cdf(over, count, 1 - percentile) <= 1 - CONFIDENCE


def minimum_count(percentile: float, over: int = 0) -> int:
    """Return the fewest queries that can pass with `over` of them too slow: 459 for p99 and none, 662 for one."""
    low, high = over, 2 * over + 1
    while not passes(high, over, percentile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle, over, percentile) else (middle, high)
    return high


def percentile_estimate(latencies: Sequence[float], percentile: float) -> float | None:
    """Return the percentile that SingleStream and MultiStream report; None below the minimum count.

    It is the t-th largest latency, where t is the most that could be too slow and the rule still pass.
    """
    count = len(latencies)
    if count < minimum_count(percentile, over=1):
        return None
    low, high = 1, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(count, middle, percentile) else (low, middle)
    return sorted(latencies)[count - low]


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return the probability of at most `k` hits in `n` tries of probability `p`; relative error below 1e-9."""
    if k >= n:
        return 1.0
    peak = min(k, int(n * p))  # the largest term of the sum; from here, no term is lost to underflow
    choices = math.lgamma(n + 1) - math.lgamma(peak + 1) - math.lgamma(n - peak + 1)
    first = term = total = math.exp(choices + peak * math.log(p) + (n - peak) * math.log1p(-p))
    odds = p / (1 - p)
    for hits in range(peak, 0, -1):
        term *= hits / ((n - hits + 1) * odds)
        total += term
    term = first
    for hits in range(peak + 1, k + 1):
        term *= (n - hits + 1) * odds / hits
        total += term
    return min(total, 1.0)
