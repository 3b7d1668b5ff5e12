"""The smaller version of `benchmarks/report_speed.py`: its run is a whole one, and its costs are counted whole."""

import subprocess
import sys

import pytest
from scripts import FOLDER, load
from synthetic import Recipe, make_run

from bench.analysis.metrics import LATENCY_P50, RATE
from bench.analysis.summary import analyse
from bench.store.run_folder import RunFolder

SCRIPT = FOLDER / "report_speed.py"
REQUESTS = 20_000

SPEED = load("report_speed")


def one_request(_trial: object, _window: object) -> dict[str, object]:
    return {"scheduled_s": [1050.0], "sent_s": [1050.0], "done_s": [1051.0], "status": ["ok"], "items": [1]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """A run with one request a trial, and the same with many."""
    folder = tmp_path_factory.mktemp("speed")
    source = make_run(folder / "source", Recipe(plan_text=f"{SPEED.PLAN}\nblocks: 2\n", requests=one_request))
    return source, SPEED.with_requests(source, folder / "many", REQUESTS)


def test_every_trial_that_serves_gets_as_many_requests_and_some_time_out(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    source, many = runs
    before = {record.id: source.requests(record.id) for record in source.trials()}
    after = {record.id: many.requests(record.id) for record in many.trials()}
    served = [name for name, table in before.items() if table is not None]
    assert served
    assert [name for name, table in after.items() if table is not None] == served
    for name in served:
        table = after[name]
        assert table is not None
        assert len(table) == REQUESTS // len(served)
        assert set(table["status"].unique()) == {"ok", "timeout"}
        assert table["done_s"].is_monotonic_increasing


def test_nothing_but_the_requests_is_another(runs: tuple[RunFolder, RunFolder]) -> None:
    before, after = (
        {(level.mix, level.mode, level.metric, level.job): level.value for level in analyse(run).levels}
        for run in runs
    )
    assert before.keys() == after.keys()
    closed = [key for key in before if key[2:] == (RATE.name, "resnet50-training")]
    medians = [after[key] for key in after if key[2] == LATENCY_P50.name and key[3].startswith("jupyter")]
    assert [after[key] for key in closed] == pytest.approx([before[key] for key in closed])
    assert medians == pytest.approx([SPEED.MEDIAN_S] * len(medians), rel=0.1)
    assert closed
    assert medians


def test_cost_counts_what_a_process_starts() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    found = SPEED.cost(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"]
    )
    assert found.cpu_s >= 0.3
    assert found.wall_s > 0
    assert found.largest_process_mib > 1


def test_a_command_that_fails_has_no_cost() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        SPEED.cost([sys.executable, "-c", "raise SystemExit(3)"])
