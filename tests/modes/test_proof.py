"""What the tenants saw is compared with what they were granted; a wrong label never passes."""

from dataclasses import replace

import pytest

from bench.modes.contract import Grade, Identity
from bench.modes.entering import entered
from bench.plan.mode import Exclusive, Mig, Mps, MpsEqual, TimeSlicing
from bench.plan.model import Mix
from bench.simulator.driver.state import updated


def truth(active, mix, sm_counts):
    """What honest tenants of this mode see."""
    grants = active.tenancy(mix)
    return grants, [
        Identity(
            tenant, device_uuid=grant.device_id, sm_count=sms,
            mps_pipe_directory=grant.environment["CUDA_MPS_PIPE_DIRECTORY"], host_pids=(5000000 + slot,),
        )
        for slot, (tenant, grant, sms) in enumerate(zip(mix.tenants, grants, sm_counts, strict=True))
    ]  # fmt: skip


def connect(machine, grants, identities):
    """Make the tenants known to the driver, as starting them would."""
    with updated(machine.state_file) as state:
        for grant, seen in zip(grants, identities, strict=True):
            pipe = grant.environment["CUDA_MPS_PIPE_DIRECTORY"]
            state.add_client(seen.host_pids[0], "python", grant.device_id, 500, mps_pipe_directory=pipe)


def disconnect(machine):
    machine.change(clients=[])


def failed(evidence):
    return {each.claim: (each.expected, each.observed) for each in evidence if not each.holds}


HONEST = [
    (Exclusive(), [108, 108]),
    (TimeSlicing(), [108, 108]),
    (Mps(), [108, 108]),
    (Mps(active_thread_percentage=25), [26, 28]),  # rounded down or up to a granule
    (MpsEqual(), [54, 54]),
    (Mig(), [42, 42]),
    (Mig(layout="3g.40gb+2g.20gb"), [42, 28]),
]


@pytest.mark.parametrize(("mode", "sm_counts"), HONEST, ids=lambda each: getattr(each, "label", ""))
def test_honest_tenants_are_believed_and_others_are_not(machine, pair, mode, sm_counts):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, sm_counts)
        connect(machine, grants, seen)
        honest = active.confirm(grants, seen)
        small = active.confirm(grants, [replace(seen[0], sm_count=14), seen[1]])
        elsewhere = active.confirm(grants, [seen[0], replace(seen[1], device_uuid="GPU-other")])
        disconnect(machine)
    assert not failed(honest)
    assert Grade.SEEN_BY_TENANT in {each.grade for each in honest}
    assert list(failed(small)) == ["SM count of resnet50-training"]
    assert failed(elsewhere) == {"device UUID of bert-base-training": (grants[1].device_id, "GPU-other")}


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing()], ids=lambda mode: mode.label)
def test_a_tenant_that_sees_a_pipe_directory_is_not_time_slicing(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        evidence = active.confirm(grants, [replace(seen[0], mps_pipe_directory="/tmp/nvidia-mps"), seen[1]])
    (claim,) = failed(evidence)
    assert claim.startswith("resnet50-training is outside MPS")


def test_a_tenant_that_silently_missed_mps_is_found_out(machine, pair):
    """CUDA runs on without a word where it finds no daemon."""
    with entered(Mps(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants[:1], seen[:1])
        evidence = active.confirm(grants, seen)
        disconnect(machine)
    assert failed(evidence) == {"bert-base-training is a client of the MPS server": ([5000001], [])}


def test_a_tenant_that_cannot_tell_does_not_contradict_but_counts_for_less(machine, pair):
    with entered(TimeSlicing(), machine.switch) as active:
        grants = active.tenancy(pair)
        evidence = active.confirm(grants, [Identity(tenant) for tenant in pair.tenants])
    assert not failed(evidence)
    sizes = [each for each in evidence if each.claim.startswith(("SM count", "device UUID"))]
    assert {each.grade for each in sizes} == {Grade.HOST_ONLY}


def test_the_limits_of_equal_mps_shares(machine, pair):
    three = Mix(name="three", jobs=(*pair.jobs, pair.jobs[0]))
    with entered(MpsEqual(), machine.switch) as active:
        (grant, *_) = active.tenancy(three)
    assert grant.environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "33"
    assert grant.environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=27306M"  # a third of 81920 MiB
    assert grant.share == "33%"


def test_plain_mps_sets_no_limit_and_mounts_its_pipe(machine, pair):
    with entered(Mps(), machine.switch) as active:
        (grant, _) = active.tenancy(pair)
        (mount,) = grant.mounts
        assert set(grant.environment) == {"CUDA_MPS_PIPE_DIRECTORY"}
        assert str(mount.path) == grant.environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert not mount.read_only
    assert grant.share is None


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing(), Mig()], ids=lambda mode: mode.label)
def test_outside_mps_the_pipe_directory_is_empty_and_ours(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        for grant in active.tenancy(pair):
            (mount,) = grant.mounts
            assert str(mount.path) == grant.environment["CUDA_MPS_PIPE_DIRECTORY"]
            assert mount.path.is_relative_to(machine.device.state_folder)
            assert list(mount.path.iterdir()) == []
            assert mount.read_only
