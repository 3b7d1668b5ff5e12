"""`enable_mps.sh` and `disable_mps.sh`: a private daemon, healthy or not there at all."""

import os
import subprocess
import tempfile

import pytest

from bench.simulator.driver.state import updated


def test_starts_a_daemon_for_this_gpu(a100, result, without_times):
    said = result(a100.mps("--active-thread-percentage", "50"))
    (daemon,) = a100.state.daemons
    assert "start_s" in said
    assert without_times(said) == {
        "pipe_directory": str(a100.pipe),
        "log_directory": str(a100.logs),
        "daemon_pid": str(daemon.pid),
        "active_thread_percentage": "50.0",
        "changed": "yes",
    }
    assert (daemon.device, daemon.active_thread_percentage) == (a100.gpu, 50.0)
    assert a100.pipe.stat().st_mode & 0o777 == 0o711


def test_a_second_call_leaves_the_daemon_alone(a100, result, without_times):
    first = result(a100.mps())
    second = result(a100.mps())
    assert second == without_times(first) | {"changed": "no"}
    assert len(a100.state.daemons) == 1


@pytest.mark.parametrize(("limit", "same"), [("40G", "40960M"), ("1024M", "1G"), ("512M", "512M")])
def test_limits_the_memory_of_every_client(a100, result, limit, same):
    said = result(a100.mps("--pinned-memory-limit", limit))
    assert (said["pinned_memory_limit"], said["changed"]) == (limit, "yes")
    assert a100.state.daemons[0].memory_limit == limit
    assert result(a100.mps("--pinned-memory-limit", same))["changed"] == "no"
    assert a100.mps("--pinned-memory-limit", "3G").returncode == 5


@pytest.mark.parametrize("limit", ["0G", "-1G", "1.5G", "40", "40T", "G"])
def test_an_impossible_memory_limit_is_wrong_usage(a100, limit):
    assert a100.mps("--pinned-memory-limit", limit).returncode == 2


def test_a_memory_limit_that_the_daemon_does_not_keep_leaves_no_daemon(a100):
    a100.fail(tool="nvidia-cuda-mps-control", match="set_default_device", action="lie", text="")
    done = a100.mps("--pinned-memory-limit", "40G")
    assert done.returncode == 1
    assert "not to 40G" in done.stderr
    assert a100.state.daemons == []
    assert not a100.pipe.exists()


def test_exclusive_process_lets_nobody_past_the_daemon(a100, result):
    said = result(a100.mps("--exclusive-process"))
    assert (said["compute_mode"], said["changed"]) == ("Exclusive_Process", "yes")
    assert a100.state.compute_mode == "Exclusive_Process"
    assert result(a100.mps("--exclusive-process"))["changed"] == "no"
    assert result(a100.no_mps())["changed"] == "yes"
    assert result(a100.run("setup_time_slicing.sh"))["compute_mode"] == "Default"


def test_exclusive_process_comes_to_a_daemon_that_is_there(a100, result):
    first = result(a100.mps())
    assert result(a100.mps("--exclusive-process"))["daemon_pid"] == first["daemon_pid"]
    assert a100.state.compute_mode == "Exclusive_Process"


def test_without_a_daemon_the_compute_mode_is_as_it_was(a100):
    a100.fail(tool="nvidia-cuda-mps-control", match="-d", action="fail", rc=1, text="no such device\n")
    assert a100.mps("--exclusive-process").returncode == 1
    assert a100.state.compute_mode == "Default"


def test_exclusive_process_needs_root(a100):
    with updated(a100.state_file) as state:
        state.privileged = False
    assert a100.mps("--exclusive-process").returncode == 4
    assert a100.state.daemons == []


def test_refuses_a_daemon_that_is_not_as_asked(a100):
    a100.mps("--active-thread-percentage", "50")
    done = a100.mps("--active-thread-percentage", "25")
    assert done.returncode == 5
    assert a100.state.daemons[0].active_thread_percentage == 50.0


def test_neither_helper_touches_the_daemon_of_someone_else(a100):
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(a100.pipe)}
    subprocess.run([a100.folder / "bin" / "nvidia-cuda-mps-control", "-d"], env=environment, check=True)
    before = a100.state_file.read_bytes()
    assert a100.mps().returncode == 5
    assert a100.no_mps().returncode == 5
    assert a100.state_file.read_bytes() == before
    assert (a100.pipe / "control").exists()


def test_replaces_what_a_dead_daemon_left(a100, result):
    a100.mps()
    with updated(a100.state_file) as state:
        state.daemons.clear()
    assert result(a100.mps())["changed"] == "yes"
    assert len(a100.state.daemons) == 1


def test_waits_for_a_daemon_that_is_slow_to_answer(a100, result):
    a100.fail(
        tool="nvidia-cuda-mps-control",
        match="get_default",
        action="fail",
        rc=1,
        text="Cannot find\n",
        times=2,
    )
    assert result(a100.mps())["changed"] == "yes"


