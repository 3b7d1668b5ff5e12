"""`lock_clocks.sh`: a frequency that the board has, and honest words where the tool says nothing."""

import pytest

from bench.simulator.driver.state import updated


def test_locks_and_unlocks(a100, result):
    assert result(a100.run("lock_clocks.sh", "--sm-mhz", "1395")) == {"sm_clock_mhz": "1395"}
    assert a100.state.clock_lock == "1395,1395"
    assert result(a100.run("lock_clocks.sh", "--reset")) == {"sm_clock_mhz": "unlocked"}
    assert a100.state.clock_lock is None


def test_a_second_call_leaves_the_same_state(a100, result):
    result(a100.run("lock_clocks.sh", "--sm-mhz", "1200"))
    before = a100.state_file.read_bytes()
    result(a100.run("lock_clocks.sh", "--sm-mhz", "1200"))
    assert a100.state_file.read_bytes() == before


@pytest.mark.parametrize("mhz", ["1401", "0", "139", "9999"])
def test_a_clock_that_the_board_does_not_have_is_refused(a100, mhz):
    """The driver takes it and does as it likes."""
    done = a100.run("lock_clocks.sh", "--sm-mhz", mhz)
    assert done.returncode == 3
    assert f"{mhz} MHz is none of its clocks" in done.stderr
    assert a100.state.clock_lock is None


@pytest.mark.parametrize("words", [(), ("--sm-mhz", "tdp"), ("--sm-mhz", "1395", "--reset")])
def test_wrong_usage(a100, words):
    assert a100.run("lock_clocks.sh", *words).returncode == 2


@pytest.mark.parametrize("words", [("--sm-mhz", "1395"), ("--reset",)])
def test_a_warning_with_exit_code_0_is_a_refusal(a100, words):
    """As a K80 answers; the text is genuine."""
    text = (
        "Setting locked GPU clocks is not supported for GPU 00000000:05:00.0.\n"
        "Treating as warning and moving on.\nAll done.\n"
    )
    a100.fail(tool="nvidia-smi", match="gc", action="lie", text=text)
    done = a100.run("lock_clocks.sh", *words)
    assert done.returncode == 3
    assert "not supported" in done.stderr


def test_a_board_that_names_no_clocks_is_not_locked(a100):
    a100.fail(tool="nvidia-smi", match="supported-clocks", action="lie", text="[N/A]\n")
    assert a100.run("lock_clocks.sh", "--sm-mhz", "1395").returncode == 3


def test_silence_is_no_success(a100):
    a100.fail(tool="nvidia-smi", match="-lgc", action="lie", text="All done.\n")
    done = a100.run("lock_clocks.sh", "--sm-mhz", "1395")
    assert done.returncode == 1
    assert "RESULT" not in done.stdout


@pytest.mark.parametrize("words", [("--sm-mhz", "1395"), ("--reset",)])
def test_says_that_root_is_needed(a100, words):
    with updated(a100.state_file) as state:
        state.privileged = False
    done = a100.run("lock_clocks.sh", *words)
    assert done.returncode == 4
    assert "root" in done.stderr


def test_a_dry_run_prints_the_command(a100):
    done = a100.run("lock_clocks.sh", "--sm-mhz", "1395", "--dry-run")
    assert done.stdout.splitlines() == [f"+ nvidia-smi -i {a100.gpu} -lgc 1395,1395", "RESULT dry_run=yes"]
