"""What sharing does to a mix of jobs: progress, throughput, turnaround, fairness.

STP alone hides starvation: STP, ANTT and the smallest progress always stand together. Jobs at a fixed offered
rate stay out, since their progress is 1 whatever happens.

Sources: Eyerman & Eeckhout, IEEE Micro 28(3), 2008, doi:10.1109/MM.2008.44 (STP, ANTT); Jain, Chiu & Hawe,
DEC-TR-301, 1984 (fairness index); Gabor, Weiss & Mendelson, MICRO 2006 (smallest over largest).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.checks import Vector, not_negative


def normalised_progress(rate_shared: float, rate_solo: float) -> float:
    """Return one job's shared rate over its solo rate: 1 is undisturbed, 0 is starved."""
    if not (np.isfinite(rate_solo) and rate_solo > 0):
        raise ValueError(f"the solo rate must be finite and above zero, not {rate_solo}")
    if not (np.isfinite(rate_shared) and rate_shared >= 0):
        raise ValueError(f"the shared rate must be finite and not below zero, not {rate_shared}")
    return rate_shared / rate_solo


def slowdown(progress: float) -> float | None:
    """Return how many times longer one unit of work takes; None for a starved job: it has no bound."""
    return 1 / progress if progress > 0 else None


def stp(progress: ArrayLike) -> float:
    """Return system throughput, the sum of normalised progress.

    1 is what taking turns yields; n, the number of jobs, is perfect sharing. The same number is called
    weighted speedup (Snavely & Tullsen, ASPLOS 2000).
    """
    return float(_jobs(progress).sum())


def antt(progress: ArrayLike) -> float | None:
    """Return average normalised turnaround time, the mean slowdown; None when a job starves."""
    jobs = _jobs(progress)
    return float(np.mean(1 / jobs)) if jobs.min() > 0 else None


def smallest_progress(progress: ArrayLike) -> float:
    """Return the normalised progress of the job that fares worst."""
    return float(_jobs(progress).min())


def min_max_fairness(progress: ArrayLike) -> float | None:
    """Return smallest over largest progress, in [0, 1]; None when every job starves."""
    jobs = _jobs(progress)
    return float(jobs.min() / jobs.max()) if jobs.max() > 0 else None


def jain(progress: ArrayLike) -> float | None:
    """Return Jain's fairness index, in [1/n, 1]; None when every job starves."""
    jobs = _jobs(progress)
    if jobs.max() == 0:
        return None
    scaled = jobs / jobs.max()
    return float(scaled.sum() ** 2 / (len(scaled) * (scaled**2).sum()))


@dataclass(frozen=True)
class SlowdownSplit:
    """One job's slowdown as a product: the price of a smaller share, times that of its neighbours.

    Without this split the cut of MIG looks like interference. Where the device is not cut, `partition` is 1.
    """

    partition: float
    interference: float | None
    """None when the job made no progress beside its neighbours."""

    @property
    def total(self) -> float | None:
        """The slowdown against the whole device alone."""
        return None if self.interference is None else self.partition * self.interference

    @property
    def isolation(self) -> float:
        """The progress kept beside neighbours: 1 is perfect isolation, 0 is starved."""
        return 0.0 if self.interference is None else 1 / self.interference


def split_slowdown(solo_rate: float, share_solo_rate: float, shared_rate: float) -> SlowdownSplit:
    """Split from three rates: alone on the whole device, alone in its share, in its share with neighbours."""
    partition = normalised_progress(solo_rate, share_solo_rate)
    return SlowdownSplit(partition, slowdown(normalised_progress(shared_rate, share_solo_rate)))


def _jobs(progress: ArrayLike) -> Vector:
    jobs = not_negative("progress", progress)
    if not len(jobs):
        raise ValueError("a mix needs at least one job whose progress is known")
    return jobs
