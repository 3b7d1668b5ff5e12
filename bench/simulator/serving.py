"""A simulated inference server under users who do not wait for it: arrivals, a queue, one batch after another.

As workloads/inference/serving/batching.py has it: the first request waits a moment for company, a batch has a
largest size, and who comes when the queue is full is refused. A batch that is not full takes its part of a full
one's time, and no less than the host needs. That is a queue with one server, first come first served: with
batches of one and no delay M/G/1, by which it is tested. Arrivals are spread as those of
workloads/inference/load/arrivals.py, from the same seed but other random numbers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Service = Callable[[int], Vector]
"""Returns the time that each of so many full batches takes, in seconds."""
REFUSED = "http-503"
BURST_FACTOR, BURST_S, CALM_S = 5.0, 1.0, 4.0  # the load generator's defaults
PERCENTILE = 0.99  # of the requests must keep the promise at the maximum rate
SEARCH_STEP, SEARCH_REQUESTS = 0.02, 10_000
SEARCH_SEED = 1  # every probe has the same clumps, at its own rate


@dataclass(frozen=True)
class Server:
    """One server and its users, by the parameters of the workload; times in seconds."""

    rate_per_s: float
    arrivals: str
    seed: int
    batch_size: int
    delay_s: float
    queue: int
    host_s: float
    trace: Sequence[float] | None = None
    """The arrivals themselves, where they are not drawn; the rate is then their mean rate."""

    def pause_s(self, service_s: float, /) -> float:
        """Return how long, on average, the server has nothing to do after what would be a full batch."""
        return max(0.0, self.batch_size / self.rate_per_s - service_s)

    def requests(self, start_s: float, stop_s: float, service: Service) -> tuple[Vector, Vector, list[str]]:
        """Return when requests were sent in [start, stop), when they ended, and how, by their ends."""
        sent_s = start_s + self._arrivals(stop_s - start_s)
        done_s, refused = self._queue(sent_s, service(len(sent_s)))
        order = np.argsort(done_s, kind="stable")
        return sent_s[order], done_s[order], [REFUSED if refused[i] else "ok" for i in order]

    def search(self, slo_s: float, service: Service) -> Mapping[str, Any]:
        """Return the highest Poisson rate that keeps the promise, by bisection; None if there is none."""
        probes: list[dict[str, Any]] = []
        low, high = 0.0, 2 * self.batch_size / float(service(1)[0])
        while high - low > SEARCH_STEP * high and high > 1e-3:
            middle = sqrt(low * high) if low else high / 2
            probe = replace(self, rate_per_s=middle, seed=SEARCH_SEED, arrivals="poisson")
            probes.append(probe._kept(slo_s, service))
            low, high = (middle, high) if probes[-1]["attainment"] >= PERCENTILE else (low, middle)
        return {"rate_per_s": low or None, "lowest_failing_per_s": high, "probes": probes}

    def _kept(self, slo_s: float, service: Service) -> dict[str, Any]:
        sent_s, done_s, status = self.requests(0.0, SEARCH_REQUESTS / self.rate_per_s, service)
        kept = (done_s - sent_s <= slo_s) & (np.asarray(status) == "ok")
        over, count = int((~kept).sum()), len(kept)
        return {"rate_per_s": self.rate_per_s, "count": count, "over": over, "attainment": 1 - over / count}

    def _arrivals(self, length_s: float) -> Vector:
        """Return arrivals in seconds after the start, from the trace or the seed."""
        if self.trace is not None:
            return np.asarray(self.trace[: bisect_left(self.trace, length_s)], dtype=np.float64)
        draw = np.random.default_rng(self.seed)
        if self.arrivals == "constant":
            return np.arange(0, length_s, 1 / self.rate_per_s)
        if self.arrivals == "bursty":
            return _bursty(self.rate_per_s, length_s, draw)
        return _poisson(self.rate_per_s, length_s, draw)

    def _queue(self, sent_s: Vector, full_s: Vector) -> tuple[Vector, npt.NDArray[np.bool_]]:
        """Let requests wait and batches run; return when each ended, and which were refused, at once."""
        come, done_s, refused = sent_s.tolist(), sent_s.copy(), np.zeros(len(sent_s), bool)
        waiting: list[int] = []
        next_, free_s, batches = 0, -np.inf, iter(full_s)
        while next_ < len(come) or waiting:
            if not waiting:
                waiting, next_ = [next_], next_ + 1
            opened_s = max(free_s, come[waiting[0]])
            closes_s = max(opened_s, come[waiting[0]] + self.delay_s)
            room = max(0, self.batch_size - len(waiting))
            last = min(bisect_right(come, closes_s, next_), next_ + room)
            waiting, next_ = waiting + list(range(next_, last)), last
            batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            is_full = len(batch) == self.batch_size
            began_s = max(opened_s, come[batch[-1]]) if is_full else closes_s
            free_s = began_s + max(self.host_s, next(batches) * len(batch) / self.batch_size)
            done_s[batch] = free_s
            here = bisect_right(come, free_s, next_)
            admitted = min(here, next_ + self.queue - len(waiting))
            waiting += range(next_, admitted)
            refused[admitted:here] = True
            next_ = here
        return done_s, refused


def _poisson(rate_per_s: float, length_s: float, draw: np.random.Generator) -> Vector:
    """Return the events of a Poisson process in [0, length); a longer one extends a shorter one."""
    count = int(rate_per_s * length_s + 10 * sqrt(rate_per_s * length_s)) + 20
    events = np.cumsum(draw.exponential(1 / rate_per_s, count))
    return np.asarray(events[events < length_s])


def _bursty(rate_per_s: float, length_s: float, draw: np.random.Generator) -> Vector:
    """Return the events of a process whose rate changes between calm and burst, with the mean that is asked for.

    Its clock is that of a Poisson process of rate 1, run at the rate of the state.
    """
    calm_per_s = rate_per_s * (BURST_S + CALM_S) / (BURST_FACTOR * BURST_S + CALM_S)
    switches = 2 * int(length_s / (BURST_S + CALM_S) + 10 * sqrt(length_s) + 10)
    bursts_first = bool(draw.random() < BURST_S / (BURST_S + CALM_S))
    in_burst = (np.arange(switches) % 2 == 0) == bursts_first
    ends_s = np.cumsum(draw.exponential(1.0, switches) * np.where(in_burst, BURST_S, CALM_S))
    expected = np.cumsum(np.diff(ends_s, prepend=0.0) * calm_per_s * np.where(in_burst, BURST_FACTOR, 1.0))
    ticks = _poisson(1.0, float(np.interp(length_s, ends_s, expected)), draw)
    return np.asarray(np.interp(ticks, np.append(0.0, expected), np.append(0.0, ends_s)))
