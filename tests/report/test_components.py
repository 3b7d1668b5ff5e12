"""Where the variation sits, as a reader gets it: a row and a bar for each job, and every number in a file."""

from pathlib import Path

import pytest
from pages import read, rows
from synthetic import PLAN, PROGRESS, SOLO, Recipe, make_run

from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial
from bench.report.components import component_table
from bench.report.figures.components import draw_components
from bench.report.table import DASH


def apart(trial: Trial, slot: int) -> float:
    """Of the first job the two launches of a block differ, of the second the blocks."""
    plain = SOLO[trial.mix.jobs[slot].workload] * PROGRESS.get(trial.mode.mode, 1.0)
    odd = trial.block % 2 == (trial.role is Role.REPEAT and slot == 0)
    return plain * (1.02 if odd else 1 / 1.02)


def test_the_report_has_table_and_figure_and_all_numbers_in_a_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(rate=apart))
    words = read(run).words
    assert "Where the variation sits" in words
    assert "in mode time-slicing, which every block launches twice" in words
    assert (
        "if a part costs 24 s, a launch 80 s and its window, a block 720 s and its launches, as --dry-run" in words
    )
    assert {file.name for file in (run.report_folder / "figures").glob("components.*")} == {
        "components.pdf", "components.png", "components.svg",
    }  # fmt: skip
    table = rows(run, "components.csv")
    assert [(row["job"], row["level"]) for row in table] == [
        (job, level)
        for job in ("resnet50-training", "bert-base-training")
        for level in ("part of a window", "launch", "block")
    ]
    found = analyse(run).components
    assert found is not None
    assert [float(row["variance"]) for row in table] == [
        value for job in found.jobs if job.variances for value in job.variances.unbiased
    ]
    assert {row["n_blocks"] for row in table} == {"6"}


def test_a_level_that_adds_nothing_says_so(tmp_path: Path) -> None:
    table = component_table(analyse(make_run(tmp_path, Recipe(rate=apart))))
    assert table is not None
    assert [row[4:7] for row in table.rows] == [("none", "2.80", "none"), ("2.17", "none", "none")]
    assert [row[7:9] for row in table.rows] == [("24", f"{DASH} [1]"), ("24", "1")]
    assert table.notes == ["blocks add nothing: a launch is worth a block"]


def test_hovering_tells_each_share(tmp_path: Path) -> None:
    found = analyse(make_run(tmp_path, Recipe(rate=apart))).components
    assert found is not None
    drawing = draw_components(found)
    assert drawing is not None
    assert [spot.words for spot in drawing.spots] == [
        "resnet50-training, launches: 100 %",
        "bert-base-training, blocks: 100 %",
    ]


@pytest.mark.parametrize("plan", [PLAN + "timing: smoke\n", PLAN.replace("6", "1")], ids=["no arm", "one block"])
def test_without_nested_repeats_nothing_is_told_of_them(tmp_path: Path, plan: str) -> None:
    run = make_run(tmp_path, Recipe(plan_text=plan))
    assert "Where the variation sits" not in read(run).words
    assert not list(run.report_folder.rglob("components.*"))
