"""What the tools refuse, or what is missing, is told with an error of the right class; the device is as it was."""

import pytest

from bench.errors import DeviceError, ModeUnavailable, RestoreError, SetupError
from bench.gpu.smi import NvidiaSmi
from bench.modes.entering import entered, recover
from bench.modes.helpers import Call, run_helper
from bench.plan.mode import Mig, Mps

SMI, MPS = "nvidia-smi", "nvidia-cuda-mps-control"


def visit(machine, mode, mix):
    with entered(mode, machine.switch) as active:
        active.tenancy(mix)


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
        with pytest.raises(ModeUnavailable, match="8 MIG instances are needed; this GPU has room for 7"):
            active.tenancy(eight)
        assert [grant.share for grant in active.tenancy(pair)] == ["3g.40gb", "3g.40gb"]


def test_instances_that_could_not_be_destroyed_are_not_handed_out(machine, pair):
    """After a failed new cut nobody gets an instance that is gone."""
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(Mig(), machine.switch) as active:
        active.tenancy(pair)
        machine.faults({"tool": SMI, "match": "-dgi", "action": "fail", "rc": 255, "times": 1})
        with pytest.raises(DeviceError):
            active.tenancy(one)
        granted = {grant.device_id for grant in active.tenancy(pair)}
        there = NvidiaSmi(machine.device.tool_environment).mig_devices(machine.device.uuid)
        assert granted == {instance.uuid for instance in there}
