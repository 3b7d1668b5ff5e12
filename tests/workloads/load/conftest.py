"""Servers to load: a modelled queue in virtual time, and a real one that answers as it is told."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from workloads.inference.load.wire import OK, Request

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared"))
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class QueueWire:
    """A server with one worker and a first-come queue, in virtual time: waiting costs nothing."""

    def __init__(self, service_s: Callable[[], float], places: float = math.inf) -> None:
        self._service_s = service_s
        self._places = places
        self._now_s = 0.0
        self._idle_s = 0.0
        self._waiting: deque[Request] = deque()

    @property
    def free(self) -> bool:
        return len(self._waiting) < self._places

    def now_s(self) -> float:
        return self._now_s

    def send(self, request: Request) -> None:
        request.sent_s = self._now_s
        self._idle_s = max(self._idle_s, self._now_s) + self._service_s()
        request.done_s = self._idle_s
        self._waiting.append(request)

    def wait(self, until_s: float) -> Sequence[Request]:
        until_s = max(until_s, self._now_s)
        if not self._waiting or self._waiting[0].done_s > until_s:
            self._now_s = until_s
            return []
        request = self._waiting.popleft()
        self._now_s = max(self._now_s, request.done_s)
        request.end(request.done_s, OK)
        return [request]


@pytest.fixture
def queue() -> Callable[..., QueueWire]:
    """Give the modelled server: `queue(service_s, places)`."""
    return QueueWire


@pytest.fixture
def exponential() -> Callable[[float, int], Callable[[], float]]:
    """Give exponential service times by rate and seed."""

    def made(rate_per_s: float, seed: int) -> Callable[[], float]:
        draw = random.Random(seed)
        return lambda: draw.expovariate(rate_per_s)

    return made


@pytest.fixture(scope="session")
def expected() -> Callable[[str], dict[str, Any]]:
    """Give a fixture of the method's test oracle by its id; skips where the oracle is not there."""
    path = SHARED / "reference" / "stat_fixtures.json"

    def by_id(name: str) -> dict[str, Any]:
        if not path.exists():
            pytest.skip(f"{path} is not there")
        fixtures = json.loads(path.read_text(encoding="utf-8"))["fixtures"]
        return next(each for each in fixtures if each["id"] == name)

    return by_id


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Give a function that serves a connection handler on a Unix socket and returns the URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.AbstractServer] = []

    def start(handle: Handler, name: str = "socket") -> str:
        path = tmp_path / name
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_unix_server(handle, path, backlog=512), loop)
        servers.append(serving.result())
        return f"unix:{path}:/predict"

    yield start
    asyncio.run_coroutine_threadsafe(_end(servers), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _end(servers: list[asyncio.AbstractServer]) -> None:
    for server in servers:
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request with its body; empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.split(b":")[1]))
    return head


@pytest.fixture
def answering() -> Callable[..., Handler]:
    """Give a handler that answers each request with these bytes, whatever they are, then maybe hangs up."""

    def made(reply: bytes | Callable[[], Awaitable[bytes]] = REPLY, *, hang_up: bool = False) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await read_request(reader):
                writer.write(reply if isinstance(reply, bytes) else await reply())
                await writer.drain()
                if hang_up:
                    break
            writer.close()

        return handle

    return made
