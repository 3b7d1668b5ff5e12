"""A tool that fails, lies or hangs at any one effect: an error of the right class, and the device as it was.

The table has a row for each command that changes the device, in the order in which a visit issues them.
"""

import pytest

from bench.errors import DeviceError, ModeUnavailable, RestoreError, SetupError
from bench.gpu.smi import NvidiaSmi
from bench.modes.entering import entered, recover
from bench.modes.helpers import Call, run_helper
from bench.modes.journal import Journal
from bench.modes.mps import pipe_directory
from bench.plan.mode import Mig, Mps, TimeSlicing

SMI, MPS = "nvidia-smi", "nvidia-cuda-mps-control"
GOING_IN = [
    (TimeSlicing(), SMI, "-c DEFAULT"),
    (Mps(), SMI, "-c DEFAULT"),
    (Mps(), MPS, "-d"),
    (Mig(), SMI, "-c DEFAULT"),
    (Mig(), SMI, "-mig 1"),
    (Mig(), SMI, "-cgi"),
]
GOING_OUT = [
    (TimeSlicing(), SMI, "-c EXCLUSIVE_PROCESS"),
    (Mps(), MPS, "quit"),
    (Mps(), SMI, "-c EXCLUSIVE_PROCESS"),
    (Mig(), SMI, "-dci"),
    (Mig(), SMI, "-dgi"),
    (Mig(), SMI, "-mig 0"),
    (Mig(), SMI, "-c EXCLUSIVE_PROCESS"),
]
WAYS = {
    "fails": {"action": "fail", "rc": 255, "text": "Unknown Error\n"},
    "lies": {"action": "lie", "text": "All done.\n"},
    "hangs": {"action": "hang", "seconds": 2.5},  # the helpers wait for 1 s
}


def name(row):
    return getattr(row, "label", row)


@pytest.fixture(autouse=True)
def impatience(request, monkeypatch):
    """Let helpers wait for 1 s only, where they would wait in vain."""
    if "way" in request.fixturenames and request.getfixturevalue("way") != "fails":
        monkeypatch.setenv("GPU_CONFIGS_TIMEOUT_S", "1")


def rule(tool, match, way, **limits):
    return {"tool": tool, "match": match, **WAYS[way], **limits}


@pytest.fixture
def exclusive(machine):
    """A machine on which every mode has something to change."""
    machine.change(compute_mode="Exclusive_Process")
    return machine


def visit(machine, mode, mix):
    with entered(mode, machine.switch) as active:
        active.tenancy(mix)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("mode", "tool", "match"), GOING_IN, ids=name)
def test_a_fault_on_the_way_in(exclusive, pair, mode, tool, match, way):
    before = exclusive.state()
    exclusive.faults(rule(tool, match, way, times=1))
    with pytest.raises(DeviceError, match=r"exit code 1 of: .*gpu_configs/\w+\.sh --gpu GPU-"):
        visit(exclusive, mode, pair)
    assert exclusive.state() == before
    assert Journal.read(exclusive.device) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("mode", "tool", "match"), GOING_OUT, ids=name)
def test_a_fault_on_the_way_out_is_told_and_can_be_mended(exclusive, pair, mode, tool, match, way):
    before = exclusive.state()
    exclusive.faults(rule(tool, match, way))
    with pytest.raises(RestoreError, match=r"mode restore --device simulated:a100-80gb") as told:
        visit(exclusive, mode, pair)
    assert mode.label in str(told.value)
    assert Journal.read(exclusive.device).mode == mode.label
    exclusive.faults()
    assert recover(exclusive.switch).mode == mode.label
    assert exclusive.state() == before
    assert not pipe_directory(exclusive.device).exists()


@pytest.mark.parametrize(
    ("text", "rc", "error"),
    [
        ("Unable to enable MIG Mode: Insufficient Permissions\n", 4, ModeUnavailable),
        ("Unable to enable MIG Mode: In use by another client\n", 1, ModeUnavailable),
        ("Unable to enable MIG Mode: Not Supported\n", 3, ModeUnavailable),
        ("Unable to enable MIG Mode: Unknown Error\n", 255, DeviceError),
    ],
)
def test_a_refusal_is_not_a_failure(machine, pair, text, rc, error):
    before = machine.state()
    machine.faults({"tool": SMI, "match": "-mig 1", "action": "fail", "rc": rc, "text": text, "times": 1})
    with pytest.raises(error, match=text.partition(": ")[2].strip()):
        visit(machine, Mig(), pair)
    assert machine.state() == before


def test_a_device_that_no_longer_answers_is_told(machine, pair):
    lost = {"tool": SMI, "match": "query-gpu", "action": "fail", "rc": 15,
            "text": "Unable to determine the device handle for GPU0: GPU is lost.\n"}  # fmt: skip

    def lose_it():
        with entered(Mps(), machine.switch):
            machine.faults(lost)

    with pytest.raises(RestoreError, match=r"(?s)nobody knows its state.*GPU is lost.*mode restore"):
        lose_it()
    machine.faults()
    recover(machine.switch)
    assert not [fact for fact in machine.state() if fact.startswith("daemon ")]


def test_a_missing_tool_names_the_driver(machine, monkeypatch):
    device = machine.device
    (device.state_folder.parent / "bin" / MPS).unlink()
    (device.state_folder / "driver" / "bin" / MPS).unlink()
    with pytest.raises(SetupError, match=r"nvidia-cuda-mps-control is not on PATH") as told:
        run_helper(Call("enable_mps", ("--pipe-directory", "/x", "--log-directory", "/y")), device)
    assert not isinstance(told.value, ModeUnavailable)


def test_a_mix_that_does_not_fit_leaves_the_mode_usable(machine, pair):
    eight = pair.model_copy(update={"jobs": pair.jobs * 4})
    with entered(Mig(), machine.switch) as active:
        active.tenancy(pair)
        with pytest.raises(ModeUnavailable, match="8 tenants need 8 MIG instances; this GPU has room for 7"):
            active.tenancy(eight)
        assert [grant.share for grant in active.tenancy(pair)] == ["3g.40gb", "3g.40gb"]


def test_instances_that_could_not_be_destroyed_are_not_handed_out(machine, pair):
    """After a failed new cut nobody gets an instance that is gone."""
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(Mig(), machine.switch) as active:
        active.tenancy(pair)
        machine.faults(rule(SMI, "-dgi", "fails", times=1))
        with pytest.raises(DeviceError):
            active.tenancy(one)
        granted = {grant.device_id for grant in active.tenancy(pair)}
        there = NvidiaSmi(machine.device.tool_environment).mig_devices(machine.device.uuid)
        assert granted == {instance.uuid for instance in there}
