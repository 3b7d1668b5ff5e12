"""The CSV files: every number of the report unrounded, one row a fact, the same bytes whenever rebuilt."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.colocation import BlockCell, JobProgress
from bench.analysis.contrasts import Contrast
from bench.analysis.drift import Execution
from bench.analysis.metrics import MIX_METRICS
from bench.analysis.steadiness import is_counted
from bench.analysis.summary import Comparison
from bench.analysis.trials import TenantMeasure, TrialMeasure
from bench.report.components import component_rows
from bench.report.crosschecks import crosscheck_rows
from bench.report.ranking import rank_rows
from bench.report.series import fit_rows, point_rows
from bench.report.switching import switching_rows
from bench.store.record import TrialRecord

TABLES = {
    "contrasts.csv": "every comparison of two modes: values, ratio, interval, p, verdict",
    "crosschecks.csv": "the primary contrasts by other methods: BCa, Hodges-Lehmann, exact tests, A12",
    "levels.csv": "every quantity of every cell: geometric mean over blocks with its interval",
    "colocation.csv": "STP, ANTT, smallest progress, Jain and energy of each cell in each block",
    "jobs.csv": "each tenant of each trial: rate, latency, steadiness, progress, partition and interference",
    "trials.csv": "each trial: status, reason, flags, power, energy, utilisation",
    "order.csv": "trials in the order of execution: STP, or the rate alone, over its mean; temperature",
    "components.csv": "what blocks, launches and parts of a window add to the variance of each rate (logarithms)",
    "scaling.csv": "throughput of all clients together, by their number",
    "scaling_fits.csv": "Amdahl's law and the universal scalability law, with standard errors",
    "rankings.csv": "ranks of the modes over many different mixes",
    "switching.csv": "what entering and leaving each mode took, and its steps, in seconds",
}


_Progress = dict[tuple[str | None, str], JobProgress]


def write_tables(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Write the CSV files that have rows, and contrasts.csv always; return what each holds, by name."""
    progress: _Progress = {
        (cell.trial_id, job.tenant): job for cell in comparison.cells for job in cell.jobs if cell.trial_id
    }
    rows: dict[str, list[dict[str, Any]]] = {
        "contrasts.csv": [asdict(row) for row in (*comparison.contrasts, *_of_controls(comparison))],
        "crosschecks.csv": list(crosscheck_rows(comparison)),
        "levels.csv": [asdict(row) for row in comparison.levels],
        "colocation.csv": [_cell(cell) for cell in comparison.cells],
        "jobs.csv": [_job(t, tenant, progress) for t in comparison.trials for tenant in t.tenants],
        "trials.csv": [_trial(record, comparison) for record in comparison.records],
        "order.csv": [_execution(each) for each in comparison.executions],
        "components.csv": list(component_rows(comparison)),
        "scaling.csv": list(point_rows(comparison)),
        "scaling_fits.csv": list(fit_rows(comparison)),
        "rankings.csv": list(rank_rows(comparison)),
        "switching.csv": list(switching_rows(comparison)),
    }
    if not rows["contrasts.csv"]:
        pd.DataFrame(columns=[field.name for field in fields(Contrast)]).to_csv(
            folder / "contrasts.csv", index=False
        )
    for name, table in rows.items():
        if table:
            pd.DataFrame(table).to_csv(folder / name, index=False, lineterminator="\n")
    return {name: holds for name, holds in TABLES.items() if (folder / name).is_file()}


def _of_controls(comparison: Comparison) -> list[Contrast]:
    return [control.contrast for control in comparison.controls]


def _execution(each: Execution) -> dict[str, Any]:
    degrees = each.temperature_c
    return {**vars(each), "temperature_c": degrees.value, "temperature_c_missing": degrees.reason}


def _cell(cell: BlockCell) -> dict[str, Any]:
    readings = {metric.name: cell.reading(metric.name) for metric in MIX_METRICS}
    reasons = dict.fromkeys(reading.reason for reading in readings.values() if reading.reason)
    return {
        "block": cell.block,
        "mode": cell.mode,
        "mix": cell.mix,
        "trial": cell.trial_id,
        **{name: reading.value for name, reading in readings.items()},
        "reason": "; ".join(str(reason) for reason in reasons) or None,
    }


def _job(trial: TrialMeasure, measured: TenantMeasure, progress: _Progress) -> dict[str, Any]:
    tenant, latency, verdict = measured.tenant, measured.latency, measured.verdict
    against = progress.get((trial.record.id, tenant.name))
    split = against.split if against else None
    return {
        **_place(trial.record),
        "tenant": tenant.name,
        "job": tenant.job,
        "unit": tenant.unit,
        "share": tenant.share,
        "rate": measured.rate,
        "steps": latency.count,
        "latency_p50_s": latency.p50_s,
        "latency_p95_s": latency.p95_s,
        "latency_p99_s": latency.p99_s,
        "window": verdict.behaviour.value if verdict.behaviour else None,
        "window_steady": verdict.steady,
        "window_drift": verdict.drift,
        "window_reason": "; ".join(verdict.reasons) or None,
        "loader_wait": measured.waiting,
        "peak_memory_mib": tenant.peak_memory_mib,
        "solo_rate": against.solo_rate if against else None,
        "share_rate": against.share_rate if against else None,
        "progress": against.progress.value if against else None,
        "partition": split.partition if split else None,
        "interference": split.interference if split else None,
        "reason": against.progress.reason if against else None,
        **_service(measured),
    }


def _service(measured: TenantMeasure) -> dict[str, Any]:
    """Return what the users of a job got; empty cells for one that has none."""
    got = measured.service
    return {
        "slo_s": got.slo_s if got else None,
        "offered_per_s": got.offered_per_s.value if got else None,
        "goodput_per_s": got.goodput_per_s.value if got else None,
        "attainment": got.attainment.value if got else None,
        "errors": got.errors.value if got else None,
    }


def _trial(record: TrialRecord, comparison: Comparison) -> dict[str, Any]:
    measured = comparison.measured.get(record.id)
    readings = {
        "power_w": measured.mean_power_w if measured else None,
        "energy_j": measured.energy_j if measured else None,
        "utilisation_percent": measured.utilisation_percent if measured else None,
    }
    return {
        **_place(record),
        "counts": is_counted(record, comparison.repeats),
        "status": record.status.value,
        "reason": record.reason,
        "flags": "; ".join(comparison.flagged.get(record.id, ())) or None,
        "seed": record.seed,
        "simulated": record.simulated,
        **{name: reading.value if reading else None for name, reading in readings.items()},
        **{f"{name}_missing": reading.reason if reading else None for name, reading in readings.items()},
    }


def _place(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.id,
        "block": record.block,
        "longer": record.longer,
        "mode": record.mode_label,
        "role": record.role.value,
        "mix": record.mix,
    }
