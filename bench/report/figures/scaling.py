"""The figure of throughput by number of equal jobs, with the fitted laws as far as there are points."""

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.series import Series
from bench.analysis.summary import Comparison
from bench.report.figures.style import Drawing, Look, Spot, grid, wrapped
from bench.report.table import Source
from bench.stats.rounding import with_limits
from bench.stats.scaling import ScalingFit


def draw_scaling(comparison: Comparison, look: dict[str, Look]) -> Drawing:
    """Draw a panel for each job: points with intervals, the law of USL as a line, that of Amdahl dashed."""
    jobs = list(dict.fromkeys(one.job for one in comparison.series))
    figure, panels = grid(len(jobs), 2.5)
    spots: list[Spot] = []
    for axes, job in zip(panels, jobs, strict=True):
        own = [one for one in comparison.series if one.job == job]
        for one in own:
            spots += _draw(axes, one, look[one.mode])
        axes.set(title=wrapped(job, 40, 2), xlabel="clients", ylabel=f"{own[0].unit}/s, all clients")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    return Drawing(
        "scaling",
        "Throughput by number of clients",
        "Points: geometric mean of all clients together over blocks, with 95 % t interval. Line: universal "
        "scalability law; dashed: Amdahl's. Neither is drawn beyond the points, nor for MIG, whose slices "
        "bound it.",
        figure,
        Source("tables/scaling.csv", ("job", "mode", "clients", "throughput", "ci_low", "ci_high")),
        tuple(spots),
    )


def _draw(axes: Axes, one: Series, look: Look) -> list[Spot]:
    spots = []
    for index, point in enumerate(one.points):
        mean = point.throughput
        if mean.value is None:
            continue
        limits = mean.low is not None and mean.high is not None
        bars = [[mean.value - (mean.low or 0)], [(mean.high or 0) - mean.value]] if limits else None
        axes.errorbar(
            point.clients, mean.value, yerr=bars, fmt=look.marker, color=look.colour, markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.4, label=one.mode if index == 0 else None,
        )  # fmt: skip
        words = (
            f"{one.mode}, {point.clients} clients: {with_limits(mean.value, mean.low, mean.high)}, n = {mean.n}"
        )
        spots.append(Spot(axes, point.clients, mean.value, words))
    for fit, line in ((one.usl, "-"), (one.amdahl, "--")):
        if fit is not None:
            n = np.linspace(1, max(point.clients for point in one.points), 100)
            axes.plot(n, _law(fit, n), color=look.colour, linestyle=line, linewidth=0.9)
    return spots


def _law(fit: ScalingFit, n: np.ndarray) -> np.ndarray:
    return np.asarray(fit.gamma * n / (1 + fit.alpha * (n - 1) + fit.beta * n * (n - 1)))
