"""The command line as a user meets it."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from bench.cli import main

FLAGS = ("--mode", "--plan", "--device", "--launcher", "--results", "--resume", "--seed", "--dry-run", "--quiet",
         "--allow-reset", "--lock-clocks")  # fmt: skip


@pytest.fixture
def refused(place, monkeypatch, capsys):
    """Run the command line in this process, expect exit code 2, and return what it said."""
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.folder)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        try:
            code = main(["run", *map(str, arguments)], program="run_experiments.py")
        except SystemExit as ended:  # argparse
            code = ended.code
        printed = capsys.readouterr()
        assert code == 2, printed
        assert printed.out == ""
        assert not place.results.exists()
        return printed.err

    yield call
    signal.signal(signal.SIGTERM, handler)


def test_help_answers_at_once_and_names_every_flag(place):
    times_s = []
    for _ in range(5):
        start = time.perf_counter()
        done = place.run("--help")
        times_s.append(time.perf_counter() - start)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: run_experiments.py [-h]")  # and not `run_experiments.py run`
    assert all(flag in done.stdout for flag in FLAGS)
    assert min(times_s) < 0.3


@pytest.mark.parametrize("verb", ["run", "report", "mode", "selftest"])
def test_every_verb_has_help(place, verb):
    assert place.run(verb, "--help", program="-m bench").returncode == 0


REFUSALS = [
    (("--mode", "mpz"), "did you mean 'mps'"),
    (("--mode", "mps,migg"), "did you mean 'mig'"),
    (("--plan", "standart"), "did you mean 'standard'"),
    (("--device", "simulated:a100-80g"), "did you mean 'a100-80gb'"),
    (("--device", "simulatd"), "did you mean 'simulated'"),
    (("--device", "gpu"), "cuda[:INDEX_OR_UUID]"),
    (("--device", "cpu:1"), "cuda[:INDEX_OR_UUID]"),
    (("--launcher", "podman"), "invalid choice: 'podman'"),
    (("--launcher", "docker", "--device", "simulated"), "simulated jobs only"),
    (("--seed", "lucky"), "--seed"),
    (("--modus", "mps"), "--modus mps; did you mean --mode?"),
    (("--mode", "mig", "--device", "simulated:rtx-4090"), "has no MIG"),
    (("--mode", "mps", "--device", "cpu"), "cpu-shared"),
    (("--mode", "cpu-shared", "--device", "simulated"), "--device cpu"),
    (("--lock-clocks", "1401", "--device", "simulated"), "1401 MHz is none of its clocks"),
    (("--lock-clocks", "fast", "--device", "simulated"), "invalid megahertz value: 'fast'"),
    (("--lock-clocks", "--device", "cpu"), "--lock-clocks is for GPUs"),
    (("--resume", "elsewhere", "--lock-clocks"), "--lock-clocks"),
    (("--resume", "elsewhere"), "not the folder of a run"),
    (("--resume", "elsewhere", "--mode", "mps", "--seed", "0"), "--mode, --seed"),
]


@pytest.mark.parametrize(("arguments", "hint"), REFUSALS, ids=" ".join)
def test_what_cannot_be_is_refused_with_the_way_out(refused, place, arguments, hint):
    assert hint in refused(*arguments)


def test_a_plan_that_names_what_the_device_cannot_do_is_refused(refused, place):
    assert "has no MIG" in refused("--plan", place.plan, "--device", "simulated:rtx-4090")


def test_all_problems_of_a_plan_are_told_at_once(refused, place):
    place.plan.write_text("modess: [mps]\nmodes: [mpz]\nmixes: {a: [resnet5-training]}\n")
    said = refused("--plan", place.plan, "--results", place.results)
    assert all(word in said for word in ("modess", "mpz", "resnet5-training", "small.yaml: 3 problems"))


def test_a_refusal_reaches_the_shell(place):
    done = place.run("--mode", "mpz", "--device", "simulated")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'mps'" in done.stderr


def test_a_dry_run_of_a_paper_tells_the_gpu_hours_and_what_it_can_show(place):
    done = place.run("--plan", "paper", "--results", place.results, "--device", "simulated", "--dry-run")
    assert "190 trials in 10 blocks" in done.stdout
    assert "at most 40 (" in done.stdout
    assert "20 of the trials (11 %) are controls" in done.stdout
    shown = [line.split()[-8:] for line in done.stdout.splitlines() if "90 % power" in line]
    assert shown == [
        ["1.2", "%", "2.3", "%", "3.5", "%", "5.9", "%"],
        ["0.5", "%", "1.1", "%", "1.6", "%", "2.7", "%"],
    ]


def test_a_dry_run_prints_the_schedule_and_touches_nothing(place):
    done = place.run("--plan", place.plan, "--results", place.results, "--device", "simulated", "--dry-run")
    before = place.driver_state()
    again = place.run("--plan", "smoke", "--results", place.results, "--device", "simulated", "--dry-run")
    assert (done.returncode, again.returncode) == (0, 0)
    assert "6 trials in 1 block," in done.stdout
    assert "no difference can be shown: that takes 6 blocks" in done.stdout
    assert not place.results.exists()
    assert place.driver_state() == before


def test_a_run_ends_in_the_answer_and_the_path_of_the_report(undisturbed):
    place, done = undisturbed
    assert (done.returncode, done.stderr) == (0, "")
    *answers, last = done.stdout.splitlines()
    assert answers
    assert all("model predicts" in answer for answer in answers)
    assert last == f"report: {place.run_folder}/report/index.html"
    assert Path(last.removeprefix("report: ")).is_file()
    records = place.records()
    assert len(records) == 6
    assert {(record["status"], record["simulated"]) for record, _ in records.values()} == {("ok", True)}
    assert {record["mode_label"] for record, _ in records.values()} == {"exclusive", "mps", "mig"}
    assert all({"steps.parquet", "telemetry.parquet"} <= set(tables) for _, tables in records.values())


def test_a_report_is_rebuilt_from_the_records_alone(undisturbed):
    place, done = undisturbed
    page = place.run_folder / "report" / "index.html"
    page.unlink()
    again = place.run("report", place.run_folder, program="-m bench")
    assert again.returncode == 0
    assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]
    assert page.is_file()


def test_a_finished_run_resumed_measures_nothing_and_says_the_answer_again(undisturbed):
    place, done = undisturbed
    kept = place.finished()
    again = place.resume()
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, done.stdout.splitlines()[0])
    assert place.finished() == kept


def test_all_modes_skip_what_the_device_lacks(place):
    place.plan.write_text(place.plan.read_text().replace("[mps, mig]", "[mps]"))
    done = place.run("--mode", "all", "--plan", place.plan, "--device", "simulated:rtx-4090",
                     "--results", place.results, "--quiet")  # fmt: skip
    assert done.returncode == 0
    by_mode = {}
    for record, _ in place.records().values():
        by_mode.setdefault(record["mode_label"], set()).add((record["status"], record["reason"]))
    assert {status for status, _ in by_mode.pop("mig")} == {"skipped"}
    assert set(by_mode) == {"exclusive", "time-slicing", "mps", "mps-equal"}
    assert set.union(*by_mode.values()) == {("ok", None)}


def test_static_partitions_and_mps_inside_instances_from_plan_to_report(place):
    place.plan.write_text(
        "modes: [mps, {mode: mps-partitions, chunks: [9, 7]}, mig-mps]\n"
        "mixes: {pair: [resnet50-training, bert-base-training]}\n"
        "timing: smoke\n"
        "blocks: 1\n"
    )
    done = place.run(
        "--plan", place.plan, "--device", "simulated:h100-80gb", "--results", place.results, "--quiet"
    )
    assert done.returncode == 0, done.stderr
    shares = {}
    for record, _ in place.records().values():
        assert record["status"] == "ok" and all(each["holds"] for each in record["evidence"])
        if record["role"] != "solo":
            seen = [(tenant["share"], tenant["identity"]["sm_count"]) for tenant in record["tenants"]]
            shares.setdefault((record["mode_label"], record["role"]), set()).update(seen)
    assert shares == {
        ("mps", "mix"): {(None, 132)},
        ("mps-partitions 9+7", "mix"): {("9 chunks", 72), ("7 chunks", 56)},
        ("mps-partitions 9+7", "share"): {("9 chunks", 72), ("7 chunks", 56)},
        ("mig-mps", "mix"): {("7g.80gb", 132)},
        ("mig-mps", "share"): {("7g.80gb", 132)},
    }
    assert "mig-mps" in (place.run_folder / "report" / "report.md").read_text()


def test_jobs_that_do_not_fit_fail_and_the_exit_code_tells(place):
    place.plan.write_text(
        "modes: [time-slicing]\n"
        "mixes: {crowd: [{workload: resnet50-training, count: 24}]}\n"
        "timing: smoke\n"
        "blocks: 1\n"
    )
    done = place.run("--plan", place.plan, "--device", "simulated", "--results", place.results, "--quiet")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("report: ")
    outcomes = {record["role"]: (record["status"], record["reason"]) for record, _ in place.records().values()}
    assert outcomes["solo"] == ("ok", None)
    assert outcomes["mix"][0] == "failed"
    assert "out of memory" in outcomes["mix"][1]


def test_a_run_does_not_go_on_where_something_else_is_installed(place, undisturbed):
    shutil.copytree(undisturbed[0].results, place.results)
    file = place.run_folder / "run.json"
    record = json.loads(file.read_text())
    record["device"]["driver_version"] = "535.0"
    file.write_text(json.dumps(record))
    refused = place.resume()
    assert refused.returncode == 2
    assert "driver_version = '535.0'" in refused.stderr


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "{package}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("package", ["pydantic", "pandas"])
def test_a_missing_package_names_the_command_that_installs_it(place, package):
    (place.folder / "sitecustomize.py").write_text(WITHOUT.format(package=package))
    environment = {**place.environment(), "PYTHONPATH": str(place.folder)}
    done = place.run("--mode", "mps", "--device", "simulated", "--results", place.results, env=environment)
    assert done.returncode == 2
    assert f"package {package} is missing" in done.stderr
    assert f"{sys.executable} -m pip install -e ." in done.stderr


def test_the_front_door_and_the_module_are_the_same(place):
    front = place.run("--plan", place.plan, "--device", "simulated", "--seed", "1", "--dry-run")
    module = place.run("run", "--plan", place.plan, "--device", "simulated", "--seed", "1", "--dry-run",
                       program="-m bench")  # fmt: skip
    assert front.stdout == module.stdout


def test_mode_status_of_an_untouched_device(place):
    status = place.run("mode", "status", "--device", "simulated:a100-80gb", program="-m bench")
    assert status.returncode == 0
    assert "compute mode: Default" in status.stdout
    assert "killed" not in status.stdout


def test_the_cpu_has_no_mode_to_look_at(place):
    for action in ("status", "restore"):
        assert place.run("mode", action, "--device", "cpu", program="-m bench").returncode == 0


def test_a_clock_lock_is_found_kept_and_shown(place):
    """The run finds its clock below what the heaviest mix sustains; what goes on takes it from the folder."""
    done = place.run("--plan", place.plan, "--results", place.results, "--device", "simulated", "--quiet",
                     "--lock-clocks")  # fmt: skip
    assert done.returncode == 0
    run = json.loads((place.run_folder / "run.json").read_text())
    lock = run["clock_lock"]
    assert (lock["sustained_mhz"], lock["sm_clock_mhz"], lock["mode"], lock["mix"]) == (1410, 1395, "mps", "pair")
    assert "computes no slower" in lock["note"]
    for trial, (record, _) in place.records().items():
        assert record["device"]["sm_clock_lock_mhz"] == 1395
        assert record["flags"] == [], trial
    samples = pd.read_parquet(place.run_folder / "trials" / "b01-mps-pair" / "telemetry.parquet")
    assert 1395 in set(samples["sm_clock_mhz"])
    assert "clock_lock -" in place.driver_state()
    again = place.run("--resume", place.run_folder, "--dry-run")
    assert "SM clock: locked at 1395 MHz" in again.stdout
