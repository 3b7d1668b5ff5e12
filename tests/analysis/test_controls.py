"""Comparisons whose answers are known: they must be right on good data, and say so plainly on bad data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import PLAN, SOLO, Fate, Recipe, make_run, usual_rate, wobble

from bench.analysis.controls import Control
from bench.analysis.summary import Comparison, analyse
from bench.launch.corun import Window
from bench.plan.schedule import Role, Trial
from bench.store.record import Status


def both(comparison: Comparison) -> tuple[Control, Control]:
    again, slowed = comparison.controls
    return again, slowed


def test_on_good_data_both_intervals_cover_what_is_known(tmp_path: Path) -> None:
    again, slowed = both(analyse(make_run(tmp_path)))
    assert again.contrast.ratio == pytest.approx(1)
    assert slowed.contrast.ratio == pytest.approx(1 / 1.05)
    assert again.text == (
        "A/A: time-slicing against itself (STP of the mix “pair”) 1.000 [0.976, 1.025] (95 % CI, n = 6 blocks), "
        "covers 1: yes."
    )
    assert slowed.text == (
        "Positive control: a tenant slowed by 5 % (resnet50-training alone) is seen as 0.9524 [0.9435, 0.9613] "
        "(95 % CI, n = 6 blocks), covers 0.952: yes."
    )


def test_their_rows_are_whole_and_of_no_other_family(tmp_path: Path) -> None:
    comparison = analyse(make_run(tmp_path))
    again, slowed = (control.contrast for control in both(comparison))
    assert (again.mode, again.baseline, again.family) == ("time-slicing (A/A)", "time-slicing", "control")
    assert (slowed.mode, slowed.baseline, slowed.family) == ("exclusive (slowed)", "exclusive", "control")
    assert slowed.value == pytest.approx(SOLO["resnet50-training"] / 1.05)
    assert (slowed.unit, slowed.n_blocks, slowed.verdict) == ("images/s", 6, "as expected")
    assert {row.family for row in comparison.contrasts} == {"primary", "exploratory"}


def test_nothing_else_of_the_run_changes_with_them(tmp_path: Path) -> None:
    """Rates of the controls that are far off move neither cells nor contrasts nor answers."""

    def far_off(trial: Trial, slot: int) -> float:
        return usual_rate(trial, slot) * (3 if trial.role in (Role.REPEAT, Role.SLOWED) else 1)

    good, bad = (analyse(make_run(tmp_path / name, Recipe(rate=rate)))
                 for name, rate in (("good", usual_rate), ("bad", far_off)))  # fmt: skip
    assert (bad.cells, bad.levels, bad.contrasts, bad.answers) == (
        good.cells, good.levels, good.contrasts, good.answers,
    )  # fmt: skip
    assert bad.controls != good.controls


def test_a_mode_that_differs_from_itself_is_told_plainly(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        return usual_rate(trial, slot) * (1.2 if trial.role is Role.REPEAT else 1)

    again, slowed = both(analyse(make_run(tmp_path, Recipe(rate=rate))))
    assert (again.contrast.verdict, slowed.contrast.verdict) == ("not as expected", "as expected")
    assert "covers 1: no; one interval in twenty misses by chance; otherwise trials differ" in again.text


def test_a_slowdown_that_was_not_seen_is_told_plainly(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        return SOLO[trial.mix.jobs[slot].workload] * wobble(trial) if trial.slowdown else usual_rate(trial, slot)

    slowed = both(analyse(make_run(tmp_path, Recipe(rate=rate))))[1]
    assert slowed.contrast.verdict == "not as expected"
    assert "covers 0.952: no; one interval in twenty misses by chance; otherwise rates" in slowed.text


def test_an_interval_that_covers_everything_shows_nothing(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        noise = 1.3 if trial.block % 2 else 1 / 1.3
        return usual_rate(trial, slot) * (noise if trial.slowdown else 1)

    slowed = both(analyse(make_run(tmp_path, Recipe(rate=rate))))[1]
    assert slowed.contrast.verdict == "not as expected"
    assert "covers 0.952 but 1 as well: this run is too noisy" in slowed.text


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (None, "is not known, not judged: 0 of 6 blocks compare, 6 are needed"),
        ((Status.FAILED, "out of memory"), "is not known, not judged: 0 of 6 blocks compare"),
        ((Status.SKIPPED, "no"), "is not known, not judged: 0 of 6 blocks compare"),
    ],
)
def test_controls_that_are_not_there_are_not_judged(tmp_path: Path, fate: Fate | None, words: str) -> None:
    def status(trial: Trial) -> Fate | None:
        return fate if trial.role in (Role.REPEAT, Role.SLOWED) else (Status.OK, None)

    for control in both(analyse(make_run(tmp_path, Recipe(status=status)))):
        assert words in control.text
        assert "seen as" not in control.text
        assert control.contrast.verdict == "not enough data"


def test_one_block_is_told_without_the_words_of_an_interval(tmp_path: Path) -> None:
    for control in both(analyse(make_run(tmp_path, Recipe(plan_text=PLAN.replace("6", "1"))))):
        assert "(no interval, n = 1 block), not judged: 1 of 1 block compares, 6 are needed." in control.text


def test_a_smoke_run_has_none(tmp_path: Path) -> None:
    assert analyse(make_run(tmp_path, Recipe(plan_text=PLAN + "timing: smoke\n"))).controls == ()


def test_every_primary_metric_has_its_own(tmp_path: Path) -> None:
    names = [
        c.contrast.metric for c in analyse(make_run(tmp_path, Recipe(PLAN + "primary: [antt, stp]"))).controls
    ]
    assert names == ["antt", "stp", "rate"]


def test_users_have_an_a_a_of_their_goodput(tmp_path: Path) -> None:
    def requests(trial: Trial, window: Window) -> Mapping[str, Any]:
        due_s = np.arange(window.start_s, window.stop_s, 0.5)
        on_time = np.arange(len(due_s)) % 10 < 8 + (trial.block + (trial.role is Role.REPEAT)) % 2
        columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + np.where(on_time, 0.2, 5.0)}
        return {**columns, "items": np.ones(len(due_s)), "status": np.full(len(due_s), "ok")}

    plan = PLAN.replace("resnet50-training, bert-base-training", "jupyter, jupyter")
    (only,) = analyse(make_run(tmp_path, Recipe(plan_text=plan, requests=requests))).controls
    assert only.text.startswith("A/A: time-slicing against itself (goodput of jupyter in the mix “pair”) ")
    assert only.contrast.verdict == "as expected"


def test_with_no_sharing_mode_only_the_positive_control_is_left(tmp_path: Path) -> None:
    plan = "modes: [exclusive]\nmixes: {one: [resnet50-training]}\nblocks: 6\n"
    (slowed,) = analyse(make_run(tmp_path, Recipe(plan_text=plan))).controls
    assert slowed.contrast.verdict == "as expected"
