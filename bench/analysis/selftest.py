"""What a selftest claims, and whether the records of its trials bear it out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis.trials import POWER, measure
from bench.modes.contract import Evidence, Grade
from bench.modes.proof import SM_GRANULE, whole_granules
from bench.plan.mode import Exclusive, Mode, Mps
from bench.plan.schedule import Role, Schedule, Trial
from bench.store.record import Status, TenantRecord, TrialRecord
from bench.store.run_folder import RunFolder

_BY_CLIENT_LIST = "by the daemon's list"  # ends the claim that mode MPS makes of each tenant


@dataclass(frozen=True)
class Claim:
    """One claim, by the trial that it is about; `trial` is None for what holds for all of them."""

    trial: str | None
    mode: str | None
    evidence: Evidence


@dataclass(frozen=True)
class Rate:
    """What one tenant did in the window: items of its `unit` per second. Measured, not judged."""

    trial: str
    mode: str
    tenant: str
    rate: float
    unit: str


@dataclass(frozen=True)
class Verdict:
    """All claims, in the order of the schedule, and all rates."""

    claims: tuple[Claim, ...]
    rates: tuple[Rate, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim does."""
        return all(claim.evidence.holds for claim in self.claims)


def judge(run: RunFolder, schedule: Schedule, whole_run: Sequence[Evidence]) -> Verdict:
    """Judge every scheduled trial by its record; one without a record was not measured. `whole_run` goes along."""
    records = {record.id: record for record in run.trials()}
    whole = _sm_count_alone(records.values())
    claims = [
        Claim(trial.id, trial.mode.label, evidence)
        for trial in schedule.trials
        for evidence in _of_trial(run, trial, records.get(trial.id), whole)
    ]
    rates = [rate for trial in schedule.trials if trial.id in records for rate in _rates(run, records[trial.id])]
    return Verdict((*claims, *(Claim(None, None, evidence) for evidence in whole_run)), tuple(rates))


def _of_trial(run: RunFolder, trial: Trial, record: TrialRecord | None, whole: int | None) -> Iterator[Evidence]:
    yield _is_ok(record)
    if record is None:
        return
    yield from (Evidence(**{**each, "grade": Grade(each["grade"])}) for each in record.evidence)
    if record.device.get("kind") == "gpu":
        slots = range(len(record.tenants)) if trial.slot is None else [trial.slot]
        yield from (
            _sees_its_sms(tenant, trial.mode, slot, whole)
            for tenant, slot in zip(record.tenants, slots, strict=False)
        )
    if isinstance(trial.mode, Mps):
        yield _all_are_clients(record, len(trial.tenants))
    if trial.role is Role.MIX:
        yield _overlapped(run, record, len(trial.tenants))
    yield _watched("power samples in the window", _power_samples(run, record), _reasons(record).get(POWER))
    yield _watched("energy counter readings", _rows(run.energy(record.id)), _reasons(record).get("energy"))


def _is_ok(record: TrialRecord | None) -> Evidence:
    seen = "not measured" if record is None else record.status.value
    if record is not None and record.reason:
        seen = f"{seen}: {record.reason}"
    return Evidence("the trial's status", Status.OK.value, seen, Grade.HOST_ONLY, seen == Status.OK.value)


def _sm_count_alone(records: Any) -> int | None:
    """Return the SMs that a job alone on the whole device saw."""
    alone = [record for record in records if isinstance(record.mode, Exclusive)]
    counts = {_sm_count(tenant) for record in alone for tenant in record.tenants}
    return counts.pop() if len(counts) == 1 else None


def _sm_count(tenant: TenantRecord) -> int | None:
    return (tenant.identity or {}).get("sm_count")


def _sees_its_sms(tenant: TenantRecord, mode: Mode, slot: int, whole: int | None) -> Evidence:
    """Compare with what the job alone saw: all of it, but under a thread percentage that part of it."""
    percentage = mode.percentage_of(slot) if isinstance(mode, Mps) else None
    seen, expected, slack = _sm_count(tenant), whole, 0
    claim = f"{tenant.name} sees the SMs that a job alone sees"
    if percentage is not None:
        expected, slack = whole and whole_granules(whole, percentage), SM_GRANULE
        claim = f"{tenant.name} sees {percentage} % of the SMs that a job alone sees, within {slack} SMs"
    holds = seen is not None and expected is not None and abs(seen - expected) <= slack
    return Evidence(claim, expected, seen, Grade.SEEN_BY_TENANT, holds)


def _all_are_clients(record: TrialRecord, tenants: int) -> Evidence:
    found = sum(each["claim"].endswith(_BY_CLIENT_LIST) and each["holds"] for each in record.evidence)
    claim = "tenants in the daemon's list of MPS clients"
    return Evidence(claim, tenants, found, Grade.READ_BACK, found == tenants)


def _overlapped(run: RunFolder, record: TrialRecord, tenants: int) -> Evidence:
    """Compare the time in which all tenants worked with the window that was declared."""
    claim = f"seconds of the window in which all {tenants} tenants worked"
    steps = run.steps(record.id)
    if steps is None or record.window is None:
        return Evidence(claim, None, None, Grade.SEEN_BY_TENANT, holds=False)
    declared_s = record.window.stop_s - record.window.settle_s
    common_s = _common_s(steps[~steps["warmup"]], tenants, record.window.settle_s, record.window.stop_s)
    return Evidence(claim, declared_s, common_s, Grade.SEEN_BY_TENANT, common_s >= declared_s)


def _common_s(steps: pd.DataFrame, tenants: int, settle_s: float, stop_s: float) -> float:
    """Return seconds of [settle, stop] between the first step's begin and the last one's end of every tenant."""
    spans = [steps[steps["slot"] == slot] for slot in range(tenants)]
    if any(span.empty for span in spans):
        return 0.0
    begins_s = [float((span["end_s"] - span["duration_s"]).min()) for span in spans]
    ends_s = [float(span["end_s"].max()) for span in spans]
    return round(max(0.0, min(*ends_s, stop_s) - max(*begins_s, settle_s)), 6)


def _watched(claim: str, count: int, reason: str | None) -> Evidence:
    """Missing telemetry is no failure where the device says why; telemetry that is silently missing is one."""
    expected = "some, or the reason why there are none"
    return Evidence(claim, expected, count or reason, Grade.READ_BACK, bool(count or reason))


def _power_samples(run: RunFolder, record: TrialRecord) -> int:
    samples, window = run.telemetry(record.id), record.window
    if samples is None or window is None or POWER not in samples:
        return 0
    inside = samples["time_s"].between(window.settle_s, window.stop_s)
    return int(samples[POWER][inside].notna().sum())


def _rows(table: pd.DataFrame | None) -> int:
    return 0 if table is None else len(table)


def _reasons(record: TrialRecord) -> Mapping[str, str]:
    return record.telemetry.reasons if record.telemetry else {}


def _rates(run: RunFolder, record: TrialRecord) -> Iterator[Rate]:
    measured = measure(run, record)
    for each in measured.tenants if measured else ():
        yield Rate(record.id, record.mode_label, each.tenant.name, each.rate, each.tenant.unit)
