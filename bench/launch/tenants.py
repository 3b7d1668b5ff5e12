"""From a planned trial to tenants: full parameters, private folders, cores and memory."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from bench.errors import SetupError
from bench.gpu.device import Device
from bench.launch.contract import SLOWDOWN_VARIABLE, Tenant
from bench.modes.contract import Grant
from bench.plan.catalog import SLO, Catalog, Resources
from bench.plan.model import LOAD, Mix, Plan
from bench.plan.schedule import Trial, trial_seed

RUNNER_CORES = 1  # stay with runner and sampler
GB = 1e9
SHARED_BOARD_FLAG = "board_shared_with_others"


def make_tenants(
    trial: Trial, grants: Sequence[Grant], catalog: Catalog, device: Device, folder: Path, run_id: str,
    rates: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Tenant, ...]:  # fmt: skip
    """Return the tenants that run in this trial; a job alone has the cores it would have in its mix.

    `rates` are those (per second) that jobs with a `load` have been found to stand for, by label.
    """
    slots = range(len(trial.mix.jobs)) if trial.slot is None else [trial.slot]
    cores = _cores(trial.mix, catalog) if device.kind == "gpu" and not device.simulated else None
    return tuple(
        _tenant(trial, slot, grants[slot], catalog, device, folder, run_id, cores[slot] if cores else None, rates)
        for slot in slots
    )


def host_flags(trial: Trial, catalog: Catalog, device: Device) -> tuple[str, ...]:
    """Return what a reader must know of the host: jobs of a CPU run that ask for more cores than it can give.

    On a GPU such a plan is refused, and a simulated one has no host.
    """
    if device.kind != "cpu":
        return ()
    jobs = trial.mix.jobs if trial.slot is None else [trial.mix.jobs[trial.slot]]
    needed = sum(job.workload_in(catalog).resources.cpus for job in jobs)
    return ("cpu_oversubscribed",) if needed + RUNNER_CORES > len(os.sched_getaffinity(0)) else ()


def board_flags(grants: Sequence[Grant]) -> tuple[str, ...]:
    """Return what a reader must know of the board: power, energy and clocks are those of all who compute on it."""
    return (SHARED_BOARD_FLAG,) if any(grant.shares_board for grant in grants) else ()


def refuse_beyond_host(plan: Plan, catalog: Catalog) -> None:
    """Raise SetupError, with the sums, where a mix asks for more cores or memory than this host has."""
    cores = len(os.sched_getaffinity(0)) - RUNNER_CORES
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    for mix in plan.mixes:
        needs = [job.workload_in(catalog).resources for job in mix.jobs]
        _refuse(mix, "cores", [need.cpus for need in needs], cores)
        _refuse(mix, "GB of host memory", [need.memory_gb for need in needs], memory_gb)


def _refuse(mix: Mix, what: str, needs: Sequence[float], limit: float) -> None:
    if sum(needs) > limit:
        terms = " + ".join(f"{need:g}" for need in needs)
        raise SetupError(
            f"mix {mix.name!r} needs {terms} = {sum(needs):g} {what}, this host has {limit:.0f} to give; "
            "run fewer jobs side by side, or on a larger host"
        )


def _tenant(
    trial: Trial, slot: int, grant: Grant, catalog: Catalog, device: Device, folder: Path, run_id: str,
    cores: tuple[int, ...] | None, rates: Mapping[str, float],
) -> Tenant:  # fmt: skip
    job = trial.mix.jobs[slot]
    workload = job.workload_in(catalog)
    job_folder = folder / "jobs" / str(slot)
    job_folder.mkdir(parents=True)
    for parameter, file in job.files.items():
        (job_folder / parameter).write_bytes(file.content)
    parameters = {**workload.parameters_on(device.kind), **job.parameters}
    slo_s = parameters.pop(SLO, workload.slo_s)
    if parameters.pop(LOAD, None) is not None and job.label in rates:
        parameters["rate"] = rates[job.label]
    return Tenant(
        name=trial.mix.tenants[slot],
        job=job.label,
        workload=workload,
        parameters=parameters,
        seed=(trial.seed + slot) % 2**31,
        device="cpu" if device.kind == "cpu" else "cuda",
        grant=_slowed(grant, trial.slowdown),
        folder=job_folder,
        cpus=cores,
        memory_gb=workload.resources.memory_gb,
        run_id=run_id,
        users_seed=trial_seed(trial.block_seed, trial.mix.tenants[slot]),
        slo_s=None if slo_s is None else float(slo_s),
        files=job.files,
    )


def _slowed(grant: Grant, slowdown: float | None) -> Grant:
    """Have the job slow itself down, where the trial is to show a known difference."""
    if slowdown is None:
        return grant
    return replace(grant, environment={**grant.environment, SLOWDOWN_VARIABLE: str(slowdown)})


def _cores(mix: Mix, catalog: Catalog) -> list[tuple[int, ...]]:
    """Give each job of a mix cores of its own; the first ones stay with the runner."""
    free = iter(sorted(os.sched_getaffinity(0))[RUNNER_CORES:])
    needs: list[Resources] = [job.workload_in(catalog).resources for job in mix.jobs]
    return [tuple(next(free) for _ in range(need.cpus)) for need in needs]
