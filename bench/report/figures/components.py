"""The figure of where the variation sits: a bar for each job, cut by what each level adds to the variance."""

from math import sqrt

from matplotlib.axes import Axes

from bench.analysis.components import BLOCK, LAUNCH, LEVELS, PART, Components, JobComponents
from bench.report.figures.style import Drawing, Spot, grid, wrapped
from bench.report.table import Source
from bench.stats.rounding import bare

# One hue from dark to light: told apart in grey as well, and no colour of a mode.
_LEVELS = {BLOCK: ("blocks", "#3B3561"), LAUNCH: ("launches", "#8A84B5"), PART: ("parts of a window", "#D9D6EC")}
_BAR, _ROOM = 0.62, 0.07
"""Height of a bar, and the share that has room for its own number."""


def draw_components(found: Components) -> Drawing | None:
    """Draw the shares of the variance of a trial's rate, blocks first; None where the rate of no job varies."""
    jobs = [job for job in found.jobs if job.shares]
    if not jobs:
        return None
    figure, (axes,) = grid(1, 0.85 + 0.3 * len(jobs))
    spots = [spot for y, job in enumerate(jobs) for spot in _draw(axes, y, job)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the variance of a trial's rate (%)")
    axes.set_yticks(range(len(jobs)), [wrapped(job.job, 22, 2) for job in jobs])
    axes.set_ylim(len(jobs) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(_LEVELS), frameon=False, handlelength=1, columnspacing=1)
    return Drawing(
        "components",
        "Where the variation sits",
        f"Of the mix “{found.mix}” in mode {found.mode}, which every block launches twice: what blocks, launches "
        "and parts of a window add to the variance of the rate of one trial (logarithms), and beside each bar its "
        f"standard deviation. Over {found.n_blocks} blocks.",
        figure,
        Source("tables/components.csv", ("job", "level", "share", "variance")),
        tuple(spots),
    )


def _draw(axes: Axes, y: int, job: JobComponents) -> list[Spot]:
    shares = {level: 100 * share for level, share in zip(LEVELS, job.shares, strict=True)}
    spots, left = [], 0.0
    for level, (name, colour) in _LEVELS.items():
        share = shares[level]
        axes.barh(y, share, _BAR, left, color=colour, label=name if y == 0 else None, zorder=2)
        if share > 100 * _ROOM:
            light = level == PART
            axes.text(
                left + share / 2, y, f"{share:.0f}", ha="center", va="center", fontsize=6.5,
                color="black" if light else "white",
            )  # fmt: skip
        spots += [Spot(axes, left + share / 2, y, f"{job.job}, {name}: {bare(share)} %")] if share else []
        left += share
    total = f"{bare(100 * sqrt(sum(job.of_trial)))} %"
    axes.text(1.02, y, total, transform=axes.get_yaxis_transform(), va="center", fontsize=6.5)
    return spots
