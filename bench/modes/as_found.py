"""As found: the device as a cluster gave it, adopted and proven, with no rights and no switching.

What is there is asked for at every entering and before every trial, and must be what the first entering found. MPS
falls back silently, so a daemon that was found must list every tenant among its clients. What this user may not
read counts for less and is never assumed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.clock import Clock
from bench.errors import BenchError, DeviceError, ModeUnavailable, RestoreError
from bench.gpu.device import Device
from bench.gpu.mps import MpsControl, MpsStatus
from bench.gpu.smi import ComputeApp, NvidiaSmi
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.found import PARTITION_VARIABLE, find
from bench.modes.mps import PERCENTAGE_VARIABLE
from bench.modes.proof import (
    PIPE_VARIABLE,
    memory_evidence,
    outside_mps,
    process_evidence,
    processes,
    server_evidence,
    sm_evidence,
    tenant_evidence,
    uuid_evidence,
    whole_granules,
)
from bench.modes.switch import Switch
from bench.plan.mode import AsFound
from bench.plan.model import Mix

FOUND_CLAIM = "what was found is still there"


@dataclass
class AsFoundGpu:
    """A device that is not ours to change."""

    mode: AsFound
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _strangers: frozenset[int] = frozenset()  # clients of the daemon that were there before our tenants

    def __post_init__(self) -> None:
        self.found = find(self.device)
        self.first = self.switch.notes.setdefault(self.mode.label, self.found.words)

    @property
    def device(self) -> Device:
        """The GPU, of which perhaps only a part is ours."""
        return self.switch.device

    def verify(self) -> None:
        """Note what was found, and compare it with what the first visit found."""
        self.evidence = self.inspect()

    def inspect(self) -> tuple[Evidence, ...]:
        """Ask again: what was found must be there, with or without tenants."""
        try:
            now = find(self.device).words
        except ModeUnavailable as gone:
            now = gone.wrong
        return (Evidence(FOUND_CLAIM, self.first, now, Grade.READ_BACK, now == self.first),)

    def await_idle(self, _clock: Clock) -> None:
        """Wait for nobody: the device is not ours alone."""

    def leave(self) -> None:
        """Make sure that the device is as it was found; raises RestoreError where somebody has changed it."""
        try:
            (seen,) = self.inspect()
        except BenchError as silent:
            raise self._changed(f"it does not answer: {silent}") from silent
        if not seen.holds:
            raise self._changed(f"now there is: {seen.observed}")

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job all of what was found: the daemon with its limits, or an empty pipe directory.

        Raises DeviceError where it is gone: jobs that crash for want of a device are not to blame for it.
        """
        (seen,) = self.inspect()
        if not seen.holds:
            raise DeviceError(f"{FOUND_CLAIM}? It was: {self.first}; now there is: {seen.observed}")
        control = self._control
        self._strangers = _clients(control, control.status()) if control else frozenset()
        sm_count = self.found.sm_count
        if control and sm_count is not None:
            sm_count = self._capped(control, sm_count)
        environment, mount = self._pipe()
        grant = Grant(
            self.found.device_id, environment, (mount,),
            sm_count=None if PARTITION_VARIABLE in environment else sm_count, memory_mib=self.found.memory_mib,
            shares_board=bool(self._strangers) or (self.found.profile is not None and not self._alone_on_board()),
        )  # fmt: skip
        return (grant,) * len(mix.jobs)

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that all is as it was found, and each tenant from the inside and by the daemon's list of clients.

        On a whole GPU the driver's process table counts as for any mode. In a MIG instance it says nothing: it
        holds the processes of all instances of the board, and in a container none.
        """
        if self.found.profile is None:
            seen = self._on_whole_gpu(grants, identities)
        else:
            seen = tuple(
                each for pair in zip(grants, identities, strict=True) for each in self._in_instance(*pair)
            )
        return (*self.inspect(), *seen, *self._membership(grants, identities))

    @property
    def _control(self) -> MpsControl | None:
        pipe = self.found.pipe_directory
        return MpsControl(self.device.tool_environment, pipe) if pipe else None

    def _capped(self, control: MpsControl, sm_count: int) -> int:
        """Return the SMs that a client sees: the server's percentage, which the client's own can only tighten."""
        status = control.status()
        servers = status.servers if status else ()
        given = [control.active_thread_percentage(server) for server in servers]
        default = status.default_active_thread_percentage if status else 100.0
        own = float(self.found.limits.get(PERCENTAGE_VARIABLE, 100))
        return whole_granules(sm_count, min([own, *(given or [default])]))

    def _pipe(self) -> tuple[dict[str, str], Mount]:
        if self.found.pipe_directory is not None:
            environment = {PIPE_VARIABLE: str(self.found.pipe_directory), **self.found.limits}
            return environment, Mount(self.found.pipe_directory)
        empty = self.device.state_folder / "no-mps"
        empty.mkdir(parents=True, exist_ok=True)
        return {PIPE_VARIABLE: str(empty)}, Mount(empty, read_only=True)

    def _alone_on_board(self) -> bool:
        """Whether ours is the one instance of the board; where that may not be listed, nobody can tell."""
        smi = NvidiaSmi(self.device.tool_environment)
        try:
            return len(smi.mig_devices(self.device.uuid)) == len(smi.mig_instances(self.device.uuid)) == 1
        except BenchError:
            return False

    def _on_whole_gpu(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        apps = processes(self.device)
        status = self._control.status() if self._control else None
        servers = status.servers if status else ()
        known = (*servers, *self._strangers)  # others may be clients of the daemon that was found, too
        return (server_evidence(apps, servers), *tenant_evidence(self.device, grants, identities, apps, known))

    def _in_instance(self, grant: Grant, seen: Identity) -> Iterator[Evidence]:
        if seen.said_nothing:
            yield process_evidence(seen, self._listed())
            return
        yield uuid_evidence(grant, seen)
        sms = sm_evidence(seen, grant.sm_count)
        yield sms if grant.sm_count is not None else replace(sms, grade=Grade.REQUESTED_ONLY)
        if grant.memory_mib is not None:
            yield memory_evidence(seen, grant.memory_mib)

    def _listed(self) -> Sequence[ComputeApp]:
        """Return the processes of the whole board, as far as this user may see them."""
        try:
            return processes(self.device)
        except BenchError:
            return ()

    def _membership(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that each tenant is a client of the daemon, or that none can be."""
        control = self._control
        if control is None:
            return tuple(outside_mps(grants, identities))
        clients = _clients(control, control.status())
        ours = frozenset(pid for seen in identities for pid in seen.host_pids)
        if clients & ours or not clients - self._strangers:
            return tuple(_by_pid(seen, clients) for seen in identities)
        return (_by_number(len(identities), clients - self._strangers),)

    def _changed(self, now: str) -> RestoreError:
        return RestoreError(
            f"{self.found.device_id} is no longer as it was found: {self.first};\n  {now}\n"
            "  this tool changed nothing there.\n  next: ask for the same again, from scheduler or administrator"
        )


def _clients(control: MpsControl, status: MpsStatus | None) -> frozenset[int]:
    servers = status.servers if status else ()
    return frozenset(pid for server in servers for pid in control.client_list(server))


def _by_pid(seen: Identity, clients: frozenset[int]) -> Evidence:
    claim = f"{seen.tenant} is a client of the MPS server that was found, by the daemon's list"
    found = sorted(clients.intersection(seen.host_pids))
    return Evidence(claim, list(seen.host_pids), found, Grade.READ_BACK, bool(found))


def _by_number(tenants: int, fresh: frozenset[int]) -> Evidence:
    """Count clients that came with our tenants: in a container the daemon's pids are not ours."""
    claim = "clients that the MPS daemon has gained, whose pids do not show from here, one for each job"
    return Evidence(claim, tenants, len(fresh), Grade.HOST_ONLY, len(fresh) == tenants)
