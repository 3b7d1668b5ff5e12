"""A warm pool of HTTP/1.1 connections, each with at most one request in flight; one thread, no library.

Why not asyncio or an HTTP library: a load generator must send when it said it would. asyncio rounds its timers up
to whole milliseconds (it hands them to epoll), which alone uses up a send lag of 1 ms, and the usual libraries
spend a large part of the 0.5 ms that one core has for a request at 2,000 a second. Here, `select` waits on
the epoll descriptor, because its timeout has microseconds. `benchmarks/load_generator.py` shows lag and CPU.
"""

from __future__ import annotations

import errno
import resource
import select
import socket
from collections import deque
from collections.abc import Sequence

from workloads.inference.load.http_reply import BadReplyError, ReplyReader
from workloads.inference.load.target import Target
from workloads.inference.load.wire import CLOSED, MALFORMED, REFUSED, TIMEOUT, Request, http_status
from workloads.job import now_s

PATIENCE_S = 0.1  # the longest wait before the caller may look around
PIECE_BYTES = 262144
SPARE_FILES = 64


class Connection:
    """One connection; `socket` is None while there is none, `request` while nothing is asked."""

    __slots__ = ("has_served", "reader", "request", "socket", "unsent")

    def __init__(self, reader: ReplyReader) -> None:
        self.socket: socket.socket | None = None
        self.request: Request | None = None
        self.reader = reader
        self.unsent = memoryview(b"")
        self.has_served = False


