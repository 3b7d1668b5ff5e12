"""How containers of tenants start, end, and are cleaned away."""

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from bench.launch.contract import Handle, Tenant
from bench.launch.docker import DockerLauncher

pytestmark = pytest.mark.docker

Launch = Callable[..., tuple[Handle, Tenant]]
Ended = Callable[[Handle], int]

SLEEP = "import time; time.sleep(60)"


def containers(run_id: str) -> list[Any]:
    return list(docker.from_env().containers.list(all=True, filters={"label": f"bench.run={run_id}"}))


@pytest.mark.parametrize(("program", "status"), [("", 0), ("raise SystemExit(3)", 3), ("1/0", 1)])
def test_exit_status_is_the_programs(launch: Launch, ended: Ended, program: str, status: int) -> None:
    handle, _ = launch(program)
    assert ended(handle) == status


def test_a_running_job_has_no_exit_status(launch: Launch) -> None:
    handle, _ = launch(SLEEP)
    assert handle.exit_status() is None


def test_log_holds_what_the_job_printed_on_both_streams(launch: Launch, ended: Ended) -> None:
    handle, tenant = launch("import sys; print('to stdout'); 1/0")
    ended(handle)
    handle.remove()
    log = tenant.log_file.read_text()
    assert "to stdout\n" in log
    assert "ZeroDivisionError" in log


def test_memory_within_the_limit_is_given(launch: Launch, ended: Ended) -> None:
    handle, _ = launch("bytearray(60_000_000)", memory_gb=0.1)
    assert ended(handle) == 0


def test_memory_beyond_the_limit_kills_the_job_and_the_log_says_so(launch: Launch, ended: Ended) -> None:
    handle, tenant = launch("print('begun'); bytearray(400_000_000)", memory_gb=0.1)
    assert ended(handle) == 137
    handle.remove()
    begun, reason = tenant.log_file.read_text().splitlines()
    assert begun == "begun"
    assert "host memory beyond the 0.1 GB" in reason


def test_the_log_of_a_job_killed_otherwise_does_not_blame_memory(launch: Launch, ended: Ended) -> None:
    handle, tenant = launch("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended(handle) == 137
    handle.remove()
    assert tenant.log_file.read_text() == ""


JOB = """
    import time
    from workloads.job import Job

    with Job.open() as job:
        job.identity(device_name="cpu")
        for _ in job.steps():
            time.sleep(0.01)
"""


def test_a_job_is_started_through_its_folder_and_ends_well_when_terminated(launch: Launch, ended: Ended) -> None:
    handle, tenant = launch(JOB)
    events = tenant.folder / "events.jsonl"
    _wait_for(events, "ready")
    (tenant.folder / "start.json").write_text('{"protocol": 1, "start_s": 0, "stop_s": 1e12}')
    _wait_for(events, "step")
    handle.terminate()
    assert ended(handle) == 0
    assert '"done"' in events.read_text()


def test_everything_may_be_asked_again_after_removal(launch: Launch) -> None:
    handle, _ = launch("raise SystemExit(4)", run_id="removed-twice")
    while handle.exit_status() is None:
        pass
    for _ in range(2):
        handle.remove()
        handle.terminate()
        assert handle.exit_status() == 4
        assert handle.host_pids() == ()
    assert containers("removed-twice") == []


def test_removal_ends_a_running_job(launch: Launch) -> None:
    handle, _ = launch(SLEEP, run_id="removed-running")
    handle.remove()
    assert handle.exit_status() == 128 + signal.SIGTERM
    assert containers("removed-running") == []


DELIBERATE = """
    import os, signal, sys, time

    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(1)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    os.mkdir(os.environ["BENCH_JOB_DIR"] + "/works")
    time.sleep(60)
"""


@pytest.mark.parametrize("times_asked", [0, 1, 2])
def test_a_job_that_takes_its_time_to_end_is_asked_once_and_waited_for(launch: Launch, times_asked: int) -> None:
    handle, tenant = launch(DELIBERATE)
    _wait_until((tenant.folder / "works").exists)
    for _ in range(times_asked):
        handle.terminate()
    handle.remove()
    assert handle.exit_status() == 0


def test_a_job_that_does_not_end_is_killed_after_the_grace(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.launch.docker.STOP_GRACE_S", 0.2)
    handle, tenant = launch(DELIBERATE, run_id="killed")
    _wait_until((tenant.folder / "works").exists)
    handle.remove()
    assert handle.exit_status() == 128 + signal.SIGKILL
    assert containers("killed") == []


def test_a_container_that_somebody_else_removed_counts_as_killed(launch: Launch) -> None:
    handle, tenant = launch(SLEEP, run_id="removed-by-others")
    containers("removed-by-others")[0].remove(force=True)
    assert handle.exit_status() == 137
    handle.remove()
    assert "removed by somebody else" in tenant.log_file.read_text()


RUNNER_THAT_IS_KILLED = """
import os, pickle, signal, sys
from bench.launch.docker import DockerLauncher

DockerLauncher().start(pickle.load(sys.stdin.buffer))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_later_run_removes_what_a_killed_runner_left_and_nothing_else(
    launch: Launch, launcher: DockerLauncher, make_tenant: Callable[..., Tenant]
) -> None:
    ours, tenant = launch(SLEEP, run_id="alive")
    foreign = docker.from_env().containers.create(tenant.workload.image, ["true"])
    orphan = pickle.dumps(make_tenant(SLEEP, run_id="orphaned"))
    command = [sys.executable, "-c", RUNNER_THAT_IS_KILLED]
    killed = subprocess.run(command, input=orphan, check=False, timeout=60)
    try:
        assert killed.returncode == -signal.SIGKILL
        assert len(containers("orphaned")) == 1
        launcher.clean_up()
        assert containers("orphaned") == []
        assert ours.exit_status() is None
        foreign.reload()
    finally:
        foreign.remove()


def _wait_for(events: Path, name: str) -> None:
    _wait_until(lambda: events.exists() and f'"{name}"' in events.read_text())


def _wait_until(holds: Callable[[], bool], deadline_s: float = 30) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < give_up_s, "it did not come to pass"
        time.sleep(0.01)
