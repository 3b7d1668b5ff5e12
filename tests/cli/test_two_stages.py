"""Timings paper and sequential, end to end: what is measured decides how many blocks follow, also if resumed."""

import json
import shutil

import pytest

PLAN = """\
name: two stages
modes: [mps]
mixes: {pair: [resnet50-training, bert-base-training]}
timing: paper
blocks: 2
"""
SEED = "6"  # its two pilot blocks differ by just so much that three more are asked for
PER_BLOCK = 5  # two jobs alone, one of them slowed, the mix, the mix once more


@pytest.fixture
def finished_run(place):
    place.plan.write_text(PLAN)
    done = place.run("--plan", place.plan, "--device", "simulated:a100-80gb", "--seed", SEED, "--quiet",
                     "--results", place.results)  # fmt: skip
    assert done.returncode == 0
    return done


def decision(place):
    return json.loads((place.run_folder / "blocks.json").read_text())


def lose_blocks(place, first):
    for trial in place.run_folder.glob("trials/b*"):
        if int(trial.name[1:3]) >= first:
            shutil.rmtree(trial)


def test_the_pilot_decides_and_any_interruption_leads_to_the_same_run(place, finished_run):
    decided = decision(place)
    assert decided["pilot_blocks"] == 2
    assert 2 < decided["blocks"] <= 40
    assert f"blocks in all: {decided['blocks']}" in finished_run.stderr
    assert {need["blocks"] for need in decided["needs"]} == {decided["blocks"]}
    whole = place.records()
    assert len(whole) == PER_BLOCK * decided["blocks"]
    page = (place.run_folder / "report" / "report.md").read_text()
    assert f"After a pilot of 2 blocks, Stein's rule set {decided['blocks']} in all" in page

    lose_blocks(place, first=3)  # as if it had been killed when it had just decided
    assert f" in {decided['blocks']} blocks" in place.run("--resume", place.run_folder, "--dry-run").stdout
    assert place.resume().returncode == 0
    assert place.records() == whole

    lose_blocks(place, first=2)  # as if it had been killed in the pilot
    (place.run_folder / "blocks.json").unlink()
    assert place.resume().returncode == 0
    assert (decision(place), place.records()) == (decided, whole)


def test_a_sequential_run_goes_on_to_its_first_look_and_says_what_that_costs(place):
    place.plan.write_text(PLAN.replace("paper", "sequential"))
    done = place.run("--plan", place.plan, "--device", "simulated:a100-80gb", "--seed", SEED, "--quiet",
                     "--results", place.results)  # fmt: skip
    assert done.returncode == 0
    decided, whole = decision(place), place.records()
    assert (decided["rule"], decided["pilot_blocks"], decided["blocks"]) == ("sequential", 10, 10)
    assert len(whole) == PER_BLOCK * 10
    page = (place.run_folder / "report" / "report.md").read_text()
    assert "stopped at 10" in page
    assert "sequentially stopped, coverage ≈ 94 % instead of 95 %" in page

    lose_blocks(place, first=9)
    assert place.resume().returncode == 0
    assert (decision(place), place.records()) == (decided, whole)
