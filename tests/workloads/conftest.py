"""A launcher small enough to read at a glance, and the contract of events, for the tests of tenants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0

STEPS = {"end_s": list, "duration_s": list, "items": list}
BATCHED = ("step", "request")
WAIT = "wait_s"  # a fourth column of steps, where the job tells how long each waited for data
TEXT, NUMBER, OPTIONAL_NUMBER, OPTIONAL_TEXT = str, (int, float), (int, float, type(None)), (str, type(None))
FIELDS: dict[str, dict[str, Any]] = {
    "hello": {"protocol": int, "pid": int, "libraries": dict},
    "identity": {
        "device_name": TEXT,
        "device_uuid": OPTIONAL_TEXT,
        "sm_count": (int, type(None)),
        "memory_total_mib": (int, type(None)),
        "allocatable_mib": (int, type(None)),
        "mps_pipe_directory": OPTIONAL_TEXT,
        "mps_active_thread_percentage": OPTIONAL_NUMBER,
        "visible_devices": OPTIONAL_TEXT,
        "mps_in_container_default": (bool, type(None)),
        "cpus": int,
    },
    "ready": {"warmup": dict, "autotune": (bool, type(None))},
    "step": STEPS,
    "request": dict.fromkeys(("scheduled_s", "sent_s", "done_s", "status", "items"), list),
    "load": {"planned": (int, type(None)), "cpu_s": NUMBER, "details": dict},
    "done": {"steps": int, "requests": int, "items": int, "peak_memory_mib": OPTIONAL_NUMBER},
    "error": {"kind": TEXT, "message": TEXT, "traceback": TEXT},
}


FIGURES: dict[str, Any] = {"startup_s": float, "import_s": float, "context_s": float}  # of the first-context probe


def assert_well_formed(event: dict[str, Any]) -> None:
    """Fail unless `event` has exactly the fields of the contract, with their types."""
    fields = {**FIELDS[event["event"]], **(FIGURES if "context_s" in event else {})}
    assert event.keys() - {WAIT} == {"event", "time_s", *fields}, event
    for name, kind in fields.items():
        assert isinstance(event[name], kind), (name, event)
    columns = event["warmup"] if event["event"] == "ready" else event if event["event"] == "step" else None
    if columns:
        assert {len(columns[name]) for name in (*STEPS, *columns.keys() & {WAIT})} == {len(columns["end_s"])}, (
            event
        )


class Tenant:
    """One running job and its folder."""

    def __init__(self, folder: Path, command: list[str], **options: Any) -> None:
        self.folder = folder
        environment = {**os.environ, "BENCH_JOB_DIR": str(folder)}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far; every complete line must be one well-formed event."""
        path = self.folder / "events.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        for event in found:
            assert_well_formed(event)
        return found

    def names(self) -> list[str]:
        """Return the names of the events so far, runs of steps or requests as one."""
        names = [event["event"] for event in self.events()]
        return [name for place, name in enumerate(names) if name not in BATCHED or names[place - 1] != name]

    def await_event(self, name: str) -> dict[str, Any]:
        """Wait for the first event of this name."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            found = [event for event in self.events() if event["event"] == name]
            if found:
                return found[0]
            if self.process.poll() is not None and name not in self.names():
                raise AssertionError(f"the tenant ended without {name}: {self.process.communicate()}")
            time.sleep(0.01)
        raise AssertionError(f"no {name} in time, only {self.names()}")

    def release(self, *, in_s: float, for_s: float, protocol: int = 1) -> tuple[float, float]:
        """Name the instants as the launcher does, and return start and stop."""
        start_s = time.monotonic() + in_s
        instants = {"protocol": protocol, "start_s": start_s, "settle_s": 0.0, "stop_s": start_s + for_s}
        temporary = self.folder / ".start.json"
        temporary.write_text(json.dumps(instants), encoding="utf-8")
        temporary.rename(self.folder / "start.json")
        return start_s, start_s + for_s

    def finish(self) -> int:
        """Wait for the end and return the exit status."""
        self.process.wait(PATIENCE_S)
        return self.process.returncode

    def steps(self) -> tuple[list[float], list[float], list[int]]:
        """Return end instants, durations and items of all steps so far."""
        events = [event for event in self.events() if event["event"] == "step"]
        columns = [[value for event in events for value in event[name]] for name in STEPS]
        return columns[0], columns[1], columns[2]

    def close(self) -> None:
        """Leave nothing running."""
        with self.process:
            self.process.kill()


@pytest.fixture
def start_tenant(tmp_path: Path) -> Iterator[Callable[..., Tenant]]:
    """Give a function that starts a command as a tenant with a folder of its own."""
    tenants: list[Tenant] = []

    def start(command: list[str], **options: Any) -> Tenant:
        folder = tmp_path / f"job-{len(tenants)}"
        folder.mkdir()
        tenants.append(Tenant(folder, command, **options))
        return tenants[-1]

    yield start
    for tenant in tenants:
        tenant.close()


@pytest.fixture(scope="session")
def catalog() -> dict[str, dict[str, Any]]:
    """Give the workloads of the catalog by name."""
    text = (ROOT / "workloads" / "catalog.yaml").read_text(encoding="utf-8")
    workloads: dict[str, dict[str, Any]] = yaml.safe_load(text)["workloads"]
    return workloads


@pytest.fixture
def start_workload(
    start_tenant: Callable[..., Tenant], catalog: dict[str, dict[str, Any]]
) -> Callable[..., Tenant]:
    """Give a function that starts a workload of the catalog on a device, some parameters changed."""

    def start(name: str, device: str, **changes: object) -> Tenant:
        entry = catalog[name]
        parameters = {
            **entry["parameters"],
            **(entry["cpu_parameters"] if device == "cpu" else {}),
            **changes,
        }
        command = [
            sys.executable,
            "-m",
            entry["module"],
            "--device",
            device,
            "--seed",
            "1",
            *flags(parameters),
        ]
        return start_tenant(command, cwd=ROOT)

    return start


def flags(parameters: dict[str, object]) -> list[str]:
    """Spell parameters as a launcher does."""
    words = []
    for name, value in parameters.items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


@pytest.fixture(scope="session")
def spell_flags() -> Callable[[dict[str, object]], list[str]]:
    """Give the spelling of parameters as command-line flags."""
    return flags


@pytest.fixture(scope="session")
def root() -> Path:
    """Give the root of the repository."""
    return ROOT
