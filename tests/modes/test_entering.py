"""Each mode is entered, proven, and left such that the device is as it was; the effects in their exact order."""

import shutil
from dataclasses import replace

import pytest

from bench.errors import DeviceError, ModeUnavailable, RestoreError
from bench.gpu.inventory import cpu_device
from bench.modes.contract import Grade, Identity
from bench.modes.entering import entered, recover
from bench.modes.journal import Journal
from bench.modes.mps_daemon import pipe_directory
from bench.plan.mode import CpuShared, Exclusive, Mig, MigMps, Mps, MpsEqual, MpsPartitions, TimeSlicing
from bench.simulator.driver.state import Daemon, GpuInstance

SMI, MPS = "nvidia-smi", "nvidia-cuda-mps-control"
START, QUIT = f"{MPS} -d", f"{MPS} <<< quit -t 10"
PARTED, ADD = f"{MPS} -d -S", f"{MPS} <<< sm_partition add "
WHOLE_CUT = [f"{SMI} mig -cgi 0:0 -C"]
WHOLE_CLEAR = [f"{SMI} mig -dci -gi 0", f"{SMI} mig -dgi -gi 0"]
MIG_ON, MIG_OFF = f"{SMI} -mig 1", f"{SMI} -mig 0"
CUT = [f"{SMI} mig -cgi 9:0,9:4 -C"]
CLEAR = [f"{SMI} mig -dci -gi 1,2", f"{SMI} mig -dgi -gi 1,2"]
SHARED, ALONE = f"{SMI} -c DEFAULT", f"{SMI} -c EXCLUSIVE_PROCESS"

LIMITED = Mps(active_thread_percentage=(70, 30), memory_limit_gib=(48, 24))
ALL_MODES = [Exclusive(), TimeSlicing(), Mps(), Mps(active_thread_percentage=50), LIMITED, MpsEqual(), Mig(),
             Mig(layout="3g.40gb+2g.20gb"), MpsPartitions(), MpsPartitions(chunks=(14, 13)), MigMps(),
             MigMps(layout="3g.40gb+2g.20gb")]  # fmt: skip
SHORT = TimeSlicing(time_slice="short")
SET, UNSET = (f"{SMI} compute-policy --set-timeslice {number}" for number in (1, 0))


@pytest.mark.parametrize("mode", ALL_MODES, ids=lambda mode: mode.label)
def test_a_mode_is_proven_and_restored(machine, pair, mode):
    before = machine.state()
    with entered(mode, machine.switch) as active:
        assert active.mode == mode
        assert active.evidence
        assert all(each.holds and each.grade is Grade.READ_BACK for each in active.evidence)
        assert len(active.tenancy(pair)) == 2
        assert Journal.read(machine.device).mode == mode.label
    assert machine.state() == before
    assert Journal.read(machine.device) is None


def test_a_time_slice_policy_is_requested_and_no_more(machine, pair):
    with entered(SHORT, machine.switch) as active:
        assert "time_slice Short" in machine.state()
        *state, policy = active.evidence
        assert {each.grade for each in state} == {Grade.READ_BACK}
        assert (policy.expected, policy.observed, policy.grade) == ("short", None, Grade.REQUESTED_ONLY)
        assert "no tool reads it back" in policy.claim
    assert "time_slice Default" in machine.state()


NOT_SUPPORTED = "Failed to set timeslice policy with value Short for GPU 0 : Not Supported\n"
REFUSALS = [
    ({"action": "fail", "rc": 3, "text": NOT_SUPPORTED}, {}, "Not Supported"),
    ({}, {"privileged": False}, "Insufficient Permissions"),
    ({}, {"persistence": False}, "without persistence mode"),
]


@pytest.mark.parametrize(("fault", "found", "words"), REFUSALS, ids=[words for *_, words in REFUSALS])
def test_a_refused_policy_is_skipped_and_nothing_is_put_back(machine, fault, found, words):
    machine.change(**found)
    machine.faults(*([{"tool": SMI, "match": "set-timeslice", **fault}] if fault else []))
    before = machine.state()
    with pytest.raises(ModeUnavailable, match=words), entered(SHORT, machine.switch):
        pytest.fail("entered")
    assert machine.state() == before
    assert UNSET not in machine.changes()
    assert Journal.read(machine.device) is None


