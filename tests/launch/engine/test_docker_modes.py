"""What a tenant's container really received in each mode.

The modes are entered for real, on the stand-in driver; the containers are those of a real engine that offers GPUs,
for there is a stub of the container toolkit's hook on its PATH.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from bench.errors import LaunchError, SetupError
from bench.gpu.device import Device
from bench.gpu.inventory import cpu_device
from bench.gpu.lock import held
from bench.gpu.smi import NvidiaSmi
from bench.launch.contract import Tenant
from bench.launch.docker import DockerLauncher
from bench.modes.entering import entered
from bench.modes.mps_daemon import daemons_left
from bench.modes.switch import Switch
from bench.plan.catalog import Workload
from bench.plan.mode import CpuShared, Exclusive, Mig, MigMps, Mode, Mps, MpsEqual, MpsPartitions, TimeSlicing
from bench.plan.model import Job, Mix
from bench.simulator.machine import simulated_device

pytestmark = pytest.mark.docker

TOOLKIT = Path(__file__).parents[2] / "fixtures" / "toolkit"
MODES = (Exclusive(), TimeSlicing(), TimeSlicing(time_slice="short"), Mps(), Mps(active_thread_percentage=50),
         Mps(active_thread_percentage=(70, 30), memory_limit_gib=(48, 24)), MpsEqual(), Mig(),
         Mig(layout="3g.40gb+2g.20gb"), MpsPartitions(chunks=(7, 6)), MigMps())  # fmt: skip
LIMITS = {  # for each tenant: percentage, memory
    "mps 50%": (("50", None), ("50", None)),
    "mps 70%+30% 48gib+24gib": (("70", "0=49152M"), ("30", "0=24576M")),
    "mps-equal": (("50", "0=40960M"), ("50", "0=40960M")),
}
PIPE_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
MEMORY_BYTES = 128_000 * 4096  # whole pages, which is what the kernel keeps
STAY = "\nimport signal; signal.pause()"

MakeTenant = Callable[..., Tenant]


@dataclass(frozen=True)
class Engine:
    """An engine that offers the simulated GPU."""

    gpu: Device
    switch: Switch
    launcher: DockerLauncher
    client: docker.DockerClient
    calls: Path

    def hook_calls(self) -> list[dict[str, Any]]:
        """What the hook was called with, for each container."""
        return [json.loads(call.read_text()) for call in self.calls.iterdir()]

    def hook_call(self, tenant: Tenant) -> dict[str, Any]:
        """What the hook was called with for this tenant, which must be alive."""
        (container,) = self.client.containers.list(filters={"label": f"bench.tenant={tenant.name}"})
        found: dict[str, Any] = json.loads((self.calls / f"{container.id}.json").read_text())
        return found


@dataclass(frozen=True)
class Received:
    """What one tenant was given, and what was found inside its container, by the hook, and by the host."""

    tenant: Tenant
    seen: dict[str, Any]
    hook_call: dict[str, Any]
    host_pids: tuple[int, ...]


@dataclass(frozen=True)
class Visit:
    """One mode, entered once, with all tenants of a mix alive at the same time."""

    mode: Mode
    devices: Sequence[str]  # what the driver listed meanwhile: the GPU, or its MIG instances
    pipe: dict[str, Any] | None  # our MPS daemon's folder as the host saw it
    received: Sequence[Received]


@pytest.fixture(scope="module")
def engine(private_engine: Callable[..., Any], workload: Workload) -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))  # short: an MPS socket's path has 107 bytes
    calls = folder / "calls"
    calls.mkdir()
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BENCH_STATE_DIR", str(folder))
        gpu = simulated_device("a100-80gb")
        path = f"{TOOLKIT}:{gpu.environment['PATH']}"
        environment = {**os.environ, "PATH": path, "BENCH_HOOK_CALLS": str(calls)}
        with private_engine(environment) as address, held(gpu) as lock:
            variables.setenv("DOCKER_HOST", address)
            launcher = DockerLauncher(gpu.uuid)
            launcher.preflight([workload])
            yield Engine(gpu, Switch(gpu, True, lock.fd), launcher, docker.from_env(), calls)
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.label)
def visit(request: pytest.FixtureRequest, engine: Engine, make_tenant: MakeTenant, look_around: str) -> Visit:
    mode = request.param
    jobs = 1 if mode == Exclusive() else 2
    mix = Mix(name="mix", jobs=(Job(workload="resnet50-training"),) * jobs)
    with entered(mode, engine.switch) as active:
        tenants = [
            make_tenant(look_around + STAY, name=f"{mode.slug}-{number}", grant=grant, cpus=(_core(number),),
                        memory_gb=MEMORY_BYTES / 1e9)
            for number, grant in enumerate(active.tenancy(mix))
        ]  # fmt: skip
        return Visit(mode, _listed(engine.gpu), _pipe(engine.gpu), _received(engine, tenants))


def _core(number: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


def _listed(gpu: Device) -> list[str]:
    return [device.uuid for device in NvidiaSmi(gpu.tool_environment).mig_devices(gpu.uuid)] or [gpu.uuid]


def _pipe(gpu: Device) -> dict[str, Any] | None:
    if not (folders := daemons_left(gpu)):
        return None
    (folder,) = folders  # two tenants share the one MIG instance of mig-mps
    entries = sorted(entry.name for entry in folder.iterdir())
    return {"inode": folder.stat().st_ino, "entries": entries, "write": None}


def _received(engine: Engine, tenants: Sequence[Tenant]) -> list[Received]:
    handles = []
    try:
        handles.extend(engine.launcher.start(tenant) for tenant in tenants)
        seen = [_written(tenant.folder / "seen.json") for tenant in tenants]
        return [Received(tenant, found, engine.hook_call(tenant), handle.host_pids())
                for tenant, found, handle in zip(tenants, seen, handles, strict=True)]  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()


def _written(file: Path, deadline_s: float = 30) -> dict[str, Any]:
    give_up_s = time.monotonic() + deadline_s
    while not file.exists():
        assert time.monotonic() < give_up_s, f"{file} did not appear"
        time.sleep(0.01)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_each_tenant_is_given_a_device_that_the_driver_lists(visit: Visit) -> None:
    given = [each.tenant.grant.device_id for each in visit.received]
    if isinstance(visit.mode, Mig | MigMps):
        assert set(given) == set(visit.devices)
        assert len(set(given)) == (2 if isinstance(visit.mode, Mig) else 1)
        assert all(device.startswith("MIG-") for device in visit.devices)
    else:
        assert set(given) == set(visit.devices)


def test_hook_and_container_see_the_granted_device_and_no_other(visit: Visit) -> None:
    for each in visit.received:
        assert set(each.seen["visible_devices"]) == {each.tenant.grant.device_id}
        assert _hook_devices(each.hook_call) == {each.tenant.grant.device_id}


def _hook_devices(call: dict[str, Any]) -> set[str]:
    variables = (entry.split("=", 1) for entry in call["config"]["process"]["env"])
    return {value for name, value in variables if name == "NVIDIA_VISIBLE_DEVICES"}


def test_the_hook_is_called_with_the_state_of_the_tenants_container(visit: Visit) -> None:
    for each in visit.received:
        assert each.hook_call["arguments"] == ["prestart"]
        assert each.hook_call["state"]["pid"] == each.host_pids[0]


def test_driver_libraries_for_cuda_and_nvidia_smi_are_asked_for(visit: Visit) -> None:
    for each in visit.received:
        assert set(each.seen["environment"]["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}


def test_the_daemons_pipe_is_shared_under_mps_and_an_empty_folder_elsewhere(visit: Visit) -> None:
    under_mps = isinstance(visit.mode, Mps | MpsEqual | MpsPartitions | MigMps)
    assert (visit.pipe is not None) == under_mps
    for each in visit.received:
        if under_mps:
            assert each.seen["pipe"] == visit.pipe
        else:
            assert (each.seen["pipe"]["entries"], each.seen["pipe"]["write"]) == ([], "EROFS")
        assert not each.seen["default_pipe_exists"]


def test_limits_of_mps_are_there_where_the_mode_has_them_and_nowhere_else(visit: Visit) -> None:
    limits = LIMITS.get(visit.mode.label, ((None, None),) * len(visit.received))
    for each, (percentage, memory) in zip(visit.received, limits, strict=True):
        variables = {name: value for name, value in each.seen["environment"].items() if name.startswith("CUDA_")}
        assert variables.pop(PIPE_VARIABLE) == each.tenant.grant.environment[PIPE_VARIABLE]
        assert variables.pop("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", None) == percentage
        assert variables.pop("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", None) == memory
        part = each.tenant.grant.environment.get("CUDA_MPS_SM_PARTITION")
        assert variables.pop("CUDA_MPS_SM_PARTITION", None) == part
        assert (part is not None) == isinstance(visit.mode, MpsPartitions)
        assert variables == {}


def test_a_tenant_tries_its_memory_where_that_is_limited_and_nowhere_else(visit: Visit) -> None:
    for each in visit.received:
        limited = each.tenant.grant.memory_limit_mib is not None
        assert each.seen["environment"].get("BENCH_PROBE_MEMORY") == ("1" if limited else None)


def test_every_tenant_of_every_mode_has_the_runners_user_and_ipc(visit: Visit) -> None:
    for each in visit.received:
        assert each.seen["user"] == [os.getuid(), os.getgid()]
        assert each.seen["ipc"] == str(Path("/proc/self/ns/ipc").readlink())


def test_every_tenant_has_its_own_core_and_memory(visit: Visit) -> None:
    for number, each in enumerate(visit.received):
        assert each.seen["cpus"] == [_core(number)]
        assert each.seen["memory_bytes"] == MEMORY_BYTES


def test_no_tenant_has_a_network_or_a_right_or_a_writable_root(visit: Visit) -> None:
    for each in visit.received:
        assert each.seen["interfaces"] == ["lo"]
        assert {int(mask, 16) for mask in each.seen["capabilities"]} == {0}
        assert (each.seen["write_root"], each.seen["write_code"]) == ("EROFS", "EROFS")


def test_a_tenant_of_the_host_alone_is_given_no_gpu(
    engine: Engine, make_tenant: MakeTenant, look_around: str
) -> None:
    mix = Mix(name="solo", jobs=(Job(workload="resnet18-training"),))
    with entered(CpuShared(), Switch(cpu_device(), False, engine.switch.lock_fd)) as active:
        (grant,) = active.tenancy(mix)
    calls_before = len(engine.hook_calls())
    tenant = make_tenant(look_around, grant=grant)
    handle = engine.launcher.start(tenant)
    try:
        assert _written(tenant.folder / "seen.json")["visible_devices"] == ["void"]
        assert len(engine.hook_calls()) == calls_before
    finally:
        handle.remove()


def test_preflight_hands_the_gpu_to_a_container_and_leaves_none(engine: Engine, workload: Workload) -> None:
    calls_before = engine.hook_calls()
    DockerLauncher(engine.gpu.uuid).preflight([workload])
    (call,) = [call for call in engine.hook_calls() if call not in calls_before]
    assert _hook_devices(call) == {engine.gpu.uuid}
    assert engine.client.containers.list(all=True) == []


def test_a_gpu_that_the_driver_does_not_have_is_refused_before_anything_runs(
    engine: Engine, workload: Workload
) -> None:
    with pytest.raises(SetupError, match=r"unknown device.*nvidia-smi -L"):
        DockerLauncher("GPU-00000000-0000-0000-0000-000000000000").preflight([workload])


def test_an_instance_that_exists_no_more_fails_the_launch_and_leaves_no_container(
    engine: Engine, make_tenant: MakeTenant
) -> None:
    mix = Mix(name="solo", jobs=(Job(workload="resnet18-training"),))
    with entered(Mig(), engine.switch) as active:
        (gone,) = active.tenancy(mix)
    with pytest.raises(LaunchError, match=r"MIG-.*unknown device.*nvidia-smi -L"):
        engine.launcher.start(make_tenant("", grant=gone))
    assert engine.client.containers.list(all=True) == []
