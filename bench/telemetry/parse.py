"""From the lines of a sampling stream to telemetry; the real and the simulated sampler share it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.gpu.table import Column, parse_header
from bench.gpu.values import Absent, Value, int_or_none, number_or_none, parse_value, text_or_none
from bench.telemetry.contract import Telemetry

# Columns of `Telemetry.samples`, and the driver's fields that can give each, best first.
FIELDS_BY_COLUMN: dict[str, tuple[str, ...]] = {
    "utilization_gpu_pct": ("utilization.gpu",),
    "utilization_memory_pct": ("utilization.memory",),
    "memory_used_mib": ("memory.used",),
    "temperature_c": ("temperature.gpu",),
    "power_w": ("power.draw.instant", "power.draw.average", "power.draw"),
    "power_limit_w": ("enforced.power.limit",),
    "sm_clock_mhz": ("clocks.current.sm",),
    "memory_clock_mhz": ("clocks.current.memory",),
    "pstate": ("pstate",),
    "event_reasons": ("clocks_event_reasons.active",),
    "sw_power_cap_us": ("clocks_event_reasons_counters.sw_power_cap",),
    "sw_thermal_slowdown_us": ("clocks_event_reasons_counters.sw_thermal_slowdown",),
    "hw_thermal_slowdown_us": ("clocks_event_reasons_counters.hw_thermal_slowdown",),
    "hw_power_brake_us": ("clocks_event_reasons_counters.hw_power_brake_slowdown",),
}
# What a sampling stream asks for; the stand-in driver answers exactly these.
SAMPLED_FIELDS = tuple(field for fields in FIELDS_BY_COLUMN.values() for field in fields)

Line = tuple[float, str]
Values = list[Any]  # a cell each: a number or a text, or None for an absence
Vector = np.ndarray[Any, np.dtype[np.float64]]

# All columns but these are numbers, kept as float64.
_READ: dict[str, Callable[[Value], Any]] = {"pstate": text_or_none, "event_reasons": int_or_none}
_KEPT_AS: dict[str, Any] = {"pstate": "string", "event_reasons": "UInt64"}

_NOT_SAMPLED = "the driver does not know this field"

_FROZEN_ROWS, _FROZEN_S = 50, 10.0  # a live power sensor moves many times in this
_LOST_ROWS = 2  # a cell may be missed now and then
_QUOTED_REMARKS = 3


def parse_stream(lines: Sequence[Line], requested_period_s: float | None = None) -> Telemetry:
    """Read (CLOCK_MONOTONIC seconds, text) pairs, the header first; anything odd becomes a remark.

    Telemetry without a single sample is a result, too: its columns are there, and `reasons` repeats what the
    device said instead.
    """
    columns, rows, strays = _sorted_out(lines)
    cells = _cells(columns, [text for _, text in rows])
    time_s = np.array([stamp_s for stamp_s, _ in rows], dtype=float)
    found = {column: _first_with_values(column, fields, cells) for column, fields in FIELDS_BY_COLUMN.items()}
    values = {column: given or [None] * len(rows) for column, (_, given) in found.items()}
    gaps_s = np.diff(time_s)
    achieved_period_s = float(np.median(gaps_s)) if gaps_s.size else None
    return Telemetry(
        samples=pd.DataFrame(
            {"time_s": time_s} | {column: _array(column, given) for column, given in values.items()}
        ),
        reasons=_reasons(found, columns, rows, strays),
        sources={column: source for column, (source, _) in found.items() if source},
        requested_period_s=requested_period_s,
        achieved_period_s=achieved_period_s,
        longest_gap_s=float(gaps_s.max()) if gaps_s.size else None,
        remarks=(
            *_stray_remarks(strays),
            *_oddities(values, time_s),
            *_bursts(achieved_period_s, requested_period_s),
        ),
    )


def _sorted_out(lines: Sequence[Line]) -> tuple[tuple[Column, ...], list[Line], list[str]]:
    """Split lines into the header, the rows that fit it, and everything else."""
    columns: tuple[Column, ...] = ()
    rows, strays = [], []
    for line in lines:
        text = line[1]
        if columns and text.count(",") == len(columns) - 1:
            rows.append(line)
        elif columns or not (columns := parse_header(text)):
            strays.append(text)
    return columns, rows, [text for text in strays if text.strip()]


def _cells(columns: Sequence[Column], rows: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Cut all rows, and return the cells by the field's current name."""
    names = [_current_name(column.field) for column in columns]
    cells = zip(*(row.split(",") for row in rows), strict=True)
    return dict(zip(names, cells, strict=False))  # without a row there are no cells


