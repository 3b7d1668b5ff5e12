"""Runs with known rates, built through the store's own doors, so that every expected number is arithmetic."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.launch.contract import Tenant
from bench.launch.corun import CoRun, Outcome, Window
from bench.launch.events import JobEvents
from bench.modes.contract import Grant
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan
from bench.plan.model import Mix, Plan
from bench.plan.schedule import Role, Trial, make_repeats, make_schedule, share_of
from bench.store.decision import RepeatDecision, UnsteadyWindow
from bench.store.record import (
    HostRecord,
    RunRecord,
    Status,
    TelemetryRecord,
    TenantRecord,
    TrialRecord,
    WindowRecord,
)
from bench.store.run_folder import RunFolder
from bench.telemetry.contract import Telemetry

PLAN = """
name: pair
modes: [time-slicing, mps]
mixes: {pair: [resnet50-training, bert-base-training]}
blocks: 6
"""
SOLO = {"resnet50-training": 1000.0, "bert-base-training": 200.0, "bert-base-batch-inference": 500.0}
PROGRESS = {"time-slicing": 0.48, "mps": 0.7, "mps-equal": 0.65, "mig": 0.4, "as-found": 0.45}
DEVICE = {"kind": "gpu", "name": "SIMULATED A100-SXM4-80GB", "uuid": "GPU-simulated", "driver_version": "580.1"}
Fate = tuple[Status, str | None]
START_S = 1000.0
BEGAN, TRIAL_S = datetime(2026, 1, 1, tzinfo=UTC), 300.0
"""When the host's clock says that every trial began, and how long it says that it took."""
ITEMS_PER_STEP = 25.0


def wobble(trial: Trial) -> float:
    """Return a factor that differs from block to block and mode to mode, and averages to 1 over 6 blocks."""
    period = 2 if trial.mode.mode == "time-slicing" and trial.role is Role.MIX else 3
    return {2: (1 / 1.02, 1.02), 3: (1.0, 1.01, 1 / 1.01)}[period][trial.block % period]


def usual_rate(trial: Trial, slot: int) -> float:
    """Return items per second: solo, or the mode's part of it, with a little wobble where jobs co-run."""
    solo = SOLO[trial.mix.jobs[slot].workload]
    if trial.role in (Role.SOLO, Role.SLOWED):
        return solo if trial.slowdown is None else solo / (1 + trial.slowdown) * wobble(trial)
    return solo * PROGRESS[trial.mode.mode] * (1.0 if trial.role is Role.SHARE else wobble(trial))


@dataclass
class Recipe:
    """What to build; every field may be replaced by a test."""

    plan_text: str = PLAN
    rate: Callable[[Trial, int], float] = usual_rate
    status: Callable[[Trial], Fate | None] = lambda trial: (Status.OK, None)
    flags: Callable[[Trial], tuple[str, ...]] = lambda trial: ()
    drift: Callable[[Trial], float] = lambda trial: 0.0  # by which share steps get longer until the window ends
    waiting: Callable[[Trial], float | None] = lambda trial: None  # for data, as a share of each step
    device: Mapping[str, Any] = field(default_factory=lambda: DEVICE)
    software: Callable[[Trial], Mapping[str, Any]] = lambda trial: {"commit": "abc1234", "dirty": False}
    simulated: bool = True
    telemetry: bool = True
    power_w: float = 300.0
    requests: Callable[[Trial, Window], Mapping[str, Any]] = lambda trial, window: {}
    """The columns of an event `request`, of each job that serves users."""
    repeated: tuple[int, ...] = ()  # blocks that are measured once more, as a decision that is there already says


def make_run(results: Path, recipe: Recipe | None = None) -> RunFolder:
    """Write a whole run and return its folder."""
    recipe = recipe or Recipe()
    plan = read_plan(recipe.plan_text, "plan.yaml", load_catalog())
    run = RunFolder.create(results, _run_record(recipe), recipe.plan_text)
    for trial in make_schedule(plan, seed=1).trials:
        fate = recipe.status(trial)
        if fate is not None:
            _keep(run, recipe, plan, trial, fate)
    if recipe.repeated:
        repeat(run, recipe, recipe.repeated)
    return run


def repeat(run: RunFolder, recipe: Recipe, blocks: tuple[int, ...]) -> None:
    """Decide that these blocks are measured once more, and write them with windows twice as long."""
    plan = read_plan(recipe.plan_text, "plan.yaml", load_catalog())
    reasons = (UnsteadyWindow(block=block, trial="", tenant="", flag="drift", reason="") for block in blocks)
    run.keep_repeats(RepeatDecision(judged_blocks=plan.blocks, unsteady=tuple(reasons)))
    again = make_repeats(plan, 1, blocks)
    longer = plan.model_copy(update={"timing": again.timing})
    for trial in again.trials:
        fate = recipe.status(trial)
        if fate is not None:
            _keep(run, recipe, longer, trial, fate)


def _run_record(recipe: Recipe) -> RunRecord:
    return RunRecord(
        run_id="20260101-000000-test", simulated=recipe.simulated, plan_source="plan.yaml", modes=None,
        preset=False, seed=1, device_request="simulated:a100-80gb", launcher_request="auto", allow_reset=False,
        device=recipe.device, software={"commit": "abc1234", "dirty": False}, created_at="2026-01-01T00:00:00Z",
    )  # fmt: skip


