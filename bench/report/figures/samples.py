"""Figures made from samples: how step latencies are distributed, and what the device did during one trial."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bench.analysis.colocation import EXCLUSIVE, BlockCell
from bench.analysis.metrics import STP
from bench.analysis.summary import Comparison
from bench.analysis.trials import UTILISATION, TrialMeasure
from bench.analysis.windows import CURVE_PROBABILITIES, Vector
from bench.plan.model import Mix
from bench.plan.schedule import Role
from bench.report.figures.style import GREY, Drawing, Look, grid, matrix, wrapped
from bench.report.labels import whole
from bench.report.table import DASH, Source
from bench.store.record import TrialRecord
from bench.store.run_folder import RunFolder

_WIDE = 5.0
"""From this quotient of largest to smallest latency on, the axis is logarithmic."""
CHANNELS = (
    ("power_w", "power (W)"),
    ("sm_clock_mhz", "SM clock (MHz)"),
    (UTILISATION, "utilisation (%)"),
    ("memory_used_mib", "memory (MiB)"),
)


@dataclass(frozen=True)
class Representative:
    """The trial that stands for a mode: the block whose STP is the median one."""

    mode: str
    trial: TrialRecord
    stp: float


def draw_latency(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw the distribution of step latencies of each job, a line per mode."""
    jobs = [(mix, job) for mix in comparison.plan.mixes for job in dict.fromkeys(job.label for job in mix.jobs)]
    figure, panels = grid(len(jobs), 2.2, 3)
    for axes, (mix, job) in zip(panels, jobs, strict=True):
        shown = [_draw_curves(axes, mode, curves, look[mode]) for mode, curves in _curves(comparison, mix, job)]
        what = "response time (ms)" if _serves_users(mix, job) else "step latency (ms)"
        axes.set(title=wrapped(f"{job} in {mix.name}", 30, 3), xlabel=what, ylim=(0, 1.02))
        _widen(axes, np.concatenate(shown) if shown else np.empty(0))
    panels[0].set_ylabel("share not slower")
    entries = {
        label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, frameon=False)
    return Drawing(
        "step_latency",
        "Distribution of latency: of steps, and of the requests of users",
        "The line is the median over blocks of each percentile, the band spans all blocks; percentiles that too "
        f"few samples bound are left out. Solo is the job alone {whole(comparison)}.",
        figure,
        Source(
            "trials/*/steps.parquet",
            ("slot", "warmup", "end_s", "duration_s"),
            "not warmup, ended in the window; requests.parquet: done_s - scheduled_s, scheduled in the window",
        ),
    )


def _curves(comparison: Comparison, mix: Mix, job: str) -> Iterator[tuple[str, Vector]]:
    """Yield each mode with one row of percentiles per block, solo first."""
    found: dict[str, list[Vector]] = {}
    for trial in comparison.counted:
        if _shows(trial, mix, job):
            mode = EXCLUSIVE if trial.record.role is Role.SOLO else trial.record.mode_label
            found.setdefault(mode, []).extend(each.latency.curve_s for each in trial.jobs if each.job == job)
    for mode in (EXCLUSIVE, *(mode.label for mode in comparison.plan.sharing_modes)):
        if mode in found:
            yield mode, np.array(found[mode]) * 1000


def _serves_users(mix: Mix, label: str) -> bool:
    return any(job.serves_users for job in mix.jobs if job.label == label)


def _shows(trial: TrialMeasure, mix: Mix, job: str) -> bool:
    if trial.record.role is Role.SOLO:
        return trial.jobs[0].job == job
    return trial.record.role is Role.MIX and trial.record.mix == mix.name


