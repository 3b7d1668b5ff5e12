"""Where requests go, and what they say: a URL and a body, made into an address and the bytes of one request."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MAX_SOCKET_PATH = 107  # bytes that the kernel has for a Unix socket's path


@dataclass(frozen=True)
class Target:
    """A server's address and the path of a request there."""

    url: str
    family: socket.AddressFamily
    address: str | tuple[str, int]
    host: str
    path: str

    @classmethod
    def parse(cls, url: str, folder: Path) -> Target:
        """Read `http://HOST:PORT/PATH` or `unix:SOCKET:/PATH`; a relative SOCKET lies in `folder`.

        Raises ValueError where it is neither.
        """
        if url.startswith("unix:"):
            name, _, path = url.removeprefix("unix:").partition(":/")
            socket_path = folder / ("/" + name.lstrip("/") if name.startswith("/") else name)
            return cls(url, socket.AF_UNIX, unix_address(socket_path), "localhost", "/" + path)
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"--url {url}: must be http://HOST:PORT/PATH or unix:SOCKET:/PATH")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
        return cls(url, family, (parts.hostname, parts.port or 80), parts.netloc, path)

    def message(self, body: bytes | None, content_type: str, headers: Sequence[str] = ()) -> bytes:
        """Return the bytes of a request: POST with a body, GET without one."""
        lines = [f"{'GET' if body is None else 'POST'} {self.path} HTTP/1.1", f"Host: {self.host}", *headers]
        if body is not None:
            lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def unix_address(path: Path) -> str:
    """Return a name for the socket that fits the kernel's limit: job folders can lie deep."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return str(path)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)  # stays open as long as the process lives
    return f"/proc/self/fd/{folder}/{path.name}"
