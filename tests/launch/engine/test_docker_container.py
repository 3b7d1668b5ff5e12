"""What a tenant finds around it when it runs in a container."""

import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from bench.launch.contract import Handle
from bench.modes.contract import Grant, Mount

pytestmark = pytest.mark.docker

LAST_CPU = max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def seen(launch: Callable[..., Any], ended: Callable[[Handle], int], look_around: str) -> dict[str, Any]:
    handle, tenant = launch(look_around, cpus=(LAST_CPU,), grant=Grant(None, {"GRANTED": "yes"}),
                            parameters={"batch_size": 8, "channels_last": True})  # fmt: skip
    assert ended(handle) == 0
    found: dict[str, Any] = json.loads((tenant.folder / "seen.json").read_text())
    return {**found, "folder": str(tenant.folder)}


def test_runs_the_module_with_the_tenants_arguments(seen: dict[str, Any]) -> None:
    assert seen["arguments"] == ["--device", "cpu", "--seed", "7", "--batch-size", "8", "--channels-last"]


def test_has_the_cores_it_was_given_and_no_other(seen: dict[str, Any]) -> None:
    assert seen["cpus"] == [LAST_CPU]


def test_has_no_network(seen: dict[str, Any]) -> None:
    assert seen["interfaces"] == ["lo"]


def test_writes_to_its_folder_and_tmp_only(seen: dict[str, Any]) -> None:
    assert (seen["write_job"], seen["write_tmp"]) == (None, None)
    assert (seen["write_root"], seen["write_code"]) == ("EROFS", "EROFS")


def test_has_the_runners_user_and_ipc_and_no_rights_beyond(seen: dict[str, Any]) -> None:
    assert seen["user"] == [os.getuid(), os.getgid()]
    assert seen["ipc"] == str(Path("/proc/self/ns/ipc").readlink())
    assert {int(mask, 16) for mask in seen["capabilities"]} == {0}
    assert seen["no_new_privileges"] == "1"


def test_knows_its_folder_under_the_path_that_the_runner_uses(seen: dict[str, Any]) -> None:
    assert seen["environment"]["BENCH_JOB_DIR"] == seen["folder"]


def test_has_the_granted_environment_and_no_gpu_that_was_not_granted(seen: dict[str, Any]) -> None:
    assert seen["environment"]["GRANTED"] == "yes"
    assert seen["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_granted_folder_is_there_and_writable(launch: Any, ended: Any, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'x')!r}, 'w').write('written by the job')"
    handle, _ = launch(program, grant=Grant(None, mounts=(Mount(tmp_path),)))
    assert ended(handle) == 0
    assert (tmp_path / "x").read_text() == "written by the job"


def test_is_labelled_with_run_and_tenant(launch: Any) -> None:
    launch("import time; time.sleep(60)", run_id="run-of-this-test", name="resnet #2")
    (found,) = docker.from_env().containers.list(filters={"label": "bench.run=run-of-this-test"})
    assert found.labels["bench.tenant"] == "resnet #2"


def test_host_pids_are_those_of_the_job(launch: Any) -> None:
    handle, tenant = launch("import os, time; os.mkdir(os.environ['BENCH_JOB_DIR'] + '/x'); time.sleep(60)")
    _wait_for(tenant.folder / "x")
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in handle.host_pids()]
    assert any(command[1:3] == [b"-m", b"program"] for command in commands)
    handle.remove()
    assert handle.host_pids() == ()


def test_shares_the_hosts_monotonic_clock(launch: Any) -> None:
    """Within a millisecond: each reading of the job lies between two of ours, the closest less than 1 ms apart."""
    _, tenant = launch("""
        import os, socket, struct, time
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.environ["BENCH_JOB_DIR"] + "/clock")
            server.listen()
            peer, _ = server.accept()
            while peer.recv(1):
                peer.sendall(struct.pack("d", time.clock_gettime(time.CLOCK_MONOTONIC)))
    """)
    _wait_for(tenant.folder / "clock")
    gaps_s = []
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tenant.folder / "clock"))
        for _ in range(200):
            before_s = time.clock_gettime(time.CLOCK_MONOTONIC)
            peer.sendall(b"?")
            (theirs_s,) = struct.unpack("d", peer.recv(8))
            after_s = time.clock_gettime(time.CLOCK_MONOTONIC)
            assert before_s <= theirs_s <= after_s
            gaps_s.append(after_s - before_s)
    assert min(gaps_s) < 0.001


def _wait_for(path: Path, deadline_s: float = 30) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not path.exists():
        assert time.monotonic() < give_up_s, f"{path} did not appear"
        time.sleep(0.01)
