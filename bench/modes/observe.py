"""The state of the device as the driver tells it: what modes change, and what must be put back."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bench.gpu.device import Device
from bench.gpu.mig_tables import MigInstance
from bench.gpu.smi import NvidiaSmi
from bench.gpu.values import int_or_none, text_or_none

Instance = tuple[str, int, int]
"""A MIG instance as the device lists it: profile, id, first slice."""

_MODES = ("compute_mode", "mig.mode.current", "mig.mode.pending")
_ACTIVITY = ("memory.used", "utilization.gpu")


@dataclass(frozen=True)
class DeviceState:
    """What can be read back. `mig_mode` is None on a board without MIG; instances are (profile, id, start)."""

    compute_mode: str | None
    mig_mode: str | None
    mig_pending: str | None
    instances: tuple[Instance, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every process may use the whole GPU: no MIG, compute mode Default."""
        return self.compute_mode == "Default" and self.mig_mode in (None, "Disabled")

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "DeviceState":
        """Rebuild the state from its JSON form."""
        instances = tuple((str(name), int(number), int(start)) for name, number, start in record["instances"])
        return cls(**{**record, "instances": instances})


def observe(device: Device) -> DeviceState:
    """Ask the device; raises DeviceError where it cannot tell. Not-so is a value, cannot-tell is an error."""
    return observe_activity(device)[0]


def observe_activity(device: Device, likely_cut: bool = False) -> tuple[DeviceState, int | None, int | None]:
    """Ask as `observe` does, and for memory in use (MiB) and utilisation (%), in the same query.

    Instances are listed once MIG mode is known to be on; where it is likely to be, meanwhile.
    """
    smi = NvidiaSmi(device.tool_environment)
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(smi.mig_instances, device.uuid) if likely_cut else None
        seen = smi.query_gpu(device.uuid, (*_MODES, *_ACTIVITY))
    compute_mode, mig_mode, mig_pending = (text_or_none(seen[field]) for field in _MODES)
    used_mib, utilization_pct = (int_or_none(seen[field]) for field in _ACTIVITY)
    cut: list[MigInstance] = []
    if mig_mode == "Enabled":
        cut = listing.result() if listing else smi.mig_instances(device.uuid)
    instances = tuple((instance.profile, instance.instance_id, instance.start) for instance in cut)
    return DeviceState(compute_mode, mig_mode, mig_pending, instances), used_mib, utilization_pct
