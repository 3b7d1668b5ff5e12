import pytest

from bench.errors import PlanError
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan
from bench.plan.schedule import make_schedule


def read(*jobs):
    entries = "".join(f"    - {job}\n" for job in jobs)
    return read_plan(f"modes: [mps]\nmixes:\n  a:\n{entries}", "a plan", load_catalog())


def problems(*jobs):
    with pytest.raises(PlanError) as refused:
        read(*jobs)
    return str(refused.value)


def test_a_command_is_a_job_that_may_speak_the_protocol():
    plan = read("{command: [python, train.py, --epochs, 3], unit: images, cpus: 4, memory_gb: 8.5, name: mine}")
    (job,) = plan.mixes[0].jobs
    workload = job.workload_in(load_catalog())
    assert (job.label, job.is_silent) == ("mine", False)
    assert (workload.kind, workload.unit, workload.reports) == ("own", "images", "steps")
    assert workload.command == ("python", "train.py", "--epochs", "3")
    assert (workload.resources.cpus, workload.resources.memory_gb) == (4, 8.5)


def test_without_a_unit_it_is_silent_and_named_after_what_it_runs():
    plan = read("{command: [sh, -c, 'sleep 1']}", "{image: 'my/solver:2'}", "resnet50-training")
    command, image, known = plan.mixes[0].jobs
    assert (command.label, command.is_silent) == ("sh -c 'sleep 1'", True)
    assert (image.label, image.is_silent) == ("my/solver:2", True)
    assert not known.is_silent
    assert image.workload_in(load_catalog()).reports == "nothing"


def test_its_trials_have_names_of_their_own():
    plan = read("{command: [python, train.py], count: 2}")
    assert plan.mixes[0].tenants == ("python train.py #1", "python train.py #2")
    ids = {trial.id for trial in make_schedule(plan, 1).trials}
    assert {"b01-exclusive-python-train.py", "b01-mps-a"} <= ids


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("{command: python train.py}", "command: must be a list of words, such as [python, train.py]"),
        ("{command: []}", "command: must be a list of words"),
        ("{command: [[python]]}", "command: must be a list of words"),
        ('{command: [sh, "a\\0b"]}', "command: must be a list of words"),
        ("{command: [a], image: 7}", "image: must be one line of text, not 7"),
        ("{command: [a], unit: ''}", "unit: must be one line of text"),
        ("{command: [a], cpus: 0}", "cpus: must be a whole number above 0, not 0"),
        ("{command: [a], cpus: 1.5}", "cpus: must be a whole number above 0, not 1.5"),
        ("{command: [a], memory_gb: lots}", "memory_gb: must be a number above 0, not 'lots'"),
        ("{command: [a], name: 3}", "name: must be one line of text"),
        ("{command: [a], name: resnet50-training}", "is a workload of the catalog; give another name"),
        ("{command: [a], memroy_gb: 3}", "unknown key 'memroy_gb'; did you mean 'memory_gb'?"),
        ("{command: [a], count: 0}", "count: must be a whole number from 1 to 48"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(job, problem):
    text = problems(job)
    assert "mixes.a[0]" in text
    assert problem in text


def test_one_name_stands_for_one_program():
    assert "names another command or image" in problems("{command: [a], name: x}", "{command: [b], name: x}")
    assert len(read("{command: [a], name: x}", "{command: [a], name: x}").mixes[0].jobs) == 2


def test_all_faults_of_a_job_are_told_at_once():
    assert "3 problems" in problems("{command: a, cpus: none, nmae: x}")
