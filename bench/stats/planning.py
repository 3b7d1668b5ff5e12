"""How many blocks a study needs, and what it can see with those it has.

Never stop on a p-value or on the sign of an effect, and never one mode before another.

Sources: Hoefler & Belli, SC 2015, doi:10.1145/2807591.2807644 (fixed number); Stein, Ann. Math. Stat. 16, 1945
(two stages); Cohen, Statistical Power Analysis, 1988; Law, Simulation Modeling and Analysis, ch. 9.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from bench.stats.checks import finite, fraction, positive, same_length
from bench.stats.interval import Interval, t_quantile

FIRST_LOOK = 10
"""Blocks before a sequential study may look: from the 2nd on, 95 % intervals cover 87 % (simulated)."""
LOOK_EVERY = 5
"""Blocks between two looks."""
SEQUENTIAL_WARNING = "sequentially stopped, coverage ≈ 94 % instead of 95 %"
"""Belongs beside every interval of a study that stopped when it was narrow enough."""
MOST_BLOCKS = 100_000
"""No study is planned beyond this."""


def fixed_n(
    mean: float, sd: float, pilot_n: int, relative_half_width: float, confidence: float = 0.95
) -> float | None:
    """Return how many runs bring the half-width down to a share of the mean, not yet rounded up.

    None below two pilot runs, and for a mean of 0, which nothing can be relative to.
    """
    if pilot_n < 2 or not mean:
        return None
    return (t_quantile(pilot_n - 1, confidence) * sd / (relative_half_width * abs(mean))) ** 2


def relative_to_true_mean(target: float) -> float:
    """Return the half-width over the *estimated* mean that promises `target` over the true one: 5 % → 4.76 %."""
    return target / (1 + target)


@dataclass(frozen=True)
class SteinPlan:
    """The second stage of a study, fixed by its pilot."""

    n: int
    """Blocks in all, pilot included."""
    pilot_n: int
    pilot_sd: float
    half_width: float
    """What was asked for, in units of the pilot."""
    confidence: float
    capped: bool
    """The target needs more than the cap: the interval will be wider, and says by how much."""


def stein_plan(
    pilot: ArrayLike, half_width: float, confidence: float = 0.95, cap: int | None = None
) -> SteinPlan | None:
    """Return how many blocks promise `half_width`, whatever the true spread; None below two pilot blocks.

    For ratios give log-ratios and ln(1 + target), for a mean the target times the pilot's mean.
    """
    values = finite("pilot", pilot)
    positive("half_width", half_width)
    if len(values) < 2:
        return None
    sd = float(values.std(ddof=1))
    needed = math.ceil((t_quantile(len(values) - 1, confidence) * sd / half_width) ** 2)
    n = max(len(values), needed if cap is None else min(needed, cap))
    return SteinPlan(n, len(values), sd, half_width, confidence, capped=needed > n)


def stein_interval(plan: SteinPlan, values: ArrayLike) -> Interval:
    """Return the mean of all blocks with Stein's interval: the pilot's spread, the pilot's degrees of freedom.

    The blocks after the pilot only sharpen the mean, so coverage holds although the pilot chose their number.
    """
    all_blocks = finite("values", values)
    n = len(all_blocks)
    mean = float(all_blocks.mean()) if n else None
    if mean is None or n < plan.pilot_n:
        return Interval(mean, None, None, n, plan.confidence)
    half_width = t_quantile(plan.pilot_n - 1, plan.confidence) * plan.pilot_sd / math.sqrt(n)
    return Interval(mean, mean - half_width, mean + half_width, n, plan.confidence, no_variation=not plan.pilot_sd)


def next_look(n: int, half_width: float | None, target: float, cap: int) -> int | None:
    """Return at how many blocks a sequential study looks next; None when it stops now, at `n`.

    It stops when `half_width` is `target` or less, never before `FIRST_LOOK`, and at `cap` in any case.
    """
    if n >= cap or (n >= FIRST_LOOK and half_width is not None and half_width <= target):
        return None
    return min(cap, max(FIRST_LOOK, n + LOOK_EVERY if n >= FIRST_LOOK else 0))


def power(ratio: float, log_sd: float, n: float, alpha: float = 0.05) -> float:
    """Return the chance that `n` blocks show a true `ratio`, when log-ratios spread by `log_sd` between blocks.

    0 below two blocks, where there is no test.
    """
    fraction("alpha", alpha)
    positive("log_sd", log_sd)
    if n < 2:
        return 0.0
    df, shift = n - 1, abs(math.log(ratio)) / log_sd * math.sqrt(n)
    critical = t_quantile(df, 1 - alpha)
    # scipy answers NaN, not 0, far below the noncentral t's mass
    below, above = (float(np.nan_to_num(special.nctdtr(df, shift, t))) for t in (-critical, critical))
    return below + 1 - above


def blocks_to_see(ratio: float, log_sd: float, chance: float = 0.9, alpha: float = 0.05) -> float | None:
    """Return how many blocks show a true `ratio` with this chance, not yet rounded up.

    None beyond any study, and without a spread to reckon with.
    """
    if ratio == 1 or not log_sd or power(ratio, log_sd, MOST_BLOCKS, alpha) < chance:
        return None
    if power(ratio, log_sd, 2, alpha) >= chance:
        return 2.0
    return float(optimize.brentq(lambda n: power(ratio, log_sd, n, alpha) - chance, 2, MOST_BLOCKS))


def visible_ratio(n: int, log_sd: float, chance: float = 0.9, alpha: float = 0.05) -> float | None:
    """Return the smallest ratio above 1 that `n` blocks show with this chance.

    None below two blocks, and without a spread to reckon with.

    "This study could have seen a difference of x %": x = 100 (ratio - 1).
    """
    if n < 2 or not log_sd:
        return None
    # beyond this shift the noncentral t lies above its critical value for certain
    furthest = log_sd * (t_quantile(n - 1, 1 - alpha) + 40) / math.sqrt(n)
    effect = optimize.brentq(lambda log: power(math.exp(log), log_sd, n, alpha) - chance, 0, furthest)
    return math.exp(float(effect))


def order_drift_bias(order: str, drift: ArrayLike) -> float:
    """Return what a drift alone adds to the second mode minus the first, run in this order of slots.

    `order` names one mode a slot ("ABBA"), `drift` is the drift's value in each slot. Counterbalanced orders
    cancel a linear drift (Mytkowicz et al., ASPLOS 2009, on the bias of order).
    """
    slots, values = np.array(list(order)), finite("drift", drift)
    same_length(order=slots, drift=values)
    if len(set(order)) != 2:
        raise ValueError(f"the bias is that of two modes against each other, not of {order!r}")
    first, second = sorted(set(order))
    return float(values[slots == second].mean() - values[slots == first].mean())
