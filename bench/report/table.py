"""A table as text: what HTML and Markdown print alike, with a numbered note for every missing value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite

from bench.analysis.levels import Level
from bench.stats.rounding import bare, with_limits

DASH = "\N{EN DASH}"
BLOCKS = "blocks"
"""Title of the column that says over how many blocks the intervals of a row are."""


@dataclass(frozen=True)
class Column:
    """A column's heading; numbers are set to the right."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Source:
    """Where numbers come from: a file of the report or run, its columns, and which of its rows."""

    file: str
    columns: tuple[str, ...]
    rows: str = ""

    def __str__(self) -> str:
        """Return "tables/levels.csv: mix, value; rows in which metric is stp"."""
        return f"{self.file}: {', '.join(self.columns)}{f'; {self.rows}' if self.rows else ''}"


@dataclass
class Table:
    """Rows of finished text under one title; `source` names the file that holds the numbers unrounded."""

    title: str
    columns: Sequence[Column]
    source: Source
    remark: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def grouped(self) -> bool:
        """Whether the first column names a group of rows, which a page may print as a heading."""
        return self.columns[0].title in {"mix", "mode"}

    def add(self, *cells: str) -> None:
        """Append one row; it must have a cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def missing(self, reason: str | None) -> str:
        """Return the cell of a missing value, and keep its reason as a note below the table."""
        return f"{DASH} {self.note(reason)}" if reason else DASH

    def note(self, text: str) -> str:
        """Keep a note below the table, and return its number, [1]."""
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"

    def number(self, value: float | None, reason: str | None = None, scale: float = 1.0) -> str:
        """Return a number to three digits, or a dash with its reason."""
        if value is None:
            return self.missing(reason)
        return bare(value * scale) if isfinite(value) else "∞"

    def level(self, level: Level | None, scale: float = 1.0) -> str:
        """Return a mean with its interval, or a dash with its reason."""
        if level is None:
            return self.missing("not measured")
        return self.interval(level.value, level.ci_low, level.ci_high, level.reason, scale)

    def interval(
        self,
        value: float | None,
        low: float | None,
        high: float | None,
        reason: str | None = None,
        scale: float = 1.0,
    ) -> str:
        """Return "1.382 [1.351, 1.414]", or a dash with its reason.

        Raises ValueError where the table has no column that says over how many blocks.
        """
        if all(column.title != BLOCKS for column in self.columns):
            raise ValueError(f"{self.title}: an interval without the number of blocks beside it")
        if value is None:
            return self.missing(reason)
        return with_limits(value * scale, _scaled(low, scale), _scaled(high, scale))


def headings(text: Iterable[str], numeric: Iterable[str]) -> list[Column]:
    """Return columns of text followed by columns of numbers."""
    return [*(Column(title, numeric=False) for title in text), *(Column(title) for title in numeric)]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
