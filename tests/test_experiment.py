"""The story in its order, on a simulated GPU: what is done to the device, what is recorded, and what ends a run.

The effects are a plain list of lines, written by scripts in front of the driver's tools and by the onlooker.
"""

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import RestoreError
from bench.experiment import Experiment
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan
from bench.plan.schedule import make_schedule
from bench.progress import Progress
from bench.rig import find_device, reserved
from bench.simulator.driver.accidents import kill_daemon
from bench.simulator.driver.state import Client, updated
from bench.store.record import RunRecord, Status
from bench.store.run_folder import RunFolder

PLAN = """\
modes: [{modes}]
mixes: {{pair: [resnet50-training, bert-base-training]}}
timing: smoke
blocks: {blocks}
"""
LOGGED = """#!/bin/sh
[ $# -gt 0 ] || said=$(cat)
echo "{tool} ${{*:-$said}}" >>{log}
if [ $# -gt 0 ]; then exec {real} "$@"; else echo "$said" | {real}; fi
"""
CHANGES = {"-mig 1": "MIG on", "-mig 0": "MIG off", "-cgi": "cut", "-dgi": "clear", "control -d": "MPS on",
           "quit": "MPS off"}  # fmt: skip


class Onlooker(Progress):
    """Writes down each trial that has ended."""

    def __init__(self, schedule, effects, other):
        super().__init__(schedule, 0, quiet=True)
        self.effects, self.other = effects, other

    def ended(self, record, corun):
        super().ended(record, corun)
        with self.effects.open("a") as file:
            file.write(f"trial {record.block} {record.mode_label} {record.role} {record.status}\n")
        self.other("recorded")


class Overlooked:
    """A launcher beside which somebody else does something at certain moments."""

    def __init__(self, launcher, other):
        self.launcher, self.other = launcher, other
        self.name, self.provenance = launcher.name, launcher.provenance

    def start(self, tenant):
        handle = self.launcher.start(tenant)
        self.other("started")
        remove = handle.remove
        handle.remove = lambda: (remove(), self.other("removed"))
        return handle


class Story:
    """A run in a folder of its own, whose effects can be read."""

    def __init__(self, folder, modes, blocks=1, device="simulated:a100-80gb"):
        self.folder, self.effects = folder, folder / "effects"
        plan = PLAN.format(modes=modes, blocks=blocks)
        self.schedule = make_schedule(read_plan(plan, "a plan", load_catalog()), seed=3)
        self.device = self._logged(find_device(device))
        record = RunRecord(
            run_id="run", simulated=True, plan_source="a plan", modes=None, preset=False, seed=3,
            device_request=device, launcher_request="auto", allow_reset=False, device={}, software={},
            created_at="",
        )  # fmt: skip
        self.run = RunFolder.create(folder / "results", record, plan)

    def _logged(self, device):
        tools = self.folder / "bin"
        tools.mkdir()
        for real in (device.state_folder / "driver" / "bin").iterdir():
            (tools / real.name).write_text(LOGGED.format(tool=real.name, log=self.effects, real=real))
            (tools / real.name).chmod(0o755)
        return replace(device, environment={"PATH": f"{tools}:{device.environment['PATH']}"})

    def conduct(self, **others):
        """Conduct the run; `others` are what somebody else does to the driver's state, once, and when."""

        def other(now):
            if now in others:
                with updated(self.device.state_folder / "driver" / "state.txt") as state:
                    others.pop(now)(state)

        with (
            reserved(self.device, "auto", False, []) as rig,
            Onlooker(self.schedule, self.effects, other) as progress,
        ):
            watched = replace(rig, launcher=Overlooked(rig.launcher, other))
            Experiment(watched, self.run, load_catalog(), progress).conduct(self.schedule)

    def told(self):
        """What was done to the device, and which trials ended, in order."""
        lines = [line for line in self.effects.read_text().splitlines() if "query" not in line]
        words = [line if line.startswith("trial") else _change(line) for line in lines]
        return [word for word in words if word]

    def only(self, mode):
        """The first block, with the visit of one mode alone."""
        block = self.schedule.blocks[0]
        return replace(block, visits=tuple(visit for visit in block.visits if visit.mode.label == mode))

    def reasons(self):
        """Why each trial is not ok, in the order in which they ran; None where it is."""
        records = {record.id: record.reason for record in self.run.trials()}
        return [records[trial.id] for trial in self.schedule.trials]

    def by_mode(self):
        return {record.mode_label: (record.status, record.reason) for record in self.run.trials()}


