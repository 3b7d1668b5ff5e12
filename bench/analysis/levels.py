"""How large each quantity is in each cell: the absolute values that stand beside every ratio."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from bench.analysis.cells import Cells
from bench.analysis.colocation import EXCLUSIVE, BlockCell
from bench.analysis.metrics import METRICS, unit_of
from bench.analysis.reading import first_reason
from bench.plan.model import Plan
from bench.stats.interval import geometric_mean_interval, mean_interval


@dataclass(frozen=True)
class Level:
    """One quantity of one cell: mean over `n_blocks` blocks with its 95 % t interval, in `unit`.

    The mean is geometric, but arithmetic where zero is an honest value (`Metric.may_be_zero`).
    """

    mix: str
    mode: str
    metric: str
    job: str
    unit: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_blocks: int
    reason: str | None


def levels(plan: Plan, cells: Cells, units: dict[str, str]) -> tuple[Level, ...]:
    """Return every quantity of every cell that ran, exclusive first, in plan order."""
    modes = [EXCLUSIVE, *(mode.label for mode in plan.sharing_modes)]
    return tuple(
        level
        for mix in plan.mixes
        for mode in modes
        for level in _of_cell(mix.name, mode, list(cells.of(mode, mix.name).values()), units)
    )


def _of_cell(mix: str, mode: str, blocks: list[BlockCell], units: dict[str, str]) -> Iterator[Level]:
    for metric, job in dict.fromkeys(quantity for cell in blocks for quantity in cell.readings):
        readings = [cell.reading(metric, job) for cell in blocks]
        known = [reading.value for reading in readings if reading.value is not None]
        starved = None if METRICS[metric].may_be_zero else _starved(known)
        reason = starved or first_reason(readings)
        mean = mean_interval if METRICS[metric].may_be_zero else geometric_mean_interval
        interval = mean([] if starved else known)
        if METRICS[metric].is_share:
            interval = interval.within(0, 1)
        unit = unit_of(METRICS[metric], job, units)
        yield Level(mix, mode, metric, job, unit, interval.value, interval.low, interval.high, interval.n, reason)


def _starved(values: list[float]) -> str | None:
    """Say so where a value is zero or without bound: no mean would tell that honestly."""
    hit = sum(not (isfinite(value) and value > 0) for value in values)
    return f"a job starved in {hit} of {len(values)} blocks" if hit else None
