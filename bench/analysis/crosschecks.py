"""The primary contrasts by methods that assume less: they stand beside the headline, never in its place."""

from dataclasses import dataclass

from bench.analysis.cells import Cells, Pairs, Question
from bench.analysis.contrasts import primary_data
from bench.plan.model import Plan
from bench.stats.bootstrap import bca_paired_ratio
from bench.stats.crosscheck import sign_flip_p, signed_rank_p
from bench.stats.interval import Interval
from bench.stats.multiplicity import holm
from bench.stats.ranks import a12, cliffs_delta, hodges_lehmann_ratio
from bench.stats.ratio import RatioInterval


@dataclass(frozen=True)
class CrossCheck:
    """One primary contrast by other methods, over the same blocks; p-values after Holm over the same family.

    `a12` is how often a block of the mode exceeds one of its baseline; `cliffs_delta` says the same from -1 to 1.
    """

    mix: str
    metric: str
    mode: str
    baseline: str
    n_blocks: int
    headline: RatioInterval
    bca: Interval
    hodges_lehmann: Interval
    a12: Interval
    cliffs_delta: float | None
    sign_flip_p: float | None
    signed_rank_p: float | None


def crosschecks(plan: Plan, cells: Cells) -> tuple[CrossCheck, ...]:
    """Return one for each contrast of the primary family that has blocks; the others keep their seats."""
    asked = primary_data(plan, cells)
    flips = holm([sign_flip_p(pairs.values, pairs.baseline) for _, pairs in asked])
    ranks = holm([signed_rank_p(pairs.values, pairs.baseline) for _, pairs in asked])
    found = zip(asked, flips, ranks, strict=True)
    return tuple(_check(*each, flip, rank) for each, flip, rank in found if each[1].values)


def _check(asked: Question, pairs: Pairs, flip: float | None, rank: float | None) -> CrossCheck:
    mode, baseline = pairs.values, pairs.baseline
    wins = a12(mode, baseline)
    return CrossCheck(
        mix=asked.mix,
        metric=asked.metric.name,
        mode=asked.mode,
        baseline=asked.baseline,
        n_blocks=len(mode),
        headline=pairs.interval,
        bca=bca_paired_ratio(mode, baseline),
        hodges_lehmann=hodges_lehmann_ratio(mode, baseline),
        a12=wins,
        cliffs_delta=None if wins.value is None else cliffs_delta(wins.value),
        sign_flip_p=flip,
        signed_rank_p=rank,
    )
