"""One run in which all goes wrong that can, looked at from all sides: the report is right, and it is safe."""

import csv
import json
from pathlib import Path

import pytest
from pages import Page, read, rows
from synthetic import Fate, Recipe, make_run

from bench.plan.schedule import Trial
from bench.report.write import write_report
from bench.store.record import Status
from bench.store.run_folder import RunFolder

NAMES = ("</title><script>alert(1)</script>", "混合 \U0001f600 |`_*", "x" * 200)
PLAN = (
    "name: '<b>all</b> at once'\nmodes: [time-slicing, mps, mps-equal, mig]\nmixes:\n"
    + "".join(
        f"  {json.dumps(name, ensure_ascii=False)}: [resnet50-training, bert-base-training]\n"
        for name in NAMES[:2]
    )
    + f"  {NAMES[2]}: [resnet50-training]\nblocks: 6\n"
)


def fate(trial: Trial) -> Fate | None:
    if trial.mode.mode == "mig":
        return Status.SKIPPED, "MIG mode needs a reset: --allow-reset <img src=//x>"
    if trial.mode.mode == "mps" and trial.block in (1, 2):
        return Status.FAILED, "resnet50-training: OutOfMemoryError </td></table><iframe>"
    if trial.mode.mode == "mps-equal" and trial.block == 3:
        return Status.INVALID, "a foreign process | computes"
    return Status.OK, None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    recipe = Recipe(plan_text=PLAN, status=fate, telemetry=False, simulated=False)
    return make_run(tmp_path_factory.mktemp("extremes"), recipe)


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return read(run)


def test_nothing_of_a_record_becomes_part_of_the_page(run: RunFolder, page: Page) -> None:
    assert not {"b", "iframe"} & page.tags
    assert all(name in page.words for name in NAMES)
    html = (run.report_folder / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("<title>") == 1 + html.count("<circle")  # of the page, and of each mark of a figure


def test_marks_of_figures_tell_their_values_on_hovering(run: RunFolder, page: Page) -> None:
    stp = {(r["mode"], r["mix"]): r for r in rows(run, "levels.csv") if r["metric"] == "stp"}
    value = float(stp["time-slicing", NAMES[0]]["value"])
    assert f"time-slicing: {value:.3f} [" in page.words
    assert ", n = 6" in page.words


def test_each_status_is_counted_and_told_with_its_reason(run: RunFolder, page: Page) -> None:
    told = [record.status.value for record in run.trials()]
    for status in ("failed", "invalid", "skipped"):
        assert f"{told.count(status)} {status}" in page.words
    for reason in ("--allow-reset <img src=//x>", "OutOfMemoryError </td></table><iframe>", "a foreign process"):
        assert reason in page.words


def test_a_mode_that_fails_in_a_third_of_its_blocks_cannot_win(run: RunFolder, page: Page) -> None:
    mps = [r for r in rows(run, "contrasts.csv") if r["mode"] == "mps" and r["family"] == "primary"]
    assert {row["verdict"] for row in mps} == {"not enough data"}  # four blocks are left
    assert {row["equivalence"] for row in mps} == {"not shown"}
    assert "mps fails 2 of 6 blocks, so it cannot win" in page.words


def test_a_skipped_mode_has_no_numbers_and_says_why(run: RunFolder, page: Page) -> None:
    for row in rows(run, "contrasts.csv"):
        if row["mode"] == "mig":
            assert row["ratio"] == row["ci_low"] == row["p_value"] == ""
            assert "skipped" in row["reason"]
    assert not [row for row in rows(run, "levels.csv") if row["mode"] == "mig"]


def test_missing_metrics_are_empty_with_a_reason(run: RunFolder, page: Page) -> None:
    missing = [row for row in rows(run, "levels.csv") if row["metric"] in ("edp", "energy_per_solo_second")]
    assert missing
    assert {(row["value"], row["reason"]) for row in missing} == {("", "no telemetry was recorded")}


def test_a_job_alone_in_its_mix_is_told_like_any(run: RunFolder, page: Page) -> None:
    alone = [r for r in rows(run, "levels.csv") if (r["mix"], r["mode"]) == (NAMES[2], "time-slicing")]
    gain = next(float(row["value"]) for row in alone if row["metric"] == "makespan_gain")
    stp = next(float(row["value"]) for row in alone if row["metric"] == "stp")
    assert gain == pytest.approx(stp)


def test_it_is_rebuilt_byte_for_byte(run: RunFolder, page: Page) -> None:
    def contents() -> dict[str, bytes]:
        kinds = ("*.md", "*.tex", "*.bib", "tables/*")
        return {str(file): file.read_bytes() for kind in kinds for file in run.report_folder.glob(kind)}

    first = contents()
    write_report(run)
    assert contents() == first
    assert any(name.endswith("crosschecks.csv") for name in first)


def test_tables_stay_tables(run: RunFolder, page: Page) -> None:
    for file in (run.report_folder / "tables").glob("*.csv"):
        with file.open(newline="", encoding="utf-8") as lines:
            assert len({len(row) for row in csv.reader(lines)}) == 1, file


def test_one_block_gives_values_without_intervals(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "blocks: 1")))
    read(run)
    assert {row["ci_low"] for row in rows(run, "levels.csv")} == {""}
    assert {row["verdict"] for row in rows(run, "contrasts.csv")} == {"not enough data"}
