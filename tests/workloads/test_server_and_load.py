"""A server and its load as one tenant: a real server on the CPU, asked over its socket, and its end."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.launch.events import EventLog

NEEDED = ("torch", "torchvision", "transformers", "fastapi", "uvicorn", "prometheus_client")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.workloads,
    pytest.mark.skipif(
        bool(MISSING) and not os.environ.get("BENCH_REQUIRE_WORKLOADS"),
        reason="the extra `workloads` is not installed",
    ),
]
TINY = {
    "layers": 1, "hidden_size": 16, "attention_heads": 2, "sequence_length": 4, "batch_size": 2, "connections": 8,
}  # fmt: skip
Start = Callable[..., Any]


def server_pid(folder: Path) -> int:
    hello = EventLog(folder / "server" / "events.jsonl").read().hello
    assert hello is not None
    return int(hello["pid"])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_requests_come_at_their_rate_and_both_processes_end(start_workload: Start) -> None:
    tenant = start_workload("bert-base-server", "cpu", rate=60, **TINY)
    tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.2, for_s=2.0)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "request", "load", "done"]
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    assert events.request_problem(start_s, stop_s) is None
    assert 80 <= len(events.requests) <= 160  # 120 are expected; Poisson's spread is 11
    assert set(events.requests.status) == {"ok"}
    assert events.load and events.done and events.identity
    assert events.load["planned"] == len(events.requests) == events.done["requests"]
    assert events.load["details"]["rate_per_s"] == 60
    seen = EventLog(tenant.folder / "server" / "events.jsonl").read()
    assert seen.identity and seen.done
    assert seen.identity["device_name"] == events.identity["device_name"]
    assert events.done["peak_memory_mib"] == seen.done["peak_memory_mib"] > 0
    assert not is_alive(server_pid(tenant.folder))
    assert not (tenant.folder / "server" / "server.sock").exists()


def test_users_come_at_the_instants_of_a_trace(start_workload: Start, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("seconds\n0.1\n0.1\n0.7\n1.2\n")
    tenant = start_workload("bert-base-server", "cpu", arrivals="trace", trace=tmp_path / "day.csv", **TINY)
    tenant.await_event("ready")
    start_s, _ = tenant.release(in_s=0.2, for_s=1.0)
    assert tenant.finish() == 0
    events = EventLog(tenant.folder / "events.jsonl").read()
    after_s = sorted(at_s - start_s for at_s in events.requests.scheduled_s)
    assert after_s == pytest.approx([0.1, 0.1, 0.7], abs=1e-6)
    assert set(events.requests.status) == {"ok"}
    assert events.load and events.load["details"]["arrivals"] == "trace"
    assert "rate_per_s" not in events.load["details"]  # which nobody asked for


def test_a_server_that_dies_is_a_failure_that_says_so(start_workload: Start) -> None:
    tenant = start_workload("bert-base-server", "cpu", rate=20, **TINY)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    os.kill(server_pid(tenant.folder), signal.SIGKILL)
    assert tenant.finish() == 1
    assert "the server ended with status -9; its last words: listening on unix:" in tenant.events()[-1]["message"]


def test_one_that_is_asked_to_stop_takes_its_server_along(start_workload: Start) -> None:
    tenant = start_workload("bert-base-server", "cpu", rate=20, **TINY)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.names()[-2:] == ["load", "done"]
    assert not is_alive(server_pid(tenant.folder))


def test_one_that_is_asked_to_stop_before_it_is_ready_ends_well(start_workload: Start) -> None:
    tenant = start_workload("bert-base-server", "cpu", rate=20, **TINY)
    hello = tenant.folder / "server" / "events.jsonl"
    tenant.await_event("hello")
    deadline_s = time.monotonic() + 60
    while not (hello.is_file() and hello.read_text().endswith("\n")):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.names()[-1] == "done"
    assert not is_alive(server_pid(tenant.folder))


def test_a_search_finds_a_rate_before_the_job_is_ready(start_workload: Start) -> None:
    short = {"slo_percentile": 50, "probe_s": 0.1, "confirm_s": 0.1, "confirmations": 1}  # half: few requests tell
    tenant = start_workload("bert-base-server", "cpu", search_max_rate=True, slo_s=0.5, **short, **TINY)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=0.1)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "load", "done"]
    found = tenant.events()[-2]["details"]
    assert found["probes"]
    assert found["rate_per_s"] is None or found["rate_per_s"] in {each["rate_per_s"] for each in found["probes"]}


def test_help_names_the_load_and_the_model(root: Path) -> None:
    from workloads.inference.server_and_load import load_arguments, option_parser, server_arguments

    options = option_parser().parse_args(["--model", "gpt2", "--rate", "3", "--seed", "4", "--output-length", "9"])
    asked = load_arguments(options)
    assert (asked.rate, asked.seed, asked.items, asked.scenario) == (3.0, 4, 9, "server")
    assert "--model gpt2" in " ".join(server_arguments(options))
