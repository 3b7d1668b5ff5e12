"""What one contrast lets us say. It may say that it cannot tell; it never claims a difference by accident."""

import math
from dataclasses import dataclass
from enum import StrEnum

from bench.stats.ratio import RatioInterval
from bench.stats.rounding import counted

MIN_BLOCKS = 6
"""With 5 blocks no exact test can reach p < 0.05 (`crosscheck.smallest_possible_p`)."""
MAX_FAILURE_SHARE = 0.20
"""A mode that fails in more of its blocks than this cannot win: the blocks that are left flatter it."""
ALPHA = 0.05
"""The chance, over the whole declared family, of calling any difference where there is none."""


class Verdict(StrEnum):
    """A mode against its baseline."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE_SHOWN = "no difference shown"
    FAILS_TOO_OFTEN = "fails too often"
    """The side that measured better failed in too many blocks to be called the winner."""
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True)
class Judgement:
    """A verdict, and a clause that says why no winner is named where that needs saying."""

    verdict: Verdict
    reason: str | None = None


def judge(
    interval: RatioInterval,
    adjusted_p: float | None,
    *,
    higher_is_better: bool,
    blocks: int,
    failures: int = 0,
    baseline_failures: int = 0,
) -> Judgement:
    """Judge mode over baseline from the ratio, its p-value after Holm, and the failures among `blocks`.

    `interval.n` counts the blocks in which both sides are ok. Raises ValueError on numbers that contradict
    each other.
    """
    _refuse_contradictions(interval, adjusted_p, blocks, failures, baseline_failures)
    if interval.n < MIN_BLOCKS:
        return Judgement(Verdict.NOT_ENOUGH_DATA, _too_few(interval.n, blocks))
    if adjusted_p is None or interval.ratio is None:
        return Judgement(Verdict.NOT_ENOUGH_DATA, "all blocks give the same ratio, so no test applies")
    if adjusted_p >= ALPHA:
        return Judgement(Verdict.NO_DIFFERENCE_SHOWN)
    if (interval.ratio > 1) == higher_is_better:
        return _winner(Verdict.BETTER, "the mode", failures, blocks)
    return _winner(Verdict.WORSE, "the baseline", baseline_failures, blocks)


def fails_too_often(failures: int, blocks: int) -> bool:
    """Whether a mode failed in more blocks than it may and still win."""
    return failures > MAX_FAILURE_SHARE * blocks


def _too_few(n: int, blocks: int) -> str:
    return f"{n} of {counted(blocks, 'block')} compare{'s' * (n == 1)}, {MIN_BLOCKS} are needed"


def _winner(verdict: Verdict, side: str, failures: int, blocks: int) -> Judgement:
    if fails_too_often(failures, blocks):
        return Judgement(Verdict.FAILS_TOO_OFTEN, f"{side} fails {failures} of {blocks}")
    return Judgement(verdict)


def _refuse_contradictions(
    interval: RatioInterval, adjusted_p: float | None, blocks: int, failures: int, baseline_failures: int
) -> None:
    if interval.n + max(failures, baseline_failures) > blocks:
        raise ValueError(
            f"{interval.n} pairs with {failures} and {baseline_failures} failures do not fit {blocks} blocks"
        )
    if (interval.p_value is None) != (adjusted_p is None):
        raise ValueError(f"the p-value is {interval.p_value} but its adjustment is {adjusted_p}")
    if interval.p_value is None or adjusted_p is None:
        return
    if math.isnan(adjusted_p) or not interval.p_value <= adjusted_p <= 1:
        raise ValueError(f"the adjusted p must lie between the p-value {interval.p_value} and 1, not {adjusted_p}")
