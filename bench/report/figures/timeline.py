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
from bench.store.run_folder import RunFolder

CHANNELS = {
    TEMPERATURE: "temperature\n(°C)",
    "sm_clock_mhz": "SM clock\n(MHz)",
    POWER: "power\n(W)",
    UTILISATION: "utilisation\n(%)",
    "memory_used_mib": "memory\n(MiB)",
}
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
    samples: pd.DataFrame
    """Telemetry; no rows where nothing was recorded."""
    steps: tuple[StepSequence, ...]

    def has(self, channel: str) -> bool:
        """Whether the device told this during the trial."""
        return channel in self.samples and bool(self.samples[channel].notna().any())


def representatives(comparison: Comparison, run: RunFolder) -> list[Representative]:
    """Choose for each sharing mode the trial of median STP, in the first mix that has any."""
    chosen = []
    for mode in (mode.label for mode in comparison.plan.sharing_modes):
        for mix in comparison.plan.mixes:
            ranked = sorted(_with_stp(comparison, mode, mix.name), key=lambda pair: (pair[1], pair[0].block))
            if ranked:
                cell, value = ranked[(len(ranked) - 1) // 2]
                chosen.append(_read(run, mode, comparison.measured[str(cell.trial_id)], value))
                break
    return chosen


def _read(run: RunFolder, mode: str, trial: TrialMeasure, stp: float) -> Representative:
    samples = run.telemetry(trial.record.id)
    none = pd.DataFrame({"time_s": []})
    return Representative(
        mode, trial, stp, none if samples is None else samples, tuple(step_sequences(run, trial))
    )


def _with_stp(comparison: Comparison, mode: str, mix: str) -> Iterator[tuple[BlockCell, float]]:
    for cell in comparison.cells:
        value = cell.reading(STP.name).value
        if (cell.mode, cell.mix) == (mode, mix) and value is not None:
            yield cell, value


def draw_timeline(comparison: Comparison, run: RunFolder, look: dict[str, Look]) -> Drawing | None:
    """Draw steps and telemetry of one trial per mode; None where no mode has an STP."""
    shown = representatives(comparison, run)
    if not shown:
        return None
    channels = {name: label for name, label in CHANNELS.items() if any(chosen.has(name) for chosen in shown)}
    figure, panels = matrix(1 + len(channels), len(shown), height_in=1.1 + 0.75 * (1 + len(channels)))
    markers, limits = _markers(shown), _limits(shown)
    for column, chosen in zip(panels.T, shown, strict=True):
        _draw_steps(column[0], chosen, look[chosen.mode], markers, limits)
        for axes, name in zip(column[1:], channels, strict=True):
            _draw_channel(axes, name, chosen, look[chosen.mode])
        _draw_time(column, chosen)
    for axes, label in zip(panels[:, 0], ("step /\nits median", *channels.values()), strict=True):
        axes.set_ylabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(3))
    for axes, name in zip(panels[1:, 0], channels, strict=True):
        if name in _FROM_ZERO:
            axes.set_ylim(bottom=0)
    _name_jobs(figure, markers)
    ids = ", ".join(f"{chosen.mode}: {chosen.trial.record.id} (STP {chosen.stp:.3f})" for chosen in shown)
    missing = ", ".join(label.replace("\n", " ") for name, label in CHANNELS.items() if name not in channels)
    return Drawing(
        "telemetry",
        "One trial of each mode: its steps, and what the device did",
        "The trial of median STP of each mode in its first mix. What is shaded (warm-up, settling, after the "
        "window) counts nowhere. Top: steps, or requests of users, over the median of their job in the window; of "
        "very many some and all extremes, and on the edge what lies beyond. Black lines are the levels that the "
        f"window was judged to have, with a break at every change point. {ids}"
        f"{f'. Not recorded: {missing}' if missing else ''}",
        figure,
        Source(
            "trials/*/telemetry.parquet",
            ("time_s", *CHANNELS),
            "of the trials named; steps.parquet: end_s, duration_s; requests.parquet: scheduled_s, done_s",
        ),
    )


def _markers(shown: Sequence[Representative]) -> dict[str, str]:
    jobs = dict.fromkeys(one.job for chosen in shown for one in chosen.steps)
    return dict(zip(jobs, cycle(_MARKERS), strict=False))


def _name_jobs(figure: Figure, markers: Mapping[str, str]) -> None:
    """Tell jobs apart below the figure, where there are several."""
    keys = [
        Line2D([], [], linestyle="", marker=marker, color=GREY, markersize=4, label=wrapped(job, 40, 1))
        for job, marker in markers.items()
    ]
    if len(keys) > 1:
        figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)


def _limits(shown: Sequence[Representative]) -> tuple[float, float]:
    """Return the limits of relative durations to show: three times what 98 % of those in windows span."""
    spans = [np.percentile(one.relative[one.counts], (1, 99)) for chosen in shown for one in chosen.steps]
    least, most = float(np.min(spans, initial=1.0)), float(np.max(spans, initial=1.0))
    beside = max(most - least, _NARROW)
    return max(0.0, least - beside), most + beside


def _draw_steps(
    axes: Axes, chosen: Representative, look: Look, markers: Mapping[str, str], limits: tuple[float, float]
) -> None:
    """Draw the steps of each tenant as points, and the levels of its window as lines."""
    for one in chosen.steps:
        time_s, relative = _thinned(one.time_s, np.clip(one.relative, *limits))
        axes.plot(
            time_s, relative, linestyle="", marker=markers[one.job], markersize=2.2, color=look.colour, alpha=0.6,
            markeredgewidth=0.4,
        )  # fmt: skip
        for level in one.levels:
            axes.plot([level.from_s, level.to_s], [level.relative] * 2, color="black", linewidth=0.9)
    axes.set_title(wrapped(chosen.mode, 24, 2))
    axes.set_ylim(*limits)


def _draw_channel(axes: Axes, name: str, chosen: Representative, look: Look) -> None:
    """Draw what the device told, or why it told nothing."""
    if chosen.has(name):
        axes.plot(chosen.samples["time_s"], chosen.samples[name].astype(float), color=look.colour, linewidth=0.9)
        return
    told = chosen.trial.record.telemetry
    reason = told.reasons.get(name) if told else None
    axes.text(
        0.5, 0.5, wrapped(f"{DASH} {reason or 'not recorded'}", 22, 3), transform=axes.transAxes,
        ha="center", va="center", fontsize=6.5, color=GREY,
    )  # fmt: skip


def _draw_time(column: Sequence[Axes], chosen: Representative) -> None:
    """Show as long as the device was watched, and shade in every panel what does not count."""
    window = chosen.trial.window
    instants_s = [0.0, window.stop_s, *chosen.samples["time_s"]]
    low, high = min(instants_s), max(instants_s)
    for axes in column:
        axes.set_xlim(low, high)
        for edges in ((low, window.start_s), (window.stop_s, high)):
            axes.axvspan(*edges, color=GREY, alpha=0.13, linewidth=0)
    column[-1].set_xlabel("time (s)")
    column[-1].xaxis.set_major_locator(MaxNLocator(4, integer=True))


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
