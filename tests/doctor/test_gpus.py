"""A GPU in every condition that keeps it from a mode, behind a stand-in driver that is taken for a real one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.gpu.inventory import find_gpu
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.observe import observe
from bench.simulator.driver.state import Daemon

WHOLE = ("exclusive", "time-slicing", "mps", "mps-equal", "mps-partitions")


@pytest.fixture
def user(monkeypatch):
    """Somebody who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def able(told):
    """The modes that a run could switch to; as-found needs no switching."""
    return {name for name, mode in told.items() if mode["available"]} - {"as-found"}


def test_an_idle_hopper_does_every_gpu_mode(host, modes):
    host("h100-80gb")
    assert able(modes()) == {*WHOLE, "mig", "mig-mps"}


def test_an_ampere_needs_the_reset_allowed_for_mig_only(host, modes):
    gpu = host("a100-80gb").state.gpu_uuid
    told = modes()
    assert able(told) == {*WHOLE}
    assert "resets an Ampere GPU" in told["mig"]["reason"]
    assert told["mig"]["command"] == f"python run_experiments.py --mode mig --device cuda:{gpu} --allow-reset"


def test_an_ampere_left_in_mig_mode_needs_the_reset_for_all_else(host, modes):
    bench = host("a100-80gb")
    smi(bench, "-mig", "1")
    told = modes()
    assert able(told) == {"mig", "mig-mps"}
    assert told["mps"]["command"].endswith("--allow-reset")


def test_a_process_on_the_gpu_is_named_and_keeps_mig_from_being_switched(host, modes, diagnosis):
    bench = host("h100-80gb")
    bench.change(lambda state: state.add_client(4711, "train.py", state.gpu_uuid, 900))
    told = modes()
    assert able(told) == {*WHOLE}
    assert "4711 (train.py)" in told["mig"]["reason"]
    assert told["mig"]["command"].endswith("-p 4711")
    (gpu,) = diagnosis()["gpus"]
    assert gpu["processes"] == [{"pid": 4711, "process_name": "train.py", "used_memory_mib": 900}]


def test_an_mps_server_of_others_keeps_the_gpu_from_modes_without_mps(host, modes):
    bench = host("h100-80gb")

    def serve(state):
        state.daemons.append(Daemon(state.take_pid(), "/tmp/theirs", state.gpu_uuid))
        state.add_client(4711, "train.py", state.gpu_uuid, 900, mps_pipe_directory="/tmp/theirs")

    bench.change(serve)
    told = modes()
    assert able(told) == {"mps", "mps-equal", "mps-partitions"}
    assert "MPS server" in told["time-slicing"]["reason"]
    assert told["time-slicing"]["command"] == "echo quit | nvidia-cuda-mps-control"


def test_instances_of_others_are_named_with_the_command_that_removes_them(host, modes):
    bench = host("h100-80gb")
    smi(bench, "-mig", "1")
    smi(bench, "mig", "-cgi", "9", "-C")
    told = modes()
    assert able(told) == set()
    assert "3g.40gb" in told["mps"]["reason"]
    helper = f"gpu_configs/disable_mig.sh --gpu {bench.state.gpu_uuid}"
    assert told["mps"]["command"] == helper
    assert told["mig"]["command"] == f"{helper} --keep-mode"


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("sees_the_board", [True, False])
def test_of_a_part_of_a_gpu_only_as_found_can_be_had(host, diagnosis, monkeypatch, sees_the_board):
    bench = host("h100-80gb")
    smi(bench, "-mig", "1")
    smi(bench, "mig", "-cgi", "9,19", "-C")
    mine = bench.state.instances[0].compute[0].uuid
    bench.change(lambda state: vars(state).update(monitors_mig=sees_the_board, shows_mig=mine))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mine)
    document = diagnosis()
    told = {mode["name"]: mode for mode in document["modes"]}
    assert [name for name, mode in told.items() if mode["available"]] == ["as-found"]
    assert told["as-found"]["detail"].startswith(f"a MIG instance 3g.40gb ({mine}, 60 SMs")
    assert told["mps"]["reason"].startswith(f"only the MIG device {mine}")
    assert document["device"]["selector"] == f"cuda:{mine}"
    measure = f"run_experiments.py --mode as-found --device cuda:{mine}"
    assert told["mig"]["command"] == f"python {measure}"


