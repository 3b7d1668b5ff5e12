"""The pool of connections against real servers on a Unix socket, well-behaved and not."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from workloads.inference.load import arrivals
from workloads.inference.load.http_pool import HttpPool
from workloads.inference.load.request_log import RequestLog
from workloads.inference.load.scenarios import ClosedLoop, OpenLoop, QueryStream, drive
from workloads.inference.load.target import Target
from workloads.job import now_s

OK_HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Give a function that makes an open pool for a URL."""

    def made(url: str, connections: int = 4, timeout_s: float = 5.0, body: bytes | None = b"x" * 10) -> HttpPool:
        target = Target.parse(url, tmp_path)
        pool = HttpPool(target, target.message(body, "text/plain"), connections, timeout_s)
        request.addfinalizer(pool.close)
        pool.open()
        return pool

    return made


def statuses(pool: HttpPool, count: int = 3) -> list[str]:
    """Send requests one after another and return how they ended."""
    log = RequestLog()
    for _ in range(count):
        drive(pool, QueryStream(1, now_s(), math.inf, at_once=1, queries=1), log.append)
    return log.status


@pytest.mark.parametrize(
    "reply",
    [
        OK_HEAD + b"Content-Length: 2\r\n\r\nok",
        OK_HEAD + b"content-length:0\r\n\r\n",
        OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=1\r\nok\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK_HEAD + b"Content-Length: 2\r\n\r\nok",
        OK_HEAD + b"Content-Length: 3000000\r\n\r\n" + b"z" * 3_000_000,
    ],
    ids=["length", "empty", "chunked", "no content", "interim", "huge"],
)
@pytest.mark.parametrize("piece", [1, 7, None], ids=["bytewise", "in sevens", "at once"])
def test_a_reply_in_any_framing_and_any_pieces(serve: Any, connect: Any, reply: bytes, piece: int | None) -> None:
    if piece and len(reply) > 1000:
        pytest.skip("takes long and shows nothing new")
    accepted = itertools.count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next(accepted)
        while await reader.read(4096):
            for start in range(0, len(reply), piece or len(reply)):
                writer.write(reply[start : start + (piece or len(reply))])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    assert statuses(connect(serve(handle)), 5) == ["ok"] * 5
    assert next(accepted) == 4, "connections are kept"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "http-503"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "http-404"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "ok"),
        (OK_HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (OK_HEAD + b"Content-Length: 99\r\n\r\nhalf", "closed"),
        (OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhal", "closed"),
        (b"HTTP/1.1 20", "closed"),
        (b"", "closed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "malformed"),
        (OK_HEAD + b"Content-Length: -1\r\n\r\n", "malformed"),
        (OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed"),
        (OK_HEAD + b"X: " + b"y" * 100_000, "malformed"),
    ],
)
def test_a_reply_that_ends_the_connection_is_a_status_and_the_next_request_goes_out(
    serve: Any, connect: Any, answering: Any, reply: bytes, status: str
) -> None:
    assert statuses(connect(serve(answering(reply, hang_up=True)))) == [status] * 3


def test_a_server_that_says_more_than_it_was_asked_loses_its_connection(
    serve: Any, connect: Any, answering: Any
) -> None:
    reply = OK_HEAD + b"Content-Length: 2\r\n\r\nok"
    assert statuses(connect(serve(answering(reply + reply)))) == ["ok"] * 3


@pytest.mark.parametrize("reply", [b"", OK_HEAD + b"Content-Length: 99\r\n\r\nhalf"], ids=["none", "half a reply"])
def test_no_reply_in_time_is_a_timeout(serve: Any, connect: Any, answering: Any, reply: bytes) -> None:
    pool = connect(serve(answering(reply)), timeout_s=0.2)
    log = RequestLog()
    drive(pool, OpenLoop([0.0, 0.01, 0.02], now_s()), log.append)
    assert log.status == ["timeout"] * 3
    for _, sent_s, done_s, _ in log.rows():
        assert done_s - sent_s >= 0.2


def test_an_endless_body_ends_with_the_timeout(serve: Any, connect: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"z" * 65536 + b"\r\n")
            await writer.drain()

    assert statuses(connect(serve(handle), timeout_s=0.3), 1) == ["timeout"]


def test_a_server_that_hangs_up_at_once_does_not_keep_the_client_busy(serve: Any, connect: Any) -> None:
    accepted = itertools.count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next(accepted)
        writer.close()

    pool = connect(serve(handle))
    assert set(statuses(pool, 10)) == {"closed"}
    assert next(accepted) <= 14, "four at first, then one a request"


def test_a_server_that_dies_is_a_status_and_its_return_is_noticed(
    serve: Any, connect: Any, answering: Any, tmp_path: Path
) -> None:
    is_dead = threading.Event()

    async def mortal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096) and not is_dead.is_set():
            writer.write(OK_HEAD + b"Content-Length: 0\r\n\r\n")
        writer.close()

    pool = connect(serve(mortal), connections=4)
    assert statuses(pool, 4) == ["ok"] * 4
    is_dead.set()
    (tmp_path / "socket").unlink()
    assert statuses(pool, 8) == ["closed"] * 4 + ["refused"] * 4
    serve(answering())
    assert statuses(pool, 4) == ["ok"] * 4


def test_nobody_there(connect: Any) -> None:
    with pytest.raises(OSError, match="no connection to unix:nothing:/x"):
        connect("unix:nothing:/x")


def test_the_server_sees_what_was_asked(serve: Any, connect: Any, tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(200_000))
        writer.write(OK_HEAD + b"Content-Length: 0\r\n\r\n")

    assert statuses(connect(serve(handle), body=b"y" * 200_000), 1) == ["ok"]
    assert seen[0].startswith(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n")
    assert b"Content-Type: text/plain\r\nContent-Length: 200000\r\n" in seen[0]
    assert seen[1] == b"y" * 200_000
    assert (
        Target.parse("http://h:8/p?q=1", tmp_path).message(None, "") == b"GET /p?q=1 HTTP/1.1\r\nHost: h:8\r\n\r\n"
    )


def test_it_speaks_tcp(connect: Any, answering: Any) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=8)
    port = listening.getsockname()[1]
    pool = connect(f"http://127.0.0.1:{port}/", connections=2)
    log = RequestLog()

    async def run() -> None:
        async with await asyncio.start_server(answering(), sock=listening):
            await asyncio.to_thread(drive, pool, ClosedLoop(2, now_s(), now_s() + 0.2), log.append)

    asyncio.run(run())
    assert log.statuses.keys() == {"ok"}


def test_a_port_where_nobody_listens_refuses(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    target = Target.parse(url, tmp_path)
    pool = HttpPool(target, target.message(None, ""), connections=2, timeout_s=5.0)
    request.addfinalizer(pool.close)
    log = RequestLog()
    drive(pool, OpenLoop([0.0, 0.0, 0.01], now_s()), log.append)
    assert log.status == ["refused"] * 3
    assert log.lags_s() == [], "nothing was sent"


def test_a_socket_deep_down_is_reached(serve: Any, connect: Any, answering: Any, tmp_path: Path) -> None:
    serve(answering())
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (tmp_path / "socket").rename(deep / "socket")
    assert statuses(connect(f"unix:{deep}/socket:/")) == ["ok"] * 3


@pytest.mark.parametrize("url", ["https://h/p", "h:80/p", "http:///p", "ftp://h/"])
def test_what_is_no_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be http://HOST:PORT/PATH or unix:SOCKET:/PATH"):
        Target.parse(url, tmp_path)


def test_a_stall_shows_on_a_real_clock(serve: Any, connect: Any) -> None:
    """One worker stops for 0.3 s: the requests that come meanwhile wait, each the less the later it came."""
    calls, worker = itertools.count(), asyncio.Lock()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            async with worker:
                await asyncio.sleep(0.3 if next(calls) == 20 else 0)
            writer.write(OK_HEAD + b"Content-Length: 0\r\n\r\n")

    log = RequestLog()
    drive(
        connect(serve(handle), connections=64),
        OpenLoop([0.01 * k for k in range(100)], now_s() + 0.05),
        log.append,
    )
    assert log.statuses == {"ok": 100}
    slow = [latency_s for latency_s in log.latencies_s() if latency_s > 0.05]
    assert 23 <= len(slow) <= 40, "those that came in the first 0.25 s of the stall"
    assert max(slow) >= 0.3
    assert sum(latency_s > 0.15 for latency_s in slow) >= 14


def test_latencies_on_a_real_clock_are_those_of_the_queue(serve: Any, connect: Any, exponential: Any) -> None:
    """M/M/1, rates 40/s and 50/s: each latency follows from arrivals and service times by Lindley's recursion.

    The server works by the schedule, so that a machine that is late once is not late ever after.
    """
    times = list(arrivals.within(arrivals.poisson(40.0, 5), 5.0))
    draw = exponential(50.0, 6)
    free_s, departures_s = 0.0, []
    for at_s in times:
        free_s = max(free_s, at_s) + draw()
        departures_s.append(free_s)
    start_s, calls = now_s() + 0.2, itertools.count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            await asyncio.sleep(start_s + departures_s[next(calls)] - now_s())
            writer.write(OK_HEAD + b"Content-Length: 0\r\n\r\n")

    log = RequestLog()
    drive(connect(serve(handle), connections=128), OpenLoop(times, start_s), log.append)
    expected_s = [departure_s - at_s for departure_s, at_s in zip(departures_s, times, strict=True)]
    assert log.statuses == {"ok": len(times)}
    measured_s = sorted(log.latencies_s())
    assert sum(measured_s) == pytest.approx(sum(expected_s), rel=0.05)
    rank = int(0.99 * len(times))
    assert measured_s[rank] == pytest.approx(sorted(expected_s)[rank], rel=0.10)
