"""How every figure looks: one colour and marker per mode, sizes for a column of print, watermark, saving."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bench.report.table import Source

COLUMN_IN, PAGE_IN = 3.4, 7.0
"""Widths of one column and of a page of print, inches."""
PNG_DPI = 150
GREY = "#595959"
WIDE_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Droid Sans Fallback", "IPAexGothic", "Arial Unicode MS", "Hiragino Sans", "PingFang SC", "Yu Gothic",
    "Microsoft YaHei",
)  # fmt: skip
"""Fonts with the letters of other scripts, where one is installed; matplotlib itself brings none."""

# Okabe & Ito (2008), "Color Universal Design": told apart with every common form of colour blindness.
_COLOURS = {
    "exclusive": GREY,
    "time-slicing": "#E69F00",
    "mps": "#0072B2",
    "mps-equal": "#56B4E9",
    "mig": "#009E73",
    "cpu-shared": "#D55E00",
}
_SPARE_COLOURS = ("#CC79A7", "#D55E00", "#8C6D1F", "#7B4FA3", "#1B7C8C", "#A33B3B", "#4F7A28", "#3D3D8F")
_MARKERS = {"exclusive": "s", "time-slicing": "o", "mps": "D", "mps-equal": "^", "mig": "v", "cpu-shared": "P"}
_SPARE_MARKERS = ("X", "<", ">", "p", "h", "*", "d", "8")


@dataclass(frozen=True)
class Look:
    """How one mode is drawn, in every figure."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Spot:
    """A mark of a figure, in the coordinates of its data, and what a page tells of it on hovering."""

    axes: Axes
    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Hover:
    """A spot on the finished picture, in percent of its width from the left and of its height from the top."""

    left: float
    top: float
    words: str


@dataclass(frozen=True)
class Drawing:
    """A finished figure: its file name without suffix, what it shows, and the figure itself."""

    name: str
    title: str
    caption: str
    figure: Figure
    source: Source
    spots: tuple[Spot, ...] = ()
    hovers: tuple[Hover, ...] = ()
    """Where the spots are once the figure was saved."""

    @property
    def width_in(self) -> float:
        """How wide it is meant to be in print, inches."""
        return float(self.figure.get_figwidth())


def looks(modes: Sequence[str]) -> dict[str, Look]:
    """Return the look of each mode; modes with options take spare colours in plan order."""
    spare = iter(zip(_SPARE_COLOURS * len(modes), _SPARE_MARKERS * len(modes), strict=True))
    return {
        mode: Look(_COLOURS[mode], _MARKERS[mode]) if mode in _COLOURS else Look(*next(spare))
        for mode in dict.fromkeys(["exclusive", *modes])
    }


def apply_style() -> None:
    """Set fonts and lines for all figures that follow: legible at 3.4 inches, no text as mathematics."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    mpl.rcParams.update(
        {
            "font.family": _families(),
            "figure.dpi": PNG_DPI,  # laid out as it is rasterised: hinted letters are wider at some resolutions
            "font.size": 7.5,
            "axes.titlesize": 8,
            "axes.labelsize": 7.5,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "axes.linewidth": 0.6,
            "grid.linewidth": 0.4,
            "lines.linewidth": 1.2,
            "pdf.fonttype": 42,
            "svg.fonttype": "none",  # text stays text: smaller files, and letters that can be searched
            "svg.hashsalt": "report",  # the same names inside whenever rebuilt
            "text.parse_math": False,
            "figure.constrained_layout.use": False,
        }
    )


def grid(panels: int, panel_height_in: float, most_columns: int = 2, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with one axes per panel; one panel is a column wide, more take the page."""
    columns = min(panels, most_columns)
    rows = -(-panels // columns)
    size = (COLUMN_IN if columns == 1 else PAGE_IN, panel_height_in * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    for unused in axes.flat[panels:]:
        unused.set_visible(False)
    return figure, list(axes.flat[:panels])


def matrix(rows: int, columns: int, height_in: float) -> tuple[Figure, Any]:
    """Return a page-wide figure of panels that share the x axis of their column and the y axis of their row."""
    return plt.subplots(
        rows,
        columns,
        figsize=(PAGE_IN, height_in),
        sharex="col",
        sharey="row",
        squeeze=False,
    )


def round_log_ticks(axis: Axis) -> None:
    """Name 1, 2 and 5 of each decade of a log axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def wrapped(text: str, width: int = 26, lines: int = 3) -> str:
    """Return a label that can be drawn, in short lines; what does not fit ends in an ellipsis."""
    broken = textwrap.wrap(drawable(text), width)
    if len(broken) > lines:
        broken = [*broken[: lines - 1], f"{broken[lines - 1][: width - 1]}…"]
    return "\n".join(broken)


def drawable(text: str) -> str:
    """Return a text whose letters all have a shape: one that no installed font has is spelled U+6DF7.

    A machine with one of WIDE_FONTS draws the letter itself; tables and page hold the whole name everywhere.
    """
    if text.isascii():
        return text
    known = _letters(tuple(mpl.rcParams["font.family"]))
    return "".join(
        letter if letter.isspace() or ord(letter) in known else f"U+{ord(letter):04X}" for letter in text
    )


@cache
def _letters(families: tuple[str, ...]) -> frozenset[int]:
    paths = {font_manager.findfont(family) for family in families}
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def _families() -> list[str]:
    """Return the font of all figures, then those for other scripts that this machine has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]


def mark(figure: Figure, words: str | None) -> None:
    """Write a watermark across the figure, over everything and faint enough to read through."""
    if words:
        width_in, height_in = figure.get_size_inches()
        fits = min(width_in, height_in / 0.4) * 100 / len(words)  # a letter is about 0.6 of the size wide
        figure.text(
            0.5, 0.5, words, ha="center", va="center", rotation=20, fontsize=min(30, fits),
            color="#B00020", alpha=0.16, zorder=100,
        )  # fmt: skip


def save(drawing: Drawing, folder: Path) -> tuple[Hover, ...]:
    """Write NAME.pdf, NAME.svg and NAME.png, without dates inside; return where the spots came to lie."""
    figure, name = drawing.figure, drawing.name
    ConstrainedLayoutEngine().execute(figure)  # once; a figure that has an engine is drawn twice for each file
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    figure.savefig(folder / f"{name}.png", dpi=PNG_DPI, metadata={"Software": None})
    return tuple(_placed(spot, figure) for spot in drawing.spots)


def _placed(spot: Spot, figure: Figure) -> Hover:
    x, y = spot.axes.transData.transform((spot.x, spot.y))
    left, top = 100 * x / figure.bbox.width, 100 * (1 - y / figure.bbox.height)
    return Hover(round(float(left), 2), round(float(top), 2), spot.words)


def close_all() -> None:
    """Free what figures hold."""
    plt.close("all")
