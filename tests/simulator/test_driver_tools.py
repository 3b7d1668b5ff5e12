"""The stand-in tools as programs: installed, called, made to fail, and quick enough."""

import json
import subprocess
import sys
import time

import pytest

from bench.simulator.driver import nvidia_smi
from bench.simulator.driver.install import install
from bench.simulator.driver.state import Daemon, DriverState, create, updated

GPU = "GPU-11111111-2222-3333-4444-555555555555"


@pytest.fixture
def state_file(tmp_path):
    create(tmp_path / "state.txt", "a100-80gb", GPU)
    return tmp_path / "state.txt"


@pytest.fixture
def tools(tmp_path, state_file):
    install(tmp_path / "bin", state_file)
    return tmp_path / "bin"


def call(tool, *words, said="", **environment):
    return subprocess.run(
        [tool, *words], input=said, env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def csv_row(state_file, capsys, fields):
    capsys.readouterr()
    nvidia_smi.main([f"--query-gpu={fields}", "--format=csv,noheader,nounits"], str(state_file))
    return capsys.readouterr().out.strip().split(", ")


def test_they_need_no_environment(tools):
    assert call(tools / "nvidia-smi", "-L").stdout == f"GPU 0: SIMULATED NVIDIA A100-SXM4-80GB (UUID: {GPU})\n"
    assert call(tools / "nvidia-cuda-mps-control", said="ps", CUDA_MPS_PIPE_DIRECTORY="/nowhere").returncode == 1


def test_installing_again_changes_nothing(tools, state_file):
    before = {path.name: path.stat().st_mtime_ns for path in tools.iterdir()}
    install(tools, state_file)
    assert {path.name: path.stat().st_mtime_ns for path in tools.iterdir()} == before
    assert set(before) == {"nvidia-smi", "nvidia-cuda-mps-control"}


def test_an_interpreter_with_a_space_in_its_path_still_runs(tmp_path, state_file, monkeypatch):
    odd = tmp_path / "my python"
    odd.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "_base_executable", str(odd))
    install(tmp_path / "bin", state_file)
    assert call(tmp_path / "bin" / "nvidia-smi", "-L").stdout.startswith("GPU 0: SIMULATED")


def test_a_call_is_quick(tools, record_property):
    """About 15 ms on an idle machine; the bound leaves room for a busy one."""
    call(tools / "nvidia-smi", "-L")
    took_s = []
    for _ in range(10):
        begin_s = time.perf_counter()
        call(tools / "nvidia-smi", f"--id={GPU}", "--query-gpu=uuid,mig.mode.current", "--format=csv,noheader")
        took_s.append(time.perf_counter() - begin_s)
    record_property("fastest_call_s", min(took_s))
    print(f"stand-in nvidia-smi: {min(took_s) * 1000:.1f} ms a call")  # noqa: T201
    assert min(took_s) < 0.1


COMMANDS = [
    "--query-gpu=uuid --format=csv",
    "-mig 1",
    "mig -lgip",
    "-L",
    "-lgc 1410",
    "compute-policy --set-timeslice 1",
]


@pytest.mark.parametrize("words", [command.split() for command in COMMANDS])
def test_a_call_imports_nothing_heavy(tools, words):
    """What such imports cost would be paid sixty times a block."""
    program = (tools / "nvidia-smi").read_text().replace("posix._exit(code)", "").splitlines()[1:]
    program.append("print(*sys.modules)")
    done = call(sys.executable, "-IS", "-c", "\n".join(program), *words)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "driver.state" in loaded
    heavy = {"collections", "contextlib", "dataclasses", "enum", "functools", "json", "os", "re", "typing"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Invalid combination of input arguments"),
        (["--frobnicate"], 2, "--frobnicate is not recognized"),
        (["--query-gpu=uuid"], 2, "Invalid combination"),
        (["-i"], 2, "Invalid combination"),
        (["-mig", "2"], 2, "Invalid combination"),
        (["-i", "7", "-L"], 6, "No devices were found"),
        (["mig", "-lgi"], 6, "No MIG-enabled devices found."),
        (["mig", "-cgi", "9", "-gi", "x"], 6, "No MIG-enabled"),
    ],
)
def test_wrong_calls_are_refused(state_file, capsys, words, code, said):
    assert nvidia_smi.main(words, str(state_file)) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("request_", ["9:2", "99", "9:x", "nonsense"])
def test_a_placement_that_the_profile_does_not_have_is_refused(state_file, request_):
    nvidia_smi.main(["-mig", "1"], str(state_file))
    assert nvidia_smi.main(["mig", "-cgi", request_], str(state_file)) == 2
    assert DriverState.load(state_file).instances == []


def test_what_was_created_before_a_refusal_stays(state_file):
    nvidia_smi.main(["-mig", "1"], str(state_file))
    assert nvidia_smi.main(["mig", "-cgi", "9:0,9:4,19:6", "-C"], str(state_file)) == 23
    assert len(DriverState.load(state_file).instances) == 2


