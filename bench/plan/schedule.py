"""The order in which everything is measured: randomised blocks, split-plot, reproducible from one seed.

Mode is the hard-to-change (whole-plot) factor: each block enters every mode once, in random order, and runs
the mode's trials in random order inside (methodology: randomised complete blocks; Mytkowicz et al. 2009).
"""

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.plan.mode import AsFound, Exclusive, Mig, MigMps, Mode, Mps, MpsEqual, MpsPartitions
from bench.plan.model import Mix, Plan, Timing

LONGEST_WORD = 60  # of the three that an id consists of: ids are names of folders
JOB_START_S, SWITCH_S = 20.0, 10.0  # assumed, for estimates: imports, model, warm-up; entering and leaving
KNOWN_SLOWDOWN = 0.05
"""Each step of the positive control lasts longer by this share, so its rate is 1 / 1.05 of the solo rate."""


class Role(StrEnum):
    """Why a trial exists."""

    MIX = "mix"  # all jobs of a mix side by side
    SOLO = "solo"  # one job alone on the whole device (as-found: in what was found): the reference rate
    SHARE = "share"  # one job alone in the share it has in a mix: splits slowdown into partition x interference
    REPEAT = "a/a"  # a mix once more, in a visit of its own: what a mode differs from itself
    SLOWED = "slowed"  # one job alone, slowed by a known share: what a known difference looks like


@dataclass(frozen=True)
class Trial:
    """One planned execution of a cell. `slot` names the job of the mix that runs alone, if one does."""

    id: str
    block: int
    mode: Mode
    mix: Mix
    role: Role
    slot: int | None
    seed: int
    block_seed: int = 0  # the same in all modes of a block: what users do does not depend on the mode
    longer: bool = False
    """Whether it is of a block that is measured once more, because a window of it was not steady."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """Names of the tenants that run in this trial."""
        return self.mix.tenants if self.slot is None else (self.mix.tenants[self.slot],)

    @property
    def share(self) -> str | None:
        """The share of the device that a job alone in its share has; None for other trials."""
        return (
            None if self.role is not Role.SHARE or self.slot is None else share_of(self.mode, self.mix, self.slot)
        )

    @property
    def slowdown(self) -> float | None:
        """By which share each step is to last longer; None but for the positive control."""
        return KNOWN_SLOWDOWN if self.role is Role.SLOWED else None


@dataclass(frozen=True)
class Visit:
    """One entering of a mode, and the trials that run while it lasts."""

    mode: Mode
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Block:
    """Every mode once, in random order; inside a mode its mixes in random order.

    A plan with controls enters one mode a second time, for its first mix alone. The `longer` repeat of a block
    has its index.
    """

    index: int
    visits: tuple[Visit, ...]
    longer: bool = False

    @property
    def name(self) -> str:
        """What names of its trials and visits begin with."""
        return block_name(self.index, self.longer)


@dataclass(frozen=True)
class Schedule:
    """All blocks of a run, and the timing that every trial shares."""

    timing: Timing
    blocks: tuple[Block, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order in which they run."""
        return tuple(trial for block in self.blocks for visit in block.visits for trial in visit.trials)

    @property
    def measured_s(self) -> float:
        """Seconds of settling and window that the trials take; start-up and mode switches come on top."""
        return len(self.trials) * (self.timing.settle_s + self.timing.window_s)

    @property
    def start_up_s(self) -> float:
        """Seconds that start-up and switching will take, by assumption: jobs become ready one after another."""
        jobs = sum(len(trial.tenants) for trial in self.trials)
        return jobs * JOB_START_S + sum(len(block.visits) for block in self.blocks) * SWITCH_S


def make_schedule(plan: Plan, seed: int) -> Schedule:
    """Randomise the plan; the same plan and seed always give the same schedule and trial ids."""
    shuffle = random.Random(seed)
    blocks = tuple(_block(plan, index, seed, shuffle) for index in range(1, plan.blocks + 1))
    return Schedule(plan.timing, blocks)


def make_repeats(plan: Plan, seed: int, blocks: Iterable[int]) -> Schedule:
    """Randomise these blocks anew, every mode of each, with windows twice as long."""
    repeats = (_block(plan, index, seed, random.Random(f"{seed}:{index}"), True) for index in sorted(set(blocks)))
    return Schedule(plan.timing.longer, tuple(repeats))


def block_name(index: int, longer: bool) -> str:
    """Return `b03`, or `b03x2` for the longer repeat of that block."""
    return f"b{index:02d}{'x2' if longer else ''}"


