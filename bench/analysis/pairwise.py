"""Every pair of modes: which of two is ahead in one metric of one mix, and whether they are the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.cells import EXPLORATORY, Cells, Question
from bench.analysis.metrics import METRICS
from bench.stats.equivalence import Reproduction
from bench.stats.multiplicity import holm
from bench.stats.ratio import RatioInterval
from bench.stats.verdict import Verdict, judge


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
    sameness: Reproduction
    """Two one-sided tests: whether the two are the same within the margin of the metric."""

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
        pair: Pair(
            *pair,
            *each.levels,
            each.interval,
            p,
            METRICS[metric].higher_is_better,
            each.sameness(METRICS[metric].margin, p),
        )
        for pair, each, p in zip(pairs, data, adjusted, strict=True)
    }
