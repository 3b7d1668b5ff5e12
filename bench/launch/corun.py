"""Running the tenants of one trial side by side, under whichever launcher.

Jobs are started and become ready one after another, so that autotuning is uncontended; they are released
together, run through the declared window [start + settle, stop], and end by themselves after it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.clock import Clock
from bench.errors import LaunchError
from bench.interrupts import uninterrupted
from bench.launch.contract import EVENTS_FILE, START_FILE, Handle, Launcher, Tenant
from bench.launch.events import PROTOCOL, EventLog, JobEvents
from bench.modes.contract import Evidence, Identity
from bench.plan.model import Timing

START_NOTICE_S = 0.5  # the start signal is written this long before the start instant
POLL_S = 0.05
RUN_POLL_S = 1.0


@dataclass(frozen=True)
class Deadlines:
    """How long jobs may take at both ends of a trial, in seconds."""

    ready_s: float = 600.0  # from start to `ready`: imports, model building, autotuning
    end_s: float = 120.0  # from stop to exit: the step in flight at stop is completed


DEADLINES = Deadlines()
Confirm = Callable[[Sequence[Identity]], Sequence[Evidence]]


@dataclass(frozen=True)
class Window:
    """Instants on CLOCK_MONOTONIC: common start, and the window that counts from settle to stop."""

    start_s: float
    settle_s: float
    stop_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of one tenant; `error` is None where the job did all that it should.

    A tenant that was `told_to_end` is not to blame: another one was lost first.
    """

    tenant: Tenant
    exit_status: int | None
    events: JobEvents
    error: str | None
    told_to_end: bool


