"""A private MPS daemon for one CUDA device, the GPU or a MIG instance, and the proof that jobs are its clients.

MPS falls back silently: a client that finds no daemon simply takes time slices. So daemon and driver are asked in
every trial, two witnesses that do not know of each other.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.device import Device
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.smi import ComputeApp
from bench.modes.contract import Evidence, Grade, Identity
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState
from bench.modes.proof import look
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

    def ask(self) -> DaemonAnswer:
        """Ask it for its servers and their clients."""
        status = self.control.status()
        servers = status.servers if status else ()
        clients = (pid for server in servers for pid in self.control.client_list(server))
        return DaemonAnswer(status, frozenset(clients))

    def health(self, answer: DaemonAnswer) -> Evidence:
        """Check that it answers, and has no limit for all."""
        which = "MPS daemon" if self.number is None else f"MPS daemon {self.number}"
        percentage = answer.status.default_active_thread_percentage if answer.status else None
        return Evidence(f"{which} answers: default thread percentage", 100.0, percentage,
                        Grade.READ_BACK, percentage == 100.0)  # fmt: skip

    def membership(self, seen: Identity, answer: DaemonAnswer, apps: Sequence[ComputeApp]) -> Iterator[Evidence]:
        """Check that a tenant is its client: by its own list, by the driver's table, and by the tenant's word."""
        yield _by_client_list(seen, answer.clients)
        yield _by_process_table(seen, answer.servers, apps)
        if not seen.said_nothing:
            yield _by_environment(seen, self.pipe_directory)


def pipe_directory(device: Device, number: int | None = None) -> Path:
    """Return where our own daemon listens; the folder is there as long as the daemon is."""
    return device.state_folder / "mps" / f"pipe{'' if number is None else number}"


def stop_of(pipe: Path) -> Call:
    """Return what stops a daemon of ours; fine where none runs."""
    return Call("disable_mps", ("--pipe-directory", str(pipe)))


def daemons_left(device: Device) -> list[Path]:
    """Return the pipe directories of our daemons of this device that are there."""
    return sorted(pipe_directory(device).parent.glob("pipe*"))


def ask_all(
    device: Device, daemons: Sequence[MpsDaemon]
) -> tuple[list[DaemonAnswer], DeviceState, list[ComputeApp]]:
    """Ask daemons and driver side by side."""
    with ThreadPoolExecutor(max(1, len(daemons))) as pool:
        answers = [pool.submit(daemon.ask) for daemon in daemons]
        state, apps = look(device)
        return [answer.result() for answer in answers], state, apps


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
