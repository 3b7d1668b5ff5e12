"""The drift check: every trial against the mean of its kind, in the order in which the run took place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.cells import AGAIN
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.drift import Execution, trend
from bench.analysis.summary import Comparison
from bench.report.figures.style import GREY, Drawing, Look, Spot, grid, wrapped
from bench.report.table import Source
from bench.stats.rounding import bare, with_limits

_FEWEST = 3
"""With fewer trials of every kind than this there is no order to look at."""
_COLOURS = "viridis"  # perceptually uniform, nowhere grey, and light where it is warm: told apart in print


def draw_drift(comparison: Comparison, look: dict[str, Look]) -> Drawing | None:
    """Draw a panel per mode, the A/A arm included; None where no kind of trial was executed often enough."""
    arms = _arms(comparison, look)
    if max(map(len, arms.values()), default=0) < _FEWEST:
        return None
    columns = 2 if len(arms) in (2, 4) else 3
    figure, panels = grid(len(arms), 1.75, columns, sharex=True, sharey=True)
    norm = _norm(comparison.executions)
    spots: list[Spot] = []
    for axes, (arm, own) in zip(panels, arms.items(), strict=True):
        spots += _draw(axes, own, look[_mode(arm)], norm)
        axes.set_title(f"{wrapped('solo' if arm == EXCLUSIVE else arm, 30, 2)}\n{_draw_trend(axes, own)}")
    for axes in panels[::columns]:
        axes.set_ylabel("value / mean")
    for axes in panels[-columns:]:
        axes.set_xlabel("order of execution")
        axes.tick_params(labelbottom=True)
    _key(figure, panels, norm)
    return Drawing(
        "drift",
        "Results in the order of execution",
        "Each mark is one trial: its STP (solo: the rate of the job) over the mean of its mode and mix, at its "
        "place in the run. Colour: temperature of the device in its window, grey where not recorded. Dashed: "
        "Theil-Sen trend over blocks; above each panel its change over the run with its 95 % interval.",
        figure,
        Source("tables/order.csv", ("order", "arm", "mix", "metric", "value", "relative", "temperature_c")),
        tuple(spots),
    )


def _mode(arm: str) -> str:
    return arm.removesuffix(f" {AGAIN}")


def _arms(comparison: Comparison, look: dict[str, Look]) -> dict[str, list[Execution]]:
    """Return the trials by arm: solo first, then the modes of the plan, each followed by its A/A arm."""
    arms: dict[str, list[Execution]] = {}
    for each in comparison.executions:
        arms.setdefault(each.arm, []).append(each)
    modes = list(look)
    return dict(sorted(arms.items(), key=lambda arm: (modes.index(_mode(arm[0])), arm[0])))


def _norm(executed: Sequence[Execution]) -> Normalize | None:
    """Return the range of temperatures, at least one degree; None where none was recorded."""
    known = [each.temperature_c.value for each in executed if each.temperature_c.value is not None]
    if not known:
        return None
    beside = max(0.0, 1 - (max(known) - min(known))) / 2
    return Normalize(min(known) - beside, max(known) + beside)


def _draw(axes: Axes, own: Sequence[Execution], look: Look, norm: Normalize | None) -> list[Spot]:
    axes.axhline(1, color=GREY, linewidth=0.7, zorder=1)
    recorded = [each for each in own if each.temperature_c.value is not None]
    style: dict[str, Any] = {"s": 14, "marker": look.marker, "linewidths": 0.3, "edgecolors": GREY, "zorder": 2}
    for some, colour in (
        (recorded, {"c": [each.temperature_c.value for each in recorded], "cmap": _COLOURS, "norm": norm}),
        ([each for each in own if each.temperature_c.value is None], {"color": GREY}),
    ):
        if some:
            axes.scatter([each.order for each in some], [each.relative for each in some], **colour, **style)
    return [Spot(axes, each.order, each.relative, _words(each)) for each in own]


def _words(each: Execution) -> str:
    degrees = each.temperature_c.value
    at = "" if degrees is None else f", {bare(degrees)} °C"
    return f"{each.trial}: {bare(each.value)}, {each.relative:.3f} of the mean{at}"


def _draw_trend(axes: Axes, own: Sequence[Execution]) -> str:
    """Draw the trend through the medians of both axes, as Theil and Sen do; return its change over the run."""
    found = trend(own)
    if found is None:
        return "too few blocks for a trend"
    orders = np.array([each.order for each in own])
    ends = np.array([orders.min(), orders.max()])
    level = np.median([each.relative for each in own])
    axes.plot(ends, level + found.slope * (ends - np.median(orders)), color="black", linestyle="--", linewidth=0.9)
    change, low, high = (100 * slope * float(np.ptp(orders)) for slope in (found.slope, found.low, found.high))
    return f"trend {with_limits(change, low, high)} %"


def _key(figure: Figure, panels: Sequence[Axes], norm: Normalize | None) -> None:
    if norm is not None:
        bar = figure.colorbar(ScalarMappable(norm, _COLOURS), ax=panels, aspect=30, pad=0.01)
        bar.locator = MaxNLocator(4, integer=True)
        bar.set_label("temperature (°C)")
