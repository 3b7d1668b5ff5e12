"""The driver and each of its GPUs: what is there, what each can do, and who is on it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.doctor.finding import Finding, judged, refused
from bench.errors import BenchError
from bench.gpu.device import Device
from bench.gpu.lock import holder
from bench.gpu.smi import ComputeApp, NvidiaSmi
from bench.gpu.values import text_or_none
from bench.modes.availability import may_change, why_unavailable
from bench.modes.found import find
from bench.modes.journal import Journal
from bench.modes.observe import DeviceState, observe
from bench.plan.mode import MODE_ADAPTER, MODE_TYPES, AsFound, Mode

_FIELDS = ("compute_cap", "persistence_mode", "display_active")
_VOLTA = 7.0


@dataclass(frozen=True)
class Gpu:
    """One GPU that answers; None for what it does not tell."""

    uuid: str
    name: str
    memory_total_mib: int | None
    compute_capability: str | None
    display_active: str | None
    state: DeviceState
    modes: tuple[Finding, ...]
    persistence: Finding
    clock_lock: Finding
    last_run: Finding
    processes: tuple[ComputeApp, ...]


def every_mode() -> list[Mode]:
    """Return each mode of the closed union, bare."""
    return [MODE_ADAPTER.validate_python({"mode": name}) for name in MODE_TYPES]


def versions(environment: Mapping[str, str]) -> tuple[Finding, Finding]:
    """Ask the driver for its own version and for that of its CUDA."""
    try:
        told = NvidiaSmi(environment).versions()
    except BenchError as error:
        return refused("driver", error), refused("CUDA", error)
    return _version("driver", told.driver), _version("CUDA", told.cuda)


def examine(device: Device) -> Gpu:
    """Look at one GPU; raises DeviceError or SetupError if it does not answer."""
    smi = NvidiaSmi(device.tool_environment)
    told = {field: text_or_none(value) for field, value in smi.query_gpu(device.uuid, _FIELDS).items()}
    return Gpu(
        device.uuid,
        device.name,
        device.memory_total_mib,
        told["compute_cap"],
        told["display_active"],
        observe(device),
        modes_of(device),
        _persistence(device, told["persistence_mode"]),
        _clock_lock(device, told["compute_cap"]),
        _last_run(device),
        tuple(smi.compute_apps(device.uuid)),
    )


def modes_of(device: Device) -> tuple[Finding, ...]:
    """Tell of each mode whether a run on this device could enter it; a simulated GPU may always be reset."""
    why = why_unavailable(every_mode(), device, device.simulated)
    return tuple(_with_find(judged(mode.mode, why.get(mode.label)), device) for mode in every_mode())


def _with_find(mode: Finding, device: Device) -> Finding:
    """Add to as-found what it is that a run would take as it is."""
    if mode.name != AsFound().mode or not mode.available or Journal.read(device):
        return mode
    return replace(mode, detail=find(device).words)


def _version(name: str, version: str | None) -> Finding:
    if version:
        return Finding(name, available=True, detail=version)
    return Finding(name, available=False, reason="the driver does not tell its version", command="nvidia-smi -q")


def _persistence(device: Device, mode: str | None) -> Finding:
    if mode != "Disabled":
        return Finding("persistence mode", available=mode is not None, detail=mode)
    reason = "it is off: settings such as clock locks vanish whenever the last process leaves the GPU"
    return Finding("persistence mode", available=False, reason=reason, command=_smi_as_root(device, "-pm 1"))


def _clock_lock(device: Device, capability: str | None) -> Finding:
    """Tell whether `nvidia-smi -lgc` can be expected to work; the driver offers no way to ask."""
    name = "clock lock"
    if capability is None or float(capability) < _VOLTA:
        return Finding(name, available=False, reason="clocks can be locked on Volta and newer only")
    if not may_change(device):
        lock = _smi_as_root(device, "-lgc MHZ,MHZ")
        return Finding(name, available=False, reason="only root may lock clocks", command=lock)
    return Finding(name, available=True, detail="you may; a lock cannot be read back, only seen under load")


def _smi_as_root(device: Device, option: str) -> str:
    return f"sudo nvidia-smi -i {device.uuid} {option}"


def _last_run(device: Device) -> Finding:
    """Tell whether a run is at work, or was killed in a mode."""
    name = "last run"
    try:
        journal = Journal.read(device)
        runner = holder(device) if journal else None
    except BenchError as error:
        return refused(name, error)
    if journal is None:
        return Finding(name, available=True, detail="nothing left behind")
    if runner:
        return Finding(name, available=False, reason=f"the GPU is in mode {journal.mode}, held by {runner}")
    restore = f"python -m bench mode restore --device {device.selector}"
    return Finding(name, available=False, reason=f"a killed run left mode {journal.mode}", command=restore)
