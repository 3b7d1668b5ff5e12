"""Every comparison of two modes: ratio over blocks with interval, correction for multiplicity, and verdict.

The primary family is declared by the plan before the run: each sharing mode against exclusive, and against the
baseline mode, in the goodput of each job that serves users and in the plan's primary metrics; Holm holds over
all of it. Everything else is exploratory (BH).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

from bench.analysis.colocation import EXCLUSIVE, BlockCell
from bench.analysis.metrics import GOODPUT, JOB_METRICS, METRICS, MIX_METRICS, TAIL, TAILS, Metric, unit_of
from bench.analysis.reading import first_reason
from bench.plan.model import Mix, Plan
from bench.plan.schedule import Role
from bench.stats.equivalence import ALPHA, TAIL_MARGIN, THROUGHPUT_MARGIN, Reproduction, verdict_of
from bench.stats.interval import geometric_mean_interval
from bench.stats.multiplicity import benjamini_hochberg, holm
from bench.stats.ratio import RatioInterval, paired_log_ratio, two_stage_log_ratio
from bench.stats.verdict import Judgement, Verdict, judge
from bench.store.record import Status, TrialRecord

PRIMARY, EXPLORATORY, CONTROL = "primary", "exploratory", "control"
AGAIN, SLOWED = "(A/A)", f"{EXCLUSIVE} (slowed)"
ALL_TRIALS, UNFLAGGED = "all", "unflagged"
SAME = {
    Reproduction.REPRODUCED: "the same",
    Reproduction.REPRODUCED_BUT_DIFFERENT: "the same, yet different",
    Reproduction.NOT_REPRODUCED: "not the same",
    Reproduction.INCONCLUSIVE: "not shown",
}
"""What an equivalence test says of two modes."""
NOISE = "noise alone makes the worst job worse than in turns; it is called worse only beyond the margin"


@dataclass(frozen=True)
class Contrast:
    """One mode against its baseline in one metric of one mix; `job` is empty for the mix as a whole.

    `value` and `baseline_value` are geometric means over the `n_blocks` blocks in which both are there, in `unit`,
    so that their quotient is `ratio`. `trials` says whether flagged trials are in ("all") or out ("unflagged").
    """

    mix: str
    metric: str
    job: str
    unit: str
    mode: str
    baseline: str
    value: float | None
    baseline_value: float | None
    ratio: float | None
    ci_low: float | None
    ci_high: float | None
    n_blocks: int
    n_planned: int
    p_value: float | None
    p_adjusted: float | None
    effect_size: float | None
    family: str
    better_direction: str
    failures: int
    baseline_failures: int
    n_attempted: int
    verdict: str
    reason: str | None
    trials: str = ALL_TRIALS
    equivalence: str | None = None
    """Two one-sided tests against `margin` (`SAME`): whether the two sides are the same for practical ends."""
    margin: float | None = None


@dataclass(frozen=True)
class Question:
    """What a contrast asks, before the data are looked at."""

    mix: str
    metric: Metric
    job: str
    mode: str
    baseline: str
    unit: str
    family: str


@dataclass(frozen=True)
class Pairs:
    """A question's data: the values of both sides in the blocks in which both are there."""

    values: list[float]
    baseline: list[float]
    reason: str | None
    pilot: int | None = None
    """How many of them, the first ones, are of the pilot that chose the number of blocks; None without one."""

    @cached_property
    def interval(self) -> RatioInterval:
        """Mode over baseline; against a derived arm this is the one-sample interval against its constant."""
        return self.at(0.95)

    def at(self, confidence: float) -> RatioInterval:
        """Return the interval of mode over baseline at another confidence."""
        if self.pilot is not None:
            return two_stage_log_ratio(self.values, self.baseline, self.pilot, confidence)
        return paired_log_ratio(self.values, self.baseline, confidence)

    @property
    def levels(self) -> tuple[float | None, float | None]:
        """Geometric means of both sides."""
        return geometric_mean_interval(self.values).value, geometric_mean_interval(self.baseline).value


def arm_of(record: TrialRecord) -> str:
    """Return the side of a comparison that a trial is on: its mode, but for jobs alone and for controls."""
    match record.role:
        case Role.SOLO:  # as-found runs its own solo trials
            return EXCLUSIVE
        case Role.SLOWED:
            return SLOWED
        case Role.REPEAT:
            return f"{record.mode_label} {AGAIN}"
        case _:
            return record.mode_label


