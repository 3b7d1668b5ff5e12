"""The tables of `nvidia-smi mig`: profiles, placements, and the instances that exist.

Columns and wording are those of driver R580.
"""

from __future__ import annotations

from .arguments import Answer
from .models import Profile
from .row import Row
from .state import ComputeInstance, DriverState, GpuInstance

OK, NO_PERMISSION, NOT_FOUND = 0, 4, 6
WIDE = "+" + "-" * 79 + "+\n"
MIDDLE = "+" + "-" * 57 + "+\n"
COMPUTE = "+" + "-" * 68 + "+\n"


class Selection(Row):
    """Which instances a command is about: `-gi` and `-ci`, None for all."""

    gpu_instances: frozenset[int] | None = None
    compute_instances: frozenset[int] | None = None

    def holds(self, gi: GpuInstance) -> bool:
        """Whether the command is about `gi`."""
        return self.gpu_instances is None or gi.id in self.gpu_instances

    def holds_compute(self, ci: ComputeInstance) -> bool:
        """Whether the command is about `ci` of a selected GPU instance."""
        return self.compute_instances is None or ci.id in self.compute_instances


def list_profiles(state: DriverState, _: Selection) -> Answer:
    """Answer `mig -lgip`."""
    title = (
        "| GPU instance profiles:                                                        |\n"
        "| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |\n"
        "|                                Free/Total   GiB              CE    JPEG  OFA  |\n"
        "|===============================================================================|\n"
    )
    rows = "".join(_profile_rows(state, profile) + WIDE for profile in state.model.profiles)
    return WIDE + title + rows, OK


def _profile_rows(state: DriverState, profile: Profile) -> str:
    decoders, encoders, copy, jpeg, flow = profile.engines
    free = f"{_free_count(state, profile)}/{profile.max_instances}"
    memory = f"{profile.memory_mib / 1024:.2f}"
    return (
        f"|   0  {'MIG ' + profile.name:<20}{profile.id:>2}     {free}        {memory:<11}No     "
        f"{profile.sms:<7}{decoders:<6}{encoders}   |\n"
        f"|{'':63}{copy:<6}{jpeg:<6}{flow}   |\n"
    )


def _free_count(state: DriverState, profile: Profile) -> int:
    """Count how many more instances of `profile` fit beside one another."""
    taken = taken_slots(state)
    count = 0
    for start in profile.starts:
        place = set(range(start, start + profile.size))
        if not place & taken:
            taken |= place
            count += 1
    alive = sum(1 for gi in state.instances if gi.profile_id == profile.id)
    return min(count, profile.max_instances - alive)


def list_placements(state: DriverState, _: Selection) -> Answer:
    """Answer `mig -lgipp`."""
    return "".join(_placement_row(profile) for profile in state.model.profiles), OK


def _placement_row(profile: Profile) -> str:
    word = "Placements:" if len(profile.starts) > 1 else "Placement :"
    return f"GPU  0 Profile ID {profile.id:>2} {word} {{{','.join(map(str, profile.starts))}}}:{profile.size}\n"


def list_gpu_instances(state: DriverState, selection: Selection) -> Answer:
    """Answer `mig -lgi`."""
    if not state.monitors_mig:
        return "Failed to display GPU instances: Insufficient Permissions\n", NO_PERMISSION
    rows = [_gpu_instance_row(state, gi) + MIDDLE for gi in in_table_order(state) if selection.holds(gi)]
    if not rows:
        return "No GPU instances found: Not Found\n", NOT_FOUND
    title = (
        "| GPU instances:                                          |\n"
        "| GPU   Name               Profile  Instance   Placement  |\n"
        "|                            ID       ID       Start:Size |\n"
        "|=========================================================|\n"
    )
    return MIDDLE + title + "".join(rows), OK


def _gpu_instance_row(state: DriverState, gi: GpuInstance) -> str:
    profile = state.profile(gi)
    place = f"{gi.start}:{profile.size}"
    return f"|   0  {'MIG ' + profile.name:<22}{profile.id:>2}{gi.id:>9}          {place:<8}|\n"


def list_compute_instances(state: DriverState, selection: Selection) -> Answer:
    """Answer `mig -lci`."""
    if not state.monitors_mig:
        return "Failed to display compute instances: Insufficient Permissions\n", NO_PERMISSION
    pairs = [(gi, ci) for gi in in_table_order(state) if selection.holds(gi) for ci in gi.compute]
    if not pairs:
        return "No compute instances found: Not Found\n", NOT_FOUND
    title = (
        "| Compute instances:                                                 |\n"
        "| GPU     GPU       Name             Profile   Instance   Placement  |\n"
        "|       Instance                       ID        ID       Start:Size |\n"
        "|         ID                                                         |\n"
        "|====================================================================|\n"
    )
    return COMPUTE + title + "".join(_compute_row(state, gi, ci) + COMPUTE for gi, ci in pairs), OK


def _compute_row(state: DriverState, gi: GpuInstance, ci: ComputeInstance) -> str:
    name, place = "MIG " + compute_name(state.profile(gi), ci.slices), f"{ci.start}:{ci.slices}"
    number = compute_profile_id(ci.slices)
    return f"|   0{gi.id:>7}       {name:<20}{number:>2}{ci.id:>10}          {place:<8}|\n"


def in_table_order(state: DriverState) -> list[GpuInstance]:
    """Return the instances as the tables list them: by profile as in `-lgip`, then by id."""
    order = [profile.id for profile in state.model.profiles]
    return sorted(state.instances, key=lambda gi: (order.index(gi.profile_id), gi.id))


def compute_name(profile: Profile, slices: int) -> str:
    """Return the name of a MIG device: `3g.40gb` for the whole instance, `1c.3g.40gb` for a part."""
    return profile.name if slices == profile.compute_slices else f"{slices}c.{profile.name}"


def compute_sizes(profile: Profile) -> list[int]:
    """Return how many slices a compute instance of `profile` can have: no 3 of 4."""
    whole = profile.compute_slices
    return [slices for slices in (1, 2, 3, 4, 7) if slices <= whole and (slices, whole) != (3, 4)]


def compute_profile_id(slices: int) -> int:
    """Return the id of the compute-instance profile of that many slices: 0, 1, 2, 3, and 4 for seven."""
    return min(slices, 5) - 1


def taken_slots(state: DriverState) -> set[int]:
    """Return the memory slices that instances occupy."""
    return {slot for gi in state.instances for slot in range(gi.start, gi.start + state.profile(gi).size)}


LISTINGS = {
    "lgip": list_profiles,
    "lgipp": list_placements,
    "lgi": list_gpu_instances,
    "lci": list_compute_instances,
}
