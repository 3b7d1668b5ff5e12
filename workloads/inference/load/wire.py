"""One request's life, and what scenarios need of a server: a way to send, to wait, and to tell the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

OK = "ok"  # answered whole, with a status from 200 to 299
TIMEOUT = "timeout"  # given up, so long after it was sent
OVERFLOW = "overflow"  # never sent: due while every connection was busy
REFUSED = "refused"  # never sent: the server took no connection
CLOSED = "closed"  # the connection ended before the reply did
MALFORMED = "malformed"  # what came back was no HTTP
UNREACHABLE = (REFUSED, CLOSED)


def http_status(code: int) -> str:
    """Return `ok`, or `http-503` and the like."""
    return OK if 200 <= code < 300 else f"http-{code}"


class Request:
    """Instants in seconds on the wire's clock; `sent_s` stays None where nothing was sent.

    Latency counts from the instant for which the request was scheduled, whenever it was sent: a stalled server
    cannot hide its stall by holding up the client (coordinated omission).
    """

    __slots__ = ("done_s", "items", "scheduled_s", "sent_s", "status")

    def __init__(self, scheduled_s: float) -> None:
        self.scheduled_s = scheduled_s
        self.sent_s: float | None = None
        self.done_s = scheduled_s
        self.status = ""
        self.items: int | None = None  # the work in the reply, where the reply tells

    def end(self, done_s: float, status: str) -> None:
        """Say when and how it ended."""
        self.done_s = done_s
        self.status = status


class Wire(Protocol):
    """The way to a server. Tests put a modelled server in virtual time behind it; the scenarios stay the same."""

    @property
    def free(self) -> bool:
        """Whether one more request can be in flight."""
        ...

    def now_s(self) -> float:
        """Return the time in seconds; only differences mean anything."""
        ...

    def send(self, request: Request) -> None:
        """Send now; notes the instant in `request.sent_s`."""
        ...

    def wait(self, until_s: float) -> Sequence[Request]:
        """Return requests that have ended, as soon as there are any; none at `until_s`, or a little before."""
        ...
