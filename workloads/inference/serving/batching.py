"""Dynamic batching: single queries wait a moment for company, then run together on the device's one thread.

The event loop never waits for the device, and the queue is bounded: whoever comes when it is full is told so at
once, which bounds the memory of an overloaded server, and the latency of what it accepts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from workloads.job import now_s

Run = Callable[[Sequence[Any]], Sequence[Any]]  # queries to answers, in the same order


class QueueFullError(Exception):
    """As many queries wait as are allowed to."""


class BatchError(Exception):
    """The batch that a query was in failed; its cause is what the model raised."""


@dataclass(frozen=True)
class Limits:
    """How many queries form a batch at most, how long (s) the first of them waits, and how many may wait."""

    batch_size: int
    delay_s: float
    queue: int


@dataclass(frozen=True)
class Batch:
    """A batch that has run: when it began and ended on the device's thread (s), and what each query waited."""

    began_s: float
    ended_s: float
    waits_s: tuple[float, ...]
    answers: Sequence[Any]


@dataclass(eq=False)
class _Waiting:
    """A query and the place for its answer."""

    query: Any
    answer: asyncio.Future[Any]
    since_s: float = field(default_factory=now_s)


class Batcher:
    """Forms batches in the order of arrival; one runs at a time, on `thread`."""

    def __init__(self, limits: Limits, thread: Executor, on_batch: Callable[[Batch], None]) -> None:
        self.is_ready = False  # whether there is a model to run
        self.error: Exception | None = None  # of the first batch that failed
        self._limits = limits
        self._thread = thread
        self._on_batch = on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(limits.queue)

    @property
    def waiting(self) -> int:
        """How many queries wait for a batch."""
        return self._queue.qsize()

    @property
    def trouble(self) -> str | None:
        """Say why a query would not be taken now; None if it would."""
        if not self.is_ready:
            return "the model is being loaded"
        return "the queue is full" if self._queue.full() else None

    async def answer(self, query: Any) -> Any:
        """Return the answer to a query; raises QueueFullError at once, or BatchError when its batch has failed."""
        waiting = _Waiting(query, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise QueueFullError("the queue is full") from None
        return await waiting.answer

    async def work(self, run: Run) -> None:
        """Run batches until cancelled. A batch that fails spares the ones after it."""
        self.is_ready = True
        while True:
            batch = await self._next_batch()
            if batch:
                await self._answer(run, batch)

    async def _next_batch(self) -> list[_Waiting]:
        """Wait for a query, and for its company until it has waited long enough or the batch is full."""
        batch = [await self._queue.get()]
        deadline_s = batch[0].since_s + self._limits.delay_s
        while len(batch) < self._limits.batch_size:
            if self._queue.empty() and now_s() >= deadline_s:
                break
            try:
                async with asyncio.timeout(max(deadline_s - now_s(), 0) if self._queue.empty() else None):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return [each for each in batch if not each.answer.done()]  # done: whoever asked has gone

    async def _answer(self, run: Run, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._thread, _run_timed, run, batch)
        except Exception as error:  # noqa: BLE001  (whatever it was, the queries of other batches deserve answers)
            self.error = self.error or error
            _fail(batch, error)
            return
        for each, answer in zip(batch, done.answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)
        self._on_batch(done)


def _run_timed(run: Run, batch: Sequence[_Waiting]) -> Batch:
    """Run a batch and note when; for the device's thread."""
    began_s = now_s()
    answers = run([each.query for each in batch])
    return Batch(began_s, now_s(), tuple(began_s - each.since_s for each in batch), answers)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            failure = BatchError(str(error) or type(error).__name__)
            failure.__cause__ = error
            each.answer.set_exception(failure)
