"""`load: 0.6`: the rate of requests as a share of the most that a job takes alone, found before the first block.

The job itself searches, on the whole idle device, for the highest rate that keeps its promise; the rate is then
the same in all modes, and on `--resume`.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import SetupError
from bench.launch.contract import Tenant
from bench.launch.corun import CoRun, Deadlines, co_run
from bench.launch.tenants import make_tenants
from bench.modes.entering import entered
from bench.plan.catalog import SLO, ParameterValue, load_catalog
from bench.plan.model import LOAD, Job, Timing
from bench.plan.schedule import Role, Schedule, Trial
from bench.rig import Rig
from bench.store.decision import Calibration, JobRate
from bench.store.run_folder import RunFolder

PROBE_S, CONFIRMATIONS = 60.0, 5  # of a plan that may be published; others search for as long as their window is
DEADLINES = Deadlines(ready_s=6 * 3600.0)  # a job is ready when it has searched
MOMENT = Timing(name="calibration", blocks=1, settle_s=0, window_s=0.1, publishable=False)


def find_rates(schedule: Schedule, rig: Rig, folder: RunFolder) -> None:
    """Find and keep the rate of each job that names a load, unless the run has them; raises SetupError."""
    if folder.calibration is not None:
        return
    searches: dict[str, Mapping[str, Any]] = {}
    rates = [_rate(trial, rig, schedule.timing, searches) for trial in searching(schedule)]
    if rates:
        folder.keep_calibration(Calibration(simulated=rig.device.simulated, jobs=tuple(rates)))


def searching(schedule: Schedule) -> list[Trial]:
    """Return where the jobs that name a load run alone for the first time: in this mode they search, too."""
    alone = [trial for trial in schedule.trials if trial.block == 1 and trial.role is Role.SOLO]
    return sorted((trial for trial in alone if trial.mix.jobs[0].load is not None), key=lambda trial: trial.id)


def _rate(trial: Trial, rig: Rig, timing: Timing, searches: dict[str, Mapping[str, Any]]) -> JobRate:
    """Return the rate of one job; jobs that differ in their load alone share one of the `searches`."""
    job = trial.mix.jobs[0]
    kind = _without_load(job).label
    if kind not in searches:
        print(f"finding the highest rate of {kind}, once, alone", file=sys.stderr)
        searches[kind] = _search(trial, rig, timing)
    found = searches[kind]
    load, maximum_per_s = job.load or 1.0, found["rate_per_s"]
    return JobRate(
        job=job.label, load=load, slo_s=found[SLO], maximum_per_s=maximum_per_s,
        rate_per_s=load * maximum_per_s, mode_label=trial.mode.label, search=found,
    )  # fmt: skip


def _without_load(job: Job) -> Job:
    others = {key: value for key, value in job.parameters.items() if key != LOAD}
    return job.model_copy(update={"parameters": others})


def _search(trial: Trial, rig: Rig, timing: Timing) -> Mapping[str, Any]:
    """Have the job search, in a folder that goes again; return what it found and the promise it kept."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, entered(trial.mode, rig.switch) as active:
        active.await_idle(rig.clock)
        grants = active.tenancy(trial.mix)
        (tenant,) = make_tenants(trial, grants, load_catalog(), rig.device, Path(folder), trial.id)
        corun = co_run(
            rig.launcher, [_searching(tenant, timing)], MOMENT, rig.clock,
            lambda seen: active.confirm(grants, seen), DEADLINES,
        )  # fmt: skip
    return {**_told(corun, tenant), SLO: tenant.slo_s}


def _searching(tenant: Tenant, timing: Timing) -> Tenant:
    probe_s, times = (PROBE_S, CONFIRMATIONS) if timing.publishable else (timing.window_s, 1)
    search: dict[str, ParameterValue] = {
        "search_max_rate": True,
        "probe_s": probe_s,
        "confirm_s": timing.window_s,
        "confirmations": times,
        **({} if tenant.slo_s is None else {SLO: tenant.slo_s}),
    }
    return replace(tenant, parameters={**tenant.parameters, **search})


def _told(corun: CoRun, tenant: Tenant) -> Mapping[str, Any]:
    """Return what the search found; raises SetupError, with what to do, where that is nothing."""
    unproven = [each.claim for each in corun.evidence if not each.holds]
    told = corun.outcomes[0].events.load
    if corun.errors or unproven or told is None:
        why = "; ".join([*corun.errors, *unproven]) or "it told nothing"
        raise SetupError(f"{tenant.job}: no rate found: {why}; mend that, or name a rate: in place of load:")
    found: Mapping[str, Any] = told["details"]
    if found["rate_per_s"] is None:
        raise SetupError(
            f"{tenant.job}: at no rate are 99 % answered within slo_s: {tenant.slo_s:g}; "
            "raise slo_s, or name a rate: in place of load:"
        )
    return found
