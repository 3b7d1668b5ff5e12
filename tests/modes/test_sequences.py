"""Whatever happens in whatever order: the device ends as it was, but for what others did, and no label is wrong.

Random short sequences of entering, measuring, leaving, a crash of the runner, the next runner's recovery, and
other people who change the compute mode, make a MIG instance or start an MPS server, on the stand-in driver.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from bench.errors import BenchError, DeviceError, ModeUnavailable, RestoreError
from bench.gpu.lock import held
from bench.modes.contract import Identity
from bench.modes.entering import entered, recover
from bench.modes.journal import Journal
from bench.modes.mps import PERCENTAGE_VARIABLE
from bench.modes.mps_partitions import PARTITION_VARIABLE
from bench.modes.proof import PIPE_VARIABLE
from bench.modes.switch import Switch
from bench.plan.mode import Mig, MigMps, Mps, MpsPartitions, TimeSlicing
from bench.plan.model import Job, Mix
from bench.simulator.driver.cuda import RefusedError, granted_sms, memory_mib
from bench.simulator.driver.state import Daemon, DriverState, GpuInstance, updated
from bench.simulator.machine import simulated_device

SEQUENCES, STEPS = 200, 6
MODES = [
    TimeSlicing(), TimeSlicing(time_slice="short"), Mps(active_thread_percentage=50),
    Mps(active_thread_percentage=(70, 30), memory_limit_gib=(40, 20)), Mig(layout="2g.20gb+2g.20gb"),
    MpsPartitions(chunks=(7, 6)), MigMps(layout="2g.20gb+2g.20gb"),
]  # fmt: skip
PAIR = Mix(name="pair", jobs=(Job(workload="resnet50-training"), Job(workload="bert-base-training")))
THEIR_INSTANCE = GpuInstance(13, 19, 6)  # in the last slices, where none of ours lies
THEIR_PID = 4194401


class Visits(RuleBasedStateMachine):
    """One H100, runners of ours one after another, and somebody else."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("BENCH_STATE_DIR", str(self.root))
        self.device = simulated_device("h100-80gb")
        self.state_file = self.device.state_folder / "driver" / "state.txt"
        self.lock = held(self.device)
        self.switch = Switch(self.device, False, self.lock.__enter__().fd)
        self.start = self.facts()
        self.visit, self.active = None, None
        self.theirs = {}  # what somebody else changed: the field, and its value before

    def facts(self):
        return [fact for fact in self.state_file.read_text().splitlines() if not fact.startswith("next_pid ")]

    # --- our runners -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.visit is None)
    @rule(mode=st.sampled_from(MODES))
    def enter(self, mode):
        visit = entered(mode, self.switch)
        try:
            self.active = visit.__enter__()
        except (ModeUnavailable, DeviceError, RestoreError):
            assert self.theirs, "nobody else did anything"
        else:
            self.visit, self.found = visit, set(self.theirs)

    @precondition(lambda self: self.visit is not None)
    @rule()
    def measure(self):
        """Run two honest tenants: proven unless somebody has changed something since the mode was entered."""
        proven = False
        with suppress(DeviceError, RefusedError):
            grants = self.active.tenancy(PAIR)
            seen = [self.tenant(slot, grant) for slot, grant in enumerate(grants)]
            proven = all(each.holds for each in self.active.confirm(grants, seen))
        self.change(lambda state: setattr(state, "clients", []))
        assert proven == (set(self.theirs) <= self.found)

    def tenant(self, slot, grant):
        pid, pipe = 5000000 + slot, grant.environment.get(PIPE_VARIABLE)
        percentage, part = (grant.environment.get(name) for name in (PERCENTAGE_VARIABLE, PARTITION_VARIABLE))
        with updated(self.state_file) as state:
            state.add_client(pid, "python", grant.device_id, 500, mps_pipe_directory=pipe, sm_partition=part)
            share = None if percentage is None else float(percentage)
            sms = granted_sms(state, grant.device_id, share, pipe, part)
            return Identity(
                PAIR.tenants[slot], state.gpu_name, grant.device_id, sms, memory_mib(state, grant.device_id), pipe,
                share, host_pids=(pid,), allocatable_mib=grant.memory_limit_mib,
            )  # fmt: skip

    @precondition(lambda self: self.visit is not None)
    @rule()
    def leave(self):
        visit, self.visit = self.visit, None
        try:
            visit.__exit__(None, None, None)
        except RestoreError:
            assert self.theirs, "nobody else did anything"

    @precondition(lambda self: self.visit is not None)
    @rule()
    def crash(self):
        """Take back all that the runner does on its way out: so it looks if it is killed now."""
        folder, kept = self.device.state_folder, self.root / "kept"
        shutil.copytree(folder, kept)
        self.leave()
        shutil.rmtree(folder)
        kept.rename(folder)

    @precondition(lambda self: self.visit is None)
    @rule()
    def restore(self):
        try:
            recover(self.switch)
        except RestoreError:
            assert self.theirs, "nobody else did anything"

    # --- somebody else -----------------------------------------------------------------------------------------

    def change(self, how):
        with updated(self.state_file) as state:
            how(state)

    @precondition(lambda self: "compute_mode" not in self.theirs)
    @rule(mode=st.sampled_from(["Exclusive_Process", "Prohibited"]))
    def they_change_the_compute_mode(self, mode):
        self.theirs["compute_mode"] = mode
        self.change(lambda state: setattr(state, "compute_mode", mode))

    @precondition(lambda self: "instance" not in self.theirs and DriverState.load(self.state_file).mig_enabled)
    @rule()
    def they_make_an_instance(self):
        self.theirs["instance"] = THEIR_INSTANCE
        self.change(lambda state: state.instances.append(THEIR_INSTANCE))

    @precondition(lambda self: "daemon" not in self.theirs)
    @rule()
    def they_start_mps(self):
        daemon = Daemon(THEIR_PID - 1, "/run/theirs", self.device.uuid, server_pid=THEIR_PID, server_uid=0)
        self.theirs["daemon"] = daemon
        self.change(lambda state: state.daemons.append(daemon))

    @precondition(lambda self: self.theirs)
    @rule()
    def they_take_everything_back(self):
        """All but a compute mode that a runner of ours found and will put back."""
        journal = Journal.read(self.device)
        kept = {"compute_mode"} if journal and journal.before.compute_mode != "Default" else set()
        kept = {key: value for key, value in self.theirs.items() if key in kept}
        self.theirs = {key: value for key, value in self.theirs.items() if key not in kept}
        self.change(self.without_them)
        self.theirs = kept

    def without_them(self, state):
        state.instances = [each for each in state.instances if each != self.theirs.get("instance")]
        state.daemons = [each for each in state.daemons if each != self.theirs.get("daemon")]
        if "compute_mode" in self.theirs:
            state.compute_mode = "Default"

    # --- what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def what_is_theirs_is_there(self):
        state = DriverState.load(self.state_file)
        assert "instance" not in self.theirs or self.theirs["instance"] in state.instances
        assert "daemon" not in self.theirs or self.theirs["daemon"] in state.daemons

    @invariant()
    def without_a_journal_only_theirs_differs(self):
        if Journal.read(self.device) is None:
            state = DriverState.load(self.state_file)
            assert state.compute_mode == self.theirs.get("compute_mode", "Default")
            self.without_them(state)
            assert [
                fact for fact in state.to_text().splitlines() if not fact.startswith("next_pid ")
            ] == self.start

    def teardown(self):
        """Leave, have them take back what is theirs, and restore: nothing may be left."""
        try:
            if self.visit is not None:
                self.leave()
            self.they_take_everything_back()
            recover(self.switch)
            self.they_take_everything_back()
            assert self.facts() == self.start
            assert Journal.read(self.device) is None
        finally:
            with suppress(BenchError):
                self.lock.__exit__(None, None, None)
            self.patch.undo()
            shutil.rmtree(self.root)


def test_any_sequence():
    run_state_machine_as_test(
        Visits,
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
