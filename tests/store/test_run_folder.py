import resource
import shutil
import signal
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from bench.errors import PlanError, RecordError, SetupError
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan
from bench.store.run_folder import STEP_COLUMNS, RunFolder, run_id


@contextmanager
def disk_full_after(size):
    """Let no file of this process grow beyond `size` bytes: writing fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_plan_and_run_are_there_before_the_first_trial(run, run_record):
    assert run.path.name == run_record.run_id
    assert {path.name for path in run.path.iterdir()} == {"plan.yaml", "run.json", "trials"}
    assert (run.plan_file.read_text(), run.record) == ("modes: [mps]\n", run_record)
    opened = RunFolder.open(run.path)
    assert opened.record == run_record
    assert list(opened.trials()) == []


def test_a_trial_is_kept_with_everything_it_left_behind(run, trial_record, corun, telemetry):
    scratch = run.scratch(trial_record.id)
    (scratch / "jobs").mkdir()
    run.keep_samples(trial_record.id, corun, telemetry)
    run.keep(trial_record)
    folder = run.trials_folder / trial_record.id
    assert {path.name for path in folder.iterdir()} == {
        "trial.json", "steps.parquet", "telemetry.parquet", "energy.parquet", "job-0.log", "job-1.log"
    }  # fmt: skip
    assert not scratch.exists()
    assert run.has(trial_record.id)
    assert list(run.trials()) == [trial_record]
    assert (folder / "job-1.log").read_text() == "b printed this\n"


def test_times_are_seconds_after_the_common_start(run, trial_record, corun, telemetry):
    run.keep_samples(trial_record.id, corun, telemetry)
    run.keep(trial_record)
    steps = run.steps(trial_record.id)
    assert tuple(steps.columns) == STEP_COLUMNS
    assert steps[~steps["warmup"]].groupby("slot")["end_s"].apply(list).tolist() == [[1, 2, 3], [1.5, 2.5]]
    assert steps[steps["warmup"]]["end_s"].tolist() == [-1.0, -1.0]
    assert steps["wait_s"].isna().all()  # nobody told
    samples = run.telemetry(trial_record.id)
    assert samples["time_s"].tolist() == [-1.0, 0.0, 1.0]
    assert samples["power_w"].isna().tolist() == [False, False, True]  # missing stays missing
    assert run.energy(trial_record.id)["energy_j"].tolist() == [0.0, 180.0, 480.0]


def test_a_trial_whose_jobs_never_started_is_its_record_alone(run, trial_record):
    run.keep(trial_record)
    assert [path.name for path in (run.trials_folder / trial_record.id).iterdir()] == ["trial.json"]
    assert run.steps(trial_record.id) is run.telemetry(trial_record.id) is run.energy(trial_record.id) is None


def test_a_record_without_a_co_run_inherits_no_table_of_a_killed_attempt(run, trial_record):
    (run.scratch(trial_record.id) / "steps.parquet").write_bytes(b"of a runner that was killed while it wrote")
    run.keep(trial_record.model_copy(update={"tenants": ()}))
    assert run.steps(trial_record.id) is None


def test_a_trial_that_is_being_made_does_not_exist(run, trial_record):
    scratch = run.scratch(trial_record.id)
    (scratch / "trial.json").write_text(trial_record.model_dump_json())
    assert not run.has(trial_record.id)
    assert list(run.trials()) == []


def test_what_a_killed_runner_left_of_a_trial_is_cleared_away(run):
    (run.scratch("b01-x") / "half.parquet").write_text("torn")
    assert list(run.scratch("b01-x").iterdir()) == []


def test_a_full_disk_leaves_no_half_trial_and_says_how_to_go_on(run, trial_record, corun, telemetry):
    run.keep(trial_record.model_copy(update={"id": "b01-first"}))
    with disk_full_after(1000), pytest.raises(RecordError) as caught:
        run.keep_samples(trial_record.id, corun, telemetry)
    assert "File too large" in str(caught.value)
    assert (
        f"every finished trial is safe. Make room, then go on with: python run_experiments.py --resume {run.path}"
        in (str(caught.value))
    )
    assert [record.id for record in run.trials()] == ["b01-first"]
    run.scratch(trial_record.id)
    run.keep_samples(trial_record.id, corun, telemetry)
    run.keep(trial_record)
    assert run.has(trial_record.id)


def test_a_full_disk_that_takes_the_tables_but_not_the_record(run, trial_record):
    with disk_full_after(1000), pytest.raises(RecordError, match="every finished trial is safe"):
        run.keep(trial_record)
    assert list(run.trials()) == []


def test_results_that_have_gone_away(run, trial_record):
    run.trials_folder.rmdir()
    run.trials_folder.write_text("a file where the folder was")
    for write in (run.scratch, run.supersede):
        with pytest.raises(RecordError, match="--resume"):
            write(trial_record.id)
    with pytest.raises(RecordError, match="Not a directory; every finished trial is safe"):
        run.keep(trial_record)


def test_results_that_cannot_be_written_are_a_setup_error(tmp_path, run_record):
    file = tmp_path / "file"
    file.write_text("")
    for results in (file, file / "below"):
        with pytest.raises(
            SetupError, match=r"Not a directory; name a folder that can be written with --results DIR"
        ):
            RunFolder.create(results, run_record, "")
    with disk_full_after(0), pytest.raises(SetupError, match="File too large; name a folder"):
        RunFolder.create(tmp_path / "full", run_record, "modes: [mps]")


def test_files_of_jobs_are_kept_and_read_again_as_they_were(tmp_path, run_record):
    catalog = load_catalog()
    files = {f"{folder}/day.csv": f"0\n{last_s}\n".encode() for folder, last_s in (("a", 8), ("b", 9))}
    jobs = [f"{{workload: resnet50-server, arrivals: trace, trace: {name}}}" for name in files]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    text = f"modes: [mps]\ntiming: smoke\nmixes: {{m: [{', '.join(jobs)}]}}\n"
    plan = read_plan(text, "p.yaml", catalog, tmp_path.joinpath)
    inputs = {name: file.sha256 for name, file in plan.files.items()}
    record = run_record.model_copy(update={"inputs": inputs})
    run = RunFolder.create(tmp_path / "results", record, text, plan.files.values())
    shutil.rmtree(tmp_path / "a")
    again = RunFolder.open(run.path).plan(catalog)
    assert again == plan
    assert {name: file.content for name, file in again.files.items()} == files

    copy = run.inputs_folder / plan.files["b/day.csv"].copy_name
    copy.write_text("0\n10\n")
    with pytest.raises(SetupError, match=r"is not the b/day\.csv with which this run began"):
        run.plan(catalog)
    copy.unlink()
    with pytest.raises(PlanError, match="no such file"):
        run.plan(catalog)


def test_a_run_never_writes_into_another(run, run_record):
    with pytest.raises(SetupError, match="there already"):
        RunFolder.create(run.path.parent, run_record, "other")
    assert run.plan_file.read_text() == "modes: [mps]\n"


def test_a_folder_that_is_no_run_is_refused(tmp_path, run):
    with pytest.raises(SetupError, match="not the folder of a run"):
        RunFolder.open(tmp_path)
    run.plan_file.unlink()
    with pytest.raises(SetupError, match=r"no run.json and plan.yaml"):
        RunFolder.open(run.path)


def test_superseded_trials_stay_readable_beside_the_others(run, trial_record):
    for seed in (1, 2, 3):
        run.keep(trial_record.model_copy(update={"seed": seed}))
        if seed < 3:
            run.supersede(trial_record.id)
            assert not run.has(trial_record.id)
    aside = sorted(path.name for path in (run.path / "superseded").iterdir())
    assert aside == [f"{trial_record.id}.1", f"{trial_record.id}.2"]
    assert [record.seed for record in run.trials()] == [3]


@pytest.mark.parametrize(
    ("plan", "device", "name"),
    [
        ("smoke", "SIMULATED NVIDIA A100-SXM4-80GB", "20260102-030405-smoke-simulated-nvidia-a100-sxm4-80gb"),
        ("../../etc/<script>", "x", "20260102-030405-etc-script-x"),
        ("p" * 300, "board", f"20260102-030405-{'p' * 60}"),
    ],
)
def test_run_ids_sort_by_time_and_are_safe_names(plan, device, name):
    assert run_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), plan, device) == name
