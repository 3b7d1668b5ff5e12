"""Which modes another one beats in several quantities at once, and whether their intervals bear it out."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from bench.analysis.levels import Level
from bench.analysis.metrics import METRICS


class Standing(StrEnum):
    """Where a mode stands among others in the same quantities."""

    UNBEATEN = "no other is better in all"
    BY_ESTIMATE = "another is at least as good in all by point estimates, but intervals overlap"
    DOMINATED = "another is better in all, and no intervals overlap"


def standings(points: Mapping[str, Sequence[Level]]) -> dict[str, Standing]:
    """Tell of each mode whether another dominates it; its levels are of the same quantities as theirs.

    Intervals that do not overlap are a stricter demand than a paired test. Levels without a value are not allowed.
    """
    order = list(Standing).index
    return {
        mode: max((_beside(own, other) for other in points.values()), key=order) for mode, own in points.items()
    }


def _beside(own: Sequence[Level], other: Sequence[Level]) -> Standing:
    pairs = list(zip(own, other, strict=True))
    gains = [_gain(a.value, b.value, a) for a, b in pairs]
    if min(gains) < 0 or max(gains) == 0:
        return Standing.UNBEATEN
    return Standing.DOMINATED if all(_apart(a, b) for a, b in pairs) else Standing.BY_ESTIMATE


def _gain(own: float | None, other: float | None, level: Level) -> float:
    """Return by how much the other is better; negative where it is worse."""
    if own is None or other is None:
        raise ValueError(f"{level.metric} of {level.mode} in {level.mix}: a standing needs two values")
    return other - own if METRICS[level.metric].higher_is_better else own - other


def _apart(own: Level, other: Level) -> bool:
    """Whether the other's interval lies wholly on the better side; a single block has none."""
    if None in (own.ci_low, own.ci_high, other.ci_low, other.ci_high):
        return False
    edges = (own.ci_high, other.ci_low) if METRICS[own.metric].higher_is_better else (own.ci_low, other.ci_high)
    return _gain(*edges, own) > 0
