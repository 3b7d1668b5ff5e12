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


def test_refuses_where_programs_would_find_a_daemon_that_has_no_client_yet(a100):
    assert a100.mps().returncode == 0
    done = a100.run("setup_time_slicing.sh", CUDA_MPS_PIPE_DIRECTORY=str(a100.pipe))
    assert done.returncode == 5
    assert f"an MPS daemon answers in {a100.pipe}" in done.stderr
    putting_back = ["--compute-mode", "Exclusive_Process"], ["--time-slice", "default"]
    for words in putting_back:
        assert a100.run("setup_time_slicing.sh", *words, CUDA_MPS_PIPE_DIRECTORY=str(a100.pipe)).returncode == 0
    assert a100.run("setup_time_slicing.sh").returncode == 0


@pytest.mark.parametrize("policy", ["short", "medium", "long"])
def test_sets_a_time_slice_policy_each_time_and_puts_the_default_back(a100, result, policy):
    for _ in range(2):
        said = result(a100.run("setup_time_slicing.sh", "--time-slice", policy))
        assert (said["time_slice"], said["changed"]) == (policy, "yes")
        assert a100.state.time_slice == policy.capitalize()
    assert result(a100.run("setup_time_slicing.sh", "--time-slice", "default"))["time_slice"] == "default"
    assert a100.state.time_slice == "Default"


def test_a_policy_that_nobody_asks_for_stays_as_it_is(a100, result):
    with updated(a100.state_file) as state:
        state.time_slice, state.compute_mode = "Long", "Prohibited"
    assert "time_slice" not in result(a100.run("setup_time_slicing.sh"))
    assert a100.state.time_slice == "Long"


def test_a_policy_is_only_told_in_a_dry_run(a100):
    before = a100.state_file.read_bytes()
    done = a100.run("setup_time_slicing.sh", "--time-slice", "long", "--dry-run")
    assert f"+ nvidia-smi compute-policy -i {a100.gpu} --set-timeslice 3" in done.stdout
    assert done.stdout.endswith("RESULT dry_run=yes\n")
    assert a100.state_file.read_bytes() == before


def test_an_unknown_policy_is_wrong_usage(a100):
    assert a100.run("setup_time_slicing.sh", "--time-slice", "tiny").returncode == 2


def test_a_board_without_policies_cannot_do_it(a100):
    refusal = "Failed to set timeslice policy with value Short for GPU 0 : Not Supported\n"
    a100.fail(tool="nvidia-smi", match="compute-policy", action="fail", rc=3, text=refusal)
    assert a100.run("setup_time_slicing.sh", "--time-slice", "short").returncode == 3


def test_a_policy_that_the_driver_would_forget_is_not_set(a100):
    with updated(a100.state_file) as state:
        state.persistence = False
    done = a100.run("setup_time_slicing.sh", "--time-slice", "short")
    assert done.returncode == 3
    assert "-pm 1" in done.stderr
    assert a100.run("setup_time_slicing.sh", "--time-slice", "default").returncode == 0


def test_a_policy_needs_root(a100):
    with updated(a100.state_file) as state:
        state.privileged = False
    done = a100.run("setup_time_slicing.sh", "--time-slice", "short")
    assert done.returncode == 4
    assert "root" in done.stderr


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
