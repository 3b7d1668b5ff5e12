"""The decision table: a mode is named for a mix and a concern only where its lead over every other was shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import PLAN, SOLO, Fate, Recipe, make_run, usual_rate, wobble

from bench.analysis.decisions import CONCERNS, Decision, depends
from bench.analysis.summary import analyse
from bench.launch.corun import Window
from bench.plan.schedule import Role, Trial
from bench.store.record import Status

CUT = PLAN.replace("[time-slicing, mps]", "[time-slicing, mps, mig]")
TWO_MIXES = CUT.replace("blocks", "  other: [bert-base-training, resnet50-training]\nblocks").replace(
    "mixes: {pair: [resnet50-training, bert-base-training]}",
    "mixes:\n  pair: [resnet50-training, bert-base-training]",
)


def decide(tmp_path: Path, recipe: Recipe | None = None) -> dict[tuple[str, str], Decision]:
    found = analyse(make_run(tmp_path, recipe)).decisions
    return {(decision.mix, decision.name): decision for decision in found}


def noisy(trial: Trial, slot: int) -> float:
    """Return the usual rates, with noise alone in a share too, so that isolation has a spread."""
    factor = wobble(trial) if trial.role is Role.SHARE else 1.0
    place = ("exclusive", "time-slicing", "mps", "mig").index(trial.mode.mode)
    own = 1 + 0.001 * (trial.block * place % 7)
    return usual_rate(trial, slot) * factor * (1.0 if trial.role is Role.SOLO else own)


def test_every_mix_has_every_concern(tmp_path: Path) -> None:
    found = decide(tmp_path, Recipe(plan_text=TWO_MIXES))
    assert list(found) == [(mix, concern.name) for mix in ("pair", "other") for concern in CONCERNS]


def test_the_shown_winner_is_named_with_its_lead_over_the_next_and_over_turns(tmp_path: Path) -> None:
    throughput = decide(tmp_path)["pair", "throughput"]
    assert throughput.winner == "mps"
    assert throughput.value.value == pytest.approx(1.4)
    assert throughput.lead is not None and throughput.against_turns is not None
    assert (throughput.lead.b, throughput.lead.baseline_value) == ("exclusive", pytest.approx(1.0))
    assert throughput.against_turns.interval.ratio == pytest.approx(1.4)


def test_tail_latency_is_the_worst_jobs_p99_over_its_p99_alone(tmp_path: Path) -> None:
    tail = decide(tmp_path)["pair", "tail latency"]
    assert tail.winner == "mps"
    assert tail.value.value == pytest.approx(1 / 0.7, rel=1e-6)
    assert tail.candidates == 2  # taking turns is none of them


def test_isolation_is_held_against_the_share_where_there_is_one(tmp_path: Path) -> None:
    isolation = decide(tmp_path, Recipe(plan_text=CUT, rate=noisy))["pair", "isolation"]
    assert isolation.winner == "mig"
    assert isolation.value.value == pytest.approx(1.0, abs=0.02)  # its rate alone in the share is as low
    assert isolation.lead is not None
    assert isolation.lead.b == "mps"
    assert isolation.lead.baseline_value == pytest.approx(0.7, abs=0.01)  # nothing is cut: all slowdown counts


def test_modes_that_cannot_be_told_apart_share_the_row(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo if trial.role is Role.SOLO else solo * 0.7 * wobble(trial)

    throughput = decide(tmp_path, Recipe(rate=rate))["pair", "throughput"]
    assert throughput.winner is None
    assert set(throughput.leaders) == {"time-slicing", "mps"}
    assert throughput.alike  # within 5 %, at a noise of 2 %


def test_a_noisy_tie_is_not_called_the_same(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo if trial.role is Role.SOLO else solo * 0.7 * wobble(trial) ** 8

    throughput = decide(tmp_path, Recipe(rate=rate))["pair", "throughput"]
    assert set(throughput.leaders) == {"time-slicing", "mps"}
    assert not throughput.alike


def test_a_tie_of_few_blocks_is_not_called_the_same(tmp_path: Path) -> None:
    recipe = Recipe(plan_text=PLAN.replace("6", "5"), rate=lambda trial, slot: 700 * wobble(trial))
    assert not decide(tmp_path, recipe)["pair", "throughput"].alike


def test_equal_fairness_without_spread_has_no_winner(tmp_path: Path) -> None:
    assert decide(tmp_path)["pair", "fairness"].winner is None


@pytest.mark.parametrize("blocks", [1, 5])
def test_too_few_blocks_name_nobody(tmp_path: Path, blocks: int) -> None:
    found = decide(tmp_path, Recipe(plan_text=PLAN.replace("6", str(blocks))))
    assert [decision.winner for decision in found.values()] == [None] * len(CONCERNS)


def test_a_mode_that_fails_too_often_cannot_be_taken(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        fails = trial.mode.mode == "mps" and trial.block % 3 == 0
        return (Status.FAILED, "crashed") if fails else (Status.OK, None)

    throughput = decide(tmp_path, Recipe(plan_text=PLAN.replace("6", "12"), status=status))["pair", "throughput"]
    assert throughput.barred == ("mps",)
    assert "mps" not in throughput.leaders


def test_taking_turns_cannot_be_taken_where_jobs_fail_even_alone(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        fails = trial.role is Role.SOLO and trial.block % 3 == 0
        return (Status.FAILED, "crashed") if fails else (Status.OK, None)

    plan = PLAN.replace("[time-slicing, mps]", "[time-slicing, mig]").replace("6", "12")
    throughput = decide(tmp_path, Recipe(plan_text=plan, status=status))["pair", "throughput"]
    assert throughput.barred == ("exclusive",)
    assert throughput.leaders == ("time-slicing",)


def test_a_skipped_mode_is_named_as_unknown(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        return (Status.SKIPPED, "cannot") if trial.mode.mode == "mps" else (Status.OK, None)

    throughput = decide(tmp_path, Recipe(status=status))["pair", "throughput"]
    assert throughput.missing == ("mps",)
    assert throughput.winner == "exclusive"


def test_no_job_is_asked_to_be_fair_to_itself(tmp_path: Path) -> None:
    alone = PLAN.replace(", bert-base-training", "").replace("6", "2")
    assert ("pair", "fairness") not in decide(tmp_path, Recipe(plan_text=alone))


def test_one_sharing_mode_wins_nothing_where_turns_are_no_candidate(tmp_path: Path) -> None:
    found = decide(tmp_path, Recipe(plan_text=PLAN.replace("[time-slicing, mps]", "[mps]")))
    assert found["pair", "throughput"].winner == "mps"
    assert found["pair", "tail latency"].winner is None
    assert found["pair", "tail latency"].leaders == ("mps",)


def test_nothing_measured_is_no_decision(tmp_path: Path) -> None:
    found = decide(tmp_path, Recipe(status=lambda trial: (Status.FAILED, "crashed")))
    assert {decision.leaders for decision in found.values()} == {()}


def test_a_starved_job_leaves_the_mode_without_a_value(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        starved = trial.mode.mode == "mps" and trial.role is Role.MIX and slot == 1
        return 0.0 if starved else usual_rate(trial, slot)

    found = decide(tmp_path, Recipe(rate=rate))
    assert "mps" in found["pair", "isolation"].missing
    assert "mps" in found["pair", "tail latency"].missing


def test_it_is_said_whether_the_winner_depends_on_mix_or_concern(tmp_path: Path) -> None:
    found = decide(tmp_path, Recipe(plan_text=CUT, rate=noisy))
    shown = [found["pair", "throughput"], found["pair", "isolation"]]
    assert depends(shown) == ("The winner depends on what you ask for: mps for throughput; mig for isolation.")
    assert depends(shown[:1]) == "mps was shown to be ahead in everything asked for."
    assert depends([]) == "No mode was shown to be ahead of all others in anything."


def test_the_mix_may_decide_too(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        better = "mps" if trial.mix.name == "pair" else "time-slicing"
        solo = SOLO[trial.mix.jobs[slot].workload]
        share = 1.0 if trial.role is Role.SOLO else 0.7 if trial.mode.mode == better else 0.6
        return solo * share * (1.0 if trial.role is Role.SOLO else wobble(trial))

    plan = TWO_MIXES.replace(", mig]", "]")
    found = decide(tmp_path, Recipe(plan_text=plan, rate=rate))
    throughput = [decision for decision in found.values() if decision.concern.name == "throughput"]
    assert depends(throughput).endswith("mps for throughput (“pair”); time-slicing for throughput (“other”).")
    silent = [decision for decision in found.values() if decision.winner is None][:1]
    assert depends([*throughput, *silent]).endswith(" Elsewhere no mode was shown to be ahead of all others.")


USERS = PLAN.replace("bert-base-training]", "jupyter]")


def slower_in_time_slicing(trial: Trial, window: Window) -> Mapping[str, Any]:
    """Ten requests a second; how many of them are too late differs by mode, and a little by block."""
    due_s = np.arange(window.start_s, window.stop_s, 0.1)
    late = 0.5 if trial.mode.mode == "time-slicing" else 0.1
    share = late * wobble(trial) * (1 + 0.01 * (trial.block % 4)) * (trial.role is Role.MIX)
    response_s = np.where(np.arange(len(due_s)) % 100 < 100 * share, 5.0, 0.2)
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + response_s}
    return {**columns, "items": np.ones(len(due_s)), "status": np.full(len(due_s), "ok")}


def test_users_are_asked_for_by_goodput_under_their_slo(tmp_path: Path) -> None:
    found = decide(tmp_path, Recipe(plan_text=USERS, requests=slower_in_time_slicing))
    assert [name for _, name in found] == [
        "goodput of jupyter",
        "throughput",
        "tail latency",
        "isolation",
        "energy",
    ]
    goodput = found["pair", "goodput of jupyter"]
    assert goodput.winner == "mps"
    assert goodput.value.value == pytest.approx(9.0, rel=0.02)
    assert goodput.lead is not None
    assert goodput.lead.interval.ratio == pytest.approx(0.9 / 0.5, rel=0.05)
    assert (goodput.candidates, goodput.against_turns) == (2, None)  # users take no turns


def test_where_all_jobs_serve_users_only_they_are_asked_for(tmp_path: Path) -> None:
    plan = PLAN.replace("resnet50-training, bert-base-training", "jupyter, jupyter")
    found = decide(tmp_path, Recipe(plan_text=plan, requests=slower_in_time_slicing))
    assert [name for _, name in found] == ["goodput of jupyter", "tail latency"]


def test_without_users_nobody_is_asked_for_their_goodput(tmp_path: Path) -> None:
    assert not [name for _, name in decide(tmp_path) if "goodput" in name]


def test_what_is_not_known_has_its_reason(tmp_path: Path) -> None:
    energy = decide(tmp_path, Recipe(telemetry=False))["pair", "energy"]
    assert (energy.leaders, energy.reason) == ((), "no telemetry was recorded")