@pytest.mark.parametrize(
    ("gpu_instance", "compute", "slices"),
    [
        ("7g.80gb", "4", [7]),
        ("7g.80gb", "1c.7g.80gb,2", [1, 3]),
        ("3g.40gb", "", [3]),
        ("3g.40gb", "1,1", [2]),
    ],
)
def test_compute_instances_share_the_slices_of_their_gpu_instance(state_file, gpu_instance, compute, slices):
    nvidia_smi.main(["-mig", "1"], str(state_file))
    nvidia_smi.main(["mig", "-cgi", gpu_instance], str(state_file))
    nvidia_smi.main(["mig", "-cci", *([compute] if compute else [])], str(state_file))
    (gi,) = DriverState.load(state_file).instances
    assert [ci.slices for ci in gi.compute] == slices
    assert len({ci.uuid for ci in gi.compute}) == len(slices)


def test_without_root_nothing_changes(state_file):
    with updated(state_file) as state:
        state.privileged = False
    before = state_file.read_bytes()
    for words in (["-mig", "1"], ["-c", "3"], ["-pm", "0"]):
        assert nvidia_smi.main(words, str(state_file)) == 4
    assert state_file.read_bytes() == before


def test_hopper_refuses_a_new_mode_while_held_and_ampere_keeps_it_pending(tmp_path):
    for model, code, pending in (("h100-80gb", 19, False), ("a100-80gb", 0, True)):
        path = tmp_path / model
        create(path, model, GPU)
        with updated(path) as state:
            state.holder = "nvidia-persistenced"
        assert nvidia_smi.main(["-mig", "1"], str(path)) == code
        state = DriverState.load(path)
        assert (state.mig_enabled, state.mig_pending) == (False, pending)


def test_readings_follow_the_clients(state_file, capsys):
    fields = "utilization.gpu,memory.used,clocks_event_reasons.active"
    assert csv_row(state_file, capsys, fields) == ["0", "0", "0x0000000000000001"]
    with updated(state_file) as state:
        state.add_client(7, "train.py", GPU, 512)
    assert csv_row(state_file, capsys, fields) == ["100", "512", "0x0000000000000000"]


def test_old_and_short_field_names_are_understood(state_file, capsys):
    row = csv_row(state_file, capsys, "gpu_uuid,clocks.sm,clocks_throttle_reasons.gpu_idle")
    assert row == [GPU, "1410", "Active"]


def test_the_help_names_every_field_it_answers(state_file, capsys):
    nvidia_smi.main(["--help-query-gpu"], str(state_file))
    names = [line.split('"')[1] for line in capsys.readouterr().out.splitlines() if line.startswith('"')]
    assert {"uuid", "power.draw.instant", "mig.mode.current"} < set(names) - {"cuda_version"}
    nvidia_smi.main([f"--query-gpu={','.join(names)}", "--format=csv,noheader"], str(state_file))
    assert len(capsys.readouterr().out.split(", ")) == len(names)


def test_a_stream_goes_on_until_it_is_stopped(tools):
    words = ["--query-gpu=uuid", "--format=csv", "-lms", "5"]
    with subprocess.Popen([tools / "nvidia-smi", *words], stdout=subprocess.PIPE, text=True) as stream:
        lines = [stream.stdout.readline() for _ in range(4)]
        stream.terminate()
    assert lines == ["uuid\n", *[f"{GPU}\n"] * 3]


@pytest.mark.parametrize("tool", ["nvidia-smi", "nvidia-cuda-mps-control"])
def test_faults_strike_as_often_as_they_are_told(tools, tmp_path, tool):
    rules = [{"tool": tool, "match": "-d", "action": "fail", "rc": 9, "text": "broken\n", "times": 1}]
    (tmp_path / "faults.json").write_text(json.dumps(rules))
    environment = {
        "BENCH_SIM_FAULTS": str(tmp_path / "faults.json"),
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "p"),
    }
    first = call(tools / tool, "-d", **environment)
    assert (first.returncode, first.stdout) == (9, "broken\n")
    assert call(tools / tool, "-d", **environment).returncode != 9


def test_a_lie_does_nothing_and_says_all_is_well(tools, tmp_path, state_file):
    (tmp_path / "f").write_text(json.dumps([{"tool": "nvidia-smi", "match": "-c 3", "action": "lie"}]))
    assert call(tools / "nvidia-smi", "-c", "3", BENCH_SIM_FAULTS=str(tmp_path / "f")).returncode == 0
    assert DriverState.load(state_file).compute_mode == "Default"


