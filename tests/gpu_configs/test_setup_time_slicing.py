"""`setup_time_slicing.sh`: an ordinary GPU, proven."""

import pytest

from bench.simulator.driver.state import updated


@pytest.mark.parametrize("mode", ["Exclusive_Process", "Prohibited"])
def test_sets_compute_mode_default(a100, result, mode):
    with updated(a100.state_file) as state:
        state.compute_mode = mode
    assert result(a100.run("setup_time_slicing.sh")) == {
        "compute_mode": "Default",
        "mig_mode": "Disabled",
        "changed": "yes",
    }
    assert a100.state.compute_mode == "Default"


def test_a_second_call_changes_nothing(a100, result):
    before = a100.state_file.read_bytes()
    assert result(a100.run("setup_time_slicing.sh"))["changed"] == "no"
    assert a100.state_file.read_bytes() == before


def test_a_board_without_mig_is_fine(rtx4090, result):
    assert result(rtx4090.run("setup_time_slicing.sh"))["mig_mode"] == "N/A"


def test_refuses_a_gpu_in_mig_mode(a100):
    with updated(a100.state_file) as state:
        state.mig_enabled = state.mig_pending = True
    done = a100.run("setup_time_slicing.sh")
    assert done.returncode == 1
    assert "disable_mig.sh" in done.stderr


def test_refuses_a_gpu_with_an_mps_server(a100):
    assert a100.mps().returncode == 0
    with updated(a100.state_file) as state:
        state.add_client(4242, "train.py", a100.gpu, 512, mps_pipe_directory=str(a100.pipe))
    done = a100.run("setup_time_slicing.sh")
    assert done.returncode == 5
    assert "MPS server" in done.stderr


def test_notices_that_the_driver_lied(a100):
    with updated(a100.state_file) as state:
        state.compute_mode = "Exclusive_Process"
    a100.fail(tool="nvidia-smi", match="-c DEFAULT", action="lie", text="All done.\n")
    done = a100.run("setup_time_slicing.sh")
    assert done.returncode == 1
    assert "Exclusive_Process" in done.stderr
    assert "RESULT" not in done.stdout


def test_says_that_root_is_needed(a100):
    with updated(a100.state_file) as state:
        state.compute_mode = "Exclusive_Process"
        state.privileged = False
    done = a100.run("setup_time_slicing.sh")
    assert done.returncode == 4
    assert "root" in done.stderr
