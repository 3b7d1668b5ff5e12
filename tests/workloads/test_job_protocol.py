"""The job protocol, seen from the launcher's side: a real process that carries nothing but `job.py`.

The programs run without site-packages (`-S`), which proves that the protocol needs the standard library only.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

PROGRAM = """
import os, signal, sys, time
from job import Job, now_s

with Job.open(["pip", "no-such-library"], seconds=0.3) as job:
    job.identity(device_name="an abacus")
    for _ in job.warmup(steps=3, items=2, autotune=False):
        time.sleep(0.002)
{work}
"""
STEADY = "for _ in job.steps(items=4):\n    time.sleep(0.01)"


@pytest.fixture
def write_program(tmp_path: Path, root: Path) -> Callable[[str], list[str]]:
    """Give a function that writes a program around some work, and returns its command."""

    def write(work: str) -> list[str]:
        shutil.copy(root / "workloads" / "job.py", tmp_path / "job.py")
        text = PROGRAM.format(work=indent(dedent(work), "    "))
        (tmp_path / "program.py").write_text(text, encoding="utf-8")
        return [sys.executable, "-S", str(tmp_path / "program.py")]

    return write


@pytest.fixture
def start_program(
    start_tenant: Callable[..., Any], write_program: Callable[[str], list[str]]
) -> Callable[..., Any]:
    """Give a function that starts a program around some work as a tenant."""
    return lambda work=STEADY, **options: start_tenant(write_program(work), **options)


def test_a_whole_life(start_program: Callable[..., Any]) -> None:
    tenant = start_program()
    ready = tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.2, for_s=0.7)
    assert tenant.finish() == 0

    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
    assert ready["warmup"]["items"] == [2, 2, 2]
    assert ready["autotune"] is False
    assert max(ready["warmup"]["end_s"]) <= ready["time_s"] < start_s
    ends_s, durations_s, items = tenant.steps()
    assert ends_s[0] - durations_s[0] >= start_s, "worked before the common start"
    assert ends_s[-1] >= stop_s > ends_s[-2], "ends with the first step past the stop"
    assert all(later - earlier >= 0.01 for earlier, later in itertools.pairwise(ends_s))
    assert all(0.01 <= duration_s < stop_s - start_s for duration_s in durations_s)
    done = tenant.events()[-1]
    assert (done["steps"], done["items"], done["peak_memory_mib"]) == (len(ends_s), sum(items), None)
    assert set(items) == {4}


def test_a_job_told_to_slow_down_makes_each_step_longer_by_just_that_share(
    start_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_SLOWDOWN", "0.05")
    tenant = start_program("""
        with open(os.environ["BENCH_JOB_DIR"] + "/work", "w") as work:
            for _ in job.steps(items=4):
                began_s = now_s()
                time.sleep(0.01)
                print(now_s() - began_s, file=work)
    """)
    tenant.await_event("ready")
    tenant.release(in_s=0.1, for_s=0.7)
    assert tenant.finish() == 0
    worked_s = [float(line) for line in (tenant.folder / "work").read_text().split()]
    ratios = [duration_s / work_s for duration_s, work_s in zip(tenant.steps()[1], worked_s, strict=True)]
    assert min(ratios) >= 1.05
    assert statistics.median(ratios) < 1.06, "what it takes to print the time is in there, too"


def test_hello_tells_pid_and_the_versions_of_what_is_installed(start_program: Callable[..., Any]) -> None:
    tenant = start_program()
    hello = tenant.await_event("hello")
    assert hello["protocol"] == 1
    assert hello["pid"] == tenant.process.pid
    assert hello["libraries"] == {"python": sys.version.split()[0]}


def test_identity_tells_what_the_environment_says_of_sharing(
    start_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/somewhere")
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "33.5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    identity = start_program().await_event("identity")
    assert identity["mps_pipe_directory"] == "/run/somewhere"
    assert identity["mps_active_thread_percentage"] == 33.5
    assert identity["visible_devices"] == "GPU-1"
    assert identity["cpus"] == len(os.sched_getaffinity(0))
    assert identity["device_uuid"] is None


def test_what_the_environment_does_not_say_is_none(
    start_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    identity = start_program().await_event("identity")
    assert identity["mps_pipe_directory"] is None
    assert identity["mps_active_thread_percentage"] is None
    assert identity["visible_devices"] is None


def test_peak_memory_is_reported_when_known(start_program: Callable[..., Any]) -> None:
    tenant = start_program(STEADY + "\njob.peak_memory_mib = 12.5")
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=0.05)
    assert tenant.await_event("done")["peak_memory_mib"] == 12.5


def test_waits_are_told_for_the_steps_that_had_them(start_program: Callable[..., Any]) -> None:
    tenant = start_program("""
        for count, _ in enumerate(job.steps()):
            time.sleep(0.01)
            if count:
                job.waited(0.002)
                job.waited(0.001)
    """)
    assert "wait_s" not in tenant.await_event("ready")["warmup"]
    tenant.release(in_s=0.0, for_s=0.1)
    assert tenant.finish() == 0
    (event,) = [event for event in tenant.events() if event["event"] == "step"]
    assert event["wait_s"] == [None] + [pytest.approx(0.003)] * (len(event["end_s"]) - 1)


def test_a_killed_tenant_loses_at_most_one_second(start_program: Callable[..., Any]) -> None:
    tenant = start_program("""
        began_s = now_s()
        for _ in job.steps():
            time.sleep(0.005)
            if now_s() - began_s > 1.4:
                print(now_s(), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    assert tenant.finish() == -signal.SIGKILL
    died_s = float(tenant.process.stdout.readline())
    ends_s, durations_s, _ = tenant.steps()
    assert died_s - ends_s[-1] <= 1.0
    assert sum(durations_s) == pytest.approx(ends_s[-1] - ends_s[0] + durations_s[0], rel=0.05), "no gap before"
    assert "done" not in tenant.names()


def test_sigterm_finishes_the_step_and_says_done(start_program: Callable[..., Any]) -> None:
    tenant = start_program("for _ in job.steps():\n    time.sleep(0.2); print('whole', flush=True)")
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    tenant.await_event("step")
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    done = tenant.events()[-1]
    assert done["event"] == "done"
    assert done["steps"] == len(tenant.steps()[0]) == tenant.process.stdout.read().count("whole")


@pytest.mark.parametrize("start_in_s", [None, 60.0], ids=["before start.json", "before the start"])
def test_sigterm_while_waiting(start_program: Callable[..., Any], start_in_s: float | None) -> None:
    tenant = start_program()
    tenant.await_event("ready")
    if start_in_s:
        tenant.release(in_s=start_in_s, for_s=1.0)
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "done"]
    assert tenant.events()[-1]["steps"] == 0


