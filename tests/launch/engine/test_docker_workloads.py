"""The images hold what the catalog says: its programs work side by side in containers, on the CPU."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.clock import SystemClock
from bench.launch.contract import Tenant
from bench.launch.corun import co_run
from bench.launch.docker import DockerLauncher
from bench.modes.contract import Evidence, Grant, Identity
from bench.plan.catalog import Workload, load_catalog
from bench.plan.model import Timing

pytestmark = pytest.mark.docker

LauncherFor = Callable[[Sequence[Workload]], DockerLauncher]

BRIEF = Timing(name="brief", blocks=1, settle_s=0.5, window_s=2, publishable=False)


@pytest.mark.parametrize(
    "mix",
    [("resnet18-training", "bert-base-training"), ("resnet50-batch-inference", "bert-base-batch-inference")],
    ids=["training", "inference"],
)
def test_two_jobs_work_side_by_side(launcher_for: LauncherFor, mix: Sequence[str], tmp_path: Path) -> None:
    workloads = [load_catalog()[name] for name in mix]
    launcher = launcher_for(workloads)
    tenants = [tenant_of(workload, tmp_path) for workload in workloads]
    result = co_run(launcher, tenants, BRIEF, SystemClock(), no_claims)
    assert result.errors == ()
    assert result.window is not None
    for outcome in result.outcomes:
        assert outcome.exit_status == 0
        assert outcome.events.steps.end_s[0] > result.window.start_s
        assert outcome.events.steps.end_s[-1] >= result.window.stop_s


def no_claims(identities: Sequence[Identity]) -> Sequence[Evidence]:
    return ()


def tenant_of(workload: Workload, parent: Path) -> Tenant:
    folder = parent / workload.name
    folder.mkdir()
    return Tenant(
        name=workload.name, job=workload.name, workload=workload, parameters=workload.parameters_on("cpu"),
        seed=1, device="cpu", grant=Grant(None), folder=folder, cpus=None, memory_gb=4, run_id="side-by-side",
    )  # fmt: skip
