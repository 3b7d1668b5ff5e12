"""One simulated GPU: who is on it, as the stand-in driver's state has it, and how fast they go.

It is never told the mode. Like hardware, it looks at the driver's state (instances, compute mode, MPS daemons) and
at each job's own environment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from bench.plan.catalog import SimulationProfile, Workload
from bench.simulator.boards import speed
from bench.simulator.clock import VirtualClock
from bench.simulator.driver.cuda import device_sms, granted_sms
from bench.simulator.driver.state import Client, DriverState
from bench.simulator.law import Cost, concurrent, time_sliced

TRIAL_CV = 0.01  # spread between trials of the same cell; assumed, no source publishes it
PIPE_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
PERCENTAGE_VARIABLE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
PARTITION_VARIABLE = "CUDA_MPS_SM_PARTITION"
MEMORY_LIMIT_VARIABLE = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
CONTEXT_MIB = 400  # a CUDA context; assumed, 300 to 500 MiB
_time_sliced, _concurrent = cache(time_sliced), cache(concurrent)  # every block has the same co-locations


@dataclass(frozen=True)
class Span:
    """A stretch of time in which the device did one thing."""

    from_s: float
    to_s: float
    sm_activity: float  # share of the SMs at work, 0 to 1
    busy: float  # share of time with any kernel running, 0 to 1
    state: DriverState  # as the driver had it then


@dataclass(frozen=True)
class Resident:
    """A tenant on the device: as the driver knows it, and what its step costs on the whole reference device."""

    client: Client
    cost: Cost


@dataclass
class Board:
    """The device that the simulated launcher and sampler share."""

    state_file: Path
    clock: VirtualClock
    spans: list[Span] = field(default_factory=list)

    @property
    def state(self) -> DriverState:
        """The driver's state as it is now."""
        return DriverState.load(self.state_file)

    def step_times(self, residents: Sequence[Resident]) -> list[float]:
        """Return the mean step time of each of the tenants that run side by side, in seconds."""
        state = self.state
        times: dict[int, float] = {}
        for device in {resident.client.device for resident in residents}:
            there = [resident for resident in residents if resident.client.device == device]
            for resident, time_s in zip(there, _on_one_device(state, there), strict=True):
                times[resident.client.pid] = time_s
        return [times[resident.client.pid] for resident in residents]

    def occupy(
        self, from_s: float, to_s: float, residents: Sequence[Resident], step_times_s: Sequence[float]
    ) -> None:
        """Remember for the sampler what the device did while these tenants ran."""
        state = self.state
        factor = speed(state.model_key)
        shares = [
            (resident.cost.scaling_s / factor / time_s, resident.cost.gpu_s / factor / time_s)
            for resident, time_s in zip(residents, step_times_s, strict=True)
        ]
        activity, busy = (min(1.0, sum(column)) for column in zip(*shares, strict=True))
        self.spans.append(Span(from_s, to_s, activity, busy, state))


def seen_sms(state: DriverState, client: Client) -> int:
    """Return the SMs that a tenant on the device sees."""
    return granted_sms(
        state, client.device, client.active_thread_percentage, client.mps_pipe_directory, client.sm_partition
    )


def profile_of(workload: Workload) -> SimulationProfile:
    """Return what a workload is simulated by; the launcher's preflight has refused those without."""
    if workload.simulation is None:
        raise ValueError(f"{workload.name} has no simulation profile")
    return workload.simulation


def step_cost(workload: Workload, parameters: Mapping[str, object]) -> Cost:
    """Return the cost of a step on the reference device; GPU time grows in proportion to the batch size.

    The law has no rests: a duty cycle (`intensity`) becomes host time, into which the neighbours' slowing eats.
    """
    profile = profile_of(workload)
    default = workload.parameters.get("batch_size", 1)
    batch = parameters.get("batch_size", default)
    ratio = float(str(batch)) / float(str(default))
    cost = Cost(profile.host_ms / 1e3, profile.fixed_ms * ratio / 1e3, profile.scaling_ms * ratio / 1e3)
    intensity = float(str(parameters.get("intensity", 1.0)))
    rests = intensity < 1 and workload.parameters.get("resource") != "footprint"  # whose dial is its size
    return replace(cost, host_s=cost.alone_s / intensity) if rests else cost


def step_noise(seed: int, count: int, cv: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return factors of mean 1 for `count` steps: one draw for the trial, and one for each step."""
    random = np.random.default_rng(seed)
    trial = _lognormal(random, TRIAL_CV, 1)
    return np.asarray(trial * _lognormal(random, cv, count))


def _lognormal(random: np.random.Generator, cv: float, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    sigma = np.sqrt(np.log1p(cv**2))
    return random.lognormal(-(sigma**2) / 2, sigma, count)


def _on_one_device(state: DriverState, there: Sequence[Resident]) -> list[float]:
    """Apply the law to tenants of one GPU or MIG instance."""
    whole = device_sms(state, there[0].client.device)
    factor = speed(state.model_key)
    costs = tuple(resident.cost.sped_up(factor).on_share(state.model.sms / whole) for resident in there)
    if not all(state.daemon_of(resident.client) for resident in there):
        return _time_sliced(costs)
    return _concurrent(costs, tuple(seen_sms(state, resident.client) / whole for resident in there))
