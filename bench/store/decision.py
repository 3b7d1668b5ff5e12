"""What a run decides on the way and then keeps to: rates of loads, how many blocks, which once more."""

from collections.abc import Mapping
from typing import Any, Literal

from bench.plan.model import Stopping
from bench.store.record import SCHEMA_VERSION, Document


class JobRate(Document):
    """The rate that a job's `load` stands for, and the search that found the maximum it is a share of.

    The maximum is the highest Poisson rate at which 99 % of the requests were answered within `slo_s`, confirmed.
    """

    job: str
    load: float
    slo_s: float
    maximum_per_s: float
    rate_per_s: float
    mode_label: str  # in which the job ran, alone
    search: Mapping[str, Any]  # as the job tells it: probes, lowest failing rate, attainment


class Calibration(Document):
    """What was found once, before the first block, and holds in all modes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    simulated: bool
    jobs: tuple[JobRate, ...]


class BlockNeed(Document):
    """How many blocks one primary contrast asks for, by the spread of its log-ratios over those looked at."""

    mix: str
    metric: str
    mode: str
    baseline: str
    pilot_blocks: int  # in which both sides are ok
    log_sd: float
    blocks: int  # pilot included, before the cap


class BlockDecision(Document):
    """How many blocks a run has in all, and what that was derived from.

    Stein's rule decides once, after the pilot; a sequential run at each look, until it stops at what it has.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    rule: Stopping = "stein"
    pilot_blocks: int  # those that were looked at
    blocks: int
    most_blocks: int
    target: float  # half-width of the 95 % interval, as a share of the true ratio
    needs: tuple[BlockNeed, ...]

    @property
    def spread_blocks(self) -> int | None:
        """How many blocks the spread in intervals comes from: after Stein's rule the pilot's; None: from all."""
        return self.pilot_blocks if self.rule == "stein" else None

    @property
    def is_final(self) -> bool:
        """Whether nothing is decided after this."""
        return self.rule != "sequential" or self.blocks == self.pilot_blocks

    @property
    def capped(self) -> bool:
        """Whether some contrast needs more blocks than the cap allows."""
        return any(need.blocks > self.blocks for need in self.needs)


class UnsteadyWindow(Document):
    """One tenant's declared window that did not hold a level, and so what its block is measured once more for."""

    block: int
    trial: str
    tenant: str
    flag: str
    reason: str


class RepeatDecision(Document):
    """Which of the first `judged_blocks` blocks are measured once more, longer, and why.

    Written when a stage of blocks is complete, and extended, never changed, by the next.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    judged_blocks: int = 0
    unsteady: tuple[UnsteadyWindow, ...] = ()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are repeated; from then on their first measurement is shown and does not count."""
        return tuple(sorted({window.block for window in self.unsteady}))


def rates_of(calibration: Calibration | None) -> dict[str, float]:
    """Return the rate (requests a second) of each job that has a load, by its label."""
    return {job.job: job.rate_per_s for job in calibration.jobs} if calibration else {}
