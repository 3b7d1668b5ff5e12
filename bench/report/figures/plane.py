"""Modes as crosses in the plane of two quantities, a panel per mix: what the figures of trade-offs share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, StrMethodFormatter

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.dominance import Standing, standings
from bench.analysis.levels import Level
from bench.analysis.metrics import LATENCY_P99, METRICS, Metric
from bench.analysis.summary import Comparison
from bench.report.figures.style import GREY, Look, Spot, grid, wrapped
from bench.stats.rounding import with_limits

DOMINATED_GREY = "#A6A6A6"
_LEAST_SPAN = 1.1  # of a log axis: on a narrower one noise looks large
_LEAST_SHARE = 0.1  # of an axis of shares, likewise
_MARGIN = 0.12  # beside the outermost marks, as a share of the axis


@dataclass(frozen=True)
class Plane:
    """Two quantities of one mix; `x_job` is the job that the first of them is of, empty for the mix as a whole."""

    mix: str
    x: Metric
    y: Metric
    x_job: str = ""

    @property
    def x_scale(self) -> float:
        """What a value is drawn times: latencies in milliseconds."""
        return 1000.0 if self.x is LATENCY_P99 else 1.0


Points = Mapping[str, tuple[Level, Level]]
"""The two levels of each mode, in plan order."""


def crossed(
    comparison: Comparison, planes: Iterable[Plane], *, sharing_only: bool = False
) -> list[tuple[Plane, Points]]:
    """Return each plane with its modes; planes in which no sharing mode has both quantities are left out."""
    found = [(plane, _points(comparison, plane, sharing_only)) for plane in planes]
    return [(plane, points) for plane, points in found if set(points) - {EXCLUSIVE}]


def _points(comparison: Comparison, plane: Plane, sharing_only: bool) -> Points:
    x, y = (
        {
            level.mode: level
            for level in comparison.levels
            if (level.mix, level.metric, level.job) == (plane.mix, metric.name, job)
            and _drawable(metric, level.value)
        }
        for metric, job in ((plane.x, plane.x_job), (plane.y, ""))
    )
    both = [mode for mode in x if mode in y and not (sharing_only and mode == EXCLUSIVE)]
    return {mode: (x[mode], y[mode]) for mode in both}


def _drawable(metric: Metric, value: float | None) -> bool:
    """Whether there is a value, and a log axis has a place for it."""
    return value is not None and isfinite(value) and (value > 0 or metric.may_be_zero)


def draw_planes(
    comparison: Comparison, look: Mapping[str, Look], shown: Sequence[tuple[Plane, Points]]
) -> tuple[Figure, list[Axes], tuple[Spot, ...]]:
    """Draw a panel for each plane, with one legend; axes are yet to be fitted and labelled."""
    figure, panels = grid(len(shown), 2.3, 3 if len(shown) > 4 else 2)
    spots: list[Spot] = []
    for axes, (plane, points) in zip(panels, shown, strict=True):
        _draw_blocks(axes, comparison, plane, look)
        spots += _draw_modes(axes, plane, points, look)
        axes.set_title(wrapped(plane.mix, 34, 2))
        _name_missing(axes, comparison, plane, points)
    modes = [mode for mode in look if any(mode in points for _, points in shown)]
    marks = [
        Line2D([], [], linestyle="", color=look[mode].colour, marker=look[mode].marker, markersize=5.5)
        for mode in modes
    ]
    names = ["exclusive (taking turns)" if mode == EXCLUSIVE else wrapped(mode, 30, 1) for mode in modes]
    figure.legend(marks, names, loc="outside lower center", ncols=5 if len(panels) > 1 else 2, frameon=False)
    return figure, panels, tuple(spots)


def _name_missing(axes: Axes, comparison: Comparison, plane: Plane, points: Points) -> None:
    """Say which modes ran and have no mark, since a job starved or too few requests bound a percentile."""
    ran = dict.fromkeys(cell.mode for cell in comparison.cells if cell.mix == plane.mix and cell.mode != EXCLUSIVE)
    missing = [mode for mode in ran if mode not in points]
    if missing:
        axes.text(
            0.98, 0.97, wrapped(f"no value: {', '.join(missing)}", 36, 2), transform=axes.transAxes, fontsize=6,
            color=GREY, ha="right", va="top",
        )  # fmt: skip


def _draw_blocks(axes: Axes, comparison: Comparison, plane: Plane, look: Mapping[str, Look]) -> None:
    """Draw the blocks of all measured modes; the derived exclusive arm has none of its own."""
    blocks: dict[str, list[tuple[float, float]]] = {}
    for cell in comparison.cells:
        if cell.mix == plane.mix and cell.mode != EXCLUSIVE:
            x, y = cell.reading(plane.x.name, plane.x_job).value, cell.reading(plane.y.name).value
            if x is not None and y is not None and _drawable(plane.x, x) and _drawable(plane.y, y):
                blocks.setdefault(cell.mode, []).append((x * plane.x_scale, y))
    for mode, values in blocks.items():
        axes.plot(
            *np.array(values).T, linestyle="", marker=".", markersize=3.5, markeredgewidth=0,
            color=look[mode].colour, alpha=0.4, zorder=2,
        )  # fmt: skip


def _draw_modes(axes: Axes, plane: Plane, points: Points, look: Mapping[str, Look]) -> Iterator[Spot]:
    """Draw a cross for each mode; yield what hovering over it tells."""
    standing = standings(points)
    for mode, (x, y) in points.items():
        colour = DOMINATED_GREY if standing[mode] is Standing.DOMINATED else look[mode].colour
        hollow = standing[mode] is Standing.BY_ESTIMATE
        at = (x.value or 0) * plane.x_scale, y.value or 0
        axes.errorbar(
            *at, xerr=_bars(x, plane.x_scale), yerr=_bars(y), fmt=look[mode].marker, color=colour, markersize=5.5,
            markerfacecolor="white" if hollow else colour, markeredgecolor=colour if hollow else "white",
            markeredgewidth=1.0 if hollow else 0.4, elinewidth=1.2, zorder=3,
        )  # fmt: skip
        yield Spot(axes, *at, f"{mode}: {_told(x, plane.x_scale)}, {_told(y)}, n = {x.n_blocks}; {standing[mode]}")


def _bars(level: Level, scale: float = 1.0) -> list[list[float]] | None:
    if level.value is None or level.ci_low is None or level.ci_high is None:
        return None
    return [[scale * (level.value - level.ci_low)], [scale * (level.ci_high - level.value)]]


def _told(level: Level, scale: float = 1.0) -> str:
    value, low, high = (None if x is None else scale * x for x in (level.value, level.ci_low, level.ci_high))
    unit = "ms" if scale != 1 else level.unit
    return f"{METRICS[level.metric].label} {with_limits(value or 0, low, high)} {unit}".rstrip()


def fit(axes: Axes, plane: Plane) -> None:
    """Fit the axes to what is drawn, with round numbers; what is drawn later does not move them.

    Both are logarithmic, but for a quantity that may be zero, which is a share.
    """
    for name, axis, metric in (("x", axes.xaxis, plane.x), ("y", axes.yaxis, plane.y)):
        low, high = map(float, axis.get_data_interval())
        if metric.may_be_zero:
            low = min(low, high - _LEAST_SHARE)
            axes.set(**{f"{name}lim": (low - _MARGIN * (high - low), high + _MARGIN * (high - low))})
            continue
        span = max(high / low, _LEAST_SPAN)
        centre, half = (low * high) ** 0.5, span ** (0.5 + _MARGIN)
        axes.set(**{f"{name}scale": "log"})
        axes.set(**{f"{name}lim": (centre / half, centre * half)})
        axis.set_major_locator(FixedLocator(round_numbers(centre / half, centre * half)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()


def round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers between two positive limits, for a log axis."""
    if high > 8 * low:
        ticks = LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)).tick_values(low, high)
    else:
        ticks = MaxNLocator(about, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Name the quantities of a panel; that of the y axis once in a row, since all share it."""
    place = axes.get_subplotspec()
    axes.set(xlabel=x, ylabel=y if place is None or place.is_first_col() else "")


def name_line(axes: Axes, x: float, y: float, name: str) -> None:
    """Write what a line of reference means at a point of it."""
    axes.text(
        x, y, name, fontsize=6, color=GREY, ha="center", va="center", zorder=1.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip
