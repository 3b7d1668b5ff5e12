"""Do reports contain the truth? Simulated runs, from plan to report, whose noise-free answer is known.

Run it from the checkout, three quarters of an hour: `python benchmarks/recovery.py`. Each seed is a run as a user
makes one, and its `contrasts.csv` is read as a user reads it. Prints a Markdown page and writes it to
`docs/recovery.md`; exit code 1 where a contrast has the truth in fewer than 181 of 200 intervals. Seeds are fixed
beforehand, and what fails is published as it is. With `--keep FOLDER` the tables of finished runs stay there, and
an interrupted check goes on with the seeds that it lacks.
"""

import argparse
import contextlib
import csv
import io
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cli import main
from bench.plan.catalog import load_catalog
from bench.simulator.board import TRIAL_CV, step_cost
from bench.simulator.law import concurrent, time_sliced

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recovery.md"
SEEDS = range(20_260_101, 20_260_301)
LEVEL = 0.005
"""A nominal 95 % counts as broken when an exact binomial test says at this level that fewer are right."""
MODEL = "a100-80gb"
MODES, JOBS, BLOCKS = ("time-slicing", "mps", "mig"), ("resnet50-training", "bert-base-training"), 6
SLICES = 108 / 42
"""The SMs of an A100 over those of a `3g` instance, of which two fit (NVIDIA's MIG user guide)."""
PLAN = """\
name: recovery
modes: [{modes}]
mixes: {{{mixes}}}
timing: smoke
blocks: {blocks}
"""


class Ratio(NamedTuple):
    """What a contrast is of; `job` is empty for the mix as a whole."""

    metric: str
    job: str
    mode: str
    baseline: str


class Found(NamedTuple):
    """What one run says of a contrast; `low` and `high` bound its 95 % interval."""

    ratio: float
    low: float
    high: float

    def covers(self, truth: float) -> bool:
        """Tell whether the interval contains the truth."""
        return self.low <= truth <= self.high


Runs = Mapping[int, Mapping[Ratio, Found]]
"""What each run says of every contrast, by seed."""


@dataclass(frozen=True)
class Recovery:
    """How often intervals of one contrast contained its true ratio, a run each."""

    ratio: Ratio
    truth: float
    found: Mapping[int, Found]

    @property
    def covered(self) -> int:
        """In how many runs."""
        return sum(found.covers(self.truth) for found in self.found.values())

    @property
    def p_value(self) -> float:
        """How likely so few are, if 95 % are right."""
        return float(stats.binomtest(self.covered, len(self.found), 0.95, "less").pvalue)

    @property
    def bias(self) -> float:
        """How far the estimates are from the truth on average, as a share of it."""
        logs = [math.log(found.ratio / self.truth) for found in self.found.values()]
        return math.expm1(sum(logs) / len(logs))

    @property
    def worst(self) -> tuple[int, Found]:
        """The run that is furthest off, and its seed."""
        return max(self.found.items(), key=lambda run: abs(math.log(run[1].ratio / self.truth)))


def step_times_s(mode: str) -> list[float]:
    """Ask the law how long a step of each job takes, in seconds, without noise."""
    catalog = load_catalog()
    costs = [step_cost(catalog[job], {}) for job in JOBS]
    match mode:
        case "time-slicing":
            return time_sliced(costs)
        case "mps":
            return concurrent(costs, [1.0] * len(costs))
        case "mig":
            return [cost.on_share(SLICES).alone_s for cost in costs]
        case _:
            return [cost.alone_s for cost in costs]


def truths(modes: Sequence[str] = MODES) -> dict[Ratio, float]:
    """Return the true ratio of every contrast in throughput; taking turns, each of n jobs has 1/n of its rate."""
    alone = step_times_s("exclusive")
    progress = {
        mode: [solo_s / step_s for solo_s, step_s in zip(alone, step_times_s(mode), strict=True)] for mode in modes
    }
    progress["exclusive"] = [1 / len(JOBS)] * len(JOBS)
    known = {}
    for mode, baseline in [(mode, base) for base in ("exclusive", modes[0]) for mode in modes if mode != base]:
        ours, theirs = progress[mode], progress[baseline]
        known[Ratio("stp", "", mode, baseline)] = sum(ours) / sum(theirs)
        for job, mine, other in zip(JOBS, ours, theirs, strict=True):
            known[Ratio("rate", job, mode, baseline)] = mine / other
    return known


