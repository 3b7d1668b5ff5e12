"""What a cluster gave is adopted and proven; nothing is changed, and what changes meanwhile is found out."""

import os
import subprocess
from dataclasses import replace

import pytest

from bench.errors import DeviceError, ModeUnavailable, RestoreError
from bench.modes.as_found import FOUND_CLAIM
from bench.modes.availability import why_unavailable
from bench.modes.contract import Grade, Identity
from bench.modes.entering import entered
from bench.modes.found import find
from bench.modes.journal import Journal
from bench.plan.mode import AsFound, Exclusive, Mig, Mps
from bench.simulator.driver.state import DriverState, updated

PIPE, PERCENTAGE = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY_LIMIT = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"


class Owner:
    """Whoever runs the cluster: uses the driver's tools with rights that we do not have."""

    def __init__(self, machine):
        self.machine = machine
        self.pipe = machine.device.state_folder.with_name("theirs")

    def call(self, tool, *arguments, said="", **environment):
        path = self.machine.device.state_folder / "driver" / "bin" / tool
        own = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
        done = subprocess.run([path, *arguments], input=said, env={**own, **environment}, text=True, check=True)
        assert done.returncode == 0

    def cut(self, *profiles):
        """Cut the GPU and return the UUIDs of the instances."""
        self.call("nvidia-smi", "-mig", "1")
        self.call("nvidia-smi", "mig", "-cgi", ",".join(profiles), "-C")
        return [gi.compute[0].uuid for gi in sorted(self.state.instances, key=lambda gi: gi.id)]

    def start_daemon(self, device, percentage="100"):
        given = {PIPE: str(self.pipe), "CUDA_VISIBLE_DEVICES": device, PERCENTAGE: percentage}
        self.call("nvidia-cuda-mps-control", "-d", **given)

    def stop_daemon(self):
        self.call("nvidia-cuda-mps-control", said="quit -t 1\n", **{PIPE: str(self.pipe)})

    @property
    def state(self):
        return DriverState.load(self.machine.state_file)


