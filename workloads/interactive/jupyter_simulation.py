"""Be a person at a notebook: execute its cells one after another in a real Jupyter kernel, and think before each.

The think times come from a lognormal distribution and --seed alone, so the device does not change them. A cell
is scheduled when the thinking is over, sent at once, and done when the kernel answers; done - scheduled is its
response time. After the last cell the notebook begins again. A cell that raises has status `error`; in a warm-up
step, which executes the whole notebook, it ends the job.

Without --notebook a small one is used: build a model, train it 20 steps, evaluate it, make a histogram. Cells
find `torch`, `device` (a torch device) and `size`. One that queues work on the GPU and does not wait for it
answers early, as it does to a person.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import json
import math
import random
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.interactive.notebook import DEFAULT_CELLS, read_cells
from workloads.job import POLL_PERIOD_S, Job, now_s
from workloads.options import positive, workload_parser
from workloads.torch_device import installed_libraries

if TYPE_CHECKING:
    from workloads.interactive.kernel import Kernel

THINK_SIGMA = 1.0  # of the logarithm: mean is 1.65 times the median, one pause in 50 is 8 times as long
LIBRARIES = ("torch", "jupyter_client", "ipykernel")


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=1)
    parser.add_argument("--notebook", default="default", metavar="PATH", help="an .ipynb file, or default")
    parser.add_argument("--think-s", type=float, default=2.0, help="median of the time between two cells, in s")
    parser.add_argument("--model-size", type=positive, default=2048, help="`size` of the default notebook's model")
    return parser


def think_times(seed: int, median_s: float) -> Iterator[float]:
    """Yield think times in seconds, for ever the same for one seed and median."""
    random_ = random.Random(seed)
    while True:
        yield random_.lognormvariate(math.log(median_s), THINK_SIGMA)


def prepare(kernel: Kernel, options: Namespace) -> dict[str, object]:
    """Open the device inside the kernel; return the identity that it sees there."""
    asked = {"device": options.device, "precision": options.precision, "seed": options.seed}
    kernel.execute(
        "import json, torch\nfrom argparse import Namespace\nfrom workloads.torch_device import TorchDevice\n"
        f"_job_device = TorchDevice(Namespace(**{asked!r}))\n"
        f"device, size = _job_device.torch_device, {options.model_size}\ntorch.zeros(1, device=device)"
    )
    return dict(json.loads(kernel.execute("", want="json.dumps(_job_device.identity())")))


def work(job: Job, kernel: Kernel, cells: Sequence[str], options: Namespace) -> None:
    """Execute cells from start to stop; the one in flight then ends."""
    from workloads.interactive.kernel import CellError

    thinking = think_times(options.seed, options.think_s)
    start_s, stop_s = job.span()
    scheduled_s = start_s + next(thinking)
    for turn in count():
        if not _waited_until(job, scheduled_s, stop_s):
            return
        sent_s, status = now_s(), "ok"
        try:
            kernel.execute(cells[turn % len(cells)])
        except CellError:
            status = "error"
        done_s = now_s()
        job.request(scheduled_s, sent_s, done_s, status)
        scheduled_s = done_s + next(thinking)


def _waited_until(job: Job, instant_s: float, stop_s: float) -> bool:
    """Wait for an instant; False if the job is to stop before it."""
    while not job.asked_to_stop():
        left_s = min(instant_s, stop_s) - now_s()
        if left_s <= 0:
            return instant_s < stop_s
        time.sleep(min(left_s, POLL_PERIOD_S))
    return False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(LIBRARIES, options.seconds) as job, installed_libraries():
        import torch  # noqa: F401  (the kernel needs it: told here, in one line, where it is missing)

        from workloads.interactive.kernel import Kernel

        cells = list(DEFAULT_CELLS) if options.notebook == "default" else read_cells(Path(options.notebook))
        with Kernel() as kernel:
            job.identity(**prepare(kernel, options))  # type: ignore[arg-type]  # as TorchDevice.identity has them
            for _ in job.warmup(options.warmup_steps, len(cells), autotune=False):
                for cell in cells:
                    kernel.execute(cell)
            work(job, kernel, cells, options)
            job.peak_memory_mib = float(kernel.execute("", want="_job_device.peak_memory_mib()"))


if __name__ == "__main__":
    main()
