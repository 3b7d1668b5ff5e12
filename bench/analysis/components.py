"""Where the rates of the repeated mix vary: between blocks, between launches, or within a window.

The A/A arm launches the first mix twice in each block, so repeats nest in equal numbers: block, launch, part of
the window. Described on logarithms of rates, and never tested: what each level adds, and which repeats would pay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil, sqrt
from statistics import fmean

import numpy as np

from bench.analysis.trials import TrialMeasure
from bench.analysis.windows import PARTS
from bench.plan.model import Plan
from bench.plan.schedule import Role, Schedule, make_schedule
from bench.stats.nested import VarianceComponents, best_repetitions, variance_components
from bench.stats.rounding import bare
from bench.store.record import TrialRecord, VisitRecord

PART, LAUNCH, BLOCK = LEVELS = ("part of a window", "launch", "block")
"""Lowest first, as `stats.nested` has them."""
LAUNCHES = 2
"""Of the mix in each block: in its place among the others, and as A/A."""
_ARITHMETIC = 1e-12  # variances of logarithms up to here are those of rounded numbers
_OF_USERS = "the rate of this job is that of its users, in every launch"
_IDLE = "the job did nothing in a part of a window, and 0 has no logarithm"

_Launches = tuple[TrialMeasure, ...]
"""Those of one block."""


@dataclass(frozen=True)
class JobComponents:
    """How much the logarithm of one job's rate varies at each level; nothing, with its `reason`, where unknown."""

    job: str
    variances: VarianceComponents | None
    best: tuple[float | None, ...] = ()
    """Parts in a window and launches in a block that a given time is best spent on (`best_repetitions`)."""
    reason: str | None = None

    @property
    def spreads(self) -> tuple[float | None, ...]:
        """Standard deviation that each level adds, about a share of the rate; None where none was detected."""
        return tuple(sqrt(own) if own > 0 else None for own in self._detected)

    @property
    def of_trial(self) -> tuple[float, ...]:
        """What each level adds to the variance of one trial's rate, the mean over the parts of its window."""
        return tuple(own / (1 if above else PARTS) for above, own in enumerate(self._detected))

    @property
    def shares(self) -> tuple[float, ...]:
        """The same as shares; none where nothing varies."""
        own = self.of_trial
        return tuple(each / sum(own) for each in own) if sum(own) else ()

    @property
    def _detected(self) -> tuple[float, ...]:
        return _detected(self.variances).unbiased if self.variances else ()


@dataclass(frozen=True)
class Components:
    """What the repeated mix shows in the mode that was launched twice, over blocks with both launches."""

    mix: str
    mode: str
    n_blocks: int
    costs_s: tuple[float, ...]
    """Of one more part, launch and block, each without those below it."""
    jobs: tuple[JobComponents, ...]

    def best_window_s(self, job: JobComponents) -> float | None:
        """Return the window that pays best, in whole parts; None where longer is better, whatever its cost."""
        parts = job.best[0] if job.best else None
        return None if parts is None else max(1, ceil(parts)) * self.costs_s[0]

    def advice(self, job: JobComponents) -> str:
        """Say which repeats would narrow intervals: of contrasts, from which differences of blocks cancel."""
        if job.variances is None:
            return job.reason or ""
        part, launch, _ = job.of_trial
        if not part + launch:
            return "nothing within a block varies"
        if not launch:
            return "longer windows would narrow intervals as more launches or blocks do, and cost less"
        best_s = self.best_window_s(job) or 0
        if best_s > PARTS * self.costs_s[0]:
            return f"windows of {best_s:.0f} s would narrow intervals most for their time"
        most = bare(100 * (1 - sqrt(launch / (part + launch))))
        return f"longer windows would narrow intervals by {most} % at most; more launches or blocks go further"


