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


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TenantRecord(_Record):
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


class WindowRecord(_Record):
    """The declared window, in seconds after the common start instant."""

    settle_s: float
    stop_s: float


class TelemetryRecord(_Record):
    """An account of the watching; the samples are in telemetry.parquet and energy.parquet."""

    requested_period_s: float | None
    achieved_period_s: float | None
    longest_gap_s: float | None
    reasons: Mapping[str, str]
    sources: Mapping[str, str]
    remarks: tuple[str, ...]


class HostRecord(_Record):
    """Fields that differ between two executions of the same trial by nature: host time and host load."""

    started_at: str
    ended_at: str
    boot_id: str | None
    sampler_cpu_s: float | None = None


class TrialRecord(_Record):
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


class SwitchingCall(_Record):
    """One call of a shell helper in `gpu_configs/`; durations in seconds of the host's time."""

    phase: Literal["enter", "prepare", "leave"]
    helper: str
    options: tuple[str, ...]  # paths are left out
    duration_s: float
    succeeded: bool
    steps_s: Mapping[str, float] = {}  # what the helper itself timed: mode, create, destroy, start, stop
    instances: tuple[str, ...] = ()  # profiles of the MIG instances that were there afterwards, in plan order


class VisitRecord(_Record):
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


class ClockLock(_Record):
    """Where `--lock-clocks` locks the SM clock; the rest is None where the user named the frequency."""

    sm_clock_mhz: int
    sustained_mhz: float | None = None  # what the calibration stayed above for 95 % of its samples
    samples: int | None = None
    mode: str | None = None
    mix: str | None = None
    note: str | None = None


class RunRecord(_Record):
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
    created_at: str


class JobRate(_Record):
    """The rate that a job's `load` stands for, and the search that found the maximum it is a share of.

    The maximum is the highest Poisson rate at which 99 % of the requests were answered within `slo_s`, confirmed.
    """

    job: str
    load: float
    slo_s: float
    maximum_per_s: float
    rate_per_s: float
    mode_label: str  # in which the job ran, alone
    search: Mapping[str, Any]  # as the job tells it: probes, lowest failing rate, attainment


class Calibration(_Record):
    """What was found once, before the first block, and holds in all modes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    simulated: bool
    jobs: tuple[JobRate, ...]


class BlockNeed(_Record):
    """How many blocks one primary contrast asks for, by the spread of its log-ratios over the pilot."""

    mix: str
    metric: str
    mode: str
    baseline: str
    pilot_blocks: int  # in which both sides are ok
    log_sd: float
    blocks: int  # pilot included, before the cap


class BlockDecision(_Record):
    """How many blocks a run has in all, and what that was derived from; written once, after the pilot."""

    schema_version: Literal[1] = SCHEMA_VERSION
    pilot_blocks: int
    blocks: int
    most_blocks: int
    target: float  # half-width of the 95 % interval, as a share of the true ratio
    needs: tuple[BlockNeed, ...]

    @property
    def capped(self) -> bool:
        """Whether some contrast needs more blocks than the cap allows."""
        return any(need.blocks > self.blocks for need in self.needs)


class UnsteadyWindow(_Record):
    """One tenant's declared window that did not hold a level, and so what its block is measured once more for."""

    block: int
    trial: str
    tenant: str
    flag: str
    reason: str


class RepeatDecision(_Record):
    """Which of the first `judged_blocks` blocks are measured once more, longer, and why.

    Written when a stage of blocks is complete, and extended, never changed, by the next.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    judged_blocks: int = 0
    unsteady: tuple[UnsteadyWindow, ...] = ()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are repeated; from then on their first measurement is shown and does not count."""
        return tuple(sorted({window.block for window in self.unsteady}))


def rates_of(calibration: Calibration | None) -> dict[str, float]:
    """Return the rate (requests a second) of each job that has a load, by its label."""
    return {job.job: job.rate_per_s for job in calibration.jobs} if calibration else {}


def read_trial(path: Path) -> TrialRecord:
    """Read one trial.json; raises RecordError that says which way to fix it."""
    return _read(path, TrialRecord)


def read_run(path: Path) -> RunRecord:
    """Read a run.json; raises RecordError that says which way to fix it."""
    return _read(path, RunRecord)


def read_visit(path: Path) -> VisitRecord:
    """Read one file of visits/; raises RecordError that says which way to fix it."""
    return _read(path, VisitRecord)


def read_decision(path: Path) -> BlockDecision:
    """Read a blocks.json; raises RecordError that says which way to fix it."""
    return _read(path, BlockDecision)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.json; raises RecordError that says which way to fix it."""
    return _read(path, Calibration)


def read_repeats(path: Path) -> RepeatDecision:
    """Read a repeats.json; raises RecordError that says which way to fix it."""
    return _read(path, RepeatDecision)


_R = TypeVar("_R", TrialRecord, RunRecord, VisitRecord, BlockDecision, Calibration, RepeatDecision)


def _read(path: Path, kind: type[_R]) -> _R:
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
