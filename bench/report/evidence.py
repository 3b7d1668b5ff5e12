"""Proof of mode and provenance: what was claimed, what was seen, and what everything ran on."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.summary import Comparison
from bench.report.table import Source, Table, headings
from bench.store.record import Status, TrialRecord

_RUN = Source(
    "run.json",
    ("run_id", "created_at", "seed", "simulated", "device", "software"),
    "the plan from plan.yaml; images and libraries from tenants in trials/*/trial.json",
)


def proof_table(comparison: Comparison) -> Table:
    """Return the evidence for each mode: what is claimed of each job stands in one row, with how often it held."""
    table = Table(
        "Evidence",
        headings(("mode", "claim", "expected", "seen", "grade"), ("holds",)),
        Source("trials/*/trial.json", ("mode_label", "evidence")),
        "Grades, strongest first: read back from the device; seen by the tenant; host only; requested only (the "
        "device offers no way to ask).",
    )
    tallies: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for record in sorted(comparison.records, key=lambda record: _place(comparison, record.mode_label)):
        for evidence in record.evidence:
            key = (record.mode_label, _general(evidence, record), str(evidence.get("grade", "")))
            tallies.setdefault(key, []).append(evidence)
    for (mode, claim, grade), found in tallies.items():
        held = sum(bool(evidence.get("holds")) for evidence in found)
        expected, seen = (_variants(evidence.get(key) for evidence in found) for key in ("expected", "observed"))
        table.add(mode, claim, expected, seen, grade, f"{held} of {len(found)}")
    return table


def _place(comparison: Comparison, mode: str) -> int:
    labels = [EXCLUSIVE, *(mode.label for mode in comparison.plan.sharing_modes)]
    return labels.index(mode) if mode in labels else len(labels)


def _general(evidence: Mapping[str, Any], record: TrialRecord) -> str:
    """Return a claim with the names of the trial's tenants taken out, longest name first."""
    claim = str(evidence.get("claim", ""))
    for name in sorted((tenant.name for tenant in record.tenants), key=len, reverse=True):
        claim = claim.replace(name, "each job")
    return claim


def provenance_table(comparison: Comparison) -> Table:
    """Return what a reader must know to repeat the run."""
    table = Table("What it takes to repeat this run", headings(("what", "value"), ()), _RUN)
    for name, value in _provenance(comparison):
        table.add(name, value)
    return table


def _provenance(comparison: Comparison) -> Iterator[tuple[str, str]]:
    run, plan = comparison.run, comparison.plan
    yield "run", run.run_id
    yield "created", run.created_at
    yield "plan", f"{plan.name} ({run.plan_source}), timing {plan.timing.name}"
    for name, digest in run.inputs.items():
        yield f"file {name}", f"SHA-256 {digest}"
    yield "seed", str(run.seed)
    yield "blocks planned", str(plan.blocks)
    yield "settle and window", f"{plan.timing.settle_s:g} s and {plan.timing.window_s:g} s"
    yield "primary metrics", ", ".join(plan.primary)
    yield "baseline", plan.reference or "exclusive only: the plan has one sharing mode"
    yield "simulated", "yes" if run.simulated else "no"
    yield "device asked for", run.device_request
    yield "launcher", _variants(record.launcher for record in comparison.records)
    yield from _flat("device", run.device)
    yield from _flat("software", run.software)
    yield from _rates(comparison.records)
    yield from _workloads(comparison.records)


def _rates(records: Iterable[TrialRecord]) -> Iterator[tuple[str, str]]:
    """Yield how many requests each server was sent; calibration.json tells how that of a load was found."""
    servers = [each for record in records for each in record.tenants if "rate" in each.parameters]
    offered = {each.job: each.parameters["rate"] for each in servers}
    for job, rate_per_s in sorted(offered.items()):
        yield f"rate of {job}", f"{rate_per_s:.5g} requests a second, in every mode"


def _workloads(records: Iterable[TrialRecord]) -> Iterator[tuple[str, str]]:
    """Yield image or interpreter and libraries of each workload, from the first ok trial that ran it."""
    told = set()
    for record in records:
        for tenant in record.tenants if record.status is Status.OK else ():
            if tenant.workload not in told:
                told.add(tenant.workload)
                yield from _flat(tenant.workload, tenant.provenance)
                yield from _flat(f"{tenant.workload} library", tenant.libraries)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if value is not None:
            yield f"{prefix}: {str(key).replace('_', ' ')}", _text(value)


def _variants(values: Iterable[Any], most: int = 3) -> str:
    """Return the different values as text, the first few of them."""
    texts = list(dict.fromkeys(_text(value) for value in values))
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + rest


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
