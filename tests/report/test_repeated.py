"""`compare`: whether a second run reproduces the first, what differs, and what is refused."""

import csv
from pathlib import Path

import pytest
from synthetic import DEVICE, PLAN, Fate, Recipe, make_run, usual_rate

from bench.analysis.repeated import Repetition, repetition
from bench.analysis.summary import analyse
from bench.cli import main
from bench.errors import SetupError
from bench.plan.schedule import Role, Trial
from bench.report.repeated import verdict_counts
from bench.store.record import Status


def faster(factor: float, mode: str = "mps"):
    """Return rates in which one mode is faster by a factor."""

    def rate(trial: Trial, slot: int) -> float:
        own = factor if trial.mode.mode == mode and trial.role is Role.MIX else 1.0
        return usual_rate(trial, slot) * own

    return rate


def hold(tmp_path: Path, a: Recipe, b: Recipe) -> Repetition:
    return repetition(analyse(make_run(tmp_path / "a", a)), analyse(make_run(tmp_path / "b", b)))


def verdict(found: Repetition, metric: str, mode: str = "mps") -> str:
    (row,) = [row for row in found.repeats if (row.metric, row.mode, row.job) == (metric, mode, "")]
    return row.verdict


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.0, "reproduced"), (1.03, "reproduced within the margin but different"), (1.2, "not reproduced")],
)
def test_the_four_verdicts_follow_the_size_of_the_difference(tmp_path: Path, factor: float, said: str) -> None:
    found = hold(tmp_path, Recipe(rate=faster(1.0)), Recipe(rate=faster(factor)))
    assert verdict(found, "stp") == said
    assert verdict(found, "stp", "time-slicing") == "reproduced"  # noisier, and still within 5 %


def test_tails_have_a_wider_margin(tmp_path: Path) -> None:
    found = hold(tmp_path, Recipe(rate=faster(1.0)), Recipe(rate=faster(1.07)))
    assert verdict(found, "stp") == "not reproduced"
    assert verdict(found, "tail_inflation") == "reproduced within the margin but different"


def test_too_few_blocks_are_inconclusive(tmp_path: Path) -> None:
    one = Recipe(plan_text=PLAN.replace("6", "1"))
    assert {row.verdict for row in hold(tmp_path, one, one).repeats} == {"inconclusive"}


def test_every_field_that_differs_is_named(tmp_path: Path) -> None:
    other = Recipe(plan_text=PLAN.replace("6", "7"), device={**DEVICE, "driver_version": "570.1", "uuid": "GPU-2"})
    found = {each.field: (each.a, each.b) for each in hold(tmp_path, Recipe(), other).differences}
    assert found == {
        "device.driver_version": ("580.1", "570.1"),
        "device.uuid": ("GPU-simulated", "GPU-2"),
        "plan.blocks": ("6", "7"),
    }


def test_the_first_sentence_names_what_differs(tmp_path: Path) -> None:
    same = hold(tmp_path / "same", Recipe(), Recipe())
    assert verdict_counts(same).endswith(". Their set-ups are the same in every recorded field.")
    one = hold(tmp_path / "one", Recipe(), Recipe(plan_text=PLAN.replace("6", "7")))
    assert verdict_counts(one).endswith("Their set-ups differ in 1 field: plan.blocks.")
    board = Recipe(device={"kind": "gpu", "name": "SIMULATED H100"})
    assert verdict_counts(hold(tmp_path / "board", Recipe(), board)).endswith(
        "differ in 3 fields: device.name, device.uuid, device.driver_version."
    )


def test_failures_of_one_run_alone_stand_beside_what_the_others_reproduce(tmp_path: Path) -> None:
    def crashing(trial: Trial) -> Fate:
        lost = trial.mode.mode == "mps" and trial.role is Role.MIX and trial.block > 2
        return (Status.FAILED, "crashed") if lost else (Status.OK, None)

    found = hold(tmp_path, Recipe(), Recipe(status=crashing))
    assert [(each.field, each.a, each.b) for each in found.differences] == [
        ("failures.pair.mps", "none", "4 of 6")
    ]


def test_what_is_one_by_definition_is_no_repeat(tmp_path: Path) -> None:
    found = hold(tmp_path, Recipe(), Recipe())
    assert {row.metric for row in found.repeats if row.mode == "exclusive"} == {
        "rate", "latency_p50", "latency_p99", "energy_per_solo_second",
    }  # fmt: skip


def test_simulated_against_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"is simulated and .* is measured"):
        hold(tmp_path, Recipe(), Recipe(simulated=False))


def test_a_mix_of_other_jobs_is_another_mix(tmp_path: Path) -> None:
    other = PLAN.replace("bert-base-training", "bert-base-batch-inference")
    with pytest.raises(SetupError, match="share no mode"):
        hold(tmp_path, Recipe(), Recipe(plan_text=other))


def test_what_only_one_run_has_is_listed(tmp_path: Path) -> None:
    found = hold(tmp_path, Recipe(), Recipe(plan_text=PLAN.replace("mps", "mig")))
    assert found.unshared == (
        "pair (resnet50-training + bert-base-training): mps, only in A",
        "pair (resnet50-training + bert-base-training): mig, only in B",
    )


def test_the_verb_prints_the_table_and_writes_page_markdown_and_csv(tmp_path: Path, capsys) -> None:
    name = "<script>alert(1)</script>"
    plan = PLAN.replace("pair:", f"'{name}':")
    a, b = (make_run(tmp_path / side, Recipe(plan_text=plan, rate=faster(1.0))) for side in "ab")
    assert main(["compare", str(a.path), str(b.path), "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / f"compare-{a.record.run_id}-{b.record.run_id}"
    assert "Does B reproduce A?" in printed and "Nothing is pooled" in printed and str(folder) in printed
    with (folder / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["mix"] for row in rows} == {name}
    assert all(row["a_blocks"] == row["b_blocks"] == "6" for row in rows)
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "Does B reproduce A?</strong>" in html  # and no full stop after the question
    assert "SIMULATED" in html and name not in html and name.replace("<", "&lt;").replace(">", "&gt;") in html
    assert "<script>alert" not in (folder / "compare.md").read_text(encoding="utf-8")


def test_the_verb_refuses_with_the_code_of_a_refusal(tmp_path: Path, capsys) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", Recipe(simulated=False))
    assert main(["compare", str(a.path), str(b.path)]) == 2
    assert "not compared with a measurement" in capsys.readouterr().err
    assert main(["compare", str(a.path), str(tmp_path / "nowhere")]) == 2
