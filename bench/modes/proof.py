"""Evidence that several modes share: comparing what was asked for with what device and tenants show."""

from collections.abc import Iterator, Sequence

from bench.gpu.device import Device
from bench.gpu.sm_counts import known_sm_count
from bench.gpu.smi import NvidiaSmi
from bench.modes.contract import Evidence, Grade, Grant, Identity
from bench.modes.observe import DeviceState

MPS_SERVER = "nvidia-cuda-mps-server"
SM_GRANULE = 2  # a thread percentage is rounded to whole SMs; which way differs by board


def state_evidence(state: DeviceState, compute_mode: str, mig_mode: str) -> tuple[Evidence, ...]:
    """Compare what the device reads back with what the mode needs; a board without MIG has it disabled."""
    seen_mig = state.mig_mode or "Disabled"
    return (
        _equal("compute mode", compute_mode, state.compute_mode, Grade.READ_BACK),
        _equal("MIG mode", mig_mode, seen_mig, Grade.READ_BACK),
    )


def no_server_evidence(device: Device) -> Evidence:
    """Ask who computes on the device: before our first job, an MPS server can only be somebody else's."""
    apps = NvidiaSmi(device.tool_environment).compute_apps(device.uuid)
    servers = [app.pid for app in apps if (app.process_name or "").endswith(MPS_SERVER)]
    return Evidence("MPS servers on the device", [], servers, Grade.READ_BACK, not servers)


def tenant_evidence(device: Device, grants: Sequence[Grant], identities: Sequence[Identity]) -> Iterator[Evidence]:
    """Compare each tenant's view with its grant: the device's UUID, and the number of SMs."""
    for grant, seen in zip(grants, identities, strict=True):
        yield uuid_evidence(grant, seen)
        expected = grant.sm_count if grant.sm_count is not None else known_sm_count(device.name)
        yield sm_evidence(seen, expected)


def uuid_evidence(grant: Grant, seen: Identity) -> Evidence:
    """Compare the UUID; a tenant that cannot tell (an old torch) does not contradict."""
    holds = seen.device_uuid in (None, grant.device_id)
    grade = Grade.HOST_ONLY if seen.device_uuid is None else Grade.SEEN_BY_TENANT
    return Evidence(f"device UUID of {seen.tenant}", grant.device_id, seen.device_uuid, grade, holds)


def sm_evidence(seen: Identity, expected: int | None) -> Evidence:
    """Compare the SM count within one granule; on a board whose count is unknown the value is only kept."""
    grade = Grade.HOST_ONLY if seen.sm_count is None else Grade.SEEN_BY_TENANT
    comparable = expected is not None and seen.sm_count is not None
    holds = not comparable or abs(int(seen.sm_count or 0) - int(expected or 0)) <= SM_GRANULE
    return Evidence(f"SM count of {seen.tenant}", expected, seen.sm_count, grade, holds)


def _equal(claim: str, expected: str, observed: str | None, grade: Grade) -> Evidence:
    return Evidence(claim, expected, observed, grade, observed == expected)
