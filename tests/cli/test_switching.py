"""`--plan switching` from the command line: on a simulated GPU, killed and resumed, and refused on a CPU."""

import csv
import json
import re

import pytest

PLAN = """\
name: small
modes: [mps, mig]
mixes: {first contexts: [{workload: first-context, count: [1, 2]}]}
timing: switching
blocks: 2
"""


@pytest.fixture
def place(place):
    place.plan.write_text(PLAN)
    return place


def visits(place):
    return {file.name: json.loads(file.read_text()) for file in place.run_folder.glob("visits/*")}


def table(place):
    with (place.run_folder / "report" / "tables" / "switching.csv").open(newline="") as file:
        return {(row["mode"], row["what"]): row for row in csv.DictReader(file)}


def test_a_run_says_what_switching_took_and_that_no_gpu_was_switched(place):
    process = place.begin_small()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("With the simulated driver's tools, not on a GPU: mps takes")
    found = table(place)
    assert {what for mode, what in found if mode == "mps"} == {
        "enter", "leave", "start the MPS daemon", "stop the MPS daemon"
    }  # fmt: skip
    assert {what for mode, what in found if mode == "mig"} == {
        "enter", "leave", "turn MIG mode on", "turn MIG mode off",
        "create 7g.80gb", "destroy 7g.80gb", "create 2x3g.40gb", "destroy 2x3g.40gb",
    }  # fmt: skip
    assert {row["n_blocks"] for row in found.values()} == {"2"}
    assert all(0 < float(row["min_s"]) <= float(row["median_s"]) <= float(row["max_s"]) for row in found.values())
    assert all(row["simulated"] == "True" for row in found.values())
    page = (place.run_folder / "report" / "index.html").read_text()
    assert "no GPU was switched" in page
    assert "STP" not in re.sub(r'"data:[^"]*"', "", page)  # in a picture, letters stand by chance


def test_a_report_is_rebuilt_from_the_files(place):
    place.begin_small().communicate(timeout=60)
    before = table(place)
    done = place.run("report", place.run_folder, program="-m bench")
    assert (done.returncode, table(place)) == (0, before)


def test_killed_in_the_middle_of_a_visit(place, until):
    """What was entered is known, what was not left is not; the resumed visit has a file of its own."""
    place.faults({"tool": "nvidia-smi", "match": "-dgi", "action": "hang", "seconds": 0.8, "times": 1})
    process = place.begin_small()
    until(lambda: '"times": 0' in place.fault_file.read_text(), process)
    process.kill()
    process.communicate()
    (killed,) = [visit for visit in visits(place).values() if visit["leave_s"] is None]
    assert killed["mode_label"] == "mig"
    assert killed["enter_s"] > 0
    name = f"b{killed['block']:02d}-mig"
    assert place.resume().returncode == 0
    after = visits(place)
    assert after[f"{name}.json"] == killed
    assert after.keys() >= {f"b0{block}-{mode}.json" for block in (1, 2) for mode in ("exclusive", "mps", "mig")}
    assert not list(place.run_folder.glob("visits/.*"))
    resumed = after.get(f"{name}.2.json")
    assert resumed is None or (resumed["leave_s"] > 0 and resumed["block"] == killed["block"])
    assert table(place)["mig", "enter"]["n_blocks"] == "2"


def test_on_a_cpu_nothing_is_switched_so_it_is_refused_before_anything_starts(place):
    refused = place.run("--plan", "switching", "--device", "cpu", "--results", place.results)
    assert refused.returncode == 2
    assert "nothing is switched" in refused.stderr
    assert "--device simulated" in refused.stderr
    assert not place.results.exists()


def test_the_preset_has_a_dry_run(place):
    done = place.run("--plan", "switching", "--device", "simulated", "--dry-run")
    assert done.returncode == 0
    assert "170 trials in 10 blocks" in done.stdout
