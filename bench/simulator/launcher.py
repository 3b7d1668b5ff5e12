"""The launcher's simulated twin: its jobs speak the real job protocol, in virtual time, from the board's law."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from pydantic_core import to_json

from bench.errors import SetupError
from bench.launch.contract import EVENTS_FILE, SLOWDOWN_VARIABLE, START_FILE, Handle, Tenant
from bench.launch.corun import Window
from bench.launch.events import PROTOCOL
from bench.plan.catalog import Workload
from bench.simulator.board import (
    CONTEXT_MIB,
    MEMORY_LIMIT_VARIABLE,
    PARTITION_VARIABLE,
    PERCENTAGE_VARIABLE,
    PIPE_VARIABLE,
    Board,
    Resident,
    profile_of,
    seen_sms,
    step_cost,
    step_noise,
)
from bench.simulator.driver import faults
from bench.simulator.driver.cuda import RefusedError, memory_limit_mib, memory_mib
from bench.simulator.driver.state import Client, DriverState, updated
from bench.simulator.requests import Users, users_of
from bench.simulator.serving import Server, Vector

STARTUP_S = 8.0  # imports and model building; assumed, and outside the window
WARMUP_STEPS = 20
MIB_PER_GB = 1e9 / 2**20
PROBE_VARIABLE = "BENCH_PROBE_MEMORY"
PROBE_STEP_MIB = 64


class SimulatedLauncher:
    """Starts jobs on a simulated board."""

    name = "simulated"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._running: dict[int, _SimulatedJob] = {}

    def preflight(self, workloads: Iterable[Workload]) -> None:
        """Raise SetupError for a command or image of the user's own: no profile says how it behaves."""
        unknown = [workload.name for workload in workloads if workload.simulation is None]
        if unknown:
            raise SetupError(
                f"{', '.join(unknown)}: a simulated device runs no programs, and nothing is known to simulate "
                "this by; use --device cuda, or --device cpu"
            )

    def provenance(self, workload: Workload) -> dict[str, str | None]:
        """Return where the numbers behind this workload come from."""
        return {"module": workload.module, "simulation": profile_of(workload).provenance}

    def start(self, tenant: Tenant) -> Handle:
        """Put a tenant on the board, as far as driver and memory let it."""
        self._board.clock.sleep(STARTUP_S)
        job = _SimulatedJob(tenant, self._board, self._running)
        job.begin()
        return job

    def clean_up(self) -> None:
        """Take off the board what a killed runner left on it."""
        with updated(self._board.state_file) as state:
            state.clients = []


