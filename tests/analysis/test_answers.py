"""The sentences that a user reads first: what they say, and what they refuse to say."""

from pathlib import Path

import pytest
from synthetic import PLAN, SOLO, Fate, Recipe, make_run, usual_rate, wobble

from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial
from bench.store.record import Status

ONE_MODE = PLAN.replace("[time-slicing, mps]", "[mps]")


def answer(tmp_path: Path, recipe: Recipe) -> str:
    (only,) = analyse(make_run(tmp_path, recipe)).answers
    return only.text


def same_rate(trial: Trial, slot: int) -> float:
    """Every mode at half speed, with noise that is not the same in both modes."""
    solo = SOLO[trial.mix.jobs[slot].workload]
    return solo if trial.role is Role.SOLO else solo * 0.5 * wobble(trial)


def test_a_shown_winner_is_named_with_ratio_interval_and_blocks(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe())
    assert text.startswith("The model predicts that for the mix “pair”, mps finishes 1.400 times the work")
    assert "95 % CI 1.387 to 1.413, n = 6 blocks" in text
    assert "ahead of every other mode (next is time-slicing, 0.960)" in text
    assert "ANTT" in text
    assert "; under mps, jobs take 1.43 times as long as alone (ANTT) and the slowest job keeps 0.700 of" in text


def test_a_measured_run_predicts_nothing(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(simulated=False))
    assert text.startswith("For the mix")
    assert "predict" not in text


def test_with_one_mode_no_rival_is_mentioned(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(plan_text=ONE_MODE))
    assert "mps finishes 1.400 times" in text
    assert "other mode" not in text


def test_no_difference_is_not_called_one(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(plan_text=ONE_MODE, rate=same_rate))
    assert "no sharing mode was shown to beat taking turns" in text


def test_taking_turns_may_be_best(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(plan_text=PLAN.replace("[time-slicing, mps]", "[time-slicing]")))
    assert "taking turns does best: time-slicing finishes 0.960 times" in text