def share_of(mode: Mode, mix: Mix, slot: int) -> str | None:
    """Return what cuts the device for one tenant of a mix (`50%`, `7 chunks`, `3g.40gb`, `1 of 2`), or None."""
    match mode:
        case Mps():
            percentage = mode.percentage_of(slot)  # a memory limit alone takes no SMs away
            return None if percentage is None else f"{percentage}%"
        case MpsEqual():
            return f"{100 // len(mix.jobs)}%"
        case MpsPartitions():
            return f"{mode.chunks[slot]} chunks" if mode.chunks else f"1 of {len(mix.jobs)}"
        case Mig() | MigMps():
            instances = mode.instances_for(len(mix.jobs))
            return mode.profiles[slot % instances] if mode.profiles else f"1 of {instances}"
        case _:
            return None


def _block(plan: Plan, index: int, seed: int, shuffle: random.Random, longer: bool = False) -> Block:
    block, taken = Block(index, (), longer), set[str]()
    visits = [Visit(mode, _shuffled(_trials(plan, mode, block, seed, taken), shuffle)) for mode in _modes(plan)]
    if again := plan.repeated_mode:
        cell = (Role.REPEAT, plan.mixes[0], None)
        visits.append(Visit(again, (_trial(cell, block, again, seed, taken),)))
    shuffle.shuffle(visits)
    return replace(block, visits=tuple(visits))


def _modes(plan: Plan) -> list[Mode]:
    """Return what a block enters; with as-found alone, since nothing is switched, not even to exclusive."""
    shared = plan.sharing_modes
    return list(shared) if any(isinstance(mode, AsFound) for mode in shared) else [Exclusive(), *shared]


def _shuffled(groups: list[list[Trial]], shuffle: random.Random) -> tuple[Trial, ...]:
    """Put groups, and trials inside a group, into random order."""
    shuffle.shuffle(groups)
    for group in groups:
        shuffle.shuffle(group)
    return tuple(trial for group in groups for trial in group)


_Cell = tuple[Role, Mix, int | None]


def _cells(plan: Plan, mode: Mode) -> list[list[_Cell]]:
    """List what runs while `mode` lasts, in groups that need the device cut in the same way.

    In exclusive these are the jobs, alone, and one of them slowed as a control; else each mix, with those of its
    jobs that also run alone in their share (once for each pair of job and share, even where several mixes have
    it). As-found has both.
    """
    jobs = {job.label: Mix(name=job.label, jobs=(job,)) for mix in plan.mixes for job in mix.jobs}
    solo: list[list[_Cell]] = [[(Role.SOLO, alone, 0)] for alone in jobs.values()]
    if slowed := plan.slowed_job:
        solo.append([(Role.SLOWED, jobs[slowed.label], 0)])
    if isinstance(mode, Exclusive):
        return solo
    seen: set[tuple[str, str]] = set()
    shared = [[(Role.MIX, mix, None), *_alone(mode, mix, seen)] for mix in plan.mixes]
    return [*solo, *shared] if isinstance(mode, AsFound) else shared


def _alone(mode: Mode, mix: Mix, seen: set[tuple[str, str]]) -> Iterator[_Cell]:
    """Yield the jobs of a mix that run alone in their share, and note them in `seen`."""
    for slot, job in enumerate(mix.jobs):
        share = share_of(mode, mix, slot)
        if share is not None and len(mix.jobs) > 1 and (job.label, share) not in seen:
            seen.add((job.label, share))
            yield Role.SHARE, mix, slot


def _trials(plan: Plan, mode: Mode, block: Block, seed: int, taken: set[str]) -> list[list[Trial]]:
    """Name the cells of a mode, in plan order: the same cell has the same name in every block."""
    return [[_trial(cell, block, mode, seed, taken) for cell in group] for group in _cells(plan, mode)]


def _trial(cell: _Cell, block: Block, mode: Mode, seed: int, taken: set[str]) -> Trial:
    role, mix, slot = cell
    what = mix.name if slot is None else mix.jobs[slot].label
    words = [block.name, mode.slug, what, _last_word(role, mode, mix, slot)]
    trial_id = _unused("-".join(_slug(word)[:LONGEST_WORD] for word in words if word), taken)
    return Trial(
        trial_id, block.index, mode, mix, role, slot, trial_seed(seed, trial_id),
        trial_seed(seed, f"block {block.name}"), block.longer,
    )  # fmt: skip


def _last_word(role: Role, mode: Mode, mix: Mix, slot: int | None) -> str:
    """Return what tells a trial from others of the same mode and jobs; empty where nothing must."""
    if role is Role.SHARE and slot is not None:
        return f"alone-in-{share_of(mode, mix, slot)}"
    if role is Role.SOLO:
        return "" if isinstance(mode, Exclusive) else "alone"
    return "" if role is Role.MIX else role.value


def trial_seed(run_seed: int, trial_id: str) -> int:
    """Derive a trial's own seed, so that a resumed run repeats what an undisturbed one would have done."""
    digest = hashlib.sha256(f"{run_seed}:{trial_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("%", "pct")).strip("-.") or "mix"


def _unused(name: str, taken: set[str]) -> str:
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    taken.add(unique)
    return unique
