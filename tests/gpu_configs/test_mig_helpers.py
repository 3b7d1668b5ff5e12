"""`setup_mig.sh` and `disable_mig.sh`: exactly the layout, or what was there before."""

import subprocess

import pytest

from bench.simulator.driver.state import updated

TWO_HALVES = ("--layout", "9:0,9:4", "--allow-reset")


def cut(gpu, *layout):
    """Cut the GPU behind the helpers' back; without a layout it is in MIG mode and whole."""
    tool = gpu.folder / "bin" / "nvidia-smi"
    subprocess.run([tool, "-mig", "1"], check=True, capture_output=True)
    if layout:
        subprocess.run([tool, "mig", "-cgi", ",".join(layout), "-C"], check=True, capture_output=True)


def starts(gpu):
    return sorted((gi.profile_id, gi.start) for gi in gpu.state.instances)


def test_creates_the_layout_and_reports_it_in_its_order(a100, result):
    said = result(a100.run("setup_mig.sh", "--layout", "19:6,9:0,14:4", "--allow-reset"))
    assert said["mode_changed"] == "yes"
    rows = [row.split("/") for row in said["instances"].split(",")]
    assert [(name, start) for _, _, _, name, start in rows] == [
        ("1g.10gb", "6"),
        ("3g.40gb", "0"),
        ("2g.20gb", "4"),
    ]
    uuids = {(gi.id, ci.id): ci.uuid for gi in a100.state.instances for ci in gi.compute}
    assert {(int(gi), int(ci)): uuid for uuid, gi, ci, _, _ in rows} == uuids


def test_the_same_layout_again_changes_nothing(a100, result, without_times):
    first = result(a100.run("setup_mig.sh", *TWO_HALVES))
    before = a100.state_file.read_bytes()
    assert result(a100.run("setup_mig.sh", *TWO_HALVES)) == without_times(first) | {"mode_changed": "no"}
    assert a100.state_file.read_bytes() == before


def test_ampere_needs_leave_to_reset(a100):
    before = a100.state_file.read_bytes()
    done = a100.run("setup_mig.sh", "--layout", "9:0,9:4")
    assert done.returncode == 6
    assert "--allow-reset" in done.stderr
    assert a100.state_file.read_bytes() == before


def test_hopper_needs_no_reset(h100, result):
    assert result(h100.run("setup_mig.sh", "--layout", "9:0,9:4"))["mode_changed"] == "yes"
    assert result(h100.run("disable_mig.sh"))["mig_mode"] == "Disabled"


def test_a_board_without_mig_cannot(rtx4090):
    assert rtx4090.run("setup_mig.sh", *TWO_HALVES).returncode == 3


def test_refuses_a_gpu_that_computes(a100):
    with updated(a100.state_file) as state:
        state.add_client(4242, "train.py", a100.gpu, 512)
    done = a100.run("setup_mig.sh", *TWO_HALVES)
    assert done.returncode == 5
    assert "4242, train.py" in done.stderr
    assert not a100.state.mig_pending


def test_takes_back_a_mode_that_stays_pending(a100):
    with updated(a100.state_file) as state:
        state.holder = "nvidia-persistenced"
    done = a100.run("setup_mig.sh", *TWO_HALVES)
    assert done.returncode == 5
    assert "pending" in done.stderr
    assert (a100.state.mig_enabled, a100.state.mig_pending) == (False, False)


def test_replaces_the_named_instances_and_no_other(a100, result):
    cut(a100, "14:4", "19:6")
    ours = next(gi.id for gi in a100.state.instances if gi.profile_id == 14)
    said = result(a100.run("setup_mig.sh", "--layout", "9:0", "--replace", f"{ours},99"))
    assert said.keys() >= {"destroy_s", "create_s"}
    assert said["instances"].endswith("/3g.40gb/0")
    assert starts(a100) == [(9, 0), (19, 6)]


def test_notices_that_what_was_to_be_replaced_is_still_there(a100):
    cut(a100, "14:4")
    ours = a100.state.instances[0].id
    a100.fail(tool="nvidia-smi", match="-dgi", action="lie", text="All done.\n", times=1)
    done = a100.run("setup_mig.sh", "--layout", "9:0", "--replace", str(ours))
    assert done.returncode == 1
    assert "rolled back" in done.stderr
    assert starts(a100) == []


def test_only_for_a_layout_is_something_replaced(a100):
    cut(a100, "14:4")
    assert a100.run("setup_mig.sh", "--replace", "1").returncode == 2
    assert starts(a100) == [(14, 4)]


@pytest.mark.parametrize("layout", ["9", "9:0,", "3g.40gb:0", "", "9:0;9:4"])
def test_a_layout_is_ids_and_places(a100, layout):
    assert a100.run("setup_mig.sh", "--layout", layout).returncode == 2


def test_rolls_back_what_could_be_created(a100):
    done = a100.run("setup_mig.sh", "--layout", "9:0,9:4,19:6", "--allow-reset")
    assert done.returncode == 1
    assert "Insufficient Resources" in done.stderr and "rolled back" in done.stderr
    assert starts(a100) == []
    assert not a100.state.mig_enabled


