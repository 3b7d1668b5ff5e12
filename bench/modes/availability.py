"""Which modes a device can enter at all, told before anything is touched; the run's refusal and doctor ask here.

What is judged is the device as it will be once the traces of a killed run are undone: so far as its journal goes.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from bench.errors import ModeUnavailable, SetupError
from bench.gpu.device import Device
from bench.gpu.inventory import nvidia_present
from bench.gpu.mps import MPS_TOOL
from bench.gpu.smi import ComputeApp, NvidiaSmi
from bench.gpu.values import text_or_none
from bench.modes.entering import refuse_part
from bench.modes.found import find
from bench.modes.journal import Journal
from bench.modes.mps import too_much_memory
from bench.modes.observe import DeviceState, observe
from bench.modes.proof import MPS_SERVER
from bench.plan.mode import (
    AsFound,
    CpuShared,
    Exclusive,
    Mig,
    MigMps,
    Mode,
    Mps,
    MpsEqual,
    MpsPartitions,
    SwitchingMode,
    TimeSlicing,
)

_MAY_CUT = Path("/dev/nvidia-caps/nvidia-cap1")  # who may read it may create MIG instances: `mig/config`
_VOLTA, _AMPERE, _HOPPER = 7.0, 8.0, 9.0  # compute capabilities
_PARTITIONS_SINCE = 590  # the driver branch with static SM partitions


@dataclass(frozen=True)
class Unavailable:
    """Why a mode cannot be entered, and the command that would change it; None where nothing would."""

    reason: str
    command: str | None = None

    def __str__(self) -> str:
        return self.reason if self.command is None else f"{self.reason}\nnext: {self.command}"


ON_THE_CPU = Unavailable(
    "cpu-shared shares the host's cores; it is measured with --device cpu",
    "python run_experiments.py --device cpu",
)


def why_unavailable(modes: Iterable[Mode], device: Device, allow_reset: bool) -> dict[str, Unavailable]:
    """Return, by label, each mode that this device cannot enter, with the reason and what would change it.

    Asks the device once for all modes; raises DeviceError or SetupError if it does not answer.
    """
    if device.kind == "cpu":
        found = {mode.label: _why_not_on_cpu(mode) for mode in modes}
    else:
        found = _on_gpu(tuple(modes), device, allow_reset)
    return {label: why for label, why in found.items() if why}


def _on_gpu(modes: tuple[Mode, ...], device: Device, allow_reset: bool) -> dict[str, Unavailable | None]:
    """Judge as-found by what is there. A user who may not look at the whole GPU may not switch it either."""
    found = {mode.label: _why_not_as_found(device) for mode in modes if isinstance(mode, AsFound)}
    switching = [mode for mode in modes if not isinstance(mode, AsFound)]
    try:
        refuse_part(device)
        gpu = _look_at(device, allow_reset) if switching else None
    except SetupError as refused:
        if not found and not isinstance(refused, ModeUnavailable):
            raise
        why = Unavailable(" ".join(refused.wrong.split()), refused.command)
        return {mode.label: why for mode in switching} | found
    return {mode.label: _why_not(mode, gpu) for mode in switching if gpu} | found


def _why_not_as_found(device: Device) -> Unavailable | None:
    if Journal.read(device):
        return None  # a run first puts back what a killed one left, and then looks what there is
    try:
        find(device)
    except ModeUnavailable as refused:
        return Unavailable(" ".join(refused.wrong.split()), refused.command)
    return None


def may_change(device: Device) -> bool:
    """Tell whether we may change compute mode, MIG mode and clocks: a simulated GPU lets everybody."""
    return device.simulated or os.geteuid() == 0


@dataclass(frozen=True)
class _Gpu:
    """What the answers hang on."""

    device: Device
    state: DeviceState
    apps: tuple[ComputeApp, ...]
    compute_capability: float | None
    persistence: str | None
    driver_version: str | None
    allow_reset: bool

    @property
    def is_ampere(self) -> bool:
        return _AMPERE <= (self.compute_capability or 0) < _HOPPER

    @property
    def sudo(self) -> str:
        return "" if may_change(self.device) else "sudo "

    def helper(self, name: str, *options: str) -> str:
        """Return the command line of a shell helper for this GPU."""
        return " ".join([f"{self.sudo}gpu_configs/{name}.sh --gpu {self.device.uuid}", *options])


def _look_at(device: Device, allow_reset: bool) -> _Gpu:
    smi = NvidiaSmi(device.tool_environment)
    seen = smi.query_gpu(device.uuid, ["compute_cap", "driver_version", "persistence_mode"])
    capability = text_or_none(seen["compute_cap"])
    journal = Journal.read(device)
    return _Gpu(
        device,
        journal.before if journal else observe(device),
        () if journal else tuple(smi.compute_apps(device.uuid)),
        float(capability) if capability else None,
        text_or_none(seen["persistence_mode"]),
        text_or_none(seen["driver_version"]),
        allow_reset,
    )


def _why_not_on_cpu(mode: Mode) -> Unavailable | None:
    if isinstance(mode, Exclusive | CpuShared):
        return None
    here = "cuda" if nvidia_present(os.environ) else "simulated"
    return Unavailable(
        "it needs an NVIDIA GPU; on --device cpu jobs share by cpu-shared",
        f"python run_experiments.py --mode {mode.mode} --device {here}",
    )


def _why_not(mode: SwitchingMode, gpu: _Gpu) -> Unavailable | None:
    match mode:
        case Exclusive():
            return _stays_divided(gpu) or _served_by_mps(gpu)
        case TimeSlicing():
            return _stays_divided(gpu) or _served_by_mps(gpu) or _without_policy(mode, gpu)
        case Mps():
            return _beyond_mps(mode, gpu) or _without_mps(gpu) or _stays_divided(gpu)
        case MpsEqual():
            return _without_percentages(gpu) or _without_mps(gpu) or _stays_divided(gpu)
        case MpsPartitions():
            return _without_partitions(gpu) or _without_mps(gpu) or _stays_divided(gpu)
        case Mig():
            return _without_instances(gpu, mode)
        case MigMps():
            return _without_mps(gpu) or _without_instances(gpu, mode)
        case CpuShared():
            return ON_THE_CPU
        case _:
            assert_never(mode)


def _stays_divided(gpu: _Gpu) -> Unavailable | None:
    """Tell what keeps the GPU from being a whole one that every process may use."""
    off = gpu.helper("disable_mig", *(["--allow-reset"] if gpu.is_ampere else []))
    if gpu.state.instances:
        return _cut_by_others(gpu, *(["--allow-reset"] if gpu.is_ampere else []))
    if gpu.state.mig_mode == "Enabled" and (why := _mig_stays(gpu, "off", off)):
        return why
    if not gpu.state.is_whole and not may_change(gpu.device):
        reason = f"compute mode is {gpu.state.compute_mode}, and only root may set it to Default"
        return Unavailable(reason, gpu.helper("setup_time_slicing"))
    return None


def _served_by_mps(gpu: _Gpu) -> Unavailable | None:
    servers = [app.pid for app in gpu.apps if (app.process_name or "").endswith(MPS_SERVER)]
    if not servers:
        return None
    return Unavailable(
        f"an MPS server that this tool did not start (process {servers[0]}) would make clients of the jobs; "
        "stop its daemon, with the CUDA_MPS_PIPE_DIRECTORY that it was started with",
        f"echo quit | {gpu.sudo}{MPS_TOOL}",
    )


def _without_policy(mode: TimeSlicing, gpu: _Gpu) -> Unavailable | None:
    if mode.time_slice is None:
        return None
    if not may_change(gpu.device):
        run = f"run_experiments.py --mode time-slicing --device {gpu.device.selector}"
        return Unavailable("only root may set a time-slice policy", f"sudo {sys.executable} {run}")
    if gpu.persistence == "Disabled":
        reason = "without persistence mode the driver forgets a time-slice policy when its last process ends"
        return Unavailable(reason, f"nvidia-smi -i {gpu.device.uuid} -pm 1")
    return None


def _beyond_mps(mode: Mps, gpu: _Gpu) -> Unavailable | None:
    """Tell which limits the device cannot keep; one value for every job is judged again for each mix."""
    jobs = len(mode.memory_limit_gib) if isinstance(mode.memory_limit_gib, tuple) else 1
    if why := too_much_memory(mode, gpu.device, jobs):
        return Unavailable(why)
    return None if mode.active_thread_percentage is None else _without_percentages(gpu)


def _without_mps(gpu: _Gpu) -> Unavailable | None:
    if shutil.which(MPS_TOOL, path=gpu.device.tool_environment.get("PATH", os.defpath)):
        return None
    major = (gpu.driver_version or "VERSION").split(".")[0]
    return Unavailable(
        f"{MPS_TOOL} is not on PATH; it comes with the driver, sometimes in a package of its own",
        f"sudo apt-get install nvidia-compute-utils-{major}  # on Debian: nvidia-cuda-mps",
    )


def _without_percentages(gpu: _Gpu) -> Unavailable | None:
    if (gpu.compute_capability or _VOLTA) >= _VOLTA:
        return None
    return Unavailable(f"{gpu.device.name} is older than Volta: its MPS has no thread percentages")


def _without_partitions(gpu: _Gpu) -> Unavailable | None:
    if (gpu.compute_capability or _AMPERE) < _AMPERE:
        return Unavailable(f"{gpu.device.name} is older than Ampere: its MPS has no static SM partitions")
    version = gpu.driver_version or ""
    if not version or int(version.split(".")[0]) >= _PARTITIONS_SINCE:
        return None
    return Unavailable(
        f"static SM partitions need driver R{_PARTITIONS_SINCE} or newer; this is {version}",
        f"sudo apt-get install nvidia-driver-{_PARTITIONS_SINCE}  # or a newer one, then reboot",
    )


def _without_instances(gpu: _Gpu, mode: Mig | MigMps) -> Unavailable | None:
    return _without_mig(gpu) or _cut_by_others(gpu, "--keep-mode") or _cannot_be_cut(gpu, mode)


def _without_mig(gpu: _Gpu) -> Unavailable | None:
    if gpu.state.mig_mode is not None:
        return None
    return Unavailable(
        f"{gpu.device.name} has no MIG; choose time-slicing or mps",
        f"python run_experiments.py --mode mps --device {gpu.device.selector}",
    )


def _cut_by_others(gpu: _Gpu, *options: str) -> Unavailable | None:
    if not gpu.state.instances:
        return None
    names = "+".join(profile for profile, _, _ in gpu.state.instances)
    reason = f"the GPU holds MIG instances that this tool did not make ({names})"
    return Unavailable(reason, gpu.helper("disable_mig", *options))


def _cannot_be_cut(gpu: _Gpu, mode: Mig | MigMps) -> Unavailable | None:
    run = f"run_experiments.py --mode {mode.mode} --device {gpu.device.selector}"
    run += " --allow-reset" if gpu.is_ampere and gpu.state.mig_mode != "Enabled" else ""
    command = f"python {run}" if may_change(gpu.device) else f"sudo {sys.executable} {run}"
    if gpu.state.mig_mode != "Enabled":
        return _mig_stays(gpu, "on", command)
    if may_change(gpu.device) or os.access(_MAY_CUT, os.R_OK):
        return None
    return Unavailable("only root may create MIG instances", command)


def _mig_stays(gpu: _Gpu, wanted: str, command: str) -> Unavailable | None:
    """Tell what keeps MIG mode from being switched; `command` is what would switch it."""
    if gpu.is_ampere and not gpu.allow_reset:
        reason = (
            f"turning MIG {wanted} resets an Ampere GPU; allow it with --allow-reset when nothing else uses it"
        )
        return Unavailable(reason, command)
    if not may_change(gpu.device):
        return Unavailable(f"only root may turn MIG {wanted}", command)
    if gpu.apps:
        users = ", ".join(f"{app.pid} ({app.process_name or 'name unknown'})" for app in gpu.apps)
        pids = ",".join(str(app.pid) for app in gpu.apps)
        reason = f"MIG is turned {wanted} only while nothing uses the GPU; end these processes first: {users}"
        return Unavailable(reason, f"ps -o user,pid,lstart,args -p {pids}")
    return None
