"""Scenarios against a modelled queue in virtual time, compared with queueing theory."""

from __future__ import annotations

import itertools
import math
from statistics import fmean
from typing import Any

import pytest

from workloads.inference.load import arrivals
from workloads.inference.load.request_log import RequestLog, nearest_rank
from workloads.inference.load.scenarios import ClosedLoop, OpenLoop, QueryStream, drive
from workloads.inference.load.wire import OVERFLOW, REFUSED, Request

MU = 100.0


def driven(wire: Any, scenario: Any, **options: Any) -> RequestLog:
    log = RequestLog()
    drive(wire, scenario, log.append, **options)
    return log


def open_loop(rate: float, seconds: float, seed: int = 0) -> OpenLoop:
    return OpenLoop(arrivals.within(arrivals.poisson(rate, seed), seconds), start_s=0.0)


def test_an_open_loop_meets_the_theory_of_mm1(queue: Any, exponential: Any, expected: Any) -> None:
    theory = expected("mm1_theory")["expected"]
    log = driven(queue(exponential(MU, 1)), open_loop(80.0, 4000.0))
    latencies_ms = sorted(1000 * each for each in log.latencies_s())
    assert fmean(latencies_ms) == pytest.approx(theory["mean_ms"], rel=0.05)
    assert nearest_rank(latencies_ms, 0.5) == pytest.approx(theory["p50_ms"], rel=0.05)
    assert nearest_rank(latencies_ms, 0.99) == pytest.approx(theory["p99_ms"], rel=0.10)


def test_a_closed_loop_of_one_hides_the_queue(queue: Any, exponential: Any, expected: Any) -> None:
    theory = expected("mm1_theory")["expected"]
    log = driven(queue(exponential(MU, 1)), ClosedLoop(1, 0.0, 1000.0))
    latencies_ms = sorted(1000 * each for each in log.latencies_s())
    assert fmean(latencies_ms) == pytest.approx(theory["closed_loop_1_client_mean_ms"], rel=0.05)
    assert nearest_rank(latencies_ms, 0.99) == pytest.approx(theory["closed_loop_1_client_p99_ms"], rel=0.10)


def test_an_open_loop_meets_the_theory_of_md1(queue: Any) -> None:
    """Pollaczek and Khinchine for the mean; Crommelin's (1932) distribution of the wait for p99."""
    rho = 0.8
    log = driven(queue(lambda: 1 / MU), open_loop(rho * MU, 4000.0))
    latencies_s = sorted(log.latencies_s())
    assert fmean(latencies_s) == pytest.approx((1 + rho / (2 * (1 - rho))) / MU, rel=0.05)
    assert nearest_rank(latencies_s, 0.99) == pytest.approx((md1_wait_quantile(rho, 0.99) + 1) / MU, rel=0.10)


def md1_wait_quantile(rho: float, p: float) -> float:
    """Return the wait, in service times, that the fraction p does not exceed."""

    def waits_at_most(t: float) -> float:
        terms = ((rho * (k - t)) ** k / math.factorial(k) * math.exp(-rho * (k - t)) for k in range(int(t) + 1))
        return (1 - rho) * math.fsum(terms)

    return next(t / 100 for t in itertools.count() if waits_at_most(t / 100) >= p)


def test_a_stall_shows_in_every_request_that_met_it(queue: Any, expected: Any) -> None:
    """The worker stops for 200 ms: requests go on coming, and count from when they were due."""
    fixture = expected("coordinated_omission_stall")
    stall_from_s, stall_to_s = (each / 1000 for each in fixture["input"]["stall_ms"])
    wire = queue(lambda: 0.001 + stall(wire, stall_from_s, stall_to_s))
    times = arrivals.within(arrivals.constant(100.0), 9.9999)
    log = driven(wire, OpenLoop(times, 0.0))
    correct = fixture["expected"]["correct"]
    latencies_ms = sorted(1000 * each for each in log.latencies_s())
    assert len(latencies_ms) == correct["n"]
    assert nearest_rank(latencies_ms, 0.99) == pytest.approx(correct["p99"], rel=1e-6)
    assert (latencies_ms[-1], fmean(latencies_ms)) == pytest.approx((correct["max"], correct["mean"]), rel=1e-6)


