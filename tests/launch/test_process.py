import json
import os
import sys

import pytest

from bench.errors import LaunchError, SetupError
from bench.launch.process import ProcessLauncher
from bench.modes.contract import Grant


def surroundings(tenant):
    """Run the program that shows its surroundings up to its crash-free end, without ever saying start."""
    handle = ProcessLauncher().start(tenant)
    events = tenant.folder / "events.jsonl"
    while handle.exit_status() is None and not (events.exists() and '"ready"' in events.read_text()):
        os.sched_yield()
    handle.remove()
    assert handle.exit_status() == 0
    return json.loads(tenant.log_file.read_text().splitlines()[1])


def test_a_tenant_has_the_granted_environment_and_no_foreign_mps_setting(tenant, monkeypatch):
    for name in ("PIPE_DIRECTORY", "ACTIVE_THREAD_PERCENTAGE", "PINNED_DEVICE_MEM_LIMIT", "LOG_DIRECTORY"):
        monkeypatch.setenv(f"CUDA_MPS_{name}", "foreign")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("BENCH_SLOWDOWN", "0.5")
    grant = Grant("GPU-1", {"CUDA_MPS_PIPE_DIRECTORY": "/ours", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"})
    job = tenant("show-surroundings", grant=grant)
    seen = surroundings(job)["environment"]
    assert {key: value for key, value in seen.items() if key.startswith("CUDA_")} == {
        "CUDA_VISIBLE_DEVICES": "GPU-1",
        "CUDA_MPS_PIPE_DIRECTORY": "/ours",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50",
    }
    assert seen["BENCH_JOB_DIR"] == str(job.folder)
    assert "BENCH_SLOWDOWN" not in seen


def test_a_tenant_runs_on_its_cores_and_the_runner_keeps_its_own(tenant):
    ours = os.sched_getaffinity(0)
    last = max(ours)
    seen = surroundings(tenant("show-surroundings", cpus=(last,)))
    assert seen["cores"] == [last]
    assert os.sched_getaffinity(0) == ours


def test_without_a_device_nothing_is_visible_and_without_cores_nothing_is_pinned(tenant):
    seen = surroundings(tenant("show-surroundings"))
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["cores"] == sorted(os.sched_getaffinity(0))


def test_cores_that_the_host_does_not_have_are_a_launch_error(tenant):
    ours = os.sched_getaffinity(0)
    with pytest.raises(LaunchError, match="tiny_tenant could not be started"):
        ProcessLauncher().start(tenant(cpus=(100_000,)))
    assert os.sched_getaffinity(0) == ours


def test_handles_may_be_asked_again_after_the_end(tenant):
    handle = ProcessLauncher().start(tenant("crash-at-once"))
    for _ in range(2):
        handle.remove()
        handle.terminate()
    assert handle.exit_status() in (1, 143)  # ended by itself, or asked before it came to that


def test_missing_packages_are_named_with_the_command_that_installs_them(tenant):
    launcher = ProcessLauncher()
    launcher.preflight([tenant(name="a", requires=("json",)).workload])
    with pytest.raises(
        SetupError, match=r"missing_b, missing_a not installed|missing_a, missing_b not installed"
    ) as error:
        launcher.preflight([tenant(name="b", requires=("missing_b", "json", "missing_a")).workload])
    assert str(error.value).endswith(f"install with: {sys.executable} -m pip install -e '.[workloads]'")


def test_provenance_pins_the_code(tenant):
    provenance = ProcessLauncher().provenance(tenant().workload)
    assert provenance == {"interpreter": sys.version.split()[0], "module": "tiny_tenant"}
