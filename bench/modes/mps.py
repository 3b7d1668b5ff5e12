"""CUDA MPS: a private daemon for this GPU, and jobs that are its clients.

MPS falls back silently: a client that finds no daemon simply takes time slices. So the daemon's own list of
clients is asked in every trial, and a thread percentage must show as a smaller SM count inside the tenant.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.device import Device
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.sm_counts import known_sm_count
from bench.gpu.smi import ComputeApp
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.gpu_mode import GpuMode
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState
from bench.modes.proof import (
    PIPE_VARIABLE,
    Look,
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
class MpsGpu(GpuMode):
    """An ordinary GPU with an MPS daemon of our own."""

    mode: Mps | MpsEqual
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _status: MpsStatus | None = None  # what the daemon said at the last look

    def __post_init__(self) -> None:
        self.pipe_directory = pipe_directory(self.device)
        self.control = MpsControl(self.device.tool_environment, self.pipe_directory)

    @property
    def servers(self) -> Sequence[int]:
        """The servers of our daemon, as it lists them."""
        return self._status.servers if self._status else ()

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

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the daemon's pipe directory, and its limits where the mode has any."""
        grant = self._grant(len(mix.jobs))
        return (grant,) * len(mix.jobs)

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check every tenant from the inside and, by the daemon's list of clients, from the outside.

        The daemon's server must be the one that the driver sees, and a thread percentage must show as fewer SMs.
        """
        look = self._look_at_tenants()
        apps = look.apps
        clients = frozenset(pid for server in self.servers for pid in self.control.client_list(server))
        return (
            *self._proof(look),
            *tenant_evidence(self.device, grants, identities, apps, self.servers),
            *(_by_client_list(seen, clients) for seen in identities),
            *(_by_process_table(seen, self.servers, apps) for seen in identities),
            *(_by_environment(seen, self.pipe_directory) for seen in identities if not seen.said_nothing),
        )

    def _look(self, last: Look | None = None) -> Look:
        """Ask daemon and driver side by side."""
        with ThreadPoolExecutor(1) as pool:
            daemon = pool.submit(self.control.status)
            seen = super()._look(last)
            self._status = daemon.result()
            return seen

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        percentage = self._status.default_active_thread_percentage if self._status else None
        answer = Evidence("MPS daemon answers: default thread percentage", 100.0, percentage,
                          Grade.READ_BACK, percentage == 100.0)  # fmt: skip
        state = state_evidence(seen.state, "Default", "Disabled")
        return (*state, server_evidence(seen.apps, self.servers), answer)

    def _grant(self, tenants: int) -> Grant:
        environment = {PIPE_VARIABLE: str(self.pipe_directory)}
        percentage = self.mode.active_thread_percentage if isinstance(self.mode, Mps) else 100 // tenants
        if percentage is not None:
            environment[PERCENTAGE_VARIABLE] = str(percentage)
        if isinstance(self.mode, MpsEqual) and self.device.memory_total_mib is not None:
            environment[MEMORY_LIMIT_VARIABLE] = f"0={self.device.memory_total_mib // tenants}M"
        return Grant(
            self.device.uuid,
            environment,
            (Mount(self.pipe_directory),),
            share=None if percentage is None else f"{percentage}%",
            sm_count=self._sm_count(percentage),
        )

    def _sm_count(self, percentage: int | None) -> int | None:
        whole = known_sm_count(self.device.name)
        return None if whole is None or percentage is None else whole_granules(whole, percentage)


def pipe_directory(device: Device) -> Path:
    """Return where our own daemon of this device listens; the folder is there as long as the daemon is."""
    return device.state_folder / "mps" / "pipe"


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