def stall(wire: Any, from_s: float, to_s: float) -> float:
    """Return what is left of the stall for the request that meets it first."""
    return to_s - from_s if wire.now_s() == pytest.approx(from_s) else 0.0


def test_what_is_due_while_the_wire_is_full_is_recorded(queue: Any) -> None:
    """Two places, a service of 1 s, and a request every 0.25 s: each is answered or told to have had no place."""
    log = driven(queue(lambda: 1.0, places=2), OpenLoop([0.25 * k for k in range(12)], 0.0))
    assert len(log) == 12
    assert log.statuses == {"ok": 4, OVERFLOW: 8}
    rows = [row for row in log.rows() if row[3] == OVERFLOW]
    assert all(math.isnan(sent_s) and done_s >= scheduled_s for scheduled_s, sent_s, done_s, _ in rows)
    assert log.over(math.inf) == 8, "what was never sent has missed any promise"


def test_a_late_client_shows_as_send_lag_and_in_the_latency(queue: Any) -> None:
    class Sluggish(queue):  # type: ignore[misc]
        """Sending takes the client 10 ms."""

        def send(self, request: Request) -> None:
            super().send(request)
            self._now_s += 0.010

    log = driven(Sluggish(lambda: 0.001), OpenLoop([0.0, 0.0, 0.0, 1.0], 0.0))
    assert log.lags_s() == pytest.approx([0.0, 0.010, 0.020, 0.0])
    assert log.latencies_s() == pytest.approx([0.001, 0.011, 0.021, 0.001])
    assert log.responses_s() == pytest.approx([0.001] * 4)


def test_requests_before_the_stop_are_followed_to_their_end(queue: Any) -> None:
    log = driven(queue(lambda: 5.0), ClosedLoop(3, 0.0, stop_s=1.0))
    assert list(log.done_s) == [5.0, 10.0, 15.0]


def test_a_closed_loop_keeps_to_the_interactive_law(queue: Any, exponential: Any) -> None:
    """X = N / (R + Z)."""
    log = driven(queue(exponential(MU, 1)), ClosedLoop(16, 0.0, 2000.0, think_s=0.1, seed=2))
    rate = len(log) / 2000.0
    assert rate == pytest.approx(16 / (fmean(log.latencies_s()) + 0.1), rel=0.02)
    assert rate < MU


def test_a_query_is_as_slow_as_its_slowest_sample_and_then_comes_the_next(queue: Any) -> None:
    log = driven(queue(lambda: 0.5), QueryStream(8, 0.0, stop_s=9.0, at_once=8))
    assert log.queries_s() == [4.0, 4.0, 4.0], "scheduled at 0, 4 and 8"
    assert len(log) == 24


def test_samples_of_one_query_wait_their_turn_and_none_overflows(queue: Any) -> None:
    log = driven(queue(lambda: 0.5, places=2), QueryStream(100, 3.0, math.inf, at_once=2, queries=1))
    assert log.statuses == {"ok": 100}
    assert set(log.scheduled_s) == {3.0}
    assert max(log.done_s) == 53.0


@pytest.mark.parametrize(
    "scenario",
    [
        OpenLoop([0.1 * k for k in range(1000)], 0.0),
        ClosedLoop(4, 0.0, 100.0),
        QueryStream(1000, 0.0, math.inf, at_once=4),
    ],
    ids=["open", "closed", "queries"],
)
def test_asked_to_stop_it_sends_nothing_more_and_waits_for_what_is_out(queue: Any, scenario: Any) -> None:
    wire = queue(lambda: 0.35)
    log = driven(wire, scenario, stopping=lambda: wire.now_s() >= 2.0)
    assert 0 < len(log) < 40
    assert max(log.scheduled_s) <= 2.0
    assert set(log.status) == {"ok"}


def test_a_server_that_is_gone_is_not_asked_without_a_pause(queue: Any) -> None:
    class Gone(queue):  # type: ignore[misc]
        """Refuses every request at once."""

        def wait(self, until_s: float) -> Any:
            ended = list(self._waiting)
            self._waiting.clear()
            for request in ended:
                request.sent_s = None
                request.end(self._now_s, REFUSED)
            return ended or super().wait(until_s)

    for scenario in (ClosedLoop(1, 0.0, 10.0), QueryStream(1, 0.0, 10.0, at_once=1)):
        assert 90 <= len(driven(Gone(lambda: 0.0), scenario)) <= 110
