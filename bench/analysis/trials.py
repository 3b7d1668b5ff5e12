"""One trial, measured: what each tenant did in the window, and what the device did meanwhile."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.reading import Reading
from bench.analysis.windows import Latency, energy_j, flag_of, judged, latency, mean_of, rate
from bench.launch.events import Steps
from bench.stats.steady_state import WindowVerdict
from bench.stats.window import Window
from bench.store.record import Status, TenantRecord, TrialRecord
from bench.store.run_folder import RunFolder

POWER, UTILISATION = "power_w", "utilization_gpu_pct"


@dataclass(frozen=True)
class TenantMeasure:
    """What one tenant did in the window; `rate` in its own unit per second.

    The latency of a job of requests is the response time of those scheduled in the window.
    """

    tenant: TenantRecord
    rate: float
    latency: Latency
    slot: int
    """Its place in the mix."""
    verdict: WindowVerdict

    @property
    def closed(self) -> bool:
        """Whether it does as much as the device lets it; at the rate of its users its progress would be 1."""
        return self.tenant.reports == "steps"


@dataclass(frozen=True)
class JobMeasure:
    """What the equal tenants of a trial did, seen as one job: mean rate of a tenant, latencies of all steps."""

    job: str
    unit: str
    rate: float
    latency: Latency


@dataclass(frozen=True)
class TrialMeasure:
    """One ok trial, with those of its tenants that report their work.

    `energy_j` and power are those of the whole device, never split between tenants.
    """

    record: TrialRecord
    window: Window
    tenants: tuple[TenantMeasure, ...]
    jobs: tuple[JobMeasure, ...]
    power_w: Reading
    energy_j: Reading
    utilisation_percent: Reading

    @property
    def flags(self) -> tuple[str, ...]:
        """What does not invalidate the trial: flags of instruments as recorded, then those of its windows."""
        own = (flag_of(measured.verdict) for measured in self.tenants)
        return (*self.record.flags, *dict.fromkeys(flag for flag in own if flag))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why windows are flagged, by tenant."""
        unsteady = [measured for measured in self.tenants if flag_of(measured.verdict)]
        return tuple(f"{each.tenant.name}: {'; '.join(each.verdict.reasons)}" for each in unsteady)

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
    telling = [(slot, tenant) for slot, tenant in enumerate(record.tenants) if tenant.reports != "nothing"]
    if not telling:
        return None
    requests = run.requests(record.id)
    work = [
        _steps_of(steps, slot) if tenant.reports == "steps" else _requests_of(requests, slot)
        for slot, tenant in telling
    ]
    tenants = tuple(
        TenantMeasure(tenant, _rate(tenant, window, own), latency(window, own), slot, judged(window, own))
        for (slot, tenant), own in zip(telling, work, strict=True)
    )
    return TrialMeasure(
        record=record,
        window=window,
        tenants=tenants,
        jobs=_jobs(window, tenants, work),
        power_w=mean_of(window, samples, POWER, reasons),
        energy_j=energy_j(window, counter, reasons),
        utilisation_percent=mean_of(window, samples, UTILISATION, reasons),
    )


def _steps_of(table: pd.DataFrame, slot: int) -> Steps:
    """Return the steps of one tenant after the common start; its warm-up is never part of a result."""
    own = (table["slot"].to_numpy() == slot) & ~table["warmup"].to_numpy()
    return Steps(*(table[name].to_numpy(np.float64)[own] for name in ("end_s", "duration_s", "items")))


def _requests_of(table: pd.DataFrame | None, slot: int) -> Steps:
    """Return the requests of one tenant that ended well, each at the instant for which it was scheduled.

    Its duration is the response time, from that instant to its end, which may lie past the window.
    """
    if table is None:
        return Steps.of([])
    own = table[(table["slot"] == slot) & (table["status"] == "ok")]
    scheduled_s, done_s, items = (own[name].to_numpy(np.float64) for name in ("scheduled_s", "done_s", "items"))
    return Steps(scheduled_s, done_s - scheduled_s, items)


def _rate(tenant: TenantRecord, window: Window, work: Steps) -> float:
    """Return items per second: credited by time for steps, counted by the scheduled instant for requests."""
    if tenant.reports == "steps":
        return rate(window, work)
    inside = (work.end_s > window.start_s) & (work.end_s <= window.stop_s)
    return float(work.items[inside].sum()) / window.length_s


def _jobs(window: Window, tenants: tuple[TenantMeasure, ...], work: list[Steps]) -> tuple[JobMeasure, ...]:
    equals: dict[str, list[int]] = {}
    for slot, measured in enumerate(tenants):
        equals.setdefault(measured.tenant.job, []).append(slot)
    return tuple(
        _job(window, [tenants[slot] for slot in slots], [work[slot] for slot in slots])
        for slots in equals.values()
    )


def _job(window: Window, equals: list[TenantMeasure], work: list[Steps]) -> JobMeasure:
    tenant, rates = equals[0].tenant, [each.rate for each in equals]
    steps = equals[0].latency if len(equals) == 1 else latency(window, _joined(work))
    return JobMeasure(tenant.job, tenant.unit, sum(rates) / len(rates), steps)


def _joined(work: list[Steps]) -> Steps:
    return Steps(
        *(np.concatenate([getattr(each, name) for each in work]) for name in ("end_s", "duration_s", "items"))
    )
