"""Reading what a job says of itself: `events.jsonl`, one JSON object a line (protocol: workloads/job.py).

Lines are checked one by one: a torn last line of a job that died is dropped, anything else that is not as the
protocol says is a problem that fails the job. Times are seconds on CLOCK_MONOTONIC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

PROTOCOL = 1
_FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "hello": {"protocol": int, "pid": int, "libraries": dict},
    "identity": {"device_name": str},
    "ready": {"warmup": dict},
    "step": {"end_s": list, "duration_s": list, "items": list},
    "request": {"scheduled_s": list, "sent_s": list, "done_s": list, "status": list, "items": list},
    "load": {"planned": (int, NoneType), "cpu_s": (int, float), "details": dict},
    "done": {"steps": int, "items": int},
    "error": {"kind": str, "message": str},
}
_COLUMNS = ("end_s", "duration_s", "items")
_REQUEST_COLUMNS = ("scheduled_s", "sent_s", "done_s", "status", "items")


@dataclass(frozen=True)
class Steps:
    """Units of work as arrays of one length: end instant, duration, and items done in each.

    `wait_s` is how much of the duration a step waited for its data: NaN where the job did not tell, None where
    nobody asked.
    """

    end_s: npt.NDArray[np.float64]
    duration_s: npt.NDArray[np.float64]
    items: npt.NDArray[np.float64]
    wait_s: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, batches: Sequence[Mapping[str, Any]]) -> "Steps":
        """Join the batches in which a job reported its steps."""
        end_s, duration_s, items = (
            np.concatenate([np.asarray(batch[name], float) for batch in batches] or [np.empty(0)])
            for name in _COLUMNS
        )
        wait_s = np.concatenate([_wait_s(batch) for batch in batches] or [np.empty(0)])
        return cls(end_s, duration_s, items, wait_s)

    def __len__(self) -> int:
        return len(self.end_s)


@dataclass(frozen=True)
class Requests:
    """Requests in the order in which they ended; `sent_s` is NaN where never sent, `status` ok or why not."""

    scheduled_s: npt.NDArray[np.float64]
    sent_s: npt.NDArray[np.float64]
    done_s: npt.NDArray[np.float64]
    status: npt.NDArray[np.str_]
    items: npt.NDArray[np.float64]

    @classmethod
    def of(cls, batches: Sequence[Mapping[str, Any]]) -> "Requests":
        """Join the batches in which a job reported its requests; None becomes NaN."""
        types = {name: str if name == "status" else np.float64 for name in _REQUEST_COLUMNS}
        columns = {
            name: np.concatenate([np.asarray(batch[name], kind) for batch in batches] or [np.empty(0, kind)])
            for name, kind in types.items()
        }
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.status)

    def lag_p99_s(self, from_s: float, to_s: float) -> float | None:
        """Return the p99 (nearest rank) of sent - scheduled of what was due in a span; None if none was sent."""
        inside = (self.scheduled_s >= from_s) & (self.scheduled_s < to_s) & ~np.isnan(self.sent_s)
        lag_s = (self.sent_s - self.scheduled_s)[inside]
        return float(np.quantile(lag_s, 0.99, method="inverted_cdf")) if len(lag_s) else None

    def problem(self, start_s: float, stop_s: float) -> str | None:
        """Say what a load between these instants cannot have been, if these requests are not one."""
        if len(self) and not (start_s <= self.scheduled_s.min() and self.scheduled_s.max() < stop_s):
            return "a request was scheduled outside the common start and stop"
        if (np.diff(self.done_s) < 0).any():
            return "requests are not in the order in which they ended"
        sent_s = self.sent_s[np.lexsort((self.sent_s, self.scheduled_s))]
        if (np.diff(sent_s[~np.isnan(sent_s)]) < 0).any():
            return "requests were not sent in the order for which they were scheduled"
        return None


@dataclass
class JobEvents:
    """Everything one job has said so far."""

    hello: Mapping[str, Any] | None = None
    identity: Mapping[str, Any] | None = None
    ready: Mapping[str, Any] | None = None
    done: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    load: Mapping[str, Any] | None = None
    step_batches: list[Mapping[str, Any]] = field(default_factory=list)
    request_batches: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def warmup(self) -> Steps:
        """Steps before `ready`: kept, labelled, never part of a result."""
        return Steps.of([self.ready["warmup"]] if self.ready else [])

    @property
    def steps(self) -> Steps:
        """Steps after the common start; the batches are joined when they are first asked for."""
        joined = Steps.of(self.step_batches)
        self.step_batches = [vars(joined)]
        return joined

    @property
    def requests(self) -> Requests:
        """Requests that have ended; the batches are joined when they are first asked for."""
        joined = Requests.of(self.request_batches)
        self.request_batches = [vars(joined)]
        return joined

    def request_problem(self, start_s: float, stop_s: float) -> str | None:
        """Say why the requests are not all that were scheduled in [start, stop), once the job is done."""
        planned = None if self.load is None else self.load["planned"]
        if planned is not None and planned != len(self.requests):
            return f"{planned} requests were planned, but {len(self.requests)} were reported"
        return self.requests.problem(start_s, stop_s)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event, or note why it is not one."""
        name = str(event.get("event"))
        problem = _problem(name, event)
        if problem:
            self.problems.append(problem)
        elif name == "step":
            self.step_batches.append(event)
        elif name == "request":
            self.request_batches.append(event)
        elif getattr(self, name) is not None:
            self.problems.append(f"event {name!r} came twice")
        else:
            setattr(self, name, event)


