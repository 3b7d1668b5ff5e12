"""What a pilot asks for, by Stein's formula worked out by hand, and the intervals of a run that it decided."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats
from synthetic import Recipe, make_run, usual_rate

from bench.analysis.blocks import decide_blocks
from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial
from bench.store.record import Status
from bench.store.run_folder import RunFolder

PILOT = """
name: pair
modes: [mps]
mixes: {pair: [resnet50-training, bert-base-training]}
timing: paper
blocks: 6
"""
HALF_WIDTH = math.log(1 + 0.05 / 1.05)


def noisy(spread: float) -> Callable[[Trial, int], float]:
    """Return rates whose log-ratio against taking turns is plus and minus `spread` in turn."""

    def rate(trial: Trial, slot: int) -> float:
        sign = 1 if trial.block % 2 else -1
        return usual_rate(trial, slot) * (math.exp(sign * spread) if trial.role is Role.MIX else 1)

    return rate


def log_ratios(run: RunFolder) -> list[float]:
    cells = [cell for cell in analyse(run).cells if cell.mode == "mps"]
    return [math.log(cell.reading("stp").value or 0) for cell in sorted(cells, key=lambda cell: cell.block)]


def test_a_pilot_that_is_narrow_enough_asks_for_no_more(tmp_path: Path) -> None:
    decision = decide_blocks(make_run(tmp_path, Recipe(plan_text=PILOT)))
    assert (decision.pilot_blocks, decision.blocks, decision.capped) == (6, 6, False)


def test_the_number_of_blocks_is_steins(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PILOT, rate=noisy(0.06)))
    sd = statistics.stdev(log_ratios(run))
    decision = decide_blocks(run)
    needed = math.ceil((stats.t.ppf(0.975, 5) * sd / HALF_WIDTH) ** 2)
    assert 6 < needed < 40
    (need,) = decision.needs
    assert (need.mix, need.metric, need.mode, need.baseline) == ("pair", "stp", "mps", "exclusive")
    assert need.pilot_blocks == 6
    assert need.log_sd == pytest.approx(sd)
    assert (need.blocks, decision.blocks, decision.capped) == (needed, needed, False)


def test_the_cap_holds_and_is_said(tmp_path: Path) -> None:
    decision = decide_blocks(make_run(tmp_path, Recipe(plan_text=PILOT, rate=noisy(0.3))))
    assert (decision.blocks, decision.capped) == (40, True)


def test_the_most_demanding_contrast_decides_for_all(tmp_path: Path) -> None:
    plan = PILOT.replace("[mps]", "[time-slicing, mps]")

    def rate(trial: Trial, slot: int) -> float:
        return noisy(0.06 if trial.mode.mode == "mps" else 0.0)(trial, slot)

    decision = decide_blocks(make_run(tmp_path, Recipe(plan_text=plan, rate=rate)))
    assert len(decision.needs) == 3  # each mode against taking turns, and mps against time-slicing
    assert decision.blocks == max(need.blocks for need in decision.needs) > min(n.blocks for n in decision.needs)


def test_a_pilot_in_which_nothing_worked_asks_for_no_more(tmp_path: Path) -> None:
    decision = decide_blocks(
        make_run(tmp_path, Recipe(plan_text=PILOT, status=lambda trial: (Status.FAILED, "x")))
    )
    assert (decision.blocks, decision.needs) == (6, ())


def test_intervals_take_spread_and_degrees_of_freedom_from_the_pilot(tmp_path: Path) -> None:
    plan = PILOT.replace("blocks: 6", "blocks: 12")  # the whole run
    run = make_run(tmp_path, Recipe(plan_text=plan, rate=noisy(0.06)))
    pilot_run = make_run(tmp_path / "pilot", Recipe(plan_text=PILOT, rate=noisy(0.06)))
    decided = decide_blocks(pilot_run).model_copy(update={"blocks": 12})
    run.keep_decision(decided)
    (row,) = [r for r in analyse(run).contrasts if (r.metric, r.baseline, r.job) == ("stp", "exclusive", "")]
    logs = log_ratios(run)
    half = stats.t.ppf(0.975, 5) * statistics.stdev(logs[:6]) / math.sqrt(12)
    assert (row.n_blocks, row.n_planned) == (12, 12)
    assert row.ratio == pytest.approx(math.exp(statistics.fmean(logs)))
    assert row.ci_low == pytest.approx(math.exp(statistics.fmean(logs) - half))
    assert row.ci_high == pytest.approx(math.exp(statistics.fmean(logs) + half))


def test_a_run_that_was_extended_plans_and_schedules_the_decided_blocks(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PILOT))
    run.keep_decision(decide_blocks(run).model_copy(update={"blocks": 9}))
    comparison = analyse(run)
    assert (comparison.plan.blocks, comparison.missing) == (9, 3 * 5)


def test_a_sequential_run_looks_from_ten_blocks_on_and_every_five(tmp_path: Path) -> None:
    """Log-ratios of 0.09 and -0.09 in turn: half-widths 0.068 after 10 blocks, 0.052 after 15, 0.043 after 20."""
    asked = []
    for blocks in (6, 10, 15, 20):
        plan = PILOT.replace("paper", "sequential").replace("blocks: 6", f"blocks: {blocks}")
        asked.append(decide_blocks(make_run(tmp_path / str(blocks), Recipe(plan_text=plan, rate=noisy(0.09)))))
    assert [(decision.blocks, decision.is_final) for decision in asked] == [
        (10, False), (15, False), (20, False), (20, True)
    ]  # fmt: skip
    assert not asked[-1].capped


def test_a_sequential_run_stops_at_the_cap_and_says_so(tmp_path: Path) -> None:
    plan = PILOT.replace("paper", "sequential").replace("blocks: 6", "blocks: 40")
    decision = decide_blocks(make_run(tmp_path, Recipe(plan_text=plan, rate=noisy(0.3))))
    assert (decision.blocks, decision.is_final, decision.capped) == (40, True, True)


def test_intervals_of_a_sequential_run_are_of_all_its_blocks(tmp_path: Path) -> None:
    plan = PILOT.replace("paper", "sequential").replace("blocks: 6", "blocks: 12")
    run = make_run(tmp_path, Recipe(plan_text=plan, rate=noisy(0.06)))
    run.keep_decision(decide_blocks(run).model_copy(update={"blocks": 12}))
    (row,) = [r for r in analyse(run).contrasts if (r.metric, r.baseline, r.job) == ("stp", "exclusive", "")]
    logs = log_ratios(run)
    half = stats.t.ppf(0.975, 11) * statistics.stdev(logs) / math.sqrt(12)
    assert row.ci_high == pytest.approx(math.exp(statistics.fmean(logs) + half))