@pytest.mark.usefixtures("user")
def test_who_is_not_root_is_told_what_root_must_do(host, modes, diagnosis):
    bench = host("h100-80gb")
    told = modes()
    assert able(told) == {*WHOLE}
    assert told["mig"]["command"].startswith("sudo ")
    (gpu,) = diagnosis()["gpus"]
    assert "sudo" in gpu["clock_lock"]["command"]
    smi(bench, "-c", "EXCLUSIVE_PROCESS")
    told = modes()
    assert able(told) == set()
    assert told["mps"]["command"] == f"sudo gpu_configs/setup_time_slicing.sh --gpu {bench.state.gpu_uuid}"


@pytest.mark.usefixtures("user")
@pytest.mark.skipif(Path("/dev/nvidia-caps").exists(), reason="this host may allow every user to cut its GPU")
def test_who_is_not_root_cannot_cut_a_gpu_in_mig_mode(host, modes):
    bench = host("h100-80gb")
    smi(bench, "-mig", "1")
    told = modes()
    assert able(told) == set()
    assert "create MIG instances" in told["mig"]["reason"]
    assert told["mps"]["command"].startswith("sudo gpu_configs/disable_mig.sh")


def test_without_the_mps_tool_there_is_no_mps(host, modes, monkeypatch):
    bench = host("h100-80gb")
    (bench.bin / "nvidia-cuda-mps-control").unlink()
    if shutil.which("nvidia-cuda-mps-control"):
        pytest.skip("this host has the real tool on its PATH")
    told = modes()
    assert able(told) == {"exclusive", "time-slicing", "mig"}
    assert "nvidia-compute-utils-590" in told["mps"]["command"]


def test_a_board_older_than_volta_has_no_percentages_and_no_clock_lock(host, modes, diagnosis):
    host("rtx-4090").wrap("sed 's/^\\(GPU-[^,]*\\), 8\\.9/\\1, 6.1/'")
    assert able(modes()) == {"exclusive", "time-slicing", "mps"}
    (gpu,) = diagnosis()["gpus"]
    assert gpu["compute_capability"] == "6.1"
    assert not gpu["clock_lock"]["available"]


def test_a_gpu_that_is_lost_is_told_beside_those_that_answer(host, diagnosis):
    line = "Unable to determine the device handle for GPU0000:02:00.0: Unknown Error"
    host("h100-80gb").wrap(f'{{ cat; [[ "$*" != *index,* ]] || echo "{line}"; }}')
    document = diagnosis()
    assert document["lost_gpus"] == [line]
    assert len(document["gpus"]) == 1


def test_persistence_mode_that_is_off_is_told(host, diagnosis):
    bench = host("h100-80gb")
    smi(bench, "-pm", "0")
    (gpu,) = diagnosis()["gpus"]
    assert gpu["persistence"]["command"] == f"sudo nvidia-smi -i {bench.state.gpu_uuid} -pm 1"


def test_a_killed_run_is_told_first_and_judged_as_undone(host, diagnosis):
    bench = host("h100-80gb")
    device = find_gpu(None, os.environ)
    Journal("mig", observe(device), (Call("disable_mig"),)).write(device)
    smi(bench, "-mig", "1")
    smi(bench, "mig", "-cgi", "9", "-C")
    document = diagnosis()
    assert document["next_command"] == f"python -m bench mode restore --device {device.selector}"
    (gpu,) = document["gpus"]
    assert "killed run left mode mig" in gpu["last_run"]["reason"]
    assert {mode["name"] for mode in gpu["modes"] if mode["available"]} == {*WHOLE, "mig", "mig-mps", "as-found"}


def test_versions_are_the_drivers_own(host, diagnosis):
    host("h100-80gb")
    document = diagnosis()
    assert document["driver"]["detail"] == "590.48.01"
    assert document["cuda"]["detail"] == "13.1"


def smi(bench, *words):
    subprocess.run([bench.bin / "nvidia-smi", *words], check=True, capture_output=True)
