"""The program as a whole: alone from a shell, and as a job, against servers in this process."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.launch.events import EventLog

MODULE = "workloads.inference.load_test"
QUICK = {"seconds": 0.5, "settle-s": 0.1, "timeout-s": 2, "startup-s": 5}
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


def command(url: str, *words: object, **options: object) -> list[str]:
    flags = {**QUICK, **{name.replace("_", "-"): value for name, value in options.items()}}
    spelled = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-S", "-m", MODULE, "--url", url, *map(str, words), *spelled]


@pytest.fixture
def run_alone(root: Path, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that runs the program, without any installed package, and returns its words and summary."""

    def run(
        url: str, *words: object, **options: object
    ) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        file = tmp_path / "summary.json"
        environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB_DIR"}
        result = subprocess.run(
            command(url, *words, json=file, **options),
            cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return result, json.loads(file.read_text()) if file.exists() else {}

    return run


def test_an_open_loop_alone(serve: Any, answering: Any, run_alone: Any, tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    result, summary = run_alone(serve(answering()), rate=200, slo_ms=500, requests=file, seed=4)
    assert result.returncode == 0, result.stderr
    assert set(summary["statuses"]) == {"ok"}
    assert summary["requests"] == pytest.approx(100, abs=40)
    assert summary["attainment"] == 1.0
    assert (summary["scenario"], summary["arrivals"], summary["rate_per_s"]) == ("server", "poisson", 200.0)
    assert 0 <= summary["arrivals_check"]["gaps_ks_p"] <= 1
    assert "100.000 % within 500 ms" in result.stdout
    assert "send lag" in result.stdout
    with file.open() as rows:
        assert len(list(csv.DictReader(rows))) == summary["requests"]


def test_equal_seeds_send_at_equal_times(serve: Any, answering: Any, run_alone: Any, tmp_path: Path) -> None:
    url, traces = serve(answering()), []
    for seed in (1, 1, 2):
        run_alone(url, rate=100, seed=seed, requests=tmp_path / "requests.csv")
        with (tmp_path / "requests.csv").open() as file:
            times = sorted(float(row["scheduled_s"]) for row in csv.DictReader(file))
        traces.append([round(at_s - times[0], 6) for at_s in times])
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize(
    ("scenario", "options", "metric"),
    [
        ("closed", {"concurrency": 3, "think-ms": 5}, None),
        ("single-stream", {}, "p90 query latency in ms"),
        ("multi-stream", {}, "p99 query latency in ms"),
        ("offline", {"samples-per-query": 500, "connections": 16}, "samples/s"),
    ],
)
def test_other_scenarios_alone(
    serve: Any, answering: Any, run_alone: Any, scenario: str, options: dict[str, object], metric: str | None
) -> None:
    result, summary = run_alone(serve(answering()), scenario=scenario, **options)
    assert result.returncode == 0, result.stderr
    assert set(summary["statuses"]) == {"ok"}
    assert (summary["mlperf"] or {"metric": None})["metric"] == metric
    assert summary["requests"] == 500 if scenario == "offline" else summary["requests"] > 20
    if scenario == "multi-stream":
        assert summary["requests"] % 8 == 0


def test_errors_of_the_server_are_counted(serve: Any, answering: Any, run_alone: Any) -> None:
    calls = itertools.count()

    async def some() -> bytes:
        number = next(calls)
        return BUSY if number > 20 and number % 2 else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    _, summary = run_alone(serve(answering(some)), arrivals="constant", rate=100, slo_ms=100)
    assert summary["statuses"]["http-503"] == pytest.approx(summary["requests"] / 2, abs=6)
    assert summary["attainment"] <= 1 - summary["statuses"]["http-503"] / summary["requests"]


def test_more_than_the_pool_can_carry_is_overflow(serve: Any, answering: Any, run_alone: Any) -> None:
    async def slow() -> bytes:
        await asyncio.sleep(0.2)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    options = {"arrivals": "constant", "rate": 100, "connections": 2, "warmup_requests": 1}
    result, summary = run_alone(serve(answering(slow)), **options)
    assert summary["requests"] == pytest.approx(50, abs=1)
    assert summary["statuses"]["overflow"] >= 35
    assert sum(summary["statuses"].values()) == summary["requests"]
    assert "1 - offered / planned rate" in result.stdout
    assert "BROKEN" in result.stdout


def test_the_search_alone(serve: Any, run_alone: Any) -> None:
    """One worker of 10 ms, 100/s: at half of that, few wait for long."""
    worker = asyncio.Lock()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            async with worker:
                await asyncio.sleep(0.01)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    options = {
        "slo_ms": 60,
        "slo_percentile": 50,
        "rate": 60,
        "probe_seconds": 0.2,
        "seconds": 0.2,
        "confirmations": 2,
    }
    result, found = run_alone(serve(handle), "--search-max-rate", **options)
    assert result.returncode == 0, result.stderr
    assert 5 < found["rate_per_s"] < 130
    assert found["rate_per_s"] < found["lowest_failing_per_s"]
    assert sum(probe["confirms"] for probe in found["probes"]) >= 2
    assert "confirmed within 60 ms" in result.stdout
    assert result.stderr.count("within the SLO") == len(found["probes"])


@pytest.mark.parametrize("reply", [BUSY, b"hello\r\n\r\n", b""], ids=["busy", "no HTTP", "silent"])
def test_a_server_that_never_answers_well_is_named(
    serve: Any, answering: Any, run_alone: Any, reply: bytes
) -> None:
    options = {"timeout-s": 0.3, "startup-s": 0.5}
    result, _ = run_alone(serve(answering(reply)), **options)
    assert result.returncode == 1
    assert "no good answer within 0.5 s" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nobody_there_is_named(run_alone: Any, tmp_path: Path) -> None:
    result, _ = run_alone(f"unix:{tmp_path}/nothing:/", **{"startup-s": 0.2})
    assert result.returncode == 1
    assert "no connection to unix:" in result.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--url", "https://h/"], "must be http"),
        (["--url", "unix:s:/", "--body", "/nothing"], "/nothing"),
        (["--url", "unix:s:/", "--arrivals", "trace"], "needs --trace"),
        (["--url", "unix:s:/", "--search-max-rate"], "needs --slo-ms"),
        (["--url", "unix:s:/", "--rate", "0"], "--rate"),
        (["--url", "unix:s:/", "--slo-percentile", "100"], "--slo-percentile"),
    ],
)
def test_impossible_wishes_are_refused(root: Path, words: list[str], why: str) -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-m", MODULE, *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode in (1, 2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr


