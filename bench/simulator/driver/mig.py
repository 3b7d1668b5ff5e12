"""`nvidia-smi mig -cgi`, `-cci`, `-dci`, `-dgi`: creating and destroying GPU and compute instances.

Messages follow genuine transcripts. Exit codes beside success are NVML's error numbers (2 invalid argument,
4 no permission, 6 not found, 19 in use, 23 insufficient resources); no transcript shows them.
"""

from __future__ import annotations

from .arguments import Answer, Request
from .mig_tables import (
    Selection,
    compute_name,
    compute_profile_id,
    compute_sizes,
    in_table_order,
    taken_slots,
)
from .models import Profile
from .state import ComputeInstance, DriverState, GpuInstance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

OK, INVALID, NO_PERMISSION, NOT_FOUND, IN_USE, NO_RESOURCES = 0, 2, 4, 6, 19, 23
REASONS = {
    INVALID: "Invalid Argument",
    NO_PERMISSION: "Insufficient Permissions",
    NOT_FOUND: "Not Found",
    IN_USE: "In use by another client",
    NO_RESOURCES: "Insufficient Resources",
}


def create_gpu_instances(state: DriverState, request: Request, _: Selection) -> Answer:
    """Answer `mig -cgi`: one after another, and what was created before a refusal stays."""
    lines: list[str] = []
    for item in request["cgi"].split(","):
        wanted, _colon, start = item.partition(":")
        profile = state.model.profile(wanted)
        code = _refusal(state, profile, start)
        if profile is None or code:
            number = profile.id if profile else wanted
            lines.append(f"Unable to create a GPU instance on GPU  0 using profile {number}: {REASONS[code]}")
            lines.append(f"Failed to create GPU instances: {REASONS[code]}")
            return _text(lines), code
        lines += _create(state, profile, _choose(state, profile, start), "C" in request)
    return _text(lines), OK


def _refusal(state: DriverState, profile: Profile | None, start: str) -> int:
    """Return why the driver would not create this instance, or OK."""
    if not state.privileged:
        return NO_PERMISSION
    if profile is None or (start and (not start.isdigit() or int(start) not in profile.starts)):
        return INVALID
    if state.holder or any(client.device == state.gpu_uuid for client in state.clients):
        return IN_USE
    alive = sum(1 for gi in state.instances if gi.profile_id == profile.id)
    if alive >= profile.max_instances or not _open_starts(state, profile, start):
        return NO_RESOURCES
    return OK


def _open_starts(state: DriverState, profile: Profile, start: str) -> list[int]:
    wanted = [int(start)] if start else list(profile.starts)
    taken = taken_slots(state)
    return [s for s in wanted if not taken & set(range(s, s + profile.size))]


def _choose(state: DriverState, profile: Profile, start: str) -> int:
    """Take the driver's favourite among the open placements, by instance id."""
    first = state.model.first_choices

    def rank(place: int) -> tuple[int, int]:
        number = state.model.instance_id(profile.size, place)
        return (first.index(number) if number in first else len(first), number)

    return min(_open_starts(state, profile, start), key=rank)


def _create(state: DriverState, profile: Profile, start: int, with_compute: bool) -> list[str]:
    gi = GpuInstance(state.model.instance_id(profile.size, start), profile.id, start)
    state.instances.append(gi)
    line = (
        f"Successfully created GPU instance ID {gi.id:>2} on GPU  0 using profile MIG {profile.name} "
        f"(ID {profile.id:>2})"
    )
    return [line, *(_add_compute(state, gi, profile.compute_slices) if with_compute else [])]


def create_compute_instances(state: DriverState, request: Request, selection: Selection) -> Answer:
    """Answer `mig -cci`: compute instances in the selected GPU instances; without a list one of full size."""
    chosen = [gi for gi in in_table_order(state) if selection.holds(gi)]
    if not chosen:
        return "No GPU instances found: Not Found\n", NOT_FOUND
    wanted = [(gi, item) for gi in chosen for item in request["cci"].split(",")]
    lines: list[str] = []
    for gi, item in wanted:
        slices = _slices(state.profile(gi), item)
        made = _add_compute(state, _current(state, gi.id), slices) if slices and state.privileged else []
        if not made:
            code = INVALID if not slices else NO_RESOURCES if state.privileged else NO_PERMISSION
            return _text([*lines, f"Failed to create compute instances: {REASONS[code]}"]), code
        lines += made
    return _text(lines), OK


