"""Two runs side by side: does the second reproduce the first? Nothing is pooled; each run keeps its own intervals.

Blocks of two runs have nothing to do with each other, so arms are unpaired (Welch on logarithms), and equivalence
is two one-sided tests with a margin fixed beforehand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from bench.analysis.cells import arm_of
from bench.analysis.colocation import EXCLUSIVE, Quantity
from bench.analysis.metrics import METRICS, unit_of
from bench.analysis.summary import Comparison
from bench.errors import SetupError
from bench.stats.equivalence import Equivalence, Reproduction, tost_unpaired, verdict_of
from bench.stats.interval import Interval, geometric_mean_interval
from bench.stats.multiplicity import holm
from bench.store.record import Status, TrialRecord


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ."""

    field: str
    a: str
    b: str


@dataclass(frozen=True)
class Repeat:
    """One quantity of one cell in both runs; `equivalence` is of B over A, None where no ratio is finite."""

    mix: str
    mode: str
    metric: str
    job: str
    unit: str
    a: Interval
    b: Interval
    equivalence: Equivalence | None
    p_different: float | None
    """Of no difference at all, after Holm over every quantity that both runs have."""

    @property
    def verdict(self) -> str:
        """What the two one-sided tests and the test of a difference say, this one after Holm."""
        if self.equivalence is None:
            return Reproduction.INCONCLUSIVE.value
        return verdict_of(self.equivalence.interval, self.equivalence.margin, self.p_different).value


@dataclass(frozen=True)
class Repetition:
    """What two runs say together, and what only one of them has."""

    a: Comparison
    b: Comparison
    differences: tuple[Difference, ...]
    repeats: tuple[Repeat, ...]
    unshared: tuple[str, ...]


_Cell = tuple[str, str, str]
"""Name of a mix, its jobs, and the mode: a mix of the same name with other jobs is another mix."""


def repetition(a: Comparison, b: Comparison) -> Repetition:
    """Hold run B against run A; raises SetupError where one is simulated and the other measured."""
    if a.run.simulated != b.run.simulated:
        simulated, measured = (a, b) if a.run.simulated else (b, a)
        raise SetupError(
            f"{simulated.run.run_id} is simulated and {measured.run.run_id} is measured: a prediction "
            "is not compared with a measurement; name two runs of one kind"
        )
    ours, theirs = _cells(a), _cells(b)
    shared = [cell for cell in ours if cell in theirs]
    only = [*_missing(ours, theirs, "A"), *_missing(theirs, ours, "B")]
    if not shared:
        raise SetupError(
            f"{a.run.run_id} and {b.run.run_id} share no mode with a mix of the same jobs; name two runs that do"
        )
    return Repetition(a, b, tuple(_differences(a, b)), _repeats(a, ours, theirs, shared), tuple(only))


def _missing(own: Mapping[_Cell, object], other: Mapping[_Cell, object], name: str) -> Iterator[str]:
    yield from (
        f"{mix} ({jobs}): {mode}, only in {name}" for mix, jobs, mode in own if (mix, jobs, mode) not in other
    )


def _cells(of: Comparison) -> dict[_Cell, dict[Quantity, list[float]]]:
    """Return the values of each quantity in each cell, a number a block, in plan order."""
    modes = [EXCLUSIVE, *(mode.label for mode in of.plan.sharing_modes)]
    jobs = {mix.name: " + ".join(job.label for job in mix.jobs) for mix in of.plan.mixes}
    found: dict[_Cell, dict[Quantity, list[float]]] = {}
    for cell in sorted(of.cells, key=lambda cell: (list(jobs).index(cell.mix), modes.index(cell.mode))):
        values = found.setdefault((cell.mix, jobs[cell.mix], cell.mode), {})
        for quantity, reading in cell.readings.items():
            metric = METRICS[quantity[0]]
            derived = cell.mode == EXCLUSIVE and not quantity[1] and metric.unit == ""
            # What is 1 by definition is no repeat, and what may be 0 has no ratio.
            if reading.value is not None and not derived and not metric.may_be_zero:
                values.setdefault(quantity, []).append(reading.value)
    return found


