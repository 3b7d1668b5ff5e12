"""The driver's memory: a small text file, one fact a line, shared by stand-in tools and simulated launcher.

Readers take the file as it is (it is only ever replaced whole); writers hold a lock beside it. The module
keeps its imports few, because every call of a stand-in tool pays for them.
"""

from __future__ import annotations

import os

from .models import MODELS, Model, Profile
from .row import Row, from_word, kinds, to_word

FIRST_PID = 4194305
"""Above every `pid_max` that Linux allows (2^22): no signal to a modelled process can hit a real one."""
SERVER_MEMORY_MIB = 30
MPS_CLIENT_LIMIT = 48
"""Clients of one MPS server from Volta to CUDA 13.0; the modelled driver is R580."""
SM_GRANULE = 2


class RefusedError(Exception):
    """The modelled CUDA driver turned a client away; the text is the name of the CUDA error."""


class Client(Row):
    """A process with a context on the device: a GPU or a MIG instance, named by UUID."""

    pid: int
    name: str
    device: str
    memory_mib: int
    mps_pipe_directory: str | None = None
    active_thread_percentage: float | None = None


class Daemon(Row):
    """An MPS control daemon; its server appears with the first client and stays."""

    pid: int
    pipe_directory: str
    device: str
    active_thread_percentage: float = 100.0
    server_pid: int | None = None
    server_uid: int | None = None
    server_percentage: float = 100.0


class ComputeInstance(Row):
    """Compute slices of a GPU instance: what `nvidia-smi -L` lists as a MIG device."""

    id: int
    slices: int
    start: int
    uuid: str


class GpuInstance(Row):
    """A cut of the GPU, with the compute instances in it."""

    id: int
    profile_id: int
    start: int
    compute: tuple[ComputeInstance, ...] = ()


class DriverState:
    """All that the modelled driver remembers of its one GPU."""

    model_key: str
    gpu_uuid: str
    mig_enabled: bool = False
    mig_pending: bool = False
    compute_mode: str = "Default"
    persistence: bool = True
    privileged: bool = True
    """Whether the caller may change the device, as root may."""
    holder: str | None = None
    """A process that holds the device without computing on it: a monitor, the persistence daemon."""
    next_pid: int = FIRST_PID

    def __init__(self, model: str, gpu_uuid: str) -> None:
        self.model_key = model
        self.gpu_uuid = gpu_uuid
        self.instances: list[GpuInstance] = []
        self.daemons: list[Daemon] = []
        self.clients: list[Client] = []

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DriverState:
        """Read the state from `path`; FileNotFoundError if there is none."""
        with open(path, encoding="utf-8") as file:
            return cls.from_text(file.read())

    @classmethod
    def from_text(cls, text: str) -> DriverState:
        """Rebuild the state from what `to_text` gave."""
        state, known = cls("", ""), kinds(cls)
        for line in text.splitlines():
            name, *words = line.split(" ")
            match name:
                case "instance":
                    state.instances.append(GpuInstance.from_words(words))
                case "compute":
                    gi = state.instances.pop()
                    made = ComputeInstance.from_words(words)
                    state.instances.append(gi.replace(compute=(*gi.compute, made)))
                case "daemon":
                    state.daemons.append(Daemon.from_words(words))
                case "client":
                    state.clients.append(Client.from_words(words))
                case _:
                    setattr(state, name, from_word(words[0], known[name]))
        return state

    def to_text(self) -> str:
        """Return a fact a line: its name, then its words; compute instances follow their GPU instance."""
        lines = [[name, to_word(getattr(self, name))] for name in kinds(type(self))]
        for gi in self.instances:
            lines.append(["instance", *gi.words()])
            lines += [["compute", *ci.words()] for ci in gi.compute]
        lines += [["daemon", *daemon.words()] for daemon in self.daemons]
        lines += [["client", *client.words()] for client in self.clients]
        return "".join(f"{' '.join(line)}\n" for line in lines)

    def without_clients(self) -> DriverState:
        """Return a copy in which no process computes on the device."""
        idle = DriverState.from_text(self.to_text())
        idle.clients = []
        return idle

    @property
    def model(self) -> Model:
        """The board."""
        return MODELS[self.model_key]

    @property
    def gpu_name(self) -> str:
        """The product name; it says at once that nothing here was measured."""
        return f"SIMULATED {self.model.name}"

    @property
    def in_use(self) -> bool:
        """Whether anything holds the device: a reset and a change of MIG mode are then impossible."""
        return bool(self.clients or self.holder or any(daemon.server_pid for daemon in self.daemons))

    def take_pid(self) -> int:
        """Hand out a process id that no real process can have."""
        self.next_pid += 1
        return self.next_pid - 1

    def profile(self, instance: GpuInstance) -> Profile:
        """Return the profile that `instance` was cut by."""
        return next(p for p in self.model.profiles if p.id == instance.profile_id)

    def daemon_at(self, pipe_directory: str | None) -> Daemon | None:
        """Return the daemon that listens in `pipe_directory`."""
        return next((d for d in self.daemons if d.pipe_directory == pipe_directory), None)

    def daemon_of(self, client: Client) -> Daemon | None:
        """Return the daemon that serves `client`; None if it runs beside MPS, as CUDA does without a word."""
        daemon = self.daemon_at(client.mps_pipe_directory)
        return daemon if daemon and daemon.device == client.device else None

    def clients_of(self, daemon: Daemon) -> list[Client]:
        """Return the clients of the daemon's server."""
        return [client for client in self.clients if self.daemon_of(client) == daemon]

    def replace_daemon(self, old: Daemon, new: Daemon) -> Daemon:
        """Put `new` in the place of `old`."""
        self.daemons[self.daemons.index(old)] = new
        return new

    def start_server(self, daemon: Daemon, uid: int) -> Daemon:
        """Return the daemon with its server running; clients that come find it there."""
        if daemon.server_pid is not None:
            return daemon
        started = daemon.replace(
            server_pid=self.take_pid(), server_uid=uid, server_percentage=daemon.active_thread_percentage
        )
        return self.replace_daemon(daemon, started)

    def add_client(
        self,
        pid: int,
        name: str,
        device: str,
        memory_mib: int,
        *,
        mps_pipe_directory: str | None = None,
        active_thread_percentage: float | None = None,
    ) -> Client:
        """Open a context on `device` (GPU or MIG UUID) for a process, through MPS if a daemon listens for it.

        Raise RefusedError where CUDA would: no such device, a MIG-cut GPU asked for whole, exclusive or
        prohibited compute mode, MPS server full.
        """
        client = Client(pid, name, device, memory_mib, mps_pipe_directory, active_thread_percentage)
        device_sms(self, device)
        daemon = self.daemon_of(client)
        self._admit(daemon)
        if daemon is not None:
            self.start_server(daemon, os.getuid())
        self.clients.append(client)
        return client

    def _admit(self, daemon: Daemon | None) -> None:
        """Raise RefusedError if compute mode or the size of an MPS server forbid one more client."""
        if daemon is not None and len(self.clients_of(daemon)) >= MPS_CLIENT_LIMIT:
            raise RefusedError("CUDA_ERROR_MPS_MAX_CLIENTS_REACHED")
        beside = [client for client in self.clients if daemon is None or self.daemon_of(client) != daemon]
        taken = self.compute_mode == "Exclusive_Process" and (beside or self._foreign_servers(daemon))
        if self.compute_mode == "Prohibited" or taken:
            raise RefusedError("CUDA_ERROR_DEVICE_UNAVAILABLE")

    def _foreign_servers(self, daemon: Daemon | None) -> list[Daemon]:
        return [other for other in self.daemons if other.server_pid is not None and other != daemon]

    def remove_client(self, pid: int) -> None:
        """Close the contexts of process `pid`; fine if it has none."""
        self.clients = [client for client in self.clients if client.pid != pid]


