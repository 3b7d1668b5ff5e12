"""From what happened in a trial to its record."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from bench.clock import utc_now
from bench.launch.contract import Launcher, Tenant
from bench.launch.corun import CoRun, Outcome, Window
from bench.modes.contract import Evidence
from bench.modes.stopwatch import Stopwatch, TimedCall
from bench.plan.schedule import Trial, Visit
from bench.store.record import (
    HostRecord,
    RunRecord,
    Status,
    SwitchingCall,
    TelemetryRecord,
    TenantRecord,
    TrialRecord,
    VisitRecord,
    WindowRecord,
)
from bench.store.software import boot_id
from bench.telemetry.contract import Telemetry
from bench.telemetry.gates import Gates, host_busy, judge_clock, judge_host, judge_telemetry

LATE = 0.05  # of the SLO: p99 of sent - scheduled that the load generator may have
MOST_CLIENT_CPU = 0.7  # of its one core, from start to stop; beyond that a load generator measures itself


def measured(
    run: RunRecord,
    trial: Trial,
    launcher: Launcher,
    evidence: Sequence[Evidence],
    corun: CoRun,
    telemetry: Telemetry,
    flags: Sequence[str],
    started_at: datetime,
) -> TrialRecord:
    """Return the record of a trial whose jobs were started."""
    proof = (*evidence, *corun.evidence)
    busy = host_busy(telemetry, corun.window.settle_s, corun.window.stop_s) if corun.window else None
    gates = _gates(telemetry, corun, run.device.get("sm_clock_lock_mhz")) + judge_host(busy)
    if run.device.get("kind") == "gpu" and corun.window:  # on the host's cores nothing is pinned, clients neither
        gates += judge_clients(corun.outcomes, corun.window)
    status, reason = _judge(proof, corun, gates)
    return _record(
        run, trial, launcher.name, started_at, status=status, reason=reason,
        tenants=tuple(_tenant(outcome, launcher) for outcome in corun.outcomes),
        window=_window(corun),
        evidence=tuple(each.as_record() for each in proof),
        telemetry=_telemetry(telemetry), flags=(*flags, *gates.flags), sampler_cpu_s=telemetry.sampler_cpu_s,
        cpu_busy=_rounded(busy),
    )  # fmt: skip


def not_measured(
    run: RunRecord, trial: Trial, launcher: Launcher, status: Status, reason: str, started_at: datetime
) -> TrialRecord:
    """Return the record of a trial whose jobs were never started, and why."""
    return _record(run, trial, launcher.name, started_at, status=status, reason=reason)


def visited(run: RunRecord, visit: Visit, stopwatch: Stopwatch) -> VisitRecord | None:
    """Return what switching took in one visit to a mode; None where there was nothing to switch."""
    if stopwatch.enter_s is None and not stopwatch.calls:
        return None
    return VisitRecord(
        block=visit.trials[0].block, longer=visit.trials[0].longer, mode=visit.mode,
        mode_label=visit.mode.label, simulated=run.simulated,
        began_at=stopwatch.began_at.isoformat(), enter_s=_rounded(stopwatch.enter_s),
        leave_s=_rounded(stopwatch.leave_s), calls=tuple(_call(timed) for timed in stopwatch.calls),
    )  # fmt: skip


def _call(timed: TimedCall) -> SwitchingCall:
    """Leave out what is only true of this machine: paths and UUIDs."""
    result = timed.result or {}
    steps = {key.removesuffix("_s"): float(value) for key, value in result.items() if key.endswith("_s")}
    made = [instance.split("/")[3] for instance in result.get("instances", "").split(",") if instance]
    return SwitchingCall(
        phase=timed.phase, helper=timed.call.helper, duration_s=round(timed.duration_s, 6),
        options=tuple("DIR" if option.startswith("/") else option for option in timed.call.options),
        succeeded=timed.result is not None, steps_s=steps, instances=tuple(made),
    )  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _record(
    run: RunRecord,
    trial: Trial,
    launcher: str,
    started_at: datetime,
    *,
    status: Status,
    reason: str | None,
    tenants: tuple[TenantRecord, ...] = (),
    window: WindowRecord | None = None,
    evidence: tuple[dict[str, object], ...] = (),
    telemetry: TelemetryRecord | None = None,
    flags: tuple[str, ...] = (),
    sampler_cpu_s: float | None = None,
    cpu_busy: float | None = None,
) -> TrialRecord:
    host = HostRecord(
        started_at=started_at.isoformat(), ended_at=utc_now().isoformat(), boot_id=boot_id(),
        sampler_cpu_s=sampler_cpu_s, cpu_busy=cpu_busy,
    )  # fmt: skip
    return TrialRecord(
        run_id=run.run_id, id=trial.id, status=status, reason=reason, simulated=run.simulated, block=trial.block,
        mode=trial.mode, mode_label=trial.mode.label, role=trial.role, mix=trial.mix.name, mix_jobs=trial.mix.jobs,
        share=trial.share, seed=trial.seed, longer=trial.longer, launcher=launcher, tenants=tenants, window=window,
        device=run.device,
        software=run.software, evidence=evidence, telemetry=telemetry, flags=flags, host=host,
    )  # fmt: skip


def _gates(telemetry: Telemetry, corun: CoRun, locked_mhz: float | None) -> Gates:
    window, clock = corun.window, judge_clock(corun.clock_step_s)
    return clock + judge_telemetry(telemetry, window.settle_s, window.stop_s, locked_mhz) if window else clock


def judge_clients(outcomes: Sequence[Outcome], window: Window) -> Gates:
    """Fault load generators that could not keep up: late by LATE of what is promised at p99, or short of CPU."""
    served = [outcome for outcome in outcomes if outcome.tenant.workload.one_of]
    return Gates(tuple(fault for outcome in served for fault in _client_faults(outcome, window)))


def _client_faults(outcome: Outcome, window: Window) -> Iterator[str]:
    name, slo_s, load = outcome.tenant.name, outcome.tenant.slo_s, outcome.events.load
    lag_s = outcome.events.requests.lag_p99_s(window.settle_s, window.stop_s)
    if slo_s and lag_s is not None and lag_s > LATE * slo_s:
        yield f"the load of {name} was sent {1000 * lag_s:.1f} ms late at p99"
    share = load["cpu_s"] / (window.stop_s - window.start_s) if load else 0.0
    if share > MOST_CLIENT_CPU:
        yield f"the load of {name} took {100 * share:.0f} % of its core"


def _judge(proof: Sequence[Evidence], corun: CoRun, gates: Gates) -> tuple[Status, str | None]:
    """Tell an unproven mode, a job that failed and a fault of the instrument apart, in this order.

    The first spoils the label, and a job that failed is data whatever the device did.
    """
    unproven = [each for each in proof if not each.holds]
    if unproven:
        first = unproven[0]
        return Status.INVALID, f"mode not proven: {first.claim}: expected {first.expected}, seen {first.observed}"
    if corun.errors:
        return Status.FAILED, "; ".join(corun.errors)
    if gates.faults:
        return Status.INVALID, f"not a fair measurement: {', '.join(gates.faults)}"
    return Status.OK, None


def _tenant(outcome: Outcome, launcher: Launcher) -> TenantRecord:
    tenant: Tenant = outcome.tenant
    events = outcome.events
    identity = {key: value for key, value in (events.identity or {}).items() if key not in ("event", "time_s")}
    return TenantRecord(
        name=tenant.name, job=tenant.job, workload=tenant.workload.name, kind=tenant.workload.kind,
        unit=tenant.workload.unit, parameters=tenant.parameters, share=tenant.grant.share, cpus=tenant.cpus,
        memory_gb=tenant.memory_gb, exit_status=outcome.exit_status, error=outcome.error,
        libraries=(events.hello or {}).get("libraries", {}), identity=identity or None,
        provenance=launcher.provenance(tenant.workload),
        peak_memory_mib=(events.done or {}).get("peak_memory_mib"),
        reports=tenant.workload.reports, slo_s=tenant.slo_s, duration_s=_rounded(outcome.duration_s),
        load={key: events.load[key] for key in ("planned", "cpu_s", "details")} if events.load else None,
    )  # fmt: skip


def _window(corun: CoRun) -> WindowRecord | None:
    if corun.window is None:
        return None
    start_s, settle_s, stop_s = corun.window.start_s, corun.window.settle_s, corun.window.stop_s
    return WindowRecord(settle_s=round(settle_s - start_s, 6), stop_s=round(stop_s - start_s, 6))


def _telemetry(telemetry: Telemetry) -> TelemetryRecord:
    return TelemetryRecord(
        requested_period_s=telemetry.requested_period_s,
        achieved_period_s=telemetry.achieved_period_s,
        longest_gap_s=telemetry.longest_gap_s,
        reasons=telemetry.reasons,
        sources=telemetry.sources,
        remarks=telemetry.remarks,
    )
