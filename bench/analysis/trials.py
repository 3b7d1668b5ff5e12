"""One trial, measured: what each tenant did in the window, and what the device did meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.analysis.reading import Reading
from bench.analysis.windows import Latency, energy_j, latency, mean_of, rate
from bench.stats.window import Window
from bench.store.record import Status, TenantRecord, TrialRecord
from bench.store.run_folder import RunFolder

POWER, UTILISATION = "power_w", "utilization_gpu_pct"


@dataclass(frozen=True)
class TenantMeasure:
    """What one tenant did in the window; `rate` in its own unit per second."""

    tenant: TenantRecord
    rate: float
    latency: Latency


@dataclass(frozen=True)
class JobMeasure:
    """What the equal tenants of a trial did, seen as one job: mean rate of a tenant, latencies of all steps."""

    job: str
    unit: str
    rate: float
    latency: Latency


@dataclass(frozen=True)
class TrialMeasure:
    """One ok trial; `energy_j` and power are those of the whole device, never split between tenants."""

    record: TrialRecord
    window: Window
    tenants: tuple[TenantMeasure, ...]
    jobs: tuple[JobMeasure, ...]
    power_w: Reading
    energy_j: Reading
    utilisation_percent: Reading

    @property
    def mean_power_w(self) -> Reading:
        """Mean power in the window: from the energy counter where there is one, else from samples."""
        if self.energy_j.value is not None:
            return Reading(self.energy_j.value / self.window.length_s)
        return self.power_w


def measure(run: RunFolder, record: TrialRecord) -> TrialMeasure | None:
    """Measure one trial from its files; None where it is not ok or has no steps to measure."""
    steps = run.steps(record.id) if record.status is Status.OK and record.window is not None else None
    if steps is None or record.window is None:
        return None
    window = Window(record.window.settle_s, record.window.stop_s)
    samples, counter = run.telemetry(record.id), run.energy(record.id)
    reasons = record.telemetry.reasons if record.telemetry else {}
    work = steps[~steps["warmup"].to_numpy()]
    tenants = tuple(
        _tenant(window, tenant, work[work["slot"].to_numpy() == slot])
        for slot, tenant in enumerate(record.tenants)
    )
    return TrialMeasure(
        record=record,
        window=window,
        tenants=tenants,
        jobs=_jobs(window, record, tenants, work),
        power_w=mean_of(window, samples, POWER, reasons),
        energy_j=energy_j(window, counter, reasons),
        utilisation_percent=mean_of(window, samples, UTILISATION, reasons),
    )


def _tenant(window: Window, tenant: TenantRecord, steps: pd.DataFrame) -> TenantMeasure:
    return TenantMeasure(tenant, rate(window, steps), latency(window, steps))


def _jobs(
    window: Window, record: TrialRecord, tenants: tuple[TenantMeasure, ...], work: pd.DataFrame
) -> tuple[JobMeasure, ...]:
    slots: dict[str, list[int]] = {}
    for slot, tenant in enumerate(record.tenants):
        slots.setdefault(tenant.job, []).append(slot)
    return tuple(_job(window, job, [tenants[slot] for slot in own], own, work) for job, own in slots.items())


def _job(
    window: Window, job: str, equals: list[TenantMeasure], slots: list[int], work: pd.DataFrame
) -> JobMeasure:
    steps = equals[0].latency if len(equals) == 1 else latency(window, work[work["slot"].isin(slots)])
    return JobMeasure(job, equals[0].tenant.unit, sum(each.rate for each in equals) / len(equals), steps)


Measures = Mapping[str, TrialMeasure]
"""Measured trials by their id."""
