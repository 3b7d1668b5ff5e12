"""Whether results moved while the run went on: each trial against the mean of its kind, in order of execution."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.cells import arm_of
from bench.analysis.colocation import BlockCell, repeated_cells
from bench.analysis.metrics import RATE, STP
from bench.analysis.reading import Reading
from bench.analysis.trials import TrialMeasure
from bench.plan.schedule import Role
from bench.stats.steady_state import Drift, theil_sen_drift
from bench.stats.verdict import MIN_BLOCKS
from bench.store.record import TrialRecord


@dataclass(frozen=True)
class Execution:
    """One trial in the order of execution; `relative` is its value over the mean of its arm and mix.

    The value is STP, and where a job runs alone its rate, since its STP is 1 by definition.
    """

    order: int
    block: int
    trial: str
    arm: str
    mix: str
    metric: str
    value: float
    relative: float
    temperature_c: Reading
    """Of the device, mean over the window."""


def executions(
    records: Iterable[TrialRecord], trials: Sequence[TrialMeasure], cells: Iterable[BlockCell]
) -> tuple[Execution, ...]:
    """Return the `trials` with an STP or alone on the whole device, by the instant at which they began.

    Their number in that order counts all `records`: an interrupted run, and trials that are not ok, leave gaps.
    """
    order = {record.id: n for n, record in enumerate(sorted(records, key=lambda r: (r.host.started_at, r.id)), 1)}
    stps = {cell.trial_id: cell.reading(STP.name) for cell in (*cells, *repeated_cells(trials)) if cell.trial_id}
    found: dict[tuple[str, str], list[tuple[TrialMeasure, str, float]]] = {}
    for trial in sorted(trials, key=lambda trial: order[trial.record.id]):
        metric, value = _value(trial, stps)
        if value:
            kind = (arm_of(trial.record), trial.record.mix)
            found.setdefault(kind, []).append((trial, metric, value))
    return tuple(
        Execution(
            order[trial.record.id],
            trial.record.block,
            trial.record.id,
            *kind,
            metric,
            value,
            value / mean,
            trial.temperature_c,
        )
        for kind, own in found.items()
        for mean in [float(np.mean([value for *_, value in own]))]
        for trial, metric, value in own
    )


def trend(of: Iterable[Execution]) -> Drift | None:
    """Return the Theil-Sen trend of the blocks over their order, with its 95 % interval; None below six blocks.

    Trials of one block are averaged first: they share the solo rates that their STP is measured by.
    """
    blocks: dict[int, list[tuple[float, float]]] = {}
    for each in of:
        blocks.setdefault(each.block, []).append((each.relative, each.order))
    if len(blocks) < MIN_BLOCKS:
        return None
    relative, order = np.array(
        sorted((np.mean(own, axis=0) for own in blocks.values()), key=lambda mean: mean[1])
    ).T
    return theil_sen_drift(relative, order)


def _value(trial: TrialMeasure, stps: Mapping[str, Reading]) -> tuple[str, float | None]:
    if trial.record.role is Role.SOLO:
        only = trial.tenants[0]
        return RATE.name, only.rate if only.closed else None
    return STP.name, stps.get(trial.record.id, Reading.absent("no mix")).value