class EventLog:
    """Follows one job's `events.jsonl` while the job writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.events = JobEvents()

    def read(self) -> JobEvents:
        """Take in the whole lines written since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return self.events
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)
        return self.events

    def _take(self, line: bytes) -> None:
        try:
            event = from_json(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            self.events.add(event)
        else:
            self.events.problems.append(f"not a JSON object: {line[:80]!r}")


def _problem(name: str, event: Mapping[str, Any]) -> str | None:
    if name not in _FIELDS:
        return f"unknown event {name!r}; known: {', '.join(_FIELDS)}"
    for key, kind in {"time_s": (int, float), **_FIELDS[name]}.items():
        if not isinstance(event.get(key), kind):
            return f"event {name!r}: field {key!r} is missing or of the wrong type"
    if name == "hello" and event["protocol"] != PROTOCOL:
        return (
            f"the job speaks protocol {event['protocol']}, this runner {PROTOCOL}; copy the newer workloads/job.py"
        )
    if name in ("ready", "step"):
        return _problem_with_steps(name, event["warmup"] if name == "ready" else event)
    if name == "request":
        return _problem_with_requests(event)
    if name == "hello" and not all(isinstance(version, str) for version in event["libraries"].values()):
        return "event 'hello': a version in 'libraries' is not text"
    if name == "identity" and not isinstance(event.get("allocatable_mib"), int | None):
        return "event 'identity': 'allocatable_mib' is not a whole number"
    if name == "done" and not isinstance(event.get("peak_memory_mib"), int | float | None):
        return "event 'done': 'peak_memory_mib' is not a number"
    return None


def _problem_with_steps(name: str, steps: Mapping[str, Any]) -> str | None:
    """Say why the columns are not finite numbers, one of each for every step."""
    for column in _COLUMNS:
        if not _is_numbers(steps.get(column)):
            return f"event {name!r}: {column!r} is not a list of finite numbers"
    if len({len(steps[column]) for column in _COLUMNS}) != 1:
        return f"event {name!r}: {', '.join(_COLUMNS)} differ in length"
    return _problem_with_wait(name, steps)


def _wait_s(batch: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the wait of each step of a batch, NaN where it is not known."""
    told = batch.get("wait_s")
    return np.full(len(batch["end_s"]), np.nan) if told is None else np.asarray(told, float)


def _problem_with_wait(name: str, steps: Mapping[str, Any]) -> str | None:
    """Say why the optional column is not, for every step, null or a part of its duration."""
    wait_s = steps.get("wait_s")
    if wait_s is None:
        return None
    if not isinstance(wait_s, list) or len(wait_s) != len(steps["duration_s"]):
        return f"event {name!r}: 'wait_s' is not a list as long as the others"
    told = [(wait, total) for wait, total in zip(wait_s, steps["duration_s"], strict=True) if wait is not None]
    if not _is_numbers([wait for wait, _ in told]) or any(not 0 <= wait <= total for wait, total in told):
        return f"event {name!r}: a step waited for a time that is not a part of its duration"
    return None


def _problem_with_requests(event: Mapping[str, Any]) -> str | None:
    """Say why the columns are not those of requests that ended after they were sent, and were sent when due."""
    if len({len(event[column]) for column in _REQUEST_COLUMNS}) != 1:
        return f"event 'request': {', '.join(_REQUEST_COLUMNS)} differ in length"
    if not all(isinstance(status, str) and status for status in event["status"]):
        return "event 'request': a status is not a word"
    latest_s = [
        done_s if sent_s is None else sent_s
        for sent_s, done_s in zip(event["sent_s"], event["done_s"], strict=True)
    ]
    numbers = {**event, "sent_s": latest_s}  # what was never sent has no instant
    for column in ("scheduled_s", "done_s", "sent_s", "items"):
        if not _is_numbers(numbers[column]):
            return f"event 'request': {column!r} is not a list of finite numbers"
    if any(
        sent_s is None and status == "ok" for sent_s, status in zip(event["sent_s"], event["status"], strict=True)
    ):
        return "event 'request': one that was never sent is 'ok'"
    instants_s = np.array([numbers[column] for column in ("scheduled_s", "sent_s", "done_s")], float)
    if (np.diff(instants_s, axis=0) < 0).any():
        return "event 'request': one was sent before it was scheduled, or done before it was sent"
    return None


def _is_numbers(column: object) -> bool:
    if not isinstance(column, list):
        return False
    try:
        values = np.asarray(column)
    except ValueError:  # lists of different lengths inside
        return False
    return values.ndim == 1 and values.dtype.kind in "iuf" and bool(np.isfinite(values).all())
