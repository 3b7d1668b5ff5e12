"""No telemetry, and why: the processor has no driver to ask."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.telemetry.contract import Telemetry, Watch
from bench.telemetry.parse import FIELDS_BY_COLUMN, parse_stream


class NoSampler:
    """A sampler that sees nothing and gives the same reason for every column."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Watch nothing; `result` has every column, and no row."""
        yield self

    def result(self) -> Telemetry:
        """Return empty samples with a reason for each column and for the energy."""
        telemetry = parse_stream([])
        telemetry.reasons = dict.fromkeys([*FIELDS_BY_COLUMN, "energy"], self._reason)
        return telemetry
