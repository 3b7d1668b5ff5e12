"""Figures of single trials and of drift: when they are drawn, and what hovering tells."""

from pathlib import Path

from loads import plan, slower_with_load
from synthetic import PLAN, Recipe, make_run

from bench.analysis.summary import analyse
from bench.report.figures.draw import draw_all
from bench.report.figures.style import Drawing


def drawn(folder: Path, recipe: Recipe) -> dict[str, Drawing]:
    run = make_run(folder, recipe)
    return {name: drawing for name, (drawing, _) in draw_all(analyse(run), run, folder).items()}


def test_one_block_has_no_order_and_no_loads(tmp_path: Path) -> None:
    figures = drawn(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "blocks: 1")))
    assert {"step_latency", "telemetry"} <= set(figures)
    assert not {"drift", "latency_by_load"} & set(figures)


def test_what_no_trial_recorded_has_no_panel_but_is_named(tmp_path: Path) -> None:
    figure = drawn(tmp_path, Recipe(plan_text=PLAN.replace("blocks: 6", "blocks: 1")))["telemetry"]
    labels = [axes.get_ylabel().split("\n")[0] for axes in figure.figure.axes]
    assert [label for label in labels if label] == ["step /", "SM clock", "power", "memory"]
    assert "Not recorded: temperature (°C), utilisation (%)" in figure.caption


def test_a_tail_ends_where_too_few_steps_bound_it(tmp_path: Path) -> None:
    words = [hover.words for hover in drawn(tmp_path, Recipe())["step_latency"].hovers]
    solo = [word for word in words if word.startswith("solo: p99 ")]
    assert solo == ["solo: p99 25.0 ms, n = 6", "solo: p99 125 ms, n = 6"]  # 4,800 and 960 steps in a window
    assert sum(word.startswith("solo: p99.9 ") for word in words) == 1


def test_every_trial_of_the_order_and_every_load_has_a_spot(tmp_path: Path) -> None:
    text = plan(5, 10, 20).replace("blocks: 2", "blocks: 3")
    figures = drawn(tmp_path, Recipe(plan_text=text, requests=slower_with_load))
    words = [hover.words for hover in figures["latency_by_load"].hovers]
    assert "mps, median (ms) at 10/s: 10.0, n = 3" in words
    trials = [hover.words.split(":")[0] for hover in figures["drift"].hovers]
    assert len(trials) == len(set(trials)) == 3 * (3 + 1 + 1)  # each mix, its first once more, and the job alone
