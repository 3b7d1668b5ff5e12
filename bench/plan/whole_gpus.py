"""Jobs of several GPUs: what keeps them out of a plan that shares one, and out of a run that has one."""

from collections.abc import Iterator, Sequence

from bench.errors import SetupError
from bench.plan.catalog import Catalog
from bench.plan.mode import Exclusive, Mode
from bench.plan.model import Mix, Plan

REASON = "NCCL does not run two ranks on one GPU"


def why_not_shared(mixes: Sequence[Mix], modes: Sequence[Mode], catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield place and fault of each job of several whole GPUs that a sharing mode of the plan would meet."""
    sharing = [mode.label for mode in modes if not isinstance(mode, Exclusive)]
    if not sharing:
        return
    for mix in mixes:
        for place, name in enumerate(job.workload for job in mix.jobs):
            if name in catalog and catalog[name].whole_gpus > 1:
                fault = f"{name} needs {catalog[name].whole_gpus} whole GPUs and cannot share one: {REASON}"
                advice = f"give it a plan whose only mode is exclusive, without {', '.join(sharing)}"
                yield f"mixes.{mix.name}[{place}]", f"{fault}; {advice}"


def refuse_several_gpus(plan: Plan, catalog: Catalog, device_kind: str) -> None:
    """Raise SetupError where a job needs more whole GPUs than the one a run has; ranks on the CPU need none.

    Modes that the command line added to the plan are judged as those that it was read with.
    """
    for place, problem in why_not_shared(plan.mixes, plan.modes, catalog):
        raise SetupError(f"{place}: {problem}")
    for workload in (job.workload_in(catalog) for mix in plan.mixes for job in mix.jobs):
        if device_kind == "gpu" and workload.whole_gpus > 1:
            raise SetupError(
                f"{workload.name} needs {workload.whole_gpus} whole GPUs, and a run has one: {REASON}; start it "
                f"alone with `python -m {workload.module}`, or measure it with --device cpu"
            )
