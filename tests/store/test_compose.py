from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest

from bench.launch.corun import CoRun
from bench.launch.events import JobEvents
from bench.launch.process import ProcessLauncher
from bench.modes.contract import Evidence, Grade
from bench.plan.schedule import Role
from bench.store.compose import measured, not_measured
from bench.store.record import Status, TrialRecord
from bench.store.software import boot_id, software

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

PROVEN = Evidence("compute mode", "Default", "Default", Grade.READ_BACK, holds=True)
UNPROVEN = Evidence("SM count of a", 54, 108, Grade.SEEN_BY_TENANT, holds=False)


@pytest.fixture
def trial(schedule):
    return next(trial for trial in schedule.trials if trial.role is Role.MIX)


@pytest.fixture
def record_of(run_record, trial, telemetry):
    def record(corun, *evidence):
        return measured(run_record, trial, ProcessLauncher(), evidence, corun, telemetry, ["flag"], STARTED_AT)

    return record


def test_a_trial_says_what_was_planned_and_what_happened(record_of, corun, trial, run_record):
    record = record_of(corun, PROVEN)
    assert (record.id, record.seed, record.block, record.role) == (trial.id, trial.seed, trial.block, Role.MIX)
    assert (record.run_id, record.device, record.simulated) == (run_record.run_id, {"name": "board"}, False)
    assert (record.window.settle_s, record.window.stop_s) == (1.0, 3.0)
    assert record.flags == ("flag",)
    assert record.telemetry.reasons == {"utilization_gpu_pct": "[N/A]"}
    assert record.evidence == (
        {
            "claim": "compute mode",
            "expected": "Default",
            "observed": "Default",
            "grade": "read back",
            "holds": True,
        },
    )
    assert (record.host.started_at, record.host.boot_id) == ("2026-01-02T03:04:05+00:00", boot_id())
    assert TrialRecord.model_validate_json(record.model_dump_json()).tenants == record.tenants


def test_a_tenant_says_what_it_was_and_what_became_of_it(record_of, corun):
    first, second = record_of(corun).tenants
    assert (first.share, first.cpus, first.parameters["batch_size"]) == ("50%", (1,), 64)
    assert (first.libraries, first.identity) == ({"torch": "2.7"}, {"device_name": "board"})
    assert (first.exit_status, first.error, first.peak_memory_mib) == (0, None, 6000)
    assert (second.exit_status, second.error, second.peak_memory_mib) == (1, "oom: out of memory", None)


def test_a_job_that_fails_makes_the_trial_failed_with_its_name(record_of, corun):
    record = record_of(corun, PROVEN)
    assert (record.status, record.reason) == (Status.FAILED, "b: oom: out of memory")


def test_jobs_without_errors_make_it_ok(record_of, corun):
    record = record_of(CoRun(corun.outcomes[:1], corun.window), PROVEN)
    assert (record.status, record.reason) == (Status.OK, None)


def test_a_device_that_was_slowed_down_makes_a_good_trial_invalid(record_of, corun, telemetry):
    telemetry.samples["time_s"] = [101.5, 102.0, 103.5]  # the window is 101 to 103
    telemetry.samples["event_reasons"] = [0x40, 0x4, 0x0]
    good = record_of(CoRun(corun.outcomes[:1], corun.window), PROVEN)
    assert (good.status, good.flags) == (Status.INVALID, ("flag", "software_power_cap"))
    assert "hardware thermal slowdown" in good.reason
    assert record_of(corun, PROVEN).status is Status.FAILED


