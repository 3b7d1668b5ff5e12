"""What one trial left behind, complete in itself, and what holds for a whole run."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import RecordError
from bench.plan.catalog import ParameterValue
from bench.plan.mode import Mode
from bench.plan.model import Job
from bench.plan.schedule import Role

SCHEMA_VERSION: Final = 1


class Status(StrEnum):
    """What became of a trial; run-time facts only, never what statistics say."""

    OK = "ok"
    FAILED = "failed"  # the job's fault: out of memory, crash, time-out
    INVALID = "invalid"  # an instrument fault, or a mode that could not be proven
    SKIPPED = "skipped"  # the device cannot do it; `reason` says why


class Document(BaseModel):
    """One JSON document of a run, or a part of one; nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TenantRecord(Document):
    """One job of the trial: what was asked for, what ran, and what became of it."""

    name: str
    job: str  # label of the job: equal for equal jobs
    workload: str
    kind: str
    unit: str
    parameters: Mapping[str, ParameterValue]  # all of them, defaults included
    share: str | None  # part of the device it was granted; None: the whole device, unlimited
    cpus: tuple[int, ...] | None  # cores it was pinned to; None: not pinned
    memory_gb: float  # host memory limit
    exit_status: int | None = None
    error: str | None = None
    libraries: Mapping[str, str] = {}
    identity: Mapping[str, Any] | None = None
    provenance: Mapping[str, str | None] = {}
    peak_memory_mib: float | None = None
    reports: Literal["steps", "requests", "nothing"] = (
        "steps"  # nothing: no protocol, so neither progress nor latency is known
    )
    slo_s: float | None = None  # within which its users want an answer; None: nobody said
    duration_s: float | None = None  # of a program without the protocol, start to exit; None: it was cut off
    load: Mapping[str, Any] | None = None  # how the job made its load, where it makes one: planned, cpu_s, details


class WindowRecord(Document):
    """The declared window, in seconds after the common start instant."""

    settle_s: float
    stop_s: float


class TelemetryRecord(Document):
    """An account of the watching; the samples are in telemetry.parquet and energy.parquet."""

    requested_period_s: float | None
    achieved_period_s: float | None
    longest_gap_s: float | None
    reasons: Mapping[str, str]
    sources: Mapping[str, str]
    remarks: tuple[str, ...]


class HostRecord(Document):
    """Fields that differ between two executions of the same trial by nature: host time and host load."""

    started_at: str
    ended_at: str
    boot_id: str | None
    sampler_cpu_s: float | None = None
    cpu_busy: float | None = None
    """Share of the window in which the mean core of the host was busy; None where that was not watched."""


class TrialRecord(Document):
    """One execution of a cell. `trial.json` is this, and stands alone."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    id: str
    status: Status
    reason: str | None
    simulated: bool
    block: int
    mode: Mode
    mode_label: str
    role: Role
    mix: str
    mix_jobs: tuple[Job, ...]
    share: str | None
    seed: int
    longer: bool = False  # of a block measured once more with longer windows; it counts in place of the first time
    launcher: str
    tenants: tuple[TenantRecord, ...]
    window: WindowRecord | None
    device: Mapping[str, Any]
    software: Mapping[str, Any]
    evidence: tuple[Mapping[str, Any], ...]
    telemetry: TelemetryRecord | None
    flags: tuple[str, ...] = ()
    host: HostRecord


class SwitchingCall(Document):
    """One call of a shell helper in `gpu_configs/`; durations in seconds of the host's time."""

    phase: Literal["enter", "prepare", "leave"]
    helper: str
    options: tuple[str, ...]  # paths are left out
    duration_s: float
    succeeded: bool
    steps_s: Mapping[str, float] = {}  # what the helper itself timed: mode, create, destroy, start, stop
    instances: tuple[str, ...] = ()  # profiles of the MIG instances that were there afterwards, in plan order


class VisitRecord(Document):
    """What switching took in one visit to a mode. A visit that was resumed has a record for each part.

    `enter_s` and `leave_s` are None where entering or leaving did not end well, or not yet.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    block: int
    longer: bool = False
    mode: Mode
    mode_label: str
    simulated: bool
    began_at: str
    enter_s: float | None
    leave_s: float | None
    calls: tuple[SwitchingCall, ...]


class ClockLock(Document):
    """Where `--lock-clocks` locks the SM clock; the rest is None where the user named the frequency."""

    sm_clock_mhz: int
    sustained_mhz: float | None = None  # what the calibration stayed above for 95 % of its samples
    samples: int | None = None
    mode: str | None = None
    mix: str | None = None
    note: str | None = None


class RunRecord(Document):
    """What `--resume` and `report` need of a run besides its plan."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    simulated: bool
    plan_source: str
    modes: tuple[str, ...] | None  # what --mode named; None: the plan's own
    preset: bool
    seed: int
    device_request: str  # what finds this very device again: simulated:a100-80gb, cuda:GPU-…, cpu
    launcher_request: str
    allow_reset: bool
    clock_lock: ClockLock | None = None  # None: clocks are left alone
    device: Mapping[str, Any]
    software: Mapping[str, Any]
    inputs: Mapping[str, str] = {}  # SHA-256 of each file that the plan names, by the name it has there
    created_at: str


_R = TypeVar("_R", bound=Document)


def read(path: Path, kind: type[_R]) -> _R:
    """Read one document of a run; raises RecordError that says which way to fix it."""
    try:
        text = path.read_bytes()
        return kind.model_validate_json(text)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}; is this the folder of a run?") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RecordError(f"{path}: {place}: {first['msg']}; {_way_out(text)}") from error


def _way_out(text: bytes) -> str:
    """Say what to do about a record that cannot be read, by the schema that it claims to have."""
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError):
        return "the file is damaged: remove its folder, and measure it again with --resume"
    if version == SCHEMA_VERSION:
        return f"it claims schema {version} but is not as that says: it was edited by hand, or is damaged"
    return (
        f"it has schema {version}, this tool reads {SCHEMA_VERSION}: "
        "read it with the version of this tool that wrote it (`software` in the file names the commit)"
    )