def measure(seed: int, modes: Sequence[str] = MODES, mixes: Sequence[str] = ("pair",)) -> str:
    """Measure one plan as the command line does; return the text of its `contrasts.csv`."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        plan = Path(folder) / "plan.yaml"
        named = ", ".join(f"{mix}: [{', '.join(JOBS)}]" for mix in mixes)
        plan.write_text(PLAN.format(modes=", ".join(modes), mixes=named, blocks=BLOCKS), encoding="utf-8")
        command = ["run", "--plan", plan, "--device", f"simulated:{MODEL}", "--seed", seed, "--results", folder]
        with contextlib.redirect_stdout(io.StringIO()):
            code = main([*map(str, command), "--quiet"])
        if code:
            raise RuntimeError(f"seed {seed}: exit code {code}")
        (table,) = Path(folder).glob("*/report/tables/contrasts.csv")
        return table.read_text(encoding="utf-8")


def intervals(contrasts: str, mix: str = "pair") -> Iterator[tuple[Ratio, Found]]:
    """Read what a `contrasts.csv` says of the throughput of a mix and of its jobs."""
    for row in csv.DictReader(io.StringIO(contrasts)):
        if (row["mix"], row["trials"]) == (mix, "all") and row["metric"] in {"stp", "rate"}:
            ratio = Ratio(row["metric"], row["job"], row["mode"], row["baseline"])
            yield ratio, Found(*(float(row[column]) for column in ("ratio", "ci_low", "ci_high")))


def _measured_once(seed: int, folder: Path) -> dict[Ratio, Found]:
    """Measure, unless the folder has the outcome."""
    kept = folder / f"{seed}.csv"
    if not kept.exists():
        unfinished = folder / f".{seed}.csv"
        unfinished.write_text(measure(seed), encoding="utf-8")
        unfinished.rename(kept)
    return dict(intervals(kept.read_text(encoding="utf-8")))


def _own_driver(folder: str) -> None:
    """Give a process a simulated GPU of its own."""
    os.environ["BENCH_STATE_DIR"] = str(Path(folder) / str(os.getpid()))


def conduct_all(seeds: Sequence[int], keep: Path, processes: int) -> Runs:
    """Conduct a run for each seed that the folder lacks; what each says of its mix."""
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpus-") as folder:
        spawn = get_context("spawn")
        with ProcessPoolExecutor(processes, spawn, initializer=_own_driver, initargs=(folder,)) as pool:
            runs = {}
            for seed, found in zip(seeds, pool.map(partial(_measured_once, folder=keep), seeds), strict=True):
                runs[seed] = found
                print(f"{len(runs)} of {len(seeds)} runs", file=sys.stderr)
            return runs


def recoveries(runs: Runs) -> list[Recovery]:
    """Say of each contrast how often its truth was found."""
    return [
        Recovery(ratio, truth, {seed: found[ratio] for seed, found in runs.items()})
        for ratio, truth in truths().items()
    ]


def named(ratio: Ratio, truth: float) -> tuple[str, str, str]:
    """Return what a row of the table begins with."""
    return f"{ratio.mode} / {ratio.baseline}", f"{ratio.metric} {ratio.job}".strip(), f"{truth:.4f}"


def table(found: Sequence[Recovery]) -> str:
    """Return the outcomes as Markdown."""
    lines = [
        "| contrast | metric | truth | covered | p | kept | bias | furthest off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        seed, worst = each.worst
        cells = (
            *named(each.ratio, each.truth),
            f"{each.covered} of {len(each.found)}",
            f"{each.p_value:.2g}",
            "yes" if each.p_value >= LEVEL else "**no**",
            f"{100 * each.bias:+.2f} %",
            f"{worst.ratio:.4f} ({worst.low:.4f} to {worst.high:.4f}), seed {seed}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


HEAD = f"""# Do reports contain the truth?

Written by `python benchmarks/recovery.py`; a smaller version runs with the tests. {len(SEEDS)} plans are measured
on the simulated {MODEL}, each by the command line from plan to report: {", ".join(MODES)} and exclusive,
one mix of {" and ".join(JOBS)}, {BLOCKS} blocks, windows of 5 s; under mig each job has an instance
of 42 of the 108 SMs. Trials of a cell spread
by {100 * TRIAL_CV:g} % (assumed), and steps by more. The truth is what the model's law answers without noise,
computed beside the run; the interval is the nominal 95 % one of `contrasts.csv`. Taking turns, a job has half of
its rate alone. A promise is kept when an exact binomial test at {100 * LEVEL:g} % does not say that fewer than
95 % are right, which takes 181 of 200. Seeds were fixed beforehand ({SEEDS[0]} to {SEEDS[-1]}). It shows whether
anything between the law and the table is biased or overconfident, and nothing about how right the law is.

"""


def check(keep: Path, processes: int) -> int:
    """Conduct all runs and publish what they say; 1 where a promise is broken."""
    found = recoveries(conduct_all(SEEDS, keep, processes))
    page = HEAD + table(found)
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 0 if all(each.p_value >= LEVEL for each in found) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Do reports contain the truth?")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where finished runs' tables stay, to go on from"
    )
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runs-") as passing:
        sys.exit(check(options.keep or Path(passing), options.processes))
