"""What the tenants saw is compared with what they were granted; a wrong label never passes."""

from dataclasses import replace

import pytest

from bench.errors import DeviceError
from bench.launch.corun import co_run
from bench.launch.tenants import make_tenants
from bench.modes.contract import Grade, Identity
from bench.modes.entering import entered
from bench.modes.mps import MEMORY_LIMIT_VARIABLE
from bench.plan.catalog import load_catalog
from bench.plan.mode import Exclusive, Mig, MigMps, Mps, MpsEqual, MpsPartitions, TimeSlicing
from bench.plan.model import TIMINGS, Mix
from bench.plan.schedule import Role, Trial
from bench.simulator.board import Board
from bench.simulator.clock import VirtualClock
from bench.simulator.driver.state import Client, Daemon, FrozenColumn, Partition, updated
from bench.simulator.launcher import SimulatedLauncher


def truth(active, mix, sm_counts):
    """What honest tenants of this mode see."""
    grants = active.tenancy(mix)
    return grants, [
        Identity(
            tenant, device_uuid=grant.device_id, sm_count=sms,
            mps_pipe_directory=grant.environment["CUDA_MPS_PIPE_DIRECTORY"], host_pids=(5000000 + slot,),
            memory_total_mib=grant.memory_mib or 80000, mps_in_container_default=False,
            allocatable_mib=grant.memory_limit_mib and grant.memory_limit_mib - 500,
        )
        for slot, (tenant, grant, sms) in enumerate(zip(mix.tenants, grants, sm_counts, strict=True))
    ]  # fmt: skip


def connect(machine, grants, identities):
    """Make the tenants known to the driver, as starting them would."""
    with updated(machine.state_file) as state:
        for grant, seen in zip(grants, identities, strict=True):
            pipe = grant.environment["CUDA_MPS_PIPE_DIRECTORY"]
            part = grant.environment.get("CUDA_MPS_SM_PARTITION")
            state.add_client(
                seen.host_pids[0], "python", grant.device_id, 500, mps_pipe_directory=pipe, sm_partition=part
            )


def disconnect(machine):
    machine.change(clients=[])


def failed(evidence):
    return {each.claim: (each.expected, each.observed) for each in evidence if not each.holds}