@dataclass
class CoRun:
    """What became of a trial's tenants. `window` is None where they were never released together."""

    outcomes: tuple[Outcome, ...] = ()
    window: Window | None = None
    evidence: tuple[Evidence, ...] = ()
    clock_step_s: float = 0.0  # how far the wall clock was set, or the host slept, meanwhile

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong, one line a tenant; those to blame come first."""
        lost = sorted((each for each in self.outcomes if each.error), key=lambda each: each.told_to_end)
        return tuple(f"{outcome.tenant.name}: {outcome.error}" for outcome in lost)


@dataclass
class _Running:
    """A started tenant, or one that could not be started, with what it has said so far."""

    tenant: Tenant
    log: EventLog
    handle: Handle | None = None
    error: str | None = None
    exit_status: int | None = None
    told_to_end: bool = False

    def ended(self) -> bool:
        """Whether the job is over; remembers its exit status."""
        if self.handle is not None and self.exit_status is None:
            self.exit_status = self.handle.exit_status()
        return self.handle is None or self.exit_status is not None


@dataclass
class _Trial:
    """The tenants of one trial on their way from start to outcome."""

    launcher: Launcher
    clock: Clock
    deadlines: Deadlines
    running: list[_Running] = field(default_factory=list)

    def start(self, tenant: Tenant) -> bool:
        """Start one tenant and wait until it is ready; False if it, or one started before it, was lost."""
        job = _Running(tenant, EventLog(tenant.folder / EVENTS_FILE))
        self.running.append(job)
        try:
            job.handle = self.launcher.start(tenant)
        except LaunchError as error:
            job.error = str(error)
            return False
        deadline_s = self.clock.monotonic_s() + self.deadlines.ready_s
        while job.log.read().ready is None:
            if any(each.ended() for each in self.running):
                return job.log.read().ready is not None
            if self.clock.monotonic_s() > deadline_s:
                job.error = f"not ready {self.deadlines.ready_s:g} s after its start{_last_words(tenant.log_file)}"
                return False
            self.clock.sleep(POLL_S)
        return True

    def release(self, timing: Timing) -> Window:
        """Name one start instant, a little in the future, to all jobs."""
        start_s = self.clock.monotonic_s() + START_NOTICE_S
        settle_s = start_s + timing.settle_s
        window = Window(start_s, settle_s, settle_s + timing.window_s)
        signal = {"protocol": PROTOCOL, **vars(window)}
        for job in self.running:
            _write_atomically(job.tenant.folder / START_FILE, json.dumps(signal))
        return window

    def wait(self, window: Window) -> None:
        """Wait until every job has ended; as soon as one ends before the window does, end the others, too."""
        while not all(job.ended() for job in self.running):
            now_s = self.clock.monotonic_s()
            if now_s < window.stop_s and any(job.ended() for job in self.running):
                return
            if now_s > window.stop_s + self.deadlines.end_s:
                self._blame_late_ones()
                return
            left_s = window.stop_s - now_s
            self.clock.sleep(min(RUN_POLL_S, left_s) if left_s > 0 else POLL_S)

    def _blame_late_ones(self) -> None:
        for job in self.running:
            if not job.ended():
                job.error = f"still ran {self.deadlines.end_s:g} s after the window"

    def remove_all(self) -> None:
        """End what still runs and remove what was created; all jobs are asked first, then each is waited for."""
        handles = [(job, job.handle) for job in self.running if job.handle is not None]
        for job, handle in handles:
            if not job.ended():
                job.told_to_end = True
                handle.terminate()
        for job, handle in handles:
            handle.remove()
            job.ended()

    def outcome(self, job: _Running, window: Window | None) -> Outcome:
        """Say what became of one tenant."""
        events = job.log.read()
        error = job.error or _fault(job, events, window)
        told_to_end = job.told_to_end and job.error is None
        return Outcome(job.tenant, job.exit_status, events, error, told_to_end)


def co_run(
    launcher: Launcher,
    tenants: Sequence[Tenant],
    timing: Timing,
    clock: Clock,
    confirm: Confirm,
    deadlines: Deadlines = DEADLINES,
) -> CoRun:
    """Run the tenants side by side once; never raises for what a job does, and always leaves nothing running."""
    trial, result = _Trial(launcher, clock, deadlines), CoRun()
    wall_offset_s = clock.wall_offset_s()
    try:
        if all(trial.start(tenant) for tenant in tenants):
            result.evidence = tuple(confirm([_identity(job) for job in trial.running]))
            if all(evidence.holds for evidence in result.evidence):
                result.window = trial.release(timing)
                trial.wait(result.window)
    finally:
        with uninterrupted():
            trial.remove_all()
    result.clock_step_s = clock.wall_offset_s() - wall_offset_s
    result.outcomes = tuple(trial.outcome(job, result.window) for job in trial.running)
    return result


def _identity(job: _Running) -> Identity:
    seen = job.log.events.identity or {}
    told = Identity.__dataclass_fields__.keys() - {"tenant", "host_pids"}  # these two are not for a job to say
    known = {key: seen[key] for key in told if key in seen}
    pids = job.handle.host_pids() if job.handle else ()
    return Identity(tenant=job.tenant.name, host_pids=pids, **known)


def _fault(job: _Running, events: JobEvents, window: Window | None) -> str | None:
    """Say what a job did wrong, most telling first; None where nothing."""
    if events.error is not None:
        return f"{events.error['kind']}: {events.error['message']}"
    if events.problems:
        return f"broke the job protocol: {events.problems[0]}"
    if job.exit_status not in (None, 0) and not job.told_to_end:
        return f"exit status {job.exit_status}{_last_words(job.tenant.log_file)}"
    if window is None:
        return None
    if job.told_to_end:
        return "ended because another job of the trial was lost"
    if not len(events.steps) or events.steps.end_s[-1] < window.stop_s:
        return "ended before the window did"
    return None


def _last_words(log_file: Path, lines: int = 5) -> str:
    try:
        words = log_file.read_text(errors="replace").strip().splitlines()[-lines:]
    except OSError:
        return ""
    return "; its last words: " + " | ".join(words) if words else "; it printed nothing"


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