def test_notices_a_daemon_that_is_not_as_asked(a100):
    a100.fail(tool="nvidia-cuda-mps-control", match="get_default", action="lie", text="100.0\n", times=1)
    done = a100.mps("--active-thread-percentage", "50")
    assert done.returncode == 1
    assert not a100.pipe.exists()
    assert a100.state.daemons == []


def test_a_start_that_fails_leaves_nothing(a100):
    a100.fail(tool="nvidia-cuda-mps-control", match="-d", action="fail", rc=1, text="no such device\n")
    done = a100.mps()
    assert done.returncode == 1
    assert "no such device" in done.stderr
    assert not a100.pipe.exists()


def test_divides_the_sms_and_says_which_partition_is_whose(a100, result, without_times):
    said = result(a100.mps("--static-partitions", "14,6,7"))
    (daemon,) = a100.state.daemons
    assert daemon.static
    assert [part.chunks for part in daemon.partitions] == [14, 6, 7]
    assert said["partitions"].split(",") == [part.id for part in daemon.partitions]
    assert result(a100.mps("--static-partitions", "14,6,7")) == without_times(said) | {"changed": "no"}


def test_partitions_can_be_left_for_later(a100, result):
    assert result(a100.mps("--static-partitions", "none"))["partitions"] == ""
    assert a100.state.daemons[0].static


@pytest.mark.parametrize("others", ["7,6", "6,7,1", "none", None])
def test_refuses_a_daemon_with_other_partitions(a100, others):
    assert a100.mps("--static-partitions", "6,7").returncode == 0
    before = a100.state_file.read_text()
    done = a100.mps(*(("--static-partitions", others) if others else ()))
    assert done.returncode == 5
    assert "partitions=6,7" in done.stderr
    assert a100.state_file.read_text() == before


def test_a_partition_that_somebody_removed_is_noticed(a100):
    a100.mps("--static-partitions", "6,7")
    with updated(a100.state_file) as state:
        (daemon,) = state.daemons
        state.replace_daemon(daemon, daemon.replace(partitions=daemon.partitions[:1]))
    assert a100.mps("--static-partitions", "6,7").returncode == 5


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "fail", "rc": 1, "text": "no\n"},
        {"action": "fail", "rc": 0, "text": "no\n"},
        {"action": "lie", "text": "GPU-11111111-2222-3333-4444-555555555555/Dx4\n"},
    ],
)
def test_a_partition_that_fails_takes_the_daemon_with_it(a100, fault):
    a100.fail(tool="nvidia-cuda-mps-control", match=f"sm_partition add {a100.gpu} 7", **fault)
    assert a100.mps("--static-partitions", "6,7").returncode == 1
    assert a100.state.daemons == []
    assert not a100.pipe.exists()


def test_more_chunks_than_there_are_is_what_the_device_cannot_do(a100):
    done = a100.mps("--static-partitions", "20,8")
    assert done.returncode == 3
    assert "28 chunks are asked for, it has 27" in done.stderr
    assert a100.state.daemons == []
    assert not a100.pipe.exists()


