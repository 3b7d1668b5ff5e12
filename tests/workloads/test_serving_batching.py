"""Batches as the server forms them: size, delay, order, bounds, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from workloads.inference.serving.batching import Batch, Batcher, BatchError, Limits, QueueFullError


class Doubling:
    """A model that doubles numbers, when it is let; keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.let = threading.Event()
        self.let.set()

    def __call__(self, queries: Sequence[int]) -> list[int]:
        self.batches.append(list(queries))
        self.threads.add(threading.get_ident())
        assert self.let.wait(10)
        if 13 in queries:
            raise RuntimeError("out of luck")
        return [2 * query for query in queries]


Story = Callable[[Batcher, Doubling], Awaitable[Any]]


def play(story: Story, *, size: int = 4, delay_s: float = 0.0, queue: int = 100) -> tuple[Doubling, list[Batch]]:
    """Let a story ask a batcher, and return its model and the batches that went well."""
    model, done = Doubling(), list[Batch]()

    async def stage() -> None:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(Limits(size, delay_s, queue), thread, done.append)
            work = asyncio.create_task(batcher.work(model))
            try:
                await asyncio.wait_for(story(batcher, model), 20)
            finally:
                model.let.set()
                work.cancel()

    asyncio.run(stage())
    return model, done


async def held(batcher: Batcher, model: Doubling) -> asyncio.Task[Any]:
    """Occupy the device with one query until the model is let."""
    model.let.clear()
    first = asyncio.create_task(batcher.answer(0))
    while not model.batches:
        await asyncio.sleep(0)
    return first


def test_what_waits_while_the_device_works_forms_batches_in_order_of_arrival() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        first = await held(batcher, model)
        others = [asyncio.create_task(batcher.answer(number)) for number in range(1, 11)]
        await asyncio.sleep(0)
        assert batcher.waiting == 10
        model.let.set()
        assert await asyncio.gather(first, *others) == [2 * number for number in range(11)]

    model, done = play(story)
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [len(batch.waits_s) for batch in done] == [1, 4, 4, 2]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads
    assert all(before.ended_s <= after.began_s for before, after in itertools.pairwise(done))


def test_a_full_batch_does_not_wait_for_its_delay() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        assert await asyncio.gather(*(batcher.answer(number) for number in range(4))) == [0, 2, 4, 6]

    model, done = play(story, delay_s=1000)
    assert model.batches == [[0, 1, 2, 3]]
    assert max(done[0].waits_s) < 100


def test_a_batch_that_does_not_fill_waits_for_its_delay_and_no_longer() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        first = asyncio.create_task(batcher.answer(1))
        await asyncio.sleep(0.01)
        assert await asyncio.gather(first, batcher.answer(2)) == [2, 4]

    model, done = play(story, delay_s=0.2)
    assert model.batches == [[1, 2]]
    assert done[0].waits_s[0] >= 0.2
    assert done[0].waits_s[1] < done[0].waits_s[0]


def test_without_a_delay_a_query_alone_runs_alone() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        assert await batcher.answer(1) == 2
        assert await batcher.answer(2) == 4

    assert play(story)[0].batches == [[1], [2]]


def test_a_full_queue_refuses_at_once_and_takes_again_when_it_has_room() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        first = await held(batcher, model)
        others = [asyncio.create_task(batcher.answer(number)) for number in range(1, 4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await batcher.answer(4)
        model.let.set()
        await asyncio.gather(first, *others)
        assert await batcher.answer(5) == 10

    assert [4] not in play(story, queue=3)[0].batches


def test_a_batch_that_fails_takes_only_its_own_queries_along() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        asked = (batcher.answer(number) for number in (1, 13, 3, 4))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == [BatchError, BatchError, int, int]
        assert "out of luck" in str(found[0])
        assert isinstance(batcher.error, RuntimeError)
        assert await batcher.answer(6) == 12

    model, done = play(story, size=2)
    assert model.batches == [[1, 13], [3, 4], [6]]
    assert [len(batch.answers) for batch in done] == [2, 1]


def test_queries_whose_asker_has_gone_are_not_worked_on() -> None:
    async def story(batcher: Batcher, model: Doubling) -> None:
        first = await held(batcher, model)
        gone, stays = (asyncio.create_task(batcher.answer(number)) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.let.set()
        assert await asyncio.gather(first, stays) == [0, 4]

    assert play(story)[0].batches == [[0], [2]]


def test_it_is_ready_when_it_has_a_model() -> None:
    async def stage() -> list[bool]:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(Limits(1, 0.0, 1), thread, lambda _: None)
            before = batcher.is_ready
            work = asyncio.create_task(batcher.work(Doubling()))
            await asyncio.sleep(0)
            work.cancel()
            return [before, batcher.is_ready]

    assert asyncio.run(stage()) == [False, True]
