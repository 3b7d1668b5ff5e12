"""What a run is measured on."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Device:
    """One GPU (real or simulated), or the host's cores; what a reader must know to repeat a run.

    `environment` holds what the driver's tools need to find this device (the simulated one has stand-in tools
    in front of PATH); it is not part of the device's identity. `uuid` and all else are the whole GPU's, even where
    only a MIG device of it was given to us.
    """

    kind: Literal["gpu", "cpu"]
    simulated: bool
    name: str
    uuid: str
    selector: str  # what --device takes to find this very device again
    memory_total_mib: int | None
    driver_version: str | None
    vbios_version: str | None
    environment: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    mig_uuid: str | None = None  # the one MIG device of the GPU that we may use; None: no such limit

    @property
    def state_folder(self) -> Path:
        """The folder for what must outlive a run on this device: lock, journal, simulated driver state."""
        return state_root() / (self.mig_uuid or self.uuid).replace("/", "-")  # drivers before R470: MIG-GPU-…/1/0

    @property
    def tool_environment(self) -> dict[str, str]:
        """Environment for the driver's tools and the shell helpers."""
        return {**os.environ, **self.environment}


def state_root() -> Path:
    """Return `$BENCH_STATE_DIR`, or a folder under /var/tmp that all users of the host share."""
    root = os.environ.get("BENCH_STATE_DIR")
    return Path(root or "/var/tmp/gpu-sharing-bench")
