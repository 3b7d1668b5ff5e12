"""Modes of a host without a GPU: one job at a time, or all at once under the operating system's scheduler."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clock import Clock
from bench.modes.contract import Evidence, Grade, Grant, Identity
from bench.modes.helpers import Call
from bench.modes.observe import DeviceState
from bench.plan.mode import Mode
from bench.plan.model import Mix


@dataclass
class CpuHost:
    """The host's cores; there is nothing to switch, and nobody takes it for a mode of a GPU."""

    mode: Mode
    evidence: tuple[Evidence, ...] = ()

    def undo(self, _before: DeviceState) -> tuple[Call, ...]:
        """Nothing is changed."""
        return ()

    def apply(self, _before: DeviceState) -> None:
        """Nothing is changed."""

    def verify(self) -> None:
        """Note how many cores the jobs share."""
        self.evidence = self.inspect()

    def await_idle(self, _clock: Clock) -> None:
        """Wait for nothing: a host is never without other processes."""

    def inspect(self) -> tuple[Evidence, ...]:
        """Count the cores that the jobs share."""
        cores = len(os.sched_getaffinity(0))
        return (Evidence("cores of this host that jobs share", cores, cores, Grade.HOST_ONLY, True),)

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the host."""
        return (Grant(device_id=None),) * len(mix.jobs)

    def confirm(self, _grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that every tenant says it runs on a CPU."""
        return tuple(
            Evidence(f"{seen.tenant} runs on the CPU", None, seen.device_uuid, Grade.SEEN_BY_TENANT,
                     seen.device_uuid is None)
            for seen in identities
        )  # fmt: skip
