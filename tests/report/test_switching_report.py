"""What a report says of switching: first and alone where the plan is about it, later or not at all elsewhere."""

import csv
from pathlib import Path

import pytest
from synthetic import Recipe, make_run

from bench.plan.mode import MODE_ADAPTER
from bench.report.write import write_report
from bench.store.record import VisitRecord
from bench.store.run_folder import RunFolder

PLAN = """
name: pair
modes: [time-slicing, mps]
mixes: {{pair: [resnet50-training, bert-base-training]}}
timing: {timing}
blocks: 6
"""


@pytest.fixture
def run(tmp_path: Path):
    """Make a run in which mps was entered in every block."""

    def make(timing: str, simulated: bool) -> RunFolder:
        run = make_run(tmp_path, Recipe(plan_text=PLAN.format(timing=timing), simulated=simulated))
        for block in range(1, 7):
            mode = MODE_ADAPTER.validate_python({"mode": "mps"})
            run.keep_visit(
                VisitRecord(block=block, mode=mode, mode_label="mps", simulated=simulated, began_at="",
                            enter_s=1 + block / 10, leave_s=None, calls=())
            )  # fmt: skip
        return run

    return make


def told(run: RunFolder) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_a_plan_about_switching_reports_that_and_compares_nothing(run):
    folder = run("switching", False)
    page = told(folder)
    assert page.index("What does switching this GPU cost?") < page.index(
        "mps takes 1.35 s (95 % CI 1.15 to 1.55, n = 6)"
    )
    assert not any(word in page for word in ("STP", "Holm", "publishable", "How the modes compare", "no GPU"))
    assert {file.name for file in (folder.report_folder / "figures").iterdir()} == {
        "switching.pdf",
        "switching.png",
        "switching.svg",
    }
    with (folder.report_folder / "tables" / "switching.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["what"], row["n_blocks"], row["min_s"], row["max_s"]) == ("enter", "6", "1.1", "1.6")
    assert (float(row["mean_s"]), float(row["median_s"])) == (pytest.approx(1.35), pytest.approx(1.35))
    assert "1.35 [1.15, 1.55]" in (folder.report_folder / "report.md").read_text(encoding="utf-8")


def test_on_a_simulated_device_the_page_says_whose_time_it_is(run):
    page = told(run("switching", True))
    assert "say nothing of a GPU" in page
    assert "With the simulated driver&#39;s tools, not on a GPU: mps takes" in page
    assert 'alt="What switching costs, SIMULATED"' in page


def test_an_ordinary_run_on_a_gpu_has_it_as_a_later_section(run):
    page = told(run("standard", False))
    assert page.index("How the modes compare") < page.index("<h2>What switching costs</h2>")


def test_an_ordinary_simulated_run_is_silent_about_it(run):
    folder = run("standard", True)
    assert "What switching costs" not in told(folder)
    assert not (folder.report_folder / "tables" / "switching.csv").exists()
