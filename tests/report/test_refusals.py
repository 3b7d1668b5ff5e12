"""What no report may print: each rule is broken on purpose, and nothing is written."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import PLAN, SOLO, Recipe, make_run

from bench.analysis.levels import Level
from bench.analysis.summary import Comparison, analyse
from bench.analysis.windows import Latency
from bench.plan.schedule import Role, Trial
from bench.report.figures.draw import draw_all
from bench.report.figures.style import close_all
from bench.report.refusals import refuse_unmarked
from bench.report.table import Source, Table, headings
from bench.report.write import write_report
from bench.store.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("refusals"))


@pytest.fixture(scope="module")
def sound(run: RunFolder) -> Comparison:
    return analyse(run)


def refused(run: RunFolder, comparison: Comparison, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_report(run, comparison)
    assert not (run.report_folder / "index.html").exists()


def noisy(trial: Trial, slot: int) -> float:
    """Return rates that differ more from block to block than from mode to mode."""
    solo = SOLO[trial.mix.jobs[slot].workload]
    return solo * (
        1 if trial.role is not Role.MIX else 0.5 + 0.1 * math.sin(5 * trial.block + len(trial.mode.mode))
    )


def with_contrast(comparison: Comparison, **changes: Any) -> Comparison:
    first, *rest = comparison.contrasts
    return replace(comparison, contrasts=(replace(first, **changes), *rest))


def test_a_p99_of_too_few_steps(run: RunFolder, sound: Comparison) -> None:
    trial = sound.trials[0]
    latency = Latency(50, 0.1, 0.1, 0.2, trial.jobs[0].latency.curve_s)
    few = replace(trial, jobs=(replace(trial.jobs[0], latency=latency),))
    refused(
        run, replace(sound, trials=(few, *sound.trials[1:])), "p95 of .* from 50 steps|p99 of .* from 50 steps"
    )


@pytest.mark.parametrize("side", ["value", "baseline_value"])
def test_a_ratio_without_absolute_values(run: RunFolder, sound: Comparison, side: str) -> None:
    refused(run, with_contrast(sound, **{side: None}), "a ratio without absolute values")


def test_a_mean_of_ratios(run: RunFolder, sound: Comparison) -> None:
    ratio = sound.contrasts[0].ratio or 0
    refused(run, with_contrast(sound, ratio=1.001 * ratio), "a mean of ratios")


def test_an_interval_without_two_blocks(run: RunFolder, sound: Comparison) -> None:
    refused(run, with_contrast(sound, n_blocks=1), "an interval over 1 blocks")
    level: Level = next(each for each in sound.levels if each.ci_low is not None)
    refused(run, replace(sound, levels=(replace(level, n_blocks=0),)), "an interval over 0 blocks")


def test_a_p_that_is_not_corrected_over_its_family(run: RunFolder, sound: Comparison) -> None:
    corrected = next(row for row in sound.contrasts if (row.p_adjusted or 0) > (row.p_value or 0))
    others = tuple(replace(row, p_adjusted=row.p_value) if row is corrected else row for row in sound.contrasts)
    refused(run, replace(sound, contrasts=others), "not that of its family after correction")


def test_a_family_that_lost_a_member_after_the_test(run: RunFolder, sound: Comparison) -> None:
    refused(run, replace(sound, contrasts=sound.contrasts[1:]), "not that of its family after correction")


def test_a_difference_that_was_not_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(rate=noisy))
    found = analyse(run)
    quiet = next(row for row in found.contrasts if row.verdict == "no difference shown")
    others = tuple(replace(row, verdict="better") if row is quiet else row for row in found.contrasts)
    refused(run, replace(found, contrasts=others), "better with p")


def test_a_smoke_run_without_its_watermark(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "timing: smoke"), simulated=False))
    (tmp_path / "figures").mkdir()
    drawn = [drawing for drawing, _ in draw_all(analyse(run), run, tmp_path / "figures").values()]
    refuse_unmarked(drawn, "SMOKE \N{EN DASH} not publishable")
    drawn[0].figure.texts[-1].remove()
    with pytest.raises(ValueError, match=f"figure {drawn[0].name} lacks the words 'SMOKE"):
        refuse_unmarked(drawn, "SMOKE \N{EN DASH} not publishable")
    close_all()


def test_an_interval_in_a_table_that_does_not_say_over_how_many_blocks() -> None:
    table = Table("speed", headings(("mode",), ("speed",)), Source("x.csv", ("speed",)))
    with pytest.raises(ValueError, match="an interval without the number of blocks"):
        table.interval(1.0, 0.9, 1.1)


def test_a_sound_comparison_is_written(run: RunFolder, sound: Comparison) -> None:
    assert write_report(run, sound).is_file()
