"""The device a torch workload runs on: what it is, its precision, its memory."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
import platform
import resource
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.job import Job

if TYPE_CHECKING:
    import torch

MIB = 2**20
PROBE_VARIABLE = "BENCH_PROBE_MEMORY"  # set where this process's memory is limited
PROBE_STEP_MIB = 64


@contextmanager
def installed_libraries() -> Iterator[None]:
    """Turn a missing library into the command that installs it, without a trace."""
    try:
        yield
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}; install the workloads' libraries: pip install -e '.[workloads]'")


class TorchDevice:
    """A visible CUDA device (the first, unless `index` says which), or the CPU, seeded and set up for speed."""

    def __init__(self, options: Namespace, index: int = 0) -> None:
        self.is_cuda: bool = options.device == "cuda"
        if not self.is_cuda:
            # Read once, when torch loads OpenMP: its threads spin at barriers unless told to sleep, and
            # tenants that share cores then burn each other's time (steps took ten times as long).
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        self._torch = torch
        if self.is_cuda and not torch.cuda.is_available():
            sys.exit("torch sees no CUDA device: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu")
        self.torch_device = torch.device(f"cuda:{index}" if self.is_cuda else "cpu")
        if self.is_cuda:
            torch.cuda.set_device(self.torch_device)
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[options.precision]
        torch.manual_seed(options.seed)
        torch.backends.cudnn.benchmark = self.is_cuda
        if not self.is_cuda:
            torch.set_num_threads(len(os.sched_getaffinity(0)))

    def autocast(self) -> torch.autocast:
        """Return the context in which arithmetic runs in the device's precision.

        fp32 leaves torch's defaults alone: TF32 in cuDNN's convolutions, full precision in matrix products.
        """
        mixed = self.dtype != self._torch.float32
        return self._torch.autocast(self.torch_device.type, dtype=self.dtype, enabled=mixed)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaler that fp16 needs, and that passes everything through otherwise."""
        return self._torch.amp.GradScaler(self.torch_device.type, enabled=self.dtype == self._torch.float16)

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""
        if self.is_cuda:
            self._torch.cuda.synchronize()

    def run(
        self,
        job: Job,
        step: Callable[[], None],
        options: Namespace,
        *,
        autotune: bool,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Drive a whole job: identity, warm-up, and steps of `batch_size` items until told to stop.

        `figures` are what else the job has found out about itself; the record keeps them with the identity.
        """
        job.identity(**self.identity(), figures=figures)
        for _ in job.warmup(options.warmup_steps, options.batch_size, autotune=autotune):
            step()
            self.synchronize()
        for _ in job.steps(options.batch_size):
            step()
            self.synchronize()
        job.peak_memory_mib = self.peak_memory_mib()

    def identity(self) -> dict[str, Any]:
        """Return name, UUID, SM count and memory (MiB) as this process sees them.

        A CPU has neither UUID nor SMs. Under MIG all four are those of the instance; under MPS the SM count
        is what the percentage leaves.
        """
        if not self.is_cuda:
            return cpu_identity()
        properties = self._torch.cuda.get_device_properties(self.torch_device)
        prefix = "MIG" if " MIG " in properties.name else "GPU"  # the driver writes it, torch leaves it out
        return {
            "device_name": properties.name,
            "device_uuid": f"{prefix}-{properties.uuid}",
            "sm_count": properties.multi_processor_count,
            "memory_total_mib": properties.total_memory // MIB,
            "allocatable_mib": self._allocatable_mib() if PROBE_VARIABLE in os.environ else None,
        }

    def _allocatable_mib(self) -> int:
        """Return how much memory (MiB) torch holds, and could allocate beside that; none of it stays allocated."""
        cuda = self._torch.cuda
        cuda.empty_cache()
        total_mib = cuda.get_device_properties(self.torch_device).total_memory // MIB
        found_mib = PROBE_STEP_MIB * most(self._allocates, total_mib // PROBE_STEP_MIB)
        cuda.reset_peak_memory_stats()
        return int(cuda.memory_reserved() // MIB) + found_mib

    def _allocates(self, steps: int) -> bool:
        """Try to allocate that much in one piece on the device itself, past what torch keeps for reuse."""
        cuda = self._torch.cuda
        try:
            size = steps * PROBE_STEP_MIB * MIB
            cuda.caching_allocator_delete(cuda.caching_allocator_alloc(size, self.torch_device))
        except cuda.OutOfMemoryError:
            return False
        finally:
            cuda.empty_cache()
        return True

    def peak_memory_mib(self) -> float:
        """Return the most torch had allocated on the GPU; on a CPU, the process's largest resident set."""
        if self.is_cuda:
            return float(self._torch.cuda.max_memory_allocated() / MIB)
        return peak_resident_mib()


def cpu_identity() -> dict[str, Any]:
    """Return the processor's name and the host's memory (MiB)."""
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    return {"device_name": _cpu_name(), "memory_total_mib": memory_mib}


def peak_resident_mib() -> float:
    """Return the largest resident set that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def most(fits: Callable[[int], bool], highest: int) -> int:
    """Return the largest number up to `highest` that fits, where each smaller one fits as well; 0 if none does."""
    low, high = 0, highest + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _cpu_name() -> str:
    """Return the processor's model as Linux names it, or its architecture."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