class Cells:
    """All cells of a run by mode, mix and block, with the failures that left gaps among them.

    `pilot_blocks` is how many blocks chose the number of all; None where that number was fixed beforehand.
    """

    def __init__(
        self, cells: Iterable[BlockCell], records: Iterable[TrialRecord], pilot_blocks: int | None = None
    ) -> None:
        self._pilot_blocks = pilot_blocks
        self._cells: dict[tuple[str, str], dict[int, BlockCell]] = {}
        for cell in sorted(cells, key=lambda cell: cell.block):
            self._cells.setdefault((cell.mode, cell.mix), {})[cell.block] = cell
        self._attempts: dict[tuple[str, str], dict[int, bool]] = {}
        self._skipped: set[tuple[str, str]] = set()
        for record in records:
            mode = arm_of(record)
            if record.status is Status.SKIPPED:
                self._skipped.add((mode, record.mix))
            elif record.role is not Role.SHARE:
                failed = self._attempts.setdefault((mode, record.mix), {})
                failed[record.block] = record.status is Status.FAILED

    def attempts(self, mode: str, mix: Mix) -> dict[int, bool]:
        """Return the blocks in which a cell was attempted, and whether it failed there."""
        if mode != EXCLUSIVE:
            return self._attempts.get((mode, mix.name), {})
        failed: dict[int, bool] = {}
        for job in dict.fromkeys(job.label for job in mix.jobs):
            for block, its_own in self._attempts.get((EXCLUSIVE, job), {}).items():
                failed[block] = failed.get(block, False) or its_own
        return failed

    def of(self, mode: str, mix: str) -> Mapping[int, BlockCell]:
        """Return the measured (or derived) cells of one mode and mix by block, in order."""
        return self._cells.get((mode, mix), {})

    def pairs(self, question: Question) -> Pairs:
        """Pair the two sides of a question block by block; a starved job forbids the ratio, visibly."""
        sides = [
            {
                block: cell.reading(question.metric.name, question.job)
                for block, cell in self.of(mode, question.mix).items()
            }
            for mode in (question.mode, question.baseline)
        ]
        both = {block: (sides[0][block], sides[1][block]) for block in sides[0] if block in sides[1]}
        told = {block: (a.value, b.value) for block, (a, b) in both.items()}
        known = {block: (a, b) for block, (a, b) in told.items() if a is not None and b is not None}
        unbounded = sum(not all(isfinite(x) and x > 0 for x in pair) for pair in known.values())
        if unbounded:
            return Pairs([], [], f"a job starved in {unbounded} of {len(known)} blocks, so no ratio is finite")
        skipped = (question.mode, question.mix) in self._skipped and not sides[0]
        reason = (
            f"{question.mode} was skipped"
            if skipped
            else first_reason(each for pair in both.values() for each in pair)
        )
        pilot = None if self._pilot_blocks is None else sum(block <= self._pilot_blocks for block in known)
        return Pairs([a for a, _ in known.values()], [b for _, b in known.values()], reason, pilot)


def contrasts(plan: Plan, cells: Cells, units: dict[str, str], trials: str = ALL_TRIALS) -> tuple[Contrast, ...]:
    """Return all contrasts of a plan: primary family first, in plan order."""
    answered: list[Contrast] = []
    for family, adjust in ((PRIMARY, holm), (EXPLORATORY, benjamini_hochberg)):
        asked = [question for question in _questions(plan, units) if question.family == family]
        answered += _family(plan, cells, asked, adjust)
    return tuple(replace(contrast, trials=trials) for contrast in answered)


def primary_data(plan: Plan, cells: Cells) -> list[tuple[Question, Pairs]]:
    """Return the questions of the primary family, each with its data."""
    return [(asked, cells.pairs(asked)) for asked in _questions(plan, {}) if asked.family == PRIMARY]


@dataclass(frozen=True)
class Pair:
    """Two modes held against each other over the blocks in which both are there; `interval` is a over b.

    `value` is what a has, `baseline_value` what b has: geometric means over these blocks.
    """

    a: str
    b: str
    value: float | None
    baseline_value: float | None
    interval: RatioInterval
    p_adjusted: float | None
    higher_is_better: bool

    @property
    def verdict(self) -> Verdict:
        """What this run says of a against b; means over blocks that only one of them has may say otherwise."""
        judged = judge(
            self.interval,
            self.p_adjusted,
            higher_is_better=self.higher_is_better,
            blocks=self.interval.n,
        )
        return judged.verdict


def pairwise(
    cells: Cells, mix: str, metric: str, modes: Sequence[str], job: str = ""
) -> dict[tuple[str, str], Pair]:
    """Return each pair of modes, in the order given: Holm over all of them, exploratory."""
    pairs = [(a, b) for index, a in enumerate(modes) for b in modes[index + 1 :]]
    asked = [Question(mix, METRICS[metric], job, *pair, "", EXPLORATORY) for pair in pairs]
    data = [cells.pairs(question) for question in asked]
    adjusted = holm([each.interval.p_value for each in data])
    return {
        pair: Pair(*pair, *each.levels, each.interval, p, METRICS[metric].higher_is_better)
        for pair, each, p in zip(pairs, data, adjusted, strict=True)
    }


