"""`compare A B`: does a second run reproduce the first? Neither run is changed, and nothing is pooled."""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bench.analysis.repeated import repetition
from bench.analysis.summary import analyse
from bench.report.repeated import difference_table, repeat_table, verdict_counts, write_repetition
from bench.report.table import Table
from bench.store.run_folder import RunFolder

_CELL_WIDTH = 52


def compare(options: argparse.Namespace) -> int:
    """Print what differs, and whether B reproduces A, quantity by quantity; write the same as a page."""
    runs = [RunFolder.open(Path(path)) for path in (options.a, options.b)]
    found = repetition(*map(analyse, runs))
    page = write_repetition(found, Path(options.output) if options.output else runs[0].path.parent)
    shown = (difference_table(found), repeat_table(found))
    print("\n".join(chain.from_iterable(_lines(table) for table in shown if table.rows)))
    for cell in found.unshared:
        print(f"not compared: {cell}")
    print(f"{verdict_counts(found)} Nothing is pooled.\npage: {page}")
    return 0


def _lines(table: Table) -> Iterator[str]:
    """Yield a table for a terminal; what is too long for a column is cut, and whole on the page."""
    rows = [tuple(column.title for column in table.columns), *table.rows]
    cells = [[_cut(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield f"{table.title}"
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""


def _cut(cell: str) -> str:
    flat = " ".join(cell.split())
    return flat if len(flat) <= _CELL_WIDTH else f"{flat[: _CELL_WIDTH - 1]}…"
