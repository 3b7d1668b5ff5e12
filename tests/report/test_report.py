"""Whole reports of small runs: what stands on the page, that it is safe, and that it can be rebuilt."""

import csv
import itertools
import json
import re
from pathlib import Path

import pytest
from pages import Page, read, rows
from synthetic import DEVICE, PLAN, Fate, Recipe, make_run, wobble

from bench.analysis.summary import analyse
from bench.plan.schedule import Role, Trial
from bench.report.figures.draw import draw_all
from bench.report.page import sections
from bench.report.write import write_report
from bench.store.record import Status
from bench.store.run_folder import RunFolder

FIGURES = {"ratios", "stp_by_mode", "progress_by_job", "throughput_by_job", "step_latency", "telemetry"} | {
    "drift", "pareto", "energy", "components"
}  # fmt: skip
CONTRAST_COLUMNS = {"mix", "metric", "mode", "baseline", "value", "baseline_value", "ratio"} | {
    "ci_low", "ci_high", "n_blocks", "verdict"
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    plan = PLAN.replace("[time-slicing, mps]", "[time-slicing, mps-equal, mig]")
    return make_run(tmp_path_factory.mktemp("report"), Recipe(plan_text=plan))


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return read(run)


def test_the_page_opens_with_the_answer_and_the_warning(page: Page) -> None:
    answer, banner = page.words.index("The model predicts"), page.words.index("no GPU was measured")
    assert answer < banner < page.words.index("How the modes compare")


@pytest.mark.parametrize(
    "word",
    ["Holm", "95 %", "ANTT", "STP", "smallest progress", "blocks", "partition", "interference", "not validated",
     "read back", "assumed", "Eyerman", "tables/contrasts.csv", "Twelve rules",
     "SIGPLAN checklist", "if you care about", "driver version", "580.1", "abc1234", "6 of 6"],
)  # fmt: skip
def test_what_a_reviewer_looks_for_is_on_the_page(page: Page, word: str) -> None:
    assert word in page.words


def test_every_cell_names_its_column_and_no_interval_is_broken_by_a_line(run: RunFolder, page: Page) -> None:
    comparison = analyse(run)
    tables = [table for section in sections(comparison, {}) for table in section.tables]
    (decisions,) = [table for table in tables if table.title == "What to take"]
    titles = [column.title for column in decisions.columns[1:]]
    told = page.cells[: len(decisions.rows) * len(titles)]
    assert [title for title, _ in told] == titles * len(decisions.rows)
    intervals = [text for title, text in told if title == "its value [95 % CI]" and "[" in text]
    assert any(re.search(r"\[\d+\.\d+,\u00a0\d+\.\d+\]", text) for text in intervals)
    assert not [text for text in intervals if ", " in text]


def test_the_first_table_says_mode_lead_and_how_sure(tmp_path: Path) -> None:
    page = read(make_run(tmp_path))
    row = dict(page.cells[:7])
    assert row["if you care about"] == "throughput (STP, higher is better)"
    assert row["take"] == "mps"
    assert row["over the next"].startswith("1.400 [1.387,\u00a01.413] (exclusive 1.00)")
    assert row["blocks"] == "6"
    assert row["how sure"] == "shown: p < 0.001 against time-slicing (Holm over 3 pairs)"


def test_a_tie_is_called_the_same_only_where_that_was_shown(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        alone = trial.role is not Role.MIX
        return 100.0 * (1 + slot) * (1.0 if alone else 0.7 * wobble(trial))

    row = dict(read(make_run(tmp_path, Recipe(rate=rate))).cells[:7])
    assert sorted(row["take"].removeprefix("any of ").split(", ")) == ["mps", "time-slicing"]
    assert row["how sure"].startswith("shown to be the same within 5 % (difference from ")


def test_what_is_not_known_gives_its_reason_and_no_unit(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, Recipe(telemetry=False)))
    cells = page.cells[: 5 * 7]
    energy = dict(cells[-7:])
    assert energy["take"] == "not known"
    assert re.fullmatch(r"\N{EN DASH} \[\d\]", energy["its value [95 % CI]"])
    assert energy["over taking turns"] == energy["its value [95 % CI]"]
    assert "taking turns measured best" not in page.words


def test_every_figure_is_inside_the_page_and_beside_it_as_pdf_svg_and_png(run: RunFolder, page: Page) -> None:
    assert len(page.images) == len(FIGURES)
    for image in page.images:
        assert str(image["src"]).startswith("data:image/png;base64,")
        assert "SIMULATED" in str(image["alt"])
    folder = run.report_folder / "figures"
    assert {file.name for file in folder.iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "svg")
    }