def _questions(plan: Plan, units: dict[str, str]) -> Iterator[Question]:
    modes = [mode.label for mode in plan.sharing_modes]
    for mix in plan.mixes:
        for baseline in (EXCLUSIVE, plan.reference):
            for mode in modes if baseline else ():
                if mode != baseline:
                    yield from _of_pair(plan, mix, mode, str(baseline), units)


def _of_pair(plan: Plan, mix: Mix, mode: str, baseline: str, units: dict[str, str]) -> Iterator[Question]:
    for job in dict.fromkeys(job.label for job in mix.jobs if job.serves_users):
        yield Question(mix.name, GOODPUT, job, mode, baseline, GOODPUT.unit, PRIMARY)
    for metric in MIX_METRICS if not mix.serves_only_users else (TAIL,):
        family = PRIMARY if metric.name in plan.primary else EXPLORATORY
        yield Question(mix.name, metric, "", mode, baseline, metric.unit, family)
    for job in dict.fromkeys(job.label for job in mix.jobs):
        for metric in JOB_METRICS:
            unit = unit_of(metric, job, units)
            yield Question(mix.name, metric, job, mode, baseline, unit, EXPLORATORY)


_Adjust = Callable[[Sequence[float | None]], list[float | None]]


def _family(plan: Plan, cells: Cells, questions: list[Question], adjust: _Adjust) -> Iterator[Contrast]:
    data = [cells.pairs(question) for question in questions]
    adjusted = adjust([pairs.interval.p_value for pairs in data])
    mixes = {mix.name: mix for mix in plan.mixes}
    for question, pairs, p in zip(questions, data, adjusted, strict=True):
        yield compared(cells, question, mixes[question.mix], plan.blocks, pairs, p)


def compared(
    cells: Cells, question: Question, mix: Mix, planned: int, pairs: Pairs, adjusted_p: float | None
) -> Contrast:
    """Answer one question from its data; `planned` counts the blocks of the plan."""
    interval = pairs.interval
    value, baseline_value = pairs.levels
    failed, baseline_failed = (cells.attempts(mode, mix) for mode in (question.mode, question.baseline))
    attempted = len(failed | baseline_failed)
    margin = TAIL_MARGIN if question.metric.name in TAILS else THROUGHPUT_MARGIN
    judgement = judge(
        interval,
        adjusted_p,
        higher_is_better=question.metric.higher_is_better,
        blocks=attempted,
        failures=sum(failed.values()),
        baseline_failures=sum(baseline_failed.values()),
    )
    same = _sameness(judgement, pairs, margin, adjusted_p)
    judgement = _beyond_noise(question, judgement, same)
    return Contrast(
        mix=question.mix,
        metric=question.metric.name,
        job=question.job,
        unit=question.unit,
        mode=question.mode,
        baseline=question.baseline,
        value=value,
        baseline_value=baseline_value,
        ratio=interval.ratio,
        ci_low=interval.low,
        ci_high=interval.high,
        n_blocks=interval.n,
        n_planned=planned,
        p_value=interval.p_value,
        p_adjusted=adjusted_p,
        effect_size=interval.effect_size,
        family=question.family,
        better_direction=question.metric.better,
        failures=sum(failed.values()),
        baseline_failures=sum(baseline_failed.values()),
        n_attempted=attempted,
        verdict=judgement.verdict.value,
        reason="; ".join(filter(None, (judgement.reason, pairs.reason))) or None,
        equivalence=SAME[same],
        margin=margin,
    )


def _sameness(judgement: Judgement, pairs: Pairs, margin: float, adjusted_p: float | None) -> Reproduction:
    if judgement.verdict is Verdict.NOT_ENOUGH_DATA:
        return Reproduction.INCONCLUSIVE
    return verdict_of(pairs.at(1 - 2 * ALPHA), margin, adjusted_p)


def _beyond_noise(question: Question, judgement: Judgement, same: Reproduction) -> Judgement:
    """Take back a "worse" that noise alone would bring about, unless it goes beyond the margin."""
    derived = question.baseline == EXCLUSIVE and question.metric.noise_worsens
    if not derived or judgement.verdict is not Verdict.WORSE or same is Reproduction.NOT_REPRODUCED:
        return judgement
    return Judgement(Verdict.NO_DIFFERENCE_SHOWN, NOISE)
