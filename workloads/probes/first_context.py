"""Open a CUDA context, tell how long that took, and then do next to nothing; one item is one op.

The `identity` event carries three durations in seconds: `startup_s`, from the start of the process to the first
line of this program (to 10 ms, the tick of the kernel's clock for processes); `import_s`, the import of torch;
`context_s`, from there until a first kernel has run: cuInit, primary context, kernel, synchronise. On a CPU the
last is a first operation alone.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from workloads.job import Job, now_s
from workloads.options import workload_parser
from workloads.torch_device import TorchDevice, installed_libraries

REST_S = 0.01  # after each op: a hundred a second keep the context alive and disturb nobody
_BEGAN_S = now_s()


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    return workload_parser(__doc__, batch_size=1)


def tiny_step(device: TorchDevice) -> Callable[[], None]:
    """Return a step that runs one small kernel, and rests."""
    import torch

    number = torch.zeros(1, device=device.torch_device)

    def step() -> None:
        number.add_(1)
        device.synchronize()
        time.sleep(REST_S)

    return step


def process_age_s() -> float:
    """Return how long ago the kernel started this process."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def first_context(options: Namespace) -> tuple[TorchDevice, Callable[[], None], dict[str, float]]:
    """Import torch and run a first kernel; return device, step, and how long each part took, in seconds."""
    startup_s = max(0.0, process_age_s() - (now_s() - _BEGAN_S))
    before_s = now_s()
    import torch

    imported_s = now_s()
    device = TorchDevice(options)
    torch.zeros(1, device=device.torch_device).add_(1)
    device.synchronize()
    took = {"startup_s": startup_s, "import_s": imported_s - before_s, "context_s": now_s() - imported_s}
    return device, tiny_step(device), {name: round(seconds, 6) for name, seconds in took.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(["torch"], options.seconds) as job, installed_libraries():
        device, step, took = first_context(options)
        device.run(job, step, options, autotune=False, figures=took)


if __name__ == "__main__":
    main()