def _current_name(field: str) -> str:
    """Return a field's name in current drivers; those before about 535 say `throttle`."""
    return field.replace("_throttle_reasons", "_event_reasons")


def _first_with_values(
    column: str, fields: Sequence[str], cells: Mapping[str, Sequence[str]]
) -> tuple[str | None, Values]:
    """Return the best field that gave any value, with its values; None and nothing if there is none."""
    for field in fields:
        values = _values(column, cells.get(field, ()))
        if any(value is not None for value in values):
            return field, values
    return None, []


def _values(column: str, cells: Sequence[str]) -> Values:
    """Read each different cell once; most columns hold few."""
    read = _READ.get(column, number_or_none)
    known = {cell: read(parse_value(cell)) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _array(column: str, values: Values) -> Any:
    """Return a column's values in the type in which they are kept."""
    if column in _KEPT_AS:
        return pd.array(values, dtype=_KEPT_AS[column])
    return np.array(values, dtype=float)


def _reasons(
    found: Mapping[str, tuple[str | None, Values]],
    columns: Sequence[Column],
    rows: Sequence[Line],
    strays: Sequence[str],
) -> dict[str, str]:
    """Say for each column without a value what the device printed in its place, in its first row."""
    silent = [column for column, (source, _) in found.items() if source is None]
    if not rows:
        return dict.fromkeys(silent, strays[0] if strays else "no sample was received")
    cells = map(str.strip, rows[0][1].split(","))
    first = {_current_name(column.field): cell for column, cell in zip(columns, cells, strict=True)}
    tokens = {column: next((first[f] for f in FIELDS_BY_COLUMN[column] if f in first), None) for column in silent}
    return {column: Absent(token).reason if token else _NOT_SAMPLED for column, token in tokens.items()}


def _stray_remarks(strays: Sequence[str]) -> list[str]:
    """Quote the first lines that were no rows, and count the rest."""
    quoted = [f"not a row: {text}" for text in strays[:_QUOTED_REMARKS]]
    rest = len(strays) - len(quoted)
    return [*quoted, f"{rest} more lines that are no rows"] if rest else quoted


def _oddities(values: Mapping[str, Values], time_s: Vector) -> list[str]:
    """Find columns that fell silent and a power reading that never moved; both were seen on real hosts."""
    count = len(time_s)
    remarks = [
        f"{column}: no value after sample {last} of {count}"
        for column, cells in values.items()
        if 0 < (last := _last_told(cells)) <= count - _LOST_ROWS
    ]
    span_s = float(np.ptp(time_s)) if count else 0.0
    power_w = set(values["power_w"]) - {None}
    if count >= _FROZEN_ROWS and span_s >= _FROZEN_S and len(power_w) == 1:
        remarks.append(
            f"power_w: {power_w.pop():g} in all {count} samples over {span_s:.0f} s; the sensor may be frozen"
        )
    return remarks


def _last_told(values: Values) -> int:
    """Return the number of the last sample with a value, counted from 1; 0 if there is none."""
    return next((number for number in range(len(values), 0, -1) if values[number - 1] is not None), 0)


def _bursts(achieved_period_s: float | None, requested_period_s: float | None) -> list[str]:
    """Tell of stamps that cannot be true: lines that were held back and arrived together."""
    if achieved_period_s is None or requested_period_s is None or achieved_period_s > requested_period_s / 2:
        return []
    return [f"samples arrived in bursts ({achieved_period_s:.3g} s apart instead of {requested_period_s:g} s)"]
