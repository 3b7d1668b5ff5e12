import os

import pytest

from bench.errors import SetupError
from bench.gpu.device import Device
from bench.launch.tenants import host_flags, make_tenants, refuse_beyond_host
from bench.modes.contract import Grant
from bench.plan.catalog import Resources, load_catalog
from bench.plan.inputs import InputFile
from bench.plan.mode import MpsEqual
from bench.plan.model import TIMINGS, Job, Mix, Plan
from bench.plan.schedule import Role, Trial

GPU = Device("gpu", False, "board", "GPU-1", "cuda:GPU-1", 81920, "580", None)
SIMULATED = Device("gpu", True, "SIMULATED board", "GPU-1", "simulated", 81920, "580", None)
CPU = Device("cpu", False, "cores", "cpu", "cpu", None, None, None)
MIX = Mix(
    name="pair",
    jobs=(Job(workload="resnet50-training", parameters={"batch_size": 8}), Job(workload="bert-base-training")),
)
GRANTS = (Grant("first"), Grant("second"))


@pytest.fixture
def catalog():
    """The catalog, with jobs of one core each so that a host of three can carry two."""
    one = Resources(cpus=1, memory_gb=2)
    return {name: workload.model_copy(update={"resources": one}) for name, workload in load_catalog().items()}


def trial(role=Role.MIX, slot=None, seed=100):
    return Trial("b01-x", 1, MpsEqual(), MIX, role, slot, seed)


def test_only_the_positive_control_tells_its_job_to_slow_down(catalog, tmp_path):
    (slowed,) = make_tenants(trial(Role.SLOWED, 0), GRANTS, catalog, SIMULATED, tmp_path, "run-1")
    assert slowed.grant == Grant("first", {"BENCH_SLOWDOWN": "0.05"})


def test_each_job_gets_its_grant_folder_seed_and_all_parameters(catalog, tmp_path):
    first, second = make_tenants(trial(), GRANTS, catalog, SIMULATED, tmp_path, "run-1")
    assert (first.name, second.name) == ("resnet50-training batch_size=8", "bert-base-training")
    assert (first.grant, second.grant) == GRANTS
    assert (first.seed, second.seed) == (100, 101)
    assert first.parameters == {**catalog["resnet50-training"].parameters, "batch_size": 8}
    assert first.folder != second.folder
    assert first.folder.is_dir()
    assert (first.device, first.memory_gb, first.cpus, first.run_id) == ("cuda", 2, None, "run-1")


def test_a_job_alone_in_its_share_keeps_the_grant_of_its_slot(catalog, tmp_path):
    (alone,) = make_tenants(trial(Role.SHARE, 1), GRANTS, catalog, SIMULATED, tmp_path, "run")
    assert (alone.name, alone.grant, alone.seed) == ("bert-base-training", GRANTS[1], 101)


def test_seeds_stay_within_what_every_library_takes(catalog, tmp_path):
    _, second = make_tenants(trial(seed=2**31 - 1), GRANTS, catalog, SIMULATED, tmp_path, "run")
    assert second.seed == 0


def test_sizes_are_small_on_the_cpu_where_the_plan_does_not_say_otherwise(catalog, tmp_path):
    first, second = make_tenants(trial(), GRANTS, catalog, CPU, tmp_path, "run")
    assert first.device == "cpu"
    assert (first.parameters["batch_size"], first.parameters["image_size"]) == (8, 64)
    assert second.parameters["layers"] == 2


def test_arguments_are_flags_a_program_understands(catalog, tmp_path):
    first, _ = make_tenants(trial(), GRANTS, catalog, CPU, tmp_path, "run")
    words = " ".join(first.arguments)
    assert words.startswith("--device cpu --seed 100 ")
    assert "--batch-size 8" in words
    assert "--channels-last" in words
    assert words.count("true") == words.count("True") == 0


def test_the_files_of_a_job_lie_in_its_folder_and_its_program_is_told_that_path(catalog, tmp_path):
    file = InputFile(name="../day.csv", sha256="0" * 64, content=b"0.5\n9\n")
    given = {"arrivals": "trace", "trace": "../day.csv"}
    mix = Mix(name="m", jobs=(Job(workload="resnet50-server", parameters=given, files={"trace": file}),) * 2)
    planned = Trial("b01-x", 1, MpsEqual(), mix, Role.MIX, None, 100)
    tenants = make_tenants(planned, GRANTS, catalog, CPU, tmp_path, "run")
    for tenant in tenants:
        copy = tenant.folder / "trace"  # in the one folder that a container shares with the runner
        assert copy.read_bytes() == file.content
        assert f"--trace {copy.resolve()}" in " ".join(tenant.arguments)
        assert tenant.parameters["trace"] == "../day.csv"  # which is what records keep
    assert tenants[0].folder != tenants[1].folder


def test_jobs_on_a_real_gpu_have_cores_of_their_own_and_the_runner_keeps_one(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    first, second = make_tenants(trial(), GRANTS, catalog, GPU, tmp_path / "mix", "run")
    assert (first.cpus, second.cpus) == ((1,), (2,))
    (alone,) = make_tenants(trial(Role.SHARE, 1), GRANTS, catalog, GPU, tmp_path / "alone", "run")
    assert alone.cpus == second.cpus


def plan_of(*jobs):
    mixes = (Mix(name="m", jobs=jobs),)
    return Plan(name="p", modes=(MpsEqual(),), mixes=mixes, timing=TIMINGS["smoke"], blocks=1)


def test_a_plan_beyond_the_host_is_refused_with_the_sums(catalog, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    refuse_beyond_host(plan_of(*MIX.jobs), catalog)
    with pytest.raises(SetupError, match=r"mix 'm' needs 1 \+ 1 \+ 1 = 3 cores, this host has 2 to give"):
        refuse_beyond_host(plan_of(*MIX.jobs, MIX.jobs[0]), catalog)


def test_memory_counts_too(catalog, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    huge = catalog["resnet50-training"].model_copy(update={"resources": Resources(cpus=1, memory_gb=1e6)})
    with pytest.raises(SetupError, match=r"needs 1e\+06 \+ 1e\+06 = 2e\+06 GB of host memory"):
        refuse_beyond_host(plan_of(MIX.jobs[0], MIX.jobs[0]), {**catalog, "resnet50-training": huge})


def test_oversubscription_counts_the_runner(catalog, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert host_flags(trial(), catalog, CPU) == ("cpu_oversubscribed",)
    assert host_flags(trial(Role.SHARE, 0), catalog, CPU) == ()
    assert host_flags(trial(), catalog, GPU) == ()
