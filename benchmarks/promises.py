"""A promise of the statistics, and what became of it in simulations: for `calibrate_statistics.py`."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.stats.interval import Interval
from bench.stats.ratio import RatioInterval

SEED = 20_260_101
LEVEL = 0.005
"""A promise counts as broken when an exact binomial test rejects it at this level."""
TRIALS = (6, 10, 20)
MARGIN = 0.05

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], bool]
Tail = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Check:
    """One promise: how often something may happen, and how often it did."""

    promise: str
    trials: str
    nominal: float
    tail: Tail
    """Which departure breaks the promise: "greater" where lower is fine, "less" where higher is."""
    draw: Draw
    """One simulation; whether it happened."""
    size: int
    sims: int
    advice: str = ""
    """What follows for the user when it is broken."""

    def outcome(self, scale: float = 1.0) -> "Outcome":
        """Run `scale` times as many simulations as the published table, from the same seed."""
        rng = np.random.default_rng([SEED, zlib.crc32(f"{self.promise} {self.trials}".encode())])
        sims = max(int(scale * self.sims), 1)
        return Outcome(self, sum(self.draw(rng, self.size) for _ in range(sims)), sims)


@dataclass(frozen=True)
class Outcome:
    """What became of a promise."""

    check: Check
    hits: int
    sims: int

    @property
    def rate(self) -> float:
        """How often it happened."""
        return self.hits / self.sims

    @property
    def kept(self) -> bool:
        """Whether the binomial test does not reject the nominal rate."""
        test = stats.binomtest(self.hits, self.sims, self.check.nominal, self.check.tail)
        return bool(test.pvalue >= LEVEL)


def covers(interval: Interval | RatioInterval, truth: float) -> bool:
    """Tell whether an interval exists and contains the truth."""
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high