def test_a_policy_that_could_not_be_put_back_is_told_although_no_state_shows_it(machine):
    with pytest.raises(RestoreError, match="mode restore"), entered(SHORT, machine.switch):
        machine.faults(
            {"tool": SMI, "match": "set-timeslice 0", "action": "fail", "rc": 255, "text": "Unknown Error"}
        )
    assert Journal.read(machine.device) is not None
    machine.faults()
    recover(machine.switch)
    assert "time_slice Default" in machine.state()
    assert Journal.read(machine.device) is None


def test_limits_that_exceed_the_device_for_a_larger_mix_skip_that_mix(machine, pair):
    limited = Mps(memory_limit_gib=50)
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(limited, machine.switch) as active:
        assert active.tenancy(one)[0].memory_limit_mib == 51200
        with pytest.raises(ModeUnavailable, match="add up to 102400 MiB for 2 jobs"):
            active.tenancy(pair)


FOUND = {"as delivered": {}, "exclusive": {"compute_mode": "Exclusive_Process"},
         "MIG on, empty": {"mig_enabled": True, "mig_pending": True},
         "MIG on and exclusive": {"mig_enabled": True, "mig_pending": True, "compute_mode": "Exclusive_Process"},
         }  # fmt: skip
EFFECTS = [
    (Exclusive(), "as delivered", []),
    (TimeSlicing(), "as delivered", []),
    (TimeSlicing(), "exclusive", [SHARED, ALONE]),
    (SHORT, "as delivered", [SET, UNSET]),
    (SHORT, "exclusive", [SHARED, SET, ALONE, UNSET]),
    (SHORT, "MIG on, empty", [MIG_OFF, SET, UNSET, MIG_ON]),
    (TimeSlicing(), "MIG on, empty", [MIG_OFF, MIG_ON]),
    (TimeSlicing(), "MIG on and exclusive", [MIG_OFF, SHARED, ALONE, MIG_ON]),
    (Mps(), "as delivered", [START, QUIT]),
    (Mps(), "exclusive", [SHARED, START, QUIT, ALONE]),
    (MpsEqual(), "MIG on, empty", [MIG_OFF, START, QUIT, MIG_ON]),
    (MpsPartitions(), "as delivered", [PARTED, QUIT, PARTED, f"{ADD}13", f"{ADD}13", QUIT]),
    (MpsPartitions(chunks=(14, 6)), "exclusive", [SHARED, PARTED, f"{ADD}14", f"{ADD}6", QUIT, ALONE]),
    (MigMps(), "as delivered", [MIG_ON, *WHOLE_CUT, START, QUIT, *WHOLE_CLEAR, MIG_OFF]),
    (MigMps(layout="3g.40gb+3g.40gb"), "MIG on, empty", [*CUT, START, START, QUIT, QUIT, *CLEAR]),
    (Mig(), "as delivered", [MIG_ON, *CUT, *CLEAR, MIG_OFF]),
    (Mig(), "exclusive", [SHARED, MIG_ON, *CUT, *CLEAR, MIG_OFF, ALONE]),
    (Mig(), "MIG on, empty", [*CUT, *CLEAR]),
    (Mig(), "MIG on and exclusive", [MIG_OFF, SHARED, MIG_ON, *CUT, *CLEAR, MIG_OFF, ALONE, MIG_ON]),
]


@pytest.mark.parametrize(("mode", "found", "effects"), EFFECTS, ids=lambda each: getattr(each, "label", None))
def test_the_effects_of_a_visit_in_order(machine, pair, mode, found, effects):
    machine.change(**FOUND[found])
    before = machine.state()
    with entered(mode, machine.switch) as active:
        active.tenancy(pair)
        active.tenancy(pair)  # cut so already
    assert machine.changes() == effects
    assert machine.state() == before


def test_mig_is_cut_anew_for_a_mix_of_another_size(machine, pair):
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(Mig(), machine.switch) as active:
        assert [grant.share for grant in active.tenancy(pair)] == ["3g.40gb", "3g.40gb"]
        assert [(grant.share, grant.sm_count) for grant in active.tenancy(one)] == [("7g.80gb", 98)]
    assert machine.changes() == [
        MIG_ON, *CUT, *CLEAR, f"{SMI} mig -cgi 0:0 -C",
        f"{SMI} mig -dci -gi 0", f"{SMI} mig -dgi -gi 0", MIG_OFF,
    ]  # fmt: skip