@pytest.fixture(autouse=True)
def outside_any_cluster(monkeypatch):
    for name in (PIPE, PERCENTAGE, MEMORY_LIMIT, "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def owner(machine):
    return Owner(machine)


@pytest.fixture
def given(machine, owner, monkeypatch):
    """Prepare what a cluster gives, by name; return the UUID of the device. We have no rights afterwards."""

    def prepare(what):
        device = machine.device.uuid
        if "instance" in what:
            device, *_ = owner.cut("9", "19")
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
        if "daemon" in what:
            owner.start_daemon(device, "50" if "half" in what else "100")
            monkeypatch.setenv(PIPE, str(owner.pipe))
        machine.change(privileged=False)
        return device

    return prepare


def truth(active, mix):
    """What honest tenants see."""
    grants = active.tenancy(mix)
    return grants, [
        Identity(
            tenant, device_uuid=grant.device_id, sm_count=grant.sm_count, host_pids=(5000000 + slot,),
            mps_pipe_directory=grant.environment[PIPE], memory_total_mib=grant.memory_mib or 80000,
            mps_in_container_default=False,
        )
        for slot, (tenant, grant) in enumerate(zip(mix.tenants, grants, strict=True))
    ]  # fmt: skip


def connect(machine, grants, identities):
    with updated(machine.state_file) as state:
        for grant, seen in zip(grants, identities, strict=True):
            pipe = grant.environment[PIPE]
            state.add_client(seen.host_pids[0], "python", grant.device_id, 500, mps_pipe_directory=pipe)


def disconnect(machine):
    machine.change(clients=[])


def failed(evidence):
    return {each.claim: each.observed for each in evidence if not each.holds}


SITUATIONS = {  # what the words say, SMs that a tenant sees, and whether strangers may be on the board
    "plain": ("the whole GPU", "with no MPS daemon", 108, False),
    "daemon": ("the whole GPU", "with an MPS daemon at", 108, False),
    "half daemon": ("the whole GPU", "default thread percentage 50", 54, False),
    "instance": (
        "a MIG instance 3g.40gb",
        "42 SMs, 40192 MiB, compute mode Default) with no MPS daemon",
        42,
        True,
    ),
    "instance, daemon": ("a MIG instance 3g.40gb", "with an MPS daemon at", 42, True),
    "instance, half daemon": ("a MIG instance 3g.40gb", "default thread percentage 50", 20, True),
}


@pytest.mark.parametrize("what", SITUATIONS)
def test_what_is_given_is_adopted_proven_and_left_alone(machine, pair, given, what):
    device, (begins, contains, sms, shared) = given(what), SITUATIONS[what]
    before = machine.state()
    with entered(AsFound(), machine.switch) as active:
        (found,) = active.evidence
        grants, seen = truth(active, pair)
        connect(machine, grants, seen)
        evidence = active.confirm(grants, seen)
        small = active.confirm(grants, [replace(seen[0], sm_count=14), seen[1]])
        elsewhere = active.confirm(grants, [seen[0], replace(seen[1], device_uuid="MIG-other")])
        disconnect(machine)
        assert Journal.read(machine.device) is None
    assert (found.claim, found.grade, found.holds) == (FOUND_CLAIM, Grade.READ_BACK, True)
    assert found.observed.startswith(begins)
    assert contains in found.observed
    assert {grant.device_id for grant in grants} == {device}
    assert {grant.sm_count for grant in grants} == {sms}
    assert {grant.shares_board for grant in grants} == {shared}
    assert not failed(evidence)
    assert len(failed(small)) == len(failed(elsewhere)) == 1
    assert machine.changes() == []
    left = [fact for fact in machine.state() if "daemon" not in fact]  # its server stays, as it does for anybody
    assert left == [fact for fact in before if "daemon" not in fact]


@pytest.mark.parametrize("what", ["daemon", "instance, daemon"])
def test_a_tenant_that_silently_misses_a_foreign_daemon_is_caught(machine, pair, given, what):
    given(what)
    with entered(AsFound(), machine.switch) as active:
        grants, seen = truth(active, pair)
        connect(machine, grants[:1], seen[:1])
        one = failed(active.confirm(grants, seen))
        disconnect(machine)
        none = failed(active.confirm(grants, seen))
    claims = [
        f"{tenant} is a client of the MPS server that was found, by the daemon's list" for tenant in pair.tenants
    ]
    assert list(one) == claims[1:]
    assert list(none) == claims


def test_in_a_container_the_daemons_clients_are_counted(machine, pair, given):
    """The daemon numbers our processes by the host's pids, which do not show in here."""
    given("daemon")
    with updated(machine.state_file) as state:
        state.add_client(4999999, "theirs", machine.device.uuid, 500, mps_pipe_directory=os.environ[PIPE])
    with entered(AsFound(), machine.switch) as active:
        grants, seen = truth(active, pair)
        connect(machine, grants, seen)
        inside = [replace(each, host_pids=(slot,)) for slot, each in enumerate(seen)]
        both = [each for each in active.confirm(grants, inside) if "has gained" in each.claim]
        with updated(machine.state_file) as state:
            state.remove_client(seen[1].host_pids[0])
        one = [each for each in active.confirm(grants, inside) if "has gained" in each.claim]
        disconnect(machine)
    assert [(each.expected, each.observed, each.grade, each.holds) for each in both + one] == [
        (2, 2, Grade.HOST_ONLY, True), (2, 1, Grade.HOST_ONLY, False),
    ]  # fmt: skip
    assert grants[0].shares_board


def test_limits_of_the_environment_are_passed_on_and_proven(machine, pair, given, monkeypatch):
    given("instance, daemon")
    monkeypatch.setenv(PERCENTAGE, "25")
    monkeypatch.setenv(MEMORY_LIMIT, "0=10G")
    with entered(AsFound(), machine.switch) as active:
        (grant, _) = active.tenancy(pair)
        (found,) = active.evidence
    assert grant.environment == {PIPE: os.environ[PIPE], PERCENTAGE: "25", MEMORY_LIMIT: "0=10G"}
    assert grant.sm_count == 10
    assert f"{PERCENTAGE}=25, {MEMORY_LIMIT}=0=10G" in found.observed


def test_a_servers_own_percentage_counts_where_it_runs_already(machine, pair, given):
    """A default that is set later holds for servers that start later."""
    given("daemon")
    with updated(machine.state_file) as state:
        (daemon,) = state.daemons
        state.replace_daemon(daemon, daemon.replace(server_pid=4194400, server_uid=0, server_percentage=25.0))
    with entered(AsFound(), machine.switch) as active:
        assert {grant.sm_count for grant in active.tenancy(pair)} == {26}


def _vanish(owner, what):
    if "daemon" in what:
        return owner.stop_daemon()
    owner.call("nvidia-smi", "mig", "-dci", "-gi", "2")
    return owner.call("nvidia-smi", "mig", "-dgi", "-gi", "2")


@pytest.mark.parametrize("what", ["daemon", "instance"])
def test_what_vanishes_on_the_way_spoils_the_trial_and_ends_the_run(machine, owner, pair, given, what):
    given(what)
    with (
        pytest.raises(RestoreError, match=r"no longer as it was found.*\n.*now there is.*\n.*changed nothing"),
        entered(AsFound(), machine.switch) as active,
    ):
        grants, seen = truth(active, pair)
        machine.change(privileged=True)
        _vanish(owner, what)
        lured = seen if "daemon" in what else []  # CUDA lets nobody onto an instance that has gone
        connect(machine, grants[: len(lured)], lured)
        evidence = failed(active.confirm(grants, seen))
        disconnect(machine)
        with pytest.raises(DeviceError, match=FOUND_CLAIM):
            active.tenancy(pair)
    assert FOUND_CLAIM in evidence
    assert machine.changes() == []


def test_a_later_visit_must_find_what_the_first_one_found(machine, owner, given):
    given("daemon")
    with entered(AsFound(), machine.switch):
        pass
    owner.stop_daemon()
    owner.start_daemon(machine.device.uuid, "50")
    with (
        pytest.raises(
            DeviceError, match=r"what was found is still there is .*percentage 50.*not .*percentage 100"
        ),
        entered(AsFound(), machine.switch),
    ):
        pass


def test_what_may_not_be_read_counts_for_less(machine, pair, given):
    """A container that was given one MIG device, and no right to look at the board."""
    mine = given("instance")
    machine.change(monitors_mig=False, shows_mig=mine)
    no_right = {
        "action": "fail",
        "rc": 4,
        "text": "Failed to display GPU instance profiles: Insufficient Permissions\n",
    }
    empty = {"action": "lie", "text": "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"}
    machine.faults(
        {"tool": "nvidia-smi", "match": "-lgip", **no_right},
        {"tool": "nvidia-smi", "match": "compute-apps", **empty},
    )
    with entered(AsFound(), machine.switch) as active:
        grants, seen = truth(active, pair)
        seen = [replace(each, sm_count=42) for each in seen]
        evidence = active.confirm(grants, seen)
    assert "SM count not told, memory not told" in active.evidence[0].observed
    assert not failed(evidence)
    sizes = [each for each in evidence if each.claim.startswith("SM count")]
    assert {(each.expected, each.observed, each.grade) for each in sizes} == {(None, 42, Grade.REQUESTED_ONLY)}
    assert grants[0].shares_board  # whether there are neighbours, nobody can tell
    why = why_unavailable([AsFound(), Mig(), Exclusive()], machine.device, allow_reset=True)
    assert set(why) == {"mig", "exclusive"}
    assert "no permission" in str(why["mig"])


def test_an_instance_alone_on_its_board_shares_it_with_nobody(machine, owner, pair):
    owner.cut("0")
    with entered(AsFound(), machine.switch) as active:
        assert not any(grant.shares_board for grant in active.tenancy(pair))


def test_a_compute_instance_has_the_memory_of_its_instance_and_a_part_of_its_sms(machine, owner, monkeypatch):
    owner.call("nvidia-smi", "-mig", "1")
    owner.call("nvidia-smi", "mig", "-cgi", "9")
    owner.call("nvidia-smi", "mig", "-cci", "0")
    found = find(machine.device)
    assert (found.profile, found.sm_count, found.memory_mib) == ("1c.3g.40gb", None, 40192)


REFUSED = {
    "exclusive": ({"compute_mode": "Exclusive_Process"}, {}, "lets one process compute at a time", "-c DEFAULT"),
    "prohibited": ({"compute_mode": "Prohibited"}, {}, "lets no process compute", "-c DEFAULT"),
    "no instance": ({"mig_enabled": True, "mig_pending": True}, {}, "there is no MIG device", "nvidia-smi -L"),
    "no daemon": ({}, {PIPE: "/nowhere"}, "no daemon answers at /nowhere", f"unset {PIPE}"),
    "no daemon for a limit": ({}, {PERCENTAGE: "50"}, "CUDA would take time slices", f"unset {PERCENTAGE}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_job_could_run_in_is_refused_with_the_next_step(machine, monkeypatch, case):
    state, environment, reason, command = REFUSED[case]
    machine.change(**state, privileged=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    why = why_unavailable([AsFound()], machine.device, allow_reset=False)["as-found"]
    assert reason in why.reason
    assert command in why.command
    with pytest.raises(ModeUnavailable), entered(AsFound(), machine.switch):
        pass
    assert machine.changes() == []


def test_of_several_instances_one_must_be_named(machine, owner, monkeypatch):
    first, second = owner.cut("9", "9")
    with pytest.raises(ModeUnavailable, match=f"shows 2 MIG devices.*\n.*CUDA_VISIBLE_DEVICES={first}"):
        find(machine.device)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", second)
    assert find(machine.device).device_id == second
    assert find(replace(machine.device, mig_uuid=first)).device_id == first
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "MIG-gone")
    with pytest.raises(ModeUnavailable, match="MIG-gone is not there"):
        find(machine.device)


def test_exclusive_process_with_a_daemon_is_what_clusters_give(machine, pair, given):
    machine.change(compute_mode="Exclusive_Process")
    given("daemon")
    with entered(AsFound(), machine.switch) as active:
        grants, seen = truth(active, pair)
        connect(machine, grants, seen)
        evidence = active.confirm(grants, seen)
        disconnect(machine)
    assert not failed(evidence)


def test_a_server_whose_daemon_nobody_named_is_refused(machine, owner, monkeypatch):
    owner.start_daemon(machine.device.uuid)
    with updated(machine.state_file) as state:
        state.start_server(state.daemons[0], 0)
    with pytest.raises(ModeUnavailable, match=f"(?s)an MPS server .*export {PIPE}=DIR"):
        find(machine.device)


@pytest.mark.parametrize("mode", [Exclusive(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_other_modes_need_the_whole_gpu(machine, owner, mode):
    (mine,) = owner.cut("9")
    part = replace(machine.switch, device=replace(machine.device, mig_uuid=mine))
    with pytest.raises(ModeUnavailable, match=f"only the MIG device {mine}.*--mode as-found"), entered(mode, part):
        pass
    assert mine in why_unavailable([mode], part.device, allow_reset=True)[mode.label].reason
