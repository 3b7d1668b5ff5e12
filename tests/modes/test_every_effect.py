"""Every change that a visit makes to the device is spoilt in every way, and so is the runner.

The changes are recorded from an undisturbed visit, so a new one is covered as soon as it is there. What happens
then is compared, command by command, with `effects.txt`; after an intended change write it anew and read it:
`BENCH_WRITE_EFFECTS=1 pytest -n 0 tests/modes/test_every_effect.py`. Exclusive and mps-equal switch the device as
time-slicing and mps do, and limits of MPS clients switch nothing.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.modes.entering import entered, recover
from bench.modes.journal import Journal
from bench.modes.mps_daemon import daemons_left
from bench.plan.mode import Mig, MigMps, Mps, MpsPartitions, TimeSlicing

TABLE = Path(__file__).with_name("effects.txt")
EXCLUSIVE, IN_MIG_MODE = {"compute_mode": "Exclusive_Process"}, {"mig_enabled": True, "mig_pending": True}
SHORT = "time-slicing short"
CLOCK_MHZ = 1395
VISITS = {  # each from a state in which there is much to change: mode, state found, sizes of its mixes, clock lock
    "time-slicing, MIG on": (TimeSlicing(), {**EXCLUSIVE, **IN_MIG_MODE}, [2], None),
    SHORT: (TimeSlicing(time_slice="short"), {}, [2], None),
    f"{SHORT}, MIG on": (TimeSlicing(time_slice="short"), {**EXCLUSIVE, **IN_MIG_MODE}, [2], None),
    "mps": (Mps(), EXCLUSIVE, [2], None),
    "mig": (Mig(), EXCLUSIVE, [2], None),
    "mig, MIG on": (Mig(), IN_MIG_MODE, [2, 1], None),
    "mps-partitions": (MpsPartitions(), EXCLUSIVE, [2], None),
    "mig-mps, MIG on": (MigMps(), IN_MIG_MODE, [2, 3], None),
    "mps, clock locked": (Mps(), EXCLUSIVE, [2], CLOCK_MHZ),
}
UNNOTICED = ("nvidia-smi -rgc", "lies")  # nobody can read a lock back
WAYS = ["fails", "lies", "hangs", "killed", "interrupted"]


@pytest.fixture(params=VISITS)
def case(request, machine, pair):
    """A kind of visit: its name, the machine in the state to be found, and what makes the visit."""
    mode, found, sizes, clock_mhz = VISITS[request.param]
    machine.switch = replace(machine.switch, sm_clock_mhz=clock_mhz)
    machine.change(**found)

    def visit(at, way):
        machine.arm(at, way)
        with entered(mode, machine.switch) as active:
            for size in sizes:
                active.tenancy(pair.model_copy(update={"jobs": (pair.jobs * 2)[:size]}))

    return request.param, machine, visit


def expected(section, rows):
    """Return the rows that the table has for this section, after writing them to it if that is wanted."""
    sections = dict(part.split("\n", 1) for part in TABLE.read_text().split("# ")[1:]) if TABLE.exists() else {}
    if os.environ.get("BENCH_WRITE_EFFECTS"):
        sections[section] = "".join(f"{row}\n" for row in rows)
        TABLE.write_text("".join(f"# {name}\n{sections[name]}" for name in sorted(sections)))
    return sections[section].splitlines()


@pytest.mark.parametrize("way", WAYS)
def test_a_change_that_goes_wrong(case, way, monkeypatch):
    """Whatever goes wrong is told, and the device is as it was at once or as soon as `mode restore` is called."""
    name, machine, visit = case
    before, rows = machine.state(), []
    visit(0, "undisturbed")
    undisturbed = machine.changes()
    monkeypatch.setenv("GPU_CONFIGS_TIMEOUT_S", "1" if way == "hangs" else "60")
    for at, change in enumerate(undisturbed, start=1):
        outcome = _outcome(visit, at, way)
        rows.append(f"{_short([change])} -> {outcome}: {_short(machine.changes())}")
        if outcome == "RestoreError":
            assert Journal.read(machine.device) is not None
            machine.arm(0, "undisturbed")
            recover(machine.switch)
            rows.append(f"    mended by: {_short(machine.changes())}")
        if way == "lies" and change.endswith("--set-timeslice 0"):  # nobody could tell
            machine.change(time_slice="Default")
        if (change, way) == UNNOTICED:
            machine.change(clock_lock=None)
        assert machine.state() == before
        assert Journal.read(machine.device) is None
        assert not daemons_left(machine.device)
    assert rows == expected(f"{name}, {way}", rows)


def _short(changes):
    text = "; ".join(changes)
    return (
        text.replace("nvidia-smi mig", "mig")
        .replace("nvidia-smi", "smi")
        .replace("nvidia-cuda-mps-control", "mps")
    )


def _outcome(visit, at, way):
    """Name the error with which a visit ends; Ctrl-C must come through, and only Ctrl-C."""
    try:
        visit(at, way)
    except (BenchError, KeyboardInterrupt) as error:
        assert isinstance(error, KeyboardInterrupt) == (way == "interrupted")
        return type(error).__name__
    return "done"


def test_a_runner_that_is_killed_at_any_change(case):
    """The state folder is kept as it was right before each change, as a crash of the machine would leave it."""
    _, machine, visit = case
    before, folder = machine.state(), machine.device.state_folder
    copies = folder.with_name("copies")
    copies.mkdir()
    machine.keep_copies(copies)
    visit(0, "undisturbed")
    changes = len(machine.changes())
    machine.keep_copies(None)
    for at in range(1, changes + 1):
        shutil.rmtree(folder)
        (copies / str(at)).rename(folder)
        assert Journal.read(machine.device) is not None
        recover(machine.switch)
        assert machine.state() == before
        assert Journal.read(machine.device) is None
        assert not daemons_left(machine.device)
