"""A job of several whole GPUs stands in no plan that shares one, and in no run that has one."""

import pytest

from bench.errors import SetupError
from bench.plan.select import select_modes
from bench.plan.whole_gpus import refuse_several_gpus

DDP = "ddp-resnet50-training"
PLAN = "modes: [{modes}]\nmixes: {{pair: [resnet50-training, " + DDP + "]}}\n"


@pytest.mark.parametrize("mode", ["time-slicing", "mps", "mps-equal", "mig", "cpu-shared", "as-found"])
def test_a_sharing_mode_is_refused_in_reading(problems, mode):
    (problem,) = problems(PLAN.format(modes=mode))
    assert problem.startswith(f"mixes.pair[1]: {DDP} needs 2 whole GPUs and cannot share one")
    assert "NCCL does not run two ranks on one GPU" in problem
    assert problem.endswith(f"whose only mode is exclusive, without {mode}")


def test_the_cpu_has_ranks_without_gpus(read, catalog):
    refuse_several_gpus(read(PLAN.format(modes="exclusive")), catalog, "cpu")


def test_a_run_has_one_gpu(read, catalog):
    with pytest.raises(
        SetupError, match=r"needs 2 whole GPUs, and a run has one: NCCL .*ddp_training.*--device cpu"
    ):
        refuse_several_gpus(read(PLAN.format(modes="exclusive")), catalog, "gpu")


def test_a_mode_of_the_command_line_is_refused_too(read, catalog):
    plan = select_modes(read(PLAN.format(modes="exclusive")), ["all"], False, "cpu").plan
    with pytest.raises(SetupError, match="without cpu-shared"):
        refuse_several_gpus(plan, catalog, "cpu")


def test_jobs_of_one_gpu_share(read, catalog):
    refuse_several_gpus(read("modes: [mps]\nmixes: {pair: [resnet50-training, gpt2-training]}\n"), catalog, "gpu")
