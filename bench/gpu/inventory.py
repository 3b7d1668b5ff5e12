"""Which devices this host has, and what identifies the one that is measured."""

import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.errors import SetupError
from bench.gpu.device import Device
from bench.gpu.smi import GpuSummary, NvidiaSmi
from bench.gpu.values import Absent, Value

_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"  # PCI base class: VGA 0x0300, 3D controller 0x0302
FINGERPRINT_FIELDS = (
    "name",
    "uuid",
    "driver_version",
    "vbios_version",
    "memory.total",
    "power.limit",
    "power.default_limit",
    "enforced.power.limit",
    "clocks.max.sm",
    "clocks.max.memory",
    "ecc.mode.current",
    "persistence_mode",
    "compute_mode",
    "mig.mode.current",
)
_UNITS = {"memory.total": "_mib", "clocks.max.sm": "_mhz", "clocks.max.memory": "_mhz"} | dict.fromkeys(
    ("power.limit", "power.default_limit", "enforced.power.limit"), "_w"
)


def nvidia_present(environment: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Tell whether this host has anything of NVIDIA's: a GPU on the PCI bus, a device node, or the tool.

    A GPU with a broken driver is present, too: it deserves an error and never a simulation.
    """
    cards = (root / "sys/bus/pci/devices").glob("*")
    nodes = (root / "dev").glob("nvidia*")
    return any(map(_is_nvidia_gpu, cards)) or any(nodes) or _which_smi(environment) is not None


def find_gpu(selector: str | None, environment: Mapping[str, str]) -> Device:
    """Return the GPU with this index, UUID or beginning of a UUID; without a selector, the first one.

    The first one is the first of CUDA_VISIBLE_DEVICES where a scheduler has set it. A MIG device's UUID finds its
    GPU, of which then only that part is ours. Raises SetupError if there is no driver, no GPU, or none that fits,
    with the list of those present.
    """
    selector = selector or environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    if selector.startswith("MIG-"):
        return _part_of_gpu(selector, environment)
    present = NvidiaSmi(environment).gpus()
    fitting = [gpu for gpu in present if _fits(gpu, selector)]
    if len(fitting) != 1:
        raise _no_such_gpu(selector, present)
    return device_of(fitting[0])


def device_of(gpu: GpuSummary) -> Device:
    """Return one of the GPUs that answered as a device."""
    return Device(
        kind="gpu",
        simulated=False,
        name=gpu.name,
        uuid=gpu.uuid,
        selector=f"cuda:{gpu.uuid}",
        memory_total_mib=gpu.memory_total_mib,
        driver_version=gpu.driver_version,
        vbios_version=gpu.vbios_version,
    )


def cpu_device() -> Device:
    """Return the host's cores as a device; its memory is the host's."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return Device(
        kind="cpu",
        simulated=False,
        name=_processor_name(),
        uuid="cpu",
        selector="cpu",
        memory_total_mib=memory_mib,
        driver_version=None,
        vbios_version=None,
    )


def fingerprint(device: Device) -> dict[str, Value | None]:
    """Return what identifies the set-up, with units in the keys; None for what the device does not tell.

    A GPU is asked in one query, so that what a person has changed since the last block (power limit, ECC,
    persistence, compute mode) shows. Raises DeviceError or SetupError if it does not answer.
    """
    if device.kind == "cpu":
        return {"name": device.name, "cores": os.cpu_count(), "memory_total_mib": device.memory_total_mib}
    values = NvidiaSmi(device.tool_environment).query_gpu(device.uuid, FINGERPRINT_FIELDS)
    return {
        field.replace(".", "_") + _UNITS.get(field, ""): None if isinstance(value, Absent) else value
        for field, value in values.items()
    }


def _is_nvidia_gpu(card: Path) -> bool:
    try:
        vendor, kind = (card / "vendor").read_text(), (card / "class").read_text()
    except OSError:
        return False
    return vendor.strip() == _NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASS)


def _which_smi(environment: Mapping[str, str]) -> str | None:
    return shutil.which("nvidia-smi", path=environment.get("PATH", os.defpath))


def _fits(gpu: GpuSummary, selector: str) -> bool:
    return selector == str(gpu.index) or (selector.startswith("GPU-") and gpu.uuid.startswith(selector))


def _part_of_gpu(selector: str, environment: Mapping[str, str]) -> Device:
    """Return the GPU of a MIG device, limited to that device; raises SetupError if no single one fits."""
    smi = NvidiaSmi(environment)
    present = smi.mig_devices()
    fitting = [mig for mig in present if mig.uuid.startswith(selector)]
    parents = {gpu.uuid: gpu for gpu in smi.gpus()}
    if len(fitting) != 1 or fitting[0].gpu_uuid not in parents:
        rows = "\n".join(f"  {mig.uuid}  {mig.profile} of {mig.gpu_uuid}" for mig in present) or "  none"
        raise SetupError(
            f"`{selector}` names no single MIG device here; these are present:\n{rows}\n"
            "next: --device cuda:UUID with one of them; `nvidia-smi -L` lists them, too"
        )
    mig_uuid = fitting[0].uuid
    return replace(device_of(parents[fitting[0].gpu_uuid]), selector=f"cuda:{mig_uuid}", mig_uuid=mig_uuid)


def _no_such_gpu(selector: str, present: list[GpuSummary]) -> SetupError:
    rows = "\n".join(f"  {gpu.index}  {gpu.uuid}  {gpu.name}" for gpu in present) or "  none that answers"
    return SetupError(
        f"`{selector}` names no single GPU of this host; these are present:\n{rows}\n"
        "next: --device cuda:INDEX or --device cuda:UUID with one of them"
    )


def _processor_name() -> str:
    """Return the processor's name from Linux; its architecture where Linux gives no name, as on ARM."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()
