"""How throughput grows with the number of equal jobs: fits to a series of mixes of 1 to n of them, mode by mode.

Every block of every count is a point. MIG has its own law, the number of slices, so there points are all there is.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.colocation import BlockCell
from bench.plan.mode import Mode
from bench.plan.model import Plan
from bench.stats.interval import Interval, geometric_mean_interval
from bench.stats.scaling import MIN_CLIENT_COUNTS, ScalingFit, amdahl_fit, usl_fit

SLICED = ("mig", "mig-mps")
CLEARLY = 2.0
"""One law is preferred where its AICc is smaller by this at least."""


@dataclass(frozen=True)
class Point:
    """Throughput of all clients together, in units per second, over the blocks in which none of them starved."""

    clients: int
    throughput: Interval


@dataclass(frozen=True)
class Series:
    """One job in one mode, alone and in company of its equals; `reason` says why there is no fit."""

    job: str
    unit: str
    mode: str
    points: tuple[Point, ...]
    usl: ScalingFit | None
    amdahl: ScalingFit | None
    reason: str | None

    @property
    def preferred(self) -> str | None:
        """The law with the smaller AICc; None without fits, or where they are too near."""
        usl, amdahl = (fit.aicc if fit else None for fit in (self.usl, self.amdahl))
        if usl is None or amdahl is None or abs(usl - amdahl) < CLEARLY:
            return None
        return "USL" if usl < amdahl else "Amdahl"


def series(plan: Plan, cells: Sequence[BlockCell]) -> tuple[Series, ...]:
    """Return one for each job that the plan runs in six or more numbers of equals, 1 among them, and each mode."""
    return tuple(
        _one(job, mode, mixes, cells) for job, mixes in _counted(plan).items() for mode in plan.sharing_modes
    )


def _counted(plan: Plan) -> dict[str, dict[str, int]]:
    """Return for each job of a series the number of its equals by mix."""
    found: dict[str, dict[str, int]] = {}
    for mix in plan.mixes:
        labels = {job.label for job in mix.jobs}
        if len(labels) == 1:
            found.setdefault(labels.pop(), {})[mix.name] = len(mix.jobs)
    return {job: mixes for job, mixes in found.items() if _is_series(mixes.values())}


def _is_series(counts: Collection[int]) -> bool:
    return 1 in counts and len(set(counts)) >= MIN_CLIENT_COUNTS


def _one(job: str, mode: Mode, mixes: dict[str, int], cells: Sequence[BlockCell]) -> Series:
    own = [cell for cell in cells if cell.mode == mode.label and cell.mix in mixes]
    totals = [(mixes[cell.mix], sum(tenant.rate for tenant in cell.jobs)) for cell in own]
    known = [(clients, total) for clients, total in totals if total > 0]
    clients, throughput = [each[0] for each in known], [each[1] for each in known]
    unit = next((tenant.unit for cell in own for tenant in cell.jobs), "items")
    reason = "the number of slices bounds it, so no law is fitted" if mode.mode in SLICED else None
    fits = [] if reason else [usl_fit(clients, throughput), amdahl_fit(clients, throughput)]
    if not reason and None in fits:
        told = f"{len(set(clients))} numbers of clients measured"
        reason = f"{told}; a fit needs {MIN_CLIENT_COUNTS}, 1 among them, and parameters that fit"
    usl, amdahl = fits if fits else (None, None)
    return Series(job, unit, mode.label, tuple(_points(known)), usl, amdahl, reason)


def _points(known: Sequence[tuple[int, float]]) -> Iterator[Point]:
    for count in sorted({clients for clients, _ in known}):
        yield Point(count, geometric_mean_interval([total for clients, total in known if clients == count]))
