"""What comparisons are made of: the cells of a run, and two modes held against each other block by block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from bench.analysis.colocation import EXCLUSIVE, BlockCell
from bench.analysis.metrics import Metric
from bench.analysis.reading import first_reason
from bench.plan.model import Mix
from bench.plan.schedule import Role
from bench.stats.equivalence import ALPHA, Reproduction, verdict_of
from bench.stats.interval import geometric_mean_interval
from bench.stats.ratio import RatioInterval, paired_log_ratio, two_stage_log_ratio
from bench.stats.verdict import MIN_BLOCKS
from bench.store.record import Status, TrialRecord

PRIMARY, EXPLORATORY, CONTROL = "primary", "exploratory", "control"
AGAIN, SLOWED = "(A/A)", f"{EXCLUSIVE} (slowed)"


@dataclass(frozen=True)
class Question:
    """What a contrast asks, before the data are looked at."""

    mix: str
    metric: Metric
    job: str
    mode: str
    baseline: str
    unit: str
    family: str


@dataclass(frozen=True)
class Pairs:
    """A question's data: the values of both sides in the blocks in which both are there."""

    values: list[float]
    baseline: list[float]
    reason: str | None
    pilot: int | None = None
    """How many of them, the first ones, are of the pilot that chose the number of blocks; None without one."""

    @cached_property
    def interval(self) -> RatioInterval:
        """Mode over baseline; against a derived arm this is the one-sample interval against its constant."""
        return self.at(0.95)

    def at(self, confidence: float) -> RatioInterval:
        """Return the interval of mode over baseline at another confidence."""
        if self.pilot is not None:
            return two_stage_log_ratio(self.values, self.baseline, self.pilot, confidence)
        return paired_log_ratio(self.values, self.baseline, confidence)

    def sameness(self, margin: float, p_adjusted: float | None) -> Reproduction:
        """Test whether both sides are the same within a margin (TOST); too few blocks show nothing."""
        if self.interval.n < MIN_BLOCKS:
            return Reproduction.INCONCLUSIVE
        return verdict_of(self.at(1 - 2 * ALPHA), margin, p_adjusted)

    @property
    def levels(self) -> tuple[float | None, float | None]:
        """Geometric means of both sides."""
        return geometric_mean_interval(self.values).value, geometric_mean_interval(self.baseline).value


def arm_of(record: TrialRecord) -> str:
    """Return the side of a comparison that a trial is on: its mode, but for jobs alone and for controls."""
    match record.role:
        case Role.SOLO:  # as-found runs its own solo trials
            return EXCLUSIVE
        case Role.SLOWED:
            return SLOWED
        case Role.REPEAT:
            return f"{record.mode_label} {AGAIN}"
        case _:
            return record.mode_label


class Cells:
    """All cells of a run by mode, mix and block, with the failures that left gaps among them.

    `pilot_blocks` is how many blocks chose the number of all; None where that number was fixed beforehand.
    """

    def __init__(
        self, cells: Iterable[BlockCell], records: Iterable[TrialRecord], pilot_blocks: int | None = None
    ) -> None:
        self._pilot_blocks = pilot_blocks
        self._cells: dict[tuple[str, str], dict[int, BlockCell]] = {}
        for cell in sorted(cells, key=lambda cell: cell.block):
            self._cells.setdefault((cell.mode, cell.mix), {})[cell.block] = cell
        self._attempts: dict[tuple[str, str], dict[int, bool]] = {}
        self._skipped: set[tuple[str, str]] = set()
        for record in records:
            mode = arm_of(record)
            if record.status is Status.SKIPPED:
                self._skipped.add((mode, record.mix))
            elif record.role is not Role.SHARE:
                failed = self._attempts.setdefault((mode, record.mix), {})
                failed[record.block] = record.status is Status.FAILED

    def attempts(self, mode: str, mix: Mix) -> dict[int, bool]:
        """Return the blocks in which a cell was attempted, and whether it failed there."""
        if mode != EXCLUSIVE:
            return self._attempts.get((mode, mix.name), {})
        failed: dict[int, bool] = {}
        for job in dict.fromkeys(job.label for job in mix.jobs):
            for block, its_own in self._attempts.get((EXCLUSIVE, job), {}).items():
                failed[block] = failed.get(block, False) or its_own
        return failed

    def of(self, mode: str, mix: str) -> Mapping[int, BlockCell]:
        """Return the measured (or derived) cells of one mode and mix by block, in order."""
        return self._cells.get((mode, mix), {})

    def pairs(self, question: Question) -> Pairs:
        """Pair the two sides of a question block by block; a starved job forbids the ratio, visibly."""
        sides = [
            {
                block: cell.reading(question.metric.name, question.job)
                for block, cell in self.of(mode, question.mix).items()
            }
            for mode in (question.mode, question.baseline)
        ]
        both = {block: (sides[0][block], sides[1][block]) for block in sides[0] if block in sides[1]}
        told = {block: (a.value, b.value) for block, (a, b) in both.items()}
        known = {block: (a, b) for block, (a, b) in told.items() if a is not None and b is not None}
        unbounded = sum(not all(isfinite(x) and x > 0 for x in pair) for pair in known.values())
        if unbounded:
            return Pairs([], [], f"a job starved in {unbounded} of {len(known)} blocks, so no ratio is finite")
        skipped = (question.mode, question.mix) in self._skipped and not sides[0]
        reason = (
            f"{question.mode} was skipped"
            if skipped
            else first_reason(each for pair in both.values() for each in pair)
        )
        pilot = None if self._pilot_blocks is None else sum(block <= self._pilot_blocks for block in known)
        return Pairs([a for a, _ in known.values()], [b for _, b in known.values()], reason, pilot)
