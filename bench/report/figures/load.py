"""The figure of latency against offered load, with what the search for the highest rate tried."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.levels import Level
from bench.analysis.load import LoadCurve, LoadPoint, load_curves
from bench.analysis.summary import Comparison
from bench.report.figures.style import COLUMN_IN, GREY, Drawing, Look, Spot, matrix, round_log_ticks, wrapped
from bench.report.labels import whole
from bench.report.table import Source
from bench.stats.rounding import with_limits
from bench.store.run_folder import RunFolder


def draw_load(comparison: Comparison, run: RunFolder, look: dict[str, Look]) -> Drawing | None:
    """Draw a column per job of requests and its neighbours; None where none has three loads."""
    curves = load_curves(comparison.plan, comparison.levels, comparison.counted, run.calibration)
    if not curves:
        return None
    figure, panels = matrix(2, len(curves), height_in=3.6)
    if len(curves) == 1:
        figure.set_figwidth(COLUMN_IN)
    spots: list[Spot] = []
    for (above, below), curve in zip(panels.T, curves, strict=True):
        for mode, own in _by_mode(curve):
            spots += _draw_latency(above, mode, own, look[mode])
            spots += _draw_attainment(below, mode, own, look[mode])
        _draw_search(above, below, curve)
        beside = f"beside {', '.join(curve.beside)}" if curve.beside else "by itself"
        above.set_title(wrapped(f"{curve.job} {beside}", 84 // len(curves) if len(curves) > 1 else 48, 3))
        below.set_xlabel("offered load (requests/s)")
        below.set_xlim(left=0)
    _scale(panels[0, 0], panels[1, 0])
    _name_lines(figure, panels.flat)
    return Drawing(
        "latency_by_load",
        "Response time by offered load",
        "Above: p99 (filled, full line) and median (hollow, dotted) of the response time; a mark is missing where "
        "its percentile has no bound: requests were refused or failed. Below: the share answered within the "
        f"SLO. Means over blocks with 95 % t intervals. Solo is the job alone {whole(comparison)}. Crosses: what "
        "the search for the highest rate alone tried, once each; dash-dotted: the rate that it settled on.",
        figure,
        Source(
            "tables/levels.csv",
            ("mix", "mode", "metric", "job", "value", "ci_low", "ci_high", "n_blocks"),
            "metric is offered_rate, latency_p50, latency_p99, attainment; and calibration.json: probes",
        ),
        tuple(spots),
    )


def _by_mode(curve: LoadCurve) -> Iterator[tuple[str, list[LoadPoint]]]:
    for mode in dict.fromkeys(point.mode for point in curve.points):
        yield mode, [point for point in curve.points if point.mode == mode]


def _draw_latency(axes: Axes, mode: str, points: Sequence[LoadPoint], look: Look) -> list[Spot]:
    p99 = [(point.offered_per_s, point.p99_s) for point in points]
    p50 = [(point.offered_per_s, point.p50_s) for point in points]
    return [
        *_line(axes, f"{_named(mode)}, p99 (ms)", p99, look, 1000, label=_named(mode)),
        *_line(axes, f"{_named(mode)}, median (ms)", p50, look, 1000, hollow=True),
    ]


def _draw_attainment(axes: Axes, mode: str, points: Sequence[LoadPoint], look: Look) -> list[Spot]:
    shares = [(point.offered_per_s, point.attainment) for point in points]
    return _line(axes, f"{_named(mode)}, share in time", shares, look, 1)


def _named(mode: str) -> str:
    return "solo" if mode == EXCLUSIVE else mode


def _line(
    axes: Axes,
    name: str,
    points: Sequence[tuple[float, Level | None]],
    look: Look,
    factor: float,
    *,
    hollow: bool = False,
    label: str | None = None,
) -> list[Spot]:
    """Draw levels by offered load with their intervals; levels without a value leave a gap."""
    x = [offered for offered, _ in points]
    y = [factor * level.value if level and level.value is not None else float("nan") for _, level in points]
    lows, highs = ([factor * limit for limit in limits] for limits in zip(*map(_limits, points), strict=True))
    bars = [
        [a - low for a, low in zip(y, lows, strict=True)],
        [high - a for a, high in zip(y, highs, strict=True)],
    ]
    axes.errorbar(
        x, y, yerr=bars, color=look.colour, marker=look.marker, markersize=4.5, linewidth=0.8 if hollow else 1.3,
        linestyle=":" if hollow else "-", markerfacecolor="white" if hollow else look.colour, markeredgewidth=0.8,
        markeredgecolor=look.colour, elinewidth=1.2, label=label,
    )  # fmt: skip
    told = zip(x, y, lows, highs, points, strict=True)
    return [
        Spot(axes, at, value, f"{name} at {at:.3g}/s: {with_limits(value, low, high)}, n = {level.n_blocks}")
        for at, value, low, high, (_, level) in told
        if level and level.value is not None
    ]


def _limits(point: tuple[float, Level | None]) -> tuple[float, float]:
    """Return the limits of a level, both its value where there is no interval."""
    level = point[1]
    if level is None or level.value is None:
        return float("nan"), float("nan")
    return (
        level.value if level.ci_low is None else max(level.ci_low, 0.0),
        level.value if level.ci_high is None else level.ci_high,
    )


def _draw_search(above: Axes, below: Axes, curve: LoadCurve) -> None:
    """Draw the SLO, the rates that were tried and the one that was confirmed."""
    if curve.slo_s is not None:
        above.axhline(1000 * curve.slo_s, color=GREY, linewidth=0.8, linestyle="--")
        above.annotate(
            "SLO", (1, 1000 * curve.slo_s), xycoords=("axes fraction", "data"), xytext=(-2, -2),
            textcoords="offset points", ha="right", va="top", fontsize=6.5, color=GREY,
        )  # fmt: skip
    if curve.search is not None:
        below.plot(*zip(*curve.tried, strict=True), "x", color=GREY, markersize=4, label="search, alone")
        for axes in (above, below):
            axes.axvline(curve.search.maximum_per_s, color=GREY, linewidth=0.8, linestyle="-.")
        below.annotate(
            "highest\nrate alone", (curve.search.maximum_per_s, 0), xytext=(3, 0), textcoords="offset points",
            va="bottom", fontsize=6.5, color=GREY,
        )  # fmt: skip


def _scale(above: Axes, below: Axes) -> None:
    above.set(yscale="log", ylabel="response time (ms)")
    round_log_ticks(above.yaxis)
    above.minorticks_off()
    below.set(ylim=(-0.03, 1.05), ylabel="share within the SLO")


def _name_lines(figure: Figure, panels: Sequence[Axes]) -> None:
    entries = {
        label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, frameon=False)
