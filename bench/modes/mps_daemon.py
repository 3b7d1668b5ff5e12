"""A private MPS daemon for one CUDA device, the GPU or a MIG instance, and the proof that jobs are its clients.

MPS falls back silently: a client that finds no daemon simply takes time slices. So daemon and driver are asked in
every trial, two witnesses that do not know of each other.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.device import Device
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.smi import ComputeApp
from bench.modes.contract import Evidence, Grade, Grant, Identity
from bench.modes.gpu_mode import GpuMode
from bench.modes.helpers import Call
from bench.modes.proof import PIPE_VARIABLE, Look, server_evidence, tenant_evidence
from bench.modes.switch import Switch


@dataclass(frozen=True)
class DaemonAnswer:
    """What a daemon says of itself, None where none answers, and the clients of its servers."""

    status: MpsStatus | None
    clients: frozenset[int]

    @property
    def servers(self) -> tuple[int, ...]:
        """The pids of its servers."""
        return self.status.servers if self.status else ()


@dataclass(frozen=True)
class MpsDaemon:
    """Our daemon; `number` tells those of several MIG instances apart."""

    switch: Switch
    number: int | None = None

    @property
    def pipe_directory(self) -> Path:
        """Where it listens."""
        return pipe_directory(self.switch.device, self.number)

    @property
    def control(self) -> MpsControl:
        """The door to it."""
        return MpsControl(self.switch.device.tool_environment, self.pipe_directory)

    @property
    def undo(self) -> Call:
        """What stops it."""
        return stop_of(self.pipe_directory)

    def start(self, *options: str) -> dict[str, str]:
        """Start it, wait until it is healthy, and return the helper's result; one that is as asked stays."""
        logs = self.pipe_directory.with_name(self.pipe_directory.name.replace("pipe", "log"))
        folders = ("--pipe-directory", str(self.pipe_directory), "--log-directory", str(logs))
        return self.switch.run(Call("enable_mps", (*folders, *options)))

    def ask(self, clients: bool) -> DaemonAnswer:
        """Ask it for its servers and, where that is of interest, their clients."""
        status = self.control.status()
        servers = status.servers if status and clients else ()
        found = (pid for server in servers for pid in self.control.client_list(server))
        return DaemonAnswer(status, frozenset(found))

    def health(self, answer: DaemonAnswer) -> Evidence:
        """Check that it answers, and has no limit for all."""
        which = "MPS daemon" if self.number is None else f"MPS daemon {self.number}"
        percentage = answer.status.default_active_thread_percentage if answer.status else None
        return Evidence(f"{which} answers: default thread percentage", 100.0, percentage,
                        Grade.READ_BACK, percentage == 100.0)  # fmt: skip


def pipe_directory(device: Device, number: int | None = None) -> Path:
    """Return where our own daemon listens; the folder is there as long as the daemon is."""
    return device.state_folder / "mps" / f"pipe{'' if number is None else number}"


def stop_of(pipe: Path) -> Call:
    """Return what stops a daemon of ours; fine where none runs."""
    return Call("disable_mps", ("--pipe-directory", str(pipe)))


def daemons_left(device: Device) -> list[Path]:
    """Return the pipe directories of our daemons of this device that are there."""
    return sorted(pipe_directory(device).parent.glob("pipe*"))


class ServedGpu(GpuMode):
    """A mode in which MPS daemons of ours serve the jobs."""

    _answers: tuple[DaemonAnswer, ...] = ()  # what each daemon said at the last look

    @property
    @abstractmethod
    def daemons(self) -> Sequence[MpsDaemon]:
        """Our daemons."""

    @property
    def servers(self) -> Sequence[int]:
        """The servers of our daemons, as they list them."""
        return [server for answer in self._answers for server in answer.servers]

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check every tenant from the inside and, by the daemons' lists of clients, from the outside.

        The servers must be those that the driver sees, and a share of the SMs must show as fewer SMs.
        """
        seen = self._look_at_tenants()
        return (
            *self._proof(seen),
            *tenant_evidence(self.device, grants, identities, seen.apps, self.servers),
            *self._membership(grants, identities, seen),
        )

    def _look(self, last: Look | None = None) -> Look:
        """Ask daemons and driver side by side; after a look at rest nobody is a client, so none is sought."""
        with ThreadPoolExecutor(max(1, len(self.daemons))) as pool:
            answers = [pool.submit(daemon.ask, clients=last is None) for daemon in self.daemons]
            seen = super()._look(last)
            self._answers = tuple(answer.result() for answer in answers)
            return seen

    def _service(self, seen: Look) -> tuple[Evidence, ...]:
        """Check that our daemons answer, and that nobody else's server is there."""
        health = (daemon.health(answer) for daemon, answer in zip(self.daemons, self._answers, strict=True))
        return (server_evidence(seen.apps, self.servers), *health)

    def _membership(
        self, grants: Sequence[Grant], identities: Sequence[Identity], seen: Look
    ) -> Iterator[Evidence]:
        """Check that each tenant is a client of the daemon whose pipe directory it was given."""
        serving = dict(zip((str(daemon.pipe_directory) for daemon in self.daemons), self._answers, strict=True))
        for grant, tenant in zip(grants, identities, strict=True):
            pipe = grant.environment[PIPE_VARIABLE]
            yield from _membership(tenant, Path(pipe), serving[pipe], seen.apps)


def _membership(
    seen: Identity, pipe: Path, answer: DaemonAnswer, apps: Sequence[ComputeApp]
) -> Iterator[Evidence]:
    """Check that a tenant is a client: by the daemon's list, by the driver's table, and by the tenant's word."""
    yield _by_client_list(seen, answer.clients)
    yield _by_process_table(seen, answer.servers, apps)
    if not seen.said_nothing:
        yield _by_environment(seen, pipe)


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
