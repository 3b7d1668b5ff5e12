"""CUDA MPS on an ordinary GPU: a daemon of our own, and jobs that are its clients, with or without limits.

A thread percentage must show as a smaller SM count inside the tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import ModeUnavailable
from bench.gpu.device import Device
from bench.gpu.sm_counts import known_sm_count
from bench.modes.contract import Evidence, Grant, Mount
from bench.modes.helpers import Call
from bench.modes.mps_daemon import MpsDaemon, ServedGpu
from bench.modes.observe import DeviceState
from bench.modes.proof import (
    PIPE_VARIABLE,
    PROBE_VARIABLE,
    Look,
    state_evidence,
    whole_granules,
)
from bench.modes.switch import Switch
from bench.modes.whole import make_whole, restore_whole
from bench.plan.mode import Mps, MpsEqual
from bench.plan.model import Mix

PERCENTAGE_VARIABLE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY_LIMIT_VARIABLE = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"


class ServedWholeGpu(ServedGpu):
    """An ordinary GPU that one MPS daemon of ours serves."""

    @property
    def daemon(self) -> MpsDaemon:
        """Our daemon."""
        return MpsDaemon(self.switch)

    @property
    def daemons(self) -> Sequence[MpsDaemon]:
        """Our daemon, alone."""
        return (self.daemon,)

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what stops our daemon and puts back the state that was found."""
        return (self.daemon.undo, *restore_whole(before, self.switch.allow_reset))


@dataclass
class MpsGpu(ServedWholeGpu):
    """Jobs that are clients of one daemon, with or without limits."""

    mode: Mps | MpsEqual
    switch: Switch
    evidence: tuple[Evidence, ...] = ()

    def apply(self, before: DeviceState) -> None:
        """Make the GPU an ordinary one, then start the daemon."""
        if not before.is_whole:
            make_whole(self.switch, before)
        self.daemon.start()

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the daemon's pipe directory, and its limits where the mode has any."""
        jobs = len(mix.jobs)
        if why := too_much_memory(self.mode, self.device, jobs):
            raise ModeUnavailable(f"{why}; lower memory_limit_gib in the plan")
        return tuple(self._grant(slot, jobs) for slot in range(jobs))

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        return (*state_evidence(seen.state, "Default", "Disabled"), *self._service(seen))

    def _grant(self, slot: int, tenants: int) -> Grant:
        environment = {PIPE_VARIABLE: str(self.daemon.pipe_directory)}
        percentage = self.mode.percentage_of(slot) if isinstance(self.mode, Mps) else 100 // tenants
        limit_mib = _limit_mib(self.mode, self.device, slot, tenants)
        if percentage is not None:
            environment[PERCENTAGE_VARIABLE] = str(percentage)
        if limit_mib is not None:
            environment |= {MEMORY_LIMIT_VARIABLE: f"0={limit_mib}M", PROBE_VARIABLE: "1"}
        return Grant(
            self.device.uuid,
            environment,
            (Mount(self.daemon.pipe_directory),),
            share=None if percentage is None else f"{percentage}%",
            sm_count=self._sm_count(percentage),
            memory_limit_mib=limit_mib,
        )

    def _sm_count(self, percentage: int | None) -> int | None:
        whole = known_sm_count(self.device.name)
        return None if whole is None or percentage is None else whole_granules(whole, percentage)


def too_much_memory(mode: Mps | MpsEqual, device: Device, jobs: int) -> str | None:
    """Say by how much the memory limits of this many jobs exceed the device; None where they fit, if known."""
    limits_mib = [_limit_mib(mode, device, slot, jobs) or 0 for slot in range(jobs)]
    if device.memory_total_mib is None or sum(limits_mib) <= device.memory_total_mib:
        return None
    total = f"{device.name} has {device.memory_total_mib} MiB"
    return f"the memory limits of {mode.label} add up to {sum(limits_mib)} MiB for {jobs} jobs, and {total}"


def _limit_mib(mode: Mps | MpsEqual, device: Device, slot: int, jobs: int) -> int | None:
    """Return the memory limit of one job of a mix."""
    if isinstance(mode, Mps):
        return mode.memory_limit_mib_of(slot)
    return None if device.memory_total_mib is None else device.memory_total_mib // jobs
