"""How requests are issued: an open loop, a closed loop, or query after query (MLPerf's scenarios).

`drive` is the one loop that sends and waits. Nothing here knows the time or a socket: both are the wire's.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from workloads.inference.load.wire import OVERFLOW, UNREACHABLE, Request, Wire

NEVER = math.inf
FAILURE_PAUSE_S = 0.1  # a loop that waits for replies would ask a server that is gone without a pause


class Scenario(Protocol):
    """Decides when requests are due."""

    def due_s(self) -> float:
        """Return the next request's scheduled instant; `NEVER` if none, or none before another reply."""
        ...

    def issue(self) -> None:
        """Note that the request that was due has been issued."""
        ...

    def ended(self, request: Request) -> None:
        """Note that a request has ended."""
        ...

    def stop(self) -> None:
        """Schedule nothing more."""
        ...


def drive(
    wire: Wire, scenario: Scenario, record: Callable[[Request], None], stopping: Callable[[], bool] = lambda: False
) -> None:
    """Issue each request when it is due, hand each that ended to `record`, and return when all have.

    A request that is due while the wire is full is never dropped in silence: it ends with status `overflow`.
    """
    in_flight = 0
    while True:
        if stopping():
            scenario.stop()
        due_s = scenario.due_s()
        if due_s == NEVER and not in_flight:
            return
        if due_s <= wire.now_s():
            request = Request(due_s)
            scenario.issue()
            if wire.free:
                in_flight += 1
                wire.send(request)
            else:
                request.end(wire.now_s(), OVERFLOW)
                scenario.ended(request)
                record(request)
        for request in wire.wait(scenario.due_s()):
            in_flight -= 1
            scenario.ended(request)
            record(request)


class OpenLoop:
    """Requests come when they come, whatever became of the ones before."""

    def __init__(self, arrivals_s: Sequence[float], start_s: float) -> None:
        self._arrivals_s = arrivals_s
        self._start_s = start_s
        self._next = 0
        self.planned = len(arrivals_s)

    def due_s(self) -> float:
        """Return the next arrival."""
        return self._start_s + self._arrivals_s[self._next] if self._next < self.planned else NEVER

    def issue(self) -> None:
        """Go on to the next arrival."""
        self._next += 1

    def ended(self, request: Request) -> None:
        """Do nothing: that is what makes the loop open."""

    def stop(self) -> None:
        """Let the rest go."""
        self.planned = self._next


class ClosedLoop:
    """Clients of which each sends its next request a think time after the reply; none at or after `stop_s`."""

    def __init__(
        self, concurrency: int, start_s: float, stop_s: float, think_s: float = 0.0, seed: int = 0
    ) -> None:
        self._due_s = [start_s] * concurrency
        self._stop_s = stop_s
        self._think_s = think_s
        self._draw = random.Random(seed)

    def due_s(self) -> float:
        """Return the earliest instant at which a client has done thinking."""
        return self._due_s[0] if self._due_s and self._due_s[0] < self._stop_s else NEVER

    def issue(self) -> None:
        """Let that client wait for its reply."""
        heapq.heappop(self._due_s)

    def ended(self, request: Request) -> None:
        """Let a client think; thinking takes exponential times."""
        think_s = self._draw.expovariate(1 / self._think_s) if self._think_s else 0.0
        heapq.heappush(self._due_s, request.done_s + think_s + _pause_s(request))

    def stop(self) -> None:
        """Send every client home."""
        self._stop_s = -math.inf


class QueryStream:
    """Query after query: all samples of one are scheduled together, when the last of the one before has ended.

    Each sample is one request; `at_once` of them are in flight at most, the others wait their turn. A query of
    one sample is MLPerf's SingleStream, of eight MultiStream, of a whole data set Offline.
    """

    def __init__(
        self, samples: int, start_s: float, stop_s: float, at_once: int, queries: float = math.inf
    ) -> None:
        self._samples = samples
        self._stop_s = stop_s
        self._at_once = at_once
        self._queries = queries
        self._begin(start_s)

    def due_s(self) -> float:
        """Return the instant at which the query was scheduled, if one of its samples can be sent."""
        return self._scheduled_s if self._unsent and self._in_flight < self._at_once else NEVER

    def issue(self) -> None:
        """Count a sample as sent."""
        self._unsent -= 1
        self._in_flight += 1

    def ended(self, request: Request) -> None:
        """Count a sample as ended; begin the next query with the last one."""
        self._in_flight -= 1
        if not self._unsent and not self._in_flight:
            self._begin(request.done_s + _pause_s(request))

    def stop(self) -> None:
        """Leave the rest of the query unsent, and begin no other."""
        self._unsent = self._queries = 0

    def _begin(self, scheduled_s: float) -> None:
        self._scheduled_s = scheduled_s
        self._in_flight = 0
        self._unsent = self._samples if scheduled_s < self._stop_s and self._queries > 0 else 0
        self._queries -= 1


def _pause_s(request: Request) -> float:
    return FAILURE_PAUSE_S if request.status in UNREACHABLE else 0.0
