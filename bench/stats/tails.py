"""What sharing does to latencies: how many meet the objective, and how far the tail stretches.

Latency runs from the *scheduled* instant. Percentiles are taken per trial and never averaged over clients or
pooled over modes.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.checks import Vector


def inflation(shared: float | None, solo: float | None) -> float | None:
    """Return a percentile beside neighbours over the same percentile alone; None where one is missing."""
    if shared is None or solo is None or not solo > 0 or not math.isfinite(shared):
        return None
    return shared / solo


def amplification(tail_inflation: float | None, median_inflation: float | None) -> float | None:
    """Return how much more the tail stretches than the median; None where one is missing."""
    return inflation(tail_inflation, median_inflation)


def attainment(latencies: ArrayLike, objective: float) -> float | None:
    """Return the share of requests within the objective; None without requests. Never answered is infinite."""
    requests = _requests(latencies)
    return float((requests <= objective).mean()) if len(requests) else None


def goodput(latencies: ArrayLike, objective: float, window_s: float) -> float:
    """Return requests within the objective per second of the window they were scheduled in."""
    if not window_s > 0:
        raise ValueError(f"a window must be longer than 0 s, not {window_s}")
    return float((_requests(latencies) <= objective).sum()) / window_s


def krebs_isolation(
    quiet_before: float, quiet_after: float, noisy_before: float, noisy_after: float
) -> float | None:
    """Return the quiet tenant's relative loss per relative growth of the noisy one's load; 0 is perfect isolation.

    "Quiet" is a cost such as p99, "noisy" a load. None when the load did not change, or either began at 0.
    Source: Krebs, Momm & Kounev, Sci. Comput. Prog. 90, 2014.
    """
    if not quiet_before or not noisy_before or noisy_after == noisy_before:
        return None
    growth = (noisy_after - noisy_before) / noisy_before
    return (quiet_after - quiet_before) / quiet_before / growth


def _requests(latencies: ArrayLike) -> Vector:
    requests = np.asarray(latencies, dtype=np.float64)
    if np.isnan(requests).any() or (requests < 0).any():
        raise ValueError("a latency is not below zero, and one of a request never answered is infinite")
    return requests