def components(
    plan: Plan,
    trials: Iterable[TrialMeasure],
    records: Sequence[TrialRecord],
    visits: Iterable[VisitRecord] | None,
) -> Components | None:
    """Return the components of each job; None without an A/A arm, below two whole blocks, or without a rate.

    `visits` is None where the host's time is not the device's: costs are then those that --dry-run assumes.
    """
    mode = plan.repeated_mode
    if mode is None:
        return None
    mix = plan.mixes[0]
    blocks = _whole_blocks(trials, mode.label, mix.name)
    if len(blocks) < 2:
        return None
    costs_s = _assumed_s(plan) if visits is None else _measured_s(blocks, records, tuple(visits))
    jobs = tuple(_job(name, blocks, costs_s) for name in dict.fromkeys(job.job for job in blocks[0][0].jobs))
    told = any(job.variances for job in jobs)
    return Components(mix.name, mode.label, len(blocks), costs_s, jobs) if told else None


def _whole_blocks(trials: Iterable[TrialMeasure], mode: str, mix: str) -> list[_Launches]:
    """Return the launches of each block in which all of them count."""
    found: dict[int, list[TrialMeasure]] = {}
    for trial in trials:
        record = trial.record
        if (record.mode_label, record.mix) == (mode, mix) and record.role in (Role.MIX, Role.REPEAT):
            found.setdefault(record.block, []).append(trial)
    return [tuple(launches) for launches in found.values() if len(launches) == LAUNCHES]


def _job(job: str, blocks: Sequence[_Launches], costs_s: Sequence[float]) -> JobComponents:
    rates = np.array([[_part_rates(launch, job) for launch in launches] for launches in blocks])
    if not rates.size:
        return JobComponents(job, None, reason=_OF_USERS)
    if not (rates > 0).all():
        return JobComponents(job, None, reason=_IDLE)
    found = variance_components(np.log(rates))
    return JobComponents(job, found, best_repetitions(_detected(found), costs_s) if found else ())


def _part_rates(launch: TrialMeasure, job: str) -> list[float]:
    """Return the mean over equal tenants in each part of the window; nothing for a job of requests."""
    tenants = [each.part_rates for each in launch.tenants if each.tenant.job == job]
    return [fmean(part) for part in zip(*tenants, strict=True)]


def _detected(found: VarianceComponents) -> VarianceComponents:
    return replace(found, unbiased=tuple(own if own > _ARITHMETIC else 0.0 for own in found.unbiased))


def _assumed_s(plan: Plan) -> tuple[float, ...]:
    block = make_schedule(plan, seed=0).blocks[0]
    again = tuple(visit for visit in block.visits if visit.trials[0].role is Role.REPEAT)
    launch, whole = (
        Schedule(plan.timing, (replace(block, visits=visits),)) for visits in (again, block.visits)
    )  # fmt: skip
    return _own_s(plan.timing.window_s, *(each.measured_s + each.start_up_s for each in (launch, whole)))


def _measured_s(
    blocks: Sequence[_Launches], records: Iterable[TrialRecord], visits: Iterable[VisitRecord]
) -> tuple[float, ...]:
    """Return what was spent on these blocks, by the host's clock, entering and leaving modes included."""
    launches = [launch for own in blocks for launch in own]
    mode, there = launches[0].record.mode_label, {(each.record.block, each.record.longer) for each in launches}
    took = [_took_s(record) for record in records if (record.block, record.longer) in there]
    switched = [visit for visit in visits if (visit.block, visit.longer) in there]
    entering_s = sum(_switching_s(visit) for visit in switched if visit.mode_label == mode) / len(launches)
    launch_s = fmean(_took_s(launch.record) for launch in launches) + entering_s
    whole_s = (sum(took) + sum(map(_switching_s, switched))) / len(blocks)
    return _own_s(fmean(launch.window.length_s for launch in launches), launch_s, whole_s)


def _own_s(window_s: float, launch_s: float, block_s: float) -> tuple[float, ...]:
    return window_s / PARTS, max(0.0, launch_s - window_s), max(0.0, block_s - LAUNCHES * launch_s)


def _took_s(record: TrialRecord) -> float:
    began, ended = (datetime.fromisoformat(each) for each in (record.host.started_at, record.host.ended_at))
    return (ended - began).total_seconds()


def _switching_s(visit: VisitRecord) -> float:
    return (visit.enter_s or 0) + (visit.leave_s or 0)
