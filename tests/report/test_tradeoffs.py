"""Figures over mixes and modes: what they show of runs with known rates, and when they are absent."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from synthetic import PLAN, SOLO, Recipe, make_run, usual_rate

from bench.analysis.summary import Comparison, analyse
from bench.launch.corun import Window
from bench.plan.schedule import Role, Trial
from bench.report.figures.interference import draw_interference
from bench.report.figures.ranks import draw_ranks
from bench.report.figures.style import Drawing, apply_style, close_all, looks
from bench.report.figures.tradeoffs import draw_tradeoffs

PROBES = """
name: noisy neighbours
modes: [time-slicing, mps]
mixes: {beside sm: [resnet50-training, sm-probe], beside bandwidth: [resnet50-training, bandwidth-probe]}
blocks: 6
"""


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    apply_style()
    yield
    close_all()


def tradeoffs(comparison: Comparison) -> dict[str, Drawing]:
    look = looks([mode.label for mode in comparison.plan.sharing_modes])
    return {drawing.name: drawing for drawing in draw_tradeoffs(comparison, look)}


def told(drawing: Drawing, beginning: str) -> list[str]:
    return [spot.words for spot in drawing.spots if spot.words.startswith(beginning)]


def texts(drawing: Drawing) -> list[str]:
    return [text.get_text() for text in drawing.figure.findobj(Text) if isinstance(text, Text)]


def starved(trial: Trial, slot: int) -> float:
    """Under MPS the second job gets nothing in block 1."""
    hit = trial.role is Role.MIX and trial.mode.mode == "mps" and trial.block == 1 and slot == 1
    return 0.0 if hit else usual_rate(trial, slot)


def beside_probes(trial: Trial, slot: int) -> float:
    """Beside the bandwidth probe MPS costs nothing that its blocks agree on; everything else halves."""
    job = trial.mix.jobs[slot].workload
    solo = SOLO.get(job, 100.0)
    if trial.role is not Role.MIX:
        return solo
    unmoved = trial.mode.mode == "mps" and trial.mix.name == "beside bandwidth"
    return solo * (1.0 + 0.02 * (-1) ** trial.block if unmoved else 0.5)


def one_a_second(_trial: Trial, window: Window) -> Mapping[str, Any]:
    due_s = np.arange(window.start_s, window.stop_s, 1.0)
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + 0.2, "items": np.ones(len(due_s))}
    return {**columns, "status": np.where(due_s < window.stop_s - 30, "ok", "error")}


def test_a_mode_that_another_beats_in_both_is_said_to_be_dominated(tmp_path: Path) -> None:
    drawn = tradeoffs(analyse(make_run(tmp_path)))
    assert set(drawn) == {"pareto", "energy"}
    (mps,), (slices,), (turns,) = (told(drawn["pareto"], f"{m}:") for m in ("mps", "time-slicing", "exclusive"))
    assert mps.startswith("mps: ANTT 1.4") and "no other is better in all" in mps
    assert "no intervals overlap" in slices and "no intervals overlap" in turns
    assert "n = 6" in mps
    (of_energy,) = told(drawn["energy"], "mps:")
    assert "STP 1.4" in of_energy and "energy per solo second 214" in of_energy  # 300 W / 1.4


def test_a_single_block_shows_no_dominance(tmp_path: Path) -> None:
    drawn = tradeoffs(analyse(make_run(tmp_path, Recipe(plan_text=PLAN.replace("6", "1")))))
    assert "but intervals overlap" in told(drawn["pareto"], "time-slicing")[0]


def test_a_mode_in_which_a_job_starved_is_named_and_not_drawn(tmp_path: Path) -> None:
    comparison = analyse(make_run(tmp_path, Recipe(rate=starved)))
    pareto = tradeoffs(comparison)["pareto"]
    assert "no value: mps" in texts(pareto)
    assert not told(pareto, "mps:")
    (heat_map,) = draw_interference(comparison)
    assert "\N{EN DASH}" in texts(heat_map)
    assert "a job starved in 1 of 6 blocks" in " ".join(told(heat_map, "mps, bert-base-training"))


def test_energy_that_nobody_measured_has_no_figure(tmp_path: Path) -> None:
    assert set(tradeoffs(analyse(make_run(tmp_path, Recipe(telemetry=False))))) == {"pareto"}


def test_users_beside_a_batch_job_have_a_figure_of_their_own(tmp_path: Path) -> None:
    plan = PLAN.replace("bert-base-training", "jupyter")
    drawn = tradeoffs(analyse(make_run(tmp_path, Recipe(plan_text=plan, requests=one_a_second))))
    assert set(drawn) == {"service_tradeoff"}  # one job in a closed loop, and energy that is not its own
    service = drawn["service_tradeoff"]
    (mps,) = told(service, "mps:")
    assert "SLO attainment 0.750, STP 0.70" in mps  # 120 requests are too few for a p99
    assert not told(service, "exclusive")  # users and batch job alone at the same time is no way to share
    assert "alone" in texts(service)


def test_the_heat_map_tells_what_each_probe_does_and_hatches_what_may_be_nothing(tmp_path: Path) -> None:
    comparison = analyse(make_run(tmp_path, Recipe(plan_text=PROBES, rate=beside_probes)))
    (drawing,) = draw_interference(comparison)
    slices, mps = (axes for axes in drawing.figure.axes if axes.get_title())
    assert [text.get_text() for text in slices.texts] == ["2.00", "2.00"]
    assert [text.get_text() for text in mps.texts] == ["2.00", "1.00"]
    hatched = [
        [
            len(each.get_paths())
            for each in axes.collections
            if isinstance(each, PolyCollection) and each.get_hatch()
        ]
        for axes in (slices, mps)
    ]
    assert hatched == [[0], [1]]
    assert [label.get_text() for label in slices.get_yticklabels()] == ["resnet50-training"]  # probes disturb
    assert [label.get_text() for label in mps.get_xticklabels()] == ["sm-probe", "bandwidth-probe"]


def test_a_larger_mix_is_one_aggressor_and_one_pair_alone_has_no_heat_map(tmp_path: Path) -> None:
    plan = PLAN.replace("[resnet50-training, bert-base-training]", "[{workload: resnet50-training, count: 3}]")
    assert not list(draw_interference(analyse(make_run(tmp_path / "equal", Recipe(plan_text=plan)))))
    two = plan.replace("count: 3}", "count: 2}, bert-base-training")
    (drawing,) = draw_interference(analyse(make_run(tmp_path / "three", Recipe(plan_text=two))))
    columns = {words.split(" beside ")[1].split(":")[0] for words in told(drawing, "mps")}
    assert columns == {"resnet50-training + bert-base-training", "2 \N{MULTIPLICATION SIGN} resnet50-training"}


def test_ranks_are_drawn_from_ten_workloads_on(tmp_path: Path) -> None:
    def ranked(mixes: int) -> list[Drawing]:
        names = [f"m{n}: [{{workload: resnet50-training, batch_size: {n + 1}}}]" for n in range(mixes)]
        plan = f"name: many\nmodes: [time-slicing, mps]\nmixes: {{{', '.join(names)}}}\nblocks: 1\n"
        comparison = analyse(make_run(tmp_path / str(mixes), Recipe(plan_text=plan)))
        return list(draw_ranks(comparison, looks(["time-slicing", "mps"])))

    assert not ranked(9)
    (drawing,) = ranked(10)
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == ["exclusive  1.00", "mps  2.00", "time-slicing  3.00"]
    assert "STP, 10 workloads, CD = 1.05" in texts(drawing)
