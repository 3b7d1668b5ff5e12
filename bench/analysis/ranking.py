"""Whether modes differ over many different mixes: Friedman's test on ranks, and which pairs of modes do.

A workload is a set of jobs: of mixes that differ in numbers alone, the one with the most jobs counts. Each is
summed up over its blocks first, so that blocks are no replicates of workloads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.levels import Level
from bench.analysis.metrics import JAIN, METRICS
from bench.plan.model import Mix, Plan
from bench.stats.crosscheck import signed_rank_p
from bench.stats.many_workloads import Friedman, critical_difference, friedman
from bench.stats.multiplicity import holm
from bench.stats.verdict import MIN_BLOCKS

MIN_RANKED = MIN_BLOCKS
"""Workloads that a ranking needs: with fewer no signed-rank test can reach p < 0.05."""


@dataclass(frozen=True)
class RankedPair:
    """Two modes over all workloads; `p_adjusted` is of Wilcoxon's signed ranks, after Holm over all pairs."""

    a: str
    b: str
    p_adjusted: float | None


@dataclass(frozen=True)
class Ranking:
    """Average ranks of modes in one metric over different workloads; rank 1 is best."""

    metric: str
    modes: tuple[str, ...]
    test: Friedman
    critical_difference: float | None
    pairs: tuple[RankedPair, ...]
    left_out: tuple[str, ...]
    """Mixes in which a mode has no value."""


def rankings(plan: Plan, levels: Sequence[Level]) -> tuple[Ranking, ...]:
    """Return one for each primary metric, where the plan has enough different workloads."""
    mixes = _different(plan.mixes)
    if len(mixes) < MIN_RANKED:
        return ()
    found = (_ranking(plan, metric, mixes, levels) for metric in plan.primary)
    return tuple(each for each in found if each is not None)


def _different(mixes: Sequence[Mix]) -> list[str]:
    largest: dict[frozenset[str], Mix] = {}
    for mix in mixes:
        jobs = frozenset(job.label for job in mix.jobs)
        largest[jobs] = max(largest.get(jobs, mix), mix, key=lambda each: len(each.jobs))
    return [mix.name for mix in largest.values()]


def _ranking(plan: Plan, metric: str, mixes: Sequence[str], levels: Sequence[Level]) -> Ranking | None:
    turns = [] if metric == JAIN.name else [EXCLUSIVE]  # taking turns is fair by definition
    modes = [*turns, *(mode.label for mode in plan.sharing_modes)]
    values = {(level.mix, level.mode): level.value for level in levels if level.metric == metric and not level.job}
    rows = {mix: [values.get((mix, mode)) for mode in modes] for mix in mixes}
    whole = {mix: [value for value in row if value is not None] for mix, row in rows.items() if None not in row}
    if len(whole) < MIN_RANKED or len(modes) < 2:
        return None
    test = friedman(list(whole.values()), higher_is_better=METRICS[metric].higher_is_better)
    if test is None:
        return None
    difference = critical_difference(len(modes), len(whole))
    left_out = tuple(mix for mix in mixes if mix not in whole)
    return Ranking(metric, tuple(modes), test, difference, _pairs(modes, whole), left_out)


def _pairs(modes: Sequence[str], rows: Mapping[str, Sequence[float]]) -> tuple[RankedPair, ...]:
    columns = dict(zip(modes, zip(*rows.values(), strict=True), strict=True))
    asked = list(combinations(modes, 2))
    adjusted = holm([signed_rank_p(columns[a], columns[b]) for a, b in asked])
    return tuple(RankedPair(a, b, p) for (a, b), p in zip(asked, adjusted, strict=True))
