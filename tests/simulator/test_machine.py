"""A simulated GPU as a device: what it is called, where its state lives, what it cannot do; and virtual time."""

import os
from pathlib import Path

import pytest

from bench.errors import SetupError
from bench.simulator import machine
from bench.simulator.clock import VirtualClock
from bench.simulator.driver import nvidia_smi
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.state import DriverState, create, updated


@pytest.fixture
def state_root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))


def test_a_simulated_device_says_what_it_is(state_root):
    device = machine.simulated_device(None)
    assert (device.kind, device.simulated, device.name) == ("gpu", True, "SIMULATED NVIDIA A100-SXM4-80GB")
    assert device.memory_total_mib == 81920
    assert machine.model_of(device) == "a100-80gb"
    assert machine.simulated_device("a100-80gb") == device  # the same GPU, every time
    assert machine.simulated_device("h100-80gb").uuid != device.uuid
    folder = device.environment["PATH"].split(os.pathsep)[0]
    assert {path.name for path in Path(folder).iterdir()} == {"nvidia-smi", "nvidia-cuda-mps-control"}


def test_its_state_outlives_the_process_that_made_it(state_root):
    device = machine.simulated_device("a30-24gb")
    with updated(machine.board_of(device).state_file) as state:
        state.compute_mode = "Prohibited"
    machine.simulated_device("a30-24gb")
    assert machine.board_of(device).state.compute_mode == "Prohibited"


def test_an_unknown_model_is_refused_with_the_nearest(state_root):
    with pytest.raises(
        SetupError, match=r"simulated:a100-80g: no such model; did you mean 'a100-80gb'\?; known: "
    ):
        machine.simulated_device("a100-80g")


def test_an_rtx_4090_has_no_mig(tmp_path, capsys):
    assert MODELS["rtx-4090"].profiles == ()
    create(tmp_path / "state.json", "rtx-4090", "GPU-1")
    nvidia_smi.main(["-mig", "1"], str(tmp_path / "state.json"))
    assert "Not Supported" in capsys.readouterr().out
    assert not DriverState.load(tmp_path / "state.json").mig_enabled


def test_virtual_time_passes_only_by_sleeping():
    clock = VirtualClock()
    clock.sleep(3600)
    clock.sleep(0.5)
    assert clock.monotonic_s() == 3600.5
    clock.restart()
    assert clock.monotonic_s() == 0
