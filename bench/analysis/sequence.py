"""The steps of one trial in their order, with the levels that its windows were judged to have."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.requests import requests_in
from bench.analysis.trials import TenantMeasure, TrialMeasure
from bench.analysis.windows import Vector, ended_in, steps_per_unit
from bench.launch.events import Steps
from bench.stats.window import Window
from bench.store.run_folder import RunFolder

_ALWAYS = Window(-inf, inf)


@dataclass(frozen=True)
class Plateau:
    """A level of relative durations, from one instant to another in seconds after the common start."""

    from_s: float
    to_s: float
    relative: float


@dataclass(frozen=True)
class StepSequence:
    """Every step of one tenant, warm-up included, or every answered request of its users.

    A step is at its end, a request at the instant for which it was scheduled, in seconds after the common start.
    Durations are relative to their median in the window, since those of jobs differ by orders of magnitude.
    """

    job: str
    time_s: Vector
    relative: Vector
    counts: NDArray[np.bool_]
    """Which of them are in the window."""
    levels: tuple[Plateau, ...]
    """None where the window could not be judged; more than one where a change point was found."""


def step_sequences(run: RunFolder, trial: TrialMeasure) -> Iterator[StepSequence]:
    """Read the samples of a trial once more; yield each tenant that did anything in the window."""
    steps, requests = run.steps(trial.record.id), run.requests(trial.record.id)
    for tenant in trial.tenants:
        work = _work(steps, requests, tenant)
        inside = ended_in(trial.window, work)
        middle_s = float(np.median(work.duration_s[inside])) if inside.any() else 0.0
        if middle_s > 0:
            levels = tuple(_levels(trial.window, tenant, work.end_s[inside], middle_s))
            yield StepSequence(tenant.tenant.job, work.end_s, work.duration_s / middle_s, inside, levels)


def _work(steps: pd.DataFrame | None, requests: pd.DataFrame | None, tenant: TenantMeasure) -> Steps:
    """Return all that a tenant did, as steps in order."""
    if not tenant.closed or steps is None:
        return requests_in(_ALWAYS, requests, tenant.slot).answered
    own = steps[steps["slot"] == tenant.slot].sort_values("end_s", kind="stable")
    return Steps(*(own[name].to_numpy(np.float64) for name in ("end_s", "duration_s", "items")))


def _levels(window: Window, tenant: TenantMeasure, end_s: Vector, middle_s: float) -> Iterator[Plateau]:
    """Yield the segments of the verdict, whose positions are those of units of equally many steps."""
    found = tenant.verdict.segments
    if found is None:
        return
    starts = [start * steps_per_unit(len(end_s)) for start in found.starts]
    edges_s = [window.start_s, *(float(end_s[start - 1]) for start in starts[1:]), window.stop_s]
    for from_s, to_s, mean_s in zip(edges_s[:-1], edges_s[1:], found.means, strict=True):
        yield Plateau(from_s, to_s, mean_s / middle_s)
