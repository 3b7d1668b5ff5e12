"""The critical-difference diagram: average ranks of the modes over many workloads, a panel per metric."""

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes

from bench.analysis.metrics import METRICS
from bench.analysis.ranking import Ranking
from bench.analysis.summary import Comparison
from bench.report.figures.style import PAGE_IN, Drawing, Look, grid, wrapped
from bench.report.table import Source
from bench.stats.rounding import bare


def draw_ranks(comparison: Comparison, look: Mapping[str, Look]) -> Iterator[Drawing]:
    """Draw each ranking that has a critical difference, which fewer than ten workloads do not give."""
    shown = [ranking for ranking in comparison.rankings if ranking.critical_difference is not None]
    if not shown:
        return
    figure, panels = grid(len(shown), 0.7 + 0.2 * max(len(ranking.modes) for ranking in shown), 1)
    figure.set_figwidth(PAGE_IN)
    for axes, ranking in zip(panels, shown, strict=True):
        _draw(axes, ranking, look)
    yield Drawing(
        "critical_difference",
        "Average ranks of the modes over all workloads",
        "Rank 1 is best. A bar leads from each mode to the last one that Nemenyi's test (5 %) cannot tell from "
        "it: their ranks lie within the critical difference, CD. The pairs below are tested one by one.",
        figure,
        Source("tables/rankings.csv", ("metric", "mode", "workloads", "average_rank", "critical_difference")),
    )


def _draw(axes: Axes, ranking: Ranking, look: Mapping[str, Look]) -> None:
    """Draw a line per mode, best first, from its rank to the farthest one that cannot be told from it."""
    reach = ranking.critical_difference or 0.0
    ranked = sorted(zip(ranking.test.average_ranks, ranking.modes, strict=True))
    for y, (rank, mode) in enumerate(ranked):
        farthest = max(other for other, _ in ranked if other - rank <= reach)
        axes.plot([rank, farthest], [y, y], color=look[mode].colour, linewidth=1.6, alpha=0.5)
        axes.plot(rank, y, marker=look[mode].marker, color=look[mode].colour, markersize=6)
    axes.set_yticks(range(len(ranked)), [f"{wrapped(mode, 30, 1)}  {bare(rank)}" for rank, mode in ranked])
    axes.set(ylim=(len(ranked) - 0.5, -0.5), xlim=(0.8, len(ranked) + 0.2))
    axes.set_title(f"{METRICS[ranking.metric].label}, {ranking.test.workloads} workloads, CD = {bare(reach)}")
    axes.set_xlabel("average rank, 1 is best")
    axes.grid(axis="y", visible=False)
