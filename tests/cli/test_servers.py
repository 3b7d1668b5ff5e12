"""A server and its users in a plan: the rate of a load is found once, for every mode and after --resume."""

import json
import shutil
from hashlib import sha256

import pandas as pd
import pytest

PLAN = """\
name: served
modes: [time-slicing, mps]
mixes:
  service:
    - {workload: resnet50-server, load: 0.5}
    - resnet50-training
timing: smoke
blocks: 1
"""


def measure(place, *, plan=PLAN, device="simulated:a100-80gb"):
    place.plan.write_text(plan)
    where = ("--device", device, "--results", place.results)
    return place.run("--plan", place.plan, "--seed", "5", "--quiet", *where)


def served(place):
    """Requests and parameters of the server, by mode."""
    found = {}
    for trial in place.run_folder.glob("trials/[!.]*/requests.parquet"):
        record = json.loads((trial.parent / "trial.json").read_text())
        found[record["mode_label"]] = (pd.read_parquet(trial), record["tenants"][0])
    return found


def test_one_rate_and_one_trace_serve_every_mode_and_a_run_that_goes_on(place):
    done = measure(place)
    assert done.returncode == 0, done.stderr
    assert "finding the highest rate of resnet50-server, once, alone" in done.stderr
    (calibrated,) = json.loads((place.run_folder / "calibration.json").read_text())["jobs"]
    assert calibrated["job"] == "resnet50-server load=0.5"
    assert calibrated["rate_per_s"] == 0.5 * calibrated["maximum_per_s"]
    assert calibrated["search"]["probes"]

    by_mode = served(place)
    assert set(by_mode) == {"exclusive", "time-slicing", "mps"}
    for requests, tenant in by_mode.values():
        assert tenant["parameters"]["rate"] == calibrated["rate_per_s"]
        assert tenant["job"] == "resnet50-server load=0.5"
        assert len(requests) == len(by_mode["exclusive"][0])
        arrivals_s = sorted(requests["scheduled_s"])
        assert arrivals_s == pytest.approx(sorted(by_mode["exclusive"][0]["scheduled_s"]), abs=1e-6)
    alone, mps, sliced = (mean_response_s(by_mode[mode][0]) for mode in ("exclusive", "mps", "time-slicing"))
    assert alone < mps < sliced  # its neighbour holds it up, more so where they take turns
    promised = by_mode["exclusive"][0]
    assert (promised["done_s"] - promised["scheduled_s"] <= calibrated["slo_s"]).mean() >= 0.99
    report = (place.run_folder / "report" / "report.md").read_text()
    assert f"| rate of resnet50-server load=0.5 | {calibrated['rate_per_s']:.5g} requests a second" in report

    file, whole = place.run_folder / "calibration.json", place.records()
    found = file.read_bytes()
    shutil.rmtree(next(place.run_folder.glob("trials/*-mps-*")))
    resumed = place.resume()
    assert resumed.returncode == 0
    assert "finding" not in resumed.stderr
    assert file.read_bytes() == found
    assert place.records() == whole


def mean_response_s(requests):
    answered = requests[requests["status"] == "ok"]
    return (answered["done_s"] - answered["scheduled_s"]).mean()


def test_loads_of_one_server_share_its_search_and_a_rate_needs_none(place):
    others = "    - {workload: resnet50-server, load: 0.25}\n    - {workload: bert-base-server, rate: 40}"
    assert measure(place, plan=PLAN.replace("    - resnet50-training", others)).returncode == 0
    low, high = json.loads((place.run_folder / "calibration.json").read_text())["jobs"]
    assert low["maximum_per_s"] == high["maximum_per_s"]
    assert high["rate_per_s"] == pytest.approx(2 * low["rate_per_s"])
    record = json.loads(next(place.run_folder.glob("trials/*-mps-*/trial.json")).read_text())
    rates = [tenant["parameters"]["rate"] for tenant in record["tenants"]]
    assert rates == [high["rate_per_s"], low["rate_per_s"], 40]


def test_a_promise_that_nobody_can_keep_is_refused_before_the_first_block(place):
    done = measure(place, plan=PLAN.replace("load: 0.5", "load: 0.5, slo_s: 0.0001"))
    assert done.returncode == 2
    assert "at no rate are 99 % answered within slo_s: 0.0001; raise slo_s" in done.stderr
    assert not list(place.run_folder.glob("trials/[!.]*"))


def test_a_dry_run_tells_of_the_search_and_no_clock_is_locked_before_it(place):
    place.plan.write_text(PLAN)
    where = ("--plan", place.plan, "--device", "simulated:a100-80gb", "--results", place.results)
    told = place.run(*where, "--dry-run").stdout
    assert "before block 1: the highest rate of resnet50-server load=0.5, alone" in told
    refused = place.run(*where, "--lock-clocks")
    assert refused.returncode == 2
    assert "--lock-clocks MHZ" in refused.stderr
    assert not place.results.exists()


def test_a_trace_serves_every_mode_and_a_run_goes_on_with_its_own_copy(place):
    instants_s = [0.05 * number for number in range(200)]
    file = place.folder / "day.csv"
    file.write_text("seconds\n" + "".join(f"{instant_s}\n" for instant_s in instants_s))
    done = measure(place, plan=PLAN.replace("load: 0.5", "arrivals: trace, trace: day.csv"))
    assert done.returncode == 0, done.stderr
    digest = sha256(file.read_bytes()).hexdigest()
    (copy,) = (place.run_folder / "inputs").iterdir()
    assert copy.read_bytes() == file.read_bytes()
    assert json.loads((place.run_folder / "run.json").read_text())["inputs"] == {"day.csv": digest}
    for requests, tenant in served(place).values():
        assert sorted(requests["scheduled_s"]) == pytest.approx(
            [at_s for at_s in instants_s if at_s < 8], abs=1e-6
        )
        assert tenant["parameters"]["trace"] == "day.csv"
        assert "rate" not in tenant["parameters"]
    record = json.loads(next(place.run_folder.glob("trials/*-mps-*/trial.json")).read_text())
    assert record["mix_jobs"][0]["files"] == {"trace": {"name": "day.csv", "sha256": digest}}
    assert digest in (place.run_folder / "report" / "report.md").read_text()

    file.write_text("0\n100\n")  # somebody goes on working on it
    whole = place.records()
    shutil.rmtree(next(place.run_folder.glob("trials/*-mps-*")))
    assert place.resume().returncode == 0
    assert place.records() == whole
    shutil.rmtree(next(place.run_folder.glob("trials/*-mps-*")))
    copy.write_text("0\n100\n")
    refused = place.resume()
    assert refused.returncode == 2
    assert "is not the day.csv with which this run began" in refused.stderr
