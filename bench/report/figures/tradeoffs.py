"""Figures of what a mode gains in one quantity and pays in another."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.metrics import ANTT, ATTAINMENT, ENERGY, LATENCY_P99, STP, Metric
from bench.analysis.summary import Comparison
from bench.report.figures.plane import (
    Plane,
    Points,
    crossed,
    draw_planes,
    fit,
    name_axes,
    name_line,
    round_numbers,
)
from bench.report.figures.style import GREY, Drawing, Look, wrapped
from bench.report.table import Source

_COLUMNS = ("mix", "mode", "metric", "job", "value", "ci_low", "ci_high", "n_blocks")
_READING = (
    "Crosses: geometric means over blocks with 95 % t intervals; dots: blocks. Grey: another mode is better in "
    "both, and no intervals overlap; hollow: another is at least as good by point estimates, but intervals "
    "overlap, which shows nothing."
)
_LEAST_LENGTH = 0.25  # of a line that is worth a name, as a share of the axis
_REFERENCE: Mapping[str, Any] = {"color": GREY, "linewidth": 0.7, "zorder": 1}


def draw_tradeoffs(comparison: Comparison, look: Mapping[str, Look]) -> Iterator[Drawing]:
    """Draw STP against ANTT, batch work against the tail of users, and energy against STP, as far as known."""
    for draw in (_draw_pareto, _draw_service, _draw_energy):
        drawing = draw(comparison, look)
        if drawing is not None:
            yield drawing


def _draw_pareto(comparison: Comparison, look: Mapping[str, Look]) -> Drawing | None:
    turns = {mix.name: mix.turns for mix in comparison.plan.mixes if mix.turns > 1}
    shown = crossed(comparison, (Plane(mix, ANTT, STP) for mix in turns))
    if not shown:
        return None
    figure, panels, spots = draw_planes(comparison, look, shown)
    for axes, (plane, _) in zip(panels, shown, strict=True):
        fit(axes, plane)
        _alike(axes, turns[plane.mix])
        name_axes(axes, "ANTT, lower is better", "STP, higher is better")
    return Drawing(
        "pareto",
        "System throughput (STP) against turnaround (ANTT)",
        f"{_READING} Up and left is better. On the dotted line all jobs of a mix are slowed alike; the higher "
        "above it, the less evenly. Log axes.",
        figure,
        _source(STP, ANTT),
        spots,
    )


def _alike(axes: Axes, turns: int) -> None:
    """Draw STP = n / ANTT, below which nothing can lie: the harmonic mean is at most the arithmetic one."""
    x = np.array(axes.get_xlim())
    axes.plot(x, turns / x, linestyle=":", **_REFERENCE)
    axes.text(0.02, 0.03, "dotted: all slowed alike", transform=axes.transAxes, fontsize=6, color=GREY)


def _draw_service(comparison: Comparison, look: Mapping[str, Look]) -> Drawing | None:
    found = [
        _service_plane(comparison, mix.name, job)
        for mix in comparison.plan.mixes
        for job in dict.fromkeys(job.label for job in mix.jobs if job.serves_users)
    ]
    shown = [plane for plane in found if plane is not None]
    if not shown:
        return None
    figure, panels, spots = draw_planes(comparison, look, shown)
    for axes, (plane, _) in zip(panels, shown, strict=True):
        _alone(axes, plane, comparison)
        fit(axes, plane)
        what = "p99 response time (ms)" if plane.x is LATENCY_P99 else "SLO attainment"
        x = f"{what} of {wrapped(plane.x_job, 30, 1)},\n{plane.x.better} is better"
        name_axes(axes, x, "STP of the other jobs,\nhigher is better")
    return Drawing(
        "service_tradeoff",
        "What users get, against what the jobs beside them get done",
        f"{_READING} STP is of the jobs in a closed loop beside the users'; of one such job it is its progress. "
        "Dashed: the job of the users alone. Attainment of the SLO where a mode has no p99. Log axes, but for it.",
        figure,
        _source(STP, LATENCY_P99, ATTAINMENT),
        spots,
    )


def _service_plane(comparison: Comparison, mix: str, job: str) -> tuple[Plane, Points] | None:
    """Choose the p99, or attainment where more modes have it: failures and few requests leave no p99."""
    planes = (Plane(mix, metric, STP, job) for metric in (LATENCY_P99, ATTAINMENT))
    return max(crossed(comparison, planes, sharing_only=True), key=lambda shown: len(shown[1]), default=None)


def _alone(axes: Axes, plane: Plane, comparison: Comparison) -> None:
    """Draw what the users have without neighbours; the name stands on the side where modes are."""
    found = {(level.mix, level.mode, level.metric, level.job): level.value for level in comparison.levels}
    value = found.get((plane.mix, EXCLUSIVE, plane.x.name, plane.x_job))
    if value is not None:
        x, side = value * plane.x_scale, -1 if plane.x.higher_is_better else 1
        axes.axvline(x, linestyle="--", **_REFERENCE)
        axes.annotate(
            "alone", (x, 1), xycoords=("data", "axes fraction"), xytext=(2 * side, -6), textcoords="offset points",
            fontsize=6, color=GREY, ha="right" if side < 0 else "left",
        )  # fmt: skip


def _draw_energy(comparison: Comparison, look: Mapping[str, Look]) -> Drawing | None:
    shown = crossed(comparison, (Plane(mix.name, STP, ENERGY) for mix in comparison.plan.mixes if mix.turns))
    if not shown:
        return None
    figure, panels, spots = draw_planes(comparison, look, shown)
    for axes, (plane, _) in zip(panels, shown, strict=True):
        fit(axes, plane)
        _iso_edp(axes)
        name_axes(axes, "STP, higher is better", "J per solo second,\nlower is better")
    return Drawing(
        "energy",
        "Energy for the same work, against throughput",
        f"{_READING} J per solo second: energy of the whole device for as much work as it does alone in one "
        "second. Down and right is better. Dotted: equal energy-delay product, (power / STP) / STP, in J s. Log "
        "axes.",
        figure,
        _source(STP, ENERGY),
        spots,
    )


def _iso_edp(axes: Axes) -> None:
    """Draw lines of equal energy-delay product: energy is this product times STP, since delay is 1 / STP."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x = np.array([left, right])
    for edp_js in round_numbers(bottom / right, top / left, 7):
        start, end = max(left, bottom / edp_js), min(right, top / edp_js)
        if end > start * (right / left) ** _LEAST_LENGTH:
            axes.plot(x, edp_js * x, linestyle=":", **_REFERENCE)
            at = max(start * (end / start) ** 0.12, left * (right / left) ** 0.06)
            name_line(axes, at, edp_js * at, f"{edp_js:g} J s")


def _source(*metrics: Metric) -> Source:
    return Source("tables/levels.csv", _COLUMNS, f"metric is {', '.join(metric.name for metric in metrics)}")