def _keep(run: RunFolder, recipe: Recipe, plan: Plan, trial: Trial, fate: Fate) -> None:
    status, reason = fate
    jobs = trial.mix.jobs if trial.slot is None else (trial.mix.jobs[trial.slot],)
    slots = range(len(trial.mix.jobs)) if trial.slot is None else (trial.slot,)
    window = Window(START_S, START_S + plan.timing.settle_s, START_S + plan.timing.settle_s + plan.timing.window_s)
    ran = status is Status.OK
    corun = CoRun(tuple(_outcome(recipe, trial, slot, window) for slot in slots), window)
    telemetry = _telemetry(window, recipe.power_w) if recipe.telemetry else Telemetry(pd.DataFrame())
    evidence = {
        "claim": "the daemon runs",
        "expected": True,
        "observed": True,
        "grade": "read back",
        "holds": True,
    }
    record = TrialRecord(
        run_id="20260101-000000-test", id=trial.id, status=status, reason=reason, simulated=recipe.simulated,
        block=trial.block, mode=trial.mode, mode_label=trial.mode.label, role=trial.role,
        mix=trial.mix.name, mix_jobs=trial.mix.jobs, share=trial.share, seed=trial.seed, longer=trial.longer,
        launcher="simulated",
        tenants=tuple(_tenant_record(trial, slot) for slot in slots) if len(jobs) else (),
        window=WindowRecord(settle_s=window.settle_s - START_S, stop_s=window.stop_s - START_S) if ran else None,
        device=recipe.device, software=recipe.software(trial), evidence=(evidence,),
        telemetry=_account(recipe), flags=recipe.flags(trial),
        host=HostRecord(started_at=str(BEGAN), ended_at=str(BEGAN + timedelta(seconds=TRIAL_S)), boot_id=None),
    )  # fmt: skip
    run.scratch(trial.id)
    if ran:
        run.keep_samples(trial.id, corun, telemetry)
    run.keep(record)


def _account(recipe: Recipe) -> TelemetryRecord:
    reasons = {"utilization_gpu_pct": "[N/A]: not available on this device"}
    return TelemetryRecord(
        requested_period_s=1.0, achieved_period_s=1.0, longest_gap_s=1.0,
        reasons=reasons if recipe.telemetry else {"energy": "no energy counter"}, sources={}, remarks=(),
    )  # fmt: skip


def _tenant_record(trial: Trial, slot: int) -> TenantRecord:
    job, workload = trial.mix.jobs[slot], load_catalog()[trial.mix.jobs[slot].workload]
    return TenantRecord(
        name=Mix(name="", jobs=trial.mix.jobs).tenants[slot], job=job.label, workload=job.workload,
        kind=workload.kind, unit=workload.unit, parameters=dict(job.parameters),
        share=share_of(trial.mode, trial.mix, slot), cpus=None, memory_gb=16.0, exit_status=0,
        peak_memory_mib=5000.0, reports=workload.reports, slo_s=job.parameters.get("slo_s", workload.slo_s),
    )  # fmt: skip


def _outcome(recipe: Recipe, trial: Trial, slot: int, window: Window) -> Outcome:
    job = trial.mix.jobs[slot]
    tenant = Tenant(
        name=job.label, job=job.label, workload=load_catalog()[job.workload], parameters={}, seed=1, device="cuda",
        grant=Grant(None), folder=Path("/nonexistent"), cpus=None, memory_gb=16.0, run_id="run",
    )  # fmt: skip
    if job.serves_users:
        events = JobEvents(request_batches=[recipe.requests(trial, window)])
    else:
        steps = _steps(recipe.rate(trial, slot), window, recipe.drift(trial))
        events = JobEvents(step_batches=[_waiting(batch, recipe.waiting(trial)) for batch in steps])
    return Outcome(tenant, 0, events, None, told_to_end=False)


def _steps(rate: float, window: Window, drift: float) -> list[Mapping[str, Any]]:
    """Return evenly spaced steps from the common start on, past the window's end; where they drift, noisy ones."""
    if rate == 0:
        return []
    duration_s = ITEMS_PER_STEP / rate
    count = int((window.stop_s - window.start_s) / duration_s) + 2
    durations_s = np.full(count, duration_s)
    end_s = window.start_s + duration_s * np.arange(1, count + 1)
    if drift:
        noise = np.random.default_rng(1).normal(1, 0.005, count)
        durations_s = duration_s * np.linspace(1, 1 + drift, count) * noise
        end_s = window.start_s + np.cumsum(durations_s)
    return [{"end_s": end_s, "duration_s": durations_s, "items": np.full(count, ITEMS_PER_STEP)}]


def _waiting(batch: Mapping[str, Any], share: float | None) -> Mapping[str, Any]:
    """Add the column of waits, where jobs tell of them."""
    return batch if share is None else {**batch, "wait_s": (share * batch["duration_s"]).tolist()}


def _telemetry(window: Window, power_w: float) -> Telemetry:
    time_s = np.arange(window.start_s - 2, window.stop_s + 3, 1.0)
    samples = pd.DataFrame(
        {"time_s": time_s, "power_w": power_w, "sm_clock_mhz": 1410.0, "memory_used_mib": 20000.0}
    )
    return Telemetry(samples, pd.DataFrame({"time_s": time_s, "energy_j": power_w * (time_s - time_s[0])}))
