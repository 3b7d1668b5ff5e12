"""The job protocol: all that a program must know to be a tenant. Carry this one file; it needs no other.

    with Job.open(libraries=["torch"]) as job:              # says hello; a crash is reported, done is said
        job.identity(device_name="...")                     # what this process itself sees
        for _ in job.warmup(steps=10, items=batch_size):    # measured, kept apart
            train_step()
        for _ in job.steps(items=batch_size):               # waits for the common start, ends past the stop
            train_step()

The body of each loop is one step. It must end with the device idle (`torch.cuda.synchronize()`), else the
measured durations are those of launching, not of working.

The launcher names a private folder in `BENCH_JOB_DIR`. Events are appended there to `events.jsonl`, one JSON
object a line, and `start.json` is awaited there. Without that variable the program runs stand-alone: it
starts at once, works for `seconds`, and prints one line. All instants are seconds on CLOCK_MONOTONIC, which
the processes and containers of one host share.

With `BENCH_SLOWDOWN=0.05` in its environment a job makes each step last 5 % longer, by idling after the work: a
known difference, for showing that a benchmark sees it.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import signal
import statistics
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

PROTOCOL = 1
JOB_DIR_VARIABLE = "BENCH_JOB_DIR"
SLOWDOWN_VARIABLE = "BENCH_SLOWDOWN"
FLUSH_PERIOD_S = 0.5  # a tenant that dies loses at most this much finished work
FLUSH_REQUESTS = 100  # writing a batch must not hold up the next request: 100 take about 0.2 ms
REQUEST_COLUMNS = ("scheduled_s", "sent_s", "done_s", "status", "items")
POLL_PERIOD_S = 0.02
SPIN_S = 0.001  # the last millisecond of a wait is spun away: sleeping overshoots by some tens of microseconds
OUT_OF_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "RESOURCE_EXHAUSTED")


def now_s() -> float:
    """Seconds on CLOCK_MONOTONIC."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def idle_until(instant_s: float) -> float:
    """Return at an instant, to some microseconds, with the device idle; return the instant reached."""
    while (left_s := instant_s - now_s()) > 0:
        if left_s > SPIN_S:
            time.sleep(left_s - SPIN_S)
    return now_s()


