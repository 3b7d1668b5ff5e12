from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.launch.contract import Tenant
from bench.launch.corun import CoRun, Outcome, Window
from bench.launch.events import JobEvents
from bench.modes.contract import Grant
from bench.plan.catalog import load_catalog
from bench.plan.mode import Mps
from bench.plan.model import TIMINGS, Job, Mix, Plan
from bench.plan.schedule import make_schedule
from bench.store.record import RunRecord, Status, TrialRecord, read
from bench.store.run_folder import RunFolder
from bench.telemetry.contract import Telemetry

RECORD = Path(__file__).parent.parent / "fixtures" / "records" / "trial.json"
STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def trial_record():
    """One record of a simulated run."""
    return read(RECORD, TrialRecord)


@pytest.fixture
def run_record():
    return RunRecord(
        run_id="20260102-030405-p-board", simulated=False, plan_source="p.yaml", modes=("mps",), preset=False,
        seed=1, device_request="cuda:0", launcher_request="auto", allow_reset=False,
        device={"name": "board"}, software={"commit": None}, created_at=STARTED_AT.isoformat(),
    )  # fmt: skip


@pytest.fixture
def run(tmp_path, run_record):
    """A new run's folder."""
    return RunFolder.create(tmp_path / "results", run_record, "modes: [mps]\n")


@pytest.fixture
def schedule():
    jobs = (Job(workload="resnet50-training"), Job(workload="bert-base-training"))
    plan = Plan(name="p", modes=(Mps(),), mixes=(Mix(name="m", jobs=jobs),), timing=TIMINGS["smoke"], blocks=2)
    return make_schedule(plan, 1)


@pytest.fixture
def corun(tmp_path):
    """Two tenants that were released at 100 s; the second crashed after two steps."""

    def outcome(name, ends_s, error=None):
        folder = tmp_path / "jobs" / name
        folder.mkdir(parents=True)
        tenant = Tenant(name, name, load_catalog()["resnet50-training"], {"batch_size": 64}, 1, "cuda",
                        Grant("GPU-1", share="50%"), folder, (1,), 16, "run")  # fmt: skip
        tenant.log_file.write_text(f"{name} printed this\n")
        events = JobEvents(
            hello={"libraries": {"torch": "2.7"}},
            identity={"event": "identity", "time_s": 98.0, "device_name": "board"},
            ready={"warmup": {"end_s": [99.0], "duration_s": [0.5], "items": [64]}},
            step_batches=[{"end_s": ends_s, "duration_s": [1.0] * len(ends_s), "items": [64] * len(ends_s)}],
            done=None if error else {"peak_memory_mib": 6000},
        )
        return Outcome(tenant, 1 if error else 0, events, error, told_to_end=False)

    outcomes = (outcome("a", [101.0, 102.0, 103.0]), outcome("b", [101.5, 102.5], "oom: out of memory"))
    return CoRun(outcomes, Window(100.0, 101.0, 103.0))


@pytest.fixture
def telemetry():
    stamps_s = np.array([99.0, 100.0, 101.0])
    samples = pd.DataFrame({"time_s": stamps_s, "power_w": [60.0, 300.0, np.nan]})
    energy = pd.DataFrame({"time_s": stamps_s, "energy_j": [0.0, 180.0, 480.0]})
    return Telemetry(samples, energy, {"utilization_gpu_pct": "[N/A]"}, {"power_w": "power.draw"}, 1.0, 1.0, 1.0)


@pytest.fixture
def kept(run, schedule, trial_record):
    """Keep plain records of some of a schedule's trials, changed as told."""

    def keep(trials, host=None, **changes):
        for trial in trials:
            values = {"id": trial.id, "block": trial.block, "status": Status.OK, "simulated": False, **changes}
            host_record = trial_record.host.model_copy(update=host or {})
            run.keep(trial_record.model_copy(update={**values, "host": host_record}))

    return keep
