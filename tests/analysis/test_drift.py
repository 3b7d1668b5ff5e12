"""Each trial in the order of execution: what moved with it, and what did not."""

from pathlib import Path

import pytest
from synthetic import Recipe, make_run, usual_rate

from bench.analysis.drift import Execution, trend
from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial


def faster_each_block(trial: Trial, slot: int) -> float:
    """MPS gains 5 % in each block, all else stays."""
    gain = 1 + 0.05 * trial.block if trial.mode.mode == "mps" else 1.0
    return usual_rate(trial, slot) * gain


@pytest.fixture(scope="module")
def executions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Execution, ...]:
    return analyse(make_run(tmp_path_factory.mktemp("run"), Recipe(rate=faster_each_block))).executions


def of(executions: tuple[Execution, ...], arm: str) -> list[Execution]:
    return [each for each in executions if each.arm == arm]


def test_each_arm_has_its_trials_in_order_and_their_mean_is_one(executions: tuple[Execution, ...]) -> None:
    assert {each.arm for each in executions} == {"exclusive", "time-slicing", "time-slicing (A/A)", "mps"}
    for arm in ("time-slicing", "time-slicing (A/A)", "mps"):
        own = of(executions, arm)
        assert [each.block for each in own] == [1, 2, 3, 4, 5, 6]
        assert [each.order for each in own] == sorted(each.order for each in own)
        assert sum(each.relative for each in own) / len(own) == pytest.approx(1)
    assert {each.metric for each in of(executions, "exclusive")} == {"rate"}
    assert len({each.order for each in executions}) == len(executions)


def test_a_trend_is_seen_where_there_is_one_and_nowhere_else(executions: tuple[Execution, ...]) -> None:
    grows, stays = trend(of(executions, "mps")), trend(of(executions, "time-slicing"))
    assert grows is not None
    assert stays is not None
    assert 0 < grows.low < grows.slope < grows.high
    assert stays.low <= 0 <= stays.high


def test_trials_of_one_block_are_one_point_of_the_trend(executions: tuple[Execution, ...]) -> None:
    solo = of(executions, "exclusive")
    assert len(solo) == 12
    assert trend([each for each in solo if each.block < 6]) is None


def test_a_temperature_that_was_not_recorded_has_its_reason(executions: tuple[Execution, ...]) -> None:
    assert {each.temperature_c.value for each in executions} == {None}
    assert all(each.temperature_c.reason for each in executions)


def test_a_starved_mix_and_a_slowed_job_have_no_place(tmp_path: Path) -> None:
    def starving(trial: Trial, slot: int) -> float:
        return 0.0 if trial.role is Role.MIX and trial.mode.mode == "mps" else usual_rate(trial, slot)

    found = analyse(make_run(tmp_path, Recipe(rate=starving))).executions
    assert {each.arm for each in found} == {"exclusive", "time-slicing", "time-slicing (A/A)"}