def test_contrasts_have_their_columns_and_every_sharing_mode(run: RunFolder, page: Page) -> None:
    table = rows(run, "contrasts.csv")
    assert set(table[0]) >= CONTRAST_COLUMNS
    primary = [(row["mode"], row["baseline"]) for row in table if row["family"] == "primary"]
    assert len(primary) == 5
    assert all(row[column] for row in table if row["family"] == "primary" for column in CONTRAST_COLUMNS)


def test_the_other_tables_hold_trials_jobs_and_cells(run: RunFolder, page: Page) -> None:
    assert len(rows(run, "trials.csv")) == len(list(run.trials()))
    shared = [row for row in rows(run, "jobs.csv") if row["role"] == Role.MIX]
    assert {row["unit"] for row in shared} == {"images", "sequences"}
    assert all(
        float(row["progress"]) == pytest.approx(float(row["rate"]) / float(row["solo_rate"])) for row in shared
    )
    cells = rows(run, "colocation.csv")
    assert {row["stp"] for row in cells if row["mode"] == "exclusive"} == {"1.0"}


def test_a_missing_metric_is_a_dash_with_its_reason_and_never_zero(run: RunFolder, page: Page) -> None:
    assert "[N/A]: not available on this device" in page.words
    assert all(row["utilisation_percent"] == "" for row in rows(run, "trials.csv"))
    markdown = (run.report_folder / "report.md").read_text()
    assert "\N{EN DASH} [1]" in markdown


def test_rebuilding_gives_the_same_tables_and_markdown(run: RunFolder, page: Page) -> None:
    def contents() -> dict[str, bytes]:
        files = [run.report_folder / "report.md", *run.report_folder.glob("tables/*.csv")]
        return {file.name: file.read_bytes() for file in files}

    first = contents()
    write_report(run)
    assert contents() == first


def test_markdown_tables_are_whole(run: RunFolder, page: Page) -> None:
    lines = (run.report_folder / "report.md").read_text().splitlines()
    for above, below in itertools.pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert above.replace("\\|", "").count("|") == below.replace("\\|", "").count("|")


def test_a_measured_standard_run_carries_no_warning(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, Recipe(simulated=False, device={**DEVICE, "name": "NVIDIA A100"})))
    assert "SIMULATED" not in page.words
    assert "SIMULATED" not in str(page.images)
    assert "publishable" not in page.words