class Job:
    """One tenant's side of the protocol; open it with `Job.open` and use it as a context manager."""

    def __init__(self, launcher: FolderLauncher | NoLauncher) -> None:
        self.peak_memory_mib: float | None = None  # set it before the end to have it reported
        self._launcher = launcher
        self._warmup = StepColumns()
        self._autotune: bool | None = None
        self._pending = StepColumns()
        self._requests: list[tuple[float, float | None, float, str, int]] = []
        self._wait_s: float | None = None
        self._flushed_s = now_s()
        self._span_s: tuple[float, float] | None = None
        self._total_steps = 0
        self._total_requests = 0
        self._total_items = 0
        self._asked_to_stop = False
        self._slowdown = float(os.environ.get(SLOWDOWN_VARIABLE, "0"))

    @classmethod
    def open(cls, libraries: Sequence[str] = (), seconds: float = 10.0) -> Job:
        """Say hello to the launcher, or stand alone for `seconds` where there is none.

        `libraries` are names of installed distributions whose versions belong in the record; they are looked
        up without importing them, so hello comes early. SIGTERM is caught from here on: the current step is
        finished and the job ends well, because killing a process in mid-kernel can harm its MPS neighbours.
        """
        folder = os.environ.get(JOB_DIR_VARIABLE)
        job = cls(FolderLauncher(Path(folder)) if folder else NoLauncher(seconds))
        signal.signal(signal.SIGTERM, job._ask_to_stop)
        job._emit("hello", protocol=PROTOCOL, pid=os.getpid(), libraries=_versions(libraries))
        return job

    def identity(
        self,
        device_name: str,
        device_uuid: str | None = None,
        sm_count: int | None = None,
        memory_total_mib: int | None = None,
        allocatable_mib: int | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Report the device this process sees (memory in MiB) and what its environment says of sharing.

        `allocatable_mib` is what the process could allocate just now. Where the environment has BENCH_PROBE_MEMORY
        its memory is limited, and an honest trial of that proves the limit. `figures` are numbers of the job's
        own, under names with their units; the record keeps them.
        """
        self._emit(
            "identity",
            device_name=device_name,
            device_uuid=device_uuid,
            sm_count=sm_count,
            memory_total_mib=memory_total_mib,
            allocatable_mib=allocatable_mib,
            **_surroundings(),
            **(figures or {}),
        )

    def warmup(self, steps: int, items: int = 1, *, autotune: bool | None = None) -> Iterator[None]:
        """Yield `steps` times; the steps are reported with `ready` and never counted as work.

        `autotune` tells whether a library searches for its fastest kernels meanwhile (None: not known).
        """
        self._autotune = autotune
        for _ in range(steps):
            if self._asked_to_stop:
                return
            began_s = now_s()
            yield
            ended_s = now_s()
            self._warmup.append(ended_s, ended_s - began_s, items, self._wait_s)
            self._wait_s = None

    def steps(self, items: int = 1) -> Iterator[None]:
        """Report ready, wait for the common start, then yield until the first step that ends past the stop.

        `items` is the work of one step in the workload's unit. SIGTERM ends the loop after the current step.
        """
        start_s, stop_s = self.span()
        self._sleep_until(start_s)
        ended_s = now_s()
        while ended_s < stop_s and not self._asked_to_stop:
            began_s = now_s()
            yield
            ended_s = now_s()
            if self._slowdown:
                ended_s = idle_until(ended_s + self._slowdown * (ended_s - began_s))
            self._pending.append(ended_s, ended_s - began_s, items, self._wait_s)
            self._wait_s = None
            if ended_s - self._flushed_s >= FLUSH_PERIOD_S:
                self._flush()

    def span(self) -> tuple[float, float]:
        """Report ready and return start and stop once they are named; the start may lie a moment ahead.

        For a job that sends requests instead of doing steps: it schedules them in [start, stop), none if asked to
        stop meanwhile, follows each to its end, and is not done before the stop. The moment is there for preparing
        them.
        """
        if self._span_s is None:
            self._span_s = self._await_span()
        return self._span_s

    def step(self, end_s: float, duration_s: float, items: int) -> None:
        """Report one step that has ended, between start and stop of the span; call it in the order of `end_s`.

        For a job whose steps differ in their items, or begin when somebody asks; others loop over `steps`.
        """
        self._pending.append(end_s, duration_s, items, None)
        if end_s - self._flushed_s >= FLUSH_PERIOD_S:
            self._flush()

    def request(
        self, scheduled_s: float, sent_s: float | None, done_s: float, status: str = "ok", items: int = 1
    ) -> None:
        """Report one request that has ended; call it in the order of `done_s`.

        `sent_s` is None if it was never sent. `status` is "ok", or a word for what went wrong ("timeout").
        """
        self._requests.append((scheduled_s, sent_s, done_s, status, items))
        if len(self._requests) >= FLUSH_REQUESTS:
            self._flush()

    def load(self, planned: int | None, cpu_s: float, **details: Any) -> None:
        """Report how the load was made: requests `planned` in [start, stop) if that was known before, CPU seconds.

        `details` are whatever else a reader of the record will want, as JSON takes it.
        """
        self._flush()
        self._emit("load", planned=planned, cpu_s=cpu_s, details=details)

    def asked_to_stop(self) -> bool:
        """Tell whether SIGTERM has come. Ask often while requests are out: what has ended is written meanwhile."""
        if (self._requests or self._pending.end_s) and now_s() - self._flushed_s >= FLUSH_PERIOD_S:
            self._flush()
        return self._asked_to_stop

    def waited(self, wait_s: float) -> None:
        """Say, in the body of a step, how long this step waited for its data (seconds); calls add up."""
        self._wait_s = wait_s + (self._wait_s or 0.0)

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say done, or what went wrong; the exception goes on, so the exit status tells as well."""
        self._flush()
        if error is None or (isinstance(error, SystemExit) and not error.code):
            totals = {"steps": self._total_steps, "requests": self._total_requests, "items": self._total_items}
            self._emit("done", **totals, peak_memory_mib=self.peak_memory_mib)
            return
        self._emit(
            "error",
            kind="oom" if is_out_of_memory(error) else "exception",
            message=str(error) or type(error).__name__,
            traceback="".join(traceback.format_exception(kind, error, trace)),
        )

    def _await_span(self) -> tuple[float, float]:
        """Return (start, stop) once the launcher has named them; an empty span if asked to stop meanwhile."""
        if not self._asked_to_stop:
            self._emit("ready", warmup=self._warmup.as_dict(), autotune=self._autotune)
        span_s = self._launcher.span()
        while span_s is None and not self._asked_to_stop:
            time.sleep(POLL_PERIOD_S)
            span_s = self._launcher.span()
        self._flushed_s = now_s()
        return span_s or (0.0, 0.0)

    def _sleep_until(self, start_s: float) -> None:
        while not self._asked_to_stop and (left_s := start_s - now_s()) > 0:
            time.sleep(min(left_s, POLL_PERIOD_S))
        self._flushed_s = now_s()

    def _flush(self) -> None:
        """Hand the steps and requests recorded since the last time to the launcher, one event each."""
        if self._pending.end_s:
            self._emit("step", **self._pending.as_dict())
            self._total_steps += len(self._pending.end_s)
            self._total_items += sum(self._pending.items)
            self._pending = StepColumns()
        if self._requests:
            self._emit("request", **dict(zip(REQUEST_COLUMNS, zip(*self._requests, strict=True), strict=True)))
            self._total_requests += len(self._requests)
            self._total_items += sum(items for *_, status, items in self._requests if status == "ok")
            self._requests = []
        self._flushed_s = now_s()

    def _emit(self, event: str, **fields: Any) -> None:
        self._launcher.tell({"event": event, "time_s": now_s(), **fields})

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True


class StepColumns:
    """Steps as lists of equal length: end (s), duration (s), items, and wait for data (s; None: not told)."""

    __slots__ = ("duration_s", "end_s", "items", "wait_s")

    def __init__(self) -> None:
        self.end_s: list[float] = []
        self.duration_s: list[float] = []
        self.items: list[int] = []
        self.wait_s: list[float | None] = []

    def append(self, end_s: float, duration_s: float, items: int, wait_s: float | None) -> None:
        """Add one step. Runs between two steps, so it must cost microseconds."""
        self.end_s.append(end_s)
        self.duration_s.append(duration_s)
        self.items.append(items)
        self.wait_s.append(wait_s)

    def as_dict(self) -> dict[str, Any]:
        """Return the columns under the names that events use; without `wait_s` where no step told it."""
        columns = {"end_s": self.end_s, "duration_s": self.duration_s, "items": self.items}
        told = any(wait_s is not None for wait_s in self.wait_s)
        return {**columns, "wait_s": self.wait_s} if told else columns


class FolderLauncher:
    """The launcher as a job sees it: a folder to append events to, in which `start.json` will appear."""

    def __init__(self, folder: Path) -> None:
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
        self._start_file = folder / "start.json"
        self._parent = os.getppid()

    def tell(self, event: dict[str, Any]) -> None:
        """Append one event; it is in the kernel's hands, and survives this process, when this returns."""
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()

    def span(self) -> tuple[float, float] | None:
        """Return (start, stop) in seconds if the launcher has named them; exit if it is gone."""
        try:
            instants = json.loads(self._start_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._exit_if_orphaned()
            return None
        if instants["protocol"] != PROTOCOL:
            sys.exit(f"{self._start_file}: protocol {instants['protocol']}, but this job.py speaks {PROTOCOL}")
        return float(instants["start_s"]), float(instants["stop_s"])

    def _exit_if_orphaned(self) -> None:
        # In a container our parent is 0 (or init's 1) from the start: there, the engine looks after us.
        if self._parent not in (0, 1) and os.getppid() != self._parent:
            sys.exit("the launcher is gone and never said start")


class NoLauncher:
    """Stand-alone: start at once, work for `seconds`, print a summary instead of writing events."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._duration_s: list[float] = []
        self._latency_s: list[float] = []

    def tell(self, event: dict[str, Any]) -> None:
        """Keep step durations and latencies; print one line when done."""
        if event["event"] == "step":
            self._duration_s += event["duration_s"]
        elif event["event"] == "request":
            self._latency_s += map(operator.sub, event["done_s"], event["scheduled_s"])
        elif event["event"] == "done":
            sys.stdout.write(self._summary(event["items"]) + "\n")

    def span(self) -> tuple[float, float]:
        """Return the span that begins now."""
        start_s = now_s()
        return start_s, start_s + self._seconds

    def _summary(self, items: int) -> str:
        if self._latency_s:
            return f"{len(self._latency_s)} requests, median {1000 * statistics.median(self._latency_s):.2f} ms"
        if not self._duration_s:
            return "0 steps"
        rate = items / sum(self._duration_s)
        median_ms = 1000 * statistics.median(self._duration_s)
        return f"{len(self._duration_s)} steps, {rate:.1f} items/s, median step {median_ms:.2f} ms"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out, whichever library raised it (none is imported)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS)


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    """Map python and each installed library to its version; what is not installed is left out."""
    from importlib import metadata  # noqa: PLC0415  (a fifth of this file's import time, and only needed here)

    found = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _surroundings() -> dict[str, Any]:
    """Return what the environment of this process says about sharing, and its number of CPUs."""
    percentage = os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")
    return {
        "mps_pipe_directory": os.environ.get("CUDA_MPS_PIPE_DIRECTORY"),
        "mps_active_thread_percentage": float(percentage) if percentage else None,
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("NVIDIA_VISIBLE_DEVICES")),
        "mps_in_container_default": Path("/tmp/nvidia-mps").exists(),
        "cpus": len(os.sched_getaffinity(0)),
    }