def test_modes_that_cannot_be_told_apart_leave_the_winner_undecided(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo if trial.role is Role.SOLO else solo * 0.7 * wobble(trial)

    text = answer(tmp_path, Recipe(rate=rate))
    assert "cannot be told apart from it, so the winner is undecided" in text
    assert "ahead of" not in text


@pytest.mark.parametrize("blocks", [1, 5])
def test_too_few_blocks_name_no_winner(tmp_path: Path, blocks: int) -> None:
    text = answer(tmp_path, Recipe(plan_text=PLAN.replace("6", str(blocks))))
    compare = "1 of 1 block compares" if blocks == 1 else "5 of 5 blocks compare"
    assert f"not enough data ({compare}, 6 are needed)" in text
    assert ("no interval, n = 1 block" in text) == (blocks == 1)


def test_a_smoke_run_says_that_it_is_not_publishable(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(plan_text=PLAN + "timing: smoke\n"))
    assert text.endswith("This is a smoke run: not publishable.")


def test_a_mode_that_always_fails_is_reported_with_its_reason(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        fails = trial.mode.mode == "mps"
        return (Status.FAILED, "bert-base-training: OutOfMemoryError") if fails else (Status.OK, None)

    text = answer(tmp_path, Recipe(status=status))
    assert "mps fails 6 of 6 blocks, so it cannot win (bert-base-training: OutOfMemoryError)" in text


def test_the_mode_that_fails_too_often_loses_to_the_next(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        return usual_rate(trial, slot) * (1.2 if trial.mode.mode == "time-slicing" else 1)

    def status(trial: Trial) -> Fate:
        fails = trial.mode.mode == "mps" and trial.block % 3 == 0
        return (Status.FAILED, "crashed") if fails else (Status.OK, None)

    text = answer(tmp_path, Recipe(plan_text=PLAN.replace("6", "12"), rate=rate, status=status))
    assert "time-slicing finishes 1.15" in text
    assert "mps fails 4 of 12 blocks, so it cannot win (crashed)" in text


def test_no_sentence_opens_with_a_mode_that_cannot_win(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        fails = trial.mode.mode == "mps" and trial.block % 3 == 0
        return (Status.FAILED, "crashed") if fails else (Status.OK, None)

    text = answer(tmp_path, Recipe(status=status))
    assert "“pair”, taking turns does best: time-slicing finishes 0.960 times" in text
    assert "mps fails 2 of 6 blocks, so it cannot win (crashed)" in text


def test_the_nearest_of_modes_is_named_between_commas(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        return usual_rate(trial, slot) * (0.6 if trial.role is Role.MIX else 1)

    text = answer(tmp_path, Recipe(rate=rate))
    assert "taking turns does best: the nearest sharing mode, mps, finishes 0.8400 times" in text


def test_a_skipped_mode_says_why(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        skipped = trial.mode.mode == "mps"
        return (Status.SKIPPED, "this device has no MPS") if skipped else (Status.OK, None)

    assert "mps was skipped: this device has no MPS." in answer(tmp_path, Recipe(status=status))


def test_an_interrupted_run_answers_from_what_it_has(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate | None:
        return (Status.OK, None) if trial.block <= 2 and trial.mode.mode != "time-slicing" else None

    run = make_run(tmp_path, Recipe(status=status))
    comparison = analyse(run)
    assert "2 of 2 blocks compare" in comparison.answers[0].text
    assert "time-slicing has not been measured" in comparison.answers[0].text
    assert comparison.missing == comparison.scheduled - 8


def test_a_run_in_which_nothing_worked_still_answers(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(status=lambda trial: (Status.FAILED, "crashed")))
    assert "no sharing mode could be compared with taking turns" in text


def test_an_empty_run_still_answers(tmp_path: Path) -> None:
    assert "has not been measured" in answer(tmp_path, Recipe(status=lambda trial: None))


def test_another_primary_metric_leads_the_sentence(tmp_path: Path) -> None:
    text = answer(tmp_path, Recipe(plan_text=PLAN + "primary: [antt]\n"))
    assert "mps has 0.7143 times the average turnaround of taking turns" in text


TEN_BLOCKS = PLAN.replace("6", "10")


def lucky(trial: Trial, slot: int) -> float:
    """Return rates with which time-slicing is 3 % behind in each block, but for those that mps never sees."""
    solo, block = SOLO[trial.mix.jobs[slot].workload], trial.block
    if trial.role is not Role.MIX:
        return solo
    progress = 0.9 if block <= 3 else 0.6
    return solo * progress * wobble(trial) * (1.03 if trial.mode.mode == "mps" else 1 + 0.001 * (block % 2))


def test_blocks_that_only_one_mode_has_make_no_winner(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        gap = trial.mode.mode == "mps" and trial.role is Role.MIX and trial.block <= 3
        return (Status.INVALID, "a foreign process") if gap else (Status.OK, None)

    text = answer(tmp_path, Recipe(plan_text=TEN_BLOCKS, rate=lucky, status=status))
    assert "time-slicing finishes 1.3" in text
    assert "it is behind mps (1.2" in text
    assert "ahead of" not in text


def test_a_winner_that_starves_a_job_says_so(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        starved = trial.role is Role.MIX and trial.mode.mode == "mps" and trial.block == 1 and slot == 1
        return 0.0 if starved else usual_rate(trial, slot)

    text = answer(tmp_path, Recipe(plan_text=TEN_BLOCKS, rate=rate))
    assert "mps finishes 1.3" in text
    assert "but a job starved in 1 of 10 blocks" in text


def test_what_failed_before_a_block_was_measured_once_more_is_told(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        lost = trial.mode.mode == "mps" and trial.role is Role.MIX and trial.block <= 2 and not trial.longer
        return (Status.FAILED, "out of memory") if lost else (Status.OK, None)

    text = answer(tmp_path, Recipe(status=status, repeated=(1, 2)))
    assert "mps failed 2 blocks that were then measured once more (out of memory)" in text
