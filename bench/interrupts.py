"""Ctrl-C and SIGTERM wait while the device is changed or jobs are ended: what was begun is completed first.

So does a deadline, which ends a block as they do.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back until the block has ended, then deliver one; blocks may be nested."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, _frame: FrameType | None) -> None:
        waiting.append(number)

    handlers = {number: signal.signal(number, wait) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


class Deadline:
    """A context that is left by KeyboardInterrupt after `seconds`; `passed` tells that from a user's Ctrl-C.

    For the main thread of a program in which SIGTERM raises KeyboardInterrupt, as the command line has it.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds

    def __enter__(self) -> "Deadline":
        signal.signal(signal.SIGALRM, self._end)
        signal.setitimer(signal.ITIMER_REAL, max(self._seconds, 0.001))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.passed = True
        signal.raise_signal(signal.SIGTERM)  # which waits where it must