def _change(line):
    return next((word for part, word in CHANGES.items() if part in line), None)


@pytest.fixture
def folder(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))  # short: an MPS socket must fit in 107 bytes
    monkeypatch.setenv("BENCH_STATE_DIR", str(folder))
    monkeypatch.setenv("BENCH_SIM_FAULTS", str(folder / "faults.json"))
    faults(folder)
    yield folder
    shutil.rmtree(folder)


def faults(folder, *rules):
    (folder / "faults.json").write_text(json.dumps(rules))


def visits(story):
    """What each visit of the schedule must look like from outside."""
    around = {"mps": (["MPS on"], ["MPS off"]), "mig": (["MIG on", "cut"], ["clear", "MIG off"])}
    for block in story.schedule.blocks:
        for visit in block.visits:
            before, after = around.get(visit.mode.label, ([], []))
            trials = [f"trial {block.index} {visit.mode.label} {trial.role} ok" for trial in visit.trials]
            yield [*before, *trials, *after]


def test_each_mode_is_entered_once_a_block_and_left_before_the_next(folder):
    story = Story(folder, "time-slicing, mps, mig", blocks=2)
    story.conduct()
    assert story.told() == [line for visit in visits(story) for line in visit]


def test_what_is_recorded_is_not_measured_again(folder):
    story = Story(folder, "mps")
    story.conduct()
    before = story.told()
    story.conduct()
    assert story.told() == before


def test_a_mode_that_cannot_be_entered_skips_its_trials_and_the_sweep_goes_on(folder):
    story = Story(folder, "time-slicing, mig", device="simulated:rtx-4090")
    story.conduct()
    found = story.by_mode()
    assert found["mig"][0] is Status.SKIPPED
    assert "MIG" in found["mig"][1]
    assert (found["exclusive"], found["time-slicing"]) == ((Status.OK, None), (Status.OK, None))


def test_a_mode_that_is_not_there_after_it_was_set_makes_its_trials_invalid(folder):
    faults(folder, {"tool": "nvidia-cuda-mps-control", "match": "-d", "action": "fail", "rc": 1, "text": "no\n"})
    story = Story(folder, "time-slicing, mps")
    story.conduct()
    found = story.by_mode()
    assert found["mps"][0] is Status.INVALID
    assert "enable_mps.sh" in found["mps"][1]
    assert found["time-slicing"] == (Status.OK, None)


def test_a_fault_in_one_trial_spoils_no_other(folder):
    faults(folder, {"tool": "nvidia-smi", "match": "-cgi", "action": "fail", "rc": 255, "text": "x\n", "times": 1})
    story = Story(folder, "mig")
    story.conduct()
    statuses = [record.status for record in story.run.trials() if record.mode_label == "mig"]
    assert sorted(statuses) == [Status.INVALID, Status.OK, Status.OK]


def test_tenants_that_missed_mps_make_the_trial_invalid_with_the_evidence(folder):
    rule = {"tool": "nvidia-cuda-mps-control", "match": "get_client_list", "action": "lie", "text": ""}
    faults(folder, rule)
    story = Story(folder, "mps")
    story.conduct()
    (record,) = [record for record in story.run.trials() if record.mode_label == "mps"]
    assert record.status is Status.INVALID
    assert "is a client of the MPS server" in record.reason
    assert {each["holds"] for each in record.evidence} == {True, False}
    assert record.window is None


def test_each_visit_leaves_what_switching_took(folder):
    story = Story(folder, "time-slicing, mps, mig")
    story.conduct()
    visits = {visit.mode_label: visit for visit in story.run.visits()}
    assert visits.keys() == {"exclusive", "time-slicing", "mps", "mig"}
    for visit in visits.values():
        assert visit.enter_s > sum(call.duration_s for call in visit.calls if call.phase == "enter")
        assert visit.leave_s > sum(call.duration_s for call in visit.calls if call.phase == "leave")
        assert all(sum(call.steps_s.values()) < call.duration_s for call in visit.calls)
    assert visits["time-slicing"].calls == ()
    assert [(call.phase, call.helper, *call.steps_s) for call in visits["mig"].calls] == [
        ("enter", "setup_mig", "mode"),
        ("prepare", "setup_mig", "create"),
        ("leave", "disable_mig", "destroy", "mode"),
    ]
    assert visits["mig"].calls[1].instances == ("3g.40gb", "3g.40gb")