def _slices(profile: Profile, item: str) -> int | None:
    """Translate a compute profile (id, name, or empty for full size) into slices; None if not on offer."""
    offers = {"": profile.compute_slices}
    for slices in compute_sizes(profile):
        offers[compute_name(profile, slices)] = offers[str(compute_profile_id(slices))] = slices
    return offers.get(item.removeprefix("MIG "))


def _current(state: DriverState, number: int) -> GpuInstance:
    return next(gi for gi in state.instances if gi.id == number)


def _add_compute(state: DriverState, gi: GpuInstance, slices: int) -> list[str]:
    """Put a compute instance into `gi` and return the line that says so; empty if it does not fit."""
    profile = state.profile(gi)
    taken = {slot for ci in gi.compute for slot in range(ci.start, ci.start + ci.slices)}
    starts = range(profile.compute_slices - slices + 1)
    start = next((s for s in starts if not taken & set(range(s, s + slices))), None)
    if start is None:
        return []
    number = next(n for n in range(8) if n not in {ci.id for ci in gi.compute})
    made = ComputeInstance(number, slices, start, mig_uuid(state.gpu_uuid, gi.id, number))
    state.instances[state.instances.index(gi)] = gi.replace(compute=(*gi.compute, made))
    return [
        f"Successfully created compute instance ID {number:>2} on GPU  0 GPU instance ID {gi.id:>2} using "
        f"profile MIG {compute_name(profile, slices)} (ID {compute_profile_id(slices):>2})"
    ]


def mig_uuid(gpu_uuid: str, gi: int, ci: int) -> str:
    """Return the UUID of a MIG device: the same for the same GPU and ids, as real drivers do (version 5)."""
    from hashlib import sha1

    space = bytes.fromhex(gpu_uuid.removeprefix("GPU-").replace("-", ""))
    digest = sha1(space + f"{gi}/{ci}".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) % 4]
    return f"MIG-{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def destroy_compute_instances(state: DriverState, _: Request, selection: Selection) -> Answer:
    """Answer `mig -dci`."""
    pairs = [
        (gi, ci)
        for gi in in_table_order(state)
        for ci in gi.compute
        if selection.holds(gi) and selection.holds_compute(ci)
    ]
    if not pairs:
        return "No compute instances found: Not Found\n", NOT_FOUND
    lines: list[str] = []
    for gi, ci in pairs:
        held = ci.uuid in state.devices_in_use
        code = IN_USE if held else OK if state.privileged else NO_PERMISSION
        if code:
            where = f"compute instance ID {ci.id:>2} from GPU  0 GPU instance ID {gi.id:>2}"
            return _text([*lines, *_cannot_destroy(where, "compute instances", code)]), code
        rest = tuple(other for other in _current(state, gi.id).compute if other.id != ci.id)
        state.instances[[g.id for g in state.instances].index(gi.id)] = gi.replace(compute=rest)
        lines.append(
            f"Successfully destroyed compute instance ID {ci.id:>2} from GPU  0 GPU instance ID {gi.id:>2}"
        )
    return _text(lines), OK


def destroy_gpu_instances(state: DriverState, _: Request, selection: Selection) -> Answer:
    """Answer `mig -dgi`: refused for an instance that still has a compute instance."""
    chosen = [gi for gi in in_table_order(state) if selection.holds(gi)]
    if not chosen:
        return "No GPU instances found: Not Found\n", NOT_FOUND
    lines: list[str] = []
    for gi in chosen:
        code = IN_USE if gi.compute else OK if state.privileged else NO_PERMISSION
        if code:
            where = f"GPU instance ID {gi.id:>2} from GPU  0"
            return _text([*lines, *_cannot_destroy(where, "GPU instances", code)]), code
        state.instances.remove(gi)
        lines.append(f"Successfully destroyed GPU instance ID {gi.id:>2} from GPU  0")
    return _text(lines), OK


def _cannot_destroy(where: str, what: str, code: int) -> list[str]:
    return [f"Unable to destroy {where}: {REASONS[code]}", f"Failed to destroy {what}: {REASONS[code]}"]


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


CHANGES = {
    "cgi": create_gpu_instances,
    "cci": create_compute_instances,
    "dci": destroy_compute_instances,
    "dgi": destroy_gpu_instances,
}
