"""A number, or the reason why there is none."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """What a trial says about one quantity; `reason` is there exactly where `value` is not."""

    value: float | None
    reason: str | None = None

    @classmethod
    def absent(cls, reason: str) -> "Reading":
        """Return a reading that could not be had, and why."""
        return cls(None, reason)


def first_reason(readings: Iterable[Reading]) -> str | None:
    """Return why the first of the readings that is absent is so; None where all are there."""
    return next((reading.reason for reading in readings if reading.value is None), None)