def _draw_curves(axes: Axes, mode: str, curves_ms: Vector, look: Look) -> Vector:
    """Draw one mode; return the latencies drawn."""
    known = ~np.isnan(curves_ms).any(axis=0)
    curves, p = curves_ms[:, known], CURVE_PROBABILITIES[known]
    if not len(p):
        return np.empty(0)
    solo = mode == EXCLUSIVE
    axes.fill_betweenx(p, curves.min(axis=0), curves.max(axis=0), color=look.colour, alpha=0.18, linewidth=0)
    median = np.median(curves, axis=0)
    axes.plot(median, p, color=look.colour, linestyle="--" if solo else "-", label="solo" if solo else mode)
    return median


def _widen(axes: Axes, shown_ms: Vector) -> None:
    """Use a log axis where latencies differ widely, with plain numbers on it."""
    if not len(shown_ms) or shown_ms.min() <= 0 or shown_ms.max() < _WIDE * shown_ms.min():
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def representatives(comparison: Comparison) -> list[Representative]:
    """Choose for each sharing mode the trial of median STP, in the first mix that has any."""
    records = {record.id: record for record in comparison.records}
    chosen = []
    for mode in (mode.label for mode in comparison.plan.sharing_modes):
        for mix in comparison.plan.mixes:
            ranked = sorted(_with_stp(comparison, mode, mix.name), key=lambda pair: (pair[1], pair[0].block))
            if ranked:
                cell, value = ranked[(len(ranked) - 1) // 2]
                chosen.append(Representative(mode, records[str(cell.trial_id)], value))
                break
    return chosen


def _with_stp(comparison: Comparison, mode: str, mix: str) -> Iterator[tuple[BlockCell, float]]:
    for cell in comparison.cells:
        value = cell.reading(STP.name).value
        if (cell.mode, cell.mix) == (mode, mix) and value is not None:
            yield cell, value


def draw_timeline(comparison: Comparison, run: RunFolder, look: dict[str, Look]) -> Drawing | None:
    """Draw the telemetry of one trial per mode; None where nothing was measured."""
    shown = representatives(comparison)
    if not shown:
        return None
    figure, panels = matrix(len(CHANNELS), len(shown), height_in=4.4)
    for column, chosen in zip(panels.T, shown, strict=True):
        _draw_trial(column, chosen, run.telemetry(chosen.trial.id), look[chosen.mode])
    for axes, (_, label) in zip(panels[:, 0], CHANNELS, strict=True):
        axes.set_ylabel(label)
    ids = ", ".join(f"{chosen.mode}: {chosen.trial.id} (STP {chosen.stp:.3f})" for chosen in shown)
    return Drawing(
        "telemetry",
        "What the device did during one trial of each mode",
        f"The trial of median STP of each mode in its first mix; the window is shaded. {ids}",
        _without_empty_limits(figure),
        Source("trials/*/telemetry.parquet", ("time_s", *(name for name, _ in CHANNELS)), "of the trials named"),
    )


def _draw_trial(column: np.ndarray, chosen: Representative, samples: pd.DataFrame | None, look: Look) -> None:
    reasons = chosen.trial.telemetry.reasons if chosen.trial.telemetry else {}
    column[0].set_title(wrapped(chosen.mode, 24, 2))
    column[-1].set_xlabel("time (s)")
    for axes, (name, _) in zip(column, CHANNELS, strict=True):
        if chosen.trial.window is not None:
            axes.axvspan(
                chosen.trial.window.settle_s, chosen.trial.window.stop_s, color=GREY, alpha=0.10, linewidth=0
            )
        if samples is not None and name in samples and samples[name].notna().any():
            axes.plot(samples["time_s"], samples[name].astype(float), color=look.colour, linewidth=0.9)
        else:
            axes.text(
                0.5, 0.5, wrapped(f"{DASH} {reasons.get(name, 'not recorded')}", 22, 4), transform=axes.transAxes,
                ha="center", va="center", fontsize=6.5, color=GREY,
            )  # fmt: skip


def _without_empty_limits(figure: Figure) -> Figure:
    """Start every axis at zero, except clocks, whose changes are small beside their size."""
    for axes in figure.axes:
        if axes.lines and not axes.get_ylabel().startswith("SM"):
            axes.set_ylim(bottom=0)
    return figure