def test_sigterm_while_warming_up(start_program: Callable[..., Any]) -> None:
    tenant = start_program("for _ in job.warmup(10**6):\n    time.sleep(0.01)\n" + STEADY)
    tenant.await_event("identity")
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "done"]


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        ("raise ValueError('the loss is a banana')", "exception", "the loss is a banana"),
        ("raise KeyError", "exception", "KeyError"),
        ("raise MemoryError", "oom", "MemoryError"),
        (
            "class OutOfMemoryError(RuntimeError): pass\nraise OutOfMemoryError('Tried to allocate')",
            "oom",
            "Tried",
        ),
        ("raise RuntimeError('CUDA error: out of memory')", "oom", "out of memory"),
        ("raise RuntimeError('CUBLAS_STATUS_ALLOC_FAILED when calling')", "oom", "ALLOC_FAILED"),
        ("sys.exit('no such model')", "exception", "no such model"),
    ],
)
def test_a_failure_is_reported_after_the_steps_before_it(
    start_program: Callable[..., Any], failure: str, kind: str, message: str
) -> None:
    tenant = start_program(
        "for count, _ in enumerate(job.steps()):\n    if count == 2:\n" + indent(failure, " " * 8)
    )
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    assert tenant.finish() == 1
    error = tenant.events()[-1]
    assert (error["event"], error["kind"]) == ("error", kind)
    assert message in error["message"]
    assert "program.py" in error["traceback"]
    assert len(tenant.steps()[0]) == 2


def test_another_protocol_is_refused(start_program: Callable[..., Any]) -> None:
    tenant = start_program()
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=1.0, protocol=2)
    assert tenant.finish() == 1
    assert "protocol 2" in tenant.events()[-1]["message"]


