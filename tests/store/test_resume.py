from datetime import timedelta

import pytest

from bench.clock import utc_now
from bench.plan.schedule import Role
from bench.store.resume import supersede_broken_blocks
from bench.store.software import boot_id


def ago(**time):
    return {"ended_at": (utc_now() - timedelta(**time)).isoformat(), "boot_id": boot_id()}


def block_of(schedule, number):
    return [trial for trial in schedule.trials if trial.block == number]


def names(run):
    return sorted(record.id for record in run.trials())


def test_a_run_without_trials_has_nothing_to_repeat(run, schedule):
    assert supersede_broken_blocks(run, schedule) == []


def test_a_block_goes_on_after_a_short_pause(run, schedule, kept):
    kept(block_of(schedule, 1)[:2], ago(minutes=59))
    assert supersede_broken_blocks(run, schedule) == []
    assert len(names(run)) == 2


@pytest.mark.parametrize("host", [ago(minutes=61), {**ago(seconds=1), "boot_id": "another boot"}])
def test_a_half_block_is_repeated_whole_after_a_long_pause_or_a_reboot(run, schedule, kept, host):
    whole, half = block_of(schedule, 1), block_of(schedule, 2)[:2]
    kept([*whole, *half], host)
    assert supersede_broken_blocks(run, schedule) == [2]
    assert names(run) == sorted(trial.id for trial in whole)  # a whole block stays, however old
    assert len(list((run.path / "superseded").iterdir())) == 2


def test_the_last_trial_counts_not_the_first(run, schedule, kept):
    first, second = block_of(schedule, 1)[:2]
    kept([first], ago(hours=5))
    kept([second], ago(minutes=1))
    assert supersede_broken_blocks(run, schedule) == []


def test_one_trial_before_a_reboot_is_enough(run, schedule, kept):
    first, second = block_of(schedule, 1)[:2]
    kept([first], {**ago(minutes=2), "boot_id": "another boot"})
    kept([second], ago(minutes=1))
    assert supersede_broken_blocks(run, schedule) == [1]


def test_a_simulated_block_always_goes_on(run, schedule, kept):
    kept(block_of(schedule, 1)[:1], {**ago(days=9), "boot_id": "another boot"}, simulated=True)
    assert supersede_broken_blocks(run, schedule) == []


def test_a_block_can_be_broken_twice(run, schedule, kept):
    solo = [trial for trial in block_of(schedule, 1) if trial.role is Role.SOLO]
    for _ in range(2):
        kept(solo[:1], ago(hours=2))
        assert supersede_broken_blocks(run, schedule) == [1]
    assert len(list((run.path / "superseded").iterdir())) == 2
