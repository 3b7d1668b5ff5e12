"""Settings that only a loaded driver remembers, a reset, a policy that nobody reads back; devices gone wrong."""

import io
import json
import subprocess
import sys
import time

import pytest

from bench.simulator.driver import mps_control, nvidia_smi
from bench.simulator.driver.accidents import fault_client, kill_daemon
from bench.simulator.driver.install import install
from bench.simulator.driver.state import DriverState, FrozenColumn, create, updated

GPU = "GPU-11111111-2222-3333-4444-555555555555"
LOST = "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error"


@pytest.fixture
def path(tmp_path):
    create(tmp_path / "state.txt", "a100-80gb", GPU)
    return tmp_path / "state.txt"


@pytest.fixture
def smi(path, capsys):
    """Run `nvidia-smi` on the modelled GPU; return exit code and text."""

    def run(*words):
        capsys.readouterr()
        code = nvidia_smi.main(list(words), str(path))
        return code, capsys.readouterr().out

    return run


def change(path, **facts):
    with updated(path) as state:
        vars(state).update(facts)


def compute(path):
    with updated(path) as state:
        state.add_client(7, "train.py", GPU, 512)


def column(smi, field):
    return smi(f"--query-gpu={field}", "--format=csv,noheader,nounits")[1].strip()


def test_a_clock_lock_shows_under_load_and_not_before(path, smi):
    assert smi("-lgc", "800,1200")[0] == 0
    assert column(smi, "clocks.sm") == "1410"
    compute(path)
    assert column(smi, "clocks.sm") == "1200"
    assert smi("-rgc") == (0, "All done.\n")
    assert column(smi, "clocks.sm") == "1410"


def test_a_memory_clock_lock_is_one_of_its_own(path, smi):
    smi("-lmc", "1215")
    compute(path)
    assert (column(smi, "clocks.mem"), column(smi, "clocks.sm")) == ("1215", "1410")
    smi("-rmc")
    assert column(smi, "clocks.mem") == "1593"


def test_a_lock_above_what_the_board_does_changes_nothing(path, smi):
    assert smi("-lgc", "9500")[0] == 0
    compute(path)
    assert column(smi, "clocks.sm") == "1410"


def test_a_power_cap_is_read_back(smi):
    assert smi("-pl", "250")[0] == 0
    assert column(smi, "power.limit") == column(smi, "enforced.power.limit") == "250.00"
    assert column(smi, "power.default_limit") == "400.00"
    assert smi("-pl", "99")[0] == smi("-pl", "401")[0] == smi("-pl", "much")[0] == 2
    assert column(smi, "power.limit") == "250.00"


@pytest.mark.parametrize("words", ["-lgc 1410", "-lmc 1215", "-rgc", "-rmc", "-pl 250", "-r"])
def test_without_root_nothing_is_set(path, smi, words):
    change(path, privileged=False)
    before = path.read_bytes()
    assert smi(*words.split())[0] == 4
    assert path.read_bytes() == before


SETTINGS = ["-lgc 1200", "-lmc 1215", "-pl 250", "-c 3", "compute-policy --set-timeslice 1"]


@pytest.mark.parametrize("words", SETTINGS)
def test_without_persistence_a_setting_goes_with_the_last_process(path, smi, words):
    compute(path)
    smi("-pm", "0")
    fresh = path.read_text()
    assert smi(*words.split())[0] == 0
    assert path.read_text() != fresh
    with updated(path) as state:
        state.remove_client(7)
    state = DriverState.load(path)
    assert (state.compute_mode, state.time_slice, state.power_cap_w) == ("Default", "Default", None)
    assert (state.clock_lock, state.memory_clock_lock) == (None, None)


@pytest.mark.parametrize("words", SETTINGS)
def test_with_persistence_a_setting_stays(path, smi, words):
    fresh = path.read_text()
    assert smi(*words.split())[0] == 0
    assert path.read_text() != fresh


def test_time_slices_are_set_but_never_shown(path, smi):
    assert smi("compute-policy", "-i", GPU, "--set-timeslice", "3") == (0, "")
    assert DriverState.load(path).time_slice == "Long"
    assert smi("compute-policy", "--set-timeslice", "4")[0] == 2
    assert smi("compute-policy", "-l")[0] == smi("compute-policy")[0] == 2
    assert smi("compute-policy", "-i", "GPU-other", "--set-timeslice", "1")[0] == 6
    change(path, privileged=False)
    assert smi("compute-policy", "--set-timeslice", "1")[0] == 4
    assert DriverState.load(path).time_slice == "Long"


