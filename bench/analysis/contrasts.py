"""Every comparison of two modes: ratio over blocks with interval, correction for multiplicity, and verdict.

The primary family is declared by the plan before the run: each sharing mode against exclusive, and against the
baseline mode, in the goodput of each job that serves users and in the plan's primary metrics; Holm holds over
all of it. Everything else is exploratory (BH).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import EXPLORATORY, PRIMARY, Cells, Pairs, Question
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.metrics import GOODPUT, JOB_METRICS, METRICS, MIX_METRICS, TAIL, Metric, unit_of
from bench.plan.model import Mix, Plan
from bench.stats.equivalence import Reproduction
from bench.stats.multiplicity import benjamini_hochberg, holm
from bench.stats.verdict import Judgement, Verdict, judge

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


def _questions(plan: Plan, units: dict[str, str]) -> Iterator[Question]:
    modes = [mode.label for mode in plan.sharing_modes]
    for mix in plan.mixes:
        for baseline in (EXCLUSIVE, plan.reference):
            for mode in modes if baseline else ():
                if mode != baseline:
                    yield from _of_pair(plan, mix, mode, str(baseline), units)


def primary_metrics(plan: Plan, mix: Mix) -> Iterator[tuple[Metric, str]]:
    """Yield what the primary family asks of a mix: goodput of each job with users, then the plan's metrics."""
    yield from ((GOODPUT, job) for job in dict.fromkeys(job.label for job in mix.jobs if job.serves_users))
    yield from ((METRICS[name], "") for name in plan.primary if METRICS[name] in _of_mix(mix))


def _of_mix(mix: Mix) -> Sequence[Metric]:
    return (TAIL,) if mix.serves_only_users else MIX_METRICS


def _of_pair(plan: Plan, mix: Mix, mode: str, baseline: str, units: dict[str, str]) -> Iterator[Question]:
    primary = list(primary_metrics(plan, mix))
    for metric, job in primary:
        yield Question(mix.name, metric, job, mode, baseline, metric.unit, PRIMARY)
    for metric in _of_mix(mix):
        if (metric, "") not in primary:
            yield Question(mix.name, metric, "", mode, baseline, metric.unit, EXPLORATORY)
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
    judgement = judge(
        interval,
        adjusted_p,
        higher_is_better=question.metric.higher_is_better,
        blocks=attempted,
        failures=sum(failed.values()),
        baseline_failures=sum(baseline_failed.values()),
    )
    same = pairs.sameness(question.metric.margin, adjusted_p)
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
        margin=question.metric.margin,
    )


def _beyond_noise(question: Question, judgement: Judgement, same: Reproduction) -> Judgement:
    """Take back a "worse" that noise alone would bring about, unless it goes beyond the margin."""
    derived = question.baseline == EXCLUSIVE and question.metric.noise_worsens
    if not derived or judgement.verdict is not Verdict.WORSE or same is Reproduction.NOT_REPRODUCED:
        return judgement
    return Judgement(Verdict.NO_DIFFERENCE_SHOWN, NOISE)
