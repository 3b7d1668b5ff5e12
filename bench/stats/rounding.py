"""How many digits a reader is owed: two of the half-width, and the value to the same decimal.

Source: SIGPLAN empirical evaluation checklist (2018), "inappropriate level of precision".
"""

import math

HALF_WIDTH_DIGITS = 2
BARE_DIGITS = 3
"""Significant digits of a value that has no interval."""
MOST_DIGITS = 5
"""Significant digits of the larger limit, however narrow the interval: nobody uses the next one."""


def with_half_width(value: float, half_width: float | None) -> str:
    """Return "49.9 ± 1.0"; without a half-width, or with none to speak of (0), the bare value."""
    if not half_width:
        return bare(value)
    decimals = _decimals(half_width, HALF_WIDTH_DIGITS)
    return f"{_fixed(value, decimals)} ± {_fixed(half_width, decimals)}"


def with_limits(value: float, low: float | None, high: float | None) -> str:
    """Return "0.936 [0.925, 0.947]", to the decimal that the half-width earns; else the bare value."""
    if low is None or high is None or low == high:
        return bare(value)
    most = _decimals(max(abs(low), abs(high)), MOST_DIGITS)
    decimals = min(_decimals((high - low) / 2, HALF_WIDTH_DIGITS), most)
    return f"{_fixed(value, decimals)} [{_fixed(low, decimals)}, {_fixed(high, decimals)}]"


def bare(value: float) -> str:
    """Return the value to three significant digits, never in powers of ten."""
    return _fixed(value, _decimals(value, BARE_DIGITS)) if value else "0"


def counted(count: int, noun: str) -> str:
    """Return "1 block", "2 blocks"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def _decimals(number: float, digits: int) -> int:
    """Return the decimal place of the last significant digit; negative left of the point."""
    if not math.isfinite(number):
        raise ValueError(f"only finite numbers can be rounded, not {number}")
    # the exponent after rounding, since 0.0996 has become 0.10
    exponent = int(f"{number:.{digits - 1}e}".split("e")[1])
    return digits - 1 - exponent


def _fixed(number: float, decimals: int) -> str:
    return f"{round(number, decimals):z.{max(decimals, 0)}f}"
