"""The inference server as a child process: started beside its load, watched, and ended in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from workloads.job import JOB_DIR_VARIABLE

LOG, EVENTS = "log.txt", "events.jsonl"
STOP_GRACE_S = 8.0  # less than launchers give to the whole job
LAST_LINES = 5
SEEN = ("device_name", "device_uuid", "sm_count", "memory_total_mib", "allocatable_mib")


class ServerError(Exception):
    """The server ended when it should not have, or not well."""


class ServerProcess:
    """A server that is a job in a folder of its own. Nobody says start to it: it serves until asked to end."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path, device: str) -> None:
        self._folder = folder
        self.cpus, own = _cores(device)
        with (folder / LOG).open("wb") as log:
            os.sched_setaffinity(0, self.cpus)  # inherited
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, JOB_DIR_VARIABLE: str(folder)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        os.sched_setaffinity(0, own)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server, print its log, and raise ServerError where it did not end well."""
        status = self._end()
        sys.stderr.write((self._folder / LOG).read_text(errors="replace"))
        if status and error is None:
            raise ServerError(self._obituary(status))

    def check(self) -> None:
        """Raise ServerError, with the server's last words, if it is gone."""
        status = self._process.poll()
        if status is not None:
            raise ServerError(self._obituary(status))

    def identity(self) -> dict[str, Any] | None:
        """Return the device as the server sees it; None as long as it has not told."""
        event = self._events().get("identity")
        return event and {name: event[name] for name in SEEN}

    def warm_rate_per_s(self) -> float:
        """Return how many requests a second the last batch of the warm-up, a full one, comes to."""
        warmup = self._events()["ready"]["warmup"]
        return float(warmup["items"][-1] / warmup["duration_s"][-1])

    def peak_memory_mib(self) -> float | None:
        """Return the most memory (MiB) the server held on the device; None before its end."""
        peak_mib: float | None = self._events().get("done", {}).get("peak_memory_mib")
        return peak_mib

    def cpu_s(self) -> float:
        """Return the CPU time (s) of all its threads so far, in the kernel's ticks of usually 10 ms."""
        after_name = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        user, system = after_name[11:13]  # fields 14 and 15 of proc(5)
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _end(self) -> int:
        """Ask, wait, and only then kill; return the exit status."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _obituary(self, status: int) -> str:
        error = self._events().get("error")
        lines = (self._folder / LOG).read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        words = error["message"] if error else " | ".join(lines) or "it printed nothing"
        return f"the server ended with status {status}; its last words: {words}"

    def _events(self) -> dict[str, dict[str, Any]]:
        """Return the last event of each name, of the lines that are whole."""
        try:
            text = (self._folder / EVENTS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        events = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        return {event["event"]: event for event in events}


def _cores(device: str) -> tuple[list[int], list[int]]:
    """Return the cores of server and load: apart beside a GPU, if there are several; a CPU run pins nothing."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[:-1], cores[-1:]) if device == "cuda" and len(cores) > 1 else (cores, cores)
