"""The figure of who slows whom: a heat map of victims and aggressors, a panel per mode."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.levels import Level
from bench.analysis.metrics import SLOWDOWN
from bench.analysis.summary import Comparison
from bench.plan.model import Mix
from bench.report.figures.plane import round_numbers
from bench.report.figures.style import COLUMN_IN, PAGE_IN, Drawing, Spot, grid, wrapped
from bench.report.labels import whole
from bench.report.table import DASH, Source
from bench.stats.rounding import bare, with_limits

_LEAST_HALF_RANGE = log(2)  # of the colours: slowdowns of a few percent stay pale
_DARK = 0.6  # of the half range: from here on letters are white
_TITLE_IN, _LEAST_ROW_IN, _LINE_IN, _LETTER_IN = 0.3, 0.27, 0.13, 0.062
"""Height of a panel's title, of a row of cells at least, of a line of a name, and width of a letter, inches."""
_CORNERS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
_Pair = tuple[str, str]
_Slowdowns = dict[_Pair, Level]
"""The slowdown of each pair of victim and aggressor that ran."""


@dataclass(frozen=True)
class _Frame:
    """What the panels of all modes share; `half_range` of the colours is a logarithm."""

    victims: list[str]
    aggressors: list[str]
    half_range: float

    @property
    def rows(self) -> list[str]:
        """How victims are named beside the cells."""
        return [wrapped(name, 22, 3) for name in self.victims]

    @property
    def columns(self) -> list[str]:
        """How aggressors are named below the cells."""
        return [wrapped(name, 22, 3) for name in self.aggressors]

    def place(self, pair: _Pair) -> tuple[int, int]:
        """Return column and row of a pair."""
        return self.aggressors.index(pair[1]), self.victims.index(pair[0])

    @property
    def colours(self) -> dict[str, Any]:
        """How logarithms are coloured: white is a slowdown of 1."""
        return {"cmap": "RdBu_r", "norm": CenteredNorm(0, self.half_range)}


def draw_interference(comparison: Comparison) -> Iterator[Drawing]:
    """Draw the slowdown of each job beside others; nothing where fewer than two different pairs ran."""
    found = _slowdowns(comparison)
    pairs = dict.fromkeys(pair for slowdowns in found.values() for pair in slowdowns)
    if len(pairs) < 2:
        return
    victims, aggressors = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    values = [level.value for slowdowns in found.values() for level in slowdowns.values() if level.value]
    frame = _Frame(victims, aggressors, max([_LEAST_HALF_RANGE, *(abs(log(value)) for value in values)]))
    figure, spots = _draw(found, frame)
    yield Drawing(
        "interference",
        "Who slows whom",
        f"Time that the job of a row takes beside the jobs of a column, over its time alone {whole(comparison)}; "
        "what a cut of the device costs is in it. Geometric mean over blocks. Hatched: the 95 % t interval, not "
        "widened for the number of cells, includes 1, or there is none. "
        f"{DASH}: it ran, and no mean can be told. White: this pair did not run.",
        figure,
        Source(
            "tables/levels.csv",
            ("mix", "mode", "job", "value", "ci_low", "ci_high", "n_blocks", "reason"),
            f"metric is {SLOWDOWN.name}",
        ),
        spots,
    )


def _slowdowns(comparison: Comparison) -> dict[str, _Slowdowns]:
    """Return pairs by mode, in plan order; of two mixes with the same pair the first counts.

    Probes are there to disturb others, so they are victims only where nothing else is.
    """
    mixes = {mix.name: mix for mix in comparison.plan.mixes if len(mix.jobs) > 1}
    levels = [
        level
        for level in comparison.levels
        if level.metric == SLOWDOWN.name and level.mode != EXCLUSIVE and level.mix in mixes
    ]
    tenants = (tenant for record in comparison.records for tenant in record.tenants)
    probes = {tenant.job for tenant in tenants if tenant.kind == "probe"}
    victims = {level.job for level in levels}
    found: dict[str, _Slowdowns] = {}
    for level in levels:
        if level.job in (victims - probes or victims):
            pair = level.job, _others(mixes[level.mix], level.job)
            found.setdefault(level.mode, {}).setdefault(pair, level)
    return found


