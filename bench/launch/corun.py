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
SILENT_POLL_S = 0.2  # how exactly the duration of a program without the protocol is known
SILENT_PROOF_S = 60.0  # such a program cannot say when it has the device: the driver may list it late
ENDED_EARLY_FLAG = "program_ended_in_window"


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
    duration_s: float | None = None
    """Start to exit, of a program without the protocol that ended by itself."""


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

    @property
    def flags(self) -> tuple[str, ...]:
        """Remarks on the overlap: a program without the protocol left the others alone for part of the window."""
        reports = {each.tenant.workload.reports for each in self.outcomes}
        early = any(each.duration_s is not None for each in self.outcomes)
        return (ENDED_EARLY_FLAG,) if early and len(reports) > 1 else ()


@dataclass
class _Running:
    """A started tenant, or one that could not be started, with what it has said so far."""

    tenant: Tenant
    log: EventLog
    clock: Clock
    began_s: float
    ended_s: float | None = None
    handle: Handle | None = None
    error: str | None = None
    exit_status: int | None = None
    told_to_end: bool = False

    @property
    def silent(self) -> bool:
        """Whether the program does not speak the protocol: it is ready at once, and may end when it likes."""
        return _is_silent(self.tenant)

    def lost(self) -> bool:
        """Whether the job is over before its time; a silent one may be, unless it failed."""
        return self.ended() and not (self.silent and self.exit_status == 0)

    def ended(self) -> bool:
        """Whether the job is over; remembers its exit status."""
        if self.handle is not None and self.exit_status is None:
            self.exit_status = self.handle.exit_status()
            self.ended_s = None if self.exit_status is None else self.clock.monotonic_s()
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
        job = _Running(tenant, EventLog(tenant.folder / EVENTS_FILE), self.clock, self.clock.monotonic_s())
        self.running.append(job)
        try:
            job.handle = self.launcher.start(tenant)
        except LaunchError as error:
            job.error = str(error)
            return False
        deadline_s = self.clock.monotonic_s() + self.deadlines.ready_s
        while not job.silent and job.log.read().ready is None:
            if any(each.lost() for each in self.running):
                return job.log.read().ready is not None
            if self.clock.monotonic_s() > deadline_s:
                job.error = f"not ready {self.deadlines.ready_s:g} s after its start{_last_words(tenant.log_file)}"
                return False
            self.clock.sleep(POLL_S)
        return True

    def start_all(self, tenants: Sequence[Tenant]) -> bool:
        """Start them, programs without the protocol last: they are ready at once and work at once."""
        if not all(self.start(tenant) for tenant in sorted(tenants, key=_is_silent)):
            return False
        self.running.sort(key=lambda job: tenants.index(job.tenant))
        return True

    def prove(self, confirm: Confirm) -> tuple[Evidence, ...]:
        """Confirm what the tenants saw; a silent one is given time to be listed by the driver."""
        deadline_s = self.clock.monotonic_s() + SILENT_PROOF_S
        while True:
            found = tuple(confirm([_identity(job) for job in self.running]))
            may_change = any(job.silent and not job.ended() for job in self.running)
            if all(each.holds for each in found) or not may_change or self.clock.monotonic_s() > deadline_s:
                return found
            self.clock.sleep(RUN_POLL_S)

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
        """Wait until every job has ended; as soon as one is lost before the window ends, end the others, too.

        A program without the protocol does not know the stop: what is left of it then is not waited for.
        """
        poll_s = SILENT_POLL_S if any(job.silent for job in self.running) else RUN_POLL_S
        while awaited := [job for job in self.running if not job.ended()]:
            now_s = self.clock.monotonic_s()
            some_ended = len(awaited) < len(self.running)
            if some_ended and now_s < window.stop_s and any(job.lost() for job in self.running):
                return
            if now_s >= window.stop_s and all(job.silent for job in awaited):
                return
            if now_s > window.stop_s + self.deadlines.end_s:
                self._blame_late_ones()
                return
            left_s = window.stop_s - now_s
            self.clock.sleep(min(poll_s, left_s) if left_s > 0 else POLL_S)

    def _blame_late_ones(self) -> None:
        for job in self.running:
            if not job.ended() and not job.silent:
                job.error = f"still ran {self.deadlines.end_s:g} s after the window"

    def overlap(self, window: Window) -> Window:
        """Return the span that counts: as declared, but if all are silent that in which all were at work."""
        if not all(job.silent for job in self.running):
            return window
        began_s = max(job.began_s for job in self.running)
        ends_s = [job.ended_s for job in self.running if job.ended_s is not None]
        return Window(began_s, began_s, max(began_s, min([window.stop_s, *ends_s])))

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
        by_itself = job.silent and job.exit_status == 0 and not job.told_to_end
        duration_s = job.ended_s - job.began_s if by_itself and job.ended_s is not None else None
        return Outcome(job.tenant, job.exit_status, events, error, told_to_end, duration_s)


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
        if trial.start_all(tenants):
            result.evidence = trial.prove(confirm)
            if all(evidence.holds for evidence in result.evidence):
                result.window = trial.release(timing)
                trial.wait(result.window)
                result.window = trial.overlap(result.window)
    finally:
        with uninterrupted():
            trial.remove_all()
    result.clock_step_s = clock.wall_offset_s() - wall_offset_s
    result.outcomes = tuple(trial.outcome(job, result.window) for job in trial.running)
    return result


def _is_silent(tenant: Tenant) -> bool:
    return tenant.workload.reports == "nothing"


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
    if window is None or job.silent:
        return None
    if job.told_to_end:
        return "ended because another job of the trial was lost"
    if job.tenant.workload.reports == "requests":
        return _request_fault(events, window)
    if not len(events.steps) or events.steps.end_s[-1] < window.stop_s:
        return "ended before the window did"
    return None


def _request_fault(events: JobEvents, window: Window) -> str | None:
    """Judge a job of requests: it goes on until the stop, and reports all that it scheduled."""
    if events.done is None or events.done["time_s"] < window.stop_s:
        return "ended before the window did"
    return events.request_problem(window.start_s, window.stop_s)


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
