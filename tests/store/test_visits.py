"""Files under visits/: what switching took, whole or not at all, and never a number for what is not known."""

from datetime import UTC, datetime

import pytest

from bench.errors import RecordError
from bench.modes.helpers import Call
from bench.modes.stopwatch import Stopwatch, TimedCall
from bench.store.compose import visited
from bench.store.resume import supersede_broken_blocks


def stopwatch(enter_s=0.5, leave_s=None, second=0, calls=()):
    return Stopwatch(began_at=datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC), enter_s=enter_s, leave_s=leave_s,
                     calls=list(calls))  # fmt: skip


@pytest.fixture
def visit(schedule):
    """The visit to mps in the first block."""
    return next(visit for visit in schedule.blocks[0].visits if visit.mode.label == "mps")


@pytest.fixture
def keep(run, run_record, visit):
    return lambda **known: run.keep_visit(visited(run_record, visit, stopwatch(**known)))


def names(run):
    return sorted(file.name for file in run.visits_folder.iterdir())


def test_a_visit_has_one_file_that_learns_when_the_mode_is_left(run, keep):
    keep()
    assert [(each.enter_s, each.leave_s) for each in run.visits()] == [(0.5, None)]
    keep(leave_s=0.25)
    assert [(each.enter_s, each.leave_s) for each in run.visits()] == [(0.5, 0.25)]
    assert names(run) == ["b01-mps.json"]


def test_a_visit_that_is_resumed_has_a_file_for_each_part(run, keep):
    keep()
    keep(second=1, enter_s=0.75)
    keep(second=1, enter_s=0.75, leave_s=0.25)
    assert names(run) == ["b01-mps.2.json", "b01-mps.json"]
    assert {(each.enter_s, each.leave_s) for each in run.visits()} == {(0.5, None), (0.75, 0.25)}


def test_where_nothing_was_switched_there_is_nothing_to_keep(run_record, visit):
    assert visited(run_record, visit, Stopwatch()) is None


def test_calls_keep_their_steps_and_profiles_but_no_path_and_no_uuid(run_record, visit):
    made = "MIG-aaaa/1/0/3g.40gb/0,MIG-bbbb/2/0/2g.20gb/4"
    result = {"instances": made, "mode_changed": "no", "create_s": "0.125"}
    calls = [
        TimedCall("enter", Call("enable_mps", ("--pipe-directory", "/somewhere/pipe")), 1.25, None),
        TimedCall("prepare", Call("setup_mig", ("--layout", "9:0,14:4")), 0.5, result),
    ]
    record = visited(run_record, visit, stopwatch(calls=calls))
    failed, cut = record.calls
    assert (failed.succeeded, failed.options, failed.steps_s) == (False, ("--pipe-directory", "DIR"), {})
    assert (cut.succeeded, cut.instances, cut.steps_s) == (True, ("3g.40gb", "2g.20gb"), {"create": 0.125})
    assert not any(word in record.model_dump_json() for word in ("MIG-", "somewhere"))


def test_a_block_that_is_repeated_whole_takes_its_visits_along(run, keep, kept, schedule):
    keep()
    kept(schedule.blocks[0].visits[0].trials[:1], host={"boot_id": "another"})
    assert supersede_broken_blocks(run, schedule) == [1]
    assert list(run.visits()) == []
    assert (run.path / "superseded" / "b01-mps.json.1").is_file()


def test_a_damaged_file_is_named(run, keep):
    keep()
    (run.visits_folder / "b01-mps.json").write_text("{")
    with pytest.raises(RecordError, match=r"b01-mps\.json"):
        list(run.visits())
