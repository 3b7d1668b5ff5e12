"""Comparisons whose answers are known beforehand: a mode against itself, and a tenant slowed by a known share.

They are no part of any family and correct nothing. Where one fails, the other intervals of the run deserve doubt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import AGAIN, CONTROL, SLOWED, Cells, Question
from bench.analysis.colocation import EXCLUSIVE, BlockCell, repeated_cells
from bench.analysis.contrasts import Contrast, compared, primary_metrics
from bench.analysis.metrics import RATE, unit_of
from bench.analysis.reading import Reading
from bench.analysis.trials import TrialMeasure
from bench.plan.model import Job, Mix, Plan
from bench.plan.schedule import KNOWN_SLOWDOWN, Role
from bench.stats.rounding import with_limits
from bench.stats.verdict import Verdict
from bench.store.record import TrialRecord

AS_EXPECTED, NOT_AS_EXPECTED = "as expected", "not as expected"
_BY_CHANCE = "one interval in twenty misses by chance; otherwise"


@dataclass(frozen=True)
class Control:
    """What a comparison with a known answer shows; `expected` is the ratio that its interval should cover."""

    name: str
    expected: float
    contrast: Contrast
    text: str


def controls(
    plan: Plan,
    trials: Sequence[TrialMeasure],
    cells: Sequence[BlockCell],
    records: Sequence[TrialRecord],
    units: dict[str, str],
    pilot_blocks: int | None,
) -> tuple[Control, ...]:
    """Return the controls of a plan that has them: A/A in what the primary family asks, then the positive one."""
    if not plan.timing.has_controls:
        return ()
    again = [replace(cell, mode=f"{cell.mode} {AGAIN}") for cell in repeated_cells(trials)]
    known = Cells([*cells, *again, *_alone(trials)], records, pilot_blocks)
    slowed = [_slowed(plan, known, units, job) for job in [plan.slowed_job] if job is not None]
    return (*_against_itself(plan, known), *slowed)


def _alone(trials: Iterable[TrialMeasure]) -> list[BlockCell]:
    """Return the rate of each job alone, as it is and slowed, as cells of a mix that is the job."""
    sides = {Role.SOLO: EXCLUSIVE, Role.SLOWED: SLOWED}
    return [
        BlockCell(each.record.block, sides[each.record.role], job.job, each.record.id, (),
                  {(RATE.name, job.job): Reading(job.rate)})
        for each in trials if each.record.role in sides for job in each.jobs
    ]  # fmt: skip


def _against_itself(plan: Plan, cells: Cells) -> list[Control]:
    mode, mix = plan.repeated_mode, plan.mixes[0]
    if mode is None:
        return []
    found = []
    for metric, job in primary_metrics(plan, mix):
        label = f"{mode.label} {AGAIN}"
        question = Question(mix.name, metric, job, label, mode.label, metric.unit, CONTROL)
        contrast = _judged(_ask(plan, cells, question, mix), 1.0)
        of = f"of {job} in" if job else "of"
        told = f"A/A: {mode.label} against itself ({metric.label} {of} the mix “{mix.name}”)"
        found.append(Control("A/A", 1.0, contrast, f"{told} {_shown(contrast)}, {_covers_one(contrast)}."))
    return found


def _covers_one(row: Contrast) -> str:
    if row.verdict == NOT_AS_EXPECTED:
        return f"covers 1: no; {_BY_CHANCE} trials differ by more than their mode, and so may other contrasts"
    return _outcome(row, 1.0)


def _slowed(plan: Plan, cells: Cells, units: dict[str, str], job: Job) -> Control:
    expected = 1 / (1 + KNOWN_SLOWDOWN)
    alone = Mix(name=job.label, jobs=(job,))
    unit = unit_of(RATE, job.label, units)
    question = Question(alone.name, RATE, job.label, SLOWED, EXCLUSIVE, unit, CONTROL)
    contrast = _judged(_ask(plan, cells, question, alone), expected)
    told = f"Positive control: a tenant slowed by {100 * KNOWN_SLOWDOWN:g} % ({job.label} alone)"
    seen = "is seen as " if contrast.ratio is not None else ""
    text = f"{told} {seen}{_shown(contrast)}, {_covers_the_slowdown(contrast, expected)}."
    return Control("positive control", expected, contrast, text)


def _covers_the_slowdown(row: Contrast, expected: float) -> str:
    if row.verdict != NOT_AS_EXPECTED:
        return _outcome(row, expected)
    if _covers(row, expected):
        return f"covers {expected:.3g} but 1 as well: this run is too noisy to see a difference of this size"
    return f"covers {expected:.3g}: no; {_BY_CHANCE} rates of this run are off by about as much"


def _ask(plan: Plan, cells: Cells, question: Question, mix: Mix) -> Contrast:
    pairs = cells.pairs(question)
    return compared(cells, question, mix, plan.blocks, pairs, pairs.interval.p_value)


def _judged(row: Contrast, expected: float) -> Contrast:
    """Replace the verdict: the interval must cover what is known, and a known difference must exclude 1."""
    if row.verdict == Verdict.NOT_ENOUGH_DATA:
        return row
    holds = _covers(row, expected) and (expected == 1 or not _covers(row, 1.0))
    return replace(row, verdict=AS_EXPECTED if holds else NOT_AS_EXPECTED, reason=None)


def _covers(row: Contrast, ratio: float) -> bool:
    return row.ci_low is not None and row.ci_high is not None and row.ci_low <= ratio <= row.ci_high


def _shown(row: Contrast) -> str:
    if row.ratio is None:
        return "is not known"
    blocks = "1 block" if row.n_blocks == 1 else f"{row.n_blocks} blocks"
    interval = "no interval" if row.ci_low is None else "95 % CI"
    return f"{with_limits(row.ratio, row.ci_low, row.ci_high)} ({interval}, n = {blocks})"


def _outcome(row: Contrast, expected: float) -> str:
    if row.verdict == AS_EXPECTED:
        return f"covers {expected:.3g}: yes"
    return f"not judged: {row.reason or 'not measured yet'}"
