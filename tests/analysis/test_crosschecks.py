"""What other methods say of the primary contrasts, and whether two modes are the same for practical ends."""

import math
from pathlib import Path

import pytest
from synthetic import PLAN, PROGRESS, SOLO, Fate, Recipe, make_run

from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial
from bench.store.record import Status


def close(trial: Trial, slot: int) -> float:
    """Return rates with which mps is 1 % above time-slicing in every block, give or take 0.1 %."""
    solo = SOLO[trial.mix.jobs[slot].workload]
    if trial.role is not Role.MIX:
        return solo
    mps = trial.mode.mode == "mps"
    return solo * 0.6 * (1.01 if mps else 1.0) * (1 + 0.001 * math.sin((3 if mps else 7) * trial.block))


def test_every_primary_contrast_is_checked_over_the_same_blocks(tmp_path: Path) -> None:
    found = analyse(make_run(tmp_path))
    primary = [row for row in found.contrasts if row.family == "primary" and row.trials == "all"]
    assert [(c.mix, c.mode, c.baseline, c.n_blocks) for c in found.crosschecks] == [
        (row.mix, row.mode, row.baseline, row.n_blocks) for row in primary
    ]
    for check, row in zip(found.crosschecks, primary, strict=True):
        assert check.headline.ratio == row.ratio == pytest.approx(check.bca.value)
        assert check.hodges_lehmann.value == pytest.approx(row.ratio, rel=0.02)


def test_exact_tests_are_corrected_like_the_headline(tmp_path: Path) -> None:
    checks = analyse(make_run(tmp_path)).crosschecks
    assert [check.sign_flip_p for check in checks] == [
        pytest.approx(3 * 2 / 2**6)
    ] * 3  # three questions, six blocks


def test_a_question_without_an_answer_keeps_its_seat(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        return (Status.SKIPPED, "cannot") if trial.mode.mode == "mig" else (Status.OK, None)

    plan = PLAN.replace("[time-slicing, mps]", "[time-slicing, mps, mig]")
    checks = analyse(make_run(tmp_path, Recipe(plan_text=plan, status=status))).crosschecks
    assert [check.sign_flip_p for check in checks] == [pytest.approx(5 * 2 / 2**6)] * 3  # two of mig among five


def test_a_mode_that_always_wins_may_still_lose_sometimes_for_all_that_six_blocks_show(tmp_path: Path) -> None:
    check = next(
        c for c in analyse(make_run(tmp_path)).crosschecks if (c.mode, c.baseline) == ("mps", "exclusive")
    )
    assert (check.a12.value, check.a12.high, check.cliffs_delta) == (1, 1, 1)
    assert 0.5 < check.a12.low < 0.9


def test_a_sure_difference_of_one_percent_is_the_same_yet_different(tmp_path: Path) -> None:
    rows = analyse(make_run(tmp_path, Recipe(rate=close))).contrasts
    (row,) = [
        r for r in rows if (r.family, r.mode, r.baseline, r.metric) == ("primary", "mps", "time-slicing", "stp")
    ]
    assert row.ratio == pytest.approx(1.01, rel=2e-3)
    assert (row.verdict, row.equivalence, row.margin) == ("better", "the same, yet different", 0.05)


def test_a_large_difference_is_not_the_same_and_noise_shows_nothing(tmp_path: Path) -> None:
    rows = analyse(make_run(tmp_path / "apart")).contrasts
    assert {row.equivalence for row in rows if row.family == "primary" and row.mode == "mps"} == {"not the same"}

    def noisy(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        noise = 1 + 0.4 * math.sin(5 * trial.block) if trial.mode.mode == "mps" else 1
        return solo if trial.role is not Role.MIX else solo * PROGRESS["mps"] * noise

    rows = analyse(make_run(tmp_path / "noisy", Recipe(rate=noisy))).contrasts
    (row,) = [
        r for r in rows if (r.family, r.mode, r.baseline, r.metric) == ("primary", "mps", "time-slicing", "stp")
    ]
    assert (row.verdict, row.equivalence) == ("no difference shown", "not shown")


def test_tails_have_a_wider_margin(tmp_path: Path) -> None:
    rows = analyse(make_run(tmp_path)).contrasts
    margins = {row.metric: row.margin for row in rows}
    assert (margins["latency_p99"], margins["tail_inflation"], margins["rate"]) == (0.1, 0.1, 0.05)


def test_one_block_is_checked_by_nothing(tmp_path: Path) -> None:
    found = analyse(make_run(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "blocks: 1"))))
    assert all(check.bca.low is None and check.hodges_lehmann.low is None for check in found.crosschecks)
    assert {row.equivalence for row in found.contrasts} == {"not shown"}
