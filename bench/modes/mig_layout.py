"""Which MIG instances a mix gets, and where each lies: computed here, and passed on explicitly.

Creating instances biggest first is not enough: the driver's own choice of places can strand slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import ModeUnavailable
from bench.gpu.mig_tables import MigPlacements, MigProfile
from bench.plan.mode import Mig, MigMps


@dataclass(frozen=True)
class Placed:
    """One instance to be made."""

    profile: MigProfile
    start: int


def plan_layout(
    mode: Mig | MigMps, tenants: int, profiles: Sequence[MigProfile], placements: Mapping[int, MigPlacements]
) -> tuple[Placed, ...]:
    """Return the placed instances for a mix, in plan order; raises ModeUnavailable where they do not fit."""
    count = mode.instances_for(tenants)
    wanted = _named(mode.profiles, profiles) if mode.profiles else _equal(count, profiles, placements)
    starts = _places(wanted, placements)
    if starts is None:
        raise ModeUnavailable(
            f"{'+'.join(profile.name for profile in wanted)} does not fit on this GPU; "
            "`nvidia-smi mig -lgipp` lists where instances can lie"
        )
    return tuple(Placed(profile, start) for profile, start in zip(wanted, starts, strict=True))


def _named(names: Sequence[str], profiles: Sequence[MigProfile]) -> list[MigProfile]:
    by_name = {profile.name: profile for profile in profiles}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ModeUnavailable(f"no MIG profile {', '.join(unknown)} on this GPU; it has: {', '.join(by_name)}")
    return [by_name[name] for name in names]


def _equal(
    count: int, profiles: Sequence[MigProfile], placements: Mapping[int, MigPlacements]
) -> list[MigProfile]:
    """Choose the plain profile with the most SMs, then the most memory, of which `count` fit."""
    plain = [profile for profile in profiles if profile.name.replace(".", "").isalnum()]
    by_size = sorted(plain, key=lambda profile: (profile.sm_count, profile.memory_gib), reverse=True)
    for profile in by_size:
        if profile.total >= count and _places([profile] * count, placements) is not None:
            return [profile] * count
    most = max((profile.total for profile in plain), default=0)
    raise ModeUnavailable(f"{count} MIG instances are needed; this GPU has room for {most}")


def _places(wanted: Sequence[MigProfile], placements: Mapping[int, MigPlacements]) -> list[int] | None:
    """Find a start slot for each instance without overlap, biggest first, by trying; None where there is none."""
    order = sorted(range(len(wanted)), key=lambda slot: -placements[wanted[slot].id].size)
    starts: dict[int, int] = {}

    def place(rest: Sequence[int], taken: frozenset[int]) -> bool:
        if not rest:
            return True
        where = placements[wanted[rest[0]].id]
        for start in where.starts:
            slots = frozenset(range(start, start + where.size))
            if not slots & taken and place(rest[1:], taken | slots):
                starts[rest[0]] = start
                return True
        return False

    return [starts[slot] for slot in range(len(wanted))] if place(order, frozenset()) else None
