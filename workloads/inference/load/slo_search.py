"""The highest Poisson rate at which a server keeps its promise: found by bisection, then confirmed.

A search picks the luckiest of many probes, so its answer is too high on average; a rate counts only once several
independent runs at full length have passed at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist, fmean, stdev
from typing import Any

from workloads.inference.load.early_stopping import passes

STEP = 0.02  # bisection ends at this relative width; confirmation steps down by as much
MAX_STEPS = 30  # of doubling, of halving, and of stepping down: a factor of 1e9, or of 0.55


@dataclass(frozen=True)
class Probe:
    """One run at one rate: requests counted, those over the promised latency (or failed) among them."""

    rate_per_s: float
    seed: int
    count: int
    over: int
    client_fault: str | None = None  # why the run says nothing of the server, if the client could not keep up
    confirms: bool = False

    @property
    def attainment(self) -> float:
        """The fraction of requests within the promised latency."""
        return 1 - self.over / self.count

    def passes(self, percentile: float) -> bool:
        """Whether the server kept its promise, by MLPerf's Server rule."""
        return self.client_fault is None and passes(self.count, self.over, percentile)


@dataclass(frozen=True)
class MaxRate:
    """What a search found. `rate_per_s` is None where no rate could be confirmed."""

    rate_per_s: float | None
    lowest_failing_per_s: float | None
    attainment: float | None
    attainment_interval: tuple[float, float] | None  # 95 %, over five confirmation runs or more
    client_fault: str | None  # the client's fault at the lowest failing rate: then the server may do more
    probes: tuple[Probe, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for a JSON file."""
        return {**vars(self), "probes": [{**vars(each), "attainment": each.attainment} for each in self.probes]}


@dataclass
class Search:
    """`run(rate_per_s, seed, confirms)` does one run, at full length if it `confirms`."""

    run: Callable[[float, int, bool], Probe]
    seed: int = 0
    percentile: float = 0.99
    confirmations: int = 5
    probes: list[Probe] = field(default_factory=list)

    def find(self, first_per_s: float) -> MaxRate:
        """Search from a first guess of the rate."""
        low, high = self._bracket(first_per_s)
        while low and high / low > 1 + STEP:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._passes(middle) else (low, middle)
        return self._found(self._confirm(low) if low else None)

    def _passes(self, rate_per_s: float, confirms: bool = False) -> bool:
        """Do one run with a fresh seed."""
        probe = self.run(rate_per_s, self.seed + len(self.probes), confirms)
        self.probes.append(probe)
        return probe.passes(self.percentile)

    def _bracket(self, rate_per_s: float) -> tuple[float | None, float]:
        """Return a passing rate, None if none was found, and a failing one, a factor of two apart."""
        factor = 2.0 if self._passes(rate_per_s) else 0.5
        for _ in range(MAX_STEPS):
            before, rate_per_s = rate_per_s, rate_per_s * factor
            if self._passes(rate_per_s) != (factor > 1):
                return min(before, rate_per_s), max(before, rate_per_s)
        return (rate_per_s, rate_per_s) if factor > 1 else (None, rate_per_s)

    def _confirm(self, rate_per_s: float) -> float | None:
        """Return the highest rate, going down from this one, at which all confirmation runs pass."""
        for _ in range(MAX_STEPS):
            if all(self._passes(rate_per_s, confirms=True) for _ in range(self.confirmations)):
                return rate_per_s
            rate_per_s *= 1 - STEP
        return None

    def _found(self, rate_per_s: float | None) -> MaxRate:
        failing = [each for each in self.probes if not each.passes(self.percentile)]
        lowest = min(failing, key=lambda each: each.rate_per_s, default=None)
        attained = [each.attainment for each in self.probes if each.confirms and each.rate_per_s == rate_per_s]
        return MaxRate(
            rate_per_s,
            lowest.rate_per_s if lowest else None,
            fmean(attained) if attained else None,
            mean_interval(attained) if len(attained) >= 5 else None,
            lowest.client_fault if lowest else None,
            tuple(self.probes),
        )


def mean_interval(fractions: list[float]) -> tuple[float, float]:
    """Return the 95 % t interval of a mean of fractions, cut to [0, 1]."""
    half = t_quantile(len(fractions) - 1) * stdev(fractions) / math.sqrt(len(fractions))
    return max(fmean(fractions) - half, 0.0), min(fmean(fractions) + half, 1.0)


def t_quantile(freedom: int, p: float = 0.975) -> float:
    """Return Student's t quantile by Fisher and Cornish's (1960) expansion; within 0.1 % from 4 degrees on."""
    z, v = NormalDist().inv_cdf(p), float(freedom)
    return math.fsum((
        z,
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    ))  # fmt: skip
