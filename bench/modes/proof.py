"""Evidence that several modes share: comparing what was asked for with what device and tenants show.

A tenant that cannot tell something does not contradict, and its evidence says so; one that says nothing at all is
looked for among the processes that the driver knows, and where it is not found its mode is not proven.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.gpu.device import Device
from bench.gpu.sm_counts import known_sm_count
from bench.gpu.smi import ComputeApp, NvidiaSmi
from bench.modes.contract import ActiveMode, Evidence, Grade, Grant, Identity
from bench.modes.observe import DeviceState, observe_activity

PIPE_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
DEFAULT_PIPE = "/tmp/nvidia-mps"
PROBE_VARIABLE = "BENCH_PROBE_MEMORY"  # asks a job how much memory it can allocate, before it begins
MPS_SERVER = "nvidia-cuda-mps-server"
SM_GRANULE = 2  # an MPS thread percentage gives whole pairs of SMs (TPCs)
MEMORY_TOLERANCE = (
    0.1  # CUDA shows a little less than the driver's table; profiles differ by a factor of 1.5 or more
)
STILL_MIB = 8  # memory in use that moves by less has not moved


@dataclass(frozen=True)
class Look:
    """What the driver told of the device at one moment; None for what it does not tell."""

    state: DeviceState
    memory_used_mib: int | None
    utilization_pct: int | None
    apps: tuple[ComputeApp, ...]


PROBE_STEP_MIB = 64  # of the tenants' search; tables of profiles round to less
OVERHEAD_MIB = 1024  # a context, its share of what the driver keeps, and what does not fit in a step


def state_evidence(state: DeviceState, compute_mode: str, mig_mode: str) -> tuple[Evidence, ...]:
    """Compare what the device reads back with what the mode needs; a board without MIG has it disabled."""
    seen_mig = state.mig_mode or "Disabled"
    return (
        _equal("compute mode", compute_mode, state.compute_mode, Grade.READ_BACK),
        _equal("MIG mode", mig_mode, seen_mig, Grade.READ_BACK),
    )


def processes(device: Device) -> list[ComputeApp]:
    """Ask the driver who computes on the device."""
    return NvidiaSmi(device.tool_environment).compute_apps(device.uuid)


def look(device: Device, last: Look | None = None, likely_cut: bool = False) -> Look:
    """Ask for the device's state and its processes side by side; each question waits for a process of its own.

    After a `last` look the processes are asked for only if memory in use has moved, or something is at work.
    """
    if last is None:
        with ThreadPoolExecutor(1) as pool:
            apps = pool.submit(processes, device)
            return Look(*observe_activity(device, likely_cut), tuple(apps.result()))
    state, used_mib, utilization_pct = observe_activity(device, likely_cut)
    then_mib = last.memory_used_mib
    still = used_mib is not None and then_mib is not None and abs(used_mib - then_mib) < STILL_MIB
    unmoved = still and not utilization_pct
    return Look(state, used_mib, utilization_pct, last.apps if unmoved else tuple(processes(device)))


def named(apps: Sequence[ComputeApp]) -> list[str]:
    """Return processes as messages name them: pid and program."""
    return [f"{app.pid} ({app.process_name or 'name unknown'})" for app in apps]


def server_evidence(apps: Sequence[ComputeApp], ours: Sequence[int] = ()) -> Evidence:
    """Compare the MPS servers on the device with our own; another one can only be somebody else's.

    Where this runs in a container the driver names processes by the host's ids or not at all, so a server of ours
    need not be seen here; the daemon's own list vouches for it.
    """
    servers = sorted(app.pid for app in apps if (app.process_name or "").endswith(MPS_SERVER) or app.pid in ours)
    return Evidence("MPS servers on the device", sorted(ours), servers, Grade.READ_BACK, set(servers) <= set(ours))


def after_the_window(active: ActiveMode) -> tuple[Evidence, ...]:
    """Look at the device once more when the jobs are gone; one that does not answer has failed its proof."""
    try:
        found = active.inspect()
    except BenchError as error:
        found = (Evidence("the device answers", "an answer", str(error), Grade.READ_BACK, holds=False),)
    return tuple(replace(each, claim=f"after the window: {each.claim}") for each in found)


def foreign_evidence(
    identities: Sequence[Identity], apps: Sequence[ComputeApp], servers: Sequence[int] = ()
) -> Evidence:
    """Compare the processes on the device with the tenants'; MPS servers are judged by `server_evidence`.

    A tenant may be listed under a number that we do not know (where this runs in a container, the host's), or not
    at all. Then as many processes may be unknown as such tenants have; that says less, and is graded so.
    """
    listed = {app.pid for app in apps}
    ours = {pid for seen in identities for pid in seen.host_pids}.union(servers)
    unknown = [app for app in apps if app.pid not in ours and not (app.process_name or "").endswith(MPS_SERVER)]
    unmatched = [seen for seen in identities if not listed.intersection(seen.host_pids)]
    claim = "foreign processes on the device"
    if not unmatched:
        return Evidence(claim, [], named(unknown), Grade.READ_BACK, not unknown)
    room = sum(max(1, len(seen.host_pids)) for seen in unmatched) + len(set(servers) - listed)
    claim += f"; the driver lists {len(unmatched)} tenants under other numbers or not at all, so only counted: "
    return Evidence(f"{claim}at most {room} unknown", room, named(unknown), Grade.HOST_ONLY, len(unknown) <= room)


def newcomer_evidence(apps: Sequence[ComputeApp], known: frozenset[int]) -> Evidence:
    """Compare the processes that are left on the device with those of the trial, which may linger."""
    others = [app for app in apps if app.pid not in known and not (app.process_name or "").endswith(MPS_SERVER)]
    return Evidence("foreign processes on the device", [], named(others), Grade.READ_BACK, not others)


def tenant_evidence(
    device: Device,
    grants: Sequence[Grant],
    identities: Sequence[Identity],
    apps: Sequence[ComputeApp],
    servers: Sequence[int] = (),
) -> Iterator[Evidence]:
    """Compare each tenant's view with its grant: UUID, SMs, and memory where that is cut or limited.

    Nobody else may be on the device.
    """
    yield foreign_evidence(identities, apps, servers)
    for grant, seen in zip(grants, identities, strict=True):
        if seen.said_nothing:
            yield process_evidence(seen, apps)
            continue
        yield uuid_evidence(grant, seen)
        yield sm_evidence(seen, grant.sm_count if grant.sm_count is not None else known_sm_count(device.name))
        if grant.memory_mib is not None:
            yield memory_evidence(seen, grant.memory_mib)
        if grant.memory_limit_mib is not None:
            yield allocation_evidence(seen, grant.memory_limit_mib)


def process_evidence(seen: Identity, apps: Sequence[ComputeApp]) -> Evidence:
    """Look for a silent tenant among the processes on the device: all that the host can know of it."""
    found = sorted({app.pid for app in apps}.intersection(seen.host_pids))
    claim = f"{seen.tenant} computes on the device; the tenant said nothing, the driver lists its process"
    return Evidence(claim, list(seen.host_pids), found, Grade.HOST_ONLY, bool(found))


def uuid_evidence(grant: Grant, seen: Identity) -> Evidence:
    """Compare the UUID; a tenant that cannot tell (an old torch) does not contradict."""
    claim = f"device UUID of {seen.tenant}"
    if seen.device_uuid is None:
        return _untold(claim, grant.device_id)
    return _equal(claim, grant.device_id, seen.device_uuid, Grade.SEEN_BY_TENANT)


def sm_evidence(seen: Identity, expected: int | None) -> Evidence:
    """Compare the SM count within one granule; on a board whose count is unknown the value is only kept."""
    claim = f"SM count of {seen.tenant}, within one granule of {SM_GRANULE} SMs"
    if seen.sm_count is None:
        return _untold(claim, expected)
    holds = expected is None or abs(seen.sm_count - expected) <= SM_GRANULE
    return Evidence(claim, expected, seen.sm_count, Grade.SEEN_BY_TENANT, holds)


def memory_evidence(seen: Identity, expected_mib: int) -> Evidence:
    """Compare the memory (MiB) that a tenant sees with what a MIG instance of its profile has."""
    claim = f"memory of {seen.tenant} in MiB, within {MEMORY_TOLERANCE:.0%}"
    if seen.memory_total_mib is None:
        return _untold(claim, expected_mib)
    holds = abs(seen.memory_total_mib - expected_mib) <= MEMORY_TOLERANCE * expected_mib
    return Evidence(claim, expected_mib, seen.memory_total_mib, Grade.SEEN_BY_TENANT, holds)


def allocation_evidence(seen: Identity, limit_mib: int) -> Evidence:
    """Compare what a tenant could allocate (MiB) with its limit: no more, and not much less.

    Limits of a mix never add up to more than the device has, so one who gets less shares it with somebody else.
    """
    slack_mib = max(OVERHEAD_MIB, round(MEMORY_TOLERANCE * limit_mib))
    claim = f"memory that {seen.tenant} can allocate in MiB, at most {slack_mib} less than its limit"
    if seen.allocatable_mib is None:
        return _untold(claim, limit_mib)
    holds = limit_mib - slack_mib <= seen.allocatable_mib <= limit_mib + PROBE_STEP_MIB
    return Evidence(claim, limit_mib, seen.allocatable_mib, Grade.SEEN_BY_TENANT, holds)


def outside_mps(grants: Sequence[Grant], identities: Sequence[Identity]) -> Iterator[Evidence]:
    """Check that no tenant can have become an MPS client by accident.

    CUDA looks for a daemon where CUDA_MPS_PIPE_DIRECTORY points, and in /tmp/nvidia-mps where it is not set; the
    container toolkit mounts the host's one unasked. So a tenant that sees it must point to our empty directory.
    """
    for grant, seen in zip(grants, identities, strict=True):
        if seen.said_nothing:
            continue
        expected, pipe = grant.environment[PIPE_VARIABLE], seen.mps_pipe_directory
        claim = f"{seen.tenant} is outside MPS: its pipe directory is an empty one of ours"
        yield Evidence(claim, expected, pipe, Grade.SEEN_BY_TENANT, pipe in (None, expected))
        visible = seen.mps_in_container_default
        claim = f"{DEFAULT_PIPE} is there for {seen.tenant}, which matters only where it points nowhere else"
        yield Evidence(claim, False, visible, Grade.SEEN_BY_TENANT, not visible or pipe == expected)


def whole_granules(sm_count: int, percentage: float) -> int:
    """Return the SMs that a thread percentage gives: rounded down to whole granules, and one at least."""
    return max(1, int(sm_count * percentage / 100) // SM_GRANULE) * SM_GRANULE


def _untold(claim: str, expected: object) -> Evidence:
    return Evidence(f"{claim}: the tenant did not say", expected, None, Grade.REQUESTED_ONLY, holds=True)


def _equal(claim: str, expected: str | None, observed: str | None, grade: Grade) -> Evidence:
    return Evidence(claim, expected, observed, grade, observed == expected)
