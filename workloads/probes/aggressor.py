"""Press on one resource of the device or its host, as hard as the dial says: a noisy neighbour of known noise.

One item is 1 GFLOP (sm, tensor, host), 1 GB moved (memory, pcie-h2d, pcie-d2h) or one touch of all pages
(footprint), so a rate is a physical one; --batch-size is the items of one step. --intensity is the share of its
time that the probe works: after each step it rests in proportion, so the period is that of the step. For footprint
it is the share of the memory that the probe holds. The share that was achieved is reported with the load.

  sm          FP32 multiply-adds in registers        memory     reads and writes of a working set: L2, or DRAM
  tensor      a matrix product in --precision        pcie-h2d   copies from pinned host memory to the device
  host        matrix products on the host's cores    pcie-d2h   copies from the device to pinned host memory
  footprint   holds memory, touches it lightly
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from workloads.job import Job
from workloads.options import positive, workload_parser
from workloads.probes.duty import DutyCycle
from workloads.probes.pressure import PRESSURES
from workloads.torch_device import TorchDevice, installed_libraries

FOOTPRINT = "footprint"


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=1)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--resource", choices=PRESSURES, default="sm", help="what to press on")
    parser.add_argument("--intensity", type=share, default=1.0, help="above 0, at most 1")
    parser.add_argument("--working-set-mb", type=positive, default=1000, help="of memory and pcie, in MB")
    return parser


def share(text: str) -> float:
    """Convert an option's text to a number above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"must be above 0 and at most 1, not {value:g}")
    return value


def press(job: Job, device: TorchDevice, options: Namespace) -> None:
    """Be the job: press until told to stop, then tell how much of the time that took."""
    work = PRESSURES[options.resource](options, device)

    def finished() -> None:
        work()
        device.synchronize()

    holds = options.resource == FOOTPRINT
    duty = DutyCycle(1.0 if holds else options.intensity, finished)
    job.identity(**device.identity())
    for _ in job.warmup(options.warmup_steps, options.batch_size, autotune=False):
        duty()
    duty.restart()
    began_s = time.process_time()
    for _ in job.steps(options.batch_size):
        duty()
    job.peak_memory_mib = device.peak_memory_mib()
    told = {"resource": options.resource, "intensity": options.intensity, "duty": duty.achieved}
    job.load(planned=None, cpu_s=time.process_time() - began_s, **told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(["torch"], options.seconds) as job, installed_libraries():
        press(job, TorchDevice(options), options)


if __name__ == "__main__":
    main()