def test_controls_stand_on_the_first_screen_and_in_their_own_family(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first_screen = read(run).words.partition("How the modes compare")[0]
    assert "A/A: time-slicing against itself (STP of the mix “pair”) 1.000" in first_screen
    assert "Positive control: a tenant slowed by 5 % (resnet50-training alone) is seen as 0.9524" in first_screen
    rows = list(csv.DictReader((run.report_folder / "tables" / "contrasts.csv").open()))
    controls = [row for row in rows if row["family"] == "control"]
    assert [(row["mode"], row["baseline"]) for row in controls] == [
        ("time-slicing (A/A)", "time-slicing"),
        ("exclusive (slowed)", "exclusive"),
    ]
    assert all(row[column] for row in controls for column in CONTRAST_COLUMNS)


@pytest.mark.parametrize(("alone", "said"), [(0.93, True), (0.97, False)])
def test_a_job_that_was_faster_beside_others_than_alone_is_named(tmp_path: Path, alone: float, said: bool) -> None:
    def rate(trial: Trial, slot: int) -> float:
        held_up = trial.role is Role.SOLO and slot == 0 and trial.mix.jobs[0].workload.startswith("resnet")
        return 100.0 * (alone if held_up else 1.0) * wobble(trial)

    first_screen = read(make_run(tmp_path, Recipe(rate=rate))).words.partition("How the modes compare")[0]
    assert ("resnet50-training was faster beside others than alone: slowdown 0.9" in first_screen) is said
    assert "bert-base-training was faster" not in first_screen


def test_smoke_and_cpu_are_said_before_any_number(tmp_path: Path) -> None:
    plan = PLAN.replace("[time-slicing, mps]", "[cpu-shared]").replace("blocks: 6", "timing: smoke")

    def rate(trial: Trial, slot: int) -> float:
        return 100.0 if trial.role is Role.SOLO else 45.0 + trial.block

    recipe = Recipe(
        plan_text=plan, simulated=False, rate=rate, device={"kind": "cpu", "name": "Xeon"}, telemetry=False
    )
    page = read(make_run(tmp_path, recipe))
    assert "Not publishable" in page.words
    assert "on the host's processor" in page.words
    assert all("SMOKE" in str(image["alt"]) for image in page.images)
    assert "no telemetry was recorded" in page.words


def test_the_models_published_error_is_quoted(tmp_path: Path) -> None:
    device = {**DEVICE, "model_validation": "mean error 5.2 % over 326 co-locations"}
    page = read(make_run(tmp_path, Recipe(device=device, plan_text=PLAN.replace("6", "1"))))
    assert "mean error 5.2 % over 326 co-locations" in page.words
    assert "not validated" not in page.words


def test_failed_invalid_and_skipped_trials_are_listed_with_reasons(tmp_path: Path) -> None:
    fates: dict[int, Fate] = {
        1: (Status.FAILED, "resnet50-training: OutOfMemoryError"),
        2: (Status.INVALID, "a foreign process ran on the GPU"),
        3: (Status.SKIPPED, "this device cannot"),
    }

    def status(trial: Trial) -> Fate:
        return fates.get(trial.block, (Status.OK, None)) if trial.mode.mode == "mps" else (Status.OK, None)

    page = read(make_run(tmp_path, Recipe(status=status)))
    for text in (
        "OutOfMemoryError",
        "a foreign process ran on the GPU",
        "this device cannot",
        "1 failed",
        "1 invalid",
    ):
        assert text in page.words


@pytest.mark.parametrize("blocks", [1, 2])
def test_few_blocks_make_a_report_without_a_winner(tmp_path: Path, blocks: int) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("6", str(blocks))))
    assert "not enough data" in read(run).words
    assert all(row["verdict"] == "not enough data" for row in rows(run, "contrasts.csv"))


def test_every_paragraph_of_the_methods_has_its_heading(run: RunFolder, page: Page) -> None:
    methods = (run.report_folder / "report.md").read_text(encoding="utf-8").partition("## Methods")[2]
    for heading in ("This run", "Design", "Window", "Steadiness", "Co-location metrics", "Contrasts", "Verdicts"):
        assert f"\n**{heading}.** " in methods
    assert "goodput" not in methods


def test_one_job_alone_in_its_mix(tmp_path: Path) -> None:
    plan = PLAN.replace("[resnet50-training, bert-base-training]", "[resnet50-training]")
    words = read(make_run(tmp_path, Recipe(plan_text=plan.replace("6", "1")))).words
    assert "pair (1 job). 1 block in random order" in words
    assert "trials in 1 block" in words


@pytest.mark.parametrize("fate", [None, (Status.FAILED, "crashed"), (Status.SKIPPED, "cannot")])
def test_a_run_without_a_single_ok_trial_still_has_a_report(tmp_path: Path, fate: Fate | None) -> None:
    run = make_run(tmp_path, Recipe(status=lambda trial: fate))
    assert "How the modes compare" in read(run).words
    assert rows(run, "contrasts.csv")


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(status=lambda trial: (Status.OK, None) if trial.block == 1 else None))
    assert "--resume" in read(run).words


