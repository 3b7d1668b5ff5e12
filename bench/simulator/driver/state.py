"""The driver's memory: a small text file, one fact a line, shared by stand-in tools and simulated launcher.

Readers take the file as it is (it is only ever replaced whole); writers hold a lock beside it. The module
keeps its imports few, because every call of a stand-in tool pays for them.
"""

from __future__ import annotations

import posix  # what `os` is made of; importing all of that would cost each call of a tool a millisecond

from .models import MODELS, Model, Profile
from .row import Row, from_word, kinds, to_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

FIRST_PID = 4194305
"""Above every `pid_max` that Linux allows (2^22): no signal to a modelled process can hit a real one."""
SERVER_MEMORY_MIB = 30


class Client(Row):
    """A process with a context on the device: a GPU or a MIG instance, named by UUID."""

    pid: int
    name: str
    device: str
    memory_mib: int
    mps_pipe_directory: str | None = None
    active_thread_percentage: float | None = None
    sm_partition: str | None = None
    """What it has in CUDA_MPS_SM_PARTITION."""


class Partition(Row):
    """SMs that an MPS daemon keeps for some of its clients, in chunks; `id` as `sm_partition add` prints it."""

    id: str
    chunks: int


class Daemon(Row):
    """An MPS control daemon; its server appears with the first client and stays."""

    pid: int
    pipe_directory: str
    device: str
    active_thread_percentage: float = 100.0
    server_pid: int | None = None
    server_uid: int | None = None
    server_percentage: float = 100.0
    faulty: bool = False
    """The server handles a client's fatal error: no new clients until those that it hit have gone."""
    memory_limit: str | None = None
    """What each client of a server started later may allocate at most, `40G` or `512M` as it was set."""
    server_memory_limit: str | None = None
    static: bool = False
    """Started with `-S`: every client needs one of the partitions."""
    partitions: tuple[Partition, ...] = ()


class FrozenColumn(Row):
    """A column of `--query-gpu` that reads the same for ever: a hung sensor, or `[Unknown Error]`."""

    column: str
    text: str


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
    monitors_mig: bool = True
    """Whether the caller may list MIG instances: the right to read /dev/nvidia-caps/nvidia-cap2."""
    shows_mig: str | None = None
    """The UUID of the one MIG device that `-L` shows, as in a container that was given no other; None: all."""
    passed_through: bool = False
    """Whether this is a virtual machine: no GPU reset and no power cap."""
    lost: bool = False
    """Whether the GPU has fallen off the bus."""
    driver_version: str = "590.48.01"
    time_slice: str = "Default"
    clock_lock: str | None = None
    """What the SM clock was locked to, `MIN,MAX` in MHz as the caller wrote it."""
    memory_clock_lock: str | None = None
    power_cap_w: float | None = None
    holder: str | None = None
    """A process that holds the device without computing on it: a monitor, the persistence daemon."""
    next_pid: int = FIRST_PID

    def __init__(self, model: str, gpu_uuid: str) -> None:
        self.model_key = model
        self.gpu_uuid = gpu_uuid
        self.instances: list[GpuInstance] = []
        self.daemons: list[Daemon] = []
        self.clients: list[Client] = []
        self.frozen: list[FrozenColumn] = []

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
                case "partition":
                    daemon = state.daemons.pop()
                    part = Partition.from_words(words)
                    state.daemons.append(daemon.replace(partitions=(*daemon.partitions, part)))
                case "client":
                    state.clients.append(Client.from_words(words))
                case "frozen":
                    state.frozen.append(FrozenColumn.from_words(words))
                case _:
                    setattr(state, name, from_word(words[0], known[name]))
        return state

    def to_text(self) -> str:
        """Return a fact a line: its name, then its words; those that are part of another follow it."""
        lines = [[name, to_word(getattr(self, name))] for name in kinds(type(self))]
        for gi in self.instances:
            lines.append(["instance", *gi.words()])
            lines += [["compute", *ci.words()] for ci in gi.compute]
        for daemon in self.daemons:
            lines.append(["daemon", *daemon.words()])
            lines += [["partition", *part.words()] for part in daemon.partitions]
        lines += [["client", *client.words()] for client in self.clients]
        lines += [["frozen", *frozen.words()] for frozen in self.frozen]
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

    @property
    def devices_in_use(self) -> set[str]:
        """UUIDs of the devices, GPU or MIG, on which a client or an MPS server has a context."""
        served = {daemon.device for daemon in self.daemons if daemon.server_pid}
        return served | {client.device for client in self.clients}

    @property
    def power_limit_w(self) -> float:
        """The power limit in force."""
        return self.model.power_limit_w if self.power_cap_w is None else self.power_cap_w

    def forget_settings(self) -> None:
        """Put back what lives only in a loaded driver: compute mode, locks, power cap, time-slice policy."""
        self.compute_mode, self.time_slice = "Default", "Default"
        self.clock_lock = self.memory_clock_lock = self.power_cap_w = None

    def unload_if_unused(self) -> None:
        """Forget the settings if nothing keeps the driver loaded; MIG instances were seen to live on."""
        if not (self.persistence or self.in_use):
            self.forget_settings()

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
            server_pid=self.take_pid(), server_uid=uid, server_percentage=daemon.active_thread_percentage,
            server_memory_limit=daemon.memory_limit,
        )  # fmt: skip
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
        sm_partition: str | None = None,
    ) -> Client:
        """Open a context on `device` (GPU or MIG UUID) for a process, through MPS if a daemon listens for it.

        Raise RefusedError where CUDA would: no such device, a MIG-cut GPU asked for whole, exclusive or
        prohibited compute mode, MPS server full, handling a fault or without the partition that is named.
        """
        from .cuda import admit

        client = Client(pid, name, device, memory_mib, mps_pipe_directory, active_thread_percentage, sm_partition)
        daemon = self.daemon_of(client)
        admit(self, client, daemon)
        if daemon is not None:
            self.start_server(daemon, posix.getuid())
        self.clients.append(client)
        return client

    def remove_client(self, pid: int) -> None:
        """Close the contexts of process `pid`; fine if it has none. A faulty server left alone is well again."""
        self.clients = [client for client in self.clients if client.pid != pid]
        for daemon in self.daemons:
            if daemon.faulty and not self.clients_of(daemon):
                self.replace_daemon(daemon, daemon.replace(faulty=False))


def create(path: str | os.PathLike[str], model: str, gpu_uuid: str) -> DriverState:
    """Write a fresh state for one GPU of `model` (a key of MODELS) at `path`, and return it."""
    import os

    state = DriverState(MODELS[model].key, gpu_uuid)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    _save(path, state)
    return state


class _Update:
    """A state between reading and writing back; a class, because `contextlib` would cost milliseconds."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._lock = posix.open(
            f"{posix.fspath(path)}.lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o644
        )

    def __enter__(self) -> DriverState:
        import fcntl

        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._state = DriverState.load(self._path)
        self._before = self._state.to_text()
        return self._state

    def __exit__(self, error: object, *_: object) -> None:
        try:
            self._state.unload_if_unused()
            if error is None and self._state.to_text() != self._before:
                _save(self._path, self._state)
        finally:
            posix.close(self._lock)


def updated(path: str | os.PathLike[str]) -> _Update:
    """Read, let the caller change, and write back under a lock; an exception leaves the file as it was."""
    return _Update(path)


def _save(path: str | os.PathLike[str], state: DriverState) -> None:
    temporary = f"{posix.fspath(path)}.{posix.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(state.to_text())
    posix.replace(temporary, path)