def test_daemons_are_stopped_before_their_instances_go(machine, pair):
    """Three jobs share two instances, two share one."""
    three = pair.model_copy(update={"jobs": (*pair.jobs, pair.jobs[0])})
    with entered(MigMps(), machine.switch) as active:
        grants = active.tenancy(three)
        assert [grant.share for grant in grants] == ["3g.40gb"] * 3
        assert grants[0] == grants[2] != grants[1]
        assert [grant.sm_count for grant in active.tenancy(pair)] == [98, 98]
        undo = [call.helper for call in Journal.read(machine.device).undo]
        assert undo == ["disable_mps", "disable_mps", "disable_mig"]
    assert machine.changes() == [
        MIG_ON, *CUT, START, START, QUIT, QUIT, *CLEAR, *WHOLE_CUT, START, QUIT, *WHOLE_CLEAR, MIG_OFF,
    ]  # fmt: skip


def test_partitions_are_made_anew_for_a_mix_of_another_size(machine, pair):
    one = pair.model_copy(update={"jobs": pair.jobs[:1]})
    with entered(MpsPartitions(), machine.switch) as active:
        assert [(grant.share, grant.sm_count) for grant in active.tenancy(pair)] == [("13 chunks", 52)] * 2
        assert [(grant.share, grant.sm_count) for grant in active.tenancy(one)] == [("27 chunks", 108)]


@pytest.mark.parametrize("mode", [MpsPartitions(), MigMps()], ids=lambda mode: mode.label)
def test_a_daemon_that_did_not_start_is_started_for_the_next_trial(machine, pair, mode):
    with entered(mode, machine.switch) as active:
        active.tenancy(pair.model_copy(update={"jobs": pair.jobs[:1]}))
        three = pair.model_copy(update={"jobs": (*pair.jobs, pair.jobs[0])})
        machine.faults({"tool": MPS, "match": "-d", "action": "fail", "rc": 1, "times": 1})
        with pytest.raises(DeviceError, match="nvidia-cuda-mps-control -d failed"):
            active.tenancy(three)
        assert len(active.tenancy(three)) == 3
        assert all(each.holds for each in active.inspect())


def test_more_chunks_than_there_are_is_no_mode_of_this_device(machine, pair):
    before = machine.state()
    mode = MpsPartitions(chunks=(20, 8))
    with pytest.raises(ModeUnavailable, match="28 chunks are asked for, it has 27"), entered(mode, machine.switch):
        pytest.fail("entered")
    assert machine.state() == before


def test_more_jobs_than_chunks_is_no_mix_for_partitions(machine, pair):
    crowd = pair.model_copy(update={"jobs": pair.jobs * 14})
    with (
        entered(MpsPartitions(), machine.switch) as active,
        pytest.raises(ModeUnavailable, match="28 tenants need 28 chunks of SMs; this GPU has 27"),
    ):
        active.tenancy(crowd)


@pytest.mark.parametrize("mode", [TimeSlicing(), Mps(), Mig()], ids=lambda mode: mode.label)
def test_foreign_instances_are_left_alone(machine, mode):
    machine.change(mig_enabled=True, mig_pending=True, instances=[GpuInstance(1, 9, 4)])
    before = machine.state()
    with pytest.raises(ModeUnavailable, match=r"did not make.*disable_mig\.sh"), entered(mode, machine.switch):
        pytest.fail("entered")
    assert machine.state() == before
    assert machine.changes() == []
    assert Journal.read(machine.device) is None


@pytest.mark.parametrize("mode", [Exclusive(), TimeSlicing(), Mps()], ids=lambda mode: mode.label)
def test_a_foreign_mps_server_spoils_the_mode_and_lives_on(machine, mode):
    uuid = machine.device.uuid
    machine.change(daemons=[Daemon(4194400, "/run/theirs", uuid, server_pid=4194401, server_uid=0)])
    before = machine.state()
    with (
        pytest.raises(DeviceError, match=r"MPS servers on the device is \[4194401\]"),
        entered(mode, machine.switch),
    ):
        pytest.fail("entered")
    assert machine.state() == before


def test_a_foreign_mps_server_with_exclusive_compute_mode_is_refused(machine):
    """Changing the compute mode under somebody's daemon would break it."""
    daemon = Daemon(4194400, "/run/theirs", machine.device.uuid, server_pid=4194401, server_uid=0)
    machine.change(daemons=[daemon], compute_mode="Exclusive_Process")
    before = machine.state()
    with pytest.raises(ModeUnavailable, match="an MPS server runs on it"), entered(TimeSlicing(), machine.switch):
        pytest.fail("entered")
    assert machine.state() == before


