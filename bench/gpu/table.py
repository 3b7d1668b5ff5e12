"""CSV tables of `nvidia-smi`, read by the names in their header; its manual page promises no stable order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.gpu.values import Value, is_absent, parse_value

SEPARATOR = ", "
_HEADER_CELL = re.compile(r"(?P<field>[a-z][\w.]*)(?: \[(?P<unit>[^\]]+)\])?")
_FREE_TEXT = ("process_name", "name", "gpu_name")  # the columns in which a comma may stand, likeliest first
_MESSAGE = re.compile(
    r"Unable to |Failed to |Field \"|NVIDIA-SMI has failed|No devices were found|WARNING|Warning|Error|Terminating"
)


@dataclass(frozen=True)
class Column:
    """One column of a table: the field's name, and the unit that the header gives."""

    field: str
    unit: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows by field name, and the lines among them that are no rows."""

    columns: tuple[Column, ...]
    rows: list[dict[str, Value]]
    remarks: list[str]


def parse_header(line: str) -> tuple[Column, ...]:
    """Read a header line such as `timestamp, power.draw [W]`; an empty tuple if it is something else."""
    found = [_HEADER_CELL.fullmatch(cell.strip()) for cell in line.strip().split(",")]
    return tuple(Column(cell["field"], cell["unit"]) for cell in found if cell) if all(found) else ()


def parse_table(text: str, columns: Sequence[Column] = ()) -> Table:
    """Read a whole output; without `columns` its first line that looks like a header names them.

    A line whose cells do not fit the columns becomes a remark: no value ever lands in another's column.
    """
    named = tuple(columns)
    rows, remarks = [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        if not named and (named := parse_header(line)):
            continue
        cells = split_row(line, named) if named else None
        if cells is None:
            remarks.append(line)
        else:
            rows.append({c.field: parse_value(cell, c.field) for c, cell in zip(named, cells, strict=True)})
    return Table(named, rows, remarks)


def split_row(line: str, columns: Sequence[Column]) -> list[str] | None:
    """Cut a line into one cell for each column, or return None if it is no row of this table."""
    if _MESSAGE.match(line):
        return None
    cells = line.split(SEPARATOR)
    if len(cells) > len(columns):
        cells = _rejoined(cells, columns)
    return cells if len(cells) == len(columns) and _fits(cells, columns) else None


def _rejoined(cells: list[str], columns: Sequence[Column]) -> list[str]:
    """Give the surplus cells back to the one column in which a comma may stand."""
    fields = [column.field for column in columns]
    free = next((fields.index(name) for name in _FREE_TEXT if name in fields), None)
    if free is None:
        return cells
    end = free + 1 + len(cells) - len(columns)
    return [*cells[:free], SEPARATOR.join(cells[free:end]), *cells[end:]]


def _fits(cells: Sequence[str], columns: Sequence[Column]) -> bool:
    """Tell whether every column with a unit holds a number or an absence."""
    return all(
        is_absent(cell) or not isinstance(parse_value(cell), str)
        for cell, column in zip(cells, columns, strict=True)
        if column.unit
    )
