"""The users of simulated jobs: when each request is sent, and when it has been answered.

What users do comes from a seed that all modes of a block share; how long an answer takes is the board's law.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bench.launch.contract import Tenant

Vector = npt.NDArray[np.float64]
Service = Callable[[int], Vector]
"""Returns the time that each of so many requests takes, in seconds."""
THINK_SIGMA = 1.0  # of the logarithm; as workloads/interactive/jupyter_simulation.py


class Users(Protocol):
    """Whoever sends requests to one job."""

    def pause_s(self, service_s: float, /) -> float:
        """Return how long on average the job has nothing to do after a request that takes `service_s`."""
        ...

    def requests(self, start_s: float, stop_s: float, service: Service) -> tuple[Vector, Vector]:
        """Return the instants in [start, stop) at which requests were sent, when due, and those of their ends."""
        ...


@dataclass(frozen=True)
class Thinker:
    """One person, who thinks, sends, waits for the answer, and thinks again; think times are lognormal."""

    median_s: float
    seed: int

    def pause_s(self, _service_s: float, /) -> float:
        """Return the mean think time."""
        return self.median_s * exp(THINK_SIGMA**2 / 2)

    def requests(self, start_s: float, stop_s: float, service: Service) -> tuple[Vector, Vector]:
        """Return the requests of one who is never early: each is sent when the thinking is over."""
        count = int(2 * (stop_s - start_s) / self.median_s) + 100  # half of the pauses are longer than the median
        thinking = np.random.default_rng(self.seed).lognormal(log(self.median_s), THINK_SIGMA, count)
        takes_s = service(count)
        done_s = start_s + np.cumsum(thinking + takes_s)
        sent_s = done_s - takes_s
        inside = sent_s < stop_s
        return sent_s[inside], done_s[inside]


def users_of(tenant: Tenant) -> Users | None:
    """Return who sends requests to a tenant; None for a job that works by itself."""
    if tenant.workload.reports != "requests":
        return None
    return Thinker(float(str(tenant.parameters["think_s"])), tenant.users_seed)
