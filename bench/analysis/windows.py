"""What the samples of a trial say of its declared window. Instants are seconds after the common start."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.reading import Reading
from bench.launch.events import Steps
from bench.stats.changepoint import Behaviour, binned
from bench.stats.quantile import minimum_count, percentile_or_none
from bench.stats.steady_state import WindowVerdict, judge_window
from bench.stats.window import Window, credited_items

Vector = NDArray[np.float64]

CURVE_PROBABILITIES: Vector = np.array(
    [0.01, *np.arange(1, 18) / 20, *np.round(1 - np.geomspace(0.1, 0.0001, 31), 6)]
)
"""Where the distribution of latencies is kept, for drawing: in the tail ten to each decade of what is above."""
_CURVE_COUNTS = np.array([minimum_count(float(p)) for p in CURVE_PROBABILITIES])
MOST_BINS = 100
"""A window is judged in at most so many means of equally many steps in a row: the same rule for every mode.

Judging takes quadratic time, and means of many steps show a drift better than the steps themselves.
"""
PARTS = 5
"""Equal parts of a window whose rates show how much it varies inside: the same number in every trial."""
DRIFT_FLAG, UNSTEADY_FLAG, STARVED_FLAG = "drift", "no_steady_state", "loader_wait"
MOST_WAITING = 0.05
"""Of the time of its steps a job may wait for data; beyond that its host is measured, and not the sharing."""
ENDED, SCHEDULED = "steps ended", "requests were scheduled"
NO_SAMPLES = "no telemetry was recorded"


@dataclass(frozen=True)
class Latency:
    """Durations of what was counted in the window, in seconds; percentiles by nearest rank.

    A percentile is None below the count that bounds it (`stats.quantile.minimum_count`), and where it falls on a
    request that was never answered.
    """

    count: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    curve_s: Vector
    """Percentiles at CURVE_PROBABILITIES; NaN where there are too few steps for one, or never an answer."""
    counted: str = ENDED
    unanswered: int = 0

    def reading(self, p: float) -> Reading:
        """Return one of the three percentiles (0.5, 0.95, 0.99), or why it is missing."""
        value = {0.5: self.p50_s, 0.95: self.p95_s, 0.99: self.p99_s}[p]
        if value is not None:
            return Reading(value)
        if self.count >= minimum_count(p):
            return Reading.absent(
                f"{self.unanswered} of {self.count} requests failed, so p{p * 100:g} has no bound"
            )
        return Reading.absent(f"{self.count} {self.counted} in the window; p{p * 100:g} needs {minimum_count(p)}")


def rate(window: Window, steps: Steps) -> float:
    """Return items per second of the window; steps across an edge are credited by the part inside."""
    return credited_items(window, steps.end_s, steps.duration_s, steps.items) / window.length_s


def part_rates(window: Window, steps: Steps) -> tuple[float, ...]:
    """Return the `rate` in each of PARTS equal parts of the window."""
    edges_s = np.linspace(window.start_s, window.stop_s, PARTS + 1).tolist()
    return tuple(rate(Window(*edges), steps) for edges in pairwise(edges_s))


def judged(window: Window, steps: Steps) -> WindowVerdict:
    """Judge whether the durations of the steps that ended in the window held one level; it is never moved.

    Units of the verdict are means of equally many steps, at most `MOST_BINS` of them.
    """
    durations = steps.duration_s[ended_in(window, steps)]
    return judge_window(binned(durations, steps_per_unit(len(durations))))


def steps_per_unit(count: int) -> int:
    """Return how many of the `count` steps in a window are averaged into one unit of its verdict."""
    return max(1, ceil(count / MOST_BINS))


def flag_of(verdict: WindowVerdict) -> str | None:
    """Return the flag of a window that was not steady; None for one that was, or that could not be judged."""
    if verdict.steady is not False:
        return None
    return DRIFT_FLAG if verdict.behaviour is Behaviour.FLAT else UNSTEADY_FLAG


def waiting(window: Window, steps: Steps) -> float | None:
    """Return which share of their time the steps that ended in the window waited for data; None: no step told.

    Steps that did not tell are left out of both sums.
    """
    if steps.wait_s is None:
        return None
    told = ended_in(window, steps) & ~np.isnan(steps.wait_s)
    return float(steps.wait_s[told].sum() / steps.duration_s[told].sum()) if told.any() else None


def why_starved(share: float | None) -> str | None:
    """Say that a job waited for data for too much of its time (MOST_WAITING); None where it did not."""
    if share is None or share <= MOST_WAITING:
        return None
    return f"waited for data {100 * share:.1f} % of its time, more than {100 * MOST_WAITING:g} %"


def latency(window: Window, steps: Steps) -> Latency:
    """Return the latencies of the steps that ended in the window, those begun before it included."""
    return latency_of(steps.duration_s[ended_in(window, steps)], ENDED)


def latency_of(durations_s: Vector, counted: str) -> Latency:
    """Return the percentiles of what was counted in a window; what was never answered took infinitely long."""
    durations = np.sort(durations_s)
    p50, p95, p99 = (_bounded(percentile_or_none(durations, p)) for p in (0.5, 0.95, 0.99))
    unanswered = int(np.isinf(durations).sum())
    return Latency(len(durations), p50, p95, p99, _curve(durations), counted, unanswered)


def mean_of(window: Window, samples: pd.DataFrame | None, column: str, reasons: Mapping[str, str]) -> Reading:
    """Return the time-weighted mean of a telemetry column over the window, or why there is none."""
    if samples is None or column not in samples:
        return Reading.absent(reasons.get(column, NO_SAMPLES if samples is None else f"{column} was not sampled"))
    time, value = _known(samples, column)
    inside = (time > window.start_s) & (time < window.stop_s)
    if inside.sum() < 2:
        return Reading.absent(reasons.get(column, "fewer than two samples in the window"))
    at = np.concatenate([[window.start_s], time[inside], [window.stop_s]])
    return Reading(float(np.trapezoid(np.interp(at, time, value), at)) / window.length_s)


def energy_j(window: Window, counter: pd.DataFrame | None, reasons: Mapping[str, str]) -> Reading:
    """Return the energy of the whole device in the window, from its cumulative counter; joules."""
    if counter is None:
        return Reading.absent(reasons.get("energy", "the device has no energy counter"))
    time, joules = _known(counter, "energy_j")
    if not len(time) or time[0] > window.start_s or time[-1] < window.stop_s:
        return Reading.absent("the energy counter was not read on both sides of the window")
    start, stop = np.interp([window.start_s, window.stop_s], time, joules)
    return Reading(float(stop - start))


def ended_in(window: Window, steps: Steps) -> NDArray[np.bool_]:
    """Return which steps ended in the window, those begun before it included."""
    inside: NDArray[np.bool_] = (steps.end_s > window.start_s) & (steps.end_s <= window.stop_s)
    return inside


def _known(table: pd.DataFrame, column: str) -> tuple[Vector, Vector]:
    """Return instants and values of a column, without the samples that the device would not tell."""
    value = pd.to_numeric(table[column]).to_numpy(np.float64, na_value=np.nan)
    there = ~np.isnan(value)
    return table["time_s"].to_numpy(np.float64)[there], value[there]


def _bounded(percentile_s: float | None) -> float | None:
    return percentile_s if percentile_s is not None and isfinite(percentile_s) else None


def _curve(ascending: Vector) -> Vector:
    """Return the nearest-rank percentiles of sorted durations where there are enough of them."""
    n = len(ascending)
    if not n:
        return np.full(len(CURVE_PROBABILITIES), np.nan)
    ranks = np.maximum(np.ceil(n * CURVE_PROBABILITIES - 1e-8), 1).astype(int)
    values = ascending[ranks - 1]
    return np.where((n >= _CURVE_COUNTS) & np.isfinite(values), values, np.nan)
