"""One runner at a time on one device."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.clock import Clock, SystemClock
from bench.errors import SetupError
from bench.gpu.device import Device

_PATIENCE_S = 3.0  # a helper of a killed runner may live on for a moment, and holds the lock while it does
_RETRY_S = 0.1
_FOR_EVERYONE = 0o1777  # as /tmp: all users of the host share the folder, and remove only what is theirs


@dataclass(frozen=True)
class DeviceLock:
    """The lock as long as it is held; a child process given `fd` by `pass_fds` holds it on after our end."""

    path: Path
    fd: int


@contextmanager
def held(device: Device, clock: Clock | None = None) -> Iterator[DeviceLock]:
    """Hold the device's lock; the kernel releases it when the last process that holds it ends, however it ends.

    Raises SetupError, naming the holder, if another runner has it, or if the state folder cannot be used.
    """
    path = device.state_folder / "lock"
    fd = _opened(device)
    try:
        _acquire(fd, path, clock or SystemClock())
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {' '.join(sys.argv)}\n".encode(), 0)
        yield DeviceLock(path, fd)
    finally:
        os.close(fd)


def holder(device: Device) -> str | None:
    """Describe the runner that holds the device's lock at this moment; None if nobody does."""
    fd = _opened(device)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(fd)
    else:
        return None
    finally:
        os.close(fd)


def make_state_folder(device: Device) -> None:
    """Make the device's state folder, and the one around it, for all users of the host."""
    for folder in (device.state_folder.parent, device.state_folder):
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            folder.chmod(_FOR_EVERYONE)


def _opened(device: Device) -> int:
    path = device.state_folder / "lock"
    try:
        make_state_folder(device)
        return _open_shared(path)
    except OSError as refused:
        raise SetupError(
            f"the lock {path} cannot be used ({refused.strerror}); set BENCH_STATE_DIR to a folder that you may "
            "write to and that every user of this device shares"
        ) from refused


def _open_shared(path: Path) -> int:
    """Open the file, or create it for all; Linux refuses O_CREAT on another user's file in a sticky folder."""
    try:
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        pass
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(path, os.O_RDWR)
    os.fchmod(fd, 0o666)  # past the umask
    return fd


def _acquire(fd: int, path: Path, clock: Clock) -> None:
    deadline_s = clock.monotonic_s() + _PATIENCE_S
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            if clock.monotonic_s() >= deadline_s:
                raise SetupError(
                    f"the device is in use: {path} is held by {_holder(fd)}; wait for its end, or end it, or "
                    "choose another device (--device)"
                ) from taken
            clock.sleep(_RETRY_S)


def _holder(fd: int) -> str:
    """Describe the runner that wrote itself into the lock, and whether it still lives."""
    pid, _, command = os.pread(fd, 4096, 0).decode(errors="replace").strip().partition(" ")
    if not pid.isdecimal():
        return "another process"
    gone = "" if Path("/proc", pid).exists() else " (which has ended, but a process it started has not)"
    return f"process {pid} `{command}`{gone}"