def test_a_reset_frees_the_instances_and_makes_a_pending_mode_real(path, smi):
    change(path, persistence=False, holder="dcgm")
    smi("-mig", "1")
    assert smi("-r", "-i", GPU)[0] == 255
    change(path, holder=None)
    assert smi("-r", "-i", GPU)[0] == 0
    assert DriverState.load(path).mig_enabled
    smi("mig", "-cgi", "9,9", "-C")
    assert smi("--gpu-reset")[0] == 0
    state = DriverState.load(path)
    assert (state.instances, state.mig_enabled) == ([], True)


@pytest.mark.parametrize("facts", [{"persistence": True}, {"persistence": False, "holder": "nv-hostengine"}])
def test_a_reset_is_refused_while_anything_holds_the_gpu(path, smi, facts):
    smi("-mig", "1")
    smi("mig", "-cgi", "9")
    change(path, **facts)
    assert smi("-r")[0] == 255
    assert len(DriverState.load(path).instances) == 1


@pytest.mark.parametrize("words", ["-L", "-mig 1", "mig -lgip", "-pm 0", "compute-policy --set-timeslice 1", "-r"])
def test_a_lost_gpu_answers_no_command(path, smi, words):
    change(path, lost=True)
    before = path.read_bytes()
    assert smi(*words.split()) == (15, f"{LOST}\n")
    assert path.read_bytes() == before


def test_a_lost_gpu_is_a_line_and_a_row_in_the_middle_of_a_table(path, smi):
    change(path, lost=True)
    code, said = smi("--query-gpu=index,power.draw", "--format=csv")
    assert code == 15
    assert said == f"index, power.draw [W]\n{LOST}\n[Unknown Error], [Unknown Error]\n"
    assert smi("--version")[0] == 0


def test_a_frozen_column_reads_the_same_whatever_happens(path, smi):
    with updated(path) as state:
        state.frozen = [FrozenColumn("power.draw", "46.19"), FrozenColumn("clocks.current.sm", "[Unknown Error]")]
    fields = ("--query-gpu=power.draw,clocks.sm", "--format=csv,noheader")
    before = smi(*fields)
    compute(path)
    assert smi(*fields) == before == (0, "46.19 W, [Unknown Error]\n")


def test_a_slow_driver_answers_late(path, tmp_path, monkeypatch, smi):
    rules = [{"tool": "nvidia-smi", "match": "", "action": "hang", "seconds": 0.05}]
    (tmp_path / "faults.json").write_text(json.dumps(rules))
    monkeypatch.setenv("BENCH_SIM_FAULTS", str(tmp_path / "faults.json"))
    begin_s = time.perf_counter()
    assert smi("-L")[0] == smi("-L")[0] == 0
    assert time.perf_counter() - begin_s >= 0.1


@pytest.fixture
def mps(path, tmp_path, monkeypatch, capsys):
    """Talk to the MPS daemon of this test's pipe directory."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "pipe"))

    def say(text):
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        code = mps_control.main(["-d"] if text == "-d" else [], str(path))
        return code, capsys.readouterr().out

    assert say("-d")[0] == 0
    return say


def test_a_faulty_server_says_so_until_it_is_well(path, tmp_path, mps):
    with updated(path) as state:
        for pid in (7, 8):
            state.add_client(pid, "train.py", GPU, 1, mps_pipe_directory=str(tmp_path / "pipe"))
        fault_client(state, 7)
        server = state.daemons[0].server_pid
    assert mps(f"get_server_status {server}") == (0, "FAULT\n")
    assert mps(f"terminate_client {server} 8") == (0, "0\n")
    assert mps(f"get_server_status {server}") == (0, "ACTIVE\n")


def test_a_killed_daemon_leaves_its_files_and_can_be_started_again(path, tmp_path, mps):
    with updated(path) as state:
        kill_daemon(state, str(tmp_path / "pipe"))
    assert {file.name for file in (tmp_path / "pipe").iterdir()} >= {"control", "nvidia-cuda-mps-control.pid"}
    assert mps("get_server_list") == (1, "Cannot find MPS control daemon process\n")
    assert mps("-d")[0] == 0
    assert mps("get_server_list") == (0, "")


@pytest.mark.parametrize("words", ["-lgc 1200", "compute-policy --set-timeslice 2", "mig -lcip"])
def test_the_installed_tool_knows_the_rarer_commands(path, tmp_path, words):
    change(path, mig_enabled="mig" in words)
    install(tmp_path / "bin", path)
    tool = tmp_path / "bin" / "nvidia-smi"
    done = subprocess.run([tool, *words.split()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (6 if "mig" in words else 0, "")
