"""CUDA MPS: a private daemon for this GPU, and jobs that are its clients.

MPS falls back silently: a client that finds no daemon simply takes time slices. So the daemon's own list of
clients is asked in every trial, and a thread percentage must show as a smaller SM count inside the tenant.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ModeUnavailable
from bench.gpu.device import Device
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.sm_counts import known_sm_count
from bench.gpu.smi import ComputeApp
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState
from bench.modes.proof import (
    PIPE_VARIABLE,
    PROBE_VARIABLE,
    look,
    server_evidence,
    state_evidence,
    tenant_evidence,
    whole_granules,
)
from bench.modes.switch import Switch
from bench.modes.whole import make_whole, restore_whole
from bench.plan.mode import Mps, MpsEqual
from bench.plan.model import Mix

PERCENTAGE_VARIABLE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY_LIMIT_VARIABLE = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"


@dataclass
class MpsGpu:
    """An ordinary GPU with an MPS daemon of our own."""

    mode: Mps | MpsEqual
    switch: Switch
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        self.pipe_directory = pipe_directory(self.device)
        self.control = MpsControl(self.device.tool_environment, self.pipe_directory)

    @property
    def device(self) -> Device:
        """The device this mode is for."""
        return self.switch.device

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what stops our daemon and puts back the state that was found."""
        stop = Call("disable_mps", ("--pipe-directory", str(self.pipe_directory)))
        return (stop, *restore_whole(before, self.switch.allow_reset))

    def apply(self, before: DeviceState) -> None:
        """Make the GPU an ordinary one, then start the daemon."""
        if not before.is_whole:
            make_whole(self.switch, before)
        logs = self.pipe_directory.with_name("log")
        folders = ("--pipe-directory", str(self.pipe_directory), "--log-directory", str(logs))
        self.switch.run(Call("enable_mps", folders))

    def verify(self) -> None:
        """Ask device and daemon again."""
        status, _, state, apps = self._ask()
        self.evidence = self._device_evidence(status, state, apps)

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the daemon's pipe directory, and its limits where the mode has any."""
        jobs = len(mix.jobs)
        if why := too_much_memory(self.mode, self.device, jobs):
            raise ModeUnavailable(f"{why}; lower memory_limit_gib in the plan")
        return tuple(self._grant(slot, jobs) for slot in range(jobs))

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check every tenant from the inside and, by the daemon's list of clients, from the outside.

        The daemon's server must be the one that the driver sees, and a thread percentage must show as fewer SMs.
        """
        status, clients, state, apps = self._ask()
        servers = status.servers if status else ()
        return (
            *self._device_evidence(status, state, apps),
            *tenant_evidence(self.device, grants, identities, apps),
            *(_by_client_list(seen, clients) for seen in identities),
            *(_by_process_table(seen, servers, apps) for seen in identities),
            *(_by_environment(seen, self.pipe_directory) for seen in identities if not seen.said_nothing),
        )

    def _ask(self) -> tuple[MpsStatus | None, frozenset[int], DeviceState, list[ComputeApp]]:
        """Ask daemon and driver side by side."""
        with ThreadPoolExecutor(1) as pool:
            daemon = pool.submit(self._ask_daemon)
            state, apps = look(self.device)
            return (*daemon.result(), state, apps)

    def _ask_daemon(self) -> tuple[MpsStatus | None, frozenset[int]]:
        """Return what the daemon says of itself, and the clients of its servers."""
        status = self.control.status()
        servers = status.servers if status else ()
        return status, frozenset(pid for server in servers for pid in self.control.client_list(server))

    def _device_evidence(
        self, status: MpsStatus | None, state: DeviceState, apps: Sequence[ComputeApp]
    ) -> tuple[Evidence, ...]:
        percentage = status.default_active_thread_percentage if status else None
        answer = Evidence("MPS daemon answers: default thread percentage", 100.0, percentage,
                          Grade.READ_BACK, percentage == 100.0)  # fmt: skip
        servers = status.servers if status else ()
        return (*state_evidence(state, "Default", "Disabled"), server_evidence(apps, servers), answer)

    def _grant(self, slot: int, tenants: int) -> Grant:
        environment = {PIPE_VARIABLE: str(self.pipe_directory)}
        percentage = self.mode.percentage_of(slot) if isinstance(self.mode, Mps) else 100 // tenants
        limit_mib = _limit_mib(self.mode, self.device, slot, tenants)
        if percentage is not None:
            environment[PERCENTAGE_VARIABLE] = str(percentage)
        if limit_mib is not None:
            environment |= {MEMORY_LIMIT_VARIABLE: f"0={limit_mib}M", PROBE_VARIABLE: "1"}
        return Grant(
            self.device.uuid,
            environment,
            (Mount(self.pipe_directory),),
            share=None if percentage is None else f"{percentage}%",
            sm_count=self._sm_count(percentage),
            memory_limit_mib=limit_mib,
        )

    def _sm_count(self, percentage: int | None) -> int | None:
        whole = known_sm_count(self.device.name)
        return None if whole is None or percentage is None else whole_granules(whole, percentage)


def pipe_directory(device: Device) -> Path:
    """Return where our own daemon of this device listens; the folder is there as long as the daemon is."""
    return device.state_folder / "mps" / "pipe"


def too_much_memory(mode: Mps | MpsEqual, device: Device, jobs: int) -> str | None:
    """Say by how much the memory limits of this many jobs exceed the device; None where they fit, if known."""
    limits_mib = [_limit_mib(mode, device, slot, jobs) or 0 for slot in range(jobs)]
    if device.memory_total_mib is None or sum(limits_mib) <= device.memory_total_mib:
        return None
    total = f"{device.name} has {device.memory_total_mib} MiB"
    return f"the memory limits of {mode.label} add up to {sum(limits_mib)} MiB for {jobs} jobs, and {total}"


def _limit_mib(mode: Mps | MpsEqual, device: Device, slot: int, jobs: int) -> int | None:
    """Return the memory limit of one job of a mix."""
    if isinstance(mode, Mps):
        return mode.memory_limit_mib_of(slot)
    return None if device.memory_total_mib is None else device.memory_total_mib // jobs


def _by_client_list(seen: Identity, clients: frozenset[int]) -> Evidence:
    claim = f"{seen.tenant} is a client of the MPS server, by the daemon's list"
    found = sorted(clients.intersection(seen.host_pids))
    return Evidence(claim, list(seen.host_pids), found, Grade.READ_BACK, bool(found))


def _by_process_table(seen: Identity, servers: Sequence[int], apps: Sequence[ComputeApp]) -> Evidence:
    """Look for our server beside the tenant in the driver's table; a tenant alone there takes time slices.

    Where this runs in a container the table shows no process of ours, and cannot contradict.
    """
    listed = {app.pid for app in apps}
    ours = sorted(listed.intersection(servers))
    blind = not ours and not listed.intersection(seen.host_pids)
    claim = f"our MPS server computes beside {seen.tenant}, by the driver's process table"
    claim += ", which shows no process of ours" if blind else ""
    return Evidence(claim, sorted(servers), ours, Grade.REQUESTED_ONLY if blind else Grade.READ_BACK,
                    blind or bool(ours))  # fmt: skip


def _by_environment(seen: Identity, pipe: Path) -> Evidence:
    found = seen.mps_pipe_directory
    claim = f"{seen.tenant} looks for the daemon in our pipe directory"
    return Evidence(claim, str(pipe), found, Grade.SEEN_BY_TENANT, found in (None, str(pipe)))
