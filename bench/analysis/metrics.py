"""The registry of metrics: name, label, unit, and which direction is better. Nothing else knows these."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.stats.equivalence import TAIL_MARGIN, THROUGHPUT_MARGIN


@dataclass(frozen=True)
class Metric:
    """One quantity that modes are compared by; `unit` is empty for a pure number."""

    name: str
    label: str
    unit: str
    higher_is_better: bool
    per_job: bool = False
    may_be_zero: bool = False
    """Zero is an honest value: its level is an arithmetic mean, and no ratio is made of it."""
    is_share: bool = False
    """It is between 0 and 1, and so are the limits of its interval."""
    is_tail: bool = False
    noise_worsens: bool = False
    """It is of the worst job, so noise alone makes it worse than that of taking turns, which has no error."""

    @property
    def better(self) -> str:
        """Which direction is better, as tables print it."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def margin(self) -> float:
        """How far from 1 a ratio of it may be and still be called the same; tails are given more room."""
        return TAIL_MARGIN if self.is_tail else THROUGHPUT_MARGIN


STP = Metric("stp", "STP", "", True)
ANTT = Metric("antt", "ANTT", "", False)
SMALLEST = Metric("smallest_progress", "smallest progress", "", True, noise_worsens=True)
JAIN = Metric("jain", "Jain", "", True, noise_worsens=True)
ENERGY = Metric("energy_per_solo_second", "energy per solo second", "J", False)
TAIL = Metric("tail_inflation", "worst p99 inflation", "", False, is_tail=True, noise_worsens=True)
ISOLATION = Metric("isolation", "smallest isolation", "", True, noise_worsens=True)
RATE = Metric("rate", "throughput", "items/s", True, per_job=True)
LATENCY_P50 = Metric("latency_p50", "median step latency", "s", False, per_job=True)
LATENCY_P99 = Metric("latency_p99", "p99 step latency", "s", False, per_job=True, is_tail=True)
GOODPUT = Metric("goodput", "goodput", "requests/s", True, per_job=True)
ATTAINMENT = Metric("attainment", "SLO attainment", "", True, per_job=True, may_be_zero=True, is_share=True)
OFFERED = Metric("offered_rate", "offered rate", "requests/s", True, per_job=True, may_be_zero=True)
ERRORS = Metric("errors", "share of errors", "", False, per_job=True, may_be_zero=True, is_share=True)

CLOSED_METRICS = (STP, ANTT, SMALLEST, JAIN, ISOLATION, ENERGY)
"""Those that rest on the progress of jobs in a closed loop."""
MIX_METRICS = (STP, ANTT, SMALLEST, JAIN, TAIL, ISOLATION, ENERGY)
JOB_METRICS = (RATE, LATENCY_P50, LATENCY_P99)
SERVICE_METRICS = (GOODPUT, ATTAINMENT, OFFERED, ERRORS)
"""Those of jobs that serve users."""

SLOWDOWN = Metric("slowdown", "slowdown", "", False, per_job=True)
MEDIAN_INFLATION = Metric("median_inflation", "median inflation", "", False, per_job=True)
P99_INFLATION = Metric("p99_inflation", "p99 inflation", "", False, per_job=True)
AMPLIFICATION = Metric("tail_amplification", "tail amplification", "", False, per_job=True)
PER_GIB = Metric("rate_per_gib", "throughput per GiB", "items/s/GiB", True, per_job=True)
UNIT_ENERGY = Metric("energy_per_unit", "energy per unit", "J/items", False, per_job=True)
UNIT_COST = Metric("cost_per_million", "cost per million units", "money/1e6 items", False, per_job=True)
MAKESPAN = Metric("makespan_gain", "makespan gain", "", True)
EDP = Metric("edp", "energy-delay product", "J s", False)
DERIVED_METRICS = (
    SLOWDOWN, MEDIAN_INFLATION, P99_INFLATION, AMPLIFICATION, PER_GIB, UNIT_ENERGY, UNIT_COST, MAKESPAN, EDP,
)  # fmt: skip
"""Functions of the others in the same block: shown as levels, never tested, since no question is asked twice."""
METRICS = {metric.name: metric for metric in (*MIX_METRICS, *JOB_METRICS, *SERVICE_METRICS, *DERIVED_METRICS)}


def unit_of(metric: Metric, job: str, units: Mapping[str, str]) -> str:
    """Return the unit of a metric, in the job's own unit of work (`images/s`) where that is known."""
    return metric.unit.replace("items", units.get(job, "items"))
