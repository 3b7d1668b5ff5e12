"""What became of the requests of one run, in columns: 32 bytes a request, so that long runs fit in memory."""

from __future__ import annotations

import csv
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from workloads.inference.load.wire import OK, Request

COLUMNS = ("scheduled_s", "sent_s", "done_s", "status")


class RequestLog:
    """Requests in the order in which they ended; `sent_s` is NaN where nothing was sent."""

    def __init__(self) -> None:
        self.scheduled_s, self.sent_s, self.done_s = array("d"), array("d"), array("d")
        self.status: list[str] = []

    def append(self, request: Request) -> None:
        """Add one request."""
        self.scheduled_s.append(request.scheduled_s)
        self.sent_s.append(math.nan if request.sent_s is None else request.sent_s)
        self.done_s.append(request.done_s)
        self.status.append(request.status)

    def __len__(self) -> int:
        return len(self.status)

    def rows(self) -> Iterator[tuple[float, float, float, str]]:
        """Yield scheduled, sent and done instants and the status of each request."""
        return zip(self.scheduled_s, self.sent_s, self.done_s, self.status, strict=True)

    def scheduled_within(self, start_s: float, stop_s: float) -> RequestLog:
        """Return the requests scheduled in [start, stop), whenever they ended."""
        part = RequestLog()
        for scheduled_s, sent_s, done_s, status in self.rows():
            if start_s <= scheduled_s < stop_s:
                part.scheduled_s.append(scheduled_s)
                part.sent_s.append(sent_s)
                part.done_s.append(done_s)
                part.status.append(status)
        return part

    @property
    def statuses(self) -> dict[str, int]:
        """How many requests ended in which way."""
        return dict(Counter(self.status))

    def latencies_s(self) -> list[float]:
        """Return seconds from scheduled to done of the requests that were answered well."""
        return [done_s - scheduled_s for scheduled_s, _, done_s, status in self.rows() if status == OK]

    def responses_s(self) -> list[float]:
        """Return seconds from sent to done of the requests that were answered well."""
        return [done_s - sent_s for _, sent_s, done_s, status in self.rows() if status == OK]

    def lags_s(self) -> list[float]:
        """Return seconds from scheduled to sent of all that were sent: the client's own delay in an open loop."""
        return [sent_s - scheduled_s for scheduled_s, sent_s, _, _ in self.rows() if not math.isnan(sent_s)]

    def queries_s(self) -> list[float]:
        """Return the latency of each query: its samples share one scheduled instant, the slowest counts."""
        slowest: dict[float, float] = {}
        for scheduled_s, _, done_s, status in self.rows():
            latency_s = done_s - scheduled_s if status == OK else math.inf
            slowest[scheduled_s] = max(latency_s, slowest.get(scheduled_s, 0.0))
        return list(slowest.values())

    def over(self, slo_s: float) -> int:
        """Return how many took longer than `slo_s`; one that failed has taken for ever."""
        rows = self.rows()
        return sum(status != OK or done_s - scheduled_s > slo_s for scheduled_s, _, done_s, status in rows)

    def write_csv(self, path: Path) -> None:
        """Write the columns; an instant that never was stays empty."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for scheduled_s, sent_s, done_s, status in self.rows():
                writer.writerow((scheduled_s, "" if math.isnan(sent_s) else sent_s, done_s, status))


def nearest_rank(ordered: Sequence[float], p: float) -> float:
    """Return the smallest of the sorted samples that the fraction `p` of them does not exceed."""
    return ordered[max(math.ceil(len(ordered) * p - 1e-8), 1) - 1]
