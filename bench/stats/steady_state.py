"""Whether the declared window of a trial was steady. It is judged and never moved (methodology: see `docs`).

The parameters are constants of these modules, fixed before any data and the same for every mode.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.autocorrelation import autocorrelations, dependence
from bench.stats.changepoint import MAX_CORRELATION, MIN_UNITS, Behaviour, Segments, binned, outliers, segments
from bench.stats.checks import Vector, finite, not_negative
from bench.stats.truncation import mser5

MAX_DRIFT = 0.01
"""A trend may change the level by this share over the window."""
DRIFT_CONFIDENCE = 0.99
"""A trend counts when its interval excludes none at this confidence: noise is no drift."""
MAX_BESIDE_LINE = 0.3
"""Up to this correlation beside a straight line the line explains the rest: a clean drift, as of a quiet GPU."""
DRIFT_BINS = 20
"""The trend is sought in this many means, which depend on each other much less than units do."""


@dataclass(frozen=True)
class Drift:
    """A Theil-Sen trend, in units of the series per unit of time."""

    slope: float
    low: float
    high: float
    relative: float
    """The change over the whole window as a share of the median."""


def theil_sen_drift(series: ArrayLike, time: ArrayLike | None = None, confidence: float = 0.95) -> Drift | None:
    """Return the median of all slopes between two points (Theil, 1950; Sen, 1968); None below three points.

    `time` counts units by default. None also when the median is 0, which no change can be relative to.
    """
    values = finite("series", series)
    at = np.arange(len(values), dtype=np.float64) if time is None else finite("time", time)
    middle = float(np.median(values)) if len(values) >= 3 else 0.0
    if not middle:
        return None
    slope, _, low, high = (float(number) for number in stats.theilslopes(values, at, alpha=confidence))
    return Drift(slope, low, high, slope * float(at[-1] - at[0]) / abs(middle))


@dataclass(frozen=True)
class WindowVerdict:
    """What the detectors say about one tenant's window."""

    behaviour: Behaviour | None
    """None, like `steady`, when there are too few units to judge: fewer than 30, or so dependent that they cannot
    be averaged into enough independent ones.
    """
    steady: bool | None
    reasons: tuple[str, ...]
    """Why it is not steady, or could not be judged; empty when it is steady."""
    units: int
    start_up_units: int | None
    """What MSER-5 would cut; for information, since it moves about in plain noise."""
    drift: float | None
    """Change over the window as a share of the median."""
    correlation: float | None
    """Of neighbouring units; None when they do not vary."""
    effective_units: float | None
    """How many independent units tell as much about the mean."""
    outliers: int
    """Units labelled as outliers; they count in every rate and percentile."""
    segments: Segments | None
    """The levels between change points, in units; None, like `behaviour`, when there are too few to judge."""


def judge_window(durations: ArrayLike) -> WindowVerdict:
    """Judge the durations of a window's units in order: steps, batches, or medians of one-second bins.

    Costs, not rates: a warm-up is what starts slower. Durations below zero are refused by ValueError.
    """
    values = not_negative("durations", durations)
    labelled = outliers(values)
    calm = _without(values, labelled)
    levels, drift = segments(calm), _binned_drift(calm)
    failing = _failing(levels, drift) if levels else ()
    undecided = _undecided(levels, len(values)) if not (failing and levels and _is_a_line(calm, levels)) else ()
    failing = () if undecided else failing
    cut, effect, correlation = mser5(calm), dependence(values), autocorrelations(values, 1)
    return WindowVerdict(
        behaviour=levels.behaviour if levels and not undecided else None,
        steady=None if undecided else not failing,
        reasons=undecided or failing,
        units=len(values),
        start_up_units=cut.units if cut else None,
        drift=drift.relative if drift else None,
        correlation=correlation[0] if correlation else None,
        effective_units=effect.effective_n if effect else None,
        outliers=len(labelled),
        segments=None if undecided else levels,
    )


def _undecided(levels: Segments | None, units: int) -> tuple[str, ...]:
    """Return why nothing can be said; a level that seems flat may be long turns seen too briefly."""
    if levels is None:
        return (f"{units} units, {MIN_UNITS} are needed",)
    if levels.behaviour is Behaviour.FLAT and levels.correlation > MAX_CORRELATION:
        return (f"neighbours correlate by {levels.correlation:.2f}, and {units} units are too few to average",)
    return ()


def _failing(levels: Segments, drift: Drift | None) -> tuple[str, ...]:
    if levels.behaviour is Behaviour.NO_STEADY_STATE:
        return (f"no level holds: the last one begins at unit {levels.steady_start} of {levels.units}",)
    if levels.behaviour is not Behaviour.FLAT:
        return (f"{levels.behaviour} until unit {levels.steady_start} of {levels.units}",)
    if drift and abs(drift.relative) > MAX_DRIFT and drift.low * drift.high > 0:
        return (f"drifts by {100 * drift.relative:+.1f} % over the window",)
    return ()


def _is_a_line(values: Vector, levels: Segments) -> bool:
    """Tell whether a straight line explains why neighbours correlate: a clean drift, and no long turns."""
    bins = binned(values, levels.bin_units)
    at = np.arange(len(bins))
    beside = bins - np.polyval(np.polyfit(at, bins, 1), at)
    correlation = autocorrelations(beside, 1)
    return not correlation or correlation[0] <= MAX_BESIDE_LINE


def _without(values: Vector, labelled: list[int]) -> Vector:
    """Return the series with outliers replaced by its median, so that the rest keeps its place."""
    calm = values.copy()
    if labelled:
        calm[labelled] = np.median(values)
    return calm


def _binned_drift(values: Vector) -> Drift | None:
    parts = np.array_split(values, DRIFT_BINS)
    middles = np.cumsum([len(part) for part in parts]) - [len(part) / 2 for part in parts]
    if len(values) < MIN_UNITS:
        return None
    drift = theil_sen_drift([part.mean() for part in parts], middles, DRIFT_CONFIDENCE)
    if not drift:
        return None
    # bins' middles span less than the window
    return Drift(drift.slope, drift.low, drift.high, drift.slope * len(values) / abs(float(np.median(values))))
