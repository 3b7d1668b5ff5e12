"""Two ways to do the same step, compared in one process: a workload's own, A, and a plain loop's, B.

Steps alternate in the order A, B, B, A, so that whatever else the machine does meets both. Printed is the ratio
of speeds (1: A is as fast as B) with its 95 % interval over rounds, from the t distribution of log-ratios. This
imports neither torch nor TensorFlow: the scripts that use it each import one.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scipy import stats

from bench.launch.contract import Tenant
from bench.modes.contract import Grant
from bench.plan.catalog import Workload

TARGET = 0.95
Step = Callable[[], object]


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every comparison."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to work (default: cuda)")
    parser.add_argument("--rounds", type=int, default=6, help="estimates of the ratio (default: 6)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a round lasts (default: 8)")
    parser.add_argument(
        "--cpu-time", action="store_true", help="compare CPU seconds of all threads, for a busy machine (CPU only)"
    )
    return parser


def arguments(workload: Workload, device: str) -> tuple[str, ...]:
    """Return the arguments that a launcher would give."""
    return Tenant(
        name=workload.name, job=workload.name, workload=workload, parameters=workload.parameters_on(device),
        seed=1, device="cpu" if device == "cpu" else "cuda", grant=Grant(None), folder=Path(), cpus=None,
        memory_gb=workload.resources.memory_gb, run_id="",
    ).arguments  # fmt: skip


def compare(name: str, own: Step, plain: Step, options: argparse.Namespace) -> bool:
    """Measure one workload and print its line; whether it reaches the target. Both steps leave the device idle."""
    _warm_up, *log_ratios = _rounds(own, plain, options)
    low, ratio, high = interval(log_ratios)
    print(f"{name}: {ratio:.3f} of the plain loop, 95 % interval {low:.3f} to {high:.3f}", flush=True)
    return ratio >= TARGET


def interval(log_ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of ratios between the ends of its 95 % interval; at least two are needed."""
    mean = statistics.fmean(log_ratios)
    error = statistics.stdev(log_ratios) / math.sqrt(len(log_ratios))
    half = float(stats.t.ppf(0.975, len(log_ratios) - 1)) * error
    return math.exp(mean - half), math.exp(mean), math.exp(mean + half)


def _rounds(own: Step, plain: Step, options: argparse.Namespace) -> Iterator[float]:
    """Yield the logarithm of own speed over the plain loop's in each round, the first of which warms up."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    for _ in range(1 + options.rounds):
        spent: tuple[list[float], list[float]] = [], []
        stop = time.perf_counter() + options.seconds
        while not spent[1] or time.perf_counter() < stop:
            for which in (0, 1, 1, 0):
                spent[which].append(_duration_s((own, plain)[which], clock))
        yield math.log(statistics.median(spent[1]) / statistics.median(spent[0]))


def _duration_s(step: Step, clock: Callable[[], float]) -> float:
    began = clock()
    step()
    return clock() - began