def test_without_the_users_leave_nothing_is_reset(make_machine):
    machine = make_machine(allow_reset=False)
    before = machine.state()
    with pytest.raises(ModeUnavailable, match="--allow-reset"), entered(Mig(), machine.switch):
        pytest.fail("entered")
    assert machine.state() == before
    assert machine.changes() == []


LOCK, UNLOCK = f"{SMI} -lgc 1395,1395", f"{SMI} -rgc"


def test_the_clock_is_locked_last_and_unlocked_first(machine, pair):
    locked = replace(machine.switch, sm_clock_mhz=1395)
    with entered(Mig(), locked) as active:
        assert "clock_lock 1395,1395" in machine.state()
        active.tenancy(pair)
        (claim,) = [each for each in active.evidence if "clock" in each.claim]
    assert (claim.expected, claim.grade) == (1395, Grade.REQUESTED_ONLY)
    assert machine.changes() == [MIG_ON, LOCK, *CUT, UNLOCK, *CLEAR, MIG_OFF]
    assert "clock_lock -" in machine.state()


def test_a_lock_that_is_refused_is_not_undone(machine):
    """Who may not lock may not unlock, and the device would never count as put back."""
    machine.change(privileged=False)
    with (
        pytest.raises(ModeUnavailable, match="does not have permission"),
        entered(Mps(), replace(machine.switch, sm_clock_mhz=1395)),
    ):
        pytest.fail("entered")
    assert machine.changes() == [START, LOCK, QUIT]
    assert Journal.read(machine.device) is None


def test_hopper_turns_mig_on_without_a_reset(make_machine, pair):
    machine = make_machine("h100-80gb", allow_reset=False)
    with entered(Mig(), machine.switch) as active:
        assert {grant.share for grant in active.tenancy(pair)} == {"3g.40gb"}


def test_a_board_without_mig_says_so(make_machine):
    machine = make_machine("rtx-4090")
    with pytest.raises(ModeUnavailable, match="no MIG"), entered(Mig(), machine.switch):
        pytest.fail("entered")


def test_a_device_that_is_in_use_is_not_cut(machine):
    machine.change(holder="nvidia-persistenced")
    before = machine.state()
    with pytest.raises(ModeUnavailable, match="held by"), entered(Mig(), machine.switch):
        pytest.fail("entered")
    assert machine.state() == before


def test_an_error_inside_passes_after_the_device_is_restored(machine):
    before = machine.state()
    with pytest.raises(ZeroDivisionError), entered(Mps(), machine.switch):
        raise ZeroDivisionError
    assert machine.state() == before


@pytest.mark.parametrize("mode", [Mps(), Mig(), TimeSlicing()], ids=lambda mode: mode.label)
def test_what_a_killed_runner_left_is_undone_by_the_next(machine, pair, mode):
    machine.change(compute_mode="Exclusive_Process")
    before = machine.state()
    folder, at_the_kill = machine.device.state_folder, machine.fault_file.with_name("copy")
    with entered(mode, machine.switch) as active:
        active.tenancy(pair)
        shutil.copytree(folder, at_the_kill)
    shutil.rmtree(folder)
    at_the_kill.rename(folder)
    assert machine.state() != before
    with entered(Exclusive(), machine.switch):
        assert not [fact for fact in machine.state() if fact.startswith(("instance ", "daemon "))]
    assert machine.state() == before
    assert not pipe_directory(machine.device).exists()


def test_a_journal_that_cannot_be_read_is_not_guessed(machine):
    Journal.path(machine.device).write_text('{"mode": "mps"')
    with pytest.raises(DeviceError, match=r"journal\.json: cannot be read.*status\.sh"):
        recover(machine.switch)


def test_a_journal_survives_the_disk(machine):
    with entered(Mig(), machine.switch):
        kept = Journal.read(machine.device)
    kept.write(machine.device)
    assert Journal.read(machine.device) == kept
    assert recover(machine.switch) == kept


def test_the_cpu_has_nothing_to_switch(machine, pair):
    switch = replace(machine.switch, device=cpu_device())
    with entered(CpuShared(), switch) as active:
        assert [grant.device_id for grant in active.tenancy(pair)] == [None, None]
        assert [each.grade for each in active.evidence] == [Grade.HOST_ONLY]
        seen = [Identity("a", device_name="cpu"), Identity("b", device_uuid="GPU-1")]
        assert [each.holds for each in active.confirm(active.tenancy(pair), seen)] == [True, False]
    assert machine.changes() == []