def create(path: str | os.PathLike[str], model: str, gpu_uuid: str) -> DriverState:
    """Write a fresh state for one GPU of `model` (a key of MODELS) at `path`, and return it."""
    state = DriverState(MODELS[model].key, gpu_uuid)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    _save(path, state)
    return state


class _Update:
    """A state between reading and writing back; a class, because `contextlib` would cost milliseconds."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._lock = os.open(f"{os.fspath(path)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> DriverState:
        import fcntl

        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._state = DriverState.load(self._path)
        self._before = self._state.to_text()
        return self._state

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None and self._state.to_text() != self._before:
                _save(self._path, self._state)
        finally:
            os.close(self._lock)


def updated(path: str | os.PathLike[str]) -> _Update:
    """Read, let the caller change, and write back under a lock; an exception leaves the file as it was."""
    return _Update(path)


def _save(path: str | os.PathLike[str], state: DriverState) -> None:
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(state.to_text())
    os.replace(temporary, path)


def _mig_device(state: DriverState, uuid: str) -> tuple[GpuInstance, ComputeInstance]:
    """Return the MIG device of that UUID; RefusedError if there is none, as for the whole of a cut GPU."""
    for gi in state.instances:
        for ci in gi.compute:
            if ci.uuid == uuid:
                return gi, ci
    raise RefusedError("CUDA_ERROR_NO_DEVICE")


def device_sms(state: DriverState, device: str) -> int:
    """Return the SMs of a GPU or MIG UUID; RefusedError where CUDA would see no device."""
    if device == state.gpu_uuid and not state.mig_enabled:
        return state.model.sms
    gi, ci = _mig_device(state, device)
    profile = state.profile(gi)
    return profile.sms if ci.slices == profile.compute_slices else ci.slices * state.model.slice_sms


def memory_mib(state: DriverState, device: str) -> int:
    """Return the memory that jobs on a GPU or MIG UUID can allocate between them, in MiB."""
    if device == state.gpu_uuid and not state.mig_enabled:
        return state.model.memory_mib - state.model.reserved_mib
    gi, _ = _mig_device(state, device)
    return state.profile(gi).memory_mib


def granted_sms(
    state: DriverState,
    device_uuid: str,
    active_thread_percentage: float | None = None,
    pipe_directory: str | None = None,
) -> int:
    """Return the SM count that a tenant with this environment would see.

    A percentage counts only under a live daemon for that device, can only tighten the server's own, and
    is rounded down to whole granules, never below one.
    """
    whole = device_sms(state, device_uuid)
    daemon = state.daemon_of(Client(0, "", device_uuid, 0, pipe_directory))
    if daemon is None:
        return whole
    default = daemon.server_percentage if daemon.server_pid else daemon.active_thread_percentage
    percentage = min(default, active_thread_percentage if active_thread_percentage is not None else 100.0)
    return max(SM_GRANULE, int(whole * percentage / 100) // SM_GRANULE * SM_GRANULE)