def _repeats(
    a: Comparison,
    ours: Mapping[_Cell, Mapping[Quantity, list[float]]],
    theirs: Mapping[_Cell, Mapping[Quantity, list[float]]],
    shared: list[_Cell],
) -> tuple[Repeat, ...]:
    asked = [(cell, quantity) for cell in shared for quantity in ours[cell] if quantity in theirs[cell]]
    found = [_tost(quantity[0], ours[cell][quantity], theirs[cell][quantity]) for cell, quantity in asked]
    adjusted = holm([each.interval.p_value if each else None for each in found])
    units = {tenant.job: tenant.unit for record in a.records for tenant in record.tenants}
    return tuple(
        Repeat(cell[0], cell[2], *quantity, unit_of(METRICS[quantity[0]], quantity[1], units),
               _level(ours[cell][quantity]), _level(theirs[cell][quantity]), equivalence, p)
        for (cell, quantity), equivalence, p in zip(asked, found, adjusted, strict=True)
    )  # fmt: skip


def _bounded(values: list[float]) -> bool:
    return bool(values) and all(isfinite(value) and value > 0 for value in values)


def _level(values: list[float]) -> Interval:
    return geometric_mean_interval(values if _bounded(values) else [])


def _tost(metric: str, before: list[float], after: list[float]) -> Equivalence | None:
    if not _bounded(before) or not _bounded(after):
        return None
    return tost_unpaired(after, before, METRICS[metric].margin)


def _differences(a: Comparison, b: Comparison) -> Iterator[Difference]:
    ours, theirs = dict(_set_up(a)), dict(_set_up(b))
    for field in dict.fromkeys([*ours, *theirs]):
        left, right = ours.get(field), theirs.get(field)
        if left != right:
            yield Difference(field, _text(left), _text(right))


def _text(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _set_up(of: Comparison) -> Iterator[tuple[str, Any]]:
    """Yield all that could make two runs differ: device, code, plan, images and libraries; and what failed."""
    run, plan = of.run, of.plan
    for prefix, values in (
        ("device", run.device),
        ("software", run.software),
        ("timing", plan.timing.model_dump()),
    ):
        yield from ((f"{prefix}.{name}", value) for name, value in values.items())
    yield "clock lock", run.clock_lock
    yield "plan.blocks", plan.blocks
    yield "plan.baseline", plan.reference
    yield "plan.primary", ", ".join(plan.primary)
    yield "plan.modes", ", ".join(mode.label for mode in plan.sharing_modes)
    for mix in plan.mixes:
        yield f"plan.mixes.{mix.name}", " + ".join(job.label for job in mix.jobs)
    yield from ((f"plan.files.{name}", digest) for name, digest in run.inputs.items())
    yield "launcher", ", ".join(sorted({record.launcher for record in of.records}))
    yield from dict(_of_workloads(of.records)).items()
    yield from _failures(of.records).items()


def _failures(records: tuple[TrialRecord, ...]) -> dict[str, str]:
    """Return how often each cell failed: a quantity is reproduced by the trials that are left."""
    tried: dict[str, list[bool]] = {}
    for record in records:
        if record.status in (Status.OK, Status.FAILED):
            field = f"failures.{record.mix}.{arm_of(record)}"
            tried.setdefault(field, []).append(record.status is Status.FAILED)
    return {field: f"{sum(failed)} of {len(failed)}" if any(failed) else "none" for field, failed in tried.items()}


def _of_workloads(records: tuple[TrialRecord, ...]) -> Iterator[tuple[str, Any]]:
    for record in records:
        for tenant in record.tenants if record.status is Status.OK else ():
            for kind, values in (("image", tenant.provenance), ("libraries", tenant.libraries)):
                yield from ((f"{tenant.workload}.{kind}.{name}", value) for name, value in values.items())
