"""From the lines of a sampling stream to telemetry; the real and the simulated sampler share it."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from bench.gpu.table import Column, parse_header
from bench.gpu.values import ABSENCE_TOKENS, Absent
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
Values = np.ndarray[Any, Any] | pd.api.extensions.ExtensionArray

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
    samples = pd.DataFrame({"time_s": time_s} | {column: values for column, (_, values) in found.items()})
    gaps_s = np.diff(time_s)
    achieved_period_s = float(np.median(gaps_s)) if gaps_s.size else None
    return Telemetry(
        samples=samples,
        reasons=_reasons(found, columns, rows, strays),
        sources={column: source for column, (source, _) in found.items() if source},
        requested_period_s=requested_period_s,
        achieved_period_s=achieved_period_s,
        longest_gap_s=float(gaps_s.max()) if gaps_s.size else None,
        remarks=(*_stray_remarks(strays), *_oddities(samples), *_bursts(achieved_period_s, requested_period_s)),
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


def _cells(columns: Sequence[Column], rows: Sequence[str]) -> pd.DataFrame:
    """Cut all rows at once; a column with anything but numbers and known tokens comes out as text."""
    names = [_current_name(column.field) for column in columns]
    if not rows:
        return pd.DataFrame(columns=names, dtype=object)
    return pd.read_csv(
        io.StringIO("\n".join(rows)),
        names=names,
        skipinitialspace=True,
        keep_default_na=False,
        na_values=list(ABSENCE_TOKENS),
        quoting=csv.QUOTE_NONE,
    )


def _current_name(field: str) -> str:
    """Return a field's name in current drivers; those before about 535 say `throttle`."""
    return field.replace("_throttle_reasons", "_event_reasons")


def _first_with_values(column: str, fields: Sequence[str], cells: pd.DataFrame) -> tuple[str | None, Values]:
    """Return the best field that gave any value, with its values; None and missing values if there is none."""
    for field in fields:
        if field in cells:
            values = _values(column, cells[field])
            if not pd.isna(values).all():
                return field, values
    return None, _values(column, pd.Series(np.full(len(cells), np.nan)))


def _values(column: str, cells: "pd.Series[Any]") -> Values:
    if column == "pstate":
        return cells.astype("string").array
    if column == "event_reasons":
        masks = [int(cell, 16) if isinstance(cell, str) and cell.startswith("0x") else pd.NA for cell in cells]
        return pd.array(masks, dtype="UInt64")
    if not is_numeric_dtype(cells):  # units, or a token that nobody has seen before
        numbers = cells.astype("string").str.extract(r"^(-?\d+(?:\.\d+)?)(?: |$)", expand=False)
        return numbers.to_numpy(dtype="float64", na_value=np.nan)
    return cells.to_numpy(dtype="float64")


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


def _oddities(samples: pd.DataFrame) -> list[str]:
    """Find columns that fell silent and a power reading that never moved; both were seen on real hosts."""
    count = len(samples)
    columns = list(FIELDS_BY_COLUMN)
    seen = samples[columns].notna().to_numpy()
    remarks = [
        f"{columns[place]}: no value after sample {np.flatnonzero(seen[:, place])[-1] + 1} of {count}"
        for place in np.flatnonzero(seen.any(axis=0) & ~seen[-_LOST_ROWS:].any(axis=0))
    ]
    span_s = float(np.ptp(samples["time_s"])) if count else 0.0
    power_w = samples["power_w"].dropna().unique()
    if count >= _FROZEN_ROWS and span_s >= _FROZEN_S and len(power_w) == 1:
        remarks.append(
            f"power_w: {power_w[0]:g} in all {count} samples over {span_s:.0f} s; the sensor may be frozen"
        )
    return remarks


def _bursts(achieved_period_s: float | None, requested_period_s: float | None) -> list[str]:
    """Tell of stamps that cannot be true: lines that were held back and arrived together."""
    if achieved_period_s is None or requested_period_s is None or achieved_period_s > requested_period_s / 2:
        return []
    return [f"samples arrived in bursts ({achieved_period_s:.3g} s apart instead of {requested_period_s:g} s)"]
