"""When requests come, for an open loop: made from a seed before the load begins, so every mode gets the same.

Arrivals are seconds after the start, in order. A longer span extends a shorter one and changes nothing in it.
"""

from __future__ import annotations

import csv
import itertools
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, variance

POISSON, CONSTANT, BURSTY, TRACE = "poisson", "constant", "bursty", "trace"
PROCESSES = (POISSON, CONSTANT, BURSTY, TRACE)
COUNTS_A_BIN = 10  # expected arrivals a bin of the dispersion index


@dataclass(frozen=True)
class Bursts:
    """A two-state Markov-modulated Poisson process: calm and burst last exponential times of these means.

    The rate in a burst is `factor` times the calm one; both are set so that the long-run mean is as asked.
    """

    factor: float = 5.0
    burst_s: float = 1.0
    calm_s: float = 4.0

    def calm_rate(self, rate_per_s: float) -> float:
        """Return the calm rate that makes the long-run mean `rate_per_s`."""
        return rate_per_s * (self.burst_s + self.calm_s) / (self.factor * self.burst_s + self.calm_s)


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Yield arrivals with independent exponential gaps."""
    draw = random.Random(seed)
    return itertools.accumulate(draw.expovariate(rate_per_s) for _ in itertools.count())


def constant(rate_per_s: float) -> Iterator[float]:
    """Yield arrivals at equal distances, the first at the start."""
    return (number / rate_per_s for number in itertools.count())


def bursty(rate_per_s: float, seed: int, bursts: Bursts) -> Iterator[float]:
    """Yield arrivals of the two-state process; it starts in either state with its long-run probability."""
    draw, now_s = random.Random(seed), 0.0
    in_burst = draw.random() < bursts.burst_s / (bursts.burst_s + bursts.calm_s)
    while True:
        end_s = now_s + draw.expovariate(1 / (bursts.burst_s if in_burst else bursts.calm_s))
        rate = bursts.calm_rate(rate_per_s) * (bursts.factor if in_burst else 1)
        while (now_s := now_s + draw.expovariate(rate)) < end_s:
            yield now_s
        now_s, in_burst = end_s, not in_burst  # exponential gaps have no memory: what is left of one is drawn anew


def trace(path: Path) -> list[float]:
    """Read arrivals from the first column of a CSV file, a heading allowed; raises ValueError where it is none."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        cells = [row[0] for row in csv.reader(file) if row]
    if cells and not _is_number(cells[0]):
        del cells[0]
    arrivals = [float(cell) for cell in cells]
    if not arrivals or not all(0 <= a <= b < math.inf for a, b in itertools.pairwise([0.0, *arrivals])):
        raise ValueError(f"{path}: the first column must hold seconds after the start, in order, at least one")
    return arrivals


def within(arrivals: Iterator[float] | Sequence[float], seconds: float) -> Sequence[float]:
    """Return the arrivals before `seconds`."""
    return array("d", itertools.takewhile(lambda at_s: at_s < seconds, arrivals))


def self_check(arrivals: Sequence[float], seconds: float, rate_per_s: float) -> dict[str, float | None]:
    """Return what tells whether arrivals are Poisson with this rate, which is known and not fitted.

    The distance of the gaps from Exp(rate) (Kolmogorov and Smirnov) and the dispersion index of counts per bin,
    1 for Poisson (Fisher), each with its probability; None where there are too few arrivals to say.
    """
    gaps = [b - a for a, b in itertools.pairwise([0.0, *arrivals])]
    distance = ks_distance(gaps, rate_per_s) if gaps else None
    index, index_p = dispersion(_counts(arrivals, seconds, COUNTS_A_BIN / rate_per_s))
    return {
        "gaps_ks_distance": distance,
        "gaps_ks_p": None if distance is None else ks_probability(distance, len(gaps)),
        "dispersion_index": index,
        "dispersion_p": index_p,
    }


def ks_distance(gaps: Sequence[float], rate_per_s: float) -> float:
    """Return the largest distance between the gaps' distribution and Exp(rate)."""
    count = len(gaps)
    expected: list[float] = [-math.expm1(-rate_per_s * gap) for gap in sorted(gaps)]
    distances = (max((i + 1) / count - p, p - i / count) for i, p in enumerate(expected))
    return max(distances)


def ks_probability(distance: float, count: int) -> float:
    """Return how often a distance is at least this large by chance.

    Kolmogorov's limit with Stephens' (1970) correction for `count`; from 10 gaps on within 0.02 of
    the exact value, and within 0.001 where that is below 0.1.
    """
    root = math.sqrt(count)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series converges slowly where the answer is 1
        return 1.0
    total = 2 * sum(math.copysign(math.exp(-2 * (k * scaled) ** 2), k % 2 - 0.5) for k in range(1, 101))
    return min(max(total, 0.0), 1.0)


def dispersion(counts: Sequence[int]) -> tuple[float | None, float | None]:
    """Return variance over mean of the counts, and its two-sided probability if they are Poisson.

    The chi-squared distribution is approximated as Wilson and Hilferty (1931) did; None for fewer than 10 bins.
    """
    if len(counts) < 10 or not any(counts):
        return None, None
    index, freedom = variance(counts) / fmean(counts), len(counts) - 1
    spread = 2 / (9 * freedom)
    below = NormalDist().cdf((index ** (1 / 3) - (1 - spread)) / math.sqrt(spread))
    return index, 2 * min(below, 1 - below)


def _counts(arrivals: Sequence[float], seconds: float, bin_s: float) -> list[int]:
    counts = [0] * int(seconds / bin_s)
    for at_s in arrivals:
        if at_s < len(counts) * bin_s:
            counts[min(int(at_s / bin_s), len(counts) - 1)] += 1
    return counts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
