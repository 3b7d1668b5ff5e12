"""From the cells of an `nvidia-smi` table to values: a number, a text, or the reason why there is neither."""

import re
from dataclasses import dataclass

_REASONS = {
    "N/A": "not available on this device",
    "Unknown Error": "the driver failed to read it",
    "Insufficient Permissions": "the user may not read it",
    "Not Supported": "not supported by this device",
    "Not Found": "not visible from here",
    "Requested functionality has been deprecated": "withdrawn from this driver",
    "ERR!": "the driver failed to read it",
    "GPU is lost": "the GPU fell off the bus",
    "GPU requires reset": "the GPU must be reset",
}
ABSENCE_TOKENS = tuple(form for token in _REASONS for form in (token, f"[{token}]"))

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?: (?:%|[A-Za-z]+(?:/s)?))?")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
# Identifiers made of digits: driver 595.80 is no number, and neither is serial 0000000000000.
_TEXT_FIELD = re.compile(r"name$|serial$|uuid$|version$|bus_id$|compute_cap$|^timestamp$|^inforom\.|^pci\.")


@dataclass(frozen=True)
class Absent:
    """A value that the device would not tell: what it printed instead."""

    token: str

    @property
    def reason(self) -> str:
        """The token and what it means, for a record."""
        meaning = _REASONS.get(self.token.strip("[]"))
        return f"{self.token}: {meaning}" if meaning else self.token


Value = int | float | str | Absent


def is_absent(cell: str) -> bool:
    """Tell whether a cell holds a token instead of a value; any text in square brackets counts as one."""
    return cell in ABSENCE_TOKENS or (cell.startswith("[") and cell.endswith("]"))


def parse_value(cell: str, field: str = "") -> Value:
    """Read one cell; units are dropped, masks become integers, and identifiers of `field` stay text."""
    cell = cell.strip()
    if is_absent(cell):
        return Absent(cell)
    if _TEXT_FIELD.search(field):
        return cell
    if _HEX.fullmatch(cell):
        return int(cell, 16)
    if found := _NUMBER.fullmatch(cell):
        digits = found[1]
        return float(digits) if "." in digits else int(digits)
    return cell


def number_or_none(value: Value | None) -> float | None:
    """Return a number, or None for an absence or a text."""
    return value if isinstance(value, int | float) else None


def text_or_none(value: Value | None) -> str | None:
    """Return a value as text, or None for an absence."""
    return None if value is None or isinstance(value, Absent) else str(value)


def int_or_none(value: Value | None) -> int | None:
    """Return a whole number, or None for an absence or a text."""
    number = number_or_none(value)
    return None if number is None else int(number)