class HttpPool:
    """The wire to a real server (`load.wire.Wire`). What goes wrong with a request is its status, never raised.

    Who sends different messages, or reads replies, overrides `message`, `reader` and `read`.
    """

    def __init__(self, target: Target, message: bytes, connections: int, timeout_s: float) -> None:
        self._target = target
        self._message = memoryview(message)
        self._timeout_s = timeout_s
        self._epoll = select.epoll()  # made before the connections: `select` only takes descriptors below 1024
        self._by_file: dict[int, Connection] = {}
        self._in_flight: dict[Request, Connection] = {}  # in the order of sending
        self._ended: list[Request] = []
        # First in, first out: every connection has its turn, so that a server's idle timeout closes few of them.
        self._free = deque(Connection(self.reader()) for _ in range(connections))
        _allow_files(connections + SPARE_FILES)

    def open(self) -> None:
        """Open all connections; raises OSError where the server is not there."""
        for connection in self._free:
            if connection.socket is None:
                self._connect(connection, self._timeout_s)

    def close(self) -> None:
        """Close everything, whatever is in flight."""
        for connection in (*self._free, *self._in_flight.values()):
            self._disconnect(connection)
        self._epoll.close()

    def message(self) -> memoryview:
        """Return the bytes of the next request."""
        return self._message

    def reader(self) -> ReplyReader:
        """Return a reader for the replies of one connection."""
        return ReplyReader()

    def read(self, request: Request, reader: ReplyReader) -> None:
        """Take in what the reader found in the reply to a request that has ended; here, do nothing."""

    @property
    def free(self) -> bool:
        """Whether a connection is free."""
        return bool(self._free)

    def now_s(self) -> float:
        """Return seconds on CLOCK_MONOTONIC."""
        return now_s()

    def send(self, request: Request) -> None:
        """Send on the connection that was free for longest; one that was lost meanwhile is opened again."""
        connection = self._free.popleft()
        connection.request = request
        self._in_flight[request] = connection
        try:
            if connection.socket is None:
                self._connect(connection)
            request.sent_s = now_s()
            self._write(connection, self.message())
        except OSError as error:
            is_refused = request.sent_s is None or isinstance(error, ConnectionRefusedError)
            self._lose(connection, REFUSED if is_refused else CLOSED)

    def wait(self, until_s: float) -> Sequence[Request]:
        """Return what has ended; waits no longer than until `until_s` or 0.1 s."""
        left_s = min(until_s - now_s(), PATIENCE_S)
        if left_s > 0 and not self._ended:
            select.select([self._epoll], [], [], left_s)
        for file, events in self._epoll.poll(0):
            self._attend(self._by_file[file], events)
        self._expire()
        ended, self._ended = self._ended, []
        return ended

    def _connect(self, connection: Connection, timeout_s: float = 0.0) -> None:
        """Connect, waiting at most `timeout_s`; a TCP connection may still be under way after 0 s."""
        new = socket.socket(self._target.family, socket.SOCK_STREAM)
        try:
            if self._target.family != socket.AF_UNIX:
                new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            new.settimeout(timeout_s)
            error = new.connect_ex(self._target.address)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, f"no connection to {self._target.url}")
            new.setblocking(False)
            self._epoll.register(new, select.EPOLLIN)
        except BaseException:
            new.close()
            raise
        connection.socket, connection.has_served = new, False
        self._by_file[new.fileno()] = connection

    def _disconnect(self, connection: Connection) -> None:
        if connection.socket is not None:
            del self._by_file[connection.socket.fileno()]
            connection.socket.close()  # epoll forgets it with that
            connection.socket = None

    def _write(self, connection: Connection, data: memoryview) -> None:
        """Send what the kernel takes; the rest goes when it takes more."""
        assert connection.socket is not None
        try:
            count = connection.socket.send(data)
        except BlockingIOError:
            count = 0
        was_waiting, connection.unsent = len(connection.unsent) > 0, data[count:]
        if was_waiting != (len(connection.unsent) > 0):
            wanted = select.EPOLLIN if was_waiting else select.EPOLLIN | select.EPOLLOUT
            self._epoll.modify(connection.socket, wanted)

    def _attend(self, connection: Connection, events: int) -> None:
        """Do what a connection asks for."""
        if connection.request is None:
            self._renew(connection)  # the server closed it, or spoke unasked
            return
        try:
            if events & select.EPOLLOUT:
                self._write(connection, connection.unsent)
            if events & ~select.EPOLLOUT:
                self._read(connection)
        except BlockingIOError:
            return
        except BadReplyError:
            self._lose(connection, MALFORMED)
        except OSError as error:
            self._lose(connection, REFUSED if isinstance(error, ConnectionRefusedError) else CLOSED)

    def _read(self, connection: Connection) -> None:
        assert connection.socket is not None
        reader, data = connection.reader, connection.socket.recv(PIECE_BYTES)
        is_whole = reader.feed(data) if data else reader.feed_end()
        if is_whole and not reader.closes and not connection.unsent:
            connection.has_served = True
            self._end(connection, http_status(reader.status))
        elif is_whole:
            connection.has_served = True
            self._lose(connection, http_status(reader.status))
        elif not data:
            self._lose(connection, CLOSED)

    def _lose(self, connection: Connection, status: str) -> None:
        """End a request together with its connection; one that was refused was never sent."""
        if status == REFUSED and connection.request:
            connection.request.sent_s = None
        self._renew(connection)
        self._end(connection, status)

    def _renew(self, connection: Connection) -> None:
        """Open a connection again; one that was never of use, only when it is needed: else we would spin."""
        self._disconnect(connection)
        connection.unsent = memoryview(b"")
        if connection.has_served:
            try:
                self._connect(connection)
            except OSError:
                connection.has_served = False

    def _end(self, connection: Connection, status: str) -> None:
        request = connection.request
        assert request is not None
        request.end(now_s(), status)
        self.read(request, connection.reader)
        self._ended.append(request)
        del self._in_flight[request]
        connection.request = None
        connection.reader.expect()
        self._free.append(connection)

    def _expire(self) -> None:
        """Give up on requests that were sent too long ago; the oldest come first."""
        while self._in_flight:
            request, connection = next(iter(self._in_flight.items()))
            if request.sent_s is None or now_s() < request.sent_s + self._timeout_s:
                return
            self._lose(connection, TIMEOUT)


def _allow_files(count: int) -> None:
    """Raise this process's own limit of open files where it must be; SystemExit where the host forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
        except ValueError as error:
            raise SystemExit(f"--connections needs {count} open files, but ulimit -Hn says {hard}") from error
