"""Tenants in containers of a real engine. The image only has to hold Python; programs are mounted into it."""

import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bench.clock import SystemClock
from bench.launch.contract import Handle, Tenant
from bench.launch.docker import DockerLauncher, why_not_docker
from bench.modes.contract import Grant, Mount
from bench.plan.catalog import Workload, load_catalog

CHECKOUT = Path(__file__).parents[3]
IMAGE = os.environ.get("BENCH_TEST_IMAGE", "gpu-sharing-bench/base")

LauncherFor = Callable[[Sequence[Workload]], DockerLauncher]
MakeTenant = Callable[..., Tenant]
Launch = Callable[..., tuple[Handle, Tenant]]


@pytest.fixture(scope="session")
def workload() -> Workload:
    """A workload whose module is `program`, which `make_tenant` writes."""
    known = load_catalog()["resnet18-training"]
    return known.model_copy(update={"module": "program", "image": IMAGE, "parameters": {}})


@pytest.fixture(scope="session")
def launcher_for() -> LauncherFor:
    """Return a function that skips the test, or fails it where an engine was promised, if these cannot run."""

    def check(workloads: Sequence[Workload]) -> DockerLauncher:
        if reason := why_not_docker(workloads):
            (pytest.fail if os.environ.get("BENCH_REQUIRE_DOCKER") else pytest.skip)(reason)
        return DockerLauncher()

    return check


@pytest.fixture(scope="session")
def launcher(launcher_for: LauncherFor, workload: Workload) -> DockerLauncher:
    return launcher_for([workload])


@pytest.fixture(scope="session")
def make_tenant(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> MakeTenant:
    """Return a function that makes a tenant of a program's text; every part of it can be overridden."""

    def make(
        program: str, *, mounts: tuple[Mount, ...] = (), device_id: str | None = None, **changes: object
    ) -> Tenant:
        code = tmp_path_factory.mktemp("code")
        (code / "program.py").write_text(textwrap.dedent(program))
        read_only = (Mount(code, read_only=True), Mount(CHECKOUT / "workloads", read_only=True))
        grant = Grant(device_id, {"PYTHONPATH": f"{code}:{CHECKOUT}", "GRANTED": "yes"}, (*read_only, *mounts))
        parts = {
            "name": "program", "job": "program", "workload": workload, "parameters": {}, "seed": 7,
            "device": "cpu", "grant": grant, "folder": tmp_path_factory.mktemp("job"), "cpus": None,
            "memory_gb": 0.5, "run_id": "test-run",
        }  # fmt: skip
        return Tenant(**{**parts, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def launch(launcher: DockerLauncher, make_tenant: MakeTenant) -> Iterator[Launch]:
    """Return a function that starts a program; whatever it started is removed at the end."""
    handles: list[Handle] = []

    def start(program: str, **options: object) -> tuple[Handle, Tenant]:
        tenant = make_tenant(program, **options)
        handles.append(launcher.start(tenant))
        return handles[-1], tenant

    yield start
    for handle in handles:
        handle.remove()


@pytest.fixture(scope="session")
def ended() -> Callable[[Handle], int]:
    """Return a function that waits for a job's end and gives its exit status."""
    return _ended


def _ended(handle: Handle, deadline_s: float = 30) -> int:
    clock = SystemClock()
    give_up_s = clock.monotonic_s() + deadline_s
    while (status := handle.exit_status()) is None:
        assert clock.monotonic_s() < give_up_s, f"still running after {deadline_s} s"
        clock.sleep(0.01)
    return status
