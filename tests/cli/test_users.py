"""A job that serves users beside one in a closed loop, end to end through files on a simulated GPU."""

import csv
import json
import shutil

import pandas as pd
import pytest

PLAN = """\
name: users
modes: [time-slicing, mps]
mixes:
  both: [gpt2-training, {workload: jupyter, think_s: 0.05, slo_s: 0.05}]
timing: smoke
blocks: 1
"""
USER = "jupyter slo_s=0.05 think_s=0.05"


@pytest.fixture
def run_folder(place):
    place.plan.write_text(PLAN)
    done = place.run("--plan", place.plan, "--results", place.results, "--device", "simulated:a100-80gb",
                     "--seed", "3", "--quiet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"so far the users of {USER} get most answers" in done.stdout
    return place.run_folder


def table(run_folder, name):
    with (run_folder / "report" / "tables" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def pauses(run_folder, trial):
    """The think times of a trial: from the end of each request to the beginning of the next."""
    requests = pd.read_parquet(run_folder / "trials" / trial / "requests.parquet")
    assert set(requests["slot"]) == ({0} if "exclusive" in trial else {1})
    assert (requests["status"] == "ok").all()
    return (requests["scheduled_s"].to_numpy()[1:] - requests["done_s"].to_numpy()[:-1]).round(6).tolist()


def report(run_folder):
    files = [run_folder / "report" / "report.md", *(run_folder / "report" / "tables").glob("*")]
    return {file.name: file.read_bytes() for file in files}


def test_a_job_of_requests_from_the_plan_to_the_report(place, run_folder):
    records = {file.parent.name: json.loads(file.read_text()) for file in run_folder.glob("trials/b*/trial.json")}
    assert {record["status"] for record in records.values()} == {"ok"}
    gpt, jupyter = records["b01-mps-both"]["tenants"]
    assert (gpt["reports"], jupyter["reports"]) == ("steps", "requests")
    assert (gpt["slo_s"], jupyter["slo_s"]) == (None, 0.05)
    assert "slo_s" not in jupyter["parameters"]

    modes = ["b01-exclusive-jupyter-slo-s-0.05-think-s-0.05", "b01-time-slicing-both", "b01-mps-both"]
    alone, *beside = [pauses(run_folder, trial) for trial in modes]
    shortest = min(map(len, (alone, *beside)))
    assert shortest > 20
    assert all(each[:shortest] == alone[:shortest] for each in beside), "users do the same in every mode"

    rows = {(row["mode"], row["tenant"]): row for row in table(run_folder, "jobs.csv") if row["role"] == "mix"}
    user = rows["mps", USER]
    assert 0 < float(user["goodput_per_s"]) <= float(user["offered_per_s"])
    assert float(user["attainment"]) == pytest.approx(float(user["goodput_per_s"]) / float(user["offered_per_s"]))
    assert (user["progress"], rows["mps", "gpt2-training"]["goodput_per_s"]) == ("", "")
    (cell,) = [row for row in table(run_folder, "colocation.csv") if row["trial"] == "b01-mps-both"]
    assert float(cell["stp"]) == pytest.approx(float(rows["mps", "gpt2-training"]["progress"]))
    page = (run_folder / "report" / "report.md").read_text()
    assert "goodput under its SLO" in page


def test_what_was_lost_is_measured_again_and_the_report_is_the_same(place, run_folder):
    records, written = place.records(), report(run_folder)
    numbers = [name for name in written if name.endswith(".csv")]  # the proof of mode names processes
    assert "levels.csv" in numbers
    shutil.rmtree(run_folder / "trials" / "b01-mps-both")
    shutil.rmtree(run_folder / "report")
    assert place.resume().returncode == 0
    assert place.records() == records
    again = report(run_folder)
    assert {name: again[name] for name in numbers} == {name: written[name] for name in numbers}
    rebuilt = place.run("report", run_folder, program="-m bench")
    assert rebuilt.returncode == 0
    assert report(run_folder) == again
