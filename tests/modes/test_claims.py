"""MIG instances that somebody else makes while we use the device are theirs: never handed out, never destroyed."""

import pytest

from bench.errors import DeviceError, RestoreError
from bench.modes.contract import Identity
from bench.modes.entering import entered, recover
from bench.modes.helpers import Call
from bench.modes.journal import Claim, Journal
from bench.modes.observe import DeviceState
from bench.plan.mode import Mig
from bench.simulator.driver.state import DriverState, GpuInstance, updated

SMI = "nvidia-smi"
THEIRS = GpuInstance(13, 19, 6)  # 1g.10gb in the last slices of an A100-80GB
HALVES = Mig(layout="2g.20gb+2g.20gb")  # in the first four


@pytest.fixture
def in_mig_mode(machine):
    machine.change(mig_enabled=True, mig_pending=True)
    return machine


def somebody_makes(machine, *instances):
    with updated(machine.state_file) as state:
        state.instances += instances


def there(machine):
    return DriverState.load(machine.state_file).instances


def test_the_journal_names_what_is_ours(in_mig_mode, pair):
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(Mig(), in_mig_mode.switch) as active:
        assert Journal.read(in_mig_mode.device).claims == ()
        active.tenancy(pair)
        assert Journal.read(in_mig_mode.device).claims == (Claim("3g.40gb", 0, 2), Claim("3g.40gb", 4, 1))
        active.tenancy(one)
        assert Journal.read(in_mig_mode.device).claims == (Claim("7g.80gb", 0, 0),)


def test_a_failed_cut_claims_nothing_that_is_not_there(in_mig_mode, pair):
    with entered(Mig(), in_mig_mode.switch) as active:
        in_mig_mode.faults({"tool": SMI, "match": "-cgi", "action": "fail", "rc": 255, "text": "Unknown Error\n"})
        with pytest.raises(DeviceError):
            active.tenancy(pair)
        assert Journal.read(in_mig_mode.device).claims == ()


def test_an_instance_of_somebody_else_spoils_the_trial_and_survives(in_mig_mode, pair):
    with entered(HALVES, in_mig_mode.switch) as active:
        grants = active.tenancy(pair)
        somebody_makes(in_mig_mode, THEIRS)
        evidence = active.confirm(grants, [Identity(tenant) for tenant in pair.tenants])
        (layout,) = [each for each in evidence if each.claim.startswith("MIG instances")]
        assert not layout.holds
        assert layout.observed == ["2g.20gb at 0", "2g.20gb at 2", "1g.10gb at 6"]
    assert there(in_mig_mode) == [THEIRS]
    assert Journal.read(in_mig_mode.device) is None


def test_nothing_is_cut_beside_an_instance_of_somebody_else(in_mig_mode, pair):
    with entered(HALVES, in_mig_mode.switch) as active:
        somebody_makes(in_mig_mode, THEIRS)
        with pytest.raises(DeviceError, match=r"somebody else made MIG instances.*1g\.10gb \(GPU instance 13\)"):
            active.tenancy(pair)
    assert in_mig_mode.changes() == []
    assert there(in_mig_mode) == [THEIRS]


def test_mig_mode_stays_on_for_an_instance_of_somebody_else_until_it_is_gone(machine, pair):
    before = machine.state()

    def visit():
        with entered(HALVES, machine.switch) as active:
            active.tenancy(pair)
            somebody_makes(machine, THEIRS)

    with pytest.raises(RestoreError, match="GPU instances 13 are not ours"):
        visit()
    assert there(machine) == [THEIRS]
    with pytest.raises(RestoreError):
        recover(machine.switch)
    assert there(machine) == [THEIRS]
    machine.change(instances=[])
    recover(machine.switch)
    assert machine.state() == before


def test_after_a_crash_in_mid_cut_the_places_tell_what_is_ours(in_mig_mode):
    """Before the driver has answered nobody knows the ids."""
    found = DeviceState("Default", "Enabled", "Enabled")
    claims = (Claim("2g.20gb", 0), Claim("2g.20gb", 2))
    undo = (Call("disable_mig", ("--keep-mode",)),)
    Journal(HALVES.label, found, undo, claims).write(in_mig_mode.device)
    somebody_makes(in_mig_mode, THEIRS, GpuInstance(3, 14, 0))
    recover(in_mig_mode.switch)
    assert there(in_mig_mode) == [THEIRS]


def test_without_its_journal_nothing_is_cut(in_mig_mode, pair):
    with entered(HALVES, in_mig_mode.switch) as active:
        Journal.close(in_mig_mode.device)
        with pytest.raises(DeviceError, match="somebody removed it"):
            active.tenancy(pair)
    assert in_mig_mode.changes() == []
