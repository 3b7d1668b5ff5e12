"""The figure of what switching costs: a line for each thing that was timed, a dot for each block."""

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.summary import Comparison
from bench.analysis.switching import SwitchingTime
from bench.report.figures.style import GREY, PAGE_IN, Drawing, Look, grid, round_log_ticks, wrapped
from bench.report.table import Source

_SPREAD = 0.22  # half the height over which the blocks of one line are laid out


def draw_switching(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw every duration, grouped by mode, on a log axis."""
    lines = _lines(comparison)
    figure, (axes,) = grid(1, 0.6 + 0.17 * len(lines))
    figure.set_figwidth(PAGE_IN)
    for y, (_, time) in enumerate(lines):
        if time is not None:
            _draw(axes, y, time, look[time.mode])
    axes.set_xscale("log")
    round_log_ticks(axes.xaxis)
    axes.set_xlabel("seconds (log axis)")
    axes.set_yticks(range(len(lines)), [wrapped(label, 60, 1) for label, _ in lines])
    for tick, (_, time) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_color("black" if time is None else GREY)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return Drawing(
        "switching",
        "What switching costs",
        "Each small mark is one block, the large one the arithmetic mean with its 95 % t interval.",
        figure,
        Source(
            "visits/*.json", ("block", "mode", "enter_s", "leave_s", "calls"), "and identity of first-context jobs"
        ),
    )


def _lines(comparison: Comparison) -> list[tuple[str, SwitchingTime | None]]:
    """Return the label of each line with its durations; a line without them is the heading of a mode."""
    lines: list[tuple[str, SwitchingTime | None]] = []
    for mode in dict.fromkeys(time.mode for time in comparison.switching):
        own = [time for time in comparison.switching if time.mode == mode]
        lines += [(mode, None), *((time.what, time) for time in own)]
    return lines


def _draw(axes: Axes, y: int, time: SwitchingTime, look: Look) -> None:
    """Draw the blocks of one line, and above them their mean with its interval."""
    durations_s, mean = time.durations_s, time.interval
    heights = y + np.linspace(-_SPREAD, _SPREAD, len(durations_s)) if len(durations_s) > 1 else [y]
    axes.plot(durations_s, heights, linestyle="", marker=".", markersize=3, color=look.colour, alpha=0.5)
    if mean.low is not None and mean.high is not None:
        axes.plot([max(mean.low, min(durations_s) / 2), mean.high], [y, y], color=look.colour, linewidth=1.6)
    centre = float(np.mean(durations_s))
    axes.plot([centre], [y], marker=look.marker, markersize=5, color=look.colour, markeredgecolor="white")