@dataclass
class _SimulatedJob:
    """A tenant made of equations: a handle, and the event file a real job would have written."""

    tenant: Tenant
    board: Board
    running: dict[int, "_SimulatedJob"]  # all jobs on the board, this one included once it has the device
    pid: int = 0  # in the driver's state
    client: Client | None = None
    _status: int | None = None
    _window: Window | None = None

    def begin(self) -> None:
        """Say hello, take the device, warm up; or say what the driver refused."""
        with updated(self.board.state_file) as state:
            self.pid = state.take_pid()
            self._say("hello", protocol=PROTOCOL, pid=self.pid, libraries={})
            try:
                self._take_device(state)
            except RefusedError as refusal:
                state.remove_client(self.pid)
                kind = "oom" if "memory" in str(refusal) else "exception"
                self._say("error", kind=kind, message=str(refusal), traceback="")
                self._status = 1
                return
        self._warm_up()

    def exit_status(self) -> int | None:
        """Return None while the window lasts; the co-run is computed when a job is first looked at after it."""
        if self._status is None:
            self._window = self._window or self._read_window()
            if self._window and self.board.clock.monotonic_s() >= self._window.stop_s:
                self._run_together(self._window)
        return self._status

    def host_pids(self) -> tuple[int, ...]:
        """Return the process id in the driver's state."""
        return (self.pid,)

    def terminate(self) -> None:
        """End as a job does that is asked to."""
        self._status = 0 if self._status is None else self._status

    def remove(self) -> None:
        """Leave the board."""
        self.terminate()
        self.running.pop(self.pid, None)
        with updated(self.board.state_file) as state:
            state.remove_client(self.pid)

    def _take_device(self, state: DriverState) -> None:
        """Open a context and allocate; raises RefusedError in the driver's words."""
        grant = self.tenant.grant
        client = state.add_client(
            self.pid,
            self.tenant.workload.module or self.tenant.workload.name,
            grant.device_id or "",
            self._need_mib(),
            mps_pipe_directory=grant.environment.get(PIPE_VARIABLE),
            active_thread_percentage=_percentage(grant.environment.get(PERCENTAGE_VARIABLE)),
            sm_partition=grant.environment.get(PARTITION_VARIABLE),
        )
        self._fit_memory(state, client)
        self.client = client
        self.running[self.pid] = self
        self._identify(state, client)

    def _need_mib(self) -> int:
        return round(profile_of(self.tenant.workload).gpu_memory_gb * MIB_PER_GB) + CONTEXT_MIB

    def _fit_memory(self, state: DriverState, client: Client) -> None:
        """Raise RefusedError where the tenants together, or this one under its MPS limit, do not fit."""
        used = sum(other.memory_mib for other in state.clients if other.device == client.device)
        capacity = memory_mib(state, client.device)
        limit = self._limit_mib(state, client)
        if limit is not None and client.memory_mib > limit:
            raise RefusedError(f"CUDA out of memory: needs {client.memory_mib} MiB, the MPS limit is {limit} MiB")
        if used > capacity:
            raise RefusedError(f"CUDA out of memory: {used} MiB needed on a device of {capacity} MiB")

    def _limit_mib(self, state: DriverState, client: Client) -> int | None:
        """Return the limit under which this tenant is; without a daemon its variable limits nothing."""
        daemon = state.daemon_of(client)
        own = self.tenant.grant.environment.get(MEMORY_LIMIT_VARIABLE)
        return memory_limit_mib(daemon, own and own.removeprefix("0=")) if daemon else None

    def _allocatable_mib(self, state: DriverState, client: Client) -> int | None:
        """Return what a search in steps finds beside the others and its own context; None if not asked for."""
        if PROBE_VARIABLE not in self.tenant.grant.environment:
            return None
        others = [each for each in state.clients if each.device == client.device and each != client]
        free = memory_mib(state, client.device) - sum(other.memory_mib for other in others)
        limit = self._limit_mib(state, client)
        found = (free if limit is None else min(free, limit)) - CONTEXT_MIB
        return found // PROBE_STEP_MIB * PROBE_STEP_MIB

    def _identify(self, state: DriverState, client: Client) -> None:
        percentage, pipe = client.active_thread_percentage, client.mps_pipe_directory
        self._say(
            "identity",
            device_name=state.gpu_name,
            device_uuid=client.device,
            sm_count=seen_sms(state, client),
            memory_total_mib=memory_mib(state, client.device),
            mps_pipe_directory=pipe,
            mps_active_thread_percentage=percentage,
            allocatable_mib=self._allocatable_mib(state, client),
        )

    def _warm_up(self) -> None:
        """Warm up alone: jobs become ready one after another, and those that wait do not compute."""
        (mean_step_s,) = self.board.step_times([self._resident(at_work=True)])
        cv = profile_of(self.tenant.workload).step_cv
        duration = mean_step_s * step_noise(self.tenant.seed + 1, WARMUP_STEPS, cv)
        end = self.board.clock.monotonic_s() + np.cumsum(duration)
        self.board.clock.sleep(float(duration.sum()))
        items = [self._items_per_step()] * WARMUP_STEPS
        warmup = {"end_s": end.tolist(), "duration_s": duration.tolist(), "items": items}
        self._say("ready", warmup=warmup, autotune=None)

    def _run_together(self, window: Window) -> None:
        """Compute the co-run of all that is on the board; every job of it has then ended."""
        jobs = list(self.running.values())
        residents = [job._resident() for job in jobs]
        alike = self.board.step_times(residents)
        times = [time_s * job._slowdown() for job, time_s in zip(jobs, alike, strict=True)]
        self.board.occupy(window.start_s, window.stop_s, residents, times)
        for place, (job, mean_step_s) in enumerate(zip(jobs, times, strict=True)):
            if (users := users_of(job.tenant)) is None:
                job._finish(window, mean_step_s)
            else:
                there = [*residents[:place], job._resident(at_work=True), *residents[place + 1 :]]
                job._serve(window, users, self.board.step_times(there)[place] * job._slowdown())

    def _finish(self, window: Window, mean_step_s: float) -> None:
        """Write the steps of the whole co-run, the one in flight at its end included, and end."""
        profile = profile_of(self.tenant.workload)
        count = int((window.stop_s - window.start_s) / mean_step_s * 1.2) + 10
        duration = mean_step_s * step_noise(self.tenant.seed, count, profile.step_cv)
        if drift := faults.drift_of(str(self.tenant.folder)):
            duration *= 1 + drift * np.arange(count) * mean_step_s / (window.stop_s - window.start_s)
        end = window.start_s + np.cumsum(duration)
        steps = int(np.searchsorted(end, window.stop_s)) + 1
        items = self._items_per_step()
        self._say(
            "step",
            end_s=end[:steps].round(6).tolist(),
            duration_s=duration[:steps].round(6).tolist(),
            items=[items] * steps,
        )
        peak_mib = round(profile.gpu_memory_gb * MIB_PER_GB)
        self._say("done", steps=steps, items=items * steps, peak_memory_mib=peak_mib)
        self._status = 0

    def _serve(self, window: Window, users: Users, mean_service_s: float) -> None:
        """Write the requests of the whole co-run, each answered even where that is after the stop, and end."""
        profile = profile_of(self.tenant.workload)

        def service(count: int) -> Vector:
            return mean_service_s * step_noise(self.tenant.seed, count, profile.step_cv)

        if isinstance(users, Server) and self.tenant.parameters.get("search_max_rate"):
            found = users.search(float(self.tenant.parameters["slo_s"]), service)
            self._say("load", planned=None, cpu_s=0.0, details=found)
            count, items = 0, [0]
        else:
            sent, done, status = users.requests(window.start_s, window.stop_s, service)
            sent_s, done_s, count = sent.tolist(), done.tolist(), len(sent)
            items = [self._items_per_request()] * count
            self.board.clock.sleep(max(0.0, max(done_s, default=0.0) - self.board.clock.monotonic_s()))
            self._say("request", scheduled_s=sent_s, sent_s=sent_s, done_s=done_s, status=status, items=items)
        peak_mib = round(profile.gpu_memory_gb * MIB_PER_GB)
        self._say("done", steps=0, requests=count, items=sum(items), peak_memory_mib=peak_mib)
        self._status = 0

    def _resident(self, at_work: bool = False) -> Resident:
        """Return what is on the board; to its neighbours a job that waits for users has host time to the law."""
        if self.client is None:
            raise RuntimeError(f"{self.tenant.name} was refused by the driver and cannot run")
        cost = step_cost(self.tenant.workload, self.tenant.parameters)
        if not at_work and (users := users_of(self.tenant)) is not None:
            cost = replace(cost, host_s=cost.alone_s + users.pause_s(cost.alone_s))
        return Resident(self.client, cost)

    def _slowdown(self) -> float:
        """Return the factor by which the job makes its own steps longer, as the real job protocol does."""
        return 1 + float(self.tenant.grant.environment.get(SLOWDOWN_VARIABLE, 0))

    def _items_per_step(self) -> int:
        return int(str(self.tenant.parameters.get("batch_size", 1)))

    def _items_per_request(self) -> int:
        """Return the tokens of one generation, or 1."""
        return int(self.tenant.parameters["output_length"]) if self.tenant.workload.unit == "tokens" else 1

    def _read_window(self) -> Window | None:
        try:
            signal = json.loads((self.tenant.folder / START_FILE).read_text())
        except FileNotFoundError:
            return None
        return Window(signal["start_s"], signal["settle_s"], signal["stop_s"])

    def _say(self, event: str, **fields: object) -> None:
        line = {"event": event, "time_s": self.board.clock.monotonic_s(), **fields}
        with (self.tenant.folder / EVENTS_FILE).open("ab") as file:
            file.write(to_json(line) + b"\n")


def _percentage(text: str | None) -> float | None:
    return None if text is None else float(text)
