"""The images hold what the catalog says: its programs work side by side in containers, on the CPU."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bench.clock import SystemClock
from bench.gpu.device import Device
from bench.launch.contract import Tenant
from bench.launch.corun import co_run
from bench.launch.docker import DockerLauncher
from bench.launch.tenants import make_tenants
from bench.modes.contract import Evidence, Grant, Identity
from bench.plan.catalog import ParameterValue, Workload, load_catalog
from bench.plan.load import read_plan
from bench.plan.model import Timing
from bench.plan.schedule import Role, make_schedule

pytestmark = pytest.mark.docker

LauncherFor = Callable[[Sequence[Workload]], DockerLauncher]

BRIEF = Timing(name="brief", blocks=1, settle_s=0.5, window_s=2, publishable=False)


CPU = Device("cpu", False, "cores", "cpu", "cpu", None, None, None)
FILES = """
modes: [cpu-shared]
timing: smoke
mixes:
  files:
    - {workload: bert-base-server, arrivals: trace, trace: day.csv}
    - {workload: jupyter, notebook: own.ipynb, think_s: 0.1}
"""

BUSY_USERS: Mapping[str, Mapping[str, ParameterValue]] = {
    "jupyter": {"think_s": 0.1},
    **{name: {"rate": 10.0} for name in ("resnet50-server", "bert-base-server", "gpt2-server")},
}
IN_IMAGES = [name for name, workload in load_catalog().items() if workload.image]


@pytest.mark.parametrize("name", IN_IMAGES)
def test_every_workload_works_in_its_image(launcher_for: LauncherFor, name: str, tmp_path: Path) -> None:
    assert_all_work(launcher_for, [name], tmp_path)


def test_two_jobs_work_side_by_side(launcher_for: LauncherFor, tmp_path: Path) -> None:
    assert_all_work(launcher_for, ["resnet18-training", "bert-base-batch-inference"], tmp_path)


def test_files_that_jobs_name_are_there_in_their_containers(launcher_for: LauncherFor, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("0.1\n0.1\n0.7\n8\n")
    cell = "import os, pathlib; pathlib.Path(os.environ['BENCH_JOB_DIR'], 'seen').touch()"
    cells = [{"cell_type": "code", "source": cell}]
    (tmp_path / "own.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}))
    plan = read_plan(FILES, "a plan", load_catalog(), tmp_path.joinpath)
    trial = next(trial for trial in make_schedule(plan, 1).trials if trial.role is Role.MIX)
    grants = [Grant(None)] * 2
    tenants = make_tenants(trial, grants, load_catalog(), CPU, tmp_path / "trial", "files")
    result = co_run(launcher_for([each.workload for each in tenants]), tenants, BRIEF, SystemClock(), no_claims)
    assert result.errors == ()
    assert result.window is not None
    served, notebook = result.outcomes
    after_s = sorted(served.events.requests.scheduled_s - result.window.start_s)
    assert after_s == pytest.approx([0.1, 0.1, 0.7], abs=1e-6)
    assert (notebook.tenant.folder / "seen").is_file()


def assert_all_work(launcher_for: LauncherFor, mix: Sequence[str], folder: Path) -> None:
    """Check that jobs start together, work through the window, and that their events are as the protocol says."""
    workloads = [load_catalog()[name] for name in mix]
    launcher = launcher_for(workloads)
    result = co_run(
        launcher, [tenant_of(workload, folder) for workload in workloads], BRIEF, SystemClock(), no_claims
    )
    assert result.errors == ()
    assert result.window is not None
    for outcome in result.outcomes:
        assert outcome.exit_status == 0
        if outcome.tenant.workload.reports == "requests":
            assert "ok" in outcome.events.requests.status
            continue
        steps = outcome.events.steps
        assert steps.end_s[0] > result.window.start_s
        assert steps.end_s[-1] >= result.window.stop_s


def no_claims(identities: Sequence[Identity]) -> Sequence[Evidence]:
    return ()


def tenant_of(workload: Workload, parent: Path) -> Tenant:
    folder = parent / workload.name
    folder.mkdir()
    return Tenant(
        name=workload.name, job=workload.name, workload=workload,
        parameters={**workload.parameters_on("cpu"), **BUSY_USERS.get(workload.name, {})},
        seed=1, device="cpu", grant=Grant(None), folder=folder, cpus=None, memory_gb=4, run_id="side-by-side",
    )  # fmt: skip
