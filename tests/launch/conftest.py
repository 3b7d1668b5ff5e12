from pathlib import Path

import pytest

from bench.launch.contract import Tenant
from bench.modes.contract import Grant
from bench.plan.catalog import Resources, SimulationProfile, Workload

PROGRAMS = Path(__file__).parent.parent / "fixtures" / "programs"
SIMULATION = SimulationProfile(
    host_ms=1, fixed_ms=1, scaling_ms=1, gpu_memory_gb=1, step_cv=0.01, provenance="for tests"
)  # fmt: skip


@pytest.fixture
def tenant(tmp_path, monkeypatch):
    """Make a tenant that runs the tiny program, behaving as told."""
    monkeypatch.setenv("PYTHONPATH", str(PROGRAMS))
    workload = Workload(
        name="tiny", module="tiny_tenant", image="none", kind="training", unit="things",
        parameters={"behave": "well"}, resources=Resources(cpus=1, memory_gb=1), simulation=SIMULATION,
    )  # fmt: skip

    def make(behave="well", name="a", grant=Grant(None), cpus=None, **options):  # noqa: B008 - a Grant is frozen
        folder = tmp_path / name
        folder.mkdir()
        return Tenant(
            name=name, job="tiny", workload=workload.model_copy(update=options), parameters={"behave": behave},
            seed=7, device="cpu", grant=grant, folder=folder, cpus=cpus, memory_gb=1, run_id="run",
        )  # fmt: skip

    return make