def test_an_older_driver_cannot_partition(a100):
    with updated(a100.state_file) as state:
        state.driver_version = "580.126.09"
    done = a100.mps("--static-partitions", "7")
    assert done.returncode == 3
    assert "driver 590 or newer, this is 580.126.09" in done.stderr
    assert a100.mps().returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--static-partitions", "0"),
        ("--static-partitions", "7,"),
        ("--static-partitions", "all"),
        ("--static-partitions", "7", "--active-thread-percentage", "50"),
        ("--static-partitions", "7", "--mig-device", "MIG-1"),
        ("--mig-device", "GPU-1"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(a100, words):
    assert a100.mps(*words).returncode == 2


def test_a_dry_run_shows_how_the_sms_would_be_divided(a100):
    before = a100.state_file.read_text()
    done = a100.mps("--static-partitions", "6,7", "--dry-run")
    assert "nvidia-cuda-mps-control -d -S\n" in done.stdout
    assert f"+ echo 'sm_partition add {a100.gpu} 7' | nvidia-cuda-mps-control\n" in done.stdout
    assert a100.state_file.read_text() == before


@pytest.fixture
def halves(h100, result):
    """An H100 in two halves: the board, and the UUIDs of its MIG devices."""
    said = result(h100.run("setup_mig.sh", "--layout", "9:0,9:4"))
    return h100, [instance.split("/")[0] for instance in said["instances"].split(",")]


def test_serves_one_mig_device(halves, result, without_times):
    board, (first, second) = halves
    said = result(board.mps("--mig-device", first))
    assert [daemon.device for daemon in board.state.daemons] == [first]
    assert result(board.mps("--mig-device", first)) == without_times(said) | {"changed": "no"}
    assert board.mps("--mig-device", second).returncode == 5
    assert result(board.no_mps())["changed"] == "yes"
    assert board.state.daemons == []


def test_each_mig_device_can_have_a_daemon(halves):
    board, devices = halves
    for number, device in enumerate(devices):
        folders = (str(board.folder / f"p{number}"), str(board.folder / f"l{number}"))
        words = ("--pipe-directory", folders[0], "--log-directory", folders[1], "--mig-device", device)
        assert board.run("enable_mps.sh", *words).returncode == 0
    assert [daemon.device for daemon in board.state.daemons] == devices


def test_refuses_a_mig_device_that_is_not_there(halves):
    board, _ = halves
    done = board.mps("--mig-device", "MIG-00000000-1111-2222-3333-444444444444")
    assert done.returncode == 1
    assert "no MIG device" in done.stderr
    assert not board.pipe.exists()


def test_refuses_a_gpu_in_mig_mode(a100):
    with updated(a100.state_file) as state:
        state.mig_enabled = state.mig_pending = True
    assert a100.mps().returncode == 1


@pytest.mark.parametrize("percentage", ["0", "101", "-5", "half", "0.0"])
def test_an_impossible_percentage_is_wrong_usage(a100, percentage):
    assert a100.mps("--active-thread-percentage", percentage).returncode == 2


def test_a_socket_path_that_is_too_long_is_wrong_usage(a100):
    long = "/tmp/" + "x" * 95
    done = a100.run("enable_mps.sh", "--pipe-directory", long, "--log-directory", str(a100.logs))
    assert done.returncode == 2
    assert "107" in done.stderr


def test_the_daemon_inherits_no_open_file(a100):
    """A lock that the runner holds must not live on in the daemon."""
    tool = a100.folder / "bin" / "nvidia-cuda-mps-control"
    spy = a100.folder / "spy"
    tool.rename(a100.folder / "bin" / "real")
    tool.write_text(f'#!/bin/sh\n[ "$1" != -d ] || ls /proc/self/fd >{spy}\nexec {a100.folder}/bin/real "$@"\n')
    tool.chmod(0o755)
    with tempfile.TemporaryFile() as lock:
        number = os.dup2(lock.fileno(), 57)
        try:
            assert a100.mps(pass_fds=(number,)).returncode == 0
        finally:
            os.close(number)
    assert set(spy.read_text().split()) <= {"0", "1", "2", "3"}  # 3 is the folder that ls reads


def test_disable_ends_the_daemon_and_removes_its_directory(a100, result, without_times):
    a100.mps()
    said = result(a100.no_mps())
    assert "stop_s" in said
    assert without_times(said) == {"pipe_directory": str(a100.pipe), "changed": "yes"}
    assert a100.state.daemons == []
    assert not a100.pipe.exists()


def test_disable_is_fine_where_nothing_runs(a100, result):
    assert result(a100.no_mps())["changed"] == "no"


def test_disable_ends_clients_that_do_not_leave(a100):
    a100.mps()
    with updated(a100.state_file) as state:
        state.add_client(4242, "train.py", a100.gpu, 512, mps_pipe_directory=str(a100.pipe))
    assert a100.no_mps().returncode == 0
    assert a100.state.clients == []


def test_disable_leaves_a_daemon_of_another_directory(a100):
    a100.mps()
    other = (str(a100.folder / "p2"), str(a100.folder / "l2"))
    a100.run("enable_mps.sh", "--pipe-directory", other[0], "--log-directory", other[1])
    a100.no_mps()
    assert [daemon.pipe_directory for daemon in a100.state.daemons] == [other[0]]


def test_disable_notices_a_daemon_that_stays(a100):
    a100.mps()
    a100.fail(tool="nvidia-cuda-mps-control", match="quit", action="lie")
    done = a100.no_mps()
    assert done.returncode == 1
    assert "still answers" in done.stderr
    assert a100.pipe.exists()


def test_disable_signals_only_a_real_mps_process(a100):
    """A pid file that names a process of another program: that process lives on."""
    a100.mps()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (a100.pipe / "nvidia-cuda-mps-control.pid").write_text(f"{bystander.pid}\n")
        assert a100.no_mps().returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_disable_ends_a_real_process_that_ignores_quit(a100, tmp_path):
    a100.mps()
    program = tmp_path / "nvidia-cuda-mps-control"
    program.symlink_to("/bin/sleep")
    daemon = subprocess.Popen([program, "60"])
    try:
        (a100.pipe / "nvidia-cuda-mps-control.pid").write_text(f"{daemon.pid}\n")
        assert a100.no_mps().returncode == 0
        assert daemon.wait(timeout=5) == -15
    finally:
        daemon.kill()
