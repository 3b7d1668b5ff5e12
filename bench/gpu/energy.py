"""The GPU's own energy counter, from NVML (`nvidia-ml-py`); `nvidia-smi` does not print it."""

import contextlib
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any

from bench.errors import DeviceError


class EnergyCounter:
    """The energy that one GPU has used since its driver was loaded, as a context manager.

    It never raises: where there is no counter (before Volta, no NVML library, no permission) `read_j` returns None
    and `reason` says why. The counter follows the power sensor's update, about 100 ms on Ampere and later.
    """

    def __init__(self, uuid: str) -> None:
        self.reason: str | None = None
        self._handle: Any = None
        self._nvml: ModuleType | None = None
        try:
            self._nvml, self._handle = _opened(uuid)
        except DeviceError as refused:
            self.reason = str(refused)
        self.read_j()

    def read_j(self) -> float | None:
        """Return the counter in joules, or None if it cannot be read; `reason` then holds NVML's words."""
        if self._nvml is None:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except self._nvml.NVMLError as refused:
            self.reason = f"energy counter: {refused}"
            return None

    def __enter__(self) -> "EnergyCounter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None


def _opened(uuid: str) -> tuple[ModuleType, Any]:
    """Load NVML, which counts its users, and find the GPU; raise DeviceError with NVML's words if it refuses."""
    try:
        pynvml = import_module("pynvml")  # here, because no machine without a GPU should pay for it
    except ImportError as missing:
        raise DeviceError("energy counter: the Python package nvidia-ml-py is not installed") from missing
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as refused:
        raise DeviceError(f"energy counter: {refused}") from refused
    try:
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError as refused:
        pynvml.nvmlShutdown()
        raise DeviceError(f"energy counter: {refused}") from refused
