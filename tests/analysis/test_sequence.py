"""The steps of one trial in order, and the levels between change points."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from synthetic import PLAN, Recipe, make_run

from bench.analysis.sequence import StepSequence, step_sequences
from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial


def drifting(trial: Trial) -> float:
    return 0.2 if trial.mode.mode == "mps" and trial.role is Role.MIX else 0.0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[StepSequence]]:
    plan = PLAN.replace("blocks: 6", "blocks: 1")
    run = make_run(tmp_path_factory.mktemp("run"), Recipe(plan_text=plan, drift=drifting))
    trials = [trial for trial in analyse(run).trials if trial.record.role is Role.MIX]
    return {trial.record.mode_label: list(step_sequences(run, trial)) for trial in trials}


def test_every_step_is_there_relative_to_the_median_of_the_window(found: dict[str, list[StepSequence]]) -> None:
    for one in (one for of_trial in found.values() for one in of_trial):
        assert np.median(one.relative[one.counts]) == pytest.approx(1)
        assert one.time_s.min() < 30 < one.time_s[one.counts].min() + 1
        assert (np.diff(one.time_s) > 0).all()


def test_levels_fill_the_window_and_break_where_the_series_does(found: dict[str, list[StepSequence]]) -> None:
    resnet, bert = found["time-slicing"]
    assert (resnet.job, bert.job) == ("resnet50-training", "bert-base-training")
    assert [(level.from_s, level.to_s) for level in resnet.levels] == [(30, 150)]
    moving = found["mps"][0].levels
    assert len(moving) > 1
    assert (moving[0].from_s, moving[-1].to_s) == (30, 150)
    assert all(one.to_s == other.from_s and one.relative < other.relative for one, other in pairwise(moving))


def test_a_tenant_that_did_nothing_has_no_sequence(tmp_path: Path) -> None:
    def starving(trial: Trial, slot: int) -> float:
        return 0.0 if trial.role is Role.MIX and slot == 0 else 100.0

    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "blocks: 1"), rate=starving))
    trial = next(trial for trial in analyse(run).trials if trial.record.role is Role.MIX)
    assert [one.job for one in step_sequences(run, trial)] == ["bert-base-training"]
