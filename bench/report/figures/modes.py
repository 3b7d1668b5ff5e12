"""Figures with one mark per mode: STP, progress and throughput of each job, and the ratios of all contrasts."""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite, log
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from bench.analysis.cells import PRIMARY
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.contrasts import ALL_TRIALS, Contrast
from bench.analysis.metrics import METRICS, RATE, STP
from bench.analysis.summary import Comparison
from bench.plan.model import Job, Mix
from bench.report.figures.style import GREY, PAGE_IN, Drawing, Look, Spot, grid, wrapped
from bench.report.labels import whole
from bench.report.table import Source
from bench.stats.interval import Interval, geometric_mean_interval
from bench.stats.rounding import bare, with_limits

_ROUND = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 20,
)  # fmt: skip
_LEAST_GAP = 0.13  # between two ticks, as a share of a log axis
_SPREAD = 0.16  # half the width over which the blocks of one mode are laid out side by side
_ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # what lines do not run through


def draw_stp(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw STP by mode, a panel per mix, with what taking turns and perfect sharing would give."""
    mixes = [mix for mix in comparison.plan.mixes if mix.turns]
    figure, panels = grid(len(mixes), 2.3)
    spots: list[Spot] = []
    for axes, mix in zip(panels, mixes, strict=True):
        modes = _ran(comparison, mix, sharing_only=True)
        for x, mode in enumerate(modes):
            blocks = _values(comparison, mode, mix.name, STP.name, "")
            spots += _column(axes, x, blocks, look[mode], mode)
        n = mix.turns
        _reference(axes, 1, "taking\nturns", "--")
        if n > 1:
            _reference(axes, n, "perfect\nsharing", ":")
        axes.set(title=wrapped(mix.name, 40, 2), ylabel="STP", ylim=(0, max(n, 1) * 1.12))
        _name_modes(axes, modes)
    return Drawing(
        "stp_by_mode",
        "System throughput (STP) by mode",
        "Each small mark is one block, the large one the geometric mean with its 95 % t interval. Taking turns "
        "gives 1; n jobs that do not disturb each other give n.",
        figure,
        Source("tables/colocation.csv", ("block", "mode", "mix", "stp")),
        tuple(spots),
    )


def draw_progress(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw the progress of each job against its solo rate, a panel per mix."""
    mixes = [mix for mix in comparison.plan.mixes if mix.turns]
    tallest = max(mix.turns * len(_ran(comparison, mix, sharing_only=True)) for mix in mixes)
    figure, panels = grid(len(mixes), max(1.9, 0.9 + 0.13 * tallest))
    spots: list[Spot] = []
    for axes, mix in zip(panels, mixes, strict=True):
        modes = _ran(comparison, mix, sharing_only=True)
        tenants = [name for name, job in zip(mix.tenants, mix.jobs, strict=True) if job.takes_turns]
        for row, tenant in enumerate(tenants):
            for number, mode in enumerate(modes):
                y = row + (number - (len(modes) - 1) / 2) * 0.8 / max(len(modes), 1)
                progress = _progress(comparison, mode, mix.name, tenant)
                _interval(axes, y, progress, look[mode], mode if row == 0 else None)
                spots += _told(axes, progress.value, y, progress, f"{tenant}, {mode}")
        axes.axvline(1, color=GREY, linewidth=0.8)
        axes.axvline(1 / mix.turns, color=GREY, linewidth=0.8, linestyle="--")
        axes.set(title=wrapped(mix.name, 40, 2), xlabel="rate / solo rate  (dashed: taking turns)")
        axes.set_xlim(0, max(1.05, axes.get_xlim()[1]))
        axes.set_yticks(range(mix.turns), [wrapped(name, 20) for name in tenants])
        axes.set_ylim(mix.turns - 0.45, -0.55)
        axes.grid(axis="y", visible=False)
    _shared_legend(panels)
    return Drawing(
        "progress_by_job",
        "Normalised progress of each job",
        "Rate beside the neighbours over the rate alone in the same block: 1 is undisturbed. Geometric mean "
        "with 95 % t interval over blocks.",
        figure,
        Source("tables/jobs.csv", ("block", "mode", "mix", "tenant", "progress"), "role is mix"),
        tuple(spots),
    )


def draw_throughput(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw the absolute rate of each job by mode, a panel per job since units differ."""
    jobs = [(mix, job) for mix in comparison.plan.mixes for job in _distinct(mix)]
    figure, panels = grid(len(jobs), 2.0, 3)
    spots: list[Spot] = []
    levels = {
        (level.mix, level.mode, level.job): level for level in comparison.levels if level.metric == RATE.name
    }
    for axes, (mix, job) in zip(panels, jobs, strict=True):
        modes = _ran(comparison, mix)
        for x, mode in enumerate(modes):
            turns = mix.turns if mode == EXCLUSIVE and job.takes_turns else 1
            blocks = [value * turns for value in _values(comparison, mode, mix.name, RATE.name, job.label)]
            spots += _column(axes, x, blocks, look[mode], "solo" if mode == EXCLUSIVE else mode)
        unit = next(
            (level.unit for (m, _, j), level in levels.items() if (m, j) == (mix.name, job.label)), RATE.unit
        )
        axes.set(title=wrapped(f"{job.label} in {mix.name}", 30, 3), ylabel=wrapped(unit, 20, 2))
        axes.set_ylim(bottom=0)
        _name_modes(axes, ["solo" if mode == EXCLUSIVE else mode for mode in modes])
    return Drawing(
        "throughput_by_job",
        "Throughput of each job",
        f"Items per second of one tenant, alone {whole(comparison)} (solo) and beside its neighbours; small marks "
        "are blocks. Rates of different units are never added.",
        figure,
        Source("tables/jobs.csv", ("block", "mode", "mix", "job", "unit", "rate"), "role is solo or mix"),
        tuple(spots),
    )


def draw_forest(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw the ratios of the primary family with their intervals, grouped by mix and metric."""
    rows = [row for row in comparison.contrasts if row.family == PRIMARY and row.trials == ALL_TRIALS]
    lines = list(_forest_lines(rows))
    figure, (axes,) = grid(1, 0.6 + 0.19 * max(len(lines), 3))
    figure.set_figwidth(PAGE_IN)
    spots: list[Spot] = []
    for y, (label, row) in enumerate(lines):
        if row is None:
            axes.text(
                0.01, y, label, transform=axes.get_yaxis_transform(), va="center", bbox=_ON_WHITE, zorder=1.5
            )
        else:
            ratio = Interval(row.ratio, row.ci_low, row.ci_high, row.n_blocks, 0.95)
            _interval(axes, y, ratio, look[row.mode])
            spots += _told(axes, row.ratio, y, ratio, f"{row.mode} / {row.baseline}{_values_of(row)}")
            axes.text(1.01, y, _beside(row), transform=axes.get_yaxis_transform(), va="center", fontsize=6.5)
    axes.axvline(1, color=GREY, linewidth=0.9)
    pairs = {y: label for y, (label, row) in enumerate(lines) if row is not None}
    axes.set_yticks([*pairs], [*pairs.values()], color=GREY)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel("ratio of the mode to what it is compared with (log axis)")
    _log_axis(axes, [x for row in rows for x in (row.ratio, row.ci_low, row.ci_high) if x])
    return Drawing(
        "ratios",
        "Ratios of the primary contrasts",
        "Paired log-ratio over blocks, 95 % t interval, not widened for multiplicity; the verdict is after Holm. "
        "Beside each: ratio, interval, blocks, verdict.",
        figure,
        Source(
            "tables/contrasts.csv",
            ("mix", "metric", "mode", "baseline", "ratio", "ci_low", "ci_high", "n_blocks", "verdict"),
            f"family is {PRIMARY}, trials is {ALL_TRIALS}",
        ),
        tuple(spots),
    )


def _forest_lines(rows: Sequence[Contrast]) -> Iterator[tuple[str, Contrast | None]]:
    """Yield the label of each line with its contrast; a line without one is the heading of a group."""
    groups: dict[str, list[Contrast]] = {}
    for row in rows:
        metric = METRICS[row.metric]
        what = f"{metric.label} of {wrapped(row.job, 40, 1)}" if row.job else metric.label
        groups.setdefault(f"{wrapped(row.mix, 40, 1)}: {what}, {metric.better} is better", []).append(row)
    for heading, own in groups.items():
        yield heading, None
        yield from ((f"{row.mode} / {row.baseline}", row) for row in own)


def _values_of(row: Contrast) -> str:
    """Return the absolute values that a ratio is made of."""
    if row.value is None or row.baseline_value is None:
        return ""
    return f" = {bare(row.value)} / {bare(row.baseline_value)}"


def _beside(row: Contrast) -> str:
    if row.ratio is None:
        return row.verdict
    return f"{with_limits(row.ratio, row.ci_low, row.ci_high)}  n={row.n_blocks}  {row.verdict}"


def _ran(comparison: Comparison, mix: Mix, *, sharing_only: bool = False) -> list[str]:
    """Return the modes in which this mix has values, exclusive first, in plan order."""
    seen = {cell.mode for cell in comparison.cells if cell.mix == mix.name}
    modes = [mode.label for mode in comparison.plan.sharing_modes]
    return [mode for mode in (modes if sharing_only else [EXCLUSIVE, *modes]) if mode in seen]


def _distinct(mix: Mix) -> list[Job]:
    """Return the jobs of a mix, equal ones once."""
    return list({job.label: job for job in mix.jobs}.values())


def _values(comparison: Comparison, mode: str, mix: str, metric: str, job: str) -> list[float]:
    readings = [c.reading(metric, job).value for c in comparison.cells if (c.mode, c.mix) == (mode, mix)]
    return [value for value in readings if value is not None and isfinite(value)]


def _progress(comparison: Comparison, mode: str, mix: str, tenant: str) -> Interval:
    cells = [cell for cell in comparison.cells if (cell.mode, cell.mix) == (mode, mix)]
    jobs = [job for cell in cells for job in cell.jobs if job.tenant == tenant]
    values = [value for job in jobs if (value := job.progress.value) is not None]
    return _geometric(values)


def _geometric(values: Sequence[float]) -> Interval:
    """Return the geometric mean with its interval; of values with a zero, the plain mean without one."""
    if all(value > 0 for value in values):
        return geometric_mean_interval(values)
    return Interval(float(np.mean(values)), None, None, len(values), 0.95)


def _told(axes: Axes, x: float | None, y: float | None, of: Interval, name: str) -> list[Spot]:
    """Return what hovering over a mean tells; nothing where there is none."""
    if x is None or y is None or of.value is None:
        return []
    return [Spot(axes, x, y, f"{name}: {with_limits(of.value, of.low, of.high)}, n = {of.n}")]


def _column(axes: Axes, x: float, blocks: Sequence[float], look: Look, name: str) -> list[Spot]:
    """Draw the blocks of one mode side by side in order, and their mean with interval, which is a spot."""
    offsets = np.linspace(-_SPREAD, _SPREAD, len(blocks)) if len(blocks) > 1 else np.zeros(len(blocks))
    axes.scatter(x - 0.14 + offsets, blocks, s=7, color=look.colour, alpha=0.45, linewidths=0, zorder=2)
    mean = _geometric(blocks)
    if mean.value is not None:
        bars = (
            None if mean.low is None or mean.high is None else [[mean.value - mean.low], [mean.high - mean.value]]
        )
        axes.errorbar(x + 0.2, mean.value, yerr=bars, **_marks(look))
    return _told(axes, x + 0.2, mean.value, mean, name)


def _interval(axes: Axes, y: float, of: Interval, look: Look, label: str | None = None) -> None:
    if of.value is None:
        return
    bars = None if of.low is None or of.high is None else [[of.value - of.low], [of.high - of.value]]
    axes.errorbar(of.value, y, xerr=bars, label=label, **_marks(look))


def _marks(look: Look) -> dict[str, Any]:
    """Return how a mean with its interval is drawn: a bar without caps, which would hide small markers."""
    return {
        "fmt": look.marker, "color": look.colour, "markersize": 5, "markeredgecolor": "white",
        "markeredgewidth": 0.4, "elinewidth": 1.5, "zorder": 3,
    }  # fmt: skip


def _reference(axes: Axes, y: float, name: str, line: str) -> None:
    """Draw a line that means something, and say beside the panel what."""
    axes.axhline(y, color=GREY, linewidth=0.8, linestyle=line, zorder=1)
    axes.annotate(
        name, (1, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        va="center", fontsize=6.5, color=GREY,
    )  # fmt: skip


def _name_modes(axes: Axes, modes: Sequence[str]) -> None:
    width_in = axes.bbox.width / axes.figure.dpi
    crowded = sum(len(mode) + 2 for mode in modes) > 16 * width_in
    axes.set_xticks(
        range(len(modes)), [wrapped(mode, 14) for mode in modes], rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )  # fmt: skip
    axes.set_xlim(-0.6, max(len(modes), 1) - 0.4)
    axes.grid(axis="x", visible=False)


def _shared_legend(panels: Sequence[Axes]) -> None:
    """Put one legend for all panels below the figure."""
    entries = {
        label: bars[0] if isinstance(bars, ErrorbarContainer) else bars
        for axes in panels
        for bars, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        panels[0].figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=min(5, len(entries)), frameon=False
        )


def _log_axis(axes: Axes, values: Iterable[float]) -> None:
    """Use a log axis whose ticks are plain numbers around 1."""
    known = [value for value in values if isfinite(value) and value > 0] or [0.9, 1.1]
    low, high = min([*known, 0.95]) / 1.04, max([*known, 1.05]) * 1.04
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two limits, 1 first of all, as many as have room for their labels."""
    kept: list[float] = []
    for tick in sorted(_ROUND, key=lambda number: abs(log(number))):
        apart = all(abs(log(tick / other)) >= _LEAST_GAP * log(high / low) for other in kept)
        if low <= tick <= high and apart:
            kept.append(tick)
    return kept