HONEST = [
    (Exclusive(), [108, 108]),
    (TimeSlicing(), [108, 108]),
    (Mps(), [108, 108]),
    (Mps(active_thread_percentage=25), [26, 28]),  # rounded down or up to a granule
    (Mps(active_thread_percentage=(70, 30), memory_limit_gib=(48, 24)), [74, 32]),
    (MpsEqual(), [54, 54]),
    (Mig(), [42, 42]),
    (Mig(layout="3g.40gb+2g.20gb"), [42, 28]),
    (MpsPartitions(), [52, 52]),
    (MpsPartitions(chunks=(16, 7)), [64, 28]),
    (MigMps(), [98, 98]),
    (MigMps(layout="3g.40gb+2g.20gb"), [42, 28]),
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


def test_a_tenant_in_the_partition_of_another_is_found_out(machine, pair):
    with entered(MpsPartitions(), machine.switch) as active:
        grants, seen = truth(active, pair, [52, 52])
        connect(machine, [grants[0], grants[0]], seen)
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
    assert evidence == {
        "the partition of bert-base-training has a client, by the daemon's list of partitions": (True, False)
    }


def test_a_partition_that_somebody_adds_or_removes_spoils_the_trial(machine, pair):
    with entered(MpsPartitions(), machine.switch) as active:
        grants, seen = truth(active, pair, [52, 52])
        connect(machine, grants, seen)
        with updated(machine.state_file) as state:
            (daemon,) = state.daemons
            state.replace_daemon(daemon, daemon.replace(partitions=(*daemon.partitions, Partition("GPU/more", 1))))
        confirmed, inspected = failed(active.confirm(grants, seen)), failed(active.inspect())
        disconnect(machine)
    assert confirmed == inspected == {"SM partitions, in chunks": ([13, 13], [1, 13, 13])}


def test_a_client_of_the_daemon_of_another_instance_is_found_out(machine, pair):
    """Each instance has a daemon; CUDA would not let a job of one be served by the other, so it missed MPS."""
    with entered(MigMps(layout="3g.40gb+3g.40gb"), machine.switch) as active:
        grants, seen = truth(active, pair, [42, 42])
        elsewhere = replace(grants[1], environment=grants[0].environment)
        connect(machine, [grants[0], elsewhere], seen)
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
    assert set(evidence) == {
        "bert-base-training is a client of the MPS server, by the daemon's list",
        "our MPS server computes beside bert-base-training, by the driver's process table",
    }


@pytest.mark.parametrize("mode", [MpsPartitions(), MigMps()], ids=lambda mode: mode.label)
def test_a_daemon_of_ours_that_died_shows_with_and_without_tenants(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        grants, seen = truth(active, pair, [52, 52])
        assert not failed(active.inspect())
        machine.change(daemons=[])
        claims = [*failed(active.inspect()), *failed(active.confirm(grants, seen))]
    assert len([claim for claim in claims if claim.endswith("answers: default thread percentage")]) == 2


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


LIMITED = [Mps(memory_limit_gib=(40, 2)), MpsEqual(), Mig()]


@pytest.mark.parametrize("mode", LIMITED, ids=lambda mode: mode.label)
def test_a_tenant_can_allocate_its_limit_and_no_more(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        sm_counts = [42, 42] if mode == Mig() else [54, 54] if mode == MpsEqual() else [108, 108]
        grants, seen = truth(active, pair, sm_counts)
        connect(machine, grants, seen)
        limits_mib = [grant.memory_limit_mib for grant in grants]
        free = active.confirm(grants, [seen[0], replace(seen[1], allocatable_mib=80512)])
        full = active.confirm(grants, [replace(seen[0], allocatable_mib=limits_mib[0] // 2), seen[1]])
        untold = active.confirm(grants, [replace(each, allocatable_mib=None) for each in seen])
        disconnect(machine)
    ((claim, values),) = failed(free).items()
    assert claim.startswith("memory that bert-base-training can allocate")
    assert values == (limits_mib[1], 80512)
    ((claim, values),) = failed(full).items()
    assert claim.startswith("memory that resnet50-training can allocate")
    assert not failed(untold)
    unsaid = [each for each in untold if each.claim.endswith("the tenant did not say")]
    assert [each.expected for each in unsaid] == limits_mib
    assert {each.grade for each in unsaid} == {Grade.REQUESTED_ONLY}


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing(), Mps()], ids=lambda mode: mode.label)
def test_without_a_limit_nobody_tries(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        for grant in active.tenancy(pair):
            assert grant.memory_limit_mib is None
            assert "BENCH_PROBE_MEMORY" not in grant.environment


def test_each_job_has_the_limits_that_the_plan_gives_it(machine, pair):
    with entered(Mps(active_thread_percentage=(70, 30), memory_limit_gib=(48, 24)), machine.switch) as active:
        grants = active.tenancy(pair)
    assert [(grant.share, grant.sm_count, grant.memory_limit_mib) for grant in grants] == [
        ("70%", 74, 49152), ("30%", 32, 24576),
    ]  # fmt: skip
    names = ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "BENCH_PROBE_MEMORY")
    assert [tuple(grant.environment[name] for name in names) for grant in grants] == [
        ("70", "0=49152M", "1"), ("30", "0=24576M", "1"),
    ]  # fmt: skip


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


def test_a_limit_that_is_lost_on_the_way_to_the_tenant_is_found_by_its_trying(machine, pair, tmp_path):
    """Percentage and server are as they should be; only what the tenant can allocate tells."""
    mode, board = Mps(active_thread_percentage=50, memory_limit_gib=40), Board(machine.state_file, VirtualClock())
    trial = Trial("trial", 1, mode, pair, Role.MIX, None, seed=1)

    def run(active, lost):
        grants = active.tenancy(pair)
        for grant in grants[1:]:
            grant.environment.pop(MEMORY_LIMIT_VARIABLE if lost else "", None)
        tenants = make_tenants(trial, grants, load_catalog(), machine.device, tmp_path / str(lost), "run")
        granted = [tenant.grant for tenant in tenants]
        launcher, timing = SimulatedLauncher(board), TIMINGS["smoke"]
        return co_run(launcher, tenants, timing, board.clock, lambda seen: active.confirm(granted, seen))

    with entered(mode, machine.switch) as active:
        honest, lost = run(active, lost=False), run(active, lost=True)
    assert not failed(honest.evidence)
    assert honest.window is not None
    ((claim, (limit_mib, allocated_mib)),) = failed(lost.evidence).items()
    assert claim.startswith("memory that bert-base-training can allocate")
    assert allocated_mib > limit_mib == 40960
    assert lost.window is None


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