def test_mps_answers_about_its_server_and_clients(tools, tmp_path, state_file):
    pipe = str(tmp_path / "pipe")
    control = tools / "nvidia-cuda-mps-control"

    def ask(said):
        return call(control, said=said, CUDA_MPS_PIPE_DIRECTORY=pipe).stdout

    assert call(control, "-d", CUDA_MPS_PIPE_DIRECTORY=pipe, CUDA_VISIBLE_DEVICES=GPU).returncode == 0
    assert ask("get_server_list") == ""
    with updated(state_file) as state:
        state.add_client(7, "train.py", GPU, 1, mps_pipe_directory=pipe)
    server = ask("get_server_list").strip()
    assert ask(f"get_server_status {server}") == "ACTIVE\n"
    assert ask(f"get_client_list {server}") == "7\n"
    assert ask("set_default_active_thread_percentage 25\nget_default_active_thread_percentage") == "25.0\n25.0\n"
    assert ask(f"terminate_client {server} 7") == "0\n"
    assert ask("get_default_device_pinned_mem_limit 0") == "Not set\n"
    assert (
        ask(f"set_default_device_pinned_mem_limit {GPU} 512M\nget_default_device_pinned_mem_limit 0") == "512M\n"
    )
    assert ask("set_default_device_pinned_mem_limit 0 lots").startswith("Unrecognized command")
    assert ask("nonsense").startswith("Unrecognized command")
    assert call(control, said="quit", CUDA_MPS_PIPE_DIRECTORY=pipe).returncode == 0
    assert list((tmp_path / "pipe").iterdir()) == []


def test_a_daemon_with_too_long_a_socket_path_dies_without_a_word(tools, tmp_path, state_file):
    pipe = str(tmp_path / ("x" * 120))
    control = tools / "nvidia-cuda-mps-control"
    assert call(control, "-d", CUDA_MPS_PIPE_DIRECTORY=pipe).returncode == 0
    assert "Cannot find MPS control daemon" in call(control, said="ps", CUDA_MPS_PIPE_DIRECTORY=pipe).stdout


def test_start_server_needs_no_client(tools, tmp_path):
    pipe = str(tmp_path / "pipe")
    control = tools / "nvidia-cuda-mps-control"
    call(control, "-d", CUDA_MPS_PIPE_DIRECTORY=pipe)
    call(control, said="start_server -uid 1000", CUDA_MPS_PIPE_DIRECTORY=pipe)
    assert int(call(control, said="get_server_list", CUDA_MPS_PIPE_DIRECTORY=pipe).stdout) > 4194304


def test_static_partitions_are_added_listed_and_removed(tools, tmp_path, state_file):
    control, pipe = tools / "nvidia-cuda-mps-control", str(tmp_path / "pipe")

    def say(words):
        return call(control, said=words, CUDA_MPS_PIPE_DIRECTORY=pipe).stdout

    assert call(control, "-d", "-S", CUDA_MPS_PIPE_DIRECTORY=pipe).returncode == 0
    first, second = (say(f"sm_partition add {GPU} {chunks}").strip() for chunks in (20, 7))
    assert first != second
    assert "Insufficient Resources" in say(f"sm_partition add {GPU} 1")
    assert "Invalid Argument" in say("sm_partition add GPU-other 1")
    with updated(state_file) as state:
        state.add_client(7, "train.py", GPU, 1, mps_pipe_directory=pipe, sm_partition=second)
    assert [line.split()[2:] for line in say("lspart").splitlines()[2:]] == [
        ["0", "27", "0", "108", "-"], ["-", "20", "-", "80", "No"], ["-", "7", "-", "28", "Yes"],
    ]  # fmt: skip
    assert "In use" in say(f"sm_partition rm {second}")
    assert say(f"sm_partition rm {first}") == ""
    assert "Not Found" in say(f"sm_partition rm {first}")
    assert [part.id for part in DriverState.load(state_file).daemons[0].partitions] == [second]


def test_an_older_driver_knows_no_static_partitions(tools, tmp_path, state_file):
    control, pipe = tools / "nvidia-cuda-mps-control", str(tmp_path / "pipe")
    with updated(state_file) as state:
        state.driver_version = "580.126.09"
    done = call(control, "-d", "-S", CUDA_MPS_PIPE_DIRECTORY=pipe)
    assert (done.returncode, done.stdout) == (1, "Unrecognized option: -S\n")
    call(control, "-d", CUDA_MPS_PIPE_DIRECTORY=pipe)
    assert "Unrecognized command" in call(control, said="lspart", CUDA_MPS_PIPE_DIRECTORY=pipe).stdout


def test_an_instance_that_an_mps_server_is_on_is_not_destroyed(state_file, tmp_path):
    for command in ("-mig 1", "mig -cgi 9 -C"):
        assert nvidia_smi.main(command.split(), str(state_file)) == 0
    with updated(state_file) as state:
        device, pipe = state.instances[0].compute[0].uuid, str(tmp_path)
        state.daemons.append(Daemon(state.take_pid(), pipe, device))
        state.add_client(7, "train.py", device, 1, mps_pipe_directory=pipe)
        state.remove_client(7)
    assert nvidia_smi.main(["mig", "-dci"], str(state_file)) == 19