def test_what_was_not_entered_or_left_has_no_duration(folder):
    faults(folder, {"tool": "nvidia-cuda-mps-control", "match": "-d", "action": "fail", "rc": 1, "text": "no\n"})
    story = Story(folder, "time-slicing, mps")
    story.conduct()
    visits = {visit.mode_label: visit for visit in story.run.visits()}
    assert visits["mps"].enter_s is None
    assert [call.succeeded for call in visits["mps"].calls if call.helper == "enable_mps"] == [False]
    assert visits["time-slicing"].enter_s


def test_a_device_that_cannot_be_put_back_ends_the_run(folder):
    faults(folder, {"tool": "nvidia-smi", "match": "-mig 0", "action": "lie", "text": "All done.\n"})
    story = Story(folder, "mig, mps", blocks=2)
    with pytest.raises(RestoreError, match="could not be put back after mode mig"):
        story.conduct()
    (visit,) = [visit for visit in story.run.visits() if visit.mode_label == "mig"]
    assert visit.enter_s
    assert visit.leave_s is None
    told = story.told()
    assert told.count("MIG on") == 1
    assert told[-1] == "MIG off"
    ended = [visit.mode.label for visit in story.schedule.blocks[0].visits]
    done = ended[: ended.index("mig") + 1]
    assert {record.mode_label for record in story.run.trials()} == set(done)


def intrude(state):
    """Start a process of somebody else."""
    state.clients.append(Client(4200000, "theirs.py", state.gpu_uuid, 500))


@pytest.mark.parametrize(
    ("when", "first"),
    [
        ("started", r"mode not proven: foreign processes on the device: .*4200000 \(theirs\.py\)"),
        ("removed", r"after the window: foreign processes on the device: .*4200000 \(theirs\.py\)"),
    ],
)
def test_a_foreign_process_spoils_the_trial_and_keeps_the_next_from_beginning(folder, when, first):
    story = Story(folder, "time-slicing")
    story.conduct(**{when: intrude})
    reasons = story.reasons()
    assert re.search(first, reasons[0])
    assert len(reasons) == 3
    assert all("not idle: somebody computes on it: 4200000 (theirs.py)" in reason for reason in reasons[1:])


def test_a_foreign_process_that_comes_between_two_trials_is_found_beside_the_tenants(folder):
    story = Story(folder, "time-slicing")
    story.schedule = replace(story.schedule, blocks=(story.only("exclusive"),))
    story.conduct(recorded=intrude)
    first, second = story.reasons()
    assert first is None
    assert "mode not proven: foreign processes on the device" in second


@pytest.mark.parametrize("mode", ["time-slicing", "mig"])
def test_a_mode_that_somebody_changes_in_the_window_was_not_measured(folder, mode):
    """Their change is there when the jobs are gone, and taken back when the record is written."""
    story = Story(folder, mode)
    story.conduct(
        removed=lambda state: setattr(state, "compute_mode", "Prohibited"),
        recorded=lambda state: setattr(state, "compute_mode", "Default"),
    )
    first, *others = story.reasons()
    assert first == "mode not proven: after the window: compute mode: expected Default, seen Prohibited"
    assert others == [None] * len(others)


def test_a_daemon_that_dies_in_the_window_is_missed_after_it(folder):
    story = Story(folder, "mps")
    story.schedule = replace(story.schedule, blocks=(story.only("mps"),))
    story.conduct(removed=lambda state: kill_daemon(state, state.daemons[0].pipe_directory))
    (reason,) = story.reasons()
    assert "after the window: MPS daemon answers" in reason


def test_a_device_that_is_lost_in_the_window_is_no_fault_of_the_jobs(folder):
    story = Story(folder, "mps")
    story.schedule = replace(story.schedule, blocks=(story.only("exclusive"),))
    story.conduct(
        removed=lambda state: setattr(state, "lost", True), recorded=lambda state: setattr(state, "lost", False)
    )
    first, second = story.reasons()
    assert "after the window: the device answers" in first
    assert second is None
