"""Tenants in containers of a real engine. The image only has to hold Python; programs are mounted into it."""

import os
import shutil
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import docker
import pytest
from docker.errors import DockerException

from bench.clock import SystemClock
from bench.launch.contract import Handle, Tenant
from bench.launch.docker import DockerLauncher, why_not_docker
from bench.modes.contract import Grant, Mount
from bench.plan.catalog import Workload, load_catalog

CHECKOUT = Path(__file__).parents[3]
LOOK_AROUND = CHECKOUT / "tests" / "fixtures" / "programs" / "look_around.py"
IMAGE = os.environ.get("BENCH_TEST_IMAGE", "gpu-sharing-bench/base")

NOTHING = Grant(None)

LauncherFor = Callable[[Sequence[Workload]], DockerLauncher]
MakeTenant = Callable[..., Tenant]
Launch = Callable[..., tuple[Handle, Tenant]]
PrivateEngine = Callable[[Mapping[str, str]], AbstractContextManager[str]]


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
            _cannot(reason)
        return DockerLauncher()

    return check


def _cannot(reason: str) -> NoReturn:
    (pytest.fail if os.environ.get("BENCH_REQUIRE_DOCKER") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def launcher(launcher_for: LauncherFor, workload: Workload) -> DockerLauncher:
    return launcher_for([workload])


@pytest.fixture(scope="session")
def make_tenant(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> MakeTenant:
    """Return a function that makes a tenant of a program's text; every part of it can be overridden."""

    def make(program: str, *, grant: Grant = NOTHING, **changes: object) -> Tenant:
        code = tmp_path_factory.mktemp("code")
        (code / "program.py").write_text(textwrap.dedent(program))
        read_only = (Mount(code, read_only=True), Mount(CHECKOUT / "workloads", read_only=True))
        paths = {"PYTHONPATH": f"{code}:{CHECKOUT}"}
        grant = replace(grant, environment={**grant.environment, **paths}, mounts=(*read_only, *grant.mounts))
        parts = {
            "name": "program", "job": "program", "workload": workload, "parameters": {}, "seed": 7,
            "device": "cpu", "grant": grant, "folder": tmp_path_factory.mktemp("job"), "cpus": None,
            "memory_gb": 0.5, "run_id": "test-run",
        }  # fmt: skip
        return Tenant(**{**parts, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def look_around() -> str:
    """The text of a program that writes down what it finds around it."""
    return LOOK_AROUND.read_text()


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


# A mount namespace with a /run of its own: such an engine shares nothing with another one, not even containerd,
# and leaves no mount behind. It ends with this process, however that ends.
PRIVATE_ENGINE = """
    mount -t tmpfs tmpfs /run
    exec setpriv --pdeathsig TERM dockerd --host "unix://$1/docker.sock" --data-root "$1/data" \\
        --exec-root "$1/exec" --pidfile "$1/pid" --bridge none --iptables=false --ip-forward=false
"""
NOT_COPIED = ("site-packages", "./usr/share", "./usr/lib/gcc", "./var", "./tmp", "./copy")  # 0.2 GB of 5 are left


@pytest.fixture(scope="session")
def private_engine(launcher: DockerLauncher) -> PrivateEngine:
    """Return a context manager: the address of a new engine with this environment, which holds the test image."""
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        _cannot("a private engine needs root and dockerd")
    return _private_engine


@contextmanager
def _private_engine(environment: Mapping[str, str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-engine-", dir="/var/tmp") as folder:
        log = Path(folder, "log")
        command = ["unshare", "--mount", "sh", "-ec", PRIVATE_ENGINE, "sh", folder]
        with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output) as engine:
            try:
                address = f"unix://{folder}/docker.sock"
                _copy_image(_answering(address, engine, log), folder)
                yield address
            finally:
                engine.terminate()


def _answering(address: str, engine: subprocess.Popen[bytes], log: Path) -> docker.DockerClient:
    """Wait until the engine answers."""
    while engine.poll() is None:
        with suppress(DockerException):
            return docker.DockerClient(address)
        time.sleep(0.05)
    pytest.fail(f"the private engine did not start: {log.read_text()[-2000:]}")


def _copy_image(engine: docker.DockerClient, folder: str) -> None:
    """Give the engine the test image without the packages and the compiler installed in it."""
    theirs = docker.from_env()
    leave_out = [f"--exclude={name}" for name in NOT_COPIED]
    theirs.containers.run(
        IMAGE, entrypoint=["tar"], command=["-C", "/", "--one-file-system", *leave_out, "-cf", "/copy/image", "."],
        user="0", network_mode="none", volumes={folder: {"bind": "/copy"}}, remove=True,
    )  # fmt: skip
    variables = theirs.images.get(IMAGE).attrs["Config"]["Env"] or []
    path = [f"ENV {variable}" for variable in variables if variable.startswith("PATH=")]
    engine.api.import_image(f"{folder}/image", repository=IMAGE, changes=["USER 10001:10001", *path])
    Path(folder, "image").unlink()
