"""`run --dry-run`: every trial of a plan, what it will take, and what it can show."""

from collections.abc import Iterator, Sequence

from bench.gpu.device import Device
from bench.plan.mode import AsFound
from bench.plan.schedule import Role, Schedule, Trial
from bench.stats.rounding import counted
from bench.verbs.calibration import searching

SPREADS = (0.01, 0.02, 0.03, 0.05)
"""Standard deviations of log-ratios between blocks to make the table for; a run's own is known afterwards."""


def print_schedule(schedule: Schedule, device: Device, lock: int | str | None, decided: bool = False) -> None:
    """Print every trial of a schedule, then what it takes and can show."""
    print(f"device: {device.name}")
    if lock is not None:
        print(f"SM clock: locked at {f'{lock} MHz' if isinstance(lock, int) else 'what a short trial finds'}")
    for trial in schedule.trials:
        print(f"block {trial.block:>2}  {trial.mode.label:<14} {trial.mix.name}{_alone(trial)}")
    for trial in searching(schedule):
        print(f"before block 1: the highest rate of {trial.tenants[0]}, alone; its time is not in what follows")
    for line in _expectations(schedule, decided):
        print(line)


def _alone(trial: Trial) -> str:
    """Say of a job that runs alone in what (of exclusive that goes without saying), and what a control is."""
    if trial.role is Role.SHARE:
        return f", {trial.tenants[0]} alone in its share"
    if trial.role is Role.REPEAT:
        return ", once more (A/A)"
    if trial.slowdown is not None:
        return f", slowed by {100 * trial.slowdown:g} % (positive control)"
    return ", alone" if trial.role is Role.SOLO and isinstance(trial.mode, AsFound) else ""


def _expectations(schedule: Schedule, decided: bool) -> Iterator[str]:
    """Yield lines on time, controls and, where modes are compared, power.

    `decided` says that what was measured has decided their number, so that the schedule is the whole one.
    """
    timing = schedule.timing
    most = None if decided or (timing.most_blocks or 0) <= len(schedule.blocks) else timing.most_blocks
    yield from _times(schedule, most)
    if timing.measures == "sharing":
        yield from _power([len(schedule.blocks), *([most] if most else [])])


def _times(schedule: Schedule, most: int | None) -> Iterator[str]:
    timing, blocks = schedule.timing, len(schedule.blocks)
    measured_h, total_h = schedule.measured_s / 3600, (schedule.measured_s + schedule.start_up_s) / 3600
    yield (
        f"{len(schedule.trials)} trials in {counted(blocks, 'block')}, {timing.settle_s:g} s to settle and "
        f"{timing.window_s:g} s of window each: {measured_h:.2f} h of measuring;"
    )
    yield f"with starting jobs and switching modes, as assumed for a real GPU, about {total_h:.1f} GPU hours"
    if most:
        longest = f"at most {most} ({total_h / blocks * most:.1f} GPU hours)"
        what = "the pilot: it decides" if timing.stopping == "stein" else "up to the next look, which decides"
        yield f"this is {what} how many blocks there are in all, {longest}"
    if controls := sum(trial.role in (Role.REPEAT, Role.SLOWED) for trial in schedule.trials):
        share = 100 * controls / len(schedule.trials)
        yield f"{controls} of the trials ({share:.0f} %) are controls: A/A and a tenant slowed by a known share"
    if timing.repeats_unsteady:
        yield "a block in which a window is not steady is measured once more, with windows twice as long"


def _power(numbers: Sequence[int]) -> Iterator[str]:
    """Yield the smallest differences that so many blocks show with 90 % power, before Holm's correction."""
    from bench.stats.planning import visible_ratio  # noqa: PLC0415 - scipy takes half a second
    from bench.stats.verdict import MIN_BLOCKS  # noqa: PLC0415

    if max(numbers) < MIN_BLOCKS:
        yield f"no difference can be shown: that takes {MIN_BLOCKS} blocks"
        return
    yield f"standard deviation of a ratio between blocks:  {'  '.join(f'{100 * sd:>5g} %' for sd in SPREADS)}"
    for n in (number for number in numbers if number >= MIN_BLOCKS):
        seen = [visible_ratio(n, sd) for sd in SPREADS]
        cells = "  ".join("   none" if ratio is None else f"{100 * (ratio - 1):>5.1f} %" for ratio in seen)
        yield f"{n:>3} blocks show, with 90 % power, a difference of: {cells}"
