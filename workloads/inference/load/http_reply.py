"""Finding the end of an HTTP/1.1 reply. Bodies are counted and thrown away, so a huge one costs no memory.

Who wants to see a body as it comes overrides `ReplyReader.body`.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_HEAD_BYTES = 65536


class BadReplyError(Exception):
    """The server did not speak HTTP/1.x."""


class ReplyReader:
    """Takes in the bytes of one reply, in whatever pieces they come."""

    __slots__ = ("_buffer", "_frame", "_left", "_read", "closes", "status")

    def __init__(self) -> None:
        self.expect()

    def expect(self) -> None:
        """Forget everything and expect the next reply."""
        self.status = 0
        self.closes = False  # whether the server, or the framing, ends the connection with this reply
        self._buffer = b""
        self._left = 0
        self._frame = 0  # bytes at the end of what is left that are framing, not body
        self._read: Callable[[], bool] = self._head

    def feed(self, data: bytes) -> bool:
        """Take in bytes and tell whether the reply is whole; raises BadReplyError."""
        self._buffer += data
        while self._read():
            pass
        if self._read == self._end and self._buffer:
            self.closes = True  # more than one reply to one request: nothing after it can be trusted
        return self._read == self._end

    def feed_end(self) -> bool:
        """Take in the end of the stream and tell whether that makes the reply whole."""
        return self._read in (self._end, self._until_close)

    def body(self, data: bytes) -> None:
        """Take in a piece of the body; here, do nothing."""

    # Each of these reads one part from the buffer and says whether there may be more to read.

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadReplyError("the head of the reply does not end")
            return False
        head, self._buffer = self._buffer[: end + 2].lower(), self._buffer[end + 4 :]
        self.status = _status(head)
        if self.status >= 200:  # else an interim reply: the real one follows
            self.closes = head.startswith(b"http/1.0") or _field(head, b"connection") == b"close"
            self._read = self._framing(head)
        return True

    def _framing(self, head: bytes) -> Callable[[], bool]:
        if self.status in (204, 304):
            return self._end
        if (_field(head, b"transfer-encoding") or b"").endswith(b"chunked"):
            return self._chunk_size
        length = _field(head, b"content-length")
        if length is None:
            self.closes = True
            return self._until_close
        self._left = _number(length, 10)
        return self._body

    def _body(self) -> bool:
        if self._skip():
            self._read = self._end
        return False

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _number(line.partition(b";")[0].strip(), 16)
        self._frame = 2  # the line's end that follows the data
        self._left = size + self._frame
        self._read = self._chunk if size else self._trailer
        return True

    def _chunk(self) -> bool:
        if not self._skip():
            return False
        self._read = self._chunk_size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._read = self._end
        return bool(line)

    def _until_close(self) -> bool:
        self.body(self._buffer)
        self._buffer = b""
        return False

    def _end(self) -> bool:
        return False

    def _skip(self) -> bool:
        """Throw away what has come of the part that is `_left`; tell whether that was all of it."""
        have = len(self._buffer)
        self.body(self._buffer[: max(self._left - self._frame, 0)])
        self._buffer = self._buffer[self._left :]
        self._left = max(self._left - have, 0)
        return not self._left

    def _line(self) -> bytes | None:
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            if len(line) > MAX_HEAD_BYTES:
                raise BadReplyError("a line of the reply does not end")
            return None
        self._buffer = rest
        return line


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"http/1.") or not rest[:3].isdigit() or rest[:1] not in b"12345":
        raise BadReplyError(f"not a status line: {head[:40]!r}")
    return int(rest[:3])


def _field(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


def _number(text: bytes, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0:
        raise BadReplyError(f"not a length: {text[:40]!r}")
    return value
