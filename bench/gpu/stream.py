"""A long-lived `nvidia-smi` that prints a row per period, and the end of it."""

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.clock import Clock
from bench.gpu.tool import tool_missing

_PATIENCE_S = 2.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True)
class StreamEnd:
    """How a stream ended and what it cost."""

    early: bool  # it had ended before it was told to
    status: int | None  # exit code, or the negative number of the signal; None if even SIGKILL did not end it
    errors: str
    cpu_s: float  # of the process and of the thread that read its lines


class SampleStream:
    """A sampler process whose lines are stamped on receipt, in a thread of its own, until `stop`.

    `received` holds (CLOCK_MONOTONIC seconds, text) pairs, the header first; it only grows. Starting raises
    SetupError if there is no such tool.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], clock: Clock) -> None:
        self.command = " ".join(command)
        self.received: list[tuple[float, str]] = []
        self._clock = clock
        self._errors = ""
        self._reader_cpu_s = 0.0
        self._process = _start(command, environment)
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._collect, self._listen)]
        for reader in self._readers:
            reader.start()

    @property
    def ended(self) -> bool:
        """Whether the process prints no more."""
        return not self._readers[0].is_alive()

    def stop(self) -> StreamEnd:
        """End the process, by SIGTERM and then by SIGKILL, and say how it went."""
        early = self.ended
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(self._process.pid, number)  # nobody has waited for it, so the pid is still its own
            for reader in self._readers:
                reader.join(_PATIENCE_S / len(self._readers))
        status, cpu_s = self._reap()
        return StreamEnd(early, status, self._errors.strip(), cpu_s + self._reader_cpu_s)

    def _reap(self) -> tuple[int | None, float]:
        """Collect status and processor time; never wait for a process that is stuck inside the driver."""
        pid, status, usage = os.wait4(self._process.pid, 0 if self.ended else os.WNOHANG)
        self._process.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self._process.returncode, usage.ru_utime + usage.ru_stime

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.received.append((self._clock.monotonic_s(), line.rstrip("\n")))
        self._reader_cpu_s = thread_cpu_s()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()


def thread_cpu_s() -> float:
    """Processor seconds that the calling thread has used."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the process outside the terminal's group, so that Ctrl-C reaches the runner alone."""
    try:
        return subprocess.Popen(
            command,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as missing:
        raise tool_missing(command[0], environment, missing) from missing
