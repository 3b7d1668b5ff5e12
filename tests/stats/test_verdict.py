import math
from dataclasses import replace

import numpy as np
import pytest

from bench.stats.multiplicity import holm
from bench.stats.ratio import RatioInterval, paired_log_ratio
from bench.stats.verdict import Judgement, Verdict, judge

NOISE = [1.00, 1.01, 0.99, 1.02, 0.98, 1.00, 1.01, 0.99, 1.02, 0.98]


def blocks_of(ratio: float, n: int = 10) -> RatioInterval:
    return paired_log_ratio([ratio * noise for noise in NOISE[:n]], [1.0] * n)


def judged(interval: RatioInterval, *, higher_is_better: bool = True, **counts: int) -> Judgement:
    return judge(interval, interval.p_value, higher_is_better=higher_is_better, **{"blocks": 10, **counts})


@pytest.mark.parametrize(
    ("ratio", "higher_is_better", "verdict"),
    [
        (1.2, True, Verdict.BETTER),
        (1.2, False, Verdict.WORSE),
        (0.8, True, Verdict.WORSE),
        (0.8, False, Verdict.BETTER),
        (1.001, True, Verdict.NO_DIFFERENCE_SHOWN),
    ],
)
def test_direction(ratio: float, higher_is_better: bool, verdict: Verdict) -> None:
    assert judged(blocks_of(ratio), higher_is_better=higher_is_better) == Judgement(verdict)


def test_the_adjusted_p_decides() -> None:
    interval = blocks_of(1.012)
    assert interval.p_value is not None
    assert 0.01 < interval.p_value < 0.05
    adjusted_p = holm([interval.p_value, 0.5, 0.6, 0.7, 0.8])[0]
    alone = judge(interval, interval.p_value, higher_is_better=True, blocks=10)
    in_family = judge(interval, adjusted_p, higher_is_better=True, blocks=10)
    assert (alone.verdict, in_family.verdict) == (Verdict.BETTER, Verdict.NO_DIFFERENCE_SHOWN)


def test_five_blocks_are_not_enough_however_clear() -> None:
    few = judged(blocks_of(3, n=5))
    assert few == Judgement(Verdict.NOT_ENOUGH_DATA, "5 of 10 blocks compare, 6 are needed")
    assert judged(blocks_of(3, n=6)).verdict == Verdict.BETTER
    assert judged(blocks_of(3, n=1), blocks=1).reason == "1 of 1 block compares, 6 are needed"


@pytest.mark.parametrize("n", [0, 1])
def test_next_to_no_blocks(n: int) -> None:
    assert judged(blocks_of(3, n)).verdict == Verdict.NOT_ENOUGH_DATA


def test_no_variation_is_never_called_a_difference() -> None:
    constant = paired_log_ratio([2.0] * 10, [1.0] * 10)
    assert judged(constant) == Judgement(
        Verdict.NOT_ENOUGH_DATA, "all blocks give the same ratio, so no test applies"
    )


def test_a_mode_that_fails_in_more_than_a_fifth_of_its_blocks_cannot_win() -> None:
    assert judged(blocks_of(1.2, n=8), failures=2).verdict == Verdict.BETTER
    assert judged(blocks_of(1.2, n=7), failures=3) == Judgement(Verdict.FAILS_TOO_OFTEN, "the mode fails 3 of 10")
    assert judged(blocks_of(0.8, n=7), failures=3).verdict == Verdict.WORSE


def test_nor_can_a_baseline_that_fails() -> None:
    assert judged(blocks_of(0.8, n=7), baseline_failures=3) == Judgement(
        Verdict.FAILS_TOO_OFTEN, "the baseline fails 3 of 10"
    )
    assert judged(blocks_of(1.2, n=7), baseline_failures=3).verdict == Verdict.BETTER


def test_numbers_that_contradict_each_other_are_refused() -> None:
    interval = blocks_of(1.2)
    assert interval.p_value is not None
    for wrong in (math.nan, interval.p_value / 2, 1.5, None):
        with pytest.raises(ValueError, match="adjust"):
            judge(interval, wrong, higher_is_better=True, blocks=10)
    with pytest.raises(ValueError, match="adjust"):
        judge(replace(interval, p_value=math.nan), 0.01, higher_is_better=True, blocks=10)
    with pytest.raises(ValueError, match="do not fit 10 blocks"):
        judged(interval, failures=1)


def test_false_differences_among_equal_modes_stay_below_the_level() -> None:
    # three contrasts a campaign; Binomial(300, 0.05) exceeds 27 with a chance of 0.1 %
    rng = np.random.default_rng(19_790_101)
    calls = 0
    for _ in range(300):
        baseline = rng.lognormal(0, 0.03, 10)
        contrasts = [paired_log_ratio(rng.lognormal(0, 0.03, 10), baseline) for _ in range(3)]
        adjusted = holm([c.p_value for c in contrasts])
        verdicts = [
            judge(c, p, higher_is_better=True, blocks=10).verdict for c, p in zip(contrasts, adjusted, strict=True)
        ]
        calls += any(verdict in {Verdict.BETTER, Verdict.WORSE} for verdict in verdicts)
    assert calls <= 27
