"""Which modes a device can enter at all, told before anything is touched."""

from bench.gpu.device import Device
from bench.gpu.smi import NvidiaSmi
from bench.gpu.values import text_or_none
from bench.plan.mode import CpuShared, Exclusive, Mig, Mode


def why_unavailable(mode: Mode, device: Device, allow_reset: bool) -> str | None:
    """Return why this device cannot enter this mode and what would change that, or None if it can."""
    if isinstance(mode, Exclusive):
        return None
    if device.kind == "cpu":
        shared = isinstance(mode, CpuShared)
        return None if shared else f"{mode.label} needs an NVIDIA GPU; on --device cpu jobs share by cpu-shared"
    if isinstance(mode, CpuShared):
        return "cpu-shared shares the host's cores; it is measured with --device cpu"
    return _why_no_mig(device, allow_reset) if isinstance(mode, Mig) else None


def _why_no_mig(device: Device, allow_reset: bool) -> str | None:
    seen = NvidiaSmi(device.tool_environment).query_gpu(device.uuid, ("mig.mode.current", "compute_cap"))
    mig_mode, compute_capability = (text_or_none(seen[field]) for field in ("mig.mode.current", "compute_cap"))
    if mig_mode is None:
        return f"{device.name} has no MIG"
    is_ampere = str(compute_capability).startswith("8.")
    if is_ampere and mig_mode != "Enabled" and not allow_reset:
        return "turning MIG on resets an Ampere GPU; allow it with --allow-reset when nothing else uses the GPU"
    return None
