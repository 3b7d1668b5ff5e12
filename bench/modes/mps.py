"""CUDA MPS: a private daemon for this GPU, and jobs that are its clients.

MPS falls back silently: a client that finds no daemon simply takes time slices. So the daemon's own list of
clients is asked in every trial, and a thread percentage must show as a smaller SM count inside the tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.device import Device
from bench.gpu.mps import MpsControl
from bench.gpu.sm_counts import known_sm_count
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState, observe
from bench.modes.proof import no_server_evidence, state_evidence, tenant_evidence
from bench.modes.switch import Switch
from bench.modes.whole import PIPE_VARIABLE, make_whole, restore_whole
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
        self._known_servers: tuple[int, ...] = ()
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
        percentage = self.control.default_active_thread_percentage()
        answer = Evidence("MPS daemon answers: default thread percentage", 100.0, percentage,
                          Grade.READ_BACK, percentage == 100.0)  # fmt: skip
        state = state_evidence(observe(self.device), "Default", "Disabled")
        self.evidence = (*state, no_server_evidence(self.device), answer)

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the daemon's pipe directory, and its limits where the mode has any."""
        grant = self._grant(len(mix.jobs))
        return (grant,) * len(mix.jobs)

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check every tenant from the inside and, by the daemon's list of clients, from the outside."""
        clients = frozenset(pid for server in self._servers() for pid in self.control.client_list(server))
        return (*tenant_evidence(self.device, grants, identities),
                *(_membership(seen, clients) for seen in identities))  # fmt: skip

    def _servers(self) -> tuple[int, ...]:
        """Return the daemon's servers; the first client starts one, and it stays until the daemon quits."""
        self._known_servers = self._known_servers or self.control.server_list()
        return self._known_servers

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
        return None if whole is None or percentage is None else whole * percentage // 100


def pipe_directory(device: Device) -> Path:
    """Return where our own daemon of this device listens; the folder is there as long as the daemon is."""
    return device.state_folder / "mps" / "pipe"


def _membership(seen: Identity, clients: frozenset[int]) -> Evidence:
    claim = f"{seen.tenant} is a client of the MPS server"
    found = sorted(clients.intersection(seen.host_pids))
    return Evidence(claim, list(seen.host_pids), found, Grade.READ_BACK, bool(found))
