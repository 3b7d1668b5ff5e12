"""The figure of one trial per mode: the durations of its steps, and below what the device did meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.analysis.colocation import BlockCell
from bench.analysis.metrics import STP
from bench.analysis.sequence import StepSequence, step_sequences
from bench.analysis.summary import Comparison
from bench.analysis.trials import POWER, TEMPERATURE, UTILISATION, TrialMeasure
from bench.analysis.windows import Vector
from bench.report.figures.style import GREY, Drawing, Look, matrix, wrapped
from bench.report.table import DASH, Source
from bench.stats.window import Window
from bench.store.run_folder import RunFolder

CHANNELS = (
    (TEMPERATURE, "temperature\n(°C)"),
    ("sm_clock_mhz", "SM clock\n(MHz)"),
    (POWER, "power\n(W)"),
    (UTILISATION, "utilisation\n(%)"),
    ("memory_used_mib", "memory\n(MiB)"),
)
_FROM_ZERO = (POWER, UTILISATION, "memory_used_mib")  # changes of the others are small beside their size
_MARKERS = (".", "x", "+", "1", "2", "3", "4")
_NARROW = 0.02  # the least height of the panel of steps, as a share of their median
_STRETCHES, _EACH = 75, 5
"""Of many steps, five of each of 75 stretches of the trial are drawn, and the fastest and slowest of each."""


@dataclass(frozen=True)
class Representative:
    """The trial that stands for a mode: the block whose STP is the median one."""

    mode: str
    trial: TrialMeasure
    stp: float


def representatives(comparison: Comparison) -> list[Representative]:
    """Choose for each sharing mode the trial of median STP, in the first mix that has any."""
    chosen = []
    for mode in (mode.label for mode in comparison.plan.sharing_modes):
        for mix in comparison.plan.mixes:
            ranked = sorted(_with_stp(comparison, mode, mix.name), key=lambda pair: (pair[1], pair[0].block))
            if ranked:
                cell, value = ranked[(len(ranked) - 1) // 2]
                chosen.append(Representative(mode, comparison.measured[str(cell.trial_id)], value))
                break
    return chosen


def _with_stp(comparison: Comparison, mode: str, mix: str) -> Iterator[tuple[BlockCell, float]]:
    for cell in comparison.cells:
        value = cell.reading(STP.name).value
        if (cell.mode, cell.mix) == (mode, mix) and value is not None:
            yield cell, value


def draw_timeline(comparison: Comparison, run: RunFolder, look: dict[str, Look]) -> Drawing | None:
    """Draw steps and telemetry of one trial per mode; None where no mode has an STP."""
    shown = representatives(comparison)
    if not shown:
        return None
    figure, panels = matrix(1 + len(CHANNELS), len(shown), height_in=5.4)
    sequences = [list(step_sequences(run, chosen.trial)) for chosen in shown]
    markers = _markers(sequences)
    for column, chosen, of_trial in zip(panels.T, shown, sequences, strict=True):
        _draw_trial(column, chosen, run.telemetry(chosen.trial.record.id), look[chosen.mode])
        for one in of_trial:
            _draw_steps(column[0], one, look[chosen.mode], markers[one.job], _limits(sequences))
    for axes, label in zip(panels[:, 0], ("step /\nits median", *(label for _, label in CHANNELS)), strict=True):
        axes.set_ylabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(3))
    for axes, (name, _) in zip(panels[1:, 0], CHANNELS, strict=True):
        if name in _FROM_ZERO and any(panel.lines for panel in axes.get_shared_y_axes().get_siblings(axes)):
            axes.set_ylim(bottom=0)
    _name_jobs(figure, markers)
    ids = ", ".join(f"{chosen.mode}: {chosen.trial.record.id} (STP {chosen.stp:.3f})" for chosen in shown)
    return Drawing(
        "telemetry",
        "One trial of each mode: its steps, and what the device did",
        "The trial of median STP of each mode in its first mix. What is shaded (warm-up, settling, after the "
        "window) counts nowhere. Top: steps, or requests of users, over the median of their job in the window; of "
        "very many some and all extremes, and on the edge what lies beyond. Black lines are the levels that the "
        f"window was judged to have, with a break at every change point. {ids}",
        figure,
        Source(
            "trials/*/telemetry.parquet",
            ("time_s", *(name for name, _ in CHANNELS)),
            "of the trials named; steps.parquet: end_s, duration_s; requests.parquet: scheduled_s, done_s",
        ),
    )


def _markers(sequences: Sequence[Sequence[StepSequence]]) -> dict[str, str]:
    jobs = dict.fromkeys(one.job for of_trial in sequences for one in of_trial)
    return dict(zip(jobs, cycle(_MARKERS), strict=False))


def _name_jobs(figure: Figure, markers: Mapping[str, str]) -> None:
    """Tell jobs apart below the figure, where there are several."""
    keys = [
        Line2D([], [], linestyle="", marker=marker, color=GREY, markersize=4, label=wrapped(job, 40, 1))
        for job, marker in markers.items()
    ]
    if len(keys) > 1:
        figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)


def _draw_trial(column: np.ndarray, chosen: Representative, samples: pd.DataFrame | None, look: Look) -> None:
    """Draw the telemetry of one trial below each other, and shade in every panel what does not count."""
    column[0].set_title(wrapped(chosen.mode, 24, 2))
    column[-1].set_xlabel("time (s)")
    column[-1].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    window, reasons = chosen.trial.window, chosen.trial.record.telemetry
    for axes, (name, _) in zip(column[1:], CHANNELS, strict=True):
        if samples is not None and name in samples and samples[name].notna().any():
            axes.plot(samples["time_s"], samples[name].astype(float), color=look.colour, linewidth=0.9)
        else:
            _say_why(axes, reasons.reasons.get(name) if reasons else None)
    low, high = _span(window, samples)
    for axes in column:
        axes.set_xlim(low, high)
        for edges in ((low, window.start_s), (window.stop_s, high)):
            axes.axvspan(*edges, color=GREY, alpha=0.13, linewidth=0)


def _say_why(axes: Axes, reason: str | None) -> None:
    axes.text(
        0.5, 0.5, wrapped(f"{DASH} {reason or 'not recorded'}", 22, 3), transform=axes.transAxes,
        ha="center", va="center", fontsize=6.5, color=GREY,
    )  # fmt: skip


def _span(window: Window, samples: pd.DataFrame | None) -> tuple[float, float]:
    """Return the seconds to show: as long as the device was watched."""
    if samples is None or not len(samples):
        return 0.0, window.stop_s
    return min(0.0, float(samples["time_s"].min())), max(window.stop_s, float(samples["time_s"].max()))


def _limits(sequences: Sequence[Sequence[StepSequence]]) -> tuple[float, float]:
    """Return the limits of relative durations to show: three times what 98 % of those in windows span."""
    spans = [np.percentile(one.relative[one.counts], (1, 99)) for of_trial in sequences for one in of_trial]
    least, most = float(np.min(spans)), float(np.max(spans))
    beside = max(most - least, _NARROW)
    return max(0.0, least - beside), most + beside


def _draw_steps(axes: Axes, one: StepSequence, look: Look, marker: str, limits: tuple[float, float]) -> None:
    """Draw the steps of one tenant as points and the levels of its window as lines."""
    time_s, relative = _thinned(one.time_s, np.clip(one.relative, *limits))
    axes.plot(
        time_s, relative, linestyle="", marker=marker, markersize=2.2, color=look.colour, alpha=0.6,
        markeredgewidth=0.4,
    )  # fmt: skip
    for level in one.levels:
        axes.plot([level.from_s, level.to_s], [level.relative] * 2, color="black", linewidth=0.9)
    axes.set_ylim(*limits)


def _thinned(time_s: Vector, relative: Vector) -> tuple[Vector, Vector]:
    """Return the points as they are; of more than can be told apart some of each stretch, and its extremes."""
    size = len(time_s) // _STRETCHES
    if size <= _EACH + 2:
        return time_s, relative
    parts = relative[: _STRETCHES * size].reshape(_STRETCHES, size)
    even = [np.full(_STRETCHES, size * i // _EACH) for i in range(_EACH)]
    kept = np.concatenate([*even, parts.argmin(axis=1), parts.argmax(axis=1)])
    kept += np.tile(size * np.arange(_STRETCHES), _EACH + 2)
    return time_s[kept], relative[kept]
