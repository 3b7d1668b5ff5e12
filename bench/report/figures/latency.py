"""The figure of tails: how many steps, or requests of users, took longer than a given time."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import StrMethodFormatter

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.summary import Comparison
from bench.analysis.trials import JobMeasure, TrialMeasure
from bench.analysis.windows import CURVE_PROBABILITIES, Vector
from bench.plan.model import Mix
from bench.plan.schedule import Role
from bench.report.figures.style import GREY, Drawing, Look, Spot, grid, round_log_ticks, wrapped
from bench.report.labels import whole
from bench.report.table import Source
from bench.stats.rounding import bare

_WIDE = 5.0
"""From this quotient of largest to smallest latency on, a log axis looks different from a linear one."""
_MARKED = np.flatnonzero(np.isin(CURVE_PROBABILITIES, (0.5, 0.9, 0.99, 0.999, 0.9999)))


def draw_latency(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw the complementary distribution of latencies of each job, a bold line per mode, a thin one per trial."""
    jobs = [(mix, job) for mix in comparison.plan.mixes for job in dict.fromkeys(job.label for job in mix.jobs)]
    figure, panels = grid(len(jobs), 2.2, 3, sharey=True)
    spots: list[Spot] = []
    for axes, (mix, job) in zip(panels, jobs, strict=True):
        shown = [np.empty(0)]
        for mode, measures in _measures(comparison, mix, job).items():
            curves_ms = np.array([each.latency.curve_s for each in measures]) * 1000
            shown.append(curves_ms[~np.isnan(curves_ms)])
            spots += _draw_curves(axes, mode, curves_ms, look[mode])
            shown += _draw_promise(axes, measures) if mode == EXCLUSIVE else []
        what = "response time (ms)" if _serves_users(mix, job) else "step latency (ms)"
        axes.set(title=wrapped(f"{job} in {mix.name}", 30, 3), xlabel=what)
        _scale(axes, np.concatenate(shown))
    _share_of_longer(panels)
    entries = {
        label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, frameon=False)
    return Drawing(
        "step_latency",
        "Tails of latency: of steps, and of the requests of users",
        "Complementary distribution on log axes (latencies that hardly differ on a linear one): lower and further "
        "left is better. A thin line is one trial, the bold one the median of the trials at each percentile, with "
        "marks at p50, p90, p99 and so on. A line ends where too few samples bound its percentile, or requests "
        f"were never answered. Solo is the job alone {whole(comparison)}.",
        figure,
        Source(
            "trials/*/steps.parquet",
            ("slot", "warmup", "end_s", "duration_s"),
            "not warmup, ended in the window; requests.parquet: done_s - scheduled_s, scheduled in the window",
        ),
        tuple(spots),
    )


def _measures(comparison: Comparison, mix: Mix, job: str) -> dict[str, list[JobMeasure]]:
    """Return for each mode what the job did in every trial that counts, solo first."""
    modes = (EXCLUSIVE, *(mode.label for mode in comparison.plan.sharing_modes))
    found: dict[str, list[JobMeasure]] = {mode: [] for mode in modes}
    for trial in comparison.counted:
        if _shows(trial, mix, job):
            mode = EXCLUSIVE if trial.record.role is Role.SOLO else trial.record.mode_label
            found[mode] += [each for each in trial.jobs if each.job == job]
    return {mode: measures for mode, measures in found.items() if measures}


def _serves_users(mix: Mix, label: str) -> bool:
    return any(job.serves_users for job in mix.jobs if job.label == label)


def _shows(trial: TrialMeasure, mix: Mix, job: str) -> bool:
    if trial.record.role is Role.SOLO:
        return trial.jobs[0].job == job
    return trial.record.role is Role.MIX and trial.record.mix == mix.name


def _draw_curves(axes: Axes, mode: str, curves_ms: Vector, look: Look) -> Iterator[Spot]:
    """Draw the trials of one mode and their median, as far as every trial has it; its marks are spots."""
    name = "solo" if mode == EXCLUSIVE else mode
    longer = 1 - CURVE_PROBABILITIES
    lines = [np.column_stack([curve, longer])[~np.isnan(curve)] for curve in curves_ms]
    axes.add_collection(LineCollection(lines, colors=look.colour, linewidths=0.4, alpha=0.35))
    known = ~np.isnan(curves_ms).any(axis=0)
    if not known.any():
        return
    median_ms = np.median(curves_ms[:, known], axis=0)
    marked = [int(i) for i in np.flatnonzero(np.isin(np.flatnonzero(known), _MARKED))]
    axes.plot(
        median_ms, longer[known], color=look.colour, linestyle="--" if mode == EXCLUSIVE else "-", label=name,
        linewidth=1.5, marker=look.marker, markevery=marked, markersize=4, markeredgecolor="white",
        markeredgewidth=0.4,
    )  # fmt: skip
    for i in marked:
        percentile = f"p{100 * CURVE_PROBABILITIES[known][i]:g} {bare(float(median_ms[i]))} ms"
        yield Spot(axes, float(median_ms[i]), float(longer[known][i]), f"{name}: {percentile}, n = {len(lines)}")


def _draw_promise(axes: Axes, measures: list[JobMeasure]) -> list[Vector]:
    """Draw the SLO of the users of a job, the same in every mode; return where it lies."""
    slo_s = measures[0].service.slo_s if measures[0].service else None
    if slo_s is None:
        return []
    axes.axvline(1000 * slo_s, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        "SLO", (1000 * slo_s, 0), xycoords=("data", "axes fraction"), xytext=(-2, 2),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip
    return [np.array([1000 * slo_s])]


def _share_of_longer(panels: list[Axes]) -> None:
    """Give all panels the same log axis, named at the left of each row."""
    for axes in panels[:: min(len(panels), 3)]:
        axes.set_ylabel("share that took longer")
    panels[0].set_yscale("log")
    panels[0].set_ylim(top=1)
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axes in panels:
        axes.minorticks_off()


def _scale(axes: Axes, shown_ms: Vector) -> None:
    """Use a log axis with plain numbers, but where latencies differ too little for it to look different."""
    if not len(shown_ms) or shown_ms.min() <= 0 or shown_ms.max() < _WIDE * shown_ms.min():
        return
    axes.set_xscale("log")
    round_log_ticks(axes.xaxis)