@pytest.mark.parametrize(("kind", "slo_s", "status"), [
    ("gpu", 0.1, Status.INVALID), ("gpu", 1.0, Status.OK), ("gpu", None, Status.OK), ("cpu", 0.1, Status.OK),
])  # fmt: skip
def test_a_load_that_was_sent_late_is_no_fair_measurement(
    run_record, trial, telemetry, corun, kind, slo_s, status
):
    due_s = [101.5, 102.0, 102.5, 103.5]  # the last after the window
    columns = {"scheduled_s": due_s, "sent_s": [101.5, 102.01, 102.5, 104.0], "done_s": [102, 102.1, 102.6, 104.1]}
    events = JobEvents(request_batches=[{**columns, "status": ["ok"] * 4, "items": [1] * 4}])
    run = run_record.model_copy(update={"device": {"kind": kind}})
    only = CoRun((served(corun, events, slo_s),), corun.window)
    record = measured(run, trial, ProcessLauncher(), [PROVEN], only, telemetry, [], STARTED_AT)
    assert record.status is status
    if status is Status.INVALID:
        assert "the load of a was sent 10.0 ms late at p99" in record.reason


@pytest.mark.parametrize(("cpu_s", "status"), [(2.0, Status.OK), (2.2, Status.INVALID)])
def test_a_load_generator_short_of_cpu_is_no_fair_measurement(run_record, trial, telemetry, corun, cpu_s, status):
    load = {"planned": 0, "cpu_s": cpu_s, "details": {}}  # from start to stop there are 3 s
    only = CoRun((served(corun, JobEvents(load=load)),), corun.window)
    run = run_record.model_copy(update={"device": {"kind": "gpu"}})
    record = measured(run, trial, ProcessLauncher(), [PROVEN], only, telemetry, [], STARTED_AT)
    assert record.status is status
    if status is Status.INVALID:
        assert record.reason == "not a fair measurement: the load of a took 73 % of its core"


def test_a_busy_host_is_flagged_and_how_busy_is_kept(record_of, corun, telemetry):
    telemetry.host_idle = pd.DataFrame({"time_s": [99.0, 104.0], "idle_s": [0.0, 0.25]})
    record = record_of(CoRun(corun.outcomes[:1], corun.window), PROVEN)
    assert (record.status, record.host.cpu_busy) == (Status.OK, 0.95)
    assert record.flags == ("flag", "host_cpu_busy")


def served(corun, events, slo_s=None):
    """Return the first job as one that serves users."""
    first = corun.outcomes[0]
    workload = first.tenant.workload.model_copy(update={"one_of": {"rate": 1.0}})
    return replace(first, events=events, tenant=replace(first.tenant, workload=workload, slo_s=slo_s))


def test_an_unproven_mode_outranks_a_failed_job_wherever_it_was_seen(record_of, corun):
    by_tenant = CoRun(corun.outcomes, corun.window, (UNPROVEN,))
    for record in (record_of(by_tenant, PROVEN), record_of(corun, PROVEN, UNPROVEN)):
        assert record.status is Status.INVALID
        assert record.reason == "mode not proven: SM count of a: expected 54, seen 108"


def test_a_trial_that_was_not_measured_says_why(run_record, trial):
    record = not_measured(run_record, trial, ProcessLauncher(), Status.SKIPPED, "no MIG", STARTED_AT)
    assert (record.status, record.reason, record.tenants, record.window) == (Status.SKIPPED, "no MIG", (), None)
    assert (record.mode_label, record.telemetry) == ("mps", None)


def test_the_software_is_pinned_down():
    seen = software()
    assert set(seen) == {"bench", "commit", "dirty", "python", "kernel", "host_cores"}
    assert (seen["commit"] is None) == (seen["dirty"] is None)
    assert seen["host_cores"] >= 1


def test_a_clock_that_was_set_meanwhile_makes_the_trial_invalid(record_of, corun):
    sound = CoRun(corun.outcomes[:1], corun.window, clock_step_s=0.01)
    stepped = CoRun(corun.outcomes[:1], corun.window, clock_step_s=-0.2)
    assert record_of(sound, PROVEN).status is Status.OK
    record = record_of(stepped, PROVEN)
    assert record.status is Status.INVALID
    assert record.reason == "not a fair measurement: the host's clock was set, or the host slept (-0.20 s)"