EXTREME = ("<script>alert(1)</script></td><img src=//x>", "混合 $x^2$ \\frac µ a|b*c_d`e&lt;", "ab" * 100)


def test_extreme_names_are_shown_and_do_no_harm(tmp_path: Path) -> None:
    mixes = "".join(f"  {json.dumps(name)}: [resnet50-training, bert-base-training]\n" for name in EXTREME)
    plan = f"name: '<b>bold</b>'\nmodes: [mps]\nmixes:\n{mixes}blocks: 1\ntiming: smoke\n"

    def status(trial: Trial) -> Fate:
        return (Status.FAILED, "<iframe src=//evil>") if trial.mix.name == EXTREME[0] else (Status.OK, None)

    run = make_run(tmp_path, Recipe(plan_text=plan, status=status))
    page = read(run)
    assert not {"b", "iframe"} & page.tags
    for name in EXTREME:
        assert name in page.words
    assert "<script>" not in (run.report_folder / "report.md").read_text()
    assert {row["mix"] for row in rows(run, "contrasts.csv")} == set(EXTREME)


def test_every_table_and_figure_names_a_file_with_the_columns_it_came_from(run: RunFolder, page: Page) -> None:
    comparison = analyse(run)
    figures = draw_all(comparison, run, run.report_folder / "figures")
    shown = [table for section in sections(comparison, figures) for table in section.tables]
    for source in [*(table.source for table in shown), *(drawing.source for drawing, _ in figures.values())]:
        assert source.columns
        if source.file.endswith(".csv"):
            assert set(source.columns) <= set(rows(run, source.file.removeprefix("tables/"))[0]), source
        else:
            assert list(run.path.glob(source.file)), source


def test_the_decision_stands_before_the_contrasts_with_winners_that_were_shown_only(tmp_path: Path) -> None:
    words = read(make_run(tmp_path)).words
    assert words.index("Which mode to take") < words.index("How the modes compare")
    assert "shown: p < 0.001 against" in words


def test_what_is_not_publishable_is_marked_in_every_form(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "timing: smoke"), simulated=False))
    read(run)
    svg = (run.report_folder / "figures" / "ratios.svg").read_text(encoding="utf-8")
    assert "SMOKE" in svg
    tex = (run.report_folder / "tables" / "primary-contrasts.tex").read_text(encoding="utf-8")
    assert r"\caption{{[}SMOKE" in tex


def test_letters_without_a_font_are_spelled_in_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN.replace("pair:", '"\U0001f600x":').replace("6", "1")))
    assert "\U0001f600x" in read(run).words
    name = (run.report_folder / "figures" / "stp_by_mode.svg").read_text(encoding="utf-8")
    assert "\U0001f600" in name or "U+1F600x" in name


def item(run: RunFolder, text: str) -> str:
    """Return the line of a checklist's item in the Markdown report."""
    write_report(run)
    lines = (run.report_folder / "report.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("|") and text in line]
    return line


def test_the_checklists_follow_the_run(tmp_path: Path) -> None:
    few = make_run(tmp_path / "few", Recipe(plan_text=PLAN.replace("6", "2")))
    assert "| no | 2 blocks; with fewer than 6" in item(few, "enough trials")
    assert "| in part | a rate is work over the whole window" in item(few, "rates harmonically")
    full = make_run(tmp_path / "full", Recipe(simulated=False))
    assert "| yes | 6 blocks" in item(full, "enough trials")
    assert "| yes | standard timing" in item(full, "a reasonable platform")
    broken = make_run(tmp_path / "broken", Recipe(status=lambda trial: (Status.FAILED, "crashed")))
    assert "| no |" in item(broken, "Upper bounds")
    assert "failed, with reasons" in item(broken, "What is left out")
