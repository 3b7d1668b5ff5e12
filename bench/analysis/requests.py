"""What the users of a job got in the window of a trial, by the requests that were scheduled in it.

Each is followed to its end, also where that is past the window. Response time runs from the scheduled instant. A
request that failed, was refused or never ended was answered after infinitely long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.reading import Reading
from bench.launch.events import Steps
from bench.stats.tails import attainment, goodput
from bench.stats.window import Window

NO_SLO = "no SLO was given for this job: set slo_s in the plan"
NO_REQUEST = "no request was scheduled in the window"


@dataclass(frozen=True)
class Requests:
    """Those of one tenant that were scheduled in the window, in this order, times in seconds."""

    scheduled_s: NDArray[np.float64]
    response_s: NDArray[np.float64]
    items: NDArray[np.float64]

    @property
    def answered(self) -> Steps:
        """Those that ended well, each at its scheduled instant and as long as its response took."""
        ok = np.isfinite(self.response_s)
        return Steps(self.scheduled_s[ok], self.response_s[ok], self.items[ok])


@dataclass(frozen=True)
class Service:
    """What users got of one tenant (the mean of equal ones): requests per second, and shares of those scheduled.

    Goodput counts the requests that were answered within the SLO, attainment is their share, errors the share of
    those that were not answered at all.
    """

    slo_s: float | None
    offered_per_s: Reading
    goodput_per_s: Reading
    attainment: Reading
    errors: Reading


def requests_in(window: Window, table: pd.DataFrame | None, slot: int) -> Requests:
    """Return the requests of one tenant that were scheduled in the window."""
    if table is None:
        return Requests(np.empty(0), np.empty(0), np.empty(0))
    scheduled_s, done_s, items = (table[name].to_numpy(np.float64) for name in ("scheduled_s", "done_s", "items"))
    inside = (scheduled_s >= window.start_s) & (scheduled_s < window.stop_s)
    own = np.flatnonzero((table["slot"].to_numpy() == slot) & inside)
    own = own[np.argsort(scheduled_s[own], kind="stable")]
    response_s = np.where(table["status"] == "ok", done_s - scheduled_s, np.inf)
    return Requests(scheduled_s[own], response_s[own], items[own])


def service(window: Window, requests: Sequence[Requests], slo_s: float | None) -> Service:
    """Return what the users of equal tenants got of each, on average."""
    response_s = np.concatenate([each.response_s for each in requests])
    tenant_s = window.length_s * len(requests)
    offered = Reading(len(response_s) / tenant_s)
    if not len(response_s):
        nothing = Reading.absent(NO_REQUEST)
        return Service(slo_s, offered, nothing, nothing, nothing)
    errors = Reading(float(np.isinf(response_s).mean()))
    if slo_s is None:
        return Service(slo_s, offered, Reading.absent(NO_SLO), Reading.absent(NO_SLO), errors)
    in_time, share = goodput(response_s, slo_s, tenant_s), attainment(response_s, slo_s)
    return Service(slo_s, offered, Reading(in_time), Reading(share), errors)
