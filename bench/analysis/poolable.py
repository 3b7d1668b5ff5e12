"""Refuse to pool records that differ in what was measured on, or in what ran."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.errors import RecordError
from bench.store.record import RunRecord, Status, TrialRecord

CODE_FIELDS = ("bench", "commit", "dirty", "python")
DEVICE_FIELDS = ("kind", "name", "uuid", "memory_total_mib", "driver_version", "vbios_version")


def check_poolable(run: RunRecord, trials: Iterable[TrialRecord]) -> None:
    """Raise RecordError, naming the first field that differs and both values, unless all records belong together.

    Compared are simulated or measured, the device with its driver, the runner's own code, and the image or
    interpreter and the libraries of each workload.
    """
    seen: dict[str, tuple[Any, str]] = {"simulated": (run.simulated, run.run_id)}
    for trial in trials:
        for field, value in _pinned(trial):
            first, where = seen.setdefault(field, (value, trial.id))
            if value != first:
                raise RecordError(
                    f"trials of {run.run_id} cannot be pooled: {field} is {first!r} in {where} and {value!r} in "
                    f"{trial.id}; repeat the run on one device with one version of everything"
                )


def _pinned(trial: TrialRecord) -> Iterator[tuple[str, Any]]:
    yield "simulated", trial.simulated
    for field in DEVICE_FIELDS:
        if field in trial.device:
            yield f"device.{field}", trial.device[field]
    yield "device.sm_clock_lock_mhz", trial.device.get("sm_clock_lock_mhz")  # where it is absent there was no lock
    for field in CODE_FIELDS:
        if field in trial.software:
            yield f"software.{field}", trial.software[field]
    for tenant in trial.tenants if trial.status is Status.OK else ():
        yield from _flat(f"{tenant.workload}.image", tenant.provenance)
        yield from _flat(f"{tenant.workload}.libraries", tenant.libraries)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield f"{prefix}.{key}", value