def test_an_orphan_does_not_wait_for_ever(
    start_tenant: Callable[..., Any], write_program: Callable[[str], list[str]]
) -> None:
    launcher = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL); sys.stdin.read()"
    command = [sys.executable, "-c", launcher, *write_program(STEADY)]
    tenant = start_tenant(command, stdin=subprocess.PIPE)
    tenant.await_event("ready")
    tenant.process.stdin.close()
    assert tenant.process.wait() == 0
    tenant.process.stderr.read()  # until the orphan ends: it inherited the pipe
    assert "launcher is gone" in tenant.events()[-1]["message"]


def test_without_a_launcher_it_runs_at_once_and_prints_one_line(
    write_program: Callable[[str], list[str]], tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB_DIR"}
    before = set(tmp_path.rglob("*"))
    command = write_program(STEADY)
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    steps, rate, median_ms = re.fullmatch(
        r"(\d+) steps, ([\d.]+) items/s, median step ([\d.]+) ms\n", result.stdout
    ).groups()
    assert 2 <= int(steps) <= 30
    assert float(rate) <= 400.0, "four items each 10 ms at most"
    assert float(median_ms) >= 10.0
    assert {path.suffix for path in set(tmp_path.rglob("*")) - before} <= {".py", ".pyc", ""}


REQUESTS = """
start_s, stop_s = job.span()
for number in range(250):
    sent_s, status = (None, "lost") if number == 7 else (start_s, "ok")
    job.request(start_s, sent_s, start_s + number, status, items=2)
job.load(250, 0.5, seed=3)
"""


def test_requests_are_told_in_batches_and_before_the_load(start_program: Callable[..., Any]) -> None:
    tenant = start_program(REQUESTS)
    tenant.await_event("ready")
    start_s, _ = tenant.release(in_s=60.0, for_s=60.0)
    assert tenant.finish() == 0, "the span is told before the start, to prepare for it"
    assert tenant.names() == ["hello", "identity", "ready", "request", "load", "done"]
    batches = [event for event in tenant.events() if event["event"] == "request"]
    assert [len(batch["status"]) for batch in batches] == [100, 100, 50]
    assert batches[0]["sent_s"][6:9] == [start_s, None, start_s]
    assert batches[0]["status"][6:9] == ["ok", "lost", "ok"]
    assert batches[2]["done_s"][-1] == start_s + 249
    load, done = tenant.events()[-2:]
    assert (load["planned"], load["details"]) == (250, {"seed": 3})
    assert (done["requests"], done["steps"], done["items"]) == (250, 0, 498)


def test_a_request_does_not_wait_for_the_next_one_to_be_written(start_program: Callable[..., Any]) -> None:
    tenant = start_program("""
        now = job.span()[0]
        job.request(now, now, now)
        while not job.asked_to_stop():
            time.sleep(0.01)
    """)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=60.0)
    assert tenant.await_event("request")["status"] == ["ok"]
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0


def test_steps_of_different_sizes_are_written_though_no_other_comes(start_program: Callable[..., Any]) -> None:
    tenant = start_program("""
        start_s, _ = job.span()
        job.step(start_s + 1, 0.5, items=3)
        job.step(start_s + 2, 0.25, items=1)
        while not job.asked_to_stop():
            time.sleep(0.01)
    """)
    tenant.await_event("ready")
    start_s, _ = tenant.release(in_s=0.0, for_s=60.0)
    step = tenant.await_event("step")
    tenant.process.send_signal(signal.SIGTERM)
    assert tenant.finish() == 0
    assert tenant.steps() == ([start_s + 1, start_s + 2], [0.5, 0.25], [3, 1])
    assert step["time_s"] < tenant.events()[-1]["time_s"]
    assert (tenant.events()[-1]["steps"], tenant.events()[-1]["items"]) == (2, 4)


def test_without_a_launcher_requests_are_summed_up(
    write_program: Callable[[str], list[str]], tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB_DIR"}
    work = "for latency_s in (0.001, 0.002, 0.009):\n    job.request(1.0, 1.0, 1.0 + latency_s)"
    result = subprocess.run(
        write_program(work), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "3 requests, median 2.00 ms\n"
