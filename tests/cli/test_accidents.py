"""Kill -9, Ctrl-C, a full disk, two runners: what is finished is kept, the device put back, the way on told.

The moments of the kills are found by hanging a tool of the driver: the fault file says when it has come to it.
"""

import os
import resource
import signal

import pytest

SMI, MPS = "nvidia-smi", "nvidia-cuda-mps-control"
HANG_S = 0.8  # less than a later run waits for the lock that a helper of the killed one still holds

AT_A_TOOL = [
    (MPS, "-d"),  # starting the daemon
    (MPS, "get_client_list"),  # in a trial, before its window
    (MPS, "quit"),  # leaving MPS
    (SMI, "-mig 1"),
    (SMI, "-cgi"),
    (SMI, "-dci"),
    (SMI, "-dgi"),
    (SMI, "-mig 0"),
]
AFTER_TRIALS = [1, 4]


def hung(place):
    """Whether the tool has taken the rule that hangs it."""
    return '"times": 0' in place.fault_file.read_text()


def hang(place, tool, match, seconds=HANG_S):
    place.faults({"tool": tool, "match": match, "action": "hang", "seconds": seconds, "times": 1})


def kill(process):
    process.kill()
    process.communicate()


@pytest.fixture
def is_as_before(place, undisturbed):
    """Whether the driver is in the state in which every run finds it and leaves it."""
    return lambda: place.driver_state() == undisturbed[0].driver_state()


def goes_on_as_if_nothing_had_happened(place, undisturbed):
    kept = place.finished()
    done = place.resume()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        f"report: {place.run_folder.resolve()}/report/index.html",
    )
    assert {file: content for file, content in place.finished().items() if file in kept} == kept
    assert place.records() == undisturbed[0].records()
    assert place.driver_state() == undisturbed[0].driver_state()
    assert not list(place.run_folder.glob("trials/.*"))
    return done


@pytest.mark.parametrize(("tool", "match"), AT_A_TOOL)
def test_killed_in_the_driver(place, undisturbed, until, tool, match):
    hang(place, tool, match)
    process = place.begin_small()
    until(lambda: hung(place), process)
    kill(process)
    done = goes_on_as_if_nothing_had_happened(place, undisturbed)
    assert "which a killed run had left" in done.stderr


@pytest.mark.parametrize("trials", AFTER_TRIALS)
def test_killed_among_the_trials(place, undisturbed, until, trials):
    process = place.begin_small()
    until(lambda: len(list(place.results.glob("*/trials/[!.]*/trial.json"))) >= trials, process)
    kill(process)
    goes_on_as_if_nothing_had_happened(place, undisturbed)


@pytest.mark.parametrize(
    ("number", "tool", "match"),
    [(signal.SIGINT, MPS, "get_client_list"), (signal.SIGINT, SMI, "-cgi"), (signal.SIGTERM, SMI, "-mig 0")],
    ids=["Ctrl-C in a trial", "Ctrl-C in a helper", "SIGTERM while restoring"],
)
def test_an_interrupted_run_restores_the_device_and_says_how_to_go_on(
    place, is_as_before, until, number, tool, match
):
    hang(place, tool, match)
    process = place.begin_small()
    until(lambda: hung(place), process)
    kept = place.finished()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"python run_experiments.py --resume {place.run_folder}" in errors
    assert is_as_before()
    assert kept.items() <= place.finished().items()


@pytest.mark.parametrize(("tool", "match", "mode"), [(MPS, "get_client_list", "mps"), (SMI, "-lgi", "mig")])
def test_mode_status_and_restore_after_a_kill(place, is_as_before, until, tool, match, mode):
    hang(place, tool, match, seconds=20)  # the runner itself asks this, so nobody holds the lock after the kill
    process = place.begin_small()
    until(lambda: hung(place), process)

    def say(action):
        return place.run("mode", action, "--device", "simulated:a100-80gb", program="-m bench")

    assert f"in mode {mode}, held by process {process.pid}" in say("status").stdout
    kill(process)
    killed = say("status").stdout
    assert f"a killed run left mode {mode}" in killed
    assert "python -m bench mode restore --device simulated:a100-80gb" in killed
    restored = say("restore")
    assert (restored.returncode, restored.stdout) == (0, f"put back from mode {mode}\n")
    assert is_as_before()
    assert say("restore").stdout == "nothing to put back: no run was killed in a mode\n"


def test_a_second_runner_is_refused_and_told_who_holds_the_gpu(place, until):
    hang(place, MPS, "get_client_list", seconds=60)
    first = place.begin_small()
    until(lambda: hung(place), first)
    before = place.driver_state()
    second = place.run("--mode", "mps", "--device", "simulated:a100-80gb", "--results", place.folder / "second")
    kill(first)
    assert second.returncode == 2
    assert f"held by process {first.pid} `run_experiments.py" in second.stderr
    assert not (place.folder / "second").exists()
    assert place.driver_state() == before


def test_a_device_that_cannot_be_put_back_ends_the_run(place):
    place.faults({"tool": SMI, "match": "-mig 0", "action": "fail", "rc": 255, "text": "Unknown Error\n"})
    process = place.begin_small()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "could not be put back after mode mig" in errors
    assert "python -m bench mode restore --device simulated:a100-80gb" in errors
    assert f"--resume {place.run_folder}" in errors
    assert "Traceback" not in errors


def test_a_full_disk_ends_the_run_plainly_and_it_goes_on_later(place, undisturbed, is_as_before):
    """A limit on the size of files stands for a disk that fills up in the middle of a trial."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    process = place.begin_small(preexec_fn=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "File too large" in errors
    assert f"--resume {place.run_folder}" in errors
    assert is_as_before()
    goes_on_as_if_nothing_had_happened(place, undisturbed)


def test_results_that_cannot_be_written_are_refused_before_anything_is_touched(place):
    (place.folder / "results").write_text("a file, not a folder")
    process = place.begin_small()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--results DIR" in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_refused(place):
    place.folder.joinpath("ro").mkdir(mode=0o500)
    refused = place.run("--plan", place.plan, "--results", place.folder / "ro", "--device", "simulated")
    assert refused.returncode == 2
    assert "Permission denied" in refused.stderr


def test_a_state_folder_that_cannot_be_used_is_refused(place):
    place.folder.joinpath("s").write_text("a file, not a folder")
    refused = place.run("--plan", place.plan, "--device", "simulated", "--results", place.results)
    assert refused.returncode == 2
    assert "BENCH_STATE_DIR" in refused.stderr


def test_a_reader_that_has_seen_enough_is_no_error(place):
    process = place.begin("--plan", place.plan, "--device", "simulated", "--dry-run")
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (0, "")
