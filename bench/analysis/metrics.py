"""The registry of metrics: name, label, unit, and which direction is better. Nothing else knows these."""

from collections.abc import Mapping
from dataclasses import dataclass


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

    @property
    def better(self) -> str:
        """Which direction is better, as tables print it."""
        return "higher" if self.higher_is_better else "lower"


STP = Metric("stp", "STP", "", True)
ANTT = Metric("antt", "ANTT", "", False)
SMALLEST = Metric("smallest_progress", "smallest progress", "", True)
JAIN = Metric("jain", "Jain", "", True)
ENERGY = Metric("energy_per_solo_second", "energy per solo second", "J", False)
TAIL = Metric("tail_inflation", "worst p99 inflation", "", False)
ISOLATION = Metric("isolation", "smallest isolation", "", True)
RATE = Metric("rate", "throughput", "items/s", True, per_job=True)
LATENCY_P50 = Metric("latency_p50", "median step latency", "s", False, per_job=True)
LATENCY_P99 = Metric("latency_p99", "p99 step latency", "s", False, per_job=True)
GOODPUT = Metric("goodput", "goodput", "requests/s", True, per_job=True)
ATTAINMENT = Metric("attainment", "SLO attainment", "", True, per_job=True, may_be_zero=True)
OFFERED = Metric("offered_rate", "offered rate", "requests/s", True, per_job=True, may_be_zero=True)
ERRORS = Metric("errors", "share of errors", "", False, per_job=True, may_be_zero=True)

CLOSED_METRICS = (STP, ANTT, SMALLEST, JAIN, ISOLATION, ENERGY)
"""Those that rest on the progress of jobs in a closed loop."""
MIX_METRICS = (STP, ANTT, SMALLEST, JAIN, TAIL, ISOLATION, ENERGY)
JOB_METRICS = (RATE, LATENCY_P50, LATENCY_P99)
SERVICE_METRICS = (GOODPUT, ATTAINMENT, OFFERED, ERRORS)
"""Those of jobs that serve users."""
METRICS = {metric.name: metric for metric in (*MIX_METRICS, *JOB_METRICS, *SERVICE_METRICS)}


def unit_of(metric: Metric, job: str, units: Mapping[str, str]) -> str:
    """Return the unit of a metric, in the job's own unit of work (`images/s`) where that is known."""
    return metric.unit.replace("items", units.get(job, "items"))
