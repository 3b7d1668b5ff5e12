"""A run in numbers, worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from workloads.inference.load.request_log import RequestLog
from workloads.inference.load.summary import Run, distribution_ms, mlperf
from workloads.inference.load.wire import OK, OVERFLOW, Request


def log_of(*rows: tuple[float, float | None, float, str]) -> RequestLog:
    log = RequestLog()
    for scheduled_s, sent_s, done_s, status in rows:
        request = Request(scheduled_s)
        request.sent_s = sent_s
        request.end(done_s, status)
        log.append(request)
    return log


def run_of(log: RequestLog, **changes: Any) -> Run:
    return Run(
        **{
            "requests": log, "start_s": 0.0, "stop_s": 10.0, "cpu_s": 1.0, "cpu_share": 0.1, "is_open": True,
            **changes,
        }
    )  # fmt: skip


def even(count: int, latency_s: float = 0.045, lag_s: float = 0.0) -> RequestLog:
    """Requests all through ten seconds, each as fast as the other."""
    times = [10 * k / count for k in range(count)]
    return log_of(*((at_s, at_s + lag_s, at_s + latency_s, OK) for at_s in times))


def gate(run: Run, name: str) -> Any:
    return next(each for each in run.gates() if each.name.startswith(name))


def test_goodput_counts_what_failed_as_missed() -> None:
    log = log_of((0, 0, 0.04, OK), (1, 1, 1.06, OK), (2, 2, 2.01, "http-503"), (3, None, 3.0, OVERFLOW))
    summary = run_of(log, slo_s=0.05).summary()
    assert summary["attainment"] == 0.25
    assert summary["goodput_per_s"] == 0.1
    assert summary["statuses"] == {OK: 2, "http-503": 1, OVERFLOW: 1}
    assert (summary["planned_per_s"], summary["offered_per_s"], summary["completed_per_s"]) == (0.4, 0.3, 0.2)
    assert summary["latency_ms"]["max"] == pytest.approx(60.0)
    assert summary["early_stopping_passes"] is False


def test_a_tail_needs_enough_samples() -> None:
    numbers = distribution_ms([0.001 * k for k in range(1, 369)])
    assert (numbers["p50"], numbers["p99"], numbers["p99_9"]) == (pytest.approx(184), pytest.approx(365), None)
    assert distribution_ms([0.001] * 367)["p99"] is None
    assert set(distribution_ms([]).values()) == {None}


def test_a_punctual_client_holds_its_gates() -> None:
    run = run_of(even(2000), slo_s=0.05)
    assert [each.holds for each in run.gates()] == [True] * 5
    assert run.client_fault() is None
    assert run.summary()["send_lag_ms"]["p99"] == 0.0


def test_a_late_client_is_found_out() -> None:
    run = run_of(even(2000, lag_s=0.003), slo_s=0.05)
    assert gate(run, "p99 send lag / SLO").value == pytest.approx(0.06)
    assert gate(run, "p99 send lag / SLO").holds is False
    assert gate(run, "p99 send lag / p50").value == pytest.approx(3 / 42)
    assert "SLO is 0.06 > 0.05" in run.client_fault()


def test_a_busy_client_is_found_out() -> None:
    assert "CPU" in run_of(even(2000), cpu_share=0.75).client_fault()


def test_overflow_breaks_the_offered_rate_and_is_not_the_clients_fault() -> None:
    lost = [(at_s / 10, None, at_s / 10, OVERFLOW) for at_s in range(30)]
    run = run_of(log_of(*even(970).rows(), *lost), slo_s=0.05)
    assert gate(run, "1 - offered").value == pytest.approx(0.03)
    assert gate(run, "1 - offered").holds is False
    assert run.client_fault() is None


def test_littles_law_holds_in_a_steady_state_and_fails_where_a_queue_grows(expected: Any) -> None:
    fixture = expected("littles_law")["input"]
    run = run_of(even(10 * fixture["X_rps"], fixture["R_s"]))
    assert gate(run, "Little").value < 0.01
    growing = log_of(*((k / 10, k / 10, k / 5, OK) for k in range(100)))
    assert gate(run_of(growing), "Little").holds is False


def test_a_closed_loop_has_no_plan_to_be_late_on() -> None:
    run = run_of(even(100, lag_s=0.01), is_open=False)
    assert [each.name for each in run.gates()] == ["client CPU (share of one core)"]
    assert run.summary()["planned_per_s"] is None


def test_what_cannot_be_judged_is_said() -> None:
    run = run_of(RequestLog())
    assert {each.holds for each in run.gates()} == {None, True}
    assert run.summary()["attainment"] is None
    json.dumps(run.summary(), allow_nan=False)


def test_mlperf_metrics() -> None:
    """662 queries of two samples; one query failed, and the estimate is the slowest of them."""
    log = log_of(*((at, at, at + 0.010, OK) for at in range(64)))
    assert mlperf("single-stream", run_of(log))["value"] == pytest.approx(10.0)
    pairs = log_of(*((at, at, at + part, OK) for at in range(662) for part in (0.25, 0.5)))
    assert mlperf("multi-stream", run_of(pairs, stop_s=700.0))["value"] == pytest.approx(500.0)
    assert mlperf("multi-stream", run_of(log))["value"] is None
    assert mlperf("offline", run_of(even(100, latency_s=0.0)))["value"] == pytest.approx(10.0)
    assert mlperf("server", run_of(log)) is None


def test_requests_are_written_as_csv(tmp_path: Path) -> None:
    log_of((0, 0.5, 1, OK), (2, None, 2, OVERFLOW)).write_csv(tmp_path / "requests.csv")
    with (tmp_path / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"scheduled_s": "0.0", "sent_s": "0.5", "done_s": "1.0", "status": OK}
    assert rows[1]["sent_s"] == ""


def test_only_requests_of_the_window_count() -> None:
    log = log_of((0, 0, 9, OK), (1, 1, 2, OK), (4.9, 4.9, 99, OK), (5, 5, 5, OK))
    assert list(log.scheduled_within(1.0, 5.0).scheduled_s) == [1, 4.9]
