"""One run in numbers: rates, latencies, goodput, and the gates that say whether the client may be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from workloads.inference.load.arrivals import self_check
from workloads.inference.load.early_stopping import passes, percentile_estimate
from workloads.inference.load.request_log import RequestLog, nearest_rank
from workloads.inference.load.wire import OK

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
TAIL_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gate:
    """A limit of the instrument; `value` is None where it could not be judged, and then `holds`, too."""

    name: str
    value: float | None
    limit: float

    @property
    def holds(self) -> bool | None:
        """Whether the value keeps to the limit."""
        return None if self.value is None else self.value <= self.limit


@dataclass(frozen=True)
class Run:
    """One finished run: what became of all requests scheduled in [start, stop)."""

    requests: RequestLog
    start_s: float
    stop_s: float
    cpu_s: float
    cpu_share: float  # of one core, as the client is one thread
    is_open: bool  # requests came by a plan, not upon replies
    slo_s: float | None = None
    percentile: float = 0.99

    def summary(self) -> dict[str, Any]:
        """Return the numbers by name, in ms and per second; what cannot be said is None."""
        seconds, log = self.stop_s - self.start_s, self.requests
        return {
            "window_s": seconds,
            "requests": len(log),
            "statuses": log.statuses,
            "planned_per_s": _ratio(len(log), seconds) if self.is_open else None,
            "offered_per_s": _ratio(self._sent(), seconds),
            "completed_per_s": _ratio(self._completed(), seconds),
            **self._promise(),
            "latency_ms": distribution_ms(log.latencies_s()),
            "response_ms": distribution_ms(log.responses_s()),
            "send_lag_ms": distribution_ms(log.lags_s()),
            "client_cpu_share": self.cpu_share,
            "gates": [{**asdict(gate), "holds": gate.holds} for gate in self.gates()],
        }

    def gates(self) -> list[Gate]:
        """Return the gates of the run; only an open loop has a plan to be late on."""
        if not self.is_open:
            return self._own_gates()
        planned = len(self.requests)
        missing = _ratio(planned - self._sent(), planned)
        late = Gate("p99 send lag / p50 response", _ratio(self._p99_lag_s(), self._median_response_s()), 0.1)
        little = Gate("Little's law: |N / (X R) - 1|", self._little(), 0.05)
        return [Gate("1 - offered / planned rate", missing, 0.01), late, little, *self._own_gates()]

    def client_fault(self) -> str | None:
        """Say why the client was too slow to be believed, if it was; overflow and queues are the server's."""
        broken = [gate for gate in self._own_gates() if gate.holds is False]
        return "; ".join(f"{gate.name} is {gate.value:.3g} > {gate.limit:g}" for gate in broken) or None

    def _own_gates(self) -> list[Gate]:
        """Return the gates that a slow server cannot break."""
        cpu = Gate("client CPU (share of one core)", self.cpu_share, 0.7)
        late = Gate("p99 send lag / SLO", _ratio(self._p99_lag_s(), self.slo_s), 0.05)
        return [late, cpu] if self.is_open else [cpu]

    def _promise(self) -> dict[str, Any]:
        """Return goodput and attainment under the SLO; None without one, or without requests."""
        count = len(self.requests)
        if self.slo_s is None or not count:
            return dict.fromkeys(("slo_ms", "goodput_per_s", "attainment", "early_stopping_passes"))
        over = self.requests.over(self.slo_s)
        return {
            "slo_ms": 1000 * self.slo_s,
            "goodput_per_s": (count - over) / (self.stop_s - self.start_s),
            "attainment": 1 - over / count,
            "early_stopping_passes": passes(count, over, self.percentile),
        }

    def _sent(self) -> int:
        return sum(not math.isnan(sent_s) for sent_s in self.requests.sent_s)

    def _completed(self) -> int:
        rows = self.requests.rows()
        return sum(status == OK and done_s < self.stop_s for _, _, done_s, status in rows)

    def _p99_lag_s(self) -> float | None:
        lags_s = sorted(self.requests.lags_s())
        return nearest_rank(lags_s, 0.99) if lags_s else None

    def _median_response_s(self) -> float | None:
        responses_s = sorted(self.requests.responses_s())
        return nearest_rank(responses_s, 0.5) if responses_s else None

    def _little(self) -> float | None:
        """Return how far requests in the system (N) are from completion rate (X) times latency (R).

        It holds in a steady state whatever the queue; a window in which a queue grows, or that is short, fails.
        """
        rows = list(self.requests.rows())
        seconds = self.stop_s - self.start_s
        present_s = sum(min(done_s, self.stop_s) - scheduled_s for scheduled_s, _, done_s, _ in rows)
        ended_s = [done_s - scheduled_s for scheduled_s, _, done_s, _ in rows if done_s < self.stop_s]
        if not ended_s or not present_s:
            return None
        return abs(present_s / seconds / (len(ended_s) / seconds * fmean(ended_s)) - 1)


def mlperf(scenario: str, run: Run) -> dict[str, Any] | None:
    """Return the scenario's metric as MLPerf Inference defines it, its value None below the minimum of queries.

    Server has none of its own: its metric is the rate that a search finds.
    """
    if scenario == "offline":
        return {"metric": "samples/s", "value": run.summary()["completed_per_s"]}
    if scenario not in ("single-stream", "multi-stream"):
        return None
    p = 0.9 if scenario == "single-stream" else 0.99
    estimate_s = percentile_estimate(run.requests.queries_s(), p)
    return {"metric": f"p{100 * p:.0f} query latency in ms", "value": _ms(estimate_s)}


def arrivals_check(run: Run, rate_per_s: float) -> dict[str, float | None]:
    """Return whether the arrivals that counted were Poisson; the first gap is as exponential as the others."""
    arrivals_s = sorted(at_s - run.start_s for at_s in run.requests.scheduled_s)
    return self_check(arrivals_s, run.stop_s - run.start_s, rate_per_s)


def distribution_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    """Return mean, nearest-rank percentiles and maximum in ms; a percentile only where samples bound it.

    The count asked for is Wilks' for a two-sided 95 % interval: 368 for p99, 3,688 for p99.9.
    """
    ordered = sorted(seconds)
    if not ordered:
        return dict.fromkeys(("mean", *PERCENTILES, "max"))
    tails = {name: _ms(nearest_rank(ordered, p)) if len(ordered) >= _enough(p) else None for name, p in
             PERCENTILES.items()}  # fmt: skip
    return {"mean": _ms(fmean(ordered)), **tails, "max": _ms(ordered[-1])}


def _enough(p: float) -> int:
    return math.ceil(math.log((1 - TAIL_CONFIDENCE) / 2) / math.log(p))


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else 1000 * seconds
