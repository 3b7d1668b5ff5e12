"""Everything that doctor tells, gathered without changing anything."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.doctor.finding import Finding, judged, refused
from bench.doctor.graphics import Gpu, every_mode, examine, modes_of, versions
from bench.doctor.host import Host, host
from bench.doctor.launchers import Launchers, launchers
from bench.errors import BenchError
from bench.gpu.device import Device
from bench.gpu.holders import Holder, holders
from bench.gpu.inventory import cpu_device, device_of, nvidia_present
from bench.gpu.mps import MPS_TOOL
from bench.gpu.smi import NvidiaSmi
from bench.modes.availability import ON_THE_CPU
from bench.plan.mode import CpuShared
from bench.rig import find_device

SCHEMA_VERSION = 1
_NO_GPU = "this host has no NVIDIA GPU: none on the PCI bus, no /dev/nvidia*, no nvidia-smi"
_LOOK_AROUND = "python run_experiments.py --mode mps --device simulated"


@dataclass(frozen=True)
class Diagnosis:
    """What a run would find here. `device` is the one it would take, None where the driver does not answer."""

    device: Device | None
    modes: tuple[Finding, ...]
    driver: Finding
    cuda: Finding
    mps_tool: Finding
    gpus: tuple[Gpu, ...]
    lost: tuple[str, ...]  # what the driver says of GPUs that do not answer
    holders: tuple[Holder, ...]
    launchers: Launchers
    host: Host

    @property
    def next_command(self) -> str:
        """The first thing to do: mend what stands in the way, else measure."""
        return _next_command(self)

    def as_document(self) -> dict[str, Any]:
        """Return plain values for JSON; new keys may come, those that are there keep their meaning."""
        device = self.device
        return {
            "schema_version": SCHEMA_VERSION,
            "device": device and {"name": device.name, "selector": device.selector, "simulated": device.simulated},
            "modes": [asdict(mode) for mode in self.modes],
            "driver": asdict(self.driver),
            "cuda": asdict(self.cuda),
            "mps_tool": asdict(self.mps_tool),
            "gpus": [asdict(gpu) for gpu in self.gpus],
            "lost_gpus": list(self.lost),
            "holders": [asdict(holder) for holder in self.holders],
            **asdict(self.launchers),
            "host": asdict(self.host),
            "next_command": self.next_command,
        }


def diagnose(request: str) -> Diagnosis:
    """Look at the device that `--device` names; raises SetupError where it names none of those that are there.

    A driver that does not answer is a finding and no error.
    """
    real = request.partition(":")[0] in ("auto", "cuda")
    device = None if real else find_device(request)
    simulated = device is not None and device.simulated
    environment = device.tool_environment if device else dict(os.environ)
    if not simulated and not nvidia_present(environment):
        return _without_gpu(cpu_device())
    try:
        present, lost = NvidiaSmi(environment).census()
    except BenchError as error:
        return _broken(device, refused("driver", error))
    driver, cuda = versions(environment)
    gpus = [device] if simulated and device else [device_of(gpu) for gpu in present]
    device = device or find_device(request)
    gpus = [device if gpu.uuid == device.uuid else gpu for gpu in gpus]  # of which perhaps only a part is ours
    examined, failed = _examined(gpus)
    own = next((gpu.modes for gpu in examined if gpu.uuid == device.uuid), None) or _modes(device)
    return Diagnosis(
        device, own, driver, cuda, _mps_tool(environment), tuple(examined), (*lost, *failed),
        () if simulated else tuple(holders()), launchers(), host(device),
    )  # fmt: skip


def _modes(device: Device) -> tuple[Finding, ...]:
    """Tell of each mode; on a device that does not answer there is none, for that one reason."""
    try:
        return modes_of(device)
    except BenchError as error:
        return _no_modes(refused("driver", error))


def _no_modes(fault: Finding) -> tuple[Finding, ...]:
    elsewhere = judged(CpuShared().mode, ON_THE_CPU)
    names = (mode.mode for mode in every_mode() if mode.mode != elsewhere.name)
    return (*(replace(fault, name=name) for name in names), elsewhere)


def _examined(gpus: Sequence[Device]) -> tuple[list[Gpu], list[str]]:
    """Examine each GPU; one that fails meanwhile is told among the lost."""
    examined, failed = [], []
    for gpu in gpus:
        try:
            examined.append(examine(gpu))
        except BenchError as error:
            failed.append(f"{gpu.uuid}: {error.wrong}")
    return examined, failed


def _without_gpu(device: Device) -> Diagnosis:
    """Describe a host that has nothing of NVIDIA's: jobs can only be measured on its cores, or simulated."""
    driver = Finding("driver", available=False, reason=_NO_GPU, command=_LOOK_AROUND)
    cuda = Finding("CUDA", available=False, reason="it comes with the driver", command=_LOOK_AROUND)
    tool = _mps_tool(os.environ)
    return Diagnosis(device, modes_of(device), driver, cuda, tool, (), (), (), launchers(), host(device))


def _broken(device: Device | None, driver: Finding) -> Diagnosis:
    """Describe a host whose driver does not answer: no GPU mode, for that one reason."""
    fault = Finding("CUDA", available=False, reason="the driver does not answer", command=driver.command)
    modes = _modes(device) if device else _no_modes(driver)
    held = tuple(holders())
    return Diagnosis(
        device, modes, driver, fault, _mps_tool(os.environ), (), (), held, launchers(), host(device)
    )  # fmt: skip


def _mps_tool(environment: Mapping[str, str]) -> Finding:
    path = shutil.which(MPS_TOOL, path=environment.get("PATH", os.defpath))
    if path:
        return Finding("MPS tool", available=True, detail=path)
    return Finding("MPS tool", available=False, reason=f"{MPS_TOOL} is not on PATH; it comes with the driver")


def _next_command(told: Diagnosis) -> str:
    left = next((gpu.last_run.command for gpu in told.gpus if gpu.last_run.command), None)
    device = told.device
    if device is None:
        return left or told.driver.command or "nvidia-smi -q"
    if left or device.simulated:
        return left or f"python run_experiments.py --mode {_everything(told)} --device {device.selector}"
    mending = _mending(told.launchers)
    if device.kind == "cpu":
        return _LOOK_AROUND if mending else "python run_experiments.py --plan smoke --device cpu"
    return mending or f"python run_experiments.py --mode {_everything(told)} --device {device.selector}"


def _everything(told: Diagnosis) -> str:
    """Return the word for `--mode` that measures all there is to measure here: on a cluster, what was given."""
    available = [mode.name for mode in told.modes if mode.available]
    return "as-found" if available == ["as-found"] else "all"


def _mending(ways: Launchers) -> str | None:
    """Return what makes jobs startable; None where they are."""
    if ways.docker_ready or ways.process_ready:
        return None
    lacking = (*ways.images,) if ways.engine.available else (*ways.packages,)
    return next((each.command for each in lacking if each.command), None)
