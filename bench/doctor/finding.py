"""The one form in which everything that was looked at is told."""

from dataclasses import dataclass

from bench.errors import BenchError
from bench.modes.availability import Unavailable


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it can be used, what it is, and if not, why not.

    `reason` is a plain sentence; `command` is what would change it, None where no command helps.
    """

    name: str
    available: bool
    detail: str | None = None
    reason: str | None = None
    command: str | None = None


def refused(name: str, error: BenchError) -> Finding:
    """Tell of something that ended in one of our errors."""
    return Finding(name, available=False, reason=" ".join(error.wrong.split()), command=error.command)


def judged(name: str, why_not: Unavailable | None) -> Finding:
    """Tell of something that is available unless there is a reason why not."""
    if why_not is None:
        return Finding(name, available=True)
    return Finding(name, available=False, reason=why_not.reason, command=why_not.command)
