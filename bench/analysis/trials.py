"""One trial, measured: what each tenant did in the window, and what the device did meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.reading import Reading
from bench.analysis.requests import Requests, Service, requests_in, service
from bench.analysis.windows import (
    SCHEDULED,
    STARVED_FLAG,
    Latency,
    energy_j,
    flag_of,
    judged,
    latency,
    latency_of,
    mean_of,
    part_rates,
    rate,
    waiting,
    why_starved,
)
from bench.launch.events import Steps
from bench.stats.steady_state import WindowVerdict
from bench.stats.window import Window
from bench.store.record import Status, TenantRecord, TrialRecord
from bench.store.run_folder import RunFolder

POWER, TEMPERATURE, UTILISATION = "power_w", "temperature_c", "utilization_gpu_pct"


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
    service: Service | None = None
    """What its users got; None for a job in a closed loop."""
    waiting: float | None = None
    """Which share of its time it waited for data; None where it did not tell."""
    part_rates: tuple[float, ...] = ()
    """Its rate in each part of the window; none for a job of requests."""

    @property
    def flags(self) -> Mapping[str, str]:
        """The flags of its window, with the reason for each."""
        unsteady, starved = flag_of(self.verdict), why_starved(self.waiting)
        return {
            **({unsteady: "; ".join(self.verdict.reasons)} if unsteady else {}),
            **({STARVED_FLAG: starved} if starved else {}),
        }

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
    service: Service | None = None


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
    temperature_c: Reading

    @property
    def flags(self) -> tuple[str, ...]:
        """What does not invalidate the trial: flags of instruments as recorded, then those of its windows."""
        own = (flag for measured in self.tenants for flag in measured.flags)
        return (*self.record.flags, *dict.fromkeys(own))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why windows are flagged, by tenant."""
        flagged = [measured for measured in self.tenants if measured.flags]
        return tuple(f"{each.tenant.name}: {'; '.join(each.flags.values())}" for each in flagged)

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
    served = {
        slot: requests_in(window, requests, slot) for slot, tenant in telling if tenant.reports == "requests"
    }
    work = {slot: served[slot].answered if slot in served else _steps_of(steps, slot) for slot, _ in telling}
    tenants = tuple(_tenant(window, tenant, slot, work[slot], served.get(slot)) for slot, tenant in telling)
    return TrialMeasure(
        record=record,
        window=window,
        tenants=tenants,
        jobs=_jobs(window, tenants, work, served),
        power_w=mean_of(window, samples, POWER, reasons),
        energy_j=energy_j(window, counter, reasons),
        utilisation_percent=mean_of(window, samples, UTILISATION, reasons),
        temperature_c=mean_of(window, samples, TEMPERATURE, reasons),
    )


def _steps_of(table: pd.DataFrame, slot: int) -> Steps:
    """Return the steps of one tenant after the common start; its warm-up is never part of a result."""
    own = (table["slot"].to_numpy() == slot) & ~table["warmup"].to_numpy()
    told = [name for name in ("end_s", "duration_s", "items", "wait_s") if name in table]
    return Steps(*(table[name].to_numpy(np.float64)[own] for name in told))


def _tenant(window: Window, tenant: TenantRecord, slot: int, own: Steps, served: Requests | None) -> TenantMeasure:
    """Measure one tenant; requests count by the instant for which they were scheduled, steps by time."""
    verdict = judged(window, own)
    if served is None:
        return TenantMeasure(
            tenant, rate(window, own), latency(window, own), slot, verdict,
            waiting=waiting(window, own), part_rates=part_rates(window, own),
        )  # fmt: skip
    per_s = float(own.items.sum()) / window.length_s
    got = service(window, [served], tenant.slo_s)
    return TenantMeasure(tenant, per_s, latency_of(served.response_s, SCHEDULED), slot, verdict, got)


def _jobs(
    window: Window, tenants: tuple[TenantMeasure, ...], work: dict[int, Steps], served: dict[int, Requests]
) -> tuple[JobMeasure, ...]:
    equals: dict[str, list[TenantMeasure]] = {}
    for measured in tenants:
        equals.setdefault(measured.tenant.job, []).append(measured)
    return tuple(_job(window, each, work, served) for each in equals.values())


def _job(
    window: Window, equals: list[TenantMeasure], work: dict[int, Steps], served: dict[int, Requests]
) -> JobMeasure:
    first, rates = equals[0], [each.rate for each in equals]
    latencies, got = first.latency, first.service
    if len(equals) > 1:
        latencies = _latency_of_all(window, equals, work, served)
    if len(equals) > 1 and got is not None:
        got = service(window, [served[each.slot] for each in equals], got.slo_s)
    return JobMeasure(first.tenant.job, first.tenant.unit, sum(rates) / len(rates), latencies, got)


def _latency_of_all(
    window: Window, equals: list[TenantMeasure], work: dict[int, Steps], served: dict[int, Requests]
) -> Latency:
    if equals[0].closed:
        return latency(window, _joined([work[each.slot] for each in equals]))
    return latency_of(np.concatenate([served[each.slot].response_s for each in equals]), SCHEDULED)


def _joined(work: list[Steps]) -> Steps:
    return Steps(
        *(np.concatenate([getattr(each, name) for each in work]) for name in ("end_s", "duration_s", "items"))
    )
