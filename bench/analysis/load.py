"""How a server's latency grows with the load that it is offered: the same mix at several rates."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.analysis.levels import Level
from bench.analysis.metrics import ATTAINMENT, LATENCY_P50, LATENCY_P99, OFFERED
from bench.analysis.trials import TrialMeasure
from bench.plan.model import LOAD, Mix, Plan
from bench.store.decision import Calibration, JobRate

RATE_PARAMETER = "rate"
FEWEST_LOADS = 3
"""With fewer loads there is no curve; those that a search tried count."""
Kind = tuple[str, tuple[str, ...]]
"""A job of requests without its rate, and the jobs beside it."""


@dataclass(frozen=True)
class LoadPoint:
    """What users of a job got at one rate in one mode: offered rate, percentiles and attainment over blocks."""

    mode: str
    offered_per_s: float
    p50_s: Level | None
    p99_s: Level | None
    attainment: Level | None


@dataclass(frozen=True)
class LoadCurve:
    """One job of requests beside the same neighbours, at every rate of the plan, by rising rate.

    `search` is how its highest rate alone was found; None where nobody searched.
    """

    job: str
    beside: tuple[str, ...]
    points: tuple[LoadPoint, ...]
    slo_s: float | None
    search: JobRate | None

    @property
    def tried(self) -> tuple[tuple[float, float], ...]:
        """The rates per second that the search tried, each with the share that was answered within the SLO."""
        probes = self.search.search.get("probes", ()) if self.search else ()
        return tuple(sorted((float(each["rate_per_s"]), float(each["attainment"])) for each in probes))


def load_curves(
    plan: Plan, levels: Iterable[Level], trials: Iterable[TrialMeasure], calibration: Calibration | None
) -> tuple[LoadCurve, ...]:
    """Return a curve for each job of requests with enough loads, in plan order; the SLO is that of `trials`."""
    slo_s = {each.tenant.job: each.tenant.slo_s for trial in trials for each in trial.tenants}
    searches = {rate.job: rate for rate in calibration.jobs} if calibration else {}
    of = {(level.mix, level.mode, level.metric, level.job): level for level in levels}
    found: dict[Kind, list[LoadPoint]] = {}
    labels: dict[Kind, str] = {}
    for mix in plan.mixes:
        for kind, label in _kinds(mix):
            found.setdefault(kind, []).extend(_points(of, mix.name, label))
            labels.setdefault(kind, label)
    curves = (
        LoadCurve(*kind, tuple(sorted(own, key=_offered)), slo_s.get(labels[kind]), searches.get(labels[kind]))
        for kind, own in found.items()
    )
    return tuple(curve for curve in curves if curve.points and _loads(curve) >= FEWEST_LOADS)


def _kinds(mix: Mix) -> list[tuple[Kind, str]]:
    """Return each distinct job of requests in a mix as its kind, with its label."""
    kinds = {}
    for slot, job in enumerate(mix.jobs):
        if job.serves_users:
            others = tuple(other.label for place, other in enumerate(mix.jobs) if place != slot)
            fixed = {key: value for key, value in job.parameters.items() if key not in (LOAD, RATE_PARAMETER)}
            kinds[job.model_copy(update={"parameters": fixed}).label, others] = job.label
    return list(kinds.items())


def _points(of: dict[tuple[str, str, str, str], Level], mix: str, job: str) -> list[LoadPoint]:
    points = []
    for (name, mode, metric, label), level in of.items():
        if (name, metric, label) == (mix, OFFERED.name, job) and level.value:
            rest = (of.get((mix, mode, each.name, job)) for each in (LATENCY_P50, LATENCY_P99, ATTAINMENT))
            points.append(LoadPoint(mode, level.value, *rest))
    return points


def _offered(point: LoadPoint) -> float:
    return point.offered_per_s


def _loads(curve: LoadCurve) -> int:
    """Return how many rates are known, those of the plan by any mode."""
    modes = [point.mode for point in curve.points]
    return max(modes.count(mode) for mode in modes) + len({rate for rate, _ in curve.tried})
