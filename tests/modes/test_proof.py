"""What the tenants saw is compared with what they were granted; a wrong label never passes."""

from dataclasses import replace

import pytest

from bench.errors import DeviceError
from bench.modes.contract import Grade, Identity
from bench.modes.entering import entered
from bench.plan.mode import Exclusive, Mig, Mps, MpsEqual, TimeSlicing
from bench.plan.model import Mix
from bench.simulator.driver.state import Client, Daemon, FrozenColumn, updated


def truth(active, mix, sm_counts):
    """What honest tenants of this mode see."""
    grants = active.tenancy(mix)
    return grants, [
        Identity(
            tenant, device_uuid=grant.device_id, sm_count=sms,
            mps_pipe_directory=grant.environment["CUDA_MPS_PIPE_DIRECTORY"], host_pids=(5000000 + slot,),
            memory_total_mib=grant.memory_mib or 80000, mps_in_container_default=False,
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
    assert list(failed(small)) == ["SM count of resnet50-training, within one granule of 2 SMs"]
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
    assert failed(evidence) == {
        "bert-base-training is a client of the MPS server, by the daemon's list": ([5000001], [])
    }


def test_a_tenant_beside_which_the_driver_sees_no_server_of_ours_takes_time_slices(machine, pair):
    """The daemon is asked, and the driver as well: two witnesses that do not know of each other."""
    with entered(Mps(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        with updated(machine.state_file) as state:
            for identity in seen:
                state.add_client(identity.host_pids[0], "python", machine.device.uuid, 500)
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
    assert len([claim for claim in evidence if "by the daemon's list" in claim]) == 2
    assert len([claim for claim in evidence if "by the driver's process table" in claim]) == 2


def test_where_the_driver_shows_no_process_of_ours_the_daemon_alone_vouches(machine, pair):
    """In a container `--query-compute-apps` is empty or has the host's pids."""
    with entered(Mps(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants, seen)
        empty = "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"
        machine.faults({"tool": "nvidia-smi", "match": "compute-apps", "action": "lie", "text": empty})
        evidence = active.confirm(grants, seen)
        machine.faults()
        disconnect(machine)
    assert not failed(evidence)
    blind = [each for each in evidence if "shows no process of ours" in each.claim]
    assert [each.grade for each in blind] == [Grade.REQUESTED_ONLY] * 2


def test_a_daemon_that_died_proves_nothing(machine, pair):
    with entered(Mps(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants, seen)
        machine.change(daemons=[])
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
    assert evidence["MPS daemon answers: default thread percentage"] == (100.0, None)


def test_a_tenant_that_cannot_tell_does_not_contradict_but_counts_for_less(machine, pair):
    with entered(TimeSlicing(), machine.switch) as active:
        grants = active.tenancy(pair)
        evidence = active.confirm(grants, [Identity(tenant, device_name="GPU") for tenant in pair.tenants])
    assert not failed(evidence)
    untold = [each for each in evidence if each.claim.endswith("the tenant did not say")]
    assert len(untold) == 4
    assert {(each.observed, each.grade) for each in untold} == {(None, Grade.REQUESTED_ONLY)}


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_a_tenant_that_says_nothing_is_proven_from_the_host_or_not_at_all(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        silent = [Identity(each.tenant, host_pids=each.host_pids) for each in seen]
        unproven = failed(active.confirm(grants, silent))
        connect(machine, grants, silent)
        evidence = active.confirm(grants, silent)
        disconnect(machine)
    assert not failed(evidence)
    of_tenants = [each for each in evidence if "the tenant said nothing" in each.claim]
    assert [each.grade for each in of_tenants] == [Grade.HOST_ONLY] * 2
    assert {claim for claim in unproven if "the tenant said nothing" in claim} == {
        each.claim for each in of_tenants
    }


def test_the_default_pipe_directory_in_sight_matters_where_the_tenant_points_nowhere_else(machine, pair):
    with entered(TimeSlicing(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        pointing = active.confirm(grants, [replace(each, mps_in_container_default=True) for each in seen])
        lost = replace(seen[0], mps_in_container_default=True, mps_pipe_directory=None)
        evidence = active.confirm(grants, [lost, seen[1]])
    assert not failed(pointing)
    ((claim, values),) = failed(evidence).items()
    assert claim.startswith("/tmp/nvidia-mps is there for resnet50-training")
    assert values == (False, True)


def test_an_instance_has_the_memory_of_its_profile(machine, pair):
    with entered(Mig(), machine.switch) as active:
        grants, seen = truth(active, pair, [42, 42])
        untold = active.confirm(grants, [replace(seen[0], memory_total_mib=None), seen[1]])
        evidence = failed(active.confirm(grants, [replace(seen[0], memory_total_mib=80000), seen[1]]))
    assert not failed(untold)
    assert evidence == {"memory of resnet50-training in MiB, within 10%": (40192, 80000)}


FOREIGN = [
    (TimeSlicing(), {"compute_mode": "Exclusive_Process"}, "compute mode"),
    (Mps(), {"compute_mode": "Prohibited"}, "compute mode"),
    (Mig(), {"compute_mode": "Exclusive_Process"}, "compute mode"),
]


@pytest.mark.parametrize(("mode", "change", "claim"), FOREIGN, ids=lambda each: getattr(each, "label", ""))
def test_what_somebody_changes_after_the_mode_was_entered_spoils_the_trial(machine, pair, mode, change, claim):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants, seen)
        machine.change(**change)
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
        machine.change(compute_mode="Default")
    assert claim in evidence


@pytest.mark.parametrize("mode", [Exclusive(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_a_foreign_server_that_comes_later_spoils_the_trial(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants, seen)
        theirs = Daemon(4194400, "/run/theirs", machine.device.uuid, server_pid=4194401, server_uid=0)
        with updated(machine.state_file) as state:
            state.daemons.append(theirs)
        evidence = failed(active.confirm(grants, seen))
        with updated(machine.state_file) as state:
            state.daemons.remove(theirs)
        disconnect(machine)
    assert 4194401 in evidence["MPS servers on the device"][1]


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


class Moments:
    """A clock; `then` happens at the first sleep."""

    def __init__(self, then):
        self.now_s, self.then = 0.0, [then]

    def monotonic_s(self):
        return self.now_s

    def wall_offset_s(self):
        return 0.0

    def sleep(self, seconds):
        self.now_s += seconds
        while self.then:
            self.then.pop()()


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_a_process_that_ends_late_is_waited_for(machine, pair, mode):
    clock = Moments(lambda: disconnect(machine))
    with entered(mode, machine.switch) as active:
        active.await_idle(clock)
        assert clock.now_s == 0
        grants, seen = truth(active, pair, [108, 108])
        connect(machine, grants, seen)
        active.confirm(grants, seen)
        assert not failed(active.inspect())  # its own processes, which linger
        active.await_idle(clock)
        assert clock.now_s == 0.5
        assert not failed(active.inspect())


@pytest.mark.parametrize("mode", [Exclusive(), Mps()], ids=lambda mode: mode.label)
def test_a_process_that_stays_is_named_after_a_short_wait(machine, mode):
    with updated(machine.state_file) as state:
        state.add_client(4200000, "theirs.py", machine.device.uuid, 500)
    clock = Moments(lambda: None)
    with entered(mode, machine.switch) as active:
        with pytest.raises(DeviceError, match=r"not idle: .*4200000 \(theirs\.py\)"):
            active.await_idle(clock)
        disconnect(machine)
    assert clock.now_s == 5.0


@pytest.mark.parametrize(
    ("column", "text", "why"),
    [("memory.used", "700", "700 MiB of memory are in use, 0 MiB when"), ("utilization.gpu", "83", "83 %")],
)
def test_what_works_unseen_shows_in_memory_and_utilisation(machine, column, text, why):
    """In a container the driver names no process of the host."""
    with entered(TimeSlicing(), machine.switch) as active:
        machine.change(frozen=[FrozenColumn(column, text)])
        assert not failed(active.inspect())
        with pytest.raises(DeviceError, match=why):
            active.await_idle(Moments(lambda: None))
        machine.change(frozen=[])


@pytest.mark.parametrize("mode", [TimeSlicing(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_a_process_of_somebody_else_beside_the_tenants_is_named(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [42, 42] if isinstance(mode, Mig) else [108, 108])
        connect(machine, grants, seen)
        with updated(machine.state_file) as state:
            state.clients.append(Client(4200000, "theirs.py", grants[0].device_id, 500))
        evidence = active.confirm(grants, seen)
        disconnect(machine)
    assert failed(evidence) == {"foreign processes on the device": ([], ["4200000 (theirs.py)"])}


@pytest.mark.parametrize(("listed", "holds"), [(2, True), (3, False)])
def test_where_pids_cannot_be_matched_processes_are_counted(machine, pair, listed, holds):
    with entered(TimeSlicing(), machine.switch) as active:
        grants, seen = truth(active, pair, [108, 108])
        with updated(machine.state_file) as state:
            for pid in range(900, 900 + listed):
                state.add_client(pid, "python", machine.device.uuid, 500)
        (counted,) = [each for each in active.confirm(grants, seen) if each.claim.startswith("foreign processes")]
        disconnect(machine)
    assert (counted.holds, counted.grade) == (holds, Grade.HOST_ONLY)
    assert "2 tenants under other numbers or not at all, so only counted: at most 2 unknown" in counted.claim
