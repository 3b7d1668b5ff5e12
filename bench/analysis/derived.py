"""What follows from the measured quantities of a cell: slowdown, tails against alone, and what work costs.

Each is computed block by block and summed up like any level. Sources: Eyerman & Eeckhout (2008) for slowdown;
Gonzalez & Horowitz, IEEE JSSC 31(9), 1996, for the energy-delay product.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from bench.analysis.cells import Cells
from bench.analysis.colocation import EXCLUSIVE, NO_PROGRESS, NOT_ALL_TURNS, BlockCell, JobProgress, Quantity
from bench.analysis.levels import Level, levels
from bench.analysis.metrics import (
    AMPLIFICATION,
    EDP,
    ENERGY,
    LATENCY_P50,
    LATENCY_P99,
    MAKESPAN,
    MEDIAN_INFLATION,
    P99_INFLATION,
    PER_GIB,
    RATE,
    SLOWDOWN,
    STP,
    UNIT_COST,
    UNIT_ENERGY,
    Metric,
)
from bench.analysis.reading import Reading, first_reason
from bench.analysis.trials import TrialMeasure
from bench.plan.model import Plan
from bench.plan.price import Price, list_price
from bench.plan.schedule import Role
from bench.stats.colocation import slowdown
from bench.stats.efficiency import Energy, cost_per_million, makespan_gain, rate_per_gib
from bench.stats.tails import amplification, inflation
from bench.store.record import RunRecord

_STARVED = "a job starved"
_NOT_ALONE = "the job has no ok solo trial in this block"
_UNLIKE = "energy is the whole device's, and is not split between different jobs"


def price_of(plan: Plan, run: RunRecord) -> Price | None:
    """Return the plan's own price, else the list price of the device; None on a part of a device."""
    whole = not run.device.get("found")
    return plan.price or (list_price(str(run.device.get("name", ""))) if whole else None)


def derived_levels(
    plan: Plan,
    cells: Iterable[BlockCell],
    trials: Iterable[TrialMeasure],
    units: dict[str, str],
    price: Price | None,
) -> tuple[Level, ...]:
    """Return the levels of all derived quantities, in plan order."""
    measured = tuple(cells)
    alone = {(cell.block, cell.mix): cell for cell in measured if cell.mode == EXCLUSIVE}
    memory = _Memory(trials)
    made = [
        replace(cell, readings=_Derived(cell, alone.get((cell.block, cell.mix)), memory, price).readings())
        for cell in measured
    ]
    currency = price.currency if price else "money"
    found = levels(plan, Cells(made, ()), units)
    return tuple(replace(level, unit=level.unit.replace("money", currency)) for level in found)


class _Memory:
    """The most memory that each job allocated, in MiB, by trial, and alone by block."""

    def __init__(self, trials: Iterable[TrialMeasure]) -> None:
        self._peaks: dict[tuple[str | int, str], list[float | None]] = {}
        for trial in trials:
            record = trial.record
            for measured in trial.tenants:
                job, peak = measured.tenant.job, measured.tenant.peak_memory_mib
                self._peaks.setdefault((record.id, job), []).append(peak)
                if record.role is Role.SOLO:
                    self._peaks[record.block, job] = [peak]

    def mib(self, cell: BlockCell, job: str) -> float | None:
        """Return the mean over equal tenants; None where one of them did not tell."""
        peaks = self._peaks.get((cell.trial_id or cell.block, job), [])
        known = [peak for peak in peaks if peak is not None]
        return sum(known) / len(known) if known and len(known) == len(peaks) else None


@dataclass(frozen=True)
class _Derived:
    """The derived quantities of one cell; `alone` is the same mix taking turns in the same block."""

    cell: BlockCell
    alone: BlockCell | None
    memory: _Memory
    price: Price | None

    def readings(self) -> Mapping[Quantity, Reading]:
        found = {(MAKESPAN.name, ""): self._makespan(), (EDP.name, ""): self._edp()}
        for job in {job.job: job for job in self.cell.jobs}.values():
            found |= {(metric.name, job.job): reading for metric, reading in self._of_job(job).items()}
        return found

    def _of_job(self, job: JobProgress) -> dict[Metric, Reading]:
        median, p99 = (self._inflation(metric, job.job) for metric in (LATENCY_P50, LATENCY_P99))
        return {
            SLOWDOWN: _map(lambda progress: slowdown(progress) or inf, job.progress),
            MEDIAN_INFLATION: median,
            P99_INFLATION: p99,
            AMPLIFICATION: _map(amplification, p99, median),
            PER_GIB: self._per_gib(job),
            UNIT_ENERGY: self._unit_energy(job),
            UNIT_COST: self._unit_cost(job),
        }

    def _makespan(self) -> Reading:
        """Give each job the work that it does alone in one unit of time; who is done early makes no room."""
        if not self.cell.jobs:
            return Reading.absent(NO_PROGRESS)
        jobs = [job.progress for job in self.cell.jobs]
        return _map(lambda *all_: makespan_gain([1.0] * len(all_), 1 / min(all_)) if min(all_) else 0.0, *jobs)

    def _edp(self) -> Reading:
        """Take as much work as the device does alone in one second, which lasts 1 / STP seconds."""
        energy, throughput = self.cell.reading(ENERGY.name), self.cell.reading(STP.name)
        return _map(lambda joules, work: Energy(joules, 1 / work).edp_js if work else inf, energy, throughput)

    def _inflation(self, metric: Metric, job: str) -> Reading:
        if self.alone is None:
            return Reading.absent(_NOT_ALONE)
        return _map(inflation, self.cell.reading(metric.name, job), self.alone.reading(metric.name, job))

    def _per_gib(self, job: JobProgress) -> Reading:
        """Hold a job that takes turns against its memory alone: only the job whose turn it is holds any."""
        peak_mib = self.memory.mib(self.cell, job.job)
        if not peak_mib:
            return Reading.absent("the job did not tell how much memory it allocated at most")
        turn = self.cell.mode == EXCLUSIVE
        rate = Reading(job.solo_rate) if turn else self.cell.reading(RATE.name, job.job)
        return _map(lambda items_per_s: rate_per_gib(items_per_s, peak_mib), rate)

    def _unit_energy(self, job: JobProgress) -> Reading:
        if any(other.job != job.job for other in self.cell.jobs):
            return Reading.absent(_UNLIKE)
        if not job.solo_rate:
            return Reading.absent(_NOT_ALONE)
        return _map(
            lambda joules: Energy(joules, 1.0).per_unit_j(job.solo_rate or 0), self.cell.reading(ENERGY.name)
        )

    def _unit_cost(self, job: JobProgress) -> Reading:
        """Charge the hour to the jobs by their progress: a unit costs 1 / STP of what it costs alone."""
        price = self.price
        if price is None:
            return Reading.absent("no price is known of this device; a plan can name one (docs/plans.md)")
        if not job.solo_rate:
            return Reading.absent(_NOT_ALONE)
        if self.cell.reading(ENERGY.name).reason == NOT_ALL_TURNS:
            return Reading.absent(NOT_ALL_TURNS)
        work = self.cell.reading(STP.name)
        return _map(lambda stp: cost_per_million(price.per_hour, stp * (job.solo_rate or 0)) or inf, work)


def _map(of: Callable[..., float | None], *readings: Reading) -> Reading:
    """Apply a function to readings; what it cannot compute, or lacks a reading for, is absent with a reason."""
    reason = first_reason(readings)
    value = None if reason else of(*(reading.value for reading in readings))
    return Reading.absent(reason or _STARVED) if value is None else Reading(value)
