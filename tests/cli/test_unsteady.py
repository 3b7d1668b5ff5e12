"""A job that drifts, end to end: its block is measured once more, longer, in every mode; resumed, just so."""

import json
import shutil

import pytest

PLAN = """\
name: unsteady
modes: [mps]
mixes: {pair: [resnet50-training, bert-base-training]}
timing: standard
blocks: 2
"""
PER_BLOCK = 5  # two jobs alone, one of them slowed, the mix, the mix once more
DRIFT = {"tool": "job", "action": "drift", "share": 0.1}


@pytest.fixture
def finished(place):
    """A run in which a window of the second block drifts, and one of that block's repeat as well."""
    place.plan.write_text(PLAN)
    place.faults({**DRIFT, "match": ".b02-mps-pair/jobs/1"}, {**DRIFT, "match": ".b02x2-exclusive-bert"})
    done = place.run("--plan", place.plan, "--device", "simulated:a100-80gb", "--seed", "1", "--quiet",
                     "--results", place.results)  # fmt: skip
    assert done.returncode == 0
    return done


def test_a_block_is_measured_once_more_and_only_once(place, finished):
    assert "block 2: a window was not steady" in finished.stderr
    decision = json.loads((place.run_folder / "repeats.json").read_text())
    assert [(window["trial"], window["tenant"]) for window in decision["unsteady"]] == [
        ("b02-mps-pair", "bert-base-training")
    ]
    records = {name: record for name, (record, _) in place.records().items()}
    again = {name for name, record in records.items() if record["longer"]}
    assert again == {name.replace("b02-", "b02x2-") for name in records if name.startswith("b02-")}
    assert len(records) == 3 * PER_BLOCK
    lengths = {name: record["window"]["stop_s"] - record["window"]["settle_s"] for name, record in records.items()}
    assert {round(length) for name, length in lengths.items() if name in again} == {240}
    page = (place.run_folder / "report" / "report.md").read_text()
    assert "block 2 measured once more in every mode, with windows of 240 s; in block 2 a window was not" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| b02-mps-pair | bert-base-training |")]
    assert row.endswith("| steady |")
    assert "b02x2-exclusive-bert-base-training" in page  # among the flagged

    whole = place.records()
    for trial in place.run_folder.glob("trials/b02x2-*"):  # as if it had been killed when it had just decided
        shutil.rmtree(trial)
    assert place.resume().returncode == 0
    assert place.records() == whole
    for trial in place.run_folder.glob("trials/b02*"):  # as if it had been killed before
        shutil.rmtree(trial)
    (place.run_folder / "repeats.json").unlink()
    assert place.resume().returncode == 0
    assert (json.loads((place.run_folder / "repeats.json").read_text()), place.records()) == (decision, whole)
