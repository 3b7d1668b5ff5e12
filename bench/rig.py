"""What a run is conducted on: a device, a way to launch jobs on it, a way to watch it, and a clock.

The only room that knows both the real world and the simulated one.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from bench.clock import Clock, SystemClock
from bench.errors import SetupError
from bench.gpu.device import Device
from bench.gpu.inventory import cpu_device, find_gpu, fingerprint, nvidia_present
from bench.gpu.lock import held
from bench.launch.contract import Launcher
from bench.launch.process import ProcessLauncher
from bench.modes.entering import recover
from bench.modes.switch import Switch
from bench.plan.catalog import Workload
from bench.telemetry.contract import Sampler
from bench.telemetry.nothing import NoSampler
from bench.telemetry.nvidia import NvidiaSampler

DEVICE_KINDS = ("auto", "cuda", "cpu", "simulated")


@dataclass(frozen=True)
class Rig:
    """Everything outside the plan that a run needs."""

    device: Device
    launcher: Launcher
    sampler: Sampler
    clock: Clock
    switch: Switch
    description: Mapping[str, Any] = field(default_factory=dict)  # what identifies the set-up, for every record
    left_behind: str | None = (
        None  # the mode in which a killed run had left the device, until this one put it back
    )


def find_device(request: str) -> Device:
    """Return the device of `--device auto|cuda[:INDEX_OR_UUID]|cpu|simulated[:MODEL]`; a MIG UUID will do, too.

    `auto` simulates only where there is no NVIDIA device at all; a broken driver is an error.
    """
    kind, _, which = request.partition(":")
    if kind == "auto" and not which:
        kind = "cuda" if nvidia_present(os.environ) else "simulated"
    match kind:
        case "cuda":
            return find_gpu(which or None, os.environ)
        case "cpu" if not which:
            return cpu_device()
        case "simulated":
            from bench.simulator.machine import simulated_device  # noqa: PLC0415 - only a simulated run needs it

            return simulated_device(which or None)
    near = get_close_matches(kind, DEVICE_KINDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != kind else ""
    raise SetupError(f"--device {request}: {hint}use auto, cpu, cuda[:INDEX_OR_UUID] or simulated[:MODEL]")


@contextmanager
def reserved(device: Device, launcher: str, allow_reset: bool, workloads: list[Workload]) -> Iterator[Rig]:
    """Hold the device's lock, put back what a killed run left, and build the rig.

    Raises SetupError where something must be mended first, RestoreError where the device cannot be put back.
    """
    with held(device) as lock, _with_tools(device) as ready:
        switch = Switch(ready, allow_reset or device.simulated, lock.fd)
        rig = _simulated_rig(switch, launcher) if device.simulated else _real_rig(switch, launcher, workloads)
        rig.launcher.preflight(workloads)
        rig.launcher.clean_up()  # before the device: nothing can be put back under a job that still runs
        journal = recover(switch) if device.kind == "gpu" else None
        yield replace(rig, left_behind=journal.mode if journal else None, description=_describe(rig))


def _with_tools(device: Device) -> AbstractContextManager[Device]:
    """Return the device with its tools at hand; those of a simulated one are served as long as this lasts."""
    if not device.simulated:
        return nullcontext(device)
    from bench.simulator.machine import served  # noqa: PLC0415 - only a simulated run needs it

    return served(device)


def _simulated_rig(switch: Switch, launcher: str) -> Rig:
    from bench.simulator.boards import validation  # noqa: PLC0415 - only a simulated run needs these
    from bench.simulator.launcher import SimulatedLauncher  # noqa: PLC0415
    from bench.simulator.machine import board_of, model_of  # noqa: PLC0415
    from bench.simulator.sampler import SimulatedSampler  # noqa: PLC0415

    if launcher != "auto":
        raise SetupError(f"--launcher {launcher}: a simulated device launches simulated jobs only; leave it out")
    board = board_of(switch.device)
    model = model_of(switch.device)
    simulation = {"model": model, "model_validation": validation(model)}
    return Rig(switch.device, SimulatedLauncher(board), SimulatedSampler(board), board.clock, switch, simulation)


def _real_rig(switch: Switch, launcher: str, workloads: list[Workload]) -> Rig:
    clock = SystemClock()
    device = switch.device
    sampler: Sampler = NvidiaSampler(device, clock)
    if device.kind == "cpu":
        sampler = NoSampler("the host's cores have no NVIDIA telemetry")
    return Rig(device, _launcher(launcher, workloads, device), sampler, clock, switch)


def _launcher(request: str, workloads: list[Workload], device: Device) -> Launcher:
    """Return the launcher; `auto` takes containers where an engine and the images are there, else processes."""
    if request == "process":
        return ProcessLauncher()
    from bench.launch.docker import DockerLauncher, why_not_docker  # noqa: PLC0415 - imports docker

    gpu = (device.mig_uuid or device.uuid) if device.kind == "gpu" else None
    if request == "docker" or why_not_docker(workloads, gpu) is None:
        return DockerLauncher(gpu)
    return ProcessLauncher()


def _describe(rig: Rig) -> dict[str, Any]:
    device = rig.device
    part = {"mig_uuid": device.mig_uuid} if device.mig_uuid else {}
    return {"kind": device.kind, "simulated": device.simulated, **fingerprint(device), **part, **rig.description}