def test_help_names_the_scenarios(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-m", MODULE, "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    for word in ("poisson", "closed", "server", "offline", "slo", "single-stream", "unix:"):
        assert word in result.stdout.lower()


@pytest.fixture
def start_job(start_tenant: Any, root: Path, serve: Any, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that starts the program as a tenant, of a server whose socket lies in the job's folder."""

    def start(handle: Any, **options: object) -> Any:
        words = command("unix:server.sock:/predict", "--device", "cpu", **options)
        tenant = start_tenant(words, cwd=root)
        serve(handle, "job-0/server.sock")
        return tenant

    return start


def test_a_whole_life_as_a_job(start_job: Any, answering: Any) -> None:
    tenant = start_job(answering(), rate=200, items=3)
    tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.3, for_s=1.0)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "request", "load", "done"]

    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    assert len(events.warmup) == 10
    requests = events.requests
    assert events.request_problem(start_s, stop_s) is None
    assert len(requests) == events.load["planned"] == events.done["requests"] > 120
    assert events.done["items"] == 3 * len(requests)
    assert set(requests.status) == {"ok"}
    assert requests.scheduled_s.min() < start_s + 0.2
    assert events.load["details"]["rate_per_s"] == 200.0
    assert events.load["cpu_s"] > 0


def test_requests_out_at_the_stop_are_followed(start_job: Any, answering: Any) -> None:
    async def slow() -> bytes:
        await asyncio.sleep(0.4)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    tenant = start_job(answering(slow), rate=50, warmup_requests=1)
    tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.3, for_s=0.5)
    assert tenant.finish() == 0
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.request_problem(start_s, stop_s) is None
    assert events.requests.done_s.max() > stop_s


def test_a_tenant_to_whom_nobody_comes_any_more_stays_to_the_stop(
    start_job: Any, answering: Any, tmp_path: Path
) -> None:
    (tmp_path / "two.csv").write_text("0.1\n0.2\n9\n")
    tenant = start_job(answering(), arrivals="trace", trace=tmp_path / "two.csv")
    tenant.await_event("ready")
    _, stop_s = tenant.release(in_s=0.3, for_s=1.0)
    assert tenant.finish() == 0
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.load["planned"] == len(events.requests) == 2
    assert events.done["time_s"] >= stop_s


@pytest.mark.parametrize("when", ["loading", "waiting for the server"])
def test_sigterm_ends_it_well(start_job: Any, answering: Any, when: str) -> None:
    tenant = start_job(answering() if when == "loading" else answering(BUSY), rate=100, startup_s=60)
    tenant.await_event("identity")
    if when == "loading":
        tenant.await_event("ready")
        tenant.release(in_s=0.0, for_s=60.0)
        tenant.await_event("request")
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.names()[-1] == "done"
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    assert len(events.requests) == (events.load or {"planned": 0})["planned"]
