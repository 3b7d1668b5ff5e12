"""The driver's memory: one small JSON file that the stand-in tools and the simulated launcher share.

Readers take the file as it is (it is only ever replaced whole); writers hold a lock beside it. The module
keeps its imports few, because every call of a stand-in tool pays for them.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .models import MODELS, Model, Profile

FIRST_PID = 4194305
"""Above every `pid_max` that Linux allows (2^22): no signal to a modelled process can hit a real one."""
SERVER_MEMORY_MIB = 30
MPS_CLIENT_LIMIT = 48
"""Clients of one MPS server from Volta to CUDA 13.0; the modelled driver is R580."""
SM_GRANULE = 2


class RefusedError(Exception):
    """The modelled CUDA driver turned a client away; the text is the name of the CUDA error."""


class Client(NamedTuple):
    """A process with a context on the device: a GPU or a MIG instance, named by UUID."""

    pid: int
    name: str
    device: str
    memory_mib: int
    mps_pipe_directory: str | None = None
    active_thread_percentage: float | None = None


class Daemon(NamedTuple):
    """An MPS control daemon; its server appears with the first client and stays."""

    pid: int
    pipe_directory: str
    device: str
    active_thread_percentage: float = 100.0
    server_pid: int | None = None
    server_uid: int | None = None
    server_percentage: float = 100.0


class ComputeInstance(NamedTuple):
    """Compute slices of a GPU instance: what `nvidia-smi -L` lists as a MIG device."""

    id: int
    slices: int
    start: int
    uuid: str


class GpuInstance(NamedTuple):
    """A cut of the GPU, with the compute instances in it."""

    id: int
    profile_id: int
    start: int
    compute: tuple[ComputeInstance, ...] = ()


class DriverState:
    """All that the modelled driver remembers of its one GPU."""

    def __init__(self, model: str, gpu_uuid: str) -> None:
        self.model_key = model
        self.gpu_uuid = gpu_uuid
        self.mig_enabled = False
        self.mig_pending = False
        self.compute_mode = "Default"
        self.persistence = True
        self.privileged = True
        """Whether the caller may change the device, as root may."""
        self.holder: str | None = None
        """A process that holds the device without computing on it: a monitor, the persistence daemon."""
        self.instances: list[GpuInstance] = []
        self.daemons: list[Daemon] = []
        self.clients: list[Client] = []
        self.next_pid = FIRST_PID

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "DriverState":
        """Read the state from `path`; FileNotFoundError if there is none."""
        with open(path, encoding="utf-8") as file:
            return cls.from_json(json.load(file))

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "DriverState":
        """Rebuild the state from what `to_json` gave."""
        state = cls(fields.pop("model"), fields.pop("gpu_uuid"))
        state.instances = [_instance(row) for row in fields.pop("instances")]
        state.daemons = [Daemon(**row) for row in fields.pop("daemons")]
        state.clients = [Client(**row) for row in fields.pop("clients")]
        for name, value in fields.items():
            setattr(state, name, value)
        return state

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in a fixed order."""
        fields = dict(vars(self))
        fields["instances"] = [
            gi._asdict() | {"compute": [ci._asdict() for ci in gi.compute]} for gi in self.instances
        ]
        fields["daemons"] = [daemon._asdict() for daemon in self.daemons]
        fields["clients"] = [client._asdict() for client in self.clients]
        return {"model": fields.pop("model_key"), **fields}

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
        started = daemon._replace(
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


def _instance(row: dict[str, Any]) -> GpuInstance:
    compute = tuple(ComputeInstance(**ci) for ci in row.pop("compute"))
    return GpuInstance(**row, compute=compute)


def create(path: str | os.PathLike[str], model: str, gpu_uuid: str) -> DriverState:
    """Write a fresh state for one GPU of `model` (a key of MODELS) at `path`, and return it."""
    state = DriverState(MODELS[model].key, gpu_uuid)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    _save(path, state)
    return state


@contextmanager
def updated(path: str | os.PathLike[str]) -> Iterator[DriverState]:
    """Read, let the caller change, and write back under a lock; an exception leaves the file as it was."""
    lock = os.open(f"{os.fspath(path)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = DriverState.load(path)
        before = state.to_json()
        yield state
        if state.to_json() != before:
            _save(path, state)
    finally:
        os.close(lock)


def _save(path: str | os.PathLike[str], state: DriverState) -> None:
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(state.to_json(), indent=1) + "\n")
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
