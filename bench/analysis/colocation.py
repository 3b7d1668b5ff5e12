"""What sharing did to each mix, block by block: progress against solo, and the co-location metrics.

Every job is held against its own solo rate in the same block (Eyerman & Eeckhout 2008). The exclusive arm of a mix
is derived and not measured: its n jobs take turns on the whole device, so each makes 1/n of its solo progress.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf

from bench.analysis.metrics import (
    ANTT,
    ATTAINMENT,
    CLOSED_METRICS,
    ENERGY,
    ERRORS,
    GOODPUT,
    ISOLATION,
    JAIN,
    LATENCY_P50,
    LATENCY_P99,
    OFFERED,
    RATE,
    SMALLEST,
    STP,
    TAIL,
)
from bench.analysis.reading import Reading, first_reason
from bench.analysis.requests import NO_REQUEST
from bench.analysis.trials import JobMeasure, TenantMeasure, TrialMeasure
from bench.plan.mode import Exclusive
from bench.plan.model import Job, Mix
from bench.plan.schedule import Role, share_of
from bench.stats.colocation import (
    SlowdownSplit,
    antt,
    jain,
    normalised_progress,
    smallest_progress,
    split_slowdown,
    stp,
)

EXCLUSIVE = Exclusive().label
NO_PROGRESS = "no job of this mix works in a closed loop: at the rate of its users a job's progress is 1"
NOT_ALL_TURNS = "the device also served users, or a program without the protocol; their part of it is not known"

Quantity = tuple[str, str]
"""Name of a metric, and the label of the job it is of (empty for the mix as a whole)."""


@dataclass(frozen=True)
class JobProgress:
    """One tenant of a mix against the solo rate of the same job in the same block; rates in units per second."""

    tenant: str
    job: str
    unit: str
    rate: float
    solo_rate: float | None
    share: str | None
    share_rate: float | None

    @property
    def progress(self) -> Reading:
        """Normalised progress: 1 is undisturbed, 0 is starved."""
        if self.solo_rate is None:
            return Reading.absent(f"{self.job} has no ok solo trial in this block")
        if self.solo_rate <= 0:
            return Reading.absent(f"{self.job} did no work in its solo trial of this block")
        return Reading(normalised_progress(self.rate, self.solo_rate))

    @property
    def split(self) -> SlowdownSplit | None:
        """Slowdown as partition x interference, where the job also ran alone in its share in this block."""
        if not self.solo_rate or not self.share_rate:
            return None
        return split_slowdown(self.solo_rate, self.share_rate, self.rate)

    @property
    def isolation(self) -> Reading:
        """What the neighbours leave of the rate alone in the same share; without a share, of the whole device."""
        if self.share is None:
            return self.progress
        if not self.share_rate:
            return Reading.absent(f"{self.job} has no ok trial alone in its share in this block")
        return Reading(self.rate / self.share_rate)


@dataclass(frozen=True)
class BlockCell:
    """One cell (mode, mix) in one block; `trial_id` is None for the derived exclusive arm."""

    block: int
    mode: str
    mix: str
    trial_id: str | None
    jobs: tuple[JobProgress, ...]
    readings: Mapping[Quantity, Reading]

    def reading(self, metric: str, job: str = "") -> Reading:
        """Return one quantity, or why it is not there."""
        return self.readings.get((metric, job), Reading.absent("not measured"))


class Alone:
    """The trials in which a job ran alone: on the whole device, or in its share."""

    def __init__(self, trials: Iterable[TrialMeasure]) -> None:
        self._solo: dict[tuple[int, str], TrialMeasure] = {}
        self._share: dict[tuple[int, str, str, str | None], TrialMeasure] = {}
        for trial in trials:
            record, job = trial.record, trial.tenants[0].tenant.job
            if record.role is Role.SOLO:
                self._solo[record.block, job] = trial
            elif record.role is Role.SHARE:
                self._share[record.block, record.mode_label, job, record.share] = trial

    def solo(self, block: int, job: str) -> TrialMeasure | None:
        """Return the solo trial of a job in a block."""
        return self._solo.get((block, job))

    def solo_rate(self, block: int, job: str) -> float | None:
        """Return the solo rate of a job in a block, in its units per second."""
        trial = self.solo(block, job)
        return trial.tenants[0].rate if trial else None

    def share_rate(self, block: int, mode: str, job: str, share: str | None) -> float | None:
        """Return the rate of a job alone in this share of the device, in its units per second."""
        trial = self._share.get((block, mode, job, share))
        return trial.tenants[0].rate if trial else None


@dataclass(frozen=True)
class _Progress:
    """The metrics of a mix, from the progress of its jobs."""

    jobs: tuple[JobProgress, ...]

    @cached_property
    def values(self) -> tuple[float, ...]:
        return tuple(value for job in self.jobs if (value := job.progress.value) is not None)

    def readings(self) -> dict[Quantity, Reading]:
        reason = first_reason(job.progress for job in self.jobs) if self.jobs else NO_PROGRESS
        if reason is not None:
            return {(m.name, ""): Reading.absent(reason) for m in (STP, ANTT, SMALLEST, JAIN)}
        turnaround = antt(self.values)
        fairness = jain(self.values)
        return {
            (STP.name, ""): Reading(stp(self.values)),
            (ANTT.name, ""): Reading(inf if turnaround is None else turnaround),
            (SMALLEST.name, ""): Reading(smallest_progress(self.values)),
            (JAIN.name, ""): Reading.absent("every job starved") if fairness is None else Reading(fairness),
        }


def block_cells(trials: Iterable[TrialMeasure], mixes: Iterable[Mix]) -> tuple[BlockCell, ...]:
    """Return every cell of every block: those measured, then the derived exclusive arm of each mix."""
    measured = tuple(trials)
    alone = Alone(measured)
    shared = [_shared(trial, alone) for trial in measured if trial.record.role is Role.MIX]
    blocks = sorted({trial.record.block for trial in measured})
    derived = [_taking_turns(block, mix, alone) for mix in mixes for block in blocks]
    return (*shared, *(cell for cell in derived if cell is not None))


def repeated_cells(trials: Iterable[TrialMeasure]) -> tuple[BlockCell, ...]:
    """Return the cells that were measured once more, against the same solo trials as the first time."""
    measured = tuple(trials)
    alone = Alone(measured)
    return tuple(_shared(trial, alone) for trial in measured if trial.record.role is Role.REPEAT)


def _shared(trial: TrialMeasure, alone: Alone) -> BlockCell:
    record = trial.record
    mix = Mix(name=record.mix, jobs=record.mix_jobs)
    jobs = tuple(_job_progress(trial, mix, tenant, alone) for tenant in trial.tenants if tenant.closed)
    readings = _Progress(jobs).readings()
    readings[ENERGY.name, ""] = _energy(mix, trial.mean_power_w, readings[STP.name, ""])
    readings[ISOLATION.name, ""] = _worst([job.isolation for job in jobs], min)
    readings[TAIL.name, ""] = _worst(
        [_inflation(job, alone.solo(record.block, job.job)) for job in trial.jobs], max
    )
    for job in trial.jobs:
        readings |= _job_readings(job, 1)
    return BlockCell(record.block, record.mode_label, record.mix, record.id, jobs, readings)


def _job_progress(trial: TrialMeasure, mix: Mix, measured: TenantMeasure, alone: Alone) -> JobProgress:
    record, tenant = trial.record, measured.tenant
    share = share_of(record.mode, mix, measured.slot)
    return JobProgress(
        tenant=tenant.name,
        job=tenant.job,
        unit=tenant.unit,
        rate=measured.rate,
        solo_rate=alone.solo_rate(record.block, tenant.job),
        share=share,
        share_rate=alone.share_rate(record.block, record.mode_label, tenant.job, share) if share else None,
    )


def _taking_turns(block: int, mix: Mix, alone: Alone) -> BlockCell | None:
    """Derive the exclusive arm of a mix from solo trials; None where one of them is missing.

    Only jobs in a closed loop take turns: users do not wait for one, and what does not report its work has none.
    """
    telling = [(name, job) for name, job in zip(mix.tenants, mix.jobs, strict=True) if not job.is_silent]
    solos = [(name, job, alone.solo(block, job.label)) for name, job in telling]
    trials = [(name, job, trial) for name, job, trial in solos if trial and _is_base(job, trial)]
    if len(trials) < len(telling) or not telling:
        return None
    closed = [(name, trial) for name, job, trial in trials if job.takes_turns]
    jobs = tuple(_turn(name, trial.tenants[0], mix.turns) for name, trial in closed)
    turns = _turns_of(mix, closed)
    turns[TAIL.name, ""] = _worst([_inflation(trial.jobs[0], trial) for _, _, trial in trials], max)
    for _, job, trial in trials:
        turns |= _job_readings(trial.jobs[0], mix.turns if job.takes_turns else 1)
    return BlockCell(block, EXCLUSIVE, mix.name, None, jobs, turns)


def _is_base(job: Job, solo: TrialMeasure) -> bool:
    """Whether a solo trial can be held against: a rate of zero cannot, but users may have sent nothing."""
    return not job.takes_turns or solo.tenants[0].rate > 0


def _turns_of(mix: Mix, closed: list[tuple[str, TrialMeasure]]) -> dict[Quantity, Reading]:
    """Return what a mix of so many jobs in a closed loop has by definition when they take turns."""
    n = len(closed)
    if not n:
        return {(metric.name, ""): Reading.absent(NO_PROGRESS) for metric in CLOSED_METRICS}
    known = ((STP, 1.0), (ANTT, n), (SMALLEST, 1 / n), (JAIN, 1.0), (ISOLATION, 1.0))
    turns: dict[Quantity, Reading] = {(metric.name, ""): Reading(value) for metric, value in known}
    turns[ENERGY.name, ""] = _energy(mix, _mean([trial.mean_power_w for _, trial in closed]), Reading(1.0))
    return turns


def _turn(name: str, alone: TenantMeasure, n: int) -> JobProgress:
    return JobProgress(name, alone.tenant.job, alone.tenant.unit, alone.rate / n, alone.rate, None, None)


def _job_readings(job: JobMeasure, turns: int) -> dict[Quantity, Reading]:
    got = job.service
    idle = got is not None and not got.offered_per_s.value
    readings = {
        RATE: Reading.absent(NO_REQUEST) if idle else Reading(job.rate / turns),
        LATENCY_P50: job.latency.reading(0.5),
        LATENCY_P99: job.latency.reading(0.99),
    }
    if got is not None:
        readings |= {
            GOODPUT: got.goodput_per_s,
            ATTAINMENT: got.attainment,
            OFFERED: got.offered_per_s,
            ERRORS: got.errors,
        }
    return {(metric.name, job.job): reading for metric, reading in readings.items()}


def _energy(mix: Mix, power_w: Reading, throughput: Reading) -> Reading:
    """Return joules for as much work as the device does alone in one second: power over STP."""
    if mix.turns < len(mix.jobs):
        return Reading.absent(NOT_ALL_TURNS)
    if power_w.value is None or throughput.value is None:
        return power_w if power_w.value is None else throughput
    return Reading(power_w.value / throughput.value) if throughput.value else Reading(inf)


def _inflation(job: JobMeasure, solo: TrialMeasure | None) -> Reading:
    """Return how many times its p99 alone a job's p99 is; the wait for a turn is not in either."""
    if solo is None:
        return Reading.absent(f"{job.job} has no ok solo trial in this block")
    beside, alone = job.latency.reading(0.99), solo.jobs[0].latency.reading(0.99)
    if beside.value is None or not alone.value:
        return beside if beside.value is None else alone
    return Reading(beside.value / alone.value)


def _worst(readings: list[Reading], pick: Callable[[list[float]], float]) -> Reading:
    """Return the job that fares worst; nothing where one of them, or none at all, could be measured."""
    reason = first_reason(readings) if readings else NO_PROGRESS
    return Reading.absent(reason) if reason else Reading(pick([each.value or 0 for each in readings]))


def _mean(readings: list[Reading]) -> Reading:
    reason = first_reason(readings)
    if reason is not None:
        return Reading.absent(reason)
    return Reading(sum(each.value or 0 for each in readings) / len(readings))
