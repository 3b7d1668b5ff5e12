"""What CUDA lets a process have on the device: SMs, memory, a place at an MPS server; or why not."""

from __future__ import annotations

from .state import Client, ComputeInstance, Daemon, DriverState, GpuInstance, Partition

SM_GRANULE = 2
FIRST_OF_60_CLIENTS = 590
"""The driver branch (CUDA 13.1) from which an MPS server takes 60 clients; 48 from Volta on, 16 before."""


class RefusedError(Exception):
    """The modelled CUDA driver turned a client away; the text is the name of the CUDA error."""


def admit(state: DriverState, newcomer: Client, daemon: Daemon | None) -> None:
    """Raise RefusedError where a client is not let onto its device, through `daemon` or beside all of them."""
    if state.lost:
        raise RefusedError("CUDA_ERROR_NO_DEVICE")
    device_sms(state, newcomer.device)
    if daemon is not None:
        _admit_to_server(state, daemon)
        if daemon.static:
            _partition(daemon, newcomer.sm_partition)
    beside = [client for client in state.clients if daemon is None or state.daemon_of(client) != daemon]
    servers = [other for other in state.daemons if other.server_pid is not None and other != daemon]
    taken = state.compute_mode == "Exclusive_Process" and (beside or servers)
    if state.compute_mode == "Prohibited" or taken:
        raise RefusedError("CUDA_ERROR_DEVICE_UNAVAILABLE")


def _admit_to_server(state: DriverState, daemon: Daemon) -> None:
    if daemon.faulty:
        raise RefusedError("CUDA_ERROR_MPS_SERVER_NOT_READY")
    if len(state.clients_of(daemon)) >= client_limit(state, daemon.device):
        raise RefusedError("CUDA_ERROR_MPS_MAX_CLIENTS_REACHED")


def _partition(daemon: Daemon, name: str | None) -> Partition:
    """Return the partition of that id; RefusedError if the daemon has none such."""
    for part in daemon.partitions:
        if part.id == name:
            return part
    raise RefusedError("CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION")


def chunk_sms(state: DriverState) -> int:
    """Return the SMs of a chunk, the unit of static partitions: 8 from Hopper on, 4 before."""
    return 8 if float(state.model.compute_capability) >= 9.0 else 4


def client_limit(state: DriverState, device: str) -> int:
    """Return how many clients one MPS server takes; on a MIG device in proportion to its slices (assumed)."""
    limit = server_limit(state.model.compute_capability, state.driver_version)
    if device == state.gpu_uuid:
        return limit
    _, ci = _mig_device(state, device)
    return max(1, limit * ci.slices // max(profile.compute_slices for profile in state.model.profiles))


def server_limit(compute_capability: str, driver_version: str) -> int:
    """Return how many clients an MPS server of a whole GPU takes."""
    if float(compute_capability) < 7.0:
        return 16
    return 60 if int(driver_version.partition(".")[0]) >= FIRST_OF_60_CLIENTS else 48


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


def memory_limit_mib(daemon: Daemon, own: str | None = None) -> int | None:
    """Return the memory (MiB) that one client of a daemon may have; its own limit only tightens the server's."""
    server = daemon.server_memory_limit if daemon.server_pid else daemon.memory_limit
    limits = [_mib(limit) for limit in (server, own) if limit]
    return min(limits, default=None)


def _mib(limit: str) -> int:
    return int(limit[:-1]) * (1024 if limit.endswith("G") else 1)


def granted_sms(
    state: DriverState,
    device_uuid: str,
    active_thread_percentage: float | None = None,
    pipe_directory: str | None = None,
    sm_partition: str | None = None,
) -> int:
    """Return the SM count that a tenant with this environment would see.

    A percentage counts only under a live daemon for that device, can only tighten the server's own, and
    is rounded down to whole granules, never below one. Under static partitions only these count.
    """
    whole = device_sms(state, device_uuid)
    daemon = state.daemon_of(Client(0, "", device_uuid, 0, pipe_directory))
    if daemon is None:
        return whole
    if daemon.static:
        return _partition(daemon, sm_partition).chunks * chunk_sms(state)
    default = daemon.server_percentage if daemon.server_pid else daemon.active_thread_percentage
    percentage = min(default, active_thread_percentage if active_thread_percentage is not None else 100.0)
    return max(SM_GRANULE, int(whole * percentage / 100) // SM_GRANULE * SM_GRANULE)
