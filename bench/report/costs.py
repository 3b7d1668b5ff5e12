"""Tables of what follows from the measured quantities: slowdown and tails of each job, and what work costs."""

from collections.abc import Sequence

from bench.analysis.levels import Level
from bench.analysis.metrics import (
    AMPLIFICATION,
    EDP,
    MAKESPAN,
    MEDIAN_INFLATION,
    P99_INFLATION,
    PER_GIB,
    SLOWDOWN,
    UNIT_COST,
    UNIT_ENERGY,
    Metric,
)
from bench.analysis.summary import Comparison
from bench.report.table import BLOCKS, Source, Table, headings
from bench.stats.rounding import with_limits

_COLUMNS = ("mix", "mode", "metric", "job", "unit", "value", "ci_low", "ci_high", "n_blocks", "reason")
_MEANS = "Geometric mean over blocks [95 % t interval]."


def slowdown_table(comparison: Comparison) -> Table:
    """Return how much longer each job takes beside its neighbours, and whether its tail suffers more than that."""
    metrics = (SLOWDOWN, MEDIAN_INFLATION, P99_INFLATION, AMPLIFICATION)
    table = Table(
        "Each job against itself alone: slowdown and tail amplification",
        headings(("mix", "job", "mode"), (BLOCKS, *(metric.label for metric in metrics))),
        _source(metrics),
        "Inflation: a step latency over the same alone in the same block. Tail amplification: inflation of the "
        "p99 over that of the median; above 1 the tail suffers more than the rest. Waiting for a turn is in the "
        f"slowdown of exclusive, and not in its latencies. {_MEANS}",
    )
    for (mix, job, mode), found in _cells(comparison.levels, metrics):
        table.add(mix, job, mode, _blocks(found), *(table.level(found.get(metric)) for metric in metrics))
    return table


def faster_remarks(comparison: Comparison) -> list[str]:
    """Say which jobs were faster beside others than alone by more than the margin, which no sharing can do."""
    return [
        f"{level.job} was faster beside others than alone: slowdown "
        f"{with_limits(level.value, level.ci_low, level.ci_high)} in {level.mode} (mix “{level.mix}”). "
        "Something held it up alone, such as clocks that ramp up; its progress, and STP, are too high by as much."
        for level in comparison.levels
        if level.metric == SLOWDOWN.name and level.value and level.ci_high and level.ci_high < 1 - SLOWDOWN.margin
    ]


def unit_table(comparison: Comparison) -> Table:
    """Return what a unit of work costs in memory, energy and money; the price stands below with its source."""
    price = comparison.price
    metrics = (PER_GIB, UNIT_ENERGY, UNIT_COST)
    million = f"{price.currency} per million units" if price else "cost per million units"
    words = f"The device costs {price}." if price else "No price is known of this device, so work has none."
    table = Table(
        "What a unit of work costs",
        headings(("mix", "job", "mode", "unit"), (BLOCKS, "units/s per GiB", "J per unit", million)),
        _source(metrics),
        "Per GiB of the memory that the job allocated at most. Energy is the whole device's, and told for mixes "
        f"of equal jobs. {words} An hour is charged to jobs by their progress: a unit costs 1 / STP of what it "
        f"costs alone. {_MEANS}",
    )
    for (mix, job, mode), found in _cells(comparison.levels, metrics):
        unit = found[PER_GIB].unit.removesuffix("/s/GiB")
        table.add(mix, job, mode, unit, _blocks(found), *(table.level(found.get(metric)) for metric in metrics))
    return table


def finite_work_table(comparison: Comparison) -> Table:
    """Return what sharing does to work that ends: time and energy against running one job after the other."""
    metrics = (MAKESPAN, EDP)
    table = Table(
        "Work that ends: makespan and energy-delay product",
        headings(("mix", "mode"), (BLOCKS, "makespan gain", "EDP (J s)")),
        _source(metrics),
        "Makespan gain: time of the jobs one after the other over their time side by side, where each has as "
        "much work as it does alone in the same time. It is a lower bound: who is done makes no room for the "
        "others. Jobs sized so that all end together gain STP. EDP: energy times time of as much work as the "
        f"device does alone in one second, (power / STP) / STP; lower is better. {_MEANS}",
    )
    for (mix, _, mode), found in _cells(comparison.levels, metrics):
        table.add(mix, mode, _blocks(found), *(table.level(found.get(metric)) for metric in metrics))
    return table


def _source(metrics: Sequence[Metric]) -> Source:
    return Source("tables/levels.csv", _COLUMNS, f"metric is {', '.join(metric.name for metric in metrics)}")


def _cells(
    levels: Sequence[Level], metrics: Sequence[Metric]
) -> list[tuple[tuple[str, str, str], dict[Metric, Level]]]:
    """Return the levels of these metrics by mix, job and mode, jobs in plan order and modes inside them."""
    by_name = {metric.name: metric for metric in metrics}
    found: dict[tuple[str, str, str], dict[Metric, Level]] = {}
    jobs: dict[tuple[str, str], int] = {}
    for level in levels:
        if level.metric in by_name:
            jobs.setdefault((level.mix, level.job), len(jobs))
            found.setdefault((level.mix, level.job, level.mode), {})[by_name[level.metric]] = level
    return sorted(found.items(), key=lambda cell: jobs[cell[0][:2]])


def _blocks(found: dict[Metric, Level]) -> str:
    """Return over how many blocks the intervals of a row are; 8-10 where they differ."""
    counts = sorted({level.n_blocks for level in found.values() if level.value is not None})
    return "0" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
