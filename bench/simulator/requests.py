"""The users of simulated jobs: when each request is sent, and when it has been answered.

What users do comes from a seed that all modes of a block share; how long an answer takes is the board's law.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Protocol

import numpy as np

from bench.launch.contract import Tenant
from bench.plan.inputs import instants_in
from bench.plan.job_files import TRACE
from bench.simulator.board import step_cost
from bench.simulator.serving import Server, Service, Vector

THINK_SIGMA = 1.0  # of the logarithm; as workloads/interactive/jupyter_simulation.py


class Users(Protocol):
    """Whoever sends requests to one job."""

    def pause_s(self, service_s: float, /) -> float:
        """Return how long on average the job has nothing to do after a request that takes `service_s`."""
        ...

    def requests(self, start_s: float, stop_s: float, service: Service) -> tuple[Vector, Vector, list[str]]:
        """Return when requests were sent in [start, stop), all of them when due, when they ended, and how."""
        ...


@dataclass(frozen=True)
class Thinker:
    """One person, who thinks, sends, waits for the answer, and thinks again; think times are lognormal."""

    median_s: float
    seed: int

    def pause_s(self, _service_s: float, /) -> float:
        """Return the mean think time."""
        return self.median_s * exp(THINK_SIGMA**2 / 2)

    def requests(self, start_s: float, stop_s: float, service: Service) -> tuple[Vector, Vector, list[str]]:
        """Return the requests of one who is never early: each is sent when the thinking is over."""
        count = int(2 * (stop_s - start_s) / self.median_s) + 100  # half of the pauses are longer than the median
        thinking = np.random.default_rng(self.seed).lognormal(log(self.median_s), THINK_SIGMA, count)
        takes_s = service(count)
        done_s = start_s + np.cumsum(thinking + takes_s)
        sent_s = done_s - takes_s
        inside = sent_s < stop_s
        return sent_s[inside], done_s[inside], ["ok"] * int(inside.sum())


def users_of(tenant: Tenant) -> Users | None:
    """Return who sends requests to a tenant; None for a job that works by itself."""
    if tenant.workload.reports != "requests":
        return None
    return _server(tenant) if "arrivals" in tenant.parameters else _thinker(tenant)


def _thinker(tenant: Tenant) -> Thinker:
    return Thinker(float(tenant.parameters["think_s"]), tenant.users_seed)


def _server(tenant: Tenant) -> Server:
    """Return the server by its parameters; the rate is of no account to one that searches for it."""
    given = tenant.parameters
    trace = instants_in(tenant.files[TRACE].content) if TRACE in tenant.files else None
    rate_per_s = len(trace) / trace[-1] if trace else float(given.get("rate", 1.0))
    return Server(
        rate_per_s=rate_per_s, arrivals=str(given["arrivals"]), seed=tenant.users_seed,
        batch_size=int(given["batch_size"]), delay_s=float(given["max_delay_ms"]) / 1000,
        queue=int(given["max_queue"]), host_s=step_cost(tenant.workload, given).host_s, trace=trace,
    )  # fmt: skip