def test_a_rollback_leaves_foreign_instances_and_the_mode(a100):
    cut(a100, "14:4")
    done = a100.run("setup_mig.sh", "--layout", "9:0,9:4")
    assert done.returncode == 1
    assert starts(a100) == [(14, 4)]
    assert a100.state.mig_enabled


def test_a_rollback_leaves_what_others_made_meanwhile(a100):
    cut(a100)
    tool = a100.folder / "bin" / "nvidia-smi"
    real = tool.rename(tool.with_name("real-nvidia-smi"))
    tool.write_text(f'#!/bin/sh\ncase "$*" in *-cgi*) {real} mig -cgi 14:4 -C ;; esac\nexec {real} "$@"\n')
    tool.chmod(0o755)
    done = a100.run("setup_mig.sh", *TWO_HALVES)
    assert done.returncode == 1
    assert "rolled back" in done.stderr and "rollback failed" not in done.stderr
    assert starts(a100) == [(14, 4)]


def test_says_when_the_rollback_fails_too(a100):
    a100.fail(tool="nvidia-smi", match="-dci", action="fail", rc=255, text="Unknown Error\n")
    done = a100.run("setup_mig.sh", "--layout", "9:0,9:4,19:6", "--allow-reset")
    assert done.returncode == 1
    assert "rollback failed" in done.stderr


def test_works_beside_foreign_instances(a100, result):
    cut(a100, "14:4")
    said = result(a100.run("setup_mig.sh", "--layout", "9:0"))
    assert said["mode_changed"] == "no"
    assert said["instances"].endswith("/3g.40gb/0")
    assert starts(a100) == [(9, 0), (14, 4)]


@pytest.mark.parametrize("lie", ["-mig 1", "-cgi"])
def test_notices_that_the_driver_lied(a100, lie):
    a100.fail(tool="nvidia-smi", match=lie, action="lie", text="All done.\n")
    done = a100.run("setup_mig.sh", *TWO_HALVES)
    assert done.returncode == 1
    assert "RESULT" not in done.stdout
    assert not a100.state.mig_enabled


def test_says_that_root_is_needed(a100):
    with updated(a100.state_file) as state:
        state.privileged = False
    assert a100.run("setup_mig.sh", *TWO_HALVES).returncode == 4


def test_disable_destroys_all_and_turns_the_mode_off(a100, result, without_times):
    a100.run("setup_mig.sh", *TWO_HALVES)
    said = result(a100.run("disable_mig.sh", "--allow-reset"))
    assert said.keys() >= {"destroy_s", "mode_s"}
    assert without_times(said) == {"mig_mode": "Disabled", "destroyed": "1,2", "changed": "yes"}
    assert starts(a100) == []
    assert not a100.state.mig_enabled


def test_disable_again_changes_nothing(a100, rtx4090, result):
    assert result(a100.run("disable_mig.sh"))["changed"] == "no"
    assert result(rtx4090.run("disable_mig.sh")) == {"mig_mode": "N/A", "destroyed": "", "changed": "no"}


def test_disable_needs_leave_to_reset_before_it_destroys(a100):
    cut(a100, "9:0")
    done = a100.run("disable_mig.sh")
    assert done.returncode == 6
    assert starts(a100) == [(9, 0)]


def test_disable_can_keep_the_mode(a100, result):
    cut(a100, "9:0")
    assert result(a100.run("disable_mig.sh", "--keep-mode"))["mig_mode"] == "Enabled"
    assert starts(a100) == []


def test_disable_of_named_instances_leaves_the_others(a100, result):
    cut(a100, "9:0", "14:4")
    ours = next(gi.id for gi in a100.state.instances if gi.profile_id == 9)
    said = result(a100.run("disable_mig.sh", "--instances", str(ours), "--keep-mode"))
    assert said["destroyed"] == str(ours)
    assert starts(a100) == [(14, 4)]


def test_disable_says_that_others_keep_the_mode_on(a100):
    cut(a100, "9:0", "14:4")
    ours = next(gi.id for gi in a100.state.instances if gi.profile_id == 9)
    done = a100.run("disable_mig.sh", "--instances", str(ours), "--allow-reset")
    assert done.returncode == 5
    assert starts(a100) == [(14, 4)]
    assert a100.state.mig_enabled


def test_disable_refuses_an_instance_in_use(a100):
    cut(a100, "9:0")
    uuid = a100.state.instances[0].compute[0].uuid
    with updated(a100.state_file) as state:
        state.add_client(4242, "train.py", uuid, 512)
    assert a100.run("disable_mig.sh", "--allow-reset").returncode == 5
    assert starts(a100) == [(9, 0)]


def test_disable_clears_a_pending_mode(a100, result):
    with updated(a100.state_file) as state:
        state.mig_pending = True
    assert result(a100.run("disable_mig.sh", "--allow-reset"))["changed"] == "yes"
    assert not a100.state.mig_pending


@pytest.mark.parametrize("lie", ["-dci", "-dgi", "-mig 0"])
def test_disable_notices_that_the_driver_lied(a100, lie):
    cut(a100, "9:0")
    a100.fail(tool="nvidia-smi", match=lie, action="lie", text="All done.\n")
    flags = ("--allow-reset",) if lie == "-mig 0" else ("--keep-mode",)
    assert a100.run("disable_mig.sh", *flags).returncode == 1