def _others(mix: Mix, victim: str) -> str:
    """Return the other jobs of a mix as one aggressor, equal ones with their number."""
    others = Counter(job.label for job in mix.jobs)
    others[victim] -= 1
    return " + ".join(f"{n} \N{MULTIPLICATION SIGN} {job}" if n > 1 else job for job, n in others.items() if n)


def _draw(found: Mapping[str, _Slowdowns], frame: _Frame) -> tuple[Figure, tuple[Spot, ...]]:
    """Draw a panel for each mode, and one scale of colours for all."""
    wide = len(frame.aggressors)
    columns = min(len(found), 4 if wide < 5 else 2 if wide < 9 else 1)
    row_in = max([_LEAST_ROW_IN, *(_LINE_IN * (1 + name.count("\n")) for name in frame.rows)])
    names_in = _TITLE_IN + _LETTER_IN * max(len(line) for name in frame.columns for line in name.split("\n"))
    figure, panels = grid(len(found), _TITLE_IN + row_in * len(frame.rows), columns, sharex=True, sharey=True)
    figure.set_size_inches(COLUMN_IN if columns == 1 and wide < 5 else PAGE_IN, figure.get_figheight() + names_in)
    spots: list[Spot] = []
    for axes, (mode, slowdowns) in zip(panels, found.items(), strict=True):
        _draw_mode(axes, slowdowns, frame)
        spots += [_spot(axes, mode, pair, level, frame) for pair, level in slowdowns.items()]
        axes.set_title(wrapped(mode, 24, 1))
    _name_jobs(panels, columns, frame)
    thin = 10 * len(panels) / columns
    bar = figure.colorbar(ScalarMappable(**frame.colours), ax=panels, aspect=thin, pad=0.01, label="slowdown")
    ticks = round_numbers(exp(-frame.half_range), exp(frame.half_range))
    bar.set_ticks([log(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    return figure, tuple(spots)


def _draw_mode(axes: Axes, slowdowns: _Slowdowns, frame: _Frame) -> None:
    """Colour the cells of one mode by the logarithm of the slowdown, and hatch what may be 1."""
    logs = np.full((len(frame.victims), len(frame.aggressors)), np.nan)
    unsure = []
    for pair, level in slowdowns.items():
        column, row = frame.place(pair)
        if level.value:
            logs[row, column] = log(level.value)
        if level.value and not _differs(level):
            unsure.append([(column + x, row + y) for x, y in _CORNERS])
        _write(axes, (column, row), level, dark=bool(abs(logs[row, column]) > _DARK * frame.half_range))
    edges = (np.arange(size + 1) - 0.5 for size in logs.T.shape)
    axes.pcolormesh(*edges, np.ma.masked_invalid(logs), edgecolors="#D9D9D9", linewidth=0.4, **frame.colours)
    axes.add_collection(
        PolyCollection(unsure, facecolors="none", edgecolors="#BDBDBD", hatch="////", linewidths=0)
    )


def _write(axes: Axes, at: tuple[int, int], level: Level, *, dark: bool) -> None:
    words = bare(level.value) if level.value else DASH
    axes.text(*at, words, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")


def _differs(level: Level) -> bool:
    """Whether the interval leaves out 1; a single block has none, and shows nothing."""
    if level.ci_low is None or level.ci_high is None:
        return False
    return not level.ci_low <= 1 <= level.ci_high


def _spot(axes: Axes, mode: str, pair: _Pair, level: Level, frame: _Frame) -> Spot:
    told = with_limits(level.value, level.ci_low, level.ci_high) if level.value else level.reason
    return Spot(axes, *frame.place(pair), f"{mode}, {pair[0]} beside {pair[1]}: {told}, n = {level.n_blocks}")


def _name_jobs(panels: Sequence[Axes], columns: int, frame: _Frame) -> None:
    """Name rows and columns once, which all panels share, at the left and below the last panel of each column."""
    first = panels[0]
    first.set_xticks(range(len(frame.columns)), frame.columns)
    first.set_yticks(range(len(frame.rows)), frame.rows)
    first.set(xlim=(-0.5, len(frame.columns) - 0.5), ylim=(len(frame.rows) - 0.5, -0.5))
    for axes in panels:
        axes.grid(visible=False)
    for axes in panels[::columns]:
        axes.set_ylabel("victim")
    for axes in panels[-columns:]:
        axes.tick_params(axis="x", labelbottom=True, labelrotation=90)
        axes.set_xlabel("jobs beside it")
